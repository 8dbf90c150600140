"""Other coders over a range of qualities, each set up as well as it lets itself be: points of bytes against PSNR.

    points(name, maps)    every point measured of one of METHODS, with SSIM for those on its front
    lossless(peer, maps)  the least for every bit, of one of LOSSLESS

A method is a list of ways to use a coder. A way says in which arrangements of peers.py it is tried and with which
values of its quality parameter, coarse to fine. The coder gets the maps on [0, 1], in two scales: by the range of all
of them, or each by its own range, since that is what PSNR goes by. The two ends of each map's range, in whole m/s, are
then charged as zstd packs them; the one range of all is given for nothing, like the shape. What is restored is clipped
to the range. Points are measured in three rounds:

    trial    each way, arrangement and scale at every fourth of its values
    sweep    at all values, those with a trial point within 15 % of the least bytes at its PSNR
    final    the points within 15 % of the least bytes, with the coder's slowest effort, where the sweep had
             a quicker one: JPEG XL 7, then 9 (lossy) or 10 (in steps); zstd 15, then 22; xz 0, then 9e

"In steps" is lossless coding of values rounded to steps, as in bounds.py. JPEG 2000 and HTJ2K take a volume as one
image with a map a component; SZ3, ZFP and SPERR take it as it is. JPEG XL is not tried on volumes.

PSNR is by each map's own range and the mean over maps, a map counting as CAP dB at most: an exact one has no PSNR.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import imagecodecs
import numpy as np
import peers
from numpy.typing import NDArray
from peers import MOSAIC, SINGLE, TALL, VOLUME, WIDE, Array, Coder, UnfitError

from velcodec import metrics

CAP = 60.0  # dB
LITTLE, ENOUGH = (
    24.0,
    45.0,
)  # dB: a sweep goes no finer; only points between, or hardly above, earn a way more
NEAR, NEARER = 1.15, 1.15  # what goes on to the sweep, and to the final round, over the least bytes
DEPTH = 65535.0  # of image samples, 16 bits

Spot: TypeAlias = tuple[float, float]  # bytes a map, dB


@dataclass(frozen=True)
class Point:
    """One file, or one set of files, with the maps: what it takes and what reads back. SSIM only where asked for."""

    method: str
    arrangement: str
    setting: str
    bytes_per_map: float
    psnr_mean: float
    psnr_min: float
    ssim_mean: float | None
    max_error: float
    seconds: float  # coding and restoring

    @property
    def spot(self) -> Spot:
        return self.bytes_per_map, self.psnr_mean


@dataclass(frozen=True)
class Way:
    """One way to use a coder: its quality parameter's name and values, coarse to fine."""

    variant: str
    coder: Coder
    arrangements: tuple[str, ...]
    parameter: str
    values: tuple[float, ...]
    final: Coder | None = None  # takes longer and fewer bytes


@dataclass(frozen=True)
class Setup:
    """A way in one arrangement and scale."""

    way: Way
    arrangement: str
    scale: str


def versions() -> dict[str, str]:
    """What the figures depend on, beside the machine."""
    inside = dict(item.rsplit("-", 1) for item in imagecodecs.version().split(", "))
    return peers.versions() | {name: inside.get(name, "unknown") for name in ("openjpeg", "openjph")}


def capped(psnr: NDArray[np.float64]) -> float:
    """The mean PSNR of maps, dB."""
    return float(np.minimum(psnr, CAP).mean())


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other beats in bytes and PSNR both, by PSNR upwards."""
    kept: list[Spot] = []
    for spot in sorted(set(spots), key=lambda spot: (spot[0], -spot[1])):
        if not kept or spot[1] > kept[-1][1]:
            kept.append(spot)
    return kept


def least(spots: Sequence[Spot], psnr: float) -> float:
    """Bytes a map at a PSNR or better on the front of spots, log-linear between its points; infinite beyond it."""
    line = front(spots)
    if not line or psnr > line[-1][1]:
        return float("inf")
    return float(np.exp(np.interp(psnr, [p for _, p in line], [np.log(b) for b, _ in line])))


# --- The coders, each (maps on [0, 1], quality) -> (bytes, restored) ---

ROOT = 0.0037930732552754493 ** (
    1 / 3
)  # of the bias that XYB, JPEG XL's colour space, adds before its cube root
REACH = (1 + ROOT**3) ** (1 / 3) - ROOT


def jpegxl(array: Array, distance: float, effort: int, even: bool) -> tuple[bytes, Array]:
    """Lossy, of float32. JPEG XL takes the values for light, and a cube root; even makes up for that."""
    light = (array * REACH + ROOT) ** 3 - ROOT**3 if even else array
    data = imagecodecs.jpegxl_encode(
        light.astype(np.float32),
        distance=distance,
        effort=effort,
        lossless=False,
        usecontainer=False,
        numthreads=1,
    )
    light = imagecodecs.jpegxl_decode(data, numthreads=1)
    return data, (np.cbrt(np.maximum(light, 0) + ROOT**3) - ROOT) / REACH if even else light


def jpeg2000(array: Array, psnr: float, reversible: bool, resolutions: int) -> tuple[bytes, Array]:
    how = {"planar": True} if array.ndim == 3 else {}
    levels = np.rint(array * DEPTH).astype(np.uint16)
    data = imagecodecs.jpeg2k_encode(
        levels, level=psnr, codecformat="j2k", reversible=reversible, resolutions=resolutions, **how
    )
    return data, imagecodecs.jpeg2k_decode(data, **how).astype(np.float32) / np.float32(DEPTH)


def htj2k(array: Array, step: float, resolutions: int) -> tuple[bytes, Array]:
    """Its samples wrap around where they leave their 16 bits: an eighth is left free at both ends."""
    how = {"planar": True} if array.ndim == 3 else {}
    levels = np.rint((array * 0.75 + 0.125) * DEPTH).astype(np.uint16)
    data = imagecodecs.htj2k_encode(levels, level=step, reversible=False, resolutions=resolutions, **how)
    restored = imagecodecs.htj2k_decode(data, **how).astype(np.float32) / np.float32(DEPTH)
    return data, (restored - np.float32(0.125)) / np.float32(0.75)


def zfp(array: Array, level: float, mode: str) -> tuple[bytes, Array]:
    data = imagecodecs.zfp_encode(array, mode=mode, level=level)
    return data, imagecodecs.zfp_decode(data)


def sperr(array: Array, level: float, mode: str) -> tuple[bytes, Array]:
    data = imagecodecs.sperr_encode(array, level=level, mode=mode)
    shape = {} if array.ndim == 3 else {"shape": array.shape, "dtype": array.dtype}
    return data, imagecodecs.sperr_decode(data, **shape)


def in_steps(array: Array, count: float, coder: Coder) -> tuple[bytes, Array]:
    """A lossless coder on values rounded to so many steps of the range."""
    return coder(array, 0.5 / count)


def geometric(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(float(f"{value:.3g}") for value in np.geomspace(first, last, count))


ALL = (TALL, MOSAIC, VOLUME, SINGLE)
FLAT = (TALL, MOSAIC, SINGLE)
DISTANCES = (25.0, 20.0, 16.0, 12.5, 9.0, 6.5, 4.5, 3.0, 2.0, 1.3, 0.8)
DECIBELS = tuple(float(level) for level in range(26, 57, 2))
COUNTS = (3.0, 4.0, 6.0, 8.0, 10.0, 13.0, 17.0, 22.0, 30.0, 40.0, 55.0, 75.0, 100.0)
BOUNDS = geometric(0.35, 0.004, 16)


def jpegxl_ways() -> list[Way]:
    ways = []
    for even, variant in ((True, "float32, cubed"), (False, "float32")):
        quick, slow = (partial(jpegxl, effort=effort, even=even) for effort in (7, 9))
        ways.append(Way(variant, quick, FLAT, "distance", DISTANCES, slow))
    return ways


def jpegxl_step_ways() -> list[Way]:
    quick, slow, slowest = (
        partial(in_steps, coder=partial(peers.jpegxl, effort=effort)) for effort in (7, 9, 10)
    )
    return [
        Way("", quick, (TALL, WIDE), "steps", COUNTS, slowest),
        Way("", quick, (MOSAIC, SINGLE), "steps", COUNTS, slow),
    ]


def step_ways(coder: str) -> list[Way]:
    """A byte coder's ways in steps, by rows or columns: plain or as differences; shuffled is plain for bytes."""
    ways = []
    for way in peers.general_ways(coder):
        if way.trial is not None and way.variant.startswith("steps, ") and "shuffled" not in way.variant:
            quick, slow = partial(in_steps, coder=way.trial), partial(in_steps, coder=way.coder)
            variant = way.variant.removeprefix("steps, ")
            arrangements = (TALL, SINGLE) if variant.endswith("plain") else (TALL,)
            ways.append(Way(variant, quick, arrangements, "steps", COUNTS, slow))
    return ways


METHODS: dict[str, list[Way]] = {
    "JPEG XL": jpegxl_ways(),
    "JPEG 2000": [
        Way("9/7, 2 levels", partial(jpeg2000, reversible=False, resolutions=3), ALL, "level", DECIBELS),
        Way("9/7, 5 levels", partial(jpeg2000, reversible=False, resolutions=6), ALL, "level", DECIBELS),
        Way("5/3, 5 levels", partial(jpeg2000, reversible=True, resolutions=6), ALL, "level", DECIBELS),
    ],
    "HTJ2K": [
        Way("9/7, 2 levels", partial(htj2k, resolutions=2), ALL, "step", BOUNDS),
        Way("9/7, 5 levels", partial(htj2k, resolutions=5), ALL, "step", BOUNDS),
    ],
    "SZ3": [Way("", peers.sz3, ALL, "abs", BOUNDS)],
    "ZFP": [
        Way("", partial(zfp, mode="accuracy"), ALL, "accuracy", tuple(0.5**k for k in range(10))),
        Way("", partial(zfp, mode="precision"), ALL, "precision", tuple(map(float, range(3, 16)))),
        Way("", partial(zfp, mode="rate"), ALL, "rate", geometric(0.5, 8.0, 10)),
    ],
    "SPERR": [
        Way("", partial(sperr, mode="pwe"), ALL, "pwe", BOUNDS),
        Way("", partial(sperr, mode="psnr"), ALL, "psnr", tuple(map(float, range(20, 53, 2)))),
        Way("", partial(sperr, mode="bpp"), ALL, "bpp", geometric(0.03, 4.0, 18)),
    ],
    "JPEG XL in steps": jpegxl_step_ways(),
    "zstd in steps": step_ways("zstd"),
    "xz in steps": step_ways("xz"),
}
LOSSLESS = ("JPEG XL", "zstd", "xz")


# --- Measuring ---


def scaled(maps: Array, scale: str) -> tuple[Array, Callable[[Array], Array], int]:
    """Maps (n, H, W) on [0, 1], the way back, and the bytes charged for it."""
    low, high = np.floor(maps.min(axis=(1, 2))), np.ceil(maps.max(axis=(1, 2)))
    charged = 0
    if scale == "shared":
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    else:
        ends = np.stack([low, high]).astype(np.uint16)
        charged = min(len(peers.squeeze(data)) for data in (ends.tobytes(), peers.shuffled(ends)))
    first, span = low[:, None, None], np.maximum(high - low, 1)[:, None, None]

    def restore(array: Array) -> Array:
        return (first + span * np.clip(array, 0, 1)).astype(np.float32)

    return ((maps - first) / span).astype(np.float32), restore, charged


def taken_apart(arrays: list[Array], arrangement: str, shape: tuple[int, ...]) -> Array:
    """The maps (n, H, W) from peers.arranged's arrays."""
    count, height, width = shape
    if arrangement in (SINGLE, VOLUME):
        return np.concatenate([array.reshape(-1, height, width) for array in arrays])
    (grid,) = arrays
    parts = grid.reshape(-1, height, grid.shape[1] // width, width).swapaxes(1, 2)
    return parts.reshape(-1, height, width)[:count]


class Sweep:
    """The points of one method on one set of maps; restored maps are kept as long as a point is on the front."""

    def __init__(self, method: str, maps: Array):
        self.method = method
        self.maps = np.ascontiguousarray(maps, np.float32).reshape(-1, *maps.shape[-2:])
        self.scales = {scale: scaled(self.maps, scale) for scale in ("shared", "own")}
        self.points: list[Point] = []
        self.restored: dict[Point, Array] = {}

    def measure(self, setup: Setup, value: float, coder: Coder, note: str = "") -> Point:
        array, restore, size = self.scales[setup.scale]
        start, arrays = time.perf_counter(), []
        for part in peers.arranged(array, setup.arrangement):
            data, back = coder(part, value)
            size += len(data)
            arrays.append(back)
        restored = restore(taken_apart(arrays, setup.arrangement, array.shape))
        seconds = time.perf_counter() - start
        psnr = metrics.psnr(self.maps, restored)
        parts = (setup.way.variant, f"{setup.way.parameter} {value:g}", f"{setup.scale} range", note)
        point = Point(
            self.method,
            setup.arrangement,
            ", ".join(part for part in parts if part),
            round(size / len(self.maps), 2),
            round(capped(psnr), 3),
            round(float(psnr.min()), 3),
            None,
            round(peers.error_of(self.maps, restored), 3),
            round(seconds, 3),
        )
        self.points.append(point)
        self.restored[point] = restored
        best = set(front([point.spot for point in self.points]))
        self.restored = {point: maps for point, maps in self.restored.items() if point.spot in best}
        return point

    def near(self, points: Sequence[Point], times: float) -> bool:
        """Whether a point of a PSNR that matters takes at most so many times the least bytes there."""
        spots = [point.spot for point in self.points]
        return any(
            point.bytes_per_map <= times * least(spots, point.psnr_mean)
            for point in points
            if LITTLE <= point.psnr_mean <= ENOUGH + 3
        )

    def run(self, ways: list[Way]) -> None:
        tried: dict[Setup, dict[float, Point]] = {}
        for way in ways:
            for arrangement in way.arrangements if len(self.maps) > 1 else (SINGLE,):
                for scale in self.scales:
                    setup = Setup(way, arrangement, scale)
                    tried[setup] = self.through(setup, way.values[1::4])
        promising = [setup for setup, points in tried.items() if self.near(list(points.values()), NEAR)]
        for setup in promising:
            fine = [value for value in setup.way.values if value not in tried[setup]]
            tried[setup] |= self.through(setup, fine)
        chosen = [
            (setup, value, setup.way.final)
            for setup in promising
            if setup.way.final is not None
            for value, point in tried[setup].items()
            if self.near([point], NEARER)
        ]
        for setup, value, slowest in chosen:  # which cannot be compared with the quick ones
            self.measure(setup, value, slowest, "slowest")

    def through(self, setup: Setup, values: Sequence[float]) -> dict[float, Point]:
        """Points at these values, coarse to fine, until one is good enough."""
        found: dict[float, Point] = {}
        for value in values:
            with contextlib.suppress(UnfitError):
                found[value] = self.measure(setup, value, setup.way.coder)
                if found[value].psnr_mean >= ENOUGH:
                    break
        return found


def points(method: str, maps: Array) -> list[Point]:
    """All that were measured of a method, with SSIM for those on its front."""
    sweep = Sweep(method, maps)
    sweep.run(METHODS[method])
    found = []
    for point in sweep.points:
        restored = sweep.restored.get(point)
        ssim = None if restored is None else round(float(metrics.ssim(sweep.maps, restored).mean()), 4)
        found.append(replace(point, ssim_mean=ssim))
    return found


def lossless(peer: str, maps: Array) -> list[Point]:
    """The least of a peer, by peers.py, in m/s."""
    maps = np.ascontiguousarray(maps, np.float32).reshape(-1, *maps.shape[-2:])
    found: list[peers.Result] = []
    for way in peers.promising(peers.PEERS[peer], maps, 0.0):
        for arrangement in way.arrangements if len(maps) > 1 else (SINGLE,):
            limit = found[-1].bytes if found else np.inf
            with contextlib.suppress(UnfitError):
                found.append(peers.result(peer, way, arrangement, maps, 0.0, limit))
    return [
        Point(
            f"{peer} lossless",
            result.arrangement,
            result.variant,
            round(result.bytes / len(maps), 2),
            CAP,
            float("inf"),
            1.0,
            result.max_error,
            result.seconds,
        )
        for result in found[-1:]
    ]

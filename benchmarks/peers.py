"""Other coders at a hard error bound, each set up as well as it lets itself be: what velcodec is compared with.

    best(maps, E)    the fewest bytes of each peer that restore every sample within E m/s; E = 0 means every bit

A peer is a list of ways to use it. A way codes one array and says which arrangements of the maps it takes: one map a
file (the sizes are added up), a mosaic, a tall or a wide strip, a volume. What it restores is always checked. A result
that breaks the bound is tried again with a slightly smaller one, and dropped if that breaks it too.

All doubts are settled for the peer. A size is that of the coder's own stream, with the two numbers or the table that
turn integers into m/s; what else a reader needs (shape, layout, xz's filter) is given to it for nothing.

Tried on three to five sets and left out: JPEG XL's lossy mode (at an equal bound about twice the bytes of its lossless
mode on values in steps, or more), WebP, JPEG-LS and pcodec (never first), brotli (once, on Marmousi2, by 0.5 %).
"""

import contextlib
import itertools
import lzma
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from typing import Any, TypeAlias

import imagecodecs
import numpy as np
import zstandard
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.unsignedinteger[Any]]
Coder: TypeAlias = Callable[[Array, float], tuple[bytes, Array]]

GO_ON = 4  # the ways with a trial that go on from it


class UnfitError(Exception):
    """This way does not apply to this array and bound, or cannot hold it."""


@dataclass(frozen=True)
class Way:
    """One way to use a peer."""

    variant: str
    coder: Coder
    arrangements: tuple[str, ...]
    trial: Coder | None = None  # says quickly how this way compares with the other ways that have a trial


@dataclass(frozen=True)
class Result:
    """What a peer takes for all the maps together."""

    peer: str
    arrangement: str
    variant: str
    bytes: int
    max_error: float
    seconds: float  # coding and restoring, this way alone


def versions() -> dict[str, str]:
    """What the figures depend on, beside the machine."""
    inside = dict(item.rsplit("-", 1) for item in imagecodecs.version().split(", "))
    coders = ("sz3", "zfp", "sperr", "lerc", "libjxl")
    return {
        "imagecodecs": metadata.version("imagecodecs"),
        **{name: inside.get(name, "unknown") for name in coders},
        "zstandard": metadata.version("zstandard"),
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def allowed(bound: float) -> float:
    """The error that counts as within the bound; 1e-4 m/s is left to the rounding of float32."""
    return bound * (1 + 1e-6) + 1e-4 if bound > 0 else 0.0


def error_of(array: Array, restored: Array) -> float:
    return float(np.abs(restored.astype(np.float64) - array).max())


# --- From m/s to integers and back ---


def integers(array: Array, bound: float) -> tuple[Integers, bytes, Callable[[Integers], Array]]:
    """The values in the fewest steps that the bound allows: integers, what is charged for them, the way back.

    A step is 2E wide. On whole numbers it spans floor(2E) + 1 of them, restored as the middle one or as the half
    between two. E = 0 keeps whole numbers; others become their rank in a sorted table, which is charged.
    """
    whole = bool((array == np.rint(array)).all())
    if bound == 0 and not whole:
        values = np.unique(array)
        table = squeeze(shuffled(np.diff(values.view(np.uint32), prepend=np.uint32(0))))
        return smallest(np.searchsorted(values, array)), table, lambda levels: values[levels]
    low, rounding = float(array.min()), float(np.spacing(np.abs(array).max()))
    for less in (0.0, 0.5 * rounding, rounding):  # float32 may round a restored value away from the original
        step = np.floor(2 * bound) + 1 if whole else 2 * (bound - less)
        first = low + (step - 1) / 2 if whole else low
        shifted = (array.astype(np.float64) - low) / step
        levels = smallest(np.floor(shifted) if whole else np.rint(shifted))

        def restore(levels: Integers, first: float = first, step: float = step) -> Array:
            return (first + step * levels.astype(np.float64)).astype(np.float32)

        if error_of(array, restore(levels)) <= allowed(bound):
            break
    return levels, struct.pack("<dd", first, step), restore


def smallest(values: NDArray[Any]) -> Integers:
    """The same values in the narrowest unsigned type."""
    largest = values.max()
    return values.astype(next(k for k in (np.uint8, np.uint16, np.uint32) if largest <= np.iinfo(k).max))


def shuffled(values: NDArray[Any]) -> bytes:
    """The first bytes of all values, then all second bytes, and so on."""
    return np.ascontiguousarray(values.reshape(-1).view(np.uint8).reshape(-1, values.itemsize).T).tobytes()


def unshuffled(data: bytes, kind: np.dtype[Any]) -> NDArray[Any]:
    columns = np.frombuffer(data, np.uint8).reshape(kind.itemsize, -1)
    return np.ascontiguousarray(columns.T).reshape(-1).view(kind)


# --- The peers, each (array, E) -> (bytes, restored array) ---


def sz3(array: Array, bound: float) -> tuple[bytes, Array]:
    data = imagecodecs.sz3_encode(array, mode="abs", abs=bound)
    return data, imagecodecs.sz3_decode(data, array.shape, array.dtype)


def zfp(array: Array, bound: float) -> tuple[bytes, Array]:
    """ZFP stays far below the accuracy it is asked for: it is asked for the largest multiple that holds the bound."""
    for times in (32, 16, 8, 4, 2, 1) if bound > 0 else (0,):
        how = {"mode": "accuracy", "level": times * bound} if bound > 0 else {"mode": "reversible"}
        data = imagecodecs.zfp_encode(array, **how)
        restored = imagecodecs.zfp_decode(data)
        if error_of(array, restored) <= allowed(bound):
            break
    return data, restored


def sperr(array: Array, bound: float) -> tuple[bytes, Array]:
    if bound == 0:
        raise UnfitError
    data = imagecodecs.sperr_encode(array, level=bound, mode="pwe")
    shape = {} if array.ndim == 3 else {"shape": array.shape, "dtype": array.dtype}
    return data, imagecodecs.sperr_decode(data, **shape)


def lerc(array: Array, bound: float) -> tuple[bytes, Array]:
    data = imagecodecs.lerc_encode(array, level=bound, compression="zstd", compressionargs={"level": 22})
    return data, imagecodecs.lerc_decode(data)


def jpegxl(array: Array, bound: float, effort: int) -> tuple[bytes, Array]:
    """Lossless, of values in steps."""
    levels, charged, restore = integers(array, bound)
    if levels.itemsize > 2:
        raise UnfitError
    data = imagecodecs.jpegxl_encode(levels, lossless=True, effort=effort, usecontainer=False, numthreads=1)
    return data + charged, restore(imagecodecs.jpegxl_decode(data, numthreads=1))


def jpegxl_float(array: Array, bound: float, effort: int) -> tuple[bytes, Array]:
    """Lossless, of float32."""
    if bound > 0:
        raise UnfitError
    data = imagecodecs.jpegxl_encode(array, lossless=True, effort=effort, usecontainer=False, numthreads=1)
    return data, imagecodecs.jpegxl_decode(data, numthreads=1)


def squeeze(data: bytes, width: int = 1, quick: bool = False) -> bytes:
    """Zstandard at its highest level, knowing how much there is to come."""
    level = 15 if quick else 22
    options = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(data), write_content_size=True
    )
    return zstandard.ZstdCompressor(compression_params=options).compress(data)


def unsqueeze(data: bytes, size: int, width: int) -> bytes:
    return zstandard.decompress(data)


def xz_filters(size: int, width: int, preset: int) -> list[dict[str, Any]]:
    """LZMA2 for so many bytes, in values of so many; a window beyond the data would only cost time."""
    bits = {1: 0, 2: 1, 4: 2}[width]
    context = {"lc": 0 if bits else 3, "lp": bits, "pb": bits, "dict_size": max(size, 4096)}
    return [{"id": lzma.FILTER_LZMA2, "preset": preset, **context}]


def xz(data: bytes, width: int, quick: bool = False) -> bytes:
    preset = 0 if quick else 9 | lzma.PRESET_EXTREME
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=xz_filters(len(data), width, preset))


def unxz(data: bytes, size: int, width: int) -> bytes:
    return lzma.decompress(data, format=lzma.FORMAT_RAW, filters=xz_filters(size, width, 9))


BYTE_CODERS = {"zstd": (squeeze, unsqueeze), "xz": (xz, unxz)}
AXES = {"differences down": (-2,), "differences along": (-1,), "differences both ways": (-2, -1)}
LAYOUTS = ("plain", "shuffled", *AXES)


def general(
    array: Array, bound: float, coder: str, values: str, scan: str, layout: str, quick: bool = False
) -> tuple[bytes, Array]:
    """A coder of bytes, on values in steps or on the bits of float32, by rows or by columns.

    A layout is "plain", "shuffled" bytes, or the shuffled bytes of differences.
    """
    encode, decode = BYTE_CODERS[coder]
    charged, restore = b"", lambda levels: levels.view(np.float32)
    if values == "steps":
        levels, charged, restore = integers(array, bound)
    elif bound == 0:
        levels = array.view(np.uint32)
    else:
        raise UnfitError
    levels = np.ascontiguousarray(levels.swapaxes(-1, -2) if scan == "columns" else levels)
    shape, kind, axes = levels.shape, levels.dtype, AXES.get(layout, ())
    for axis in axes:
        levels = np.diff(levels, axis=axis, prepend=kind.type(0))
    if axes:  # zigzag: a small difference below 0 gets a small number too
        signed = levels.view(f"i{kind.itemsize}")
        levels = ((signed << 1) ^ (signed >> (8 * kind.itemsize - 1))).view(kind)

    width = kind.itemsize if layout == "plain" else 1
    data = encode(levels.tobytes() if layout == "plain" else shuffled(levels), width, quick)
    plain = decode(data, levels.nbytes, width)
    back = (np.frombuffer(plain, kind) if layout == "plain" else unshuffled(plain, kind)).reshape(shape)

    if axes:
        back = (back >> 1) ^ np.where(back & 1, kind.type(np.iinfo(kind).max), kind.type(0))
    for axis in reversed(axes):
        back = np.cumsum(back, axis=axis, dtype=kind)
    back = np.ascontiguousarray(back.swapaxes(-1, -2) if scan == "columns" else back)
    return data + charged, restore(back)


SINGLE, MOSAIC, TALL, WIDE, VOLUME = "one map a file", "mosaic", "tall strip", "wide strip", "volume"
EVERY = (TALL, MOSAIC, VOLUME, SINGLE)
FLAT = (TALL, MOSAIC, SINGLE)


def general_ways(coder: str) -> list[Way]:
    """All layouts, in steps and as float32, by rows and by columns."""
    ways = []
    for values, scan, layout in itertools.product(("steps", "float32"), ("rows", "columns"), LAYOUTS):
        use = partial(general, coder=coder, values=values, scan=scan, layout=layout)
        ways.append(Way(f"{values}, {scan}, {layout}", use, (TALL, SINGLE), partial(use, quick=True)))
    return ways


# Ways that do well come first, so that one map a file can be given up early.
PEERS: dict[str, list[Way]] = {
    "SZ3": [Way("abs", sz3, EVERY)],
    "ZFP": [Way("accuracy", zfp, EVERY)],
    "SPERR": [Way("pwe", sperr, EVERY)],
    "LERC": [Way("with zstd 22", lerc, FLAT)],
    "JPEG XL": [
        Way("steps, effort 10", partial(jpegxl, effort=10), (TALL, WIDE)),
        Way("steps, effort 9", partial(jpegxl, effort=9), (MOSAIC, SINGLE)),
        Way("float32, effort 10", partial(jpegxl_float, effort=10), (TALL,)),
        Way("float32, effort 7", partial(jpegxl_float, effort=7), (MOSAIC,)),
    ],
    "zstd": general_ways("zstd"),
    "xz": general_ways("xz"),
}


# --- Arrangements of maps ---


def columns(count: int) -> int:
    """Of a mosaic: near to a square without gaps, or with some where that would be a strip."""
    rows = next(rows for rows in range(int(count**0.5), 0, -1) if count % rows == 0)
    return count // rows if count <= 4 * rows * rows else int(np.ceil(count**0.5))


def arranged(maps: Array, arrangement: str) -> list[Array]:
    """The arrays to code, from maps (n, H, W)."""
    if arrangement == SINGLE:
        return list(maps)
    if arrangement == VOLUME:
        return [maps]
    count, height, width = maps.shape
    across = {TALL: 1, WIDE: count, MOSAIC: columns(count)}[arrangement]
    full = np.concatenate([maps, np.repeat(maps[-1:], -count % across, axis=0)])
    grid = full.reshape(-1, across, height, width).swapaxes(1, 2)
    return [np.ascontiguousarray(grid.reshape(-1, across * width))]


def held(coder: Coder, array: Array, bound: float) -> tuple[int, float]:
    """Bytes and largest error of a coder made to keep to the bound."""
    rounding = float(np.spacing(np.abs(array).max()))
    for less in (0.0, rounding, 4 * rounding, 0.01 * bound) if bound > 0 else (0.0,):
        data, restored = coder(array, max(bound - less, bound / 2))
        error = error_of(array, restored)
        if error <= allowed(bound):
            return len(data), error
    raise UnfitError


def result(peer: str, way: Way, arrangement: str, maps: Array, bound: float, limit: float) -> Result:
    """Of one way in one arrangement; UnfitError where it cannot be had in fewer bytes than the limit."""
    start, size, worst = time.perf_counter(), 0, 0.0
    for array in arranged(maps, arrangement):
        more, error = held(way.coder, array, bound)
        size, worst = size + more, max(worst, error)
        if size >= limit:
            raise UnfitError
    return Result(peer, arrangement, way.variant, size, worst, round(time.perf_counter() - start, 3))


def promising(ways: list[Way], maps: Array, bound: float) -> list[Way]:
    """The ways without a trial, then those that came first in theirs; one map a file only for the very first."""
    tried: list[tuple[int, Way]] = []
    for way in ways:
        if way.trial is not None:
            with contextlib.suppress(UnfitError):
                tried.append((held(way.trial, arranged(maps, TALL)[0], bound)[0], way))
    first = [way for _, way in sorted(tried, key=lambda item: item[0])[:GO_ON]]
    rest = [way for way in ways if way.trial is None]
    return rest + first[:1] + [replace(way, arrangements=(TALL,)) for way in first[1:]]


def best(maps: Array, bound: float) -> list[Result]:
    """The fewest bytes of each peer that can hold the bound, maps (H, W), (n, H, W) or (n, 1, H, W)."""
    maps = np.ascontiguousarray(maps, np.float32).reshape(-1, *maps.shape[-2:])
    found: dict[str, Result] = {}
    for peer, ways in PEERS.items():
        for way in promising(ways, maps, bound):
            for arrangement in way.arrangements if len(maps) > 1 else (SINGLE,):
                limit = found[peer].bytes if peer in found else np.inf
                with contextlib.suppress(UnfitError):
                    found[peer] = result(peer, way, arrangement, maps, bound, limit)
    return list(found.values())

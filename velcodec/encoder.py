"""Maps -> records: the cheapest mode that meets the request, map by map.

    block of maps -> latents (fit) -> integers -> decoded again and measured -> kind of each map -> MAPS payload

What decides is what a reader would see: every latent is decoded from what will be stored, and the PSNR that must
hold is computed with the codebook's drift bound added to the error.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray

from . import container, entropy, quantise
from .codebook import Codebook
from .decoder import restore
from .errors import DataError, UsageError
from .fit import STEPS, Fit, fit_latents
from .grid import make_grid
from .header import Header
from .metrics import max_error, psnr
from .synthesis import sample

LATENT_KINDS = ("entropy", "int8", "fp16")


@dataclass(frozen=True)
class Request:
    """What is asked of an encoding: exactly one of lossless, latent_only and a PSNR that every map must reach."""

    psnr: float = 35.0
    latent_only: bool = False
    lossless: bool = False
    latent: str = "entropy"
    effort: int = 3

    def __post_init__(self) -> None:
        if self.latent_only and self.lossless:
            raise UsageError("latent-only and lossless exclude each other")
        if self.latent not in LATENT_KINDS:
            raise UsageError(f"latent kind {self.latent!r} is not known; use {', '.join(LATENT_KINDS)}")
        if not 0 <= self.effort < len(STEPS):
            raise UsageError(f"effort must be 0 to {len(STEPS) - 1}, not {self.effort}")
        if not 0 < self.psnr <= 200:
            raise UsageError(f"PSNR must be above 0 and at most 200 dB, not {self.psnr:g}")


@dataclass(frozen=True)
class Encoded:
    """A MAPS payload and the measured quality of its maps: PSNR in dB (inf: exact), maximum error, (n,) each."""

    payload: bytes
    psnr: NDArray[np.float64]
    error: NDArray[np.float64]


@dataclass
class _Latents:
    """Latents of maps (n, H, W) as they would be stored, with the quality that they give, (n,) each."""

    kinds: NDArray[np.uint8]
    stored: list[Any]  # of each map: integers, (scale, int8) or float16
    bytes: NDArray[np.float64]
    psnr: NDArray[np.float64]
    sure_psnr: NDArray[np.float64]  # with the drift bound added to the error
    error: NDArray[np.float64]


def encode_block(
    maps: NDArray[Any], header: Header, request: Request, codebook: Codebook, device: torch.device
) -> Encoded:
    """Encode maps (n, H, W) as given.

    Raises:
        DataError: latent-only is asked for maps that hold NaN or infinity, or values past float32.
    """
    n = len(maps)
    quality, error = np.full(n, np.inf), np.zeros(n)
    fits = np.zeros(n, dtype=bool) if request.lossless else fits_float32(maps)
    if request.latent_only and not fits.all():
        raise DataError(
            f"map {int(np.argmin(fits))} of a block holds NaN, infinity or values past float32, which a latent "
            "cannot keep; leave out latent-only, and such maps are stored exactly"
        )
    rows = np.flatnonzero(fits)
    if not len(rows):
        return Encoded(_pack(maps, {}, None, codebook), quality, error)
    latents = _as_latents(maps[rows], header, request, codebook, device)
    good = np.ones(len(rows), dtype=bool)
    if not request.latent_only:
        good = (latents.sure_psnr >= request.psnr) & (latents.bytes < _zstd_sizes(maps[rows]))
    quality[rows[good]], error[rows[good]] = latents.psnr[good], latents.error[good]
    places = {int(row): i for i, row in enumerate(rows.tolist()) if good[i]}
    return Encoded(_pack(maps, places, latents, codebook), quality, error)


def fits_float32(maps: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether all values of each map (n, H, W) are finite and within float32, (n,)."""
    limit = np.finfo(np.float32).max
    ok: NDArray[np.bool_] = (np.abs(maps.astype(np.float64)) <= limit).all(axis=(1, 2))
    return ok


def _as_latents(
    original: NDArray[Any], header: Header, request: Request, codebook: Codebook, device: torch.device
) -> _Latents:
    normalised = ((original.astype(np.float64) - header.offset) / header.scale).astype(np.float32)
    rounded = request.latent == "entropy"
    fit = fit_latents(normalised, codebook, device, request.effort, rounded)
    n = len(original)
    stored: list[Any]
    if rounded:
        kinds = container.KIND_ENTROPY + fit.table
        stored, latents, size = _quantised(fit, codebook)
    elif request.latent == "int8":
        scale, q = quantise.to_int8(fit.latents)
        kinds, size = np.full(n, container.KIND_INT8), np.full(n, 4.0 + codebook.latent)
        stored, latents = list(zip(scale, q, strict=True)), quantise.from_int8(scale, q)
    else:
        half = quantise.to_fp16(fit.latents)
        kinds, size = np.full(n, container.KIND_FP16), np.full(n, 2.0 * codebook.latent)
        stored, latents = list(half), quantise.from_fp16(half)
    restored = restore(sample(codebook, latents, make_grid(header.map_shape), device), header)
    quality = psnr(original, restored)
    return _Latents(
        kinds=kinds.astype(np.uint8),
        stored=stored,
        bytes=size,
        psnr=quality,
        sure_psnr=_with_drift(original, quality, codebook.drift * abs(header.scale)),
        error=max_error(original, restored),
    )


def _quantised(fit: Fit, codebook: Codebook) -> tuple[list[Any], NDArray[np.float32], NDArray[np.float64]]:
    """Integers of each map, the latents (n, D) that they stand for, and bytes that the range coder takes (n,)."""
    q = np.empty(fit.latents.shape, dtype=np.int32)
    latents = np.empty_like(fit.latents)
    for t in sorted(set(fit.table.tolist())):
        own = fit.table == t
        q[own] = quantise.to_integers(fit.latents[own], codebook.prior, t)
        latents[own] = quantise.from_integers(q[own], codebook.prior, t)
    bits = codebook.prior.bits(torch.from_numpy(q).float(), torch.from_numpy(fit.table)).sum(1)
    return list(q), latents, bits.double().numpy() / 8


def _with_drift(maps: NDArray[Any], quality: NDArray[np.float64], drift: float) -> NDArray[np.float64]:
    """PSNR in dB were every sample off by the drift bound as well: the root mean square error grows by it at most."""
    span = maps.max(axis=(1, 2)).astype(np.float64) - maps.min(axis=(1, 2)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        rms = np.where(np.isinf(quality), 0.0, span * 10 ** (-quality / 20)) + drift
        sure = 20 * np.log10(span / rms)
    return np.where(span > 0, sure, -np.inf)


def _zstd_sizes(maps: NDArray[Any]) -> NDArray[np.int64]:
    """Bytes that zstd takes for each map by itself, (n,)."""

    def size(m: NDArray[Any]) -> int:
        return len(zstandard.ZstdCompressor(level=19, write_content_size=False).compress(m.tobytes()))

    with ThreadPoolExecutor() as pool:
        return np.array(list(pool.map(size, maps)))


def _pack(maps: NDArray[Any], places: dict[int, int], latents: _Latents | None, codebook: Codebook) -> bytes:
    """The payload of a MAPS section; `places` says where among the latents a map is that is stored as one."""
    kinds = np.full(len(maps), container.KIND_EXACT, np.uint8)
    stored = {}
    if latents is not None:
        for row, i in places.items():
            kinds[row], stored[row] = latents.kinds[i], latents.stored[i]
    groups = []
    for kind in sorted({int(k) for k in kinds if k >= container.KIND_ENTROPY}):
        rows = np.flatnonzero(kinds == kind).tolist()
        groups.append((kind - container.KIND_ENTROPY, np.stack([stored[row] for row in rows])))
    eight = [stored[row] for row in np.flatnonzero(kinds == container.KIND_INT8).tolist()]
    half = [stored[row] for row in np.flatnonzero(kinds == container.KIND_FP16).tolist()]
    return container.pack_block(
        container.Block(
            kinds=kinds,
            entropy=entropy.encode(groups, codebook.models) if groups else b"",
            int8=b"".join(np.float32(scale).astype("<f4").tobytes() + q.tobytes() for scale, q in eight),
            fp16=b"".join(q.tobytes() for q in half),
            exact=maps[kinds == container.KIND_EXACT].tobytes(),
        )
    )


Progress = Callable[[int, int], None]


def value_range(source: Any, blocks: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The least and greatest finite value of an array, read block by block; (0, 0) where there is none."""
    low, high = np.inf, -np.inf
    for first, count in blocks:
        part = np.asarray(source[first : first + count]).astype(np.float64)
        part = part[np.isfinite(part)]
        if part.size:
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    return (low, high) if low <= high else (0.0, 0.0)

"""Maps sample by sample: bit for bit, as multiples of a step, or as zstd packs them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from .. import container, exact, pixels, residual
from ..header import Header
from ..pixels import Integers, Model
from ..request import Request
from .asked import allowed_rms, codes, keeps, quality
from .offer import Maps, Offer, nothing, of

WIDEST = 63  # integers of a histogram that are counted each by itself
SIZES = 8  # of the residuals around: 0, 1, 2 to 3, 4 to 7 ...
LIKE_ALL = 0.88  # of the bits with one histogram: with one for each size, textures take more


def as_exact(maps: Maps, header: Header, smooth: bool) -> Offer:
    """Integers and binary fractions, bit for bit, under one of the two models of pixels.py."""
    found = [exact.to_integers(native(m)) for m in maps.samples]
    kind = container.KIND_SMOOTH_EXACT if smooth else container.KIND_EDGES_EXACT
    model = pixels.models(header.generation)[smooth]
    return _integers_of(maps, found, model, kind, exact.mantissa(maps.samples[0].dtype))


def as_quantised(maps: Maps, header: Header, request: Request, smooth: bool) -> Offer:
    """Multiples of a step: of twice the bound, or of the coarsest step that keeps the PSNR."""
    found = [
        on_lattice(m, s, header, request) for m, s in zip(maps.samples, maps.spans.tolist(), strict=True)
    ]
    kind = container.KIND_SMOOTH if smooth else container.KIND_EDGES
    model = pixels.models(header.generation)[smooth]
    out = _integers_of(maps, [None if f is None else f[0] for f in found], model, kind, 0)
    for i, (m, f) in enumerate(zip(maps.samples, found, strict=True)):
        if f is not None:
            out.psnr[i], out.error[i] = quality(m, f[1], maps.spans[i])
    return out


def textured(maps: Maps, header: Header, request: Request) -> NDArray[np.float64]:
    """About the bytes (n,) that maps which look like textures take as multiples of a step; 0 for those that do not.

    Their residuals after prediction as bits of a histogram (Weinberger et al., "The LOCO-I lossless image compression
    algorithm", 2000): of a texture one for all of them needs little more than one for each size of those around.
    """
    out = np.zeros(len(maps))
    for i, (m, span) in enumerate(zip(maps.samples, maps.spans.tolist(), strict=True)):
        found = on_lattice(m, span, header, request)
        if found is None or min(m.shape) < 2:
            continue
        off = _unpredicted(found[0].whole)
        size = np.pad(np.abs(off), ((1, 0), (1, 1)))
        around = np.frexp((size[1:, :-2] + size[:-1, 1:-1] + size[:-1, 2:]).astype(np.float64))[1]
        apart = _histogram_bits(np.minimum(around, SIZES - 1), off)
        if apart > LIKE_ALL * _histogram_bits(np.zeros_like(off), off):
            out[i] = apart / 8
    return out


def _unpredicted(q: NDArray[np.int64]) -> NDArray[np.int64]:
    """Integers (H, W) less the median of those to the left, above, and of the plane through these."""
    left = np.pad(q[:, :-1], ((0, 0), (1, 0)), mode="edge")
    above = np.pad(q[:-1], ((1, 0), (0, 0)), mode="edge")
    corner = np.pad(q[:-1, :-1], ((1, 0), (1, 0)), mode="edge")
    low, high = np.minimum(left, above), np.maximum(left, above)
    found: NDArray[np.int64] = q - np.clip(left + above - corner, low, high)
    return found


def _histogram_bits(classes: NDArray[Any], values: NDArray[np.int64]) -> float:
    """Bits of integers (H, W) by a histogram for each class."""
    near = np.clip(values, -WIDEST, WIDEST) + WIDEST
    width = 2 * WIDEST + 1
    counts = np.bincount((classes * width + near).ravel(), minlength=SIZES * width).reshape(-1, width)
    of_class = counts.sum(axis=1, keepdims=True)
    bits = float((counts * np.log2(np.maximum(of_class, 1) / np.maximum(counts, 1))).sum())
    far = np.abs(values[np.abs(values) >= WIDEST])
    return bits + float((2 * np.log2(far / WIDEST + 1) + 1).sum())


def as_zstd(maps: Maps, than: NDArray[np.float64]) -> Offer:
    """The maps' bytes under zstd; measured only where a quick try says that it may take fewer bytes `than` (n,)."""

    def size(i: int) -> float:
        data = maps.samples[i].tobytes()
        quick = len(zstandard.ZstdCompressor(level=1, write_content_size=False).compress(data))
        if quick > 3 * than[i]:
            return quick
        return len(zstandard.ZstdCompressor(level=19, write_content_size=False).compress(data))

    out = nothing(len(maps))
    with ThreadPoolExecutor() as pool:
        out.bytes[:] = list(pool.map(size, range(len(maps))))
    out.stored = list(maps.samples)
    return out


def _integers_of(maps: Maps, found: list[Integers | None], model: Model, kind: int, mantissa: int) -> Offer:
    out = nothing(len(maps))
    rows = [i for i, f in enumerate(found) if f is not None]
    own = [f for f in found if f is not None]
    if own:
        data, out.bytes[rows] = pixels.encode(own, model, mantissa)
        out.streams[of(own)] = own, data
    for row, f in zip(rows, own, strict=True):
        out.kinds[row], out.stored[row] = kind, f
    return out


def on_lattice(
    m: NDArray[Any], span: float, header: Header, request: Request
) -> tuple[Integers, NDArray[Any]] | None:
    """A map as integers, and as it reads back, where a step keeps what is asked."""
    values = m.astype(np.float64)
    for code in codes(span, header, request):
        step = residual.step(header.unit or 0.0, code)
        if request.max_error is None and not residual.within(values, step, allowed_rms(span, request)):
            continue
        q = residual.quantise(values, step)
        if q is None:
            return None
        restored = residual.cast(residual.dequantise(q, step, 0.0, header.low, header.high), m.dtype)
        if keeps(m, restored, span, request):
            return Integers(q, code), restored
    return None


def native(m: NDArray[Any]) -> NDArray[Any]:
    """The same samples in the byte order of this machine."""
    return m.astype(m.dtype.newbyteorder("="), copy=False)

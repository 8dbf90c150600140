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

"""Layered maps: bit for bit, with values in steps, or with smoothed edges."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import container, layers, residual, soft, soft_fit
from ..decoder import MAX_FINE, within_range
from ..header import Header
from ..layers import Layered
from ..pixels import Integers
from ..request import Request
from ..soft import Soft
from .asked import allowed_rms, keeps, quality
from .offer import Maps, Offer, nothing, of
from .samples import native, on_lattice

VALUE_SHARE = 0.08  # of the squared error allowed that the rounding of values to steps may take


def as_layers(maps: Maps, header: Header) -> Offer:
    """Layered maps, bit for bit."""
    return _layered(maps, [layers.analyse(native(m)) for m in maps.samples], header)


def as_layers_in_steps(maps: Maps, header: Header, request: Request) -> Offer:
    """Maps that are layered, or are once values are in steps that keep what is asked; interfaces stay in place."""
    found: list[Layered | None] = []
    restored: list[NDArray[Any]] = []
    for m, span in zip(maps.samples, maps.spans.tolist(), strict=True):
        own = on_lattice(m, span, header, request)
        restored.append(m if own is None else own[1])
        found.append(
            None
            if own is None
            else _steps_of_layers(m, own[0], residual.step(header.unit or 0.0, own[0].code))
        )
    out = _layered(maps, found, header)
    for i, (m, r) in enumerate(zip(maps.samples, restored, strict=True)):
        out.psnr[i], out.error[i] = quality(m, r, maps.spans[i])
    return out


def _steps_of_layers(m: NDArray[Any], q: Integers, step: float) -> Layered | None:
    """The layers of a map, or else of its integers, with values in steps."""
    own = layers.analyse(native(m))
    if own is None:
        own = layers.analyse(q.whole)
        return None if own is None else replace(own, code=q.code)
    steps = residual.quantise(own.values.astype(np.float64), step)
    return None if steps is None else layers.in_steps(own, steps, q.code)


def _layered(maps: Maps, found: list[Layered | None], header: Header) -> Offer:
    out = nothing(len(maps))
    rows = [i for i, f in enumerate(found) if f is not None]
    own = [f for f in found if f is not None]
    if own:
        heights = [len(maps.samples[i]) for i in rows]
        data, out.bytes[rows] = encode_layers(own, heights, header)
        out.streams[of(own)] = own, data
    for row, f in zip(rows, own, strict=True):
        out.kinds[row] = container.KIND_LAYERED if f.code is None else container.KIND_LAYERED_STEPS
        out.stored[row] = f
    return out


def as_soft(maps: Maps, header: Header, request: Request) -> Offer:
    """Layers with smoothed edges, in steps, that keep a PSNR."""
    out = nothing(len(maps))
    parts = container.PARTS if request.effort > 2 else container.PARTS[:3]
    with ThreadPoolExecutor() as pool:  # the search is compiled, and holds no lock

        def search(i: int) -> tuple[Soft, NDArray[Any]] | None:
            return _softened(maps.samples[i], float(maps.spans[i]), header, request, parts)

        found = list(pool.map(search, range(len(maps))))
    rows = [i for i, f in enumerate(found) if f is not None]
    pairs = [f for f in found if f is not None]
    if not pairs:
        return out
    own = [f for f, _ in pairs]
    data, out.bytes[rows] = encode_layers(own, [len(maps.samples[i]) for i in rows], header)
    out.streams[of(own)] = own, data
    for row, (f, restored) in zip(rows, pairs, strict=True):
        out.kinds[row], out.stored[row] = container.KIND_SOFT + container.PARTS.index(f.parts), f
        out.psnr[row], out.error[row] = quality(maps.samples[row], restored, maps.spans[row])
    return out


def _softened(
    m: NDArray[Any], span: float, header: Header, request: Request, parts: Sequence[tuple[int, int]]
) -> tuple[Soft, NDArray[Any]] | None:
    """The cheapest layers with smoothed edges found for a map, values in steps, and the map that they read back as.

    None where none keep what is asked.
    """
    most = max(down * across for down, across in parts)
    if span <= 0 or not header.unit or m.size * most > MAX_FINE or min(m.shape) < 4:
        return None
    rms = allowed_rms(span, request)
    ratio = rms * math.sqrt(12 * VALUE_SHARE) / header.unit
    if not ratio > 0:  # of the least numbers that there are
        return None
    code = residual.CODE_ZERO + round(8 * math.log2(ratio))
    if not 0 <= code <= 255:
        return None
    step = residual.step(header.unit, code)
    values = m.astype(np.float64)
    best: tuple[Soft, float] | None = None
    for start in soft_fit.outlines(values):
        steps = residual.quantise(start.values, step)
        if steps is None:
            return None
        stepped = layers.in_steps(start, steps, code)
        known = replace(
            stepped, values=residual.dequantise(stepped.values, step, 0.0, header.low, header.high)
        )
        tried = soft_fit.cheapest(values, known, m.size * rms**2, parts)
        if tried is not None and (best is None or tried[1] < best[1]):
            own = replace(stepped, depths=tried[0].layers.depths)
            best = Soft(own, tried[0].parts), tried[1]
    if best is None:
        return None
    restored = _drawn(best[0], m, header)
    return (best[0], restored) if keeps(m, restored, span, request) else None


def _drawn(found: Soft, m: NDArray[Any], header: Header) -> NDArray[Any]:
    """What layers with values in steps read back as, on a map's own grid."""
    own = found.layers
    step = residual.step(header.unit or 0.0, own.code or 0)
    values = residual.cast(residual.dequantise(own.values, step, 0.0, header.low, header.high), m.dtype)
    return within_range(soft.draw(Soft(Layered(values, own.depths), found.parts), len(m)), header)


def encode_layers(stored: list[Any], heights: list[int], header: Header) -> tuple[bytes, NDArray[np.float64]]:
    """Layered maps, with smoothed edges or not, to a stream, and the bytes that each took of it (n,)."""
    plain, tall, scales = [], [], []
    for own, height in zip(stored, heights, strict=True):
        smooth = isinstance(own, Soft)
        plain.append(own.layers if smooth else own)
        tall.append(height * own.parts[0] if smooth else height)
        scales.append(1 + container.PARTS.index(own.parts) if smooth else 0)
    return layers.encode(plain, tall, header.low, header.high, header.unit or 0.0, scales)

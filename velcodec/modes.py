"""What each mode offers for the maps of a block: how many bytes it takes, what quality it gives, what is stored.

An offer of a mode has infinite bytes for the maps that it cannot store as asked. Bytes are those that a map took of a
stream that it shared with all the maps offered, so they are an estimate where other maps end up in the stream.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray

from . import (
    container,
    exact,
    layers,
    pixels,
    quantise,
    residual,
    soft,
    soft_fit,
    spectrum,
    spectrum_coder,
    spectrum_fit,
)
from .codebook import Codebook
from .decoder import MAX_FINE, Corrected, corrected, of_waves, restore, within_range
from .fit import fit_latents
from .grid import make_grid
from .header import Header
from .layers import Layered
from .pixels import Integers, Model
from .request import Request
from .soft import Soft
from .spectrum import Spectrum
from .synthesis import sample

VALUE_SHARE = 0.08  # of the squared error allowed that the rounding of values to steps may take
REACH = 12  # codes tried for a PSNR on either side of the one that noise would need
SHARES = (0.35, 0.45)  # of a bound: the root mean square error of cosines whose residual keeps it
# Bytes of a wave past a step, and of one beyond so many: rather too few.
BYTES_A_WAVE, MANY_WAVES, MORE_BYTES = 0.2, 200, 0.5
SUMS = 1e-9  # of the largest value: more than sums of cosines differ between machines
ROUNDED_STEPS = 6  # codes tried for cosines: the rounding of a dtype may ask for a finer step
LATER_STEPS = 9  # codes tried for a bound: drift and the rounding of a dtype may ask for a finer step


@dataclass
class Offer:
    """A mode's offer for n maps: kinds, bytes, PSNR in dB (inf: exact) and maximum error, (n,) each.

    `streams` are those made on the way, each with what it holds and by its name: if just these maps end up in one, it
    need not be made again.
    """

    kinds: NDArray[np.uint8]
    bytes: NDArray[np.float64]
    psnr: NDArray[np.float64]
    error: NDArray[np.float64]
    stored: list[Any]
    streams: dict[tuple[int, ...], Any] = field(default_factory=dict)

    def cheaper(self, share: float) -> "Offer":
        """The same offer as if it took that share of its bytes."""
        return replace(self, bytes=share * self.bytes)


def of(stored: Sequence[Any]) -> tuple[int, ...]:
    """What names the stream of some stored objects."""
    return tuple(map(id, stored))


@dataclass
class Maps:
    """Maps (or tiles) to store: samples in the array's dtype, and the range of the map that each is or belongs to."""

    samples: list[NDArray[Any]]
    spans: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.samples)

    def some(self, rows: Sequence[int]) -> "Maps":
        """Those of some rows."""
        return Maps([self.samples[row] for row in rows], self.spans[list(rows)])


def nothing(n: int) -> Offer:
    """No offer."""
    return Offer(np.zeros(n, np.uint8), np.full(n, np.inf), np.full(n, np.inf), np.zeros(n), [None] * n)


def copied(offer: Offer) -> Offer:
    """The same offer, to go on from apart."""
    return Offer(
        offer.kinds.copy(),
        offer.bytes.copy(),
        offer.psnr.copy(),
        offer.error.copy(),
        list(offer.stored),
        dict(offer.streams),
    )


def take(best: Offer, offer: Offer, rows: Sequence[int], all_of_it: bool = False) -> None:
    """Put an offer for some rows in place of the best where it takes fewer bytes, or wherever there is one."""
    for i, row in enumerate(rows):
        if offer.bytes[i] < best.bytes[row] or (all_of_it and np.isfinite(offer.bytes[i])):
            best.kinds[row], best.bytes[row] = offer.kinds[i], offer.bytes[i]
            best.psnr[row], best.error[row] = offer.psnr[i], offer.error[i]
            best.stored[row] = offer.stored[i]
    best.streams |= offer.streams


def as_layers(maps: Maps, header: Header) -> Offer:
    """Layered maps, bit for bit."""
    return _layered(maps, [layers.analyse(_native(m)) for m in maps.samples], header)


def as_layers_in_steps(maps: Maps, header: Header, request: Request) -> Offer:
    """Maps that are layered, or are once their values are multiples of twice the bound; interfaces stay in place."""
    found: list[Layered | None] = []
    restored: list[NDArray[Any]] = []
    for m, span in zip(maps.samples, maps.spans.tolist(), strict=True):
        own = _on_lattice(m, span, header, request)
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
    own = layers.analyse(_native(m))
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
    rms = _rms(span, request)
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


def as_exact(maps: Maps, header: Header, smooth: bool) -> Offer:
    """Integers and binary fractions, bit for bit, under one of the two models of pixels.py."""
    found = [exact.to_integers(_native(m)) for m in maps.samples]
    kind = container.KIND_SMOOTH_EXACT if smooth else container.KIND_EDGES_EXACT
    model = pixels.models(header.generation)[smooth]
    return _integers_of(maps, found, model, kind, exact.mantissa(maps.samples[0].dtype))


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


def as_quantised(maps: Maps, header: Header, request: Request, smooth: bool) -> Offer:
    """Multiples of a step: of twice the bound, or of the coarsest step that keeps the PSNR."""
    found = [
        _on_lattice(m, s, header, request) for m, s in zip(maps.samples, maps.spans.tolist(), strict=True)
    ]
    kind = container.KIND_SMOOTH if smooth else container.KIND_EDGES
    model = pixels.models(header.generation)[smooth]
    out = _integers_of(maps, [None if f is None else f[0] for f in found], model, kind, 0)
    for i, (m, f) in enumerate(zip(maps.samples, found, strict=True)):
        if f is not None:
            out.psnr[i], out.error[i] = quality(m, f[1], maps.spans[i])
    return out


def as_cosines(maps: Maps, header: Header, request: Request, than: NDArray[np.float64]) -> Offer:
    """Cosines that keep what is asked, of maps that may take fewer bytes `than` (n,) so.

    A PSNR is kept by the coarsest steps that do, a bound by a residual: upon cosines as far off as one of SHARES says.
    """
    if request.max_error is None:
        return _cosines(maps, header, request, than, None)
    shares = SHARES if request.effort > 2 else SHARES[:1]
    offers = [_cosines(maps, header, request, than, share * request.max_error) for share in shares]
    return min(offers, key=lambda offer: float(np.minimum(offer.bytes, than).sum()))


def _cosines(
    maps: Maps, header: Header, request: Request, than: NDArray[np.float64], rms: float | None
) -> Offer:
    """Cosines that keep the PSNR, or that are off by a root mean square and have a residual."""
    out = nothing(len(maps))
    with ThreadPoolExecutor() as pool:

        def search(i: int) -> tuple[Spectrum | Corrected, NDArray[Any]] | None:
            return _transformed(maps.samples[i], float(maps.spans[i]), header, request, float(than[i]), rms)

        found = list(pool.map(search, range(len(maps))))
    rows = [i for i, f in enumerate(found) if f is not None]
    pairs = [f for f in found if f is not None]
    if not pairs:
        return out
    spectra = [f.base if isinstance(f, Corrected) else f for f, _ in pairs]
    data, out.bytes[rows] = spectrum_coder.encode(spectra)
    out.streams[of(spectra)] = spectra, data
    corrections = [f.correction for f, _ in pairs if isinstance(f, Corrected)]
    if corrections:
        data, size = pixels.encode(corrections, pixels.models(header.generation)[1], 0)
        out.bytes[rows] += size
        out.streams[of(corrections)] = corrections, data
    for row, (f, restored) in zip(rows, pairs, strict=True):
        corrected_ = isinstance(f, Corrected)
        out.kinds[row] = container.KIND_COSINES_RESIDUAL if corrected_ else container.KIND_COSINES
        out.psnr[row], out.error[row] = quality(maps.samples[row], restored, maps.spans[row])
        out.stored[row] = f
    return out


def _transformed(
    m: NDArray[Any], span: float, header: Header, request: Request, than: float, rms: float | None
) -> tuple[Spectrum | Corrected, NDArray[Any]] | None:
    """A map as cosines, and as they read back; None where they do not keep what is asked, or take too many bytes."""
    if span <= 0 or not header.unit:
        return None
    values, goal = m.astype(np.float64), rms or _rms(span, request)
    if not goal > 0:  # of the least numbers that there are
        return None
    c = spectrum.products(values - header.offset)
    start = spectrum_fit.nearest(header.unit, goal * math.sqrt(12))
    waves = np.count_nonzero(np.abs(c) > spectrum.step(header.unit, start))
    if BYTES_A_WAVE * waves + MORE_BYTES * max(waves - MANY_WAVES, 0) > than:
        return None
    found = spectrum_fit.coarsest(c, header.unit, m.size * goal**2)
    if found is None:
        return None
    tries: Iterator[Spectrum | Corrected]
    if rms is None:  # what a dtype rounds is not in the error of cosines
        tries = chain((found,), spectrum_fit.finer(c, header.unit, found.code, ROUNDED_STEPS))
    else:
        tries = _with_residuals(values, found, header, request)
    for made in tries:
        restored = of_waves(made, make_grid(m.shape), header)
        # On another machine a sum may come to a little more or less, and a dtype round it the other way.
        around = (of_waves(made, make_grid(m.shape), header, by) for by in (-SUMS, SUMS))
        if all(keeps(m, r, span, request) for r in (restored, *around)):
            return made, restored
    return None


def _with_residuals(
    values: NDArray[np.float64], base: Spectrum, header: Header, request: Request
) -> Iterator[Corrected]:
    """Cosines and what they miss of a map, in steps of twice the bound and finer."""
    unit = header.unit or 0.0
    off = values - spectrum.draw(base, spectrum.step(unit, base.code), header.offset)
    for code in _codes(0.0, header, request):
        q = residual.quantise(off, residual.step(unit, code))
        if q is None:
            return
        yield Corrected(base, Integers(q, code))


def _on_lattice(
    m: NDArray[Any], span: float, header: Header, request: Request
) -> tuple[Integers, NDArray[Any]] | None:
    """A map as integers, and as it reads back, where a step keeps what is asked."""
    values = m.astype(np.float64)
    for code in _codes(span, header, request):
        step = residual.step(header.unit or 0.0, code)
        if request.max_error is None and not residual.within(values, step, _rms(span, request)):
            continue
        q = residual.quantise(values, step)
        if q is None:
            return None
        restored = residual.cast(residual.dequantise(q, step, 0.0, header.low, header.high), m.dtype)
        if keeps(m, restored, span, request):
            return Integers(q, code), restored
    return None


def _codes(span: float, header: Header, request: Request) -> Sequence[int]:
    """Codes of the steps to try, the coarsest first: for a PSNR about the one whose rounding noise would give it."""
    if request.max_error is not None:
        return range(residual.CODE_ZERO, residual.CODE_ZERO - LATER_STEPS, -1)
    if not header.unit or span <= 0:
        return ()
    ratio = _rms(span, request) * math.sqrt(12) / header.unit
    if not ratio > 0:
        return ()
    middle = residual.CODE_ZERO + round(8 * math.log2(ratio))
    return [code for code in range(middle + REACH, middle - REACH, -1) if 0 <= code <= 255]


def _rms(span: float, request: Request) -> float:
    """The root mean square error that gives the PSNR asked for."""
    return span * 10 ** (-request.least_psnr / 20)


def keeps(m: NDArray[Any], restored: NDArray[Any], span: float, request: Request, drift: float = 0.0) -> bool:
    """Whether a map reads back as asked, were every sample off by a drift as well."""
    off = np.abs(m.astype(np.float64) - restored.astype(np.float64))
    if request.max_error is not None:
        whole = m.dtype.kind in "iu"  # then a drift may take the next integer
        return float(off.max()) + drift <= (math.floor(request.max_error) if whole else request.max_error)
    rms = float(np.sqrt(np.mean(off**2))) + drift
    return rms <= _rms(span, request)


def quality(m: NDArray[Any], restored: NDArray[Any], span: float) -> tuple[float, float]:
    """PSNR in dB by a given range, and the maximum error."""
    off = np.abs(m.astype(np.float64) - restored.astype(np.float64))
    mse = float(np.mean(off**2))
    if mse == 0:
        return np.inf, 0.0
    return 10 * float(np.log10(span**2 / mse)) if span > 0 else 0.0, float(off.max())


@dataclass(frozen=True)
class Latents:
    """Latents of n maps of one shape as they would be stored, and what they decode to, normalised (n, h, w)."""

    kinds: NDArray[np.uint8]
    stored: list[Any]  # of each map: integers, (scale, int8) or float16
    bytes: NDArray[np.float64]
    values: NDArray[np.float32]

    def some(self, rows: Sequence[int]) -> "Latents":
        """Those of some rows."""
        return Latents(self.kinds[rows], [self.stored[i] for i in rows], self.bytes[rows], self.values[rows])


def fitted(
    maps: Maps,
    header: Header,
    request: Request,
    codebook: Codebook,
    device: torch.device,
    effort: int,
    most: NDArray[np.float64] | None = None,
) -> Latents:
    """Latents of maps of one shape, searched for at an effort.

    Args:
        most: bytes (n,) that they are to take less than, where a PSNR is asked for.
    """
    original = np.stack(maps.samples).astype(np.float64)
    normalised = ((original - header.offset) / header.scale).astype(np.float32)
    rounded = request.latent == "entropy"
    goals = _goals(maps, header, request, codebook) if rounded else None
    plain = None if rounded else header.plain
    fit = fit_latents(normalised, codebook, device, effort, plain, goals, most)
    n = len(original)
    stored: list[Any]
    if rounded:
        kinds = container.KIND_ENTROPY + fit.table
        q, latents, size = fit.rounded(codebook)
        stored = list(q)
    elif request.latent == "int8":
        scale, eight = quantise.to_int8(fit.latents[:, : header.plain])
        kinds, size = np.full(n, container.KIND_INT8), np.full(n, 4.0 + header.plain)
        stored = list(zip(scale, eight, strict=True))
        latents = quantise.whole(quantise.from_int8(scale, eight), codebook.latent)
    else:
        half = quantise.to_fp16(fit.latents[:, : header.plain])
        kinds, size = np.full(n, container.KIND_FP16), np.full(n, 2.0 * header.plain)
        stored, latents = list(half), quantise.whole(quantise.from_fp16(half), codebook.latent)
    values = sample(codebook, latents, make_grid(original.shape[1:]), device)
    return Latents(kinds.astype(np.uint8), stored, size, values)


def _goals(maps: Maps, header: Header, request: Request, codebook: Codebook) -> NDArray[np.float64] | None:
    """The PSNRs (n,) to fit latents for, so that what is asked still holds with the drift added."""
    if request.goal is None:
        return None
    goals = np.full(len(maps), float(request.goal))
    if request.latent_only:
        return goals
    allowed = np.array([_rms(span, request) for span in maps.spans.tolist()])
    share = np.minimum(codebook.drift * abs(header.scale) / np.maximum(allowed, 1e-30), 0.5)
    return goals - 20 * np.log10(1 - share)


def as_latents(maps: Maps, latents: Latents, header: Header, request: Request, drift: float) -> Offer:
    """Latents alone; the drift, in the array's units, is added to every error before a map counts as kept."""
    out = nothing(len(maps))
    restored = restore(latents.values, header)
    for i, (m, r) in enumerate(zip(maps.samples, restored, strict=True)):
        out.psnr[i], out.error[i] = quality(m, r, maps.spans[i])
        if request.latent_only or keeps(m, r, maps.spans[i], request, drift):
            out.bytes[i] = latents.bytes[i]
    out.kinds, out.stored = latents.kinds.copy(), list(latents.stored)
    return out


def as_corrected(maps: Maps, latents: Latents, header: Header, request: Request, drift: float) -> Offer:
    """Entropy-coded latents and a quantised residual, which keeps a bound or a PSNR on any device."""
    out = nothing(len(maps))
    rows, own = [], []
    for i, m in enumerate(maps.samples):
        base = latents.values[i].astype(np.float64) * header.scale + header.offset
        grid = make_grid(m.shape)
        off = m.astype(np.float64) - base
        for code in _codes(maps.spans[i], header, request):
            step = residual.step(header.unit or 0.0, code)
            if request.max_error is None and not residual.within(off, step, _rms(maps.spans[i], request)):
                continue
            q = residual.quantise(off, step)
            if q is None:
                break
            restored = corrected(latents.values[i], Integers(q, code), grid, header)
            if keeps(m, restored, maps.spans[i], request, drift):
                rows.append(i)
                own.append(Integers(q, code))
                out.kinds[i] = latents.kinds[i] - container.KIND_ENTROPY + container.KIND_RESIDUAL
                out.psnr[i], out.error[i] = quality(m, restored, maps.spans[i])
                out.stored[i] = (latents.stored[i], own[-1])
                break
    if own:
        out.bytes[rows] = pixels.encode(own, pixels.models(header.generation)[1], 0)[1] + latents.bytes[rows]
    return out


def _native(m: NDArray[Any]) -> NDArray[Any]:
    return m.astype(m.dtype.newbyteorder("="), copy=False)

"""Maps as cosines of every length, alone for a PSNR, with a residual for a bound."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import container, pixels, residual, spectrum, spectrum_coder, spectrum_fit
from ..decoder import Corrected, of_waves
from ..grid import make_grid
from ..header import Header
from ..pixels import Integers
from ..request import Request
from ..spectrum import Spectrum
from .asked import allowed_rms, codes, keeps, quality
from .offer import Maps, Offer, nothing, of

SHARES = (0.35, 0.45)  # of a bound: the root mean square error of cosines whose residual keeps it
# Bytes of a wave past a step, and of one beyond so many: rather too few.
BYTES_A_WAVE, MANY_WAVES, MORE_BYTES = 0.2, 200, 0.5
SUMS = 1e-9  # of the largest value: more than sums of cosines differ between machines
ROUNDED_STEPS = 6  # codes tried for cosines: the rounding of a dtype may ask for a finer step


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
    values, goal = m.astype(np.float64), rms or allowed_rms(span, request)
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
    for code in codes(0.0, header, request):
        q = residual.quantise(off, residual.step(unit, code))
        if q is None:
            return
        yield Corrected(base, Integers(q, code))

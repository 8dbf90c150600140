"""The coarsest steps of a map's cosines that keep what is asked, their integers by rate and distortion.

An integer is the nearest, its neighbour towards zero, or zero, whichever costs least, a bit at a price (as in
cosine_fit.py). Bits are those of a Laplacian as wide as the waves around are large (Sullivan, "Efficient scalar
quantization of exponential and Laplacian random variables", 1996).
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import spectrum
from .border import LIMIT
from .compiled import compiled
from .spectrum import Spectrum

PRICE = 0.16  # of a bit, in squared steps
LEAST = 0.02  # of a step that waves around are large, at least


def coarsest(c: NDArray[np.float64], unit: float, allowed: float) -> Spectrum | None:
    """The integers of products (H, W) with the waves at the coarsest step that leaves a squared error allowed.

    None where there is no such step.
    """
    around, best = _around(c), None
    low, high = 0, spectrum.CODES
    while low < high:  # codes below `low` leave it, those from `high` on do not
        middle = (low + high) // 2
        step = spectrum.step(unit, middle)
        q = integers(c, around, step)
        if q is not None and float(((c - step * q) ** 2).sum()) > allowed:
            high = middle
            continue
        low, best = middle + 1, best if q is None else Spectrum(q.astype(np.int64), middle)
    return best


def finer(c: NDArray[np.float64], unit: float, code: int, count: int) -> Iterator[Spectrum]:
    """The integers of products (H, W) at up to so many codes below one, as long as there are any."""
    for below in range(code - 1, max(code - count, 0) - 1, -1):
        q = integers(c, _around(c), spectrum.step(unit, below))
        if q is None:
            return
        yield Spectrum(q.astype(np.int64), below)


def nearest(unit: float, step: float) -> int:
    """The code of the step nearest to one."""
    return min(
        max(round(spectrum.PER_OCTAVE * math.log2(step / unit)) + spectrum.CODE_ZERO, 0), spectrum.CODES - 1
    )


def integers(c: NDArray[np.float64], around: NDArray[np.float64], step: float) -> NDArray[np.float64] | None:
    """Integers (H, W) of products in steps, whole numbers; None where one is too large to be coded."""
    if not np.abs(c).max() / step < LIMIT - 1:
        return None
    return _cheapest(c, around, step)


@compiled
def _cheapest(c: Any, around: Any, step: float) -> Any:
    out = np.zeros(c.shape)
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            size = abs(c[i, j]) / step
            near = np.floor(size + 0.5)
            if near == 0:
                continue
            spread = around[i, j] / step + LEAST
            more = 1 / (spread * np.log(2.0))  # bits
            first = 1 + 0.5 * more - np.log2(-np.expm1(-1 / spread))
            best, least = 0.0, size**2 - PRICE * np.log2(-np.expm1(-0.5 / spread))
            for k in (near - 1, near):
                cost = (size - k) ** 2 + PRICE * (first + (k - 1) * more)
                if k > 0 and cost < least:
                    best, least = k, cost
            out[i, j] = np.copysign(best, c[i, j])
    return out


def _around(c: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean size of the waves around each, and itself."""
    from scipy.ndimage import uniform_filter

    mean: NDArray[np.float64] = uniform_filter(np.abs(c), 3, mode="nearest")
    return mean

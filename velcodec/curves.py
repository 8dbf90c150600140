"""Interfaces as cosines that lie where a map shows them: between the cells over and under them.

The cosines of a fold are as large as one another up to BENDS half periods, and fall with the third power of these
beyond; those of an interface are near those of the one above it.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .decoders.cosines import NATIVE

FOLD, DRIFT = 30.0, 3.0  # cells: spread of a fold's cosines, and of what each interface adds
ANY_DEPTH = 100.0  # cells: that of the constant, about where the interface is seen, if it is
BENDS = 6  # half periods of the cosines that are spread so
PASSES = 200  # at most
SETTLED = 1e-2  # cells that an interface may be past its bounds
RELAXED, PROJECTIONS = 1.6, 60
HELD_BENDS = 8  # half periods from which on waves are moved less


def likeliest(
    low: NDArray[np.float64], high: NDArray[np.float64], basis: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The likeliest interfaces (n, K) between bounds (n, W), in cells, from the top down, each near the one above it.

    Bounds are infinite where there are none. By the alternating direction method of multipliers (Boyd et al.,
    "Distributed optimization and statistical learning", 2011): a curve and one between the bounds come together, until
    no column is past its bounds, or PASSES are over. The basis (W, K), cosines at the columns, is orthogonal, so that
    no system is solved.
    """
    smooth = np.maximum(1.0, np.arange(basis.shape[1]) / BENDS) ** -3
    fold, drift = FOLD * smooth, DRIFT * smooth
    fold[0] = drift[0] = ANY_DEPTH
    cosines = np.zeros((len(low), basis.shape[1]))
    _likeliest(cosines, low, high, basis, fold**-2, drift**-2, PASSES)
    return cosines


def bring_within(
    cosines: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    basis: NDArray[np.float64],
) -> None:
    """Bring interfaces (n, K) between bounds (n, W), in cells, in place, rather by long waves than by short ones.

    By projections (Gubin, Polyak, Raik, "The method of projections for finding the common point of convex sets", 1967),
    of which some may be left where the bounds cannot all be met. The basis (W, K) is orthonormal.
    """
    weight = RELAXED * np.maximum(1.0, np.arange(basis.shape[1]) / HELD_BENDS) ** -2
    _bring_within(cosines, low, high, basis, weight, PROJECTIONS)


@inlined
def _drawn(cosines: Any, turned: Any, curve: Any) -> None:
    """An interface (W,) of some cosines (K,) by the waves (K, W), one after another: columns go side by side."""
    curve[:] = 0
    for k in range(len(turned)):
        for x in range(len(curve)):
            curve[x] += cosines[k] * turned[k, x]


@compiled
def _likeliest(cosines: Any, low: Any, high: Any, basis: Any, fold: Any, drift: Any, passes: int) -> None:
    width, waves = basis.shape
    turned = np.ascontiguousarray(basis.T)
    inside, force, curve, pulled = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(waves)
    for i in range(len(cosines)):
        stiff = drift if i else fold
        above = cosines[i - 1].copy() if i else np.zeros(waves)
        own = cosines[i]
        force[:] = 0
        seen, depth = 0, 0.0
        for x in range(width):
            if high[i, x] - low[i, x] < math.inf:
                seen += 1
                depth += (low[i, x] + high[i, x]) / 2
        if seen:
            above[0] = depth / seen / basis[0, 0]
        _drawn(above, turned, curve)
        for x in range(width):
            inside[x] = min(max(curve[x], low[i, x]), high[i, x])
        for _ in range(passes):
            pulled[:] = 0
            for x in range(width):
                to = inside[x] - force[x]
                for k in range(waves):
                    pulled[k] += to * basis[x, k]
            for k in range(waves):
                own[k] = (stiff[k] * above[k] + pulled[k] * (NATIVE / width)) / (stiff[k] + 1)
            _drawn(own, turned, curve)
            most = 0.0
            for x in range(width):
                inside[x] = min(max(curve[x] + force[x], low[i, x]), high[i, x])
                force[x] += curve[x] - inside[x]
                most = max(most, abs(curve[x] - inside[x]))
            if most < SETTLED:
                break


@compiled
def _bring_within(cosines: Any, low: Any, high: Any, basis: Any, weight: Any, passes: int) -> None:
    width, waves = basis.shape
    turned = np.ascontiguousarray(basis.T)
    off, curve = np.empty(width), np.empty(width)
    for i in range(len(cosines)):
        for _ in range(passes):
            worst = 0.0
            _drawn(cosines[i], turned, curve)
            for x in range(width):
                off[x] = min(max(curve[x], low[i, x]), high[i, x]) - curve[x]
                worst = max(worst, abs(off[x]))
            if worst == 0:
                break
            for x in range(width):
                if off[x] != 0:
                    for k in range(waves):
                        cosines[i, k] += weight[k] * off[x] * basis[x, k]

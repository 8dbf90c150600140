"""The plateaus of a map: the values that it has in many cells, and which of them each cell is nearest to.

Of a map with smoothed edges, also its fills, rock half way between two layers, and the traces that faults leave.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .decoders.cosines import NATIVE

MOST = 16  # values of a map that is all plateaus
PLATEAU = 5  # cells with neighbours of their own value that make it a plateau, in a map that is not
ON_PLATEAUS = 0.4  # of the cells that are such ones, at least
AWAY = 5  # cells across within which a plateau has no border where traces of faults are looked for
FILL = (0.0008, 0.25)  # of the cells that a fill takes
FILL_ACROSS = 0.95  # of the columns, at most: layers are in all
HALF_WAY = 0.08  # of the step between the layers over and under a fill, by which it is off their mean


@dataclass(frozen=True)
class Plateaus:
    """A map (70, 70) and its plateaus: values (V,), which of them is nearest to each cell, and whether edges are soft.

    Cells of a fill, (over, value, under) of the layers and its own, are labelled as the layer over it.
    """

    v: NDArray[np.float64]
    values: NDArray[np.float64]
    labels: NDArray[np.int64]
    soft: bool
    filled: NDArray[np.bool_] | None = None
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)


def may_be_told(m: NDArray[np.generic]) -> bool:
    """Whether a map (H, W), in any units, has plateaus that layers and faults may tell."""
    return m.shape == (NATIVE, NATIVE) and seen(m.astype(np.float32)) is not None


def seen(v: NDArray[np.float32]) -> Plateaus | None:
    """The plateaus of a map (70, 70); None where it has few, or none."""
    own = v.astype(np.float64)
    values, labels = np.unique(own, return_inverse=True)
    if 2 <= len(values) <= MOST:
        return Plateaus(own, values, labels.reshape(v.shape), False)
    from scipy.ndimage import maximum_filter, minimum_filter

    same = maximum_filter(own, 3, mode="nearest") == minimum_filter(own, 3, mode="nearest")
    values, counts = np.unique(own[same], return_counts=True)
    values = values[counts >= PLATEAU]
    if not 2 <= len(values) <= MOST or counts.sum() < ON_PLATEAUS * v.size:
        return None
    return Plateaus(own, values, np.abs(own[..., None] - values).argmin(-1), True)


def with_fills(p: Plateaus) -> list[Plateaus]:
    """The same map with cells half way between two plateaus taken for a fill, where there is enough rock of such."""
    from scipy.ndimage import binary_dilation, binary_opening

    out = []
    away = np.abs(p.v[..., None] - p.values)
    for i, j in itertools.combinations(range(len(p.values)), 2):
        value, step = (p.values[i] + p.values[j]) / 2, p.values[j] - p.values[i]
        cells = binary_opening(np.abs(p.v - value) < HALF_WAY * step, np.ones((2, 2)))
        if not FILL[0] < cells.mean() < FILL[1] or cells.any(axis=0).mean() > FILL_ACROSS:
            continue
        near = np.abs(p.v - value) < step / 4  # edges are midway between the two values
        cells |= near & binary_dilation(cells, np.ones((3, 3)))
        layers = np.abs(p.values - value) > HALF_WAY * step  # edges have the value too, here and there
        labels = np.where(layers, away, np.inf).argmin(-1)
        top, bottom = cells[1:] & ~cells[:-1], cells[:-1] & ~cells[1:]
        sides = labels[:-1][top], labels[1:][bottom]
        if not all(map(len, sides)):  # rock that is at the edge of the map all along
            continue
        over, under = (np.bincount(side).argmax() for side in sides)
        if {over, under} == {i, j}:
            labels = np.where(cells, over, labels)
            out.append(replace(p, labels=labels, filled=cells, fill=(p.values[over], value, p.values[under])))
    return out


def traces(p: Plateaus) -> NDArray[np.bool_]:
    """Cells (70, 70) within a plateau that are not quite of its value: OpenFWI's smoothed faults leave such a trace."""
    from scipy.ndimage import maximum_filter, minimum_filter

    filled = np.zeros(p.v.shape, bool) if p.filled is None else p.filled
    labels = np.where(filled, len(p.values), p.labels)
    inside = maximum_filter(labels, AWAY) == minimum_filter(labels, AWAY)
    found: NDArray[np.bool_] = (p.v != p.values[p.labels]) & inside & ~filled
    return found

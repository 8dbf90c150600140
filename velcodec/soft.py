"""A layered map whose edges are smoothed, on its own grid and on others. soft_fit.py finds such layers.

    layers, their interfaces in parts of a cell -> crisp, at twice the native resolution -> blurred -> mean of 2 x 2

The blur is a Gaussian of half a cell of the finer grid, five taps a direction: so OpenFWI's FlatFault_A shards read
across a flat interface (0, 0.0535, 0.9465, 1 of the step). Unlike in layers.py, a value may come more than once from
top to bottom, as where a fault has put one stack of layers on another.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import interfaces, layers
from .compiled import compiled
from .layers import Layered

BROAD = 0.31  # cells: the Gaussian that the blur and the mean come to together
TAPS = np.array(  # exp(-(k / 0.5)^2 / 2) for k = -2 .. 2, over their sum
    [
        0.00026386508273735414,
        0.10645077197359151,
        0.7865707258873422,
        0.10645077197359151,
        0.00026386508273735414,
    ]
)


@dataclass(frozen=True)
class Soft:
    """A layered map with smoothed edges: depths (L - 1, W across) of its layers are in 1 / down of a cell."""

    layers: Layered
    parts: tuple[int, int]


def draw(found: Soft, height: int) -> NDArray[np.float64]:
    """The native map (H, W) in float64."""
    down, across = found.parts
    rows = native(layers.draw(found.layers, height * down).astype(np.float64), down)
    return np.ascontiguousarray(native(np.ascontiguousarray(rows.T), across).T)


def draw_at(found: Soft, height: int, z: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map at evenly spaced depths z (h,) and positions x (w,) in unit coordinates, (h, w): crisp, then blurred."""
    from scipy.ndimage import gaussian_filter

    down, across = found.parts
    crisp = interfaces.draw_at(found.layers, height * down, z, x).astype(np.float64)
    cells = (height, found.layers.depths.shape[1] / across)
    sigma = [BROAD / _cells_apart(axis, n) for axis, n in zip((z, x), cells, strict=True)]
    blurred: NDArray[np.float64] = gaussian_filter(crisp, sigma, mode="nearest")
    return blurred


def _cells_apart(axis: NDArray[np.float64], cells: float) -> float:
    """Native cells from one sample to the next."""
    return float(axis[1] - axis[0]) / 2 * cells if len(axis) > 1 else cells


@compiled
def native(rows: Any, parts: int) -> Any:
    """Rows (H parts, W) to (H, W): twice the native ones, blurred and averaged in pairs, mirrored past the edges."""
    height, width = len(rows) // parts, rows.shape[1]
    twice, each = 2 * height, max(parts // 2, 1)
    double = np.empty((twice + 4, width))  # with two rows more at either end
    for r in range(twice):
        first = r * each if parts > 1 else r // 2
        for x in range(width):
            double[r + 2, x] = rows[first, x]
        for k in range(1, each):
            for x in range(width):
                double[r + 2, x] += rows[first + k, x]
        for x in range(width):
            double[r + 2, x] /= each
    for k in range(2):
        double[1 - k] = double[2 + k]
        double[twice + 2 + k] = double[twice + 1 - k]
    out = np.empty((height, width))
    a, b, c, d, e = TAPS
    for r in range(0, twice, 2):
        for x in range(width):
            above = a * double[r, x] + b * double[r + 1, x] + c * double[r + 2, x] + d * double[r + 3, x]
            above += e * double[r + 4, x]
            below = a * double[r + 1, x] + b * double[r + 2, x] + c * double[r + 3, x] + d * double[r + 4, x]
            below += e * double[r + 5, x]
            out[r // 2, x] = (above + below) / 2
    return out

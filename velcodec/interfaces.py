"""A layered map on any grid: crisp layers under interfaces that are smooth between the columns of the map.

depths of whole cells -> smooth curves that round to them, torn at faults -> layers, faults along their line
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layers import Layered

# Of interfaces between the samples; set on synthetic CurveVel and Fault_B maps, where the truth is known.
SMOOTHNESS = 10.0  # weight of squared third differences against squared distances from the depths
KINK = 0.3  # cells: a third difference of this size weighs half
PULL = 10.0  # added weight of the limit, half a cell off a depth, where a curve passes it
PASSES = 4  # with weights set anew, after the first
JUMP = 2  # cells from column to column, beyond the course of an interface, that tear it
FAULT_ROWS, FAULT_COLUMNS = 6.0, 1.5  # cells: standard deviations of the window of a fault line's fit


def draw_at(layers: Layered, height: int, z: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[Any]:
    """The map at depths z (h,) and positions x (w,) in unit coordinates, (h, w): layers with crisp interfaces."""
    width = layers.depths.shape[1]
    torn = jumps(layers.depths)
    down = (z + 1) / 2 * height
    at = np.clip((x + 1) / 2 * width - 0.5, 0, width - 1)
    gap = np.minimum(at.astype(int), max(width - 2, 0))
    left, right = _sides(smooth_depths(layers.depths, height), torn, at, gap)
    place = _layer_at(left, down)
    if torn.any():
        faulted: NDArray[np.bool_] = np.any(torn[:, gap], axis=0)
        beyond = _beyond(layers.depths, torn, height, down, at[faulted], gap[faulted])
        place[:, faulted] = np.where(beyond, _layer_at(right[:, faulted], down), place[:, faulted])
    out: NDArray[Any] = layers.values[place]
    return out


def _layer_at(curves: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which layer is at depths down (h,) cells under interfaces (I, w), (h, w); none lies above the one over it."""
    place = np.zeros((len(down), curves.shape[1]), dtype=np.int64)
    for curve in np.maximum.accumulate(curves, axis=0) if len(curves) else curves:
        place += down[:, None] > curve
    return place


def smooth_depths(depths: NDArray[np.int64], height: int) -> NDArray[np.float64]:
    """Depths in cells (I, W) of smooth interfaces that round to the integer ones.

    A penalty on third differences (Whittaker, "On a new method of graduation", 1923) between the columns; no depth
    moves by more than half a cell, and one at the map's edge may lie beyond it. Nothing is smoothed across a jump.

    A few passes with weights set anew (iteratively reweighted least squares) let an interface have a few kinks, as at a
    small fault, which plain squares would spread over the columns about it: a large third difference weighs less
    (Cauchy's weights). And where a curve passes its limit, the limit draws it back, rather than a cut that leaves a
    corner.
    """
    count, width = depths.shape
    if not count or width < 4:
        return depths.astype(np.float64)
    torn = jumps(depths)
    stiff = np.where(torn[:, :-2] | torn[:, 1:-1] | torn[:, 2:], 0.0, SMOOTHNESS)
    weight = np.where((depths > 0) & (depths < height), 1.0, 0.02)
    low = np.where(depths > 0, depths - 0.5, -np.inf)
    high = np.where(depths < height, depths + 0.5, np.inf)
    curves = _graduated(weight, weight * depths, stiff)
    for _ in range(PASSES):
        within = np.clip(curves, low, high)
        pull = PULL * (curves != within)
        flexible = stiff / (1 + (np.diff(curves, 3, axis=1) / KINK) ** 2)
        curves = _graduated(weight + pull, weight * depths + pull * within, flexible)
    return np.clip(curves, low, high)


def _graduated(
    weight: NDArray[np.float64], weighted: NDArray[np.float64], stiff: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Curves (I, W) of least squares: weight (I, W) from weighted / weight, stiff (I, W - 3) of third differences."""
    from scipy.linalg import solveh_banded

    count, width = weight.shape
    bands = np.zeros((4, count, width))  # all curves in one system, which nothing joins
    bands[0] = weight
    third = (-1, 3, -3, 1)
    for k in range(4):
        for j in range(4 - k):
            bands[k, :, j : j + width - 3] += third[j] * third[j + k] * stiff
    out: NDArray[np.float64] = solveh_banded(bands.reshape(4, -1), weighted.ravel(), lower=True)
    return out.reshape(count, width)


def jumps(depths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where interfaces (I, W) are torn by a fault, (I, W - 1): steps far from the median of the five about them."""
    steps = np.diff(depths, axis=1)
    if not steps.size:
        return np.zeros(steps.shape, dtype=np.bool_)
    around = np.pad(steps, ((0, 0), (2, 2)), mode="edge")
    middle = np.median(np.stack([around[:, k : k + steps.shape[1]] for k in range(5)]), axis=0)
    torn: NDArray[np.bool_] = np.abs(steps - middle) >= JUMP
    return torn


def _sides(
    curves: NDArray[np.float64], torn: NDArray[np.bool_], at: NDArray[np.float64], gap: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Curves (I, W) of whole columns at any column (w,), (I, w): monotone cubics, and at jumps one or the other column.

    `gap` (w,) is the column before. The first array has that column's depth at a jump, the second the next one's.
    """
    width = curves.shape[1]
    if width < 2 or not len(curves):
        same = np.repeat(curves[:, :1], len(at), axis=1)
        return same, same
    from scipy.interpolate import PchipInterpolator

    smooth = PchipInterpolator(np.arange(width), curves, axis=1)(at)
    there = torn[:, gap]
    return np.where(there, curves[:, gap], smooth), np.where(there, curves[:, gap + 1], smooth)


def _beyond(
    depths: NDArray[np.int64],
    torn: NDArray[np.bool_],
    height: int,
    down: NDArray[np.float64],
    at: NDArray[np.float64],
    gap: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether points at depths (h,) and columns (w,) in cells lie right of the fault that passes their gap, (h, w).

    A fault shows where interfaces are torn: in some rows of a gap, then of the next one. A straight line through what
    is seen of it near each row of each gap, by weighted least squares, says where between the columns it passes.
    """
    from scipy.ndimage import correlate1d

    rows = np.arange(height)[:, None]
    top, bottom = np.minimum(depths[:, :-1], depths[:, 1:]), np.maximum(depths[:, :-1], depths[:, 1:])
    seen = np.zeros((height, torn.shape[1]))
    for t, z0, z1 in zip(torn, top, bottom, strict=True):
        seen[t & (rows >= z0) & (rows < z1)] = 1

    def moment(p: int, q: int) -> Any:
        """Weighted sum of dz^p dx^q over what is seen, dz rows and dx columns away, at every row and gap."""
        total = seen
        for axis, (power, sigma) in enumerate(((p, FAULT_ROWS), (q, FAULT_COLUMNS))):
            away = np.arange(-round(2 * sigma), round(2 * sigma) + 1)
            kernel = away**power * np.exp(-0.5 * (away / sigma) ** 2)
            total = correlate1d(total, kernel, axis=axis, mode="constant")
        return total

    mass = np.maximum(moment(0, 0), 1e-9)
    z, x = moment(1, 0) / mass, moment(0, 1) / mass
    # What is seen in one row only has no slope: the 0.3 keeps it upright.
    slope = (moment(1, 1) / mass - z * x) / (moment(2, 0) / mass - z * z + 0.3)
    offset = x - slope * z
    row = np.clip(down.astype(int), 0, height - 1)
    line = offset[row[:, None], gap] + slope[row[:, None], gap] * (down - row - 0.5)[:, None]
    beyond: NDArray[np.bool_] = at - gap - 0.5 > line
    return beyond

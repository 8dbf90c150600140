"""The stacks of a faulted map, as its cells show them: the order of their layers, and their likeliest interfaces."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .curves import DRIFT, FOLD
from .told import basis

NEAR = 0.35  # cells that an interface is off where it is seen
BENDS = 8  # of the cosines that are spread so,
FOLD_BENDS = 12  # and of those of parallel layers
ROBUST_TURNS, OUTLYING = 3, 2.0  # of parallel interfaces; cells off at which a column counts half


def likeliest(
    target: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], waves: int
) -> NDArray[np.float64]:
    """The likeliest cosines (n, K) of interfaces seen at depths (n, W): near these, and each like the one above.

    Where an interface is not seen it is bounded at most, by the last cell over it or the first under it.
    """
    from scipy.linalg.lapack import dpbsv

    if not len(target):
        return np.zeros((0, waves))
    across = basis(target.shape[1], waves)
    own, other = (np.maximum(1.0, np.arange(waves) / BENDS) ** -3 * spread for spread in (FOLD, DRIFT))
    own[0] = other[0] = 1e3
    seen = np.isfinite(low) & np.isfinite(high)
    for _ in range(2):
        system, right = _system(np.where(seen, target, 0.0), seen, across, own**-2, other**-2)
        cosines: NDArray[np.float64] = dpbsv(system, right, lower=1)[1].reshape(-1, waves)
        curves = cosines @ across.T
        past = ~seen & ((curves < low) | (curves > high))
        if not past.any():
            break
        target = np.where(past, np.clip(curves, low, high), target)  # held where it is past that
        seen = seen | past
    return cosines


def fold_spread(waves: int) -> NDArray[np.float64]:
    """Cells (K,) by which the cosines of a fold of parallel layers differ from 0."""
    out: NDArray[np.float64] = FOLD * np.maximum(1.0, np.arange(waves) / FOLD_BENDS) ** -3
    return out


@compiled
def parallel(target: Any, low: Any, high: Any, across: Any, spread: Any) -> Any:
    """The likeliest cosines (n, K) of interfaces seen at depths (n, W) that are one fold at several depths.

    As `likeliest`, but columns that are far off count for less (Cauchy's weights, in a few turns).

    Args:
        across: (W, K) cosines at the columns.
        spread: cells (K,) of the fold's cosines.
    """
    n, (width, waves) = len(target), across.shape
    curves, off, cosines = np.zeros((n, width)), np.zeros((n, width)), np.zeros((n, waves))
    if n == 0:
        return cosines
    for turn in range(ROBUST_TURNS):
        system, right = np.zeros((waves - 1 + n, waves - 1 + n)), np.zeros(waves - 1 + n)
        for k in range(waves - 1):
            system[k, k] = (NEAR / spread[k + 1]) ** 2
        for i in range(n):
            system[waves - 1 + i, waves - 1 + i] = 1e-6
        for x in range(width):
            weight, pulled = 0.0, 0.0
            for i in range(n):
                seen = low[i, x] > -math.inf and high[i, x] < math.inf
                to = target[i, x]
                if not seen:
                    if not turn or low[i, x] <= curves[i, x] <= high[i, x]:
                        continue
                    to = min(max(curves[i, x], low[i, x]), high[i, x])
                own = 1 / (1 + (off[i, x] / OUTLYING) ** 2)
                weight, pulled = weight + own, pulled + own * to
                right[waves - 1 + i] += own * to
                system[waves - 1 + i, waves - 1 + i] += own
                for k in range(waves - 1):
                    system[waves - 1 + i, k] += own * across[x, k + 1]
            for k in range(waves - 1):
                right[k] += pulled * across[x, k + 1]
                for j in range(k + 1):
                    system[k, j] += weight * across[x, k + 1] * across[x, j + 1]
        for k in range(len(system)):
            system[:k, k] = system[k, :k]
        told = np.linalg.solve(system, right)
        for x in range(width):
            fold = 0.0
            for k in range(waves - 1):
                fold += told[k] * across[x, k + 1]
            for i in range(n):
                curves[i, x] = told[waves - 1 + i] + fold
                off[i, x] = target[i, x] - curves[i, x]
                if not (low[i, x] > -math.inf and high[i, x] < math.inf):
                    off[i, x] = 0.0
    for i in range(n):
        cosines[i, 0] = told[waves - 1 + i] / across[0, 0]
        cosines[i, 1:] = told[: waves - 1]
    return cosines


@compiled
def depths_of(labels: Any, own: Any, depth: Any, count: int) -> Any:
    """How many of some cells have each label, and their mean depth."""
    cells, total = np.zeros(count, np.int64), np.zeros(count)
    for z in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if own[z, x]:
                cells[labels[z, x]] += 1
                total[labels[z, x]] += depth[z, x]
    return cells, total / np.maximum(cells, 1)


@compiled
def edges(place: Any, depth: Any, count: int, target: Any, low: Any, high: Any) -> None:
    """Where each interface is in each column: between the cells above and below it that are fewest on a wrong side.

    Cells that are not of the stack have place -1. Infinite where a column has no cells on one side.
    """
    height, width = place.shape
    down, kind = np.empty(height), np.empty(height, np.int64)
    for x in range(width):
        n = 0
        for z in range(height):  # sorted by depth; few are not already
            if place[z, x] >= 0:
                k = n
                while k > 0 and down[k - 1] > depth[z, x]:
                    down[k], kind[k] = down[k - 1], kind[k - 1]
                    k -= 1
                down[k], kind[k] = depth[z, x], place[z, x]
                n += 1
        for i in range(count):
            wrong = 0
            for k in range(n):
                wrong += kind[k] <= i
            best, cut = wrong, 0
            for k in range(n):
                wrong += 1 if kind[k] > i else -1
                if wrong < best:
                    best, cut = wrong, k + 1
            low[i, x] = down[cut - 1] if cut > 0 else -math.inf
            high[i, x] = down[cut] if cut < n else math.inf
            if cut == 0:
                target[i, x] = high[i, x] - 0.5  # infinite where the column has no cells of the stack
            elif cut == n:
                target[i, x] = low[i, x] + 0.5
            else:
                target[i, x] = (low[i, x] + high[i, x]) / 2


@compiled
def _system(target: Any, seen: Any, across: Any, fold: Any, drift: Any) -> Any:
    """The equations of the cosines (n K,) nearest to what is seen and to those above, and their right side.

    They are symmetric: the diagonal and, of each column, the K rows under it, (1 + K, n K).
    """
    n, (width, waves) = len(target), across.shape
    system, right = np.zeros((1 + waves, n * waves)), np.zeros(n * waves)
    own = np.empty((waves, waves))
    for i in range(n):
        first = i * waves
        own[:] = 0
        for x in range(width):
            if seen[i, x]:
                for j in range(waves):
                    weight = across[x, j] / NEAR**2
                    right[first + j] += target[i, x] * weight
                    for k in range(j + 1):
                        own[j, k] += weight * across[x, k]
        for j in range(waves):
            for k in range(j + 1):
                system[j - k, first + k] = own[j, k]
            system[0, first + j] += drift[j] if i else fold[j]
            if i:
                system[0, first - waves + j] += drift[j]
                system[waves, first - waves + j] = -drift[j]
    return system, right


@compiled
def gathered(labels: Any, columns: Any, depths: Any) -> Any:
    """Labels (n, 70) and depths of cells (70, 70) by the column that each is led back to; labels below 0 are left out.

    n is the most cells that a column gets; places past its own have label -1. They are in order of their whole cells
    of depth.
    """
    height, width = labels.shape
    top, bottom = 1 << 30, -(1 << 30)
    for z in range(height):
        for x in range(width):
            if labels[z, x] >= 0:
                row = int(math.floor(depths[z, x]))
                top, bottom = min(top, row), max(bottom, row)
    first = np.zeros((width, max(bottom - top, 0) + 2), np.int64)
    for z in range(height):
        for x in range(width):
            if labels[z, x] >= 0:
                first[columns[z, x], int(math.floor(depths[z, x])) - top + 1] += 1
    most = 0
    for x in range(width):
        for row in range(1, first.shape[1]):
            first[x, row] += first[x, row - 1]
        most = max(most, first[x, -1])
    place, depth = np.full((most, width), -1), np.zeros((most, width))
    for z in range(height):
        for x in range(width):
            if labels[z, x] >= 0:
                column, row = columns[z, x], int(math.floor(depths[z, x])) - top
                at = first[column, row]
                place[at, column], depth[at, column] = labels[z, x], depths[z, x]
                first[column, row] += 1
    return place, depth

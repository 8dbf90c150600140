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
    fold, depths, cosines = np.zeros(width), np.zeros(n), np.zeros((n, waves))
    if n == 0:
        return cosines
    bends = np.ascontiguousarray(across[:, 1:])
    told = np.zeros(waves - 1)
    for turn in range(ROBUST_TURNS):
        # With the depths eliminated, which are in no equation together: the fold's (K - 1, K - 1), its lower half.
        system, right = np.zeros((waves - 1, waves - 1)), np.zeros(waves - 1)
        weights, pulls, bent = np.full(n, 1e-6), np.zeros(n), np.zeros((n, waves - 1))
        for x in range(width):
            weight, pulled = 0.0, 0.0
            for i in range(n):
                to, curve = target[i, x], depths[i] + fold[x]
                seen = low[i, x] > -math.inf and high[i, x] < math.inf
                if not seen:
                    if not turn or low[i, x] <= curve <= high[i, x]:
                        continue
                    to = min(max(curve, low[i, x]), high[i, x])
                own = 1 / (1 + ((to - curve) / OUTLYING) ** 2) if turn and seen else 1.0
                weight, pulled = weight + own, pulled + own * to
                weights[i] += own
                pulls[i] += own * to
                for k in range(waves - 1):
                    bent[i, k] += own * bends[x, k]
            if weight > 0:
                for k in range(waves - 1):
                    right[k] += pulled * bends[x, k]
                    by = weight * bends[x, k]
                    for j in range(k + 1):
                        system[k, j] += by * bends[x, j]
        for k in range(waves - 1):
            system[k, k] += (NEAR / spread[k + 1]) ** 2
            for i in range(n):
                by = bent[i, k] / weights[i]
                right[k] -= by * pulls[i]
                for j in range(k + 1):
                    system[k, j] -= by * bent[i, j]
            system[:k, k] = system[k, :k]
        if waves > 1:
            told = np.linalg.solve(system, right)
        for i in range(n):
            depths[i] = pulls[i]
            for k in range(waves - 1):
                depths[i] -= bent[i, k] * told[k]
            depths[i] /= weights[i]
        for x in range(width):
            fold[x] = 0.0
            for k in range(waves - 1):
                fold[x] += told[k] * bends[x, k]
    for i in range(n):
        cosines[i, 0] = depths[i] / across[0, 0]
        cosines[i, 1:] = told
    return cosines


@compiled
def depths_of(labels: Any, depths: Any, count: int) -> Any:
    """How many of some cells (n,) have each label, and their mean depth."""
    cells, total = np.zeros(count, np.int64), np.zeros(count)
    for i in range(len(labels)):
        cells[labels[i]] += 1
        total[labels[i]] += depths[i]
    return cells, total / np.maximum(cells, 1)


@compiled
def edges(places: Any, columns: Any, depths: Any, target: Any, low: Any, high: Any) -> None:
    """Where interfaces (n, W) are in each column: between the cells above and below that are fewest on a wrong side.

    Infinite where a column has no cells on one side.

    Args:
        places: of which layer, from the top, each cell (m,) is; those of none have -1.
        columns, depths: where each is.
    """
    count, width = target.shape
    first, cells = _in_order(places, columns, depths, width)
    down, kind = np.empty(len(cells)), np.empty(len(cells), np.int64)
    for k in range(len(cells)):
        down[k], kind[k] = depths[cells[k]], places[cells[k]]
    for x in range(width):
        start, end = first[x], first[x + 1]
        ordered = True
        for k in range(start + 1, end):
            ordered = ordered and kind[k - 1] <= kind[k]
        cut = start
        for i in range(count):
            if ordered:
                while cut < end and kind[cut] <= i:
                    cut += 1
            else:
                wrong, best, cut = 0, 0, start
                for k in range(start, end):
                    wrong += 1 if kind[k] > i else -1
                    if wrong < best:
                        best, cut = wrong, k + 1
            low[i, x] = down[cut - 1] if cut > start else -math.inf
            high[i, x] = down[cut] if cut < end else math.inf
            if cut == start:
                target[i, x] = high[i, x] - 0.5  # infinite where the column has no cells of the stack
            elif cut == end:
                target[i, x] = low[i, x] + 0.5
            else:
                target[i, x] = (low[i, x] + high[i, x]) / 2


@compiled
def _in_order(places: Any, columns: Any, depths: Any, width: int) -> Any:
    """Cells that have a place, by columns and down each: where each column begins, (W + 1,), and which they are."""
    rows, top, bottom = np.empty(len(places), np.int64), 1 << 30, -(1 << 30)
    for i in range(len(places)):
        if places[i] >= 0:
            rows[i] = int(math.floor(depths[i]))
            top, bottom = min(top, rows[i]), max(bottom, rows[i])
    begin, first = np.zeros(max(bottom - top, 0) + 2, np.int64), np.zeros(width + 1, np.int64)
    for i in range(len(places)):
        if places[i] >= 0:
            begin[rows[i] - top + 1] += 1
            first[columns[i] + 1] += 1
    begin, first = np.cumsum(begin), np.cumsum(first)
    by_row, cells, at = np.empty(first[-1], np.int64), np.empty(first[-1], np.int64), first.copy()
    for i in range(len(places)):
        if places[i] >= 0:
            row = rows[i] - top
            by_row[begin[row]] = i
            begin[row] += 1
    for i in by_row:
        k = at[columns[i]]
        at[columns[i]] += 1
        while k > first[columns[i]] and depths[cells[k - 1]] > depths[i]:  # within a row
            cells[k] = cells[k - 1]
            k -= 1
        cells[k] = i
    return first, cells


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

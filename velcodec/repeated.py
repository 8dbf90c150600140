"""Layers of a map whose values come back: sand, shale, sand. Which run of a column is of which layer.

runs of every column -> the shortest list of values, from top to bottom, that has those of all columns in it (about)
-> the place of each column's runs in it, near to where the column beside it has its interfaces
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled

MAX_VALUES = 8  # faulted maps of more could be told so too, but take fewer bytes as samples
MAX_RUNS = 24  # of a column, and of the list
MAX_KINDS = 24  # of columns, by the values of their runs


def ordered(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """The labels (L,) of layers from top to bottom, and the interfaces' depths (L - 1, W) of a map (H, W) of labels.

    None where there are more than MAX_VALUES labels or MAX_RUNS layers, or columns are of more than MAX_KINDS kinds.
    """
    if labels.max() >= MAX_VALUES:
        return None
    runs, bottoms = np.full((labels.shape[1], MAX_RUNS), -1), np.zeros((labels.shape[1], MAX_RUNS), np.int64)
    if not _find_runs(labels, runs, bottoms):
        return None
    kinds, counts = np.unique(runs, axis=0, return_counts=True)
    if len(kinds) > MAX_KINDS:
        return None
    lengths = (kinds >= 0).sum(axis=1)
    first = np.lexsort((counts, lengths))[-1]  # of the longest the one that most columns have
    order = kinds[first][kinds[first] >= 0]
    for k in np.argsort(-counts):
        order = _with(order, kinds[k][kinds[k] >= 0])
        if len(order) > MAX_RUNS:
            return None
    depths = np.zeros((len(order) - 1, labels.shape[1]), np.int64)
    start = int(np.flatnonzero((runs == kinds[first]).all(axis=1))[0])
    _place(runs, bottoms, order, labels.shape[0], start, depths)
    return order, depths


@compiled
def _find_runs(labels: Any, runs: Any, bottoms: Any) -> bool:
    """Fill in the labels of every column's runs from the top, and where they end; False where they are too many."""
    height, width = labels.shape
    for x in range(width):
        n = 0
        for z in range(height):
            if z == 0 or labels[z, x] != labels[z - 1, x]:
                if n == runs.shape[1]:
                    return False
                runs[x, n] = labels[z, x]
                n += 1
            bottoms[x, n - 1] = z + 1
    return True


@compiled
def _with(order: Any, column: Any) -> Any:
    """The shortest list that has two in it, each in its order."""
    n, m = len(order), len(column)
    common = np.zeros((n + 1, m + 1), np.int64)  # of what is left of each
    for i in range(n - 1, -1, -1):
        for j in range(m - 1, -1, -1):
            if order[i] == column[j]:
                common[i, j] = 1 + common[i + 1, j + 1]
            else:
                common[i, j] = max(common[i + 1, j], common[i, j + 1])
    out = np.empty(n + m, np.int64)
    i, j, count = 0, 0, 0
    while i < n or j < m:
        if i < n and j < m and order[i] == column[j]:
            out[count] = order[i]
            i, j = i + 1, j + 1
        elif j == m or (i < n and common[i + 1, j] >= common[i, j + 1]):
            out[count] = order[i]
            i += 1
        else:
            out[count] = column[j]
            j += 1
        count += 1
    return out[:count]


@compiled
def _place(runs: Any, bottoms: Any, order: Any, height: int, start: int, depths: Any) -> None:
    """Fill in depths (L - 1, W) column by column from one on to both sides, each as near as can be to the last."""
    width, layers = runs.shape[0], len(order)
    before = np.zeros(layers, np.int64)
    for way in (1, -1):
        x = start if way > 0 else start - 1
        while 0 <= x < width:
            if x != start:
                before[: layers - 1] = depths[:, x - way]
            _nearest(runs[x], bottoms[x], order, height, before, x == start, depths[:, x])
            x += way


@compiled
def _nearest(run: Any, bottom: Any, order: Any, height: int, before: Any, alone: bool, depths: Any) -> None:
    """The depths (L - 1,) of a column whose runs are put in places of a list: the nearest to those before, in sum."""
    layers, count = len(order), 0
    while count < len(run) and run[count] >= 0:
        count += 1
    far = 1 << 40
    # best[k, g]: run k in place g, all interfaces over it told; from[k, g]: the place of the run above.
    best, above = np.full((count, layers), far), np.zeros((count, layers), np.int64)
    for k in range(count):
        for g in range(k, layers):
            if order[g] != run[k]:
                continue
            if k == 0:
                best[0, g] = 0 if alone else before[:g].sum()
                continue
            cost = 0
            for h in range(g - 1, -1, -1):  # the run above in place h, interfaces h .. g - 1 at its bottom
                cost += 0 if alone else abs(before[h] - bottom[k - 1])
                if best[k - 1, h] + cost < best[k, g]:
                    best[k, g], above[k, g] = best[k - 1, h] + cost, h
    least, place = 2 * far, 0
    for g in range(layers):
        cost = best[count - 1, g]
        for h in range(g, layers - 1):
            cost += 0 if alone else height - before[h]
        if cost < least:
            least, place = cost, g
    depths[place:] = height
    for k in range(count - 1, 0, -1):
        over = above[k, place]
        depths[over:place] = bottom[k - 1]
        place = over
    depths[:place] = 0

"""Maps with what their faults did undone: how well unfaulted rows are of one velocity each, and what makes them so."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .faults import NONE, TURN, Faults, fill_sides
from .told import basis

EVERY = 2  # columns, of those that shifts are tried on
FINEST = 0.1  # cells that things are moved by, at least
LESS = 1e-9  # of squared error, that a move must win
APART = 1e-3  # cells by which rock beyond a line counts as shifted where it is not, so that folds stop at it
STEEPEST = 7  # cells that folded layers rise or fall from one column to the next, at most
UNLIKE = 0.1  # of velocity that two cells may differ by, at most, as columns are compared
FEWEST = 6  # cells by which columns are compared
COSTS = 0.05  # of likeness, that few cells cost


def best_throws(
    v: NDArray[np.float64], trials: Sequence[Faults], i: int, reach: int
) -> list[tuple[float, float]]:
    """The least squared error of a map (70, 70) with each of some faults, over one of their shifts, and that shift.

    Shift 0 is the block's, i the one beyond fault i, in whole cells. As every so many columns tell. All trials are of
    one stack, or all of two.
    """
    if not trials:
        return []
    lines, kinds, throws, folds = (
        np.stack([getattr(f, name) for f in trials]) for name in ("lines", "kinds", "throws", "fold")
    )
    return [
        (EVERY * float(error), float(at))
        for error, at in _best_throws(v, lines, kinds, throws, i, folds, trials[0].two, reach)
    ]


def descended(v: NDArray[np.float64], f: Faults) -> float:
    """Move lines and shifts while the squared error of a map (70, 70) falls; that."""
    movable = np.zeros(len(f.kinds), np.bool_)
    movable[f.moving] = True
    return float(_descend(v, f.lines, f.kinds, f.throws, movable, f.two, f.fold))


def tracked(v: NDArray[np.float64], f: Faults, waves: int) -> NDArray[np.float64]:
    """Folds (2, W) of so many cosines, as the layers of a map go from column to column between the lines."""
    inside, shift = f.sides(f.throws + APART * np.arange(1, len(f.throws) + 1))
    followed = np.zeros((2, v.shape[1]))
    _track(v, inside, shift, f.two, followed)
    across = basis(v.shape[1], waves)
    cosines = followed @ across
    cosines[:, 0] = 0
    folds: NDArray[np.float64] = cosines @ across.T
    return folds


@compiled
def _spread(v: Any, inside: Any, shift: Any, two: bool, fold: Any) -> float:
    """Squared error of the best map whose unfaulted, unfolded rows are of one velocity each."""
    height, width = v.shape
    rows = 3 * height
    count, total = np.zeros((2, rows)), np.zeros((2, rows))
    error = 0.0
    for z in range(height):
        for x in range(width):
            stack = 1 if two and inside[z, x] else 0
            down = shift[z, x] + fold[stack, x]
            row = min(max(int(math.floor(z - down + height + 0.5)), 0), rows - 1)
            count[stack, row] += 1
            total[stack, row] += v[z, x]
            error += v[z, x] ** 2
    for stack in range(2):
        for row in range(rows):
            if count[stack, row] > 0:
                error -= total[stack, row] ** 2 / count[stack, row]
    return float(error)


@compiled
def _best_throws(
    v: Any, lines: Any, kinds: Any, throws: Any, i: int, folds: Any, two: bool, reach: int
) -> Any:
    """What `best_throws` says, (n, 2), of lines (n, LINES, 2), kinds and throws (n, LINES), and folds (n, 2, W)."""
    found = np.empty((len(lines), 2))
    inside, shift, moves = np.empty(v.shape, np.uint8), np.empty(v.shape), np.empty(v.shape)
    only = np.zeros(lines.shape[1])
    only[i] = 1.0
    for k in range(len(lines)):
        fill_sides(lines[k], kinds[k], only, inside, moves)
        fill_sides(lines[k], kinds[k], throws[k] * (1 - only), inside, shift)
        some = v[:, ::EVERY], inside[:, ::EVERY], shift[:, ::EVERY], moves[:, ::EVERY], folds[k][:, ::EVERY]
        found[k, 0], found[k, 1] = _best(some[0], some[1], some[2], some[3], some[4], two, reach)
    return found


@compiled
def _best(v: Any, inside: Any, shift: Any, moves: Any, fold: Any, two: bool, reach: int) -> Any:
    """The least squared error over shifts, by whole cells, of the cells that move; which shift that is."""
    height, width = v.shape
    rows = 3 * height + 4 * reach  # a cell may move past the rows there are
    count, total = (
        np.zeros((2, 2, rows)),
        np.zeros((2, 2, rows)),
    )  # of cells that stay, and of those that move
    squares = 0.0
    for z in range(height):
        for x in range(width):
            stack = 1 if two and inside[z, x] else 0
            row = int(math.floor(z - shift[z, x] - fold[stack, x] + height + 2 * reach + 0.5))
            row = min(max(row, 2 * reach), rows - 2 * reach - 1)
            moved = 1 if moves[z, x] > 0 else 0
            count[moved, stack, row] += 1
            total[moved, stack, row] += v[z, x]
            squares += v[z, x] ** 2
    best, at = math.inf, 0
    for t in range(-reach, reach + 1):
        error = squares
        for stack in range(2 if two else 1):
            for row in range(reach, rows - reach):
                n = count[0, stack, row] + count[1, stack, row + t]
                if n > 0:
                    error -= (total[0, stack, row] + total[1, stack, row + t]) ** 2 / n
        if error < best:
            best, at = error, t
    return best, at


@compiled
def _descend(v: Any, lines: Any, kinds: Any, throws: Any, movable: Any, two: bool, fold: Any) -> float:
    """Move angles, offsets and shifts one by one, by less and less; the squared error."""
    inside, shift = np.empty(v.shape, np.uint8), np.empty(v.shape)
    fill_sides(lines, kinds, throws, inside, shift)
    best, by = _spread(v, inside, shift, two, fold), 1.0
    while by > FINEST:
        moved = False
        for f in range(len(lines)):
            for number in range(3):
                if kinds[f] == NONE or (number == 2 and not movable[f]):
                    continue
                for sign in (-1.0, 1.0):
                    old = throws[f] if number == 2 else lines[f, number]
                    new = old + sign * by * (TURN if number == 0 else 1.0)
                    if number == 2:
                        throws[f] = new
                    else:
                        lines[f, number] = new
                    fill_sides(lines, kinds, throws, inside, shift)
                    error = _spread(v, inside, shift, two, fold)
                    if error < best - LESS:
                        best, moved = error, True
                    elif number == 2:
                        throws[f] = old
                    else:
                        lines[f, number] = old
        if not moved:
            by /= 2
    return float(best)


@compiled
def _track(v: Any, inside: Any, shift: Any, two: bool, fold: Any) -> None:
    """Fill in how far down the layers of each stack go from column to column, where no line is between."""
    height, width = v.shape
    for stack in range(2 if two else 1):
        for x in range(width - 1):
            best, at = math.inf, 0
            for k in range(2 * STEEPEST + 1):
                down = (k + 1) // 2 * (1 if k % 2 else -1)
                count, error = 0, 0.0
                first, end = max(0, -down), min(height, height - down)
                most = (best - LESS) * (end - first) - COSTS
                for z in range(first, end):
                    if two and inside[z, x] != stack:
                        continue
                    if error >= most:
                        break
                    if inside[z, x] == inside[z + down, x + 1] and shift[z, x] == shift[z + down, x + 1]:
                        count += 1
                        error += min(abs(v[z, x] - v[z + down, x + 1]), UNLIKE)
                if count >= FEWEST and error < most and (error + COSTS) / count < best - LESS:
                    best, at = (error + COSTS) / count, down
            fold[stack, x + 1] = fold[stack, x] + at

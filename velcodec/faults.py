"""Where the faults of a map are: straight lines, and how far the rock beyond them is shifted.

    plateaus of one velocity -> their borders -> lines that many borders lie on (Hough) -> the line, and the shift, with
    which rows of the unfaulted map are of one velocity -> moved while that gets better -> the next line

A line takes part in one of two ways. Beyond the first, and within the walls, lies the block: rock of a stack of layers
of its own, or that of the others shifted. Beyond a fault all is shifted, block or not. Layers may be folded; the fold
is tracked from column to column within what no line cuts.

Hough, "Method and means for recognizing complex patterns", US patent 3069654, 1962, with the normal form of a line of
Duda and Hart, 1972.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .decoders.cosines import NATIVE
from .grid import centres
from .told import basis

LINES = 3
NONE, FAULT, WALL = 0, 1, 2  # what a line is; the first, where there is one, is a wall
STEEPEST = 80  # degrees between a line and the vertical
THROWN = 60  # of a line beyond which a whole map is shifted
ANGLES = np.deg2rad(np.arange(-STEEPEST, STEEPEST + 1, 2.5))
OFFSETS = np.arange(-45.0, 45.5, 0.5)  # cells from the middle
CANDIDATES = 12  # lines that are looked at for each
SHORTEST = 2.5  # cells of border that a line has at least
APART = (3, 4)  # steps of angle and of offset between one line and the next
MIXED = 0.1  # cells of border that a cell on the wrong side takes off a line between two stacks
TORN = 0.05  # of the cells, on the wrong side, at most
TRIALS = 10  # of folded layers that are drawn for each line
SHIFTS = 2  # of each line that are tried
BESIDE = 1.5  # cells from a line to those on its sides
EVERY = 2  # columns, of those that shifts are tried on
GAIN = 0.97  # what a line must leave of the squared error
BLOCK_REACH, FAULT_REACH = 16, 35  # cells that a block and the rock beyond a fault are shifted, at most
FEW, WAVES = 8, 16  # of a fold, where one stack is folded and where two are


@dataclass
class Faults:
    """Lines (angle of the normal, offset in cells from the middle) (LINES, 2), what each is, and its shift (LINES,).

    Cells with (x - 35) cos(angle) + (z - 35) sin(angle) > offset lie beyond a line.

    Args:
        block: cells that the block is shifted down.
        two: the block has a stack of its own.
        fold: cells (2, W) that the layers of each stack are shifted down.
    """

    lines: NDArray[np.float64]
    kinds: NDArray[np.int64]
    throws: NDArray[np.float64]
    block: float
    two: bool
    fold: NDArray[np.float64]

    def beyond(self) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Which cells (70, 70) of the native grid are the block's, and how far down each is shifted in all."""
        inside, shift = np.zeros((NATIVE, NATIVE), np.uint8), np.zeros((NATIVE, NATIVE))
        _sides(self.lines, self.kinds, self.throws, inside, shift)
        return inside, shift + self.block * inside


def cells_beyond(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far (70, 70) each cell of the native grid lies beyond a line."""
    at = centres(NATIVE) * (NATIVE / 2)
    cells: NDArray[np.float64] = at * math.cos(line[0]) + at[:, None] * math.sin(line[0]) - line[1]
    return cells


def find(
    v: NDArray[np.float64],
    labels: NDArray[np.int64],
    soft: bool,
    score: Callable[[Faults], float],
    enough: float,
) -> list[Faults]:
    """Faults of a map (70, 70) of plateaus with labels, seen as flat layers and, unless that will do, as folded ones.

    Args:
        soft: edges are; such maps are of one stack.
        score: how badly layers with some faults draw the map.
        enough: a score that will do.
    """
    candidates = _candidates(v, None)
    between = None if soft else _between_stacks(labels, candidates)
    if between is not None:
        candidates = [line for line in _candidates(v, between) if abs(line[0]) <= math.radians(THROWN)]
    found = [_grown(v, candidates, between)]
    if score(found[0]) > enough:
        found.append(_grown_folded(v, candidates, between, score))
    return found


def _candidates(v: NDArray[np.float64], but: NDArray[np.float64] | None) -> list[tuple[float, float, float]]:
    """Lines as (angle, offset, cells of border on it), the longest first, borders on one line left out."""
    skip = np.zeros(v.shape, np.bool_)
    if but is not None:
        skip = np.abs(cells_beyond(but)) < BESIDE
    found = np.zeros((len(ANGLES), len(OFFSETS)))
    _hough(v, ANGLES, OFFSETS, skip, found)
    out = []
    for _ in range(CANDIDATES):
        a, b = np.unravel_index(found.argmax(), found.shape)
        if found[a, b] < SHORTEST:
            break
        out.append((float(ANGLES[a]), float(OFFSETS[b]), float(found[a, b])))
        found[max(0, a - APART[0]) : a + APART[0] + 1, max(0, b - APART[1]) : b + APART[1] + 1] = 0
    return out


def _between_stacks(
    labels: NDArray[np.int64], candidates: list[tuple[float, float, float]]
) -> NDArray[np.float64] | None:
    """The line, of some, with other velocities on each side; None where there is none such."""
    best, line = 0.0, None
    for angle, offset, length in candidates:
        torn, least = _torn(labels, int(labels.max()) + 1, angle, offset)
        if torn < TORN * labels.size and least >= 2 and length - MIXED * torn > best:
            best, line = length - MIXED * torn, np.array([angle, offset])
    return line


def _nothing(between: NDArray[np.float64] | None) -> Faults:
    """No faults but a line between two stacks."""
    lines, kinds = np.zeros((LINES, 2)), np.zeros(LINES, np.int64)
    if between is not None:
        lines[0], kinds[0] = between, WALL
    return Faults(lines, kinds, np.zeros(LINES), 0.0, between is not None, np.zeros((2, NATIVE)))


def _grown(
    v: NDArray[np.float64], candidates: list[tuple[float, float, float]], between: NDArray[np.float64] | None
) -> Faults:
    """Faults of flat layers found one line after the other: walls of a block, or faults through two stacks."""
    f = _nothing(between)
    error = _descended(v, f)
    for i in range(int(f.two), LINES):
        before, best, kept = error, GAIN * error, None
        for angle, offset, _ in candidates:
            for turned, other in [(False, False)] if f.two else _ways(i):
                trial = _with_line(f, i, np.array([angle, offset]), turned, other)
                error, by = _best_throw(v, trial, i) if f.two else _best_block(v, trial)
                if error < best:
                    best, kept = error, _shifted(trial, i, by)
        if kept is None:
            break
        f = kept
        error = _descended(v, f)
        if error > GAIN * before:
            break
    return f


def _grown_folded(
    v: NDArray[np.float64],
    candidates: list[tuple[float, float, float]],
    between: NDArray[np.float64] | None,
    score: Callable[[Faults], float],
) -> Faults:
    """The same of folded layers: what rows cannot tell, the layers drawn do."""
    f = _nothing(between)
    waves = WAVES if f.two else FEW
    f.fold = _tracked(v, f, waves)
    error = score(f)
    for i in range(int(f.two), LINES):
        trials: list[tuple[float, Faults]] = []
        for angle, offset, _ in candidates:
            line = np.array([angle, offset])
            if f.two:
                trials += [
                    (-gain, _shifted(_with_line(f, i, line), i, by)) for gain, by in _matches(v, f, line)
                ]
                continue
            for turned, other in _ways(i):
                trial = _with_line(f, i, line, turned, other)
                for fold in (f.fold, _tracked(v, trial, waves)):
                    trial.fold = fold
                    spread, by = _best_block(v, trial)
                    trials.append((spread, _shifted(copy.copy(trial), i, by)))
        trials.sort(key=lambda trial: trial[0])
        best, kept = GAIN * error, None
        for _, trial in trials[:TRIALS]:
            if f.two:
                trial.fold = _tracked(v, trial, waves)
            now = score(trial)
            if now < best:
                best, kept = now, trial
        if kept is None:
            break
        f, error = kept, best
        error = _refined(f, error, score)
    return f


def _refined(f: Faults, error: float, score: Callable[[Faults], float]) -> float:
    """Move what may be moved while a score falls; the score."""
    for by in (1.0, 0.5):
        for i in range(LINES):
            if f.kinds[i] == NONE:
                continue
            numbers = [(f.lines[i], 0, 0.04 * by), (f.lines[i], 1, by)]
            numbers += [(f.throws, i, by)] if f.kinds[i] == FAULT else []
            for where, at, step in numbers:
                for sign in (-1, 1):
                    where[at] += sign * step
                    now = score(f)
                    if now < error:
                        error = now
                        break
                    where[at] -= sign * step
        if not f.two and f.kinds.any():
            for sign in (-1, 1):
                f.block += sign * by
                now = score(f)
                if now < error:
                    error = now
                    break
                f.block -= sign * by
    return error


def _with_line(
    f: Faults, i: int, line: NDArray[np.float64], turned: bool = False, other: bool = False
) -> Faults:
    """Faults with one line more, perhaps turned, and the first perhaps turned."""
    trial = Faults(f.lines.copy(), f.kinds.copy(), f.throws.copy(), f.block, f.two, f.fold)
    trial.lines[i] = _turned(line) if turned else line
    trial.kinds[i] = FAULT if f.two else WALL
    if other:
        trial.lines[0] = _turned(trial.lines[0])
        trial.block = -trial.block
    return trial


def _shifted(f: Faults, i: int, by: float) -> Faults:
    """Faults of which a line shifts by something."""
    if f.two:
        f.throws[i] = by
    else:
        f.block = by
    return f


def _matches(v: NDArray[np.float64], f: Faults, line: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Shifts beyond a line with which the sides match, each with how much better they do than without: the best few."""
    inside, shift = np.zeros(v.shape, np.uint8), np.zeros(v.shape)
    _sides(f.lines, f.kinds, f.throws, inside, shift)
    found = np.zeros(2 * FAULT_REACH + 1)
    _match(v, inside if f.two else np.zeros_like(inside), shift, line[0], line[1], FAULT_REACH, found)
    gains = found - found[FAULT_REACH]
    best = np.flatnonzero((gains[1:-1] >= gains[:-2]) & (gains[1:-1] >= gains[2:]) & (gains[1:-1] > 0)) + 1
    best = best[np.argsort(-gains[best])][:SHIFTS]
    return [(float(gains[k]), float(k - FAULT_REACH)) for k in best]


def _ways(i: int) -> list[tuple[bool, bool]]:
    """Whether to turn a line, and the first one, as line i is looked for: either side may be the block."""
    if i == 0:
        return [(False, False)]
    return [(False, False), (True, False)] + ([(False, True), (True, True)] if i == 1 else [])


def _turned(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same line with the other side beyond it."""
    return np.array([line[0] + math.pi, -line[1]])


def _tracked(v: NDArray[np.float64], f: Faults, waves: int) -> NDArray[np.float64]:
    """Folds (2, W) as the layers go from column to column between the lines."""
    inside, shift = np.zeros(v.shape, np.uint8), np.zeros(v.shape)
    _sides(f.lines, f.kinds, f.throws + np.arange(1, LINES + 1) * 1e-3, inside, shift)
    tracked = np.zeros((2, v.shape[1]))
    _track(v, inside, shift, f.two, tracked)
    across = basis(v.shape[1], waves)
    cosines = tracked @ across
    cosines[:, 0] = 0
    folds: NDArray[np.float64] = cosines @ across.T
    return folds


def _best_block(v: NDArray[np.float64], f: Faults) -> tuple[float, float]:
    """The least squared error over shifts of the block, and that shift."""
    inside, shift = np.zeros(v.shape, np.uint8), np.zeros(v.shape)
    _sides(f.lines, f.kinds, f.throws, inside, shift)
    return _best_of_some(v, inside, shift, inside.astype(np.float64), f, BLOCK_REACH)


def _best_throw(v: NDArray[np.float64], f: Faults, i: int) -> tuple[float, float]:
    """The least squared error over shifts beyond a fault, and that shift."""
    inside, shift, unit = np.zeros(v.shape, np.uint8), np.zeros(v.shape), np.zeros(v.shape)
    throws = f.throws.copy()
    throws[i] = 0
    _sides(f.lines, f.kinds, throws, inside, shift)
    shift += f.block * inside
    throws[:] = 0
    throws[i] = 1
    _sides(f.lines, f.kinds, throws, inside, unit)
    return _best_of_some(v, inside, shift, unit, f, FAULT_REACH)


def _best_of_some(
    v: NDArray[np.float64],
    inside: NDArray[np.uint8],
    shift: NDArray[np.float64],
    unit: NDArray[np.float64],
    f: Faults,
    reach: int,
) -> tuple[float, float]:
    """The least squared error over whole multiples of a shift, and which, as every so many columns tell."""

    def some(a: NDArray[Any]) -> Any:
        return np.ascontiguousarray(a[:, ::EVERY])

    error, at = _best(some(v), some(inside), some(shift), some(unit), f.two, some(f.fold), reach)
    return float(error), float(at)


def _descended(v: NDArray[np.float64], f: Faults) -> float:
    """Move lines and shifts while the squared error falls; that."""
    inside, shift = np.zeros(v.shape, np.uint8), np.zeros(v.shape)
    _sides(f.lines, f.kinds, f.throws, inside, shift)
    error = _spread(v, inside, shift, f.block, f.two, f.fold)
    error, f.block = _descend(v, f.lines, f.kinds, f.throws, f.block, f.two, f.fold, error)
    return float(error)


@njit(cache=True, nogil=True)
def _hough(v: Any, angles: Any, offsets: Any, skip: Any, found: Any) -> None:
    """Cells of border along every line: the borders' lengths along it, shared between its neighbours."""
    height, width = v.shape
    first, step, count = offsets[0], offsets[1] - offsets[0], len(offsets)
    for a in range(len(angles)):
        across, down = math.cos(angles[a]), math.sin(angles[a])
        for z in range(height):
            for x in range(width):
                if skip[z, x]:
                    continue
                for upright in (True, False):
                    other_z, other_x = (z, x + 1) if upright else (z + 1, x)
                    if other_z >= height or other_x >= width or v[z, x] == v[other_z, other_x]:
                        continue
                    # The middle of the border, in cells from the middle of the map.
                    p = x + (1.0 if upright else 0.5) - width / 2
                    q = z + (0.5 if upright else 1.0) - height / 2
                    place = (p * across + q * down - first) / step
                    i = int(math.floor(place))
                    if 0 <= i < count - 1:
                        length = abs(across) if upright else abs(down)
                        found[a, i] += (1 - (place - i)) * length
                        found[a, i + 1] += (place - i) * length


@njit(cache=True, nogil=True)
def _torn(labels: Any, count: int, angle: float, offset: float) -> Any:
    """Cells on the side of a line where their label is the rarer; labels of the side that has fewer of them."""
    height, width = labels.shape
    sides = np.zeros((2, count))
    across, down = math.cos(angle), math.sin(angle)
    for z in range(height):
        for x in range(width):
            beyond = (x + 0.5 - width / 2) * across + (z + 0.5 - height / 2) * down > offset
            sides[1 if beyond else 0, labels[z, x]] += 1
    torn, here, there = 0.0, 0, 0
    for k in range(count):
        torn += min(sides[0, k], sides[1, k])
        if sides[0, k] > sides[1, k]:
            here += 1
        elif sides[1, k] > 0:
            there += 1
    return torn, min(here, there)


@njit(cache=True, nogil=True)
def _sides(lines: Any, kinds: Any, throws: Any, inside: Any, shift: Any) -> None:
    """Fill in which cells are the block's, and how far faults shift each."""
    height, width = inside.shape
    inside[:] = 1 if (kinds == WALL).any() else 0
    shift[:] = 0
    for f in range(len(lines)):
        if kinds[f] == NONE:
            continue
        across, down = math.cos(lines[f, 0]), math.sin(lines[f, 0])
        for z in range(height):
            rest = lines[f, 1] - (z + 0.5 - height / 2) * down
            for x in range(width):
                beyond = (x + 0.5 - width / 2) * across > rest
                if kinds[f] == WALL and not beyond:
                    inside[z, x] = 0
                elif kinds[f] == FAULT and beyond:
                    shift[z, x] += throws[f]


@njit(cache=True, nogil=True)
def _spread(v: Any, inside: Any, shift: Any, block: float, two: bool, fold: Any) -> float:
    """Squared error of the best map whose unfaulted, unfolded rows are of one velocity each."""
    height, width = v.shape
    rows = 3 * height
    count, total = np.zeros((2, rows)), np.zeros((2, rows))
    error = 0.0
    for z in range(height):
        for x in range(width):
            stack = 1 if two and inside[z, x] else 0
            down = shift[z, x] + (block if inside[z, x] else 0.0) + fold[stack, x]
            row = min(max(int(math.floor(z - down + height + 0.5)), 0), rows - 1)
            count[stack, row] += 1
            total[stack, row] += v[z, x]
            error += v[z, x] ** 2
    for stack in range(2):
        for row in range(rows):
            if count[stack, row] > 0:
                error -= total[stack, row] ** 2 / count[stack, row]
    return float(error)


@njit(cache=True, nogil=True)
def _best(v: Any, inside: Any, shift: Any, unit: Any, two: bool, fold: Any, reach: int) -> Any:
    """The least squared error over whole multiples of a shift, and which."""
    best, at = math.inf, 0.0
    for t in range(-reach, reach + 1):
        error = EVERY * _spread(v, inside, shift + t * unit, 0.0, two, fold)
        if error < best:
            best, at = error, float(t)
    return best, at


@njit(cache=True, nogil=True)
def _descend(
    v: Any, lines: Any, kinds: Any, throws: Any, block: float, two: bool, fold: Any, best: float
) -> Any:
    """Move angles, offsets and shifts one by one, by less and less; the squared error, and the block's shift."""
    inside, shift = np.zeros(v.shape, np.uint8), np.zeros(v.shape)
    by = 1.0
    while by > 0.1:
        moved = False
        for f in range(len(lines)):
            for number in range(3):
                if kinds[f] == NONE or (number == 2 and kinds[f] == WALL):
                    continue
                for sign in (-1.0, 1.0):
                    old = throws[f] if number == 2 else lines[f, number]
                    new = old + sign * by * (0.04 if number == 0 else 1.0)
                    if number == 2:
                        throws[f] = new
                    else:
                        lines[f, number] = new
                    _sides(lines, kinds, throws, inside, shift)
                    error = _spread(v, inside, shift, block, two, fold)
                    if error < best - 1e-9:
                        best, moved = error, True
                    elif number == 2:
                        throws[f] = old
                    else:
                        lines[f, number] = old
        _sides(lines, kinds, throws, inside, shift)
        for sign in (-1.0, 1.0):
            error = math.inf if two else _spread(v, inside, shift, block + sign * by, two, fold)
            if error < best - 1e-9:
                best, block, moved = error, block + sign * by, True
        if not moved:
            by /= 2
    return best, block


@njit(cache=True, nogil=True)
def _track(v: Any, inside: Any, shift: Any, two: bool, fold: Any) -> None:
    """Fill in how far down the layers of each stack go from column to column, where no line is between."""
    height, width = v.shape
    for stack in range(2 if two else 1):
        for x in range(width - 1):
            best, at = math.inf, 0
            for k in range(15):
                down = (k + 1) // 2 * (1 if k % 2 else -1)
                count, error = 0, 0.0
                for z in range(max(0, -down), min(height, height - down)):
                    if two and inside[z, x] != stack:
                        continue
                    if inside[z, x] == inside[z + down, x + 1] and shift[z, x] == shift[z + down, x + 1]:
                        count += 1
                        error += min(abs(v[z, x] - v[z + down, x + 1]), 0.1)
                if count >= 6 and (error + 0.05) / count < best - 1e-9:
                    best, at = (error + 0.05) / count, down
            fold[stack, x + 1] = fold[stack, x] + at


@njit(cache=True, nogil=True)
def _match(v: Any, inside: Any, shift: Any, angle: float, offset: float, reach: int, found: Any) -> None:
    """Cells of a line where one side, and the other so much further down, are of one velocity, of each shift."""
    height, width = v.shape
    across, down = math.cos(angle), math.sin(angle)
    for k in range(-height, height):
        p = offset * across - k * down + width / 2
        q = offset * down + k * across + height / 2
        x, z = int(math.floor(p - BESIDE * across)), int(math.floor(q - BESIDE * down))
        other_x, other_z = int(math.floor(p + BESIDE * across)), int(math.floor(q + BESIDE * down))
        if min(x, other_x, z) < 0 or max(x, other_x) >= width or z >= height:
            continue
        for t in range(-reach, reach + 1):
            there = other_z + t
            if not 0 <= there < height or inside[there, other_x] != inside[z, x]:
                continue
            if shift[there, other_x] == shift[z, x]:
                found[t + reach] += 1.0 if v[there, other_x] == v[z, x] else -0.5

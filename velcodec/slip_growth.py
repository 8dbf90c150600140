"""The slips of a map of two stacks, found one after the other, each stack by itself.

cells of a stack -> lines that many of their borders lie on (fault_lines.py) -> layers of the cells on one side alone,
drawn past them -> the shift with which most of those on the other side lie in them -> the line and shift with which
layers drawn anew tell most cells, moved while that gets better -> the next slip
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import fault_lines, stacks
from .compiled import compiled
from .decoders.cosines import NATIVE
from .decoders.faulted import SLIP
from .faulted_drawing import PAD
from .faults import TURN, Faults, cells_beyond
from .slips import led, led_back, normals_of
from .told import basis

MOST = 3  # slips of a stack
ENOUGH = 3e-4  # NMSE of a stack that will do
GAIN = 0.9  # what a slip must leave of the squared error
LEAST = 0.03  # of a stack's cells on either side of a line
ACROSS, DOWN = 25, 20  # cells that rock is shifted, at most
EVERY, ACROSS_EVERY = 3, 4  # cells down and across of which one shows how a shift does,
STRIDE = 2  # and shifts so many cells apart
SHIFTS, NEAR = 2, 2  # of each line and side that are looked at, so many strides apart
COARSE, FINE = (2.0, 1.0), (1.0, 0.5)  # cells by which numbers are moved
SHOWN, PAST = 4, 3  # cells that show a column's layers, and columns past those, where layers are drawn
UNKNOWN, FREE = -2, 0.1  # where they are not, and how much of the error of cells that lead there goes
FARTHER = 0.002  # of error that a cell further must win
LEVEL = 0.65  # of the borders of flat layers that go on level
WAVES = 16  # of an interface, as slips are compared
TURNS, SETTLED = 4, 0.95  # over numbers at each, at most, and what one must leave of the error for the next
FEWEST = 6  # cells of a layer
ROWS = NATIVE + 2 * PAD

Slips: TypeAlias = NDArray[np.float64]  # (S, 5) as Faults has them
ALL = np.ones((NATIVE, NATIVE), np.bool_)


class Pains(NamedTuple):
    """How much slips are looked for.

    Attributes:
        lines: that are looked at.
        trials: shifts beyond all of them that layers are drawn for.
        refined: of those, that are moved on.
        kept: of those, that another slip is looked for beside.
        columns: of which one is looked at meanwhile.
    """

    lines: int
    trials: int
    refined: int
    kept: int
    columns: int


HASTY, PATIENT = Pains(12, 32, 4, 2, 2), Pains(24, 64, 8, 4, 1)


def with_slips(
    values: NDArray[np.float64],
    labels: NDArray[np.int64],
    line: NDArray[np.float64],
    layers: int,
    pains: Pains = PATIENT,
) -> Faults:
    """Faults with slips of both stacks, whose layers are parallel; a fold other than 0 says that they are not flat.

    Args:
        values, labels: of the plateaus (V,) of a map, and which of them each cell (70, 70) is.
        line: between the stacks.
        layers: of a stack, at most.
    """
    f, folded = Faults.nothing(line), not _are_flat(labels)
    f.fold[:] = folded
    block = cells_beyond(line) > 0
    own = []
    for whose, cells in ((-1, ~block), (1, block)):
        some, every = (
            _Stack(values, labels, cells, WAVES if folded else 1, layers, n) for n in (pains.columns, 1)
        )
        own.append(_settled(every, _grown(some, cells, whose, pains)))
    return replace(f, slips=np.concatenate(own), parallel=True)


class _Stack:
    """The cells (70, 70) of a stack, in every so many columns, and how well layers with some slips draw them."""

    def __init__(
        self,
        values: NDArray[np.float64],
        labels: NDArray[np.int64],
        cells: NDArray[np.bool_],
        waves: int,
        layers: int,
        every: int = 1,
    ) -> None:
        self.values, self.labels, self.layers, self.every = values, labels, layers, every
        self.cells = cells & (np.arange(NATIVE) % every == 0)
        self.columns, self.depths = np.empty(labels.shape, np.int64), np.empty(labels.shape)
        self.across, self.spread = basis(NATIVE, waves), stacks.fold_spread(waves)

    def drawn(self, slips: Slips, cells: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The label at every depth and column (ROWS, 70), PAD rows over the map first, as some cells show them."""
        led_back(_of_block(slips), slips, self.columns, self.depths, self.every)
        places = self.labels, cells, self.columns, self.depths
        out: NDArray[np.int64] = _drawn(*places, len(self.values), self.layers, self.across, self.spread)
        return out

    def errors(self, slips: Slips) -> NDArray[np.float64]:
        """The squared error of each cell, 0 where it is of the layer drawn."""
        shapes = self.layers, self.across, self.spread, self.every
        out: NDArray[np.float64] = _errors(
            slips, _of_block(slips), self.values, self.labels, self.cells, self.columns, self.depths, *shapes
        )
        return out

    def error(self, slips: Slips) -> float:
        """That of all cells."""
        return float(self.errors(slips).sum())


def _of_block(slips: Slips) -> NDArray[np.bool_]:
    """Cells (70, 70) all of the block where slips are, else none."""
    return ALL if len(slips) and slips[0, 4] > 0 else ~ALL


def _are_flat(labels: NDArray[np.int64]) -> bool:
    """Whether borders under cells go on level, mostly."""
    under = labels[:-1] != labels[1:]
    return bool((under[:, :-1] & under[:, 1:]).sum() > LEVEL * under[:, :-1].sum())


def _settled(stack: _Stack, slips: Slips) -> Slips:
    """Slips moved until all cells are drawn no better."""
    return _refined(stack, stack.error(slips), slips, range(len(slips)), FINE)[1]


def _grown(stack: _Stack, cells: NDArray[np.bool_], whose: int, pains: Pains) -> Slips:
    """Slips of a stack that all these cells are of."""
    start = np.zeros((0, SLIP))
    error = stack.error(start)
    enough = ENOUGH * float(np.ptp(stack.values)) ** 2 * int(stack.cells.sum())
    lines = fault_lines.candidates(stack.labels.astype(np.float64), _but_inside(cells), pains.lines)
    best, kept = (error, start), [(error, start)]
    for _ in range(MOST):
        if best[0] <= enough:
            break
        more = [one for error, slips in kept for one in _with_one_more(stack, slips, lines, whose, pains)]
        kept = sorted(more, key=lambda one: one[0])[: pains.kept]
        if not kept or kept[0][0] > GAIN * best[0]:
            break
        best = kept[0]
    return best[1]


def _with_one_more(
    stack: _Stack, slips: Slips, lines: fault_lines.Lines, whose: int, pains: Pains
) -> list[tuple[float, Slips]]:
    """Slips with another one, the best few, and the squared error that each leave."""
    errors = stack.errors(slips)
    found = [
        one
        for angle, offset, _ in lines
        for turned in (0.0, math.pi)
        for one in _shifted(stack, slips, errors, (angle + turned, -offset if turned else offset, whose))
    ]
    trials = []
    for _, slip in sorted(found, key=lambda one: -one[0])[: pains.trials]:
        for at in {0, len(slips)}:
            trial = np.insert(slips, at, slip, axis=0)
            trials.append((stack.error(trial), at, trial))
    return [
        _refined(stack, error, trial, (at,), COARSE)
        for error, at, trial in sorted(trials, key=lambda one: one[0])[: pains.refined]
    ]


def _shifted(
    stack: _Stack, slips: Slips, errors: NDArray[np.float64], line: tuple[float, float, int]
) -> list[tuple[float, NDArray[np.float64]]]:
    """Slips beyond a line (angle, offset, whose) with which cells there lie in the layers of the others, and error won.

    Args:
        errors: of each cell as it is.
    """
    beyond = (cells_beyond(np.array(line[:2])) > 0) & stack.cells
    if not LEAST < beyond.sum() / stack.cells.sum() < 1 - LEAST:
        return []
    rest = stack.cells & ~beyond
    drawn = stack.drawn(slips, rest)
    shown = np.bincount(stack.columns[rest], minlength=NATIVE) >= SHOWN
    drawn[:, ~np.convolve(shown, np.ones(2 * PAST + 1), "same").astype(bool)] = UNKNOWN
    won = _won(drawn, stack.labels, beyond, slips, stack.values, errors)
    out = []
    for _ in range(SHIFTS):
        z, x = np.unravel_index(won.argmax(), won.shape)
        across, down = STRIDE * (x - ACROSS // STRIDE), STRIDE * (z - DOWN // STRIDE)
        out.append((float(won[z, x]), np.array([*line[:2], float(across), float(down), line[2]])))
        won[max(z - NEAR, 0) : z + NEAR + 1, max(x - NEAR, 0) : x + NEAR + 1] = -math.inf
    return out


def _refined(
    stack: _Stack, error: float, slips: Slips, some: Sequence[int], by_so_much: Sequence[float]
) -> tuple[float, Slips]:
    """Move the numbers of some slips, by less and less, while the squared error falls."""
    slips = slips.copy()
    for by in by_so_much:
        for _ in range(TURNS):
            before_all = error
            for j in some:
                for k, unit in enumerate((TURN, 1.0, 1.0, 1.0)):
                    if k > 1 and by < 1:
                        continue
                    for sign in (-1, 1):
                        before = slips[j, k]
                        slips[j, k] += sign * by * unit
                        now = stack.error(slips)
                        if now < error:
                            error = now
                            break
                        slips[j, k] = before
            if error > SETTLED * before_all:
                break
    return error, slips


def _but_inside(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells whose borders with those right of and under them are not all within some."""
    inside = cells.copy()
    inside[:-1] &= cells[1:]
    inside[:, :-1] &= cells[:, 1:]
    return ~inside


@compiled
def _drawn(
    labels: Any, cells: Any, columns: Any, depths: Any, count: int, layers: int, across: Any, spread: Any
) -> Any:
    """The labels (ROWS, 70) of layers as some cells, led back to columns and depths, show them; -1 for none."""
    often, mean = stacks.depths_of(labels, cells, depths, count)
    most = np.sort(often)[-min(layers, count)]
    for k in range(count):
        if often[k] < max(most, FEWEST):
            mean[k] = math.inf
    order = np.argsort(mean)
    order = order[: min((mean < math.inf).sum(), layers)]
    out = np.full((ROWS, NATIVE), -1)
    if not len(order):
        return out
    rank = np.full(count, -1)
    for i in range(len(order)):
        rank[order[i]] = i
    places = np.full(labels.shape, -1)
    for z in range(NATIVE):
        for x in range(NATIVE):
            if cells[z, x]:
                places[z, x] = rank[labels[z, x]]
    place, depth = stacks.gathered(places, columns, depths)
    n = len(order) - 1
    target, low, high = np.empty((n, NATIVE)), np.empty((n, NATIVE)), np.empty((n, NATIVE))
    stacks.edges(place, depth, n, target, low, high)
    curves = stacks.parallel(target, low, high, across, spread) @ across.T
    for x in range(NATIVE):
        deepest, start = -math.inf, 0
        for i in range(n):
            deepest = max(deepest, curves[i, x])
            end = min(max(int(math.ceil(deepest - 0.5)) + PAD, start), ROWS)
            out[start:end, x] = order[i]
            start = end
        out[start:, x] = order[n]
    return out


@compiled
def _errors(
    slips: Any, inside: Any, values: Any, labels: Any, cells: Any, columns: Any, depths: Any, layers: int, across: Any,
    spread: Any, every: int,
) -> Any:  # fmt: skip
    """The squared error (70, 70) of cells of a stack as layers with slips draw them; columns and depths are room."""
    led_back(inside, slips, columns, depths, every)
    drawn = _drawn(labels, cells, columns, depths, len(values), layers, across, spread)
    out = np.zeros(labels.shape)
    for z in range(NATIVE):
        for x in range(0, NATIVE, every):
            if cells[z, x]:
                row = min(max(int(math.floor(depths[z, x])) + PAD, 0), ROWS - 1)
                out[z, x] = (values[drawn[row, columns[z, x]]] - values[labels[z, x]]) ** 2
    return out


@compiled
def _won(drawn: Any, labels: Any, beyond: Any, slips: Any, values: Any, errors: Any) -> Any:
    """What each shift, down, then across, takes off the error of cells beyond a line, as some of them tell."""
    reach, depth, middle = ACROSS // STRIDE, DOWN // STRIDE, NATIVE / 2
    won = np.zeros((2 * depth + 1, 2 * reach + 1))
    for i in range(2 * reach + 1):
        for k in range(2 * depth + 1):
            won[k, i] = -FARTHER * STRIDE * (abs(i - reach) + abs(k - depth))
    normals, side = normals_of(slips), slips[0, 4] if len(slips) else 1.0
    for z in range(EVERY // 2, NATIVE, EVERY):
        for x in range(0, NATIVE, ACROSS_EVERY):
            if not beyond[z, x]:
                continue
            for i in range(2 * reach + 1):
                px = min(max(x + 0.5 - middle - STRIDE * (i - reach), 0.5 - middle), middle - 0.5)
                for k in range(2 * depth + 1):
                    pz = z + 0.5 - middle - STRIDE * (k - depth)
                    ax, az = led(px, pz, slips, normals, side)
                    row = min(max(int(math.floor(az + middle)) + PAD, 0), ROWS - 1)
                    there = drawn[row, int(ax + middle)]
                    if there == UNKNOWN:
                        won[k, i] += FREE * errors[z, x]
                    else:
                        won[k, i] += errors[z, x] - (values[there] - values[labels[z, x]]) ** 2
    return won

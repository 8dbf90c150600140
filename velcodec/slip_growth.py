"""The slips of a map of two stacks, found one after the other, each stack by itself.

cells of a stack -> lines that many of their borders lie on (fault_lines.py) -> layers of the cells on one side alone,
drawn past them -> the shift with which most of those on the other side lie in them -> the line and shift with which
layers drawn anew tell most cells, moved while that gets better -> the next slip
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import fault_lines
from .decoders.faulted import SLIP
from .faults import TURN, Faults, cells_beyond
from .slip_layers import ACROSS, DOWN, STRIDE, Slips, Stack

MOST = 3  # slips of a stack
ENOUGH = 3e-4  # NMSE of a stack that will do
GAIN = 0.9  # what a slip must leave of the squared error
LEAST = 0.03  # of a stack's cells on either side of a line
SHIFTS, NEAR = 2, 2  # of each line and side that are looked at, so many strides apart
COARSE, FINE = (2.0, 1.0), (1.0, 0.5)  # cells by which numbers are moved
LEVEL = 0.65  # of the borders of flat layers that go on level
WAVES = 16  # of an interface, as slips are compared
TURNS, SETTLED = 4, 0.95  # over numbers at each, at most, and what one must leave of the error for the next


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
            Stack(values, labels, cells, whose, WAVES if folded else 1, layers, n) for n in (pains.columns, 1)
        )
        lines = fault_lines.candidates(labels.astype(np.float64), _but_inside(cells), pains.lines)
        own.append(_settled(every, _grown(some, lines, pains)))
    return replace(f, slips=np.concatenate(own), parallel=True)


def _are_flat(labels: NDArray[np.int64]) -> bool:
    """Whether borders under cells go on level, mostly."""
    under = labels[:-1] != labels[1:]
    return bool((under[:, :-1] & under[:, 1:]).sum() > LEVEL * under[:, :-1].sum())


def _settled(stack: Stack, slips: Slips) -> Slips:
    """Slips moved until all cells are drawn no better."""
    return _refined(stack, stack.error(slips), slips, range(len(slips)), FINE)[1]


def _grown(stack: Stack, lines: fault_lines.Lines, pains: Pains) -> Slips:
    """Slips of a stack whose borders lie on some lines."""
    start = np.zeros((0, SLIP))
    error = stack.error(start)
    enough = ENOUGH * float(np.ptp(stack.values)) ** 2 * len(stack)
    best, kept = (error, start), [(error, start)]
    for _ in range(MOST):
        if best[0] <= enough:
            break
        more = [one for error, slips in kept for one in _with_one_more(stack, slips, lines, pains)]
        kept = sorted(more, key=lambda one: one[0])[: pains.kept]
        if not kept or kept[0][0] > GAIN * best[0]:
            break
        best = kept[0]
    return best[1]


def _with_one_more(
    stack: Stack, slips: Slips, lines: fault_lines.Lines, pains: Pains
) -> list[tuple[float, Slips]]:
    """Slips with another one, the best few, and the squared error that each leave."""
    errors = stack.errors(slips)
    found = [
        one
        for angle, offset, _ in lines
        for turned in (0.0, math.pi)
        for one in _shifted(stack, slips, errors, angle + turned, -offset if turned else offset)
    ]
    trials = []
    for _, slip in sorted(found, key=lambda one: -one[0])[: pains.trials]:
        for at in {0, len(slips)}:
            trial = np.concatenate([slips[:at], slip[None], slips[at:]])
            trials.append((stack.error(trial), at, trial))
    return [
        _refined(stack, error, trial, (at,), COARSE)
        for error, at, trial in sorted(trials, key=lambda one: one[0])[: pains.refined]
    ]


def _shifted(
    stack: Stack, slips: Slips, errors: NDArray[np.float64], angle: float, offset: float
) -> list[tuple[float, NDArray[np.float64]]]:
    """Slips beyond a line with which cells there lie in the layers of the others, and the error won.

    Args:
        errors: of each cell (n,) as it is.
    """
    beyond = stack.beyond(angle, offset)
    if not LEAST < beyond.mean() < 1 - LEAST:
        return []
    won = stack.won(slips, ~beyond, beyond, errors)
    out = []
    for _ in range(SHIFTS):
        z, x = np.unravel_index(won.argmax(), won.shape)
        across, down = STRIDE * (x - ACROSS // STRIDE), STRIDE * (z - DOWN // STRIDE)
        out.append((float(won[z, x]), np.array([angle, offset, float(across), float(down), stack.whose])))
        won[max(z - NEAR, 0) : z + NEAR + 1, max(x - NEAR, 0) : x + NEAR + 1] = -math.inf
    return out


def _refined(
    stack: Stack, error: float, slips: Slips, some: Sequence[int], by_so_much: Sequence[float]
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

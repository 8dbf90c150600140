"""The faults of a map, found one after the other.

plateaus of one velocity -> lines that many of their borders lie on (fault_lines.py) -> the line, and the shift, with
which rows of the unfaulted map are of one velocity (unfaulted.py), or layers drawn are like it where these are folded
-> moved while that gets better -> the next line
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import fault_lines, slip_growth, unfaulted
from .decoders.faulted import LINES
from .fault_lines import Lines
from .faults import FAULT, NONE, TURN, WALL, Faults

THROWN = 60  # degrees from the vertical of a line beyond which a whole map is shifted, at most
BLOCK_REACH, FAULT_REACH = 16, 35  # cells that a block and the rock beyond a fault are shifted, at most
GAIN = 0.97  # what a line must leave of the squared error
TRIALS = 10  # of folded layers that are drawn for each line
POOR = 10.0  # times what will do: one stack leaves so much, and there may be two whose velocities are alike
PARTED = 2  # lines, of the most border, that are tried between those
ONE_STACK, TWO_STACKS = 8, 16  # waves of a fold

Score: TypeAlias = Callable[[Faults], float]


def find(
    v: NDArray[np.float64],
    labels: NDArray[np.int64],
    traces: NDArray[np.bool_] | None,
    score: Score,
    enough: float,
    layers: int,
    slips: slip_growth.Pains | None,
) -> list[Faults]:
    """Faults of a map (70, 70) of plateaus with labels, seen as flat layers and, unless that will do, as folded ones.

    And, where that leaves much, as two stacks whose velocities are alike, so that none show the line between them.

    Args:
        traces: cells (70, 70) that lie on faults, of a map whose edges are soft; such maps are of one stack.
        score: how badly layers with some faults draw the map.
        enough: a score that will do.
        layers: of a stack, at most.
        slips: how much slips of two stacks are looked for, which there may not be otherwise.
    """
    lines, between, values = fault_lines.candidates(v), None, np.unique(v)
    if traces is not None:
        lines = [*fault_lines.traced(traces), *lines]
    else:
        between = fault_lines.between_stacks(labels, lines)
    if between is not None:
        if slips is not None:
            line = fault_lines.settled(labels, between)
            f = slip_growth.with_slips(values, labels, line, layers, slips)
            return [f, replace(f, parallel=False)] if f.fold.any() and score(f) > enough else [f]
        beside = fault_lines.beside(between)
        lines = [one for one in fault_lines.candidates(v, beside) if abs(one[0]) <= math.radians(THROWN)]
    found = [_flat(v, lines, Faults.nothing(between))]
    if score(found[0]) > enough:
        found.append(_folded(v, lines, Faults.nothing(between), score))
    if traces is None and slips is not None and lines and min(map(score, found)) > POOR * enough:
        parted = (
            slip_growth.with_slips(values, labels, np.array(line[:2]), layers, slips)
            for line in lines[:PARTED]
        )
        found.append(min(parted, key=score))
    return found


def _flat(v: NDArray[np.float64], lines: Lines, f: Faults) -> Faults:
    """Faults of flat layers, some of which there are: walls of a block, or faults through two stacks."""
    error = unfaulted.descended(v, f)
    for i in range(int(f.two), LINES):
        before, best, kept = error, GAIN * error, None
        trials = _with_lines(f, i, lines)
        shifts, reach = (i, FAULT_REACH) if f.two else (0, BLOCK_REACH)
        for trial, (error, throw) in zip(
            trials, unfaulted.best_throws(v, trials, shifts, reach), strict=True
        ):
            trial.throws[shifts] = throw
            if error < best:
                best, kept = error, trial
        if kept is None:
            break
        f = kept
        error = unfaulted.descended(v, f)
        if error > GAIN * before:
            break
    return f


def _folded(v: NDArray[np.float64], lines: Lines, f: Faults, score: Score) -> Faults:
    """The same of folded layers: what rows cannot tell, the layers drawn do."""
    waves = TWO_STACKS if f.two else ONE_STACK
    f.fold = unfaulted.tracked(v, f, waves)
    error = score(f)
    for i in range(int(f.two), LINES):
        trials = _matching(v, f, i, lines) if f.two else _unfolded(v, f, i, lines)
        best, kept = GAIN * error, None
        for _, trial in sorted(trials, key=lambda trial: trial[0])[:TRIALS]:
            if f.two:
                trial.fold = unfaulted.tracked(v, trial, waves)
            now = score(trial)
            if now < best:
                best, kept = now, trial
        if kept is None:
            break
        f, error = kept, _refined(kept, best, score)
    return f


def _matching(v: NDArray[np.float64], f: Faults, i: int, lines: Lines) -> list[tuple[float, Faults]]:
    """Two stacks with a fault more whose sides match, the better the less its number."""
    trials = []
    for trial in _with_lines(f, i, lines):
        for gain, throw in fault_lines.matches(v, f, trial.lines[i], FAULT_REACH):
            trials.append((-gain, trial.copied()))
            trials[-1][1].throws[i] = throw
    return trials


def _unfolded(v: NDArray[np.float64], f: Faults, i: int, lines: Lines) -> list[tuple[float, Faults]]:
    """One stack with a wall more, folded as before or as it looks then, and the squared error of flat rows."""
    trials = [
        replace(trial.copied(), fold=fold)
        for trial in _with_lines(f, i, lines)
        for fold in (f.fold, unfaulted.tracked(v, trial, ONE_STACK))
    ]
    out = []
    for trial, (error, throw) in zip(trials, unfaulted.best_throws(v, trials, 0, BLOCK_REACH), strict=True):
        trial.throws[0] = throw
        out.append((error, trial))
    return out


def _with_lines(f: Faults, i: int, lines: Lines) -> list[Faults]:
    """Faults with one line more, line i: of two stacks a fault; else a wall, and either side may be the block."""
    trials = []
    for angle, offset, _ in lines:
        for turned in (False,) if f.two or i == 0 else (False, True):
            for other in (False, True) if i == 1 and not f.two else (False,):
                trial = f.copied()
                trial.lines[i] = _turned(np.array([angle, offset])) if turned else (angle, offset)
                trial.kinds[i] = FAULT if f.two else WALL
                if other:
                    trial.lines[0] = _turned(trial.lines[0])
                    trial.throws[0] *= -1
                trials.append(trial)
    return trials


def _turned(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same line with the other side beyond it."""
    return np.array([line[0] + math.pi, -line[1]])


def _refined(f: Faults, error: float, score: Score) -> float:
    """Move what may be moved, by a cell and by half of one, while a score falls; the score."""
    numbers = [(f.lines[i], k, (TURN, 1.0)[k]) for i in range(LINES) if f.kinds[i] != NONE for k in (0, 1)]
    numbers += [(f.throws, i, 1.0) for i in f.moving]
    for by in (1.0, 0.5):
        for where, at, unit in numbers:
            for sign in (-1, 1):
                where[at] += sign * by * unit
                now = score(f)
                if now < error:
                    error = now
                    break
                where[at] -= sign * by * unit
    return error

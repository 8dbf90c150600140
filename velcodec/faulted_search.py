"""Integers of a faulted latent: moved one by one by rate and distortion, what that changes of the map drawn anew."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .decoders import faulted
from .faulted_drawing import Drawing, Target, bend, blank, draw, draw_all, layers_of, mark
from .told import Tables, added_bits

LEAST_GAIN = 1e-12  # that a move is made for
NARROW = 1.5  # cells that an interface may be moved by at most and no cell change, to be moved to the middle of them
MIDDLE_BITS = 2.0  # that this may take, of an interface
FIRST_WAVES = 3  # of an interface that is flat, that are tried


def searched(
    q: NDArray[np.int64],
    target: Target,
    basis: NDArray[np.float64],
    tables: Tables,
    layers: int,
    sweeps: int,
    price: float,
    gain: float,
) -> float:
    """Move integers (N,) in place; the squared error of a map that they leave.

    A sweep is over those numbers that the last one moved; where there are none, over all. Of a map whose slips are
    undone only those of its layers are moved.

    Args:
        basis: (W, K) cosines at the map's columns.
        layers: L of the decoder.
        price, gain: a bit is worth price + gain x squared error.
    """
    now, tried = (blank(layers, len(basis)) for _ in range(2))
    return float(_searched(q, target, now, tried, across(basis), tables, layers, sweeps, price, gain))


def centre(
    q: NDArray[np.int64], target: Target, basis: NDArray[np.float64], tables: Tables, layers: int
) -> None:
    """Move interfaces of integers (N,), in place, to the middle of where no cell shows them: the likeliest place."""
    _centre(q, target, blank(layers, len(basis)), across(basis), tables, layers)


def error_of(y: NDArray[np.float64], target: Target, basis: NDArray[np.float64], layers: int) -> float:
    """The squared error of a latent (N,) in units from a map; basis as for `searched`."""
    return float(draw_all(y, layers, across(basis), target, blank(layers, len(basis)))[0])


def across(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosines (K, W); the first is of depths, which are told in cells."""
    across = np.array(basis.T, order="C")
    across[0] = 1
    return across


@compiled
def _searched(
    q: Any, target: Target, now: Drawing, tried: Drawing, basis: Any, tables: Tables, layers: int, sweeps: int,
    price: float, gain: float,
) -> float:  # fmt: skip
    step, low, high = tables.step, tables.low, tables.high
    waves, columns = basis.shape
    y = q * step
    two = y[faulted.TWO] > 0
    error, told = draw_all(y, layers, basis, target, now)
    if not sweeps:
        return error
    tried.curves[:] = now.curves
    # Columns that hold most of the error first: a move that does them no good soon fails.
    order = np.argsort(-now.errors)
    hit, changed = np.empty(columns, np.int64), np.empty(columns, np.bool_)
    used = faulted.HEAD + (2 if two else 1) * (layers + (layers - 1) * waves)
    tried_again = np.zeros(len(q), np.bool_)
    for _ in range(sweeps):
        worth = price + gain * error
        all_of_them = not tried_again.any()
        look, tried_again = tried_again | all_of_them, np.zeros(len(q), np.bool_)
        for d in range(faulted.HEAD if len(target.counts) else 0, used):
            if high[d] == low[d] or not look[d] or _needless(y, d, layers, waves):
                continue
            idle = _idle(y, d, layers, waves)
            partner, both = _partner(d, layers, waves, two)
            for way in range(1 if partner < 0 else 3 if both else 2):  # alone, against its partner, with it
                for sign in (-1, 1):
                    new = q[d] + sign
                    if new < low[d] or new > high[d]:
                        continue
                    more, other = added_bits(tables, d, q[d], new), 0
                    if way:
                        other = q[partner] + (sign if way == 2 else -sign)
                        if other < low[partner] or other > high[partner]:
                            continue
                        more += added_bits(tables, partner, q[partner], other)
                    most = error - worth * more - LEAST_GAIN
                    if most <= 0:
                        continue
                    y[d] = new * step
                    if way:
                        y[partner] = other * step
                    alone = d >= faulted.HEAD  # if an interface is bent, that is all that changes
                    stack, first, k, unit = _bent(d if alone or not way else partner, layers, waves)
                    some, left, to = order, 0.0, error
                    by = (sign if alone else -sign) * step * unit
                    until = first + 1 if way and alone else layers - 1
                    if first >= 0 and not idle:
                        end = layers_of(y, layers, stack, waves) - 1
                        bend(told, tried.curves, stack, first, until, end, by, basis[k])
                        if alone:
                            count, left = 0, error
                            mark(now, tried.curves, stack, first, end, changed)
                            for x in order:
                                if changed[x]:
                                    hit[count], count, left = x, count + 1, left - now.errors[x]
                            some = hit[:count]
                    if not idle:
                        to = draw(y, layers, waves, target, tried, some, left, most)
                    if to < most:
                        q[d], tried_again[d] = new, True
                        if way:
                            q[partner], tried_again[partner] = other, True
                        if first >= 0:
                            for i in range(first, until):
                                for x in range(columns):
                                    told[stack, i, x] += by * basis[k, x]
                            for curves in (now.curves, tried.curves):
                                bend(told, curves, stack, first, until, layers - 1, 0.0, basis[k])
                        if not idle:
                            _copy_columns(tried, now, some)
                            error, order = now.errors.sum(), np.argsort(-now.errors)
                    else:
                        y[d] = q[d] * step
                        if way:
                            y[partner] = q[partner] * step
                        if first >= 0 and not idle:
                            for i in range(first, end):
                                for x in range(columns):
                                    tried.curves[stack, i, x] = now.curves[stack, i, x]
        if all_of_them and not tried_again.any():
            break
    return error


@compiled
def _centre(q: Any, target: Target, now: Drawing, basis: Any, tables: Tables, layers: int) -> None:
    waves, step = len(basis), tables.step
    y = q * step
    error = draw_all(y, layers, basis, target, now)[0]
    for stack in range(2 if y[faulted.TWO] > 0 else 1):
        first = faulted.HEAD + stack * (layers + (layers - 1) * waves) + layers
        last = layers_of(y, layers, stack, waves) - 2
        for i in range(last + 1):
            up, down = -math.inf, math.inf
            for x in range(basis.shape[1]):
                up = max(up, now.highest[stack, i, x] - now.curves[stack, i, x])
                down = min(down, now.lowest[stack, i, x] - now.curves[stack, i, x])
            if not -NARROW < up < down < NARROW:
                continue
            by, d = int(round((up + down) / 2 / (step * faulted.DEPTH))), first + i
            under = d + 1 if i < last else -1  # what is under it stays
            if by == 0 or not tables.low[d] <= q[d] + by <= tables.high[d]:
                continue
            more = added_bits(tables, d, q[d], q[d] + by)
            if under >= 0:
                if not tables.low[under] <= q[under] - by <= tables.high[under]:
                    continue
                more += added_bits(tables, under, q[under], q[under] - by)
            if more > MIDDLE_BITS:
                continue
            _move(q, y, d, under, by, step)
            if draw_all(y, layers, basis, target, now)[0] > error + LEAST_GAIN:
                _move(q, y, d, under, -by, step)


@inlined
def _move(q: Any, y: Any, d: int, under: int, by: int, step: float) -> None:
    """Move an integer, and another one, if there is one, as far the other way."""
    q[d] += by
    y[d] = q[d] * step
    if under >= 0:
        q[under] -= by
        y[under] = q[under] * step


@inlined
def _copy_columns(made: Drawing, to: Drawing, some: Any) -> None:
    for x in some:
        to.errors[x] = made.errors[x]
        for stack in range(2):
            for i in range(made.highest.shape[1]):
                to.highest[stack, i, x] = made.highest[stack, i, x]
                to.lowest[stack, i, x] = made.lowest[stack, i, x]


@inlined
def _bent(d: int, layers: int, waves: int) -> Any:
    """The stack and the interface that a number bends, or -1; by which cosine, and by how many cells a unit."""
    numbers = layers + (layers - 1) * waves
    stack, within = (d - faulted.HEAD) // numbers, (d - faulted.HEAD) % numbers
    if d < faulted.HEAD or within < layers:
        return 0, -1, 0, 0.0
    place = within - (2 * layers - 1)
    if place < 0:
        return stack, within - layers, 0, faulted.DEPTH
    return stack, place // (waves - 1), 1 + place % (waves - 1), faulted.WAVE


@compiled
def _idle(y: Any, d: int, layers: int, waves: int) -> bool:
    """Whether a number, and its partner, are of a fill, a line or an interface that is not there."""
    if d in (faulted.FILL_VELOCITY, faulted.FILL_REACH):
        return bool(y[faulted.FILL_TOP] <= 0)
    if d < faulted.LINE:
        return False
    if d < faulted.HEAD:
        place = (d - faulted.LINE) % 4
        throw, wall = y[d - place + 2], y[d - place + 3] > 0
        return bool((place < 2 and throw == 0 and not wall) or (place == 2 and wall))
    stack = layers + (layers - 1) * waves
    within = (d - faulted.HEAD) % stack
    if within < layers:
        return False
    interface = within - layers if within < 2 * layers - 1 else (within - 2 * layers + 1) // (waves - 1)
    first = d - within
    return not y[first + interface + 1 : first + layers].any()


@compiled
def _needless(y: Any, d: int, layers: int, waves: int) -> bool:
    """Whether a number is a short wave of an interface that has none at all: such ones hardly ever gain one."""
    within = (d - faulted.HEAD) % (layers + (layers - 1) * waves)
    place = within - (2 * layers - 1)
    if d < faulted.HEAD or place < 0 or place % (waves - 1) < FIRST_WAVES:
        return False
    first = d - place % (waves - 1)
    return not y[first : first + waves - 1].any()


@inlined
def _partner(d: int, layers: int, waves: int, two: bool) -> Any:
    """A number to move with another one, or -1, and whether both ways.

    What comes next in a stack, so that all further down stays; the first interface of what the block does not
    shift; the offset of a line that turns.
    """
    if d == faulted.SHIFT:
        return (-1 if two else faulted.HEAD + layers), False
    if d < faulted.HEAD:
        return (
            d + 1 if d == faulted.ANGLE_0 or (d >= faulted.LINE and (d - faulted.LINE) % 4 == 0) else -1
        ), True
    stack = layers + (layers - 1) * waves
    within = (d - faulted.HEAD) % stack
    if within == 0 or within in (layers - 1, 2 * layers - 2):
        return -1, False
    further = 1 if within < 2 * layers - 1 else waves - 1
    return (d + further if within + further < stack else -1), False

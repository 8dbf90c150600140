"""Integers of a faulted latent: moved one by one by rate and distortion, the map drawn anew each time."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .decoders import faulted
from .decoders.cosines import NATIVE
from .told import Tables, added_bits

FAR = 5.0  # widths from an edge to where it is no more
LEAST_GAIN = 1e-12  # that a move is made for
FIRST_WAVES = 3  # of an interface that is flat, that are tried


def searched(
    q: NDArray[np.int64],
    v: NDArray[np.float64],
    basis: NDArray[np.float64],
    tables: Tables,
    layers: int,
    sweeps: int,
    price: float,
    gain: float,
) -> float:
    """Move integers (N,) in place; the squared error of a map (H, W) that they leave.

    A sweep is over those numbers that the last one moved; where there are none, over all.

    Args:
        basis: (W, K) cosines at the map's columns.
        layers: L of the decoder.
        price, gain: a bit is worth price + gain x squared error.
    """
    return float(_searched(q, v, basis, tables, layers, sweeps, price, gain))


def error_of(
    y: NDArray[np.float64], v: NDArray[np.float64], basis: NDArray[np.float64], layers: int
) -> float:
    """The squared error of a latent (N,) in units from a map (H, W)."""
    turned, sums, squares = _sums(v)
    curves = np.empty((2, len(turned), layers - 1))
    order, errors = np.arange(len(turned)), np.empty(len(turned))
    return float(_error(y, layers, basis, turned, sums, squares, curves, order, errors, math.inf))


@compiled
def _sums(v: Any) -> Any:
    """A map (W, H) by its columns, and the running sums (W, H + 1) of each and of its squares."""
    turned = np.ascontiguousarray(v.T)
    columns, height = turned.shape
    sums, squares = np.zeros((columns, height + 1)), np.zeros((columns, height + 1))
    for x in range(columns):
        for z in range(height):
            sums[x, z + 1] = sums[x, z] + turned[x, z]
            squares[x, z + 1] = squares[x, z] + turned[x, z] ** 2
    return turned, sums, squares


@inlined
def _curves(y: Any, first: int, layers: int, basis: Any, out: Any) -> int:
    """Interfaces (W, L - 1) of the stack whose numbers begin somewhere, the deepest from the top on, in cells.

    Returns the layers that there are, up to the last with a velocity of its own.
    """
    width, waves = basis.shape
    used = 1
    for i in range(1, layers):
        if y[first + i] != 0:
            used = i + 1
    depths, shapes = first + layers, first + 2 * layers - 1
    out[:] = 0
    for i in range(used - 1):
        if i:
            out[:, i] = out[:, i - 1]
        out[:, i] += y[depths + i] * faulted.DEPTH
        for k in range(1, waves):
            number = y[shapes + i * (waves - 1) + k - 1] * faulted.WAVE
            if number != 0:
                for x in range(width):
                    out[x, i] += number * basis[x, k]
    for i in range(1, used - 1):
        for x in range(width):
            out[x, i] = max(out[x, i], out[x, i - 1])
    return used


@inlined
def _lines(y: Any) -> Any:
    """Of each line that does something, line 0 first: cosine, sine, offset, shift, and whether it is a wall."""
    told, count = np.zeros((faulted.LINES, 5)), 0
    for f in range(faulted.LINES):
        angle = faulted.ANGLE_0 if f == 0 else faulted.LINE + 4 * (f - 1)
        wall = f == 0 or y[angle + 3] > 0
        if not wall and y[angle + 2] == 0:
            continue
        told[count, 0] = math.cos(y[angle] * faulted.ANGLE)
        told[count, 1] = math.sin(y[angle] * faulted.ANGLE)
        told[count, 2] = y[angle + 1] * faulted.DEPTH
        told[count, 3] = 0.0 if wall else y[angle + 2] * faulted.DEPTH
        told[count, 4] = 1.0 if wall else 0.0
        count += 1
    return told[:count]


@inlined
def _beyond(lines: Any, i: int, x: float, depth: float) -> float:
    """Cells that a place is beyond a line."""
    return float(x * lines[i, 0] + (depth - NATIVE / 2) * lines[i, 1] - lines[i, 2])


@inlined
def _cells_to(away: float, lines: Any, i: int, cell: float) -> int:
    """Cells down to where a place is so far nearer to a line, or further from it."""
    return int(math.ceil(min(away / max(abs(lines[i, 1]), 1e-9) / cell, 1e6)))


@inlined
def _soft(t: float) -> float:
    return 1 / (1 + math.exp(-min(max(t, -30.0), 30.0)))


@inlined
def _layer(
    y: Any, first: int, used: int, curves: Any, stack: int, x: int, depth: float, width: float
) -> float:
    """The value of a stack at a depth of a column, under its interfaces in `curves` (2, W, L - 1)."""
    value = y[first]
    for i in range(used - 1):
        below = depth - curves[stack, x, i]
        if below < -FAR * width:
            break
        value += y[first + i + 1] * (_soft(below / width) if below < FAR * width else 1.0)
    return value * faulted.VELOCITY


@compiled
def _error(
    y: Any, layers: int, basis: Any, v: Any, sums: Any, squares: Any, curves: Any, order: Any, errors: Any,
    limit: float,
) -> float:  # fmt: skip
    """The squared error of a map (W, H), whose columns have these running sums (W, H + 1).

    Where no edge is near, cells are counted in runs. Past a limit it is not gone on with: what it is then is more.

    Args:
        order: the columns (W,), as they are drawn.
        errors: of each column (W,) that was drawn, filled in.
    """
    columns, height = v.shape
    last = 1 if y[faulted.TWO] > 0 else 0  # the stack of the block
    starts = (faulted.HEAD, faulted.HEAD + last * (layers + (layers - 1) * basis.shape[1]))
    first_used = _curves(y, faulted.HEAD, layers, basis, curves[0])
    used = (first_used, _curves(y, starts[1], layers, basis, curves[1]) if last else first_used)
    width = max(y[faulted.SOFT] * faulted.SOFTNESS, faulted.WIDTH)
    far = FAR * width
    lines = _lines(y)
    top, reach, shifted = (
        y[faulted.FILL_TOP] * faulted.DEPTH,
        y[faulted.FILL_REACH] * faulted.DEPTH,
        y[faulted.SHIFT] * faulted.DEPTH,
    )
    lower = 1 if shifted >= 0 else 0  # which side of line 0 the fill is on
    fill = (y[starts[lower] + 1] / 2 + y[faulted.FILL_VELOCITY]) * faulted.VELOCITY if top > 0 else 0.0
    cell = NATIVE / height
    error = 0.0
    for x in order:
        if error > limit:
            break
        errors[x] = -error
        px = (x + 0.5) * (NATIVE / columns) - NATIVE / 2
        z = 0
        while z < height:
            depth = (z + 0.5) * cell
            run, plain, inside, shift = height - z, True, 1, 0.0
            near = math.inf  # cells of a fill that are left to where it ends
            if fill != 0 and reach > 0:
                near = reach - _beyond(lines, 0, px, depth) * (1 if lower else -1)
            for i in range(len(lines)):
                off = _beyond(lines, i, px, depth)
                if abs(off) <= far:
                    plain = False
                    break
                if off * lines[i, 1] < 0:
                    run = min(run, _cells_to(abs(off) - far, lines, i, cell))
                if off < 0 and lines[i, 4] > 0:
                    inside = 0
                elif off > 0:
                    shift += lines[i, 3]
            if plain:
                down = depth - shift - (shifted if inside else 0.0)
                stack, first = inside * last, starts[inside]
                value = y[first] * faulted.VELOCITY
                if fill != 0 and inside == lower:
                    over, under = depth - top, curves[stack, x, 0] - down
                    plain = abs(over) > far and abs(under) > far and abs(near) > far
                    if -over > far:
                        run = min(run, int(math.ceil((-over - far) / cell)))
                    if under > far:
                        run = min(run, int(math.ceil((under - far) / cell)))
                    if reach > 0:
                        run = min(run, _cells_to(abs(near) - far, lines, 0, cell))
                    if over > 0 and under > 0 and near > 0:
                        value += fill
                for i in range(used[inside] - 1):
                    below = down - curves[stack, x, i]
                    if below < -far:
                        run = min(run, int(math.ceil((-below - far) / cell)))
                        break
                    if below <= far:
                        plain = False
                        break
                    value += y[first + i + 1] * faulted.VELOCITY
                if plain:
                    end = z + run
                    error += (
                        squares[x, end]
                        - squares[x, z]
                        + value * (value * run - 2 * (sums[x, end] - sums[x, z]))
                    )
                    z = end
                    continue
            block, shift = 1.0, 0.0
            for i in range(len(lines)):
                off = _beyond(lines, i, px, depth)
                part = _soft(off / width) if abs(off) < far else (1.0 if off > 0 else 0.0)
                if lines[i, 4] > 0:
                    block *= part
                else:
                    shift += part * lines[i, 3]
            down, value = depth - shift, 0.0
            if block < 1:
                value = (1 - block) * _layer(y, faulted.HEAD, used[0], curves, 0, x, down, width)
            if block > 0:
                value += block * _layer(y, starts[1], used[1], curves, last, x, down - shifted, width)
            if fill != 0:
                part = fill * _soft((depth - top) / width)
                part *= _soft((curves[lower * last, x, 0] - (down - shifted if lower else down)) / width)
                if reach > 0:
                    part *= _soft(near / width)
                value += part * (block if lower else 1 - block)
            error += (value - v[x, z]) ** 2
            z += 1
        errors[x] += error
    return error


@compiled
def _searched(
    q: Any, v: Any, basis: Any, tables: Any, layers: int, sweeps: int, price: float, gain: float
) -> float:
    step, low, high = tables.step, tables.low, tables.high
    waves = basis.shape[1]
    stack = layers + (layers - 1) * waves
    turned, sums, squares = _sums(v)
    curves = np.empty((2, len(turned), layers - 1))
    order, errors = np.arange(len(turned)), np.empty(len(turned))
    y = q * step
    error = _error(y, layers, basis, turned, sums, squares, curves, order, errors, math.inf)
    if sweeps:  # columns that hold most of the error first: a move that does them no good soon fails
        order = np.argsort(-errors)
    used = faulted.HEAD + (2 if y[faulted.TWO] > 0 else 1) * stack
    tried_again = np.zeros(len(q), np.bool_)
    for _ in range(sweeps):
        worth = price + gain * error
        all_of_them = not tried_again.any()
        look, tried_again = tried_again | all_of_them, np.zeros(len(q), np.bool_)
        for d in range(used):
            if high[d] == low[d] or not look[d] or _needless(y, d, layers, waves):
                continue
            idle = _idle(y, d, layers, waves)
            partner, both = _partner(d, layers, waves, y[faulted.TWO] > 0)
            for way in range(1 if partner < 0 else 3 if both else 2):  # alone, against its partner, with it
                for sign in (-1, 1):
                    new = q[d] + sign
                    if new < low[d] or new > high[d]:
                        continue
                    more = added_bits(tables, d, q[d], new)
                    if way:
                        other = q[partner] + (sign if way == 2 else -sign)
                        if other < low[partner] or other > high[partner]:
                            continue
                        more += added_bits(tables, partner, q[partner], other)
                        y[partner] = other * step
                    y[d] = new * step
                    most = error - worth * more - LEAST_GAIN
                    if most <= 0:
                        tried = math.inf
                    elif idle:
                        tried = error
                    else:
                        tried = _error(y, layers, basis, turned, sums, squares, curves, order, errors, most)
                    if tried < most:
                        error, q[d], tried_again[d] = tried, new, True
                        if not idle:
                            order = np.argsort(-errors)
                        if way:
                            q[partner], tried_again[partner] = other, True
                    else:
                        y[d] = q[d] * step
                        if way:
                            y[partner] = q[partner] * step
        if all_of_them and not tried_again.any():
            break
    return error


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

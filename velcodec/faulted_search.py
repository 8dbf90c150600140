"""Integers of a faulted latent: moved one by one by rate and distortion, the map drawn anew each time."""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .decoders.cosines import NATIVE
from .decoders.faulted import (
    ANGLE,
    ANGLE_0,
    DEPTH,
    FILL_REACH,
    FILL_TOP,
    FILL_VELOCITY,
    HEAD,
    LINE,
    OFFSET_0,
    SHIFT,
    SOFT,
    SOFTNESS,
    TWO,
    VELOCITY,
    WAVE,
    WIDTH,
)  # fmt: skip
from .told import Tables

FAR = 6.0  # widths from an edge to where it is no more


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

    After the first sweep only those are tried again that have just moved.

    Args:
        basis: (W, K) cosines at the map's columns.
        layers: L of the decoder.
        price, gain: a bit is worth price + gain x squared error.
    """
    return float(
        _searched(
            q, v, basis, tables.step, layers, tables.low, tables.high, tables.start, tables.bits, sweeps, price, gain
        )
    )  # fmt: skip


def error_of(
    y: NDArray[np.float64], v: NDArray[np.float64], basis: NDArray[np.float64], layers: int
) -> float:
    """The squared error of a latent (N,) in units from a map (H, W)."""
    turned, sums, squares = _sums(v)
    return float(_error(y, layers, basis, turned, sums, squares, np.empty((2, len(turned), layers - 1))))


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
        out[:, i] += y[depths + i] * DEPTH
        for k in range(1, waves):
            number = y[shapes + i * (waves - 1) + k - 1] * WAVE
            if number != 0:
                for x in range(width):
                    out[x, i] += number * basis[x, k]
    for i in range(1, used - 1):
        for x in range(width):
            out[x, i] = max(out[x, i], out[x, i - 1])
    return used


@njit(cache=True, nogil=True)
def _lines(y: Any) -> Any:
    """Of each line: cosine, sine, offset, shift, whether it is a wall, and cells down to be a cell further from it."""
    told = np.zeros((3, 6))
    for f in range(3):
        angle, offset = (ANGLE_0, OFFSET_0) if f == 0 else (LINE + 4 * (f - 1), LINE + 4 * (f - 1) + 1)
        told[f, 0], told[f, 1] = math.cos(y[angle] * ANGLE), math.sin(y[angle] * ANGLE)
        told[f, 2] = y[offset] * DEPTH
        wall = f == 0 or y[offset + 2] > 0
        told[f, 3] = 0.0 if wall else y[offset + 1] * DEPTH
        told[f, 4] = 1.0 if wall else 0.0
        told[f, 5] = 1 / max(abs(told[f, 1]), 1e-9)
    return told


@njit(cache=True, nogil=True)
def _soft(t: float) -> float:
    return 1 / (1 + math.exp(-min(max(t, -30.0), 30.0)))


@njit(cache=True, nogil=True)
def _layer(y: Any, first: int, used: int, curves: Any, depth: float, width: float) -> float:
    """The value of a stack at a depth under interfaces (L - 1,) of one column."""
    value = y[first]
    for i in range(used - 1):
        below = depth - curves[i]
        if below < -FAR * width:
            break
        value += y[first + i + 1] * (_soft(below / width) if below < FAR * width else 1.0)
    return value * VELOCITY


@njit(cache=True, nogil=True)
def _error(y: Any, layers: int, basis: Any, v: Any, sums: Any, squares: Any, curves: Any) -> float:
    """The squared error of a map (W, H), whose columns have these running sums (W, H + 1).

    Where no edge is near, cells are counted in runs.
    """
    columns, height = v.shape
    starts = (HEAD, HEAD + layers + (layers - 1) * basis.shape[1] if y[TWO] > 0 else HEAD)
    first_used = _curves(y, HEAD, layers, basis, curves[0])
    used = (first_used, first_used)
    if starts[1] != HEAD:
        used = (first_used, _curves(y, starts[1], layers, basis, curves[1]))
    own_curves = (curves[0], curves[1] if starts[1] != HEAD else curves[0])
    width = max(y[SOFT] * SOFTNESS, WIDTH)
    far = FAR * width
    lines = _lines(y)
    top, reach, shifted = y[FILL_TOP] * DEPTH, y[FILL_REACH] * DEPTH, y[SHIFT] * DEPTH
    lower = 1 if shifted >= 0 else 0  # which side of line 0 the fill is on
    fill = (y[starts[lower] + 1] / 2 + y[FILL_VELOCITY]) * VELOCITY if top > 0 else 0.0
    cell = NATIVE / height
    error = 0.0
    for x in range(columns):
        px = (x + 0.5) * (NATIVE / columns) - NATIVE / 2
        z = 0
        while z < height:
            depth = (z + 0.5) * cell
            run, plain, inside, shift, first_off = height - z, True, 1, 0.0, 0.0
            for f in range(3):
                if lines[f, 4] == 0 and lines[f, 3] == 0:
                    continue
                off = px * lines[f, 0] + (depth - NATIVE / 2) * lines[f, 1] - lines[f, 2]
                if f == 0:
                    first_off = off if lower else -off
                if abs(off) <= far:
                    plain = False
                    break
                if off * lines[f, 1] < 0:
                    run = min(run, int(math.ceil(min((abs(off) - far) * lines[f, 5] / cell, 1e6))))
                if off < 0 and lines[f, 4] > 0:
                    inside = 0
                elif off > 0:
                    shift += lines[f, 3]
            if plain:
                down = depth - shift - (shifted if inside else 0.0)
                own, first = own_curves[inside], starts[inside]
                value = y[first] * VELOCITY
                if fill != 0 and inside == lower:
                    over, under = depth - top, own[x, 0] - down
                    near = reach - first_off if reach > 0 else math.inf
                    plain = abs(over) > far and abs(under) > far and abs(near) > far
                    if -over > far:
                        run = min(run, int(math.ceil((-over - far) / cell)))
                    if under > far:
                        run = min(run, int(math.ceil((under - far) / cell)))
                    if reach > 0:
                        run = min(run, int(math.ceil(min((abs(near) - far) * lines[0, 5] / cell, 1e6))))
                    if over > 0 and under > 0 and near > 0:
                        value += fill
                for i in range(used[inside] - 1):
                    below = down - own[x, i]
                    if below < -far:
                        run = min(run, int(math.ceil((-below - far) / cell)))
                        break
                    if below <= far:
                        plain = False
                        break
                    value += y[first + i + 1] * VELOCITY
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
            for f in range(3):
                if lines[f, 4] == 0 and lines[f, 3] == 0:
                    continue
                off = px * lines[f, 0] + (depth - NATIVE / 2) * lines[f, 1] - lines[f, 2]
                if f == 0:
                    first_off = off if lower else -off
                part = _soft(off / width) if abs(off) < far else (1.0 if off > 0 else 0.0)
                if lines[f, 4] > 0:
                    block *= part
                else:
                    shift += part * lines[f, 3]
            down, value = depth - shift, 0.0
            if block < 1:
                value = (1 - block) * _layer(y, HEAD, used[0], curves[0, x], down, width)
            if block > 0:
                value += block * _layer(y, starts[1], used[1], own_curves[1][x], down - shifted, width)
            if fill != 0:
                part = fill * _soft((depth - top) / width)
                part *= _soft((own_curves[lower][x, 0] - (down - shifted if lower else down)) / width)
                if reach > 0:
                    part *= _soft((reach - first_off) / width)
                value += part * (block if lower else 1 - block)
            error += (value - v[x, z]) ** 2
            z += 1
    return error


@njit(cache=True, nogil=True)
def _searched(
    q: Any,
    v: Any,
    basis: Any,
    step: float,
    layers: int,
    low: Any,
    high: Any,
    start: Any,
    bits: Any,
    sweeps: int,
    price: float,
    gain: float,
) -> float:
    waves = basis.shape[1]
    stack = layers + (layers - 1) * waves
    turned, sums, squares = _sums(v)
    curves = np.empty((2, len(turned), layers - 1))
    y = q * step
    error = _error(y, layers, basis, turned, sums, squares, curves)
    used = HEAD + (2 if y[TWO] > 0 else 1) * stack
    tried_again = np.ones(len(q), np.bool_)
    for _ in range(sweeps):
        worth = price + gain * error
        look, tried_again = tried_again, np.zeros(len(q), np.bool_)
        for d in range(used):
            if high[d] == low[d] or not look[d]:
                continue
            partner, both = _partner(d, layers, waves, y[TWO] > 0)
            for way in range(1 if partner < 0 else 3 if both else 2):  # alone, against its partner, with it
                for sign in (-1, 1):
                    new = q[d] + sign
                    if new < low[d] or new > high[d]:
                        continue
                    more = bits[start[d] + new - low[d]] - bits[start[d] + q[d] - low[d]]
                    if way:
                        other = q[partner] + (sign if way == 2 else -sign)
                        if other < low[partner] or other > high[partner]:
                            continue
                        at = start[partner] - low[partner]
                        more += bits[at + other] - bits[at + q[partner]]
                        y[partner] = other * step
                    y[d] = new * step
                    tried = _error(y, layers, basis, turned, sums, squares, curves)
                    if tried - error + worth * more < -1e-12:
                        error, q[d], tried_again[d] = tried, new, True
                        if way:
                            q[partner], tried_again[partner] = other, True
                    else:
                        y[d] = q[d] * step
                        if way:
                            y[partner] = q[partner] * step
        if not tried_again.any():
            break
    return error


@njit(cache=True, nogil=True)
def _partner(d: int, layers: int, waves: int, two: bool) -> Any:
    """A number to move with another one, or -1, and whether both ways.

    What comes next in a stack, so that all further down stays; the first interface of what the block does not
    shift; the offset of a line that turns.
    """
    if d == SHIFT:
        return (-1 if two else HEAD + layers), False
    if d < HEAD:
        return (d + 1 if d == ANGLE_0 or (d >= LINE and (d - LINE) % 4 == 0) else -1), True
    stack = layers + (layers - 1) * waves
    within = (d - HEAD) % stack
    if within == 0 or within in (layers - 1, 2 * layers - 2):
        return -1, False
    further = 1 if within < 2 * layers - 1 else waves - 1
    return (d + further if within + further < stack else -1), False

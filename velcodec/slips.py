"""Slips of a faulted latent: where each cell's stack is looked up, and the numbers of lines and slips moved one by one.

A slip moved all the rock of a stack beyond its line. Led back, the cells of a map are those of two unbroken stacks,
several of them or none at some places, and these are drawn over them as over any map.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import faulted_search
from .compiled import compiled, inlined
from .decoders import faulted
from .decoders.cosines import NATIVE
from .faulted_drawing import PAD, Target, soft, stacks_of
from .told import Tables, added_bits

LAST_SWEEPS = 2  # over the numbers of layers, once lines and slips are moved
TURNS = 3  # over the numbers of lines and slips, at most
LEAST_GAIN = 1e-12
LEAST_SHARE = 1e-6  # of a cell that a stack has, to be drawn there


class Places(NamedTuple):
    """Where a decoder's numbers are: the unit of slips, the first of them, and how many slips there are."""

    unit: int
    first: int
    slips: int


def searched(
    q: NDArray[np.int64],
    v: NDArray[np.float64],
    basis: NDArray[np.float64],
    tables: Tables,
    decoder: faulted.FaultedDecoder,
    sweeps: int,
    price: float,
    gain: float,
) -> float:
    """As faulted_search.searched, for integers (N,) that tell slips."""
    places = places_of(decoder)
    across = faulted_search.across(basis)
    target = _target(q * tables.step, v, places)
    error = faulted_search.searched(q, target, basis, tables, decoder.layers, sweeps, price, gain)
    if sweeps and _slid(q, v, across, tables, decoder.layers, places, price, gain):
        target = _target(q * tables.step, v, places)
        error = faulted_search.searched(q, target, basis, tables, decoder.layers, LAST_SWEEPS, price, gain)
    return error


def target_of(y: NDArray[np.float64], v: NDArray[np.float64], decoder: faulted.FaultedDecoder) -> Target:
    """A map (70, 70) led back by a latent (N,) in units that tells slips, to be drawn."""
    led_back_to: Target = _target(y, v, places_of(decoder))
    return led_back_to


def drawn_of(
    y: NDArray[np.float64], basis: NDArray[np.float64], decoder: faulted.FaultedDecoder
) -> NDArray[np.float64]:
    """The map (70, 70) that a latent (N,) in units which tells slips draws, without patches."""
    out: NDArray[np.float64] = _drawn(y, decoder.layers, faulted_search.across(basis), places_of(decoder))
    return out


def places_of(decoder: faulted.FaultedDecoder) -> Places:
    """Where a decoder's numbers are."""
    return Places(decoder.unit, decoder.slip, decoder.slips)


def are_told(q: NDArray[Any], decoder: faulted.FaultedDecoder) -> bool:
    """Whether numbers (N,) tell any slip."""
    return bool(decoder.slips and q[decoder.slip + faulted.S_WHOSE :: faulted.SLIP].any())


@inlined
def led(px: float, pz: float, slips: Any, normals: Any, side: float) -> Any:
    """Where slips (S, 5) of a stack lead from a place in cells from the middle; normals (2, S) of their lines."""
    for j in range(len(slips)):
        if slips[j, 4] * side > 0 and px * normals[0, j] + pz * normals[1, j] > slips[j, 1]:
            px = min(max(px - slips[j, 2], 0.5 - NATIVE / 2), NATIVE / 2 - 0.5)
            pz -= slips[j, 3]
    return px, pz


@inlined
def normals_of(slips: Any) -> Any:
    """The normals (2, S) of the lines of slips (S, 5)."""
    return np.stack((np.cos(slips[:, 0]), np.sin(slips[:, 0])))


@compiled
def led_back(z: Any, x: Any, slips: Any, side: float) -> Any:
    """The column and the depth, in cells, at which cells (n,) of a stack are looked up, in rows z and columns x.

    Args:
        slips: (S, 5) as Faults has them.
        side: past 0 where the stack is the block's.
    """
    middle, normals = NATIVE / 2, normals_of(slips)
    columns, depths = np.empty(len(z), np.int64), np.empty(len(z))
    for i in range(len(z)):
        px, pz = led(x[i] + 0.5 - middle, z[i] + 0.5 - middle, slips, normals, side)
        columns[i], depths[i] = int(px + middle), pz + middle
    return columns, depths


@compiled
def _told(y: Any, places: Places) -> Any:
    """The slips (S, 5) that numbers (N,) tell, as Faults has them."""
    told = np.zeros((places.slips, 5))
    cells = y[places.unit] * faulted.FINEST
    for j in range(places.slips):
        first = places.first + j * faulted.SLIP
        told[j, 0] = y[first + faulted.S_ANGLE] * faulted.ANGLE
        told[j, 1] = y[first + faulted.S_OFFSET] * faulted.DEPTH
        told[j, 2] = y[first + faulted.S_ACROSS] * cells
        told[j, 3] = y[first + faulted.S_DOWN] * cells
        told[j, 4] = y[first + faulted.S_WHOSE]
    return told


@compiled
def _sides(y: Any) -> Any:
    """Which cells (70, 70) are beyond line 0 of numbers (N,)."""
    inside = np.empty((NATIVE, NATIVE), np.bool_)
    across, down = math.cos(y[faulted.ANGLE_0] * faulted.ANGLE), math.sin(y[faulted.ANGLE_0] * faulted.ANGLE)
    offset = y[faulted.OFFSET_0] * faulted.DEPTH
    for z in range(NATIVE):
        for x in range(NATIVE):
            inside[z, x] = (x + 0.5 - NATIVE / 2) * across + (z + 0.5 - NATIVE / 2) * down > offset
    return inside


@compiled
def _target(y: Any, v: Any, places: Places) -> Any:
    """A map (70, 70) led back by numbers (N,), to be drawn."""
    inside, slips, middle = _sides(y), _told(y, places), NATIVE / 2
    normals, rows = normals_of(slips), NATIVE + 2 * PAD
    sums, squares, counts = (
        np.zeros((2 * NATIVE, rows + 1)), np.zeros((2 * NATIVE, rows + 1)), np.zeros((2 * NATIVE, rows + 1))
    )  # fmt: skip
    for z in range(NATIVE):
        for x in range(NATIVE):
            stack = 1 if inside[z, x] else 0
            px, pz = led(x + 0.5 - middle, z + 0.5 - middle, slips, normals, 2.0 * stack - 1)
            column = stack * NATIVE + int(px + middle)
            row = min(max(int(math.floor(pz + middle)) + PAD, 0), rows - 1) + 1
            sums[column, row] += v[z, x]
            squares[column, row] += v[z, x] ** 2
            counts[column, row] += 1
    for column in range(2 * NATIVE):
        for row in range(rows):
            sums[column, row + 1] += sums[column, row]
            squares[column, row + 1] += squares[column, row]
            counts[column, row + 1] += counts[column, row]
    return Target(v, sums, squares, counts)


@compiled
def _error(y: Any, v: Any, layered: Any, places: Places, whose: float, limit: float) -> float:
    """The squared error of a map (70, 70) whose stacks (2, 70, H) are as they are; past a limit, more than it.

    Args:
        whose: a stack, whose cells alone are counted: past 0 that of the block; 0 for both.
    """
    inside, slips, middle = _sides(y), _told(y, places), NATIVE / 2
    normals, error = normals_of(slips), 0.0
    for z in range(NATIVE):
        for x in range(NATIVE):
            stack = 1 if inside[z, x] else 0
            side = 2.0 * stack - 1
            if whose * side < 0:
                continue
            px, pz = led(x + 0.5 - middle, z + 0.5 - middle, slips, normals, side)
            row = min(max(int(math.floor(pz + middle)) + PAD, 0), layered.shape[2] - 1)
            error += (layered[stack, int(px + middle), row] - v[z, x]) ** 2
        if error > limit:
            break
    return error


@compiled
def _drawn(y: Any, layers: int, basis: Any, places: Places) -> Any:
    """The map (70, 70) that numbers (N,) draw."""
    slips, middle = _told(y, places), NATIVE / 2
    normals, layered, out = normals_of(slips), stacks_of(y, layers, basis), np.empty((NATIVE, NATIVE))
    across, down = math.cos(y[faulted.ANGLE_0] * faulted.ANGLE), math.sin(y[faulted.ANGLE_0] * faulted.ANGLE)
    for z in range(NATIVE):
        for x in range(NATIVE):
            at_x, at_z = x + 0.5 - middle, z + 0.5 - middle
            beyond = at_x * across + at_z * down - y[faulted.OFFSET_0] * faulted.DEPTH
            block, out[z, x] = soft(beyond / faulted.WIDTH), 0.0
            for stack in range(2):
                share = block if stack else 1 - block
                if share < LEAST_SHARE:
                    continue
                px, pz = led(at_x, at_z, slips, normals, 2.0 * stack - 1)
                row = min(max(int(math.floor(pz + middle)) + PAD, 0), layered.shape[2] - 1)
                out[z, x] += share * layered[stack, int(px + middle), row]
    return out


@compiled
def _slid(
    q: Any, v: Any, basis: Any, tables: Tables, layers: int, places: Places, price: float, gain: float
) -> bool:  # fmt: skip
    """Move the numbers of line 0 and of slips, in place, while that gets better; whether any was moved."""
    step, low, high = tables.step, tables.low, tables.high
    y = q * step
    layered = stacks_of(y, layers, basis)
    error = _error(y, v, layered, places, 0.0, math.inf)
    ever = False
    for _ in range(TURNS):
        worth, moved = price + gain * error, False
        for j in range(-1, places.slips):
            first = faulted.ANGLE_0 if j < 0 else places.first + j * faulted.SLIP
            whose = 0.0 if j < 0 else float(q[first + faulted.S_WHOSE])
            if j >= 0 and whose == 0:
                continue
            others = error - _error(y, v, layered, places, whose, math.inf)
            for k in range(2 if j < 0 else 4):
                for way in range(3 if k == 0 else 1):  # alone, a line's offset the other way, or the same
                    for sign in (-1, 1):
                        new, other = q[first + k] + sign, q[first + 1] + (way * 2 - 3) * sign
                        if not low[first + k] <= new <= high[first + k]:
                            continue
                        if way and not low[first + 1] <= other <= high[first + 1]:
                            continue
                        more = added_bits(tables, first + k, q[first + k], new)
                        if way:
                            more += added_bits(tables, first + 1, q[first + 1], other)
                        y[first + k] = new * step
                        if way:
                            y[first + 1] = other * step
                        most = error - worth * more - LEAST_GAIN
                        to = others + _error(y, v, layered, places, whose, most - others)
                        if to < most:
                            q[first + k], error, moved = new, to, True
                            if way:
                                q[first + 1] = other
                        else:
                            y[first + k] = q[first + k] * step
                            y[first + 1] = q[first + 1] * step
        ever = ever or moved
        if not moved:
            break
    return ever

"""A faulted latent drawn over a map: the squared error of each column, and how far its interfaces may go at that.

Most moves of a number that bends an interface take it past no cell: what `Drawing` keeps of each column tells which
columns are to be drawn again, mostly few.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .decoders import faulted
from .decoders.cosines import NATIVE

FAR = 5.0  # widths from an edge to where it is no more
PAD = 72  # rows over and under a map that its cells may be led back to


class Target(NamedTuple):
    """A map by its columns (W, H), and the running sums (W, H + 1) of each and of its squares.

    Of a map whose slips are undone the sums are of the cells of each stack by where these are led back to, PAD rows
    over and under the map too, (2 W, H + 2 PAD + 1), and so are counts of them; else there are none, (0, 1).
    """

    v: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    counts: NDArray[np.float64]


class Drawing(NamedTuple):
    """What a latent draws of a map.

    Attributes:
        curves: (2, L - 1, W) interfaces of either stack in cells, none over the one above it.
        highest, lowest: (2, L - 1, W) depths that a curve may go up and down to, short of them, and no cell changes.
        errors: squared, of each column (W,).
    """

    curves: NDArray[np.float64]
    highest: NDArray[np.float64]
    lowest: NDArray[np.float64]
    errors: NDArray[np.float64]


def target_of(v: NDArray[np.float64]) -> Target:
    """A map (H, W) to be drawn."""
    turned, sums, squares = _sums(v)
    return Target(turned, sums, squares, np.zeros((0, 1)))


def blank(layers: int, columns: int) -> Drawing:
    """A drawing of nothing yet."""
    curves, highest, lowest = np.zeros((3, 2, layers - 1, columns))
    return Drawing(curves, highest, lowest, np.zeros(columns))


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


@compiled
def interfaces(y: Any, layers: int, basis: Any) -> Any:
    """The interfaces (2, L - 1, W) that numbers (N,) tell, in cells, as they are told; basis (K, W)."""
    waves, columns = basis.shape
    told = np.zeros((2, layers - 1, columns))
    for stack in range(2 if y[faulted.TWO] > 0 else 1):
        depths = faulted.HEAD + stack * (layers + (layers - 1) * waves) + layers
        shapes = depths + layers - 1
        for i in range(layers - 1):
            told[stack, i] = y[depths + i] * faulted.DEPTH
            if i:
                told[stack, i] += told[stack, i - 1]
            for k in range(1, waves):
                number = y[shapes + i * (waves - 1) + k - 1] * faulted.WAVE
                if number != 0:
                    for x in range(columns):
                        told[stack, i, x] += number * basis[k, x]
    return told


@inlined
def bend(told: Any, curves: Any, stack: int, first: int, until: int, end: int, by: float, wave: Any) -> None:
    """Curves of a stack from one on to an end, as told, but some of them moved by so much of a wave (W,)."""
    for i in range(first, end):
        moved = by if i < until else 0.0
        for x in range(len(wave)):
            curves[stack, i, x] = told[stack, i, x] + moved * wave[x]
        for x in range(len(wave) if i else 0):
            curves[stack, i, x] = max(curves[stack, i, x], curves[stack, i - 1, x])


@inlined
def mark(now: Drawing, curves: Any, stack: int, first: int, end: int, changed: Any) -> None:
    """Mark columns (W,) of which other curves of a stack, from one on to an end, change a cell."""
    changed[:] = False
    for i in range(first, end):
        for x in range(len(changed)):
            to, highest, lowest = curves[stack, i, x], now.highest[stack, i, x], now.lowest[stack, i, x]
            changed[x] |= (to != now.curves[stack, i, x]) & ((to <= highest) | (to >= lowest))


@inlined
def layers_of(y: Any, layers: int, stack: int, waves: int) -> int:
    """Layers of a stack, up to the last with a velocity of its own."""
    first, used = faulted.HEAD + stack * (layers + (layers - 1) * waves), 1
    for i in range(1, layers):
        if y[first + i] != 0:
            used = i + 1
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
def soft(t: float) -> float:
    """The sigmoid of an edge."""
    return 1 / (1 + math.exp(-min(max(t, -30.0), 30.0)))


@inlined
def _layer(
    y: Any, first: int, used: int, curves: Any, highest: Any, lowest: Any, stack: int, x: int, depth: float,
    width: float, crisp: bool,
) -> float:  # fmt: skip
    """The value of a stack at a depth of a column; its interfaces may not go past there."""
    value, over = y[first], -1
    for i in range(used - 1):
        below = depth - curves[stack, i, x]
        if below < -FAR * width:
            if crisp:
                highest[stack, i, x] = max(highest[stack, i, x], depth + FAR * width)
            break
        if below > FAR * width:
            over = i
            value += y[first + i + 1]
        else:
            if crisp:
                highest[stack, i, x] = math.inf
            value += y[first + i + 1] * soft(below / width)
    if crisp and over >= 0:
        lowest[stack, over, x] = min(lowest[stack, over, x], depth - FAR * width)
    return value * faulted.VELOCITY


@compiled
def _draw_led_back(
    y: Any, layers: int, waves: int, target: Target, drawing: Drawing, some: Any, error: float, limit: float
) -> float:  # fmt: skip
    """As `draw`, of a map whose slips are undone: there are no lines, only the layers of two stacks."""
    sums, squares, counts = target.sums, target.squares, target.counts
    columns, rows = len(sums) // 2, sums.shape[1] - 1
    curves, highest, lowest, errors = drawing.curves, drawing.highest, drawing.lowest, drawing.errors
    far = FAR * faulted.WIDTH
    used_of = (layers_of(y, layers, 0, waves), layers_of(y, layers, 1, waves))
    for x in some:
        if error > limit:
            break
        own = 0.0
        for stack in range(2):
            first, at = faulted.HEAD + stack * (layers + (layers - 1) * waves), stack * columns + x
            used = used_of[stack]
            value, start = y[first] * faulted.VELOCITY, 0
            for i in range(used - 1):
                curve = curves[stack, i, x] + PAD
                end = min(max(int(math.ceil(curve - far - 0.5)), start), rows)
                own += squares[at, end] - squares[at, start]
                own += value * (
                    value * (counts[at, end] - counts[at, start]) - 2 * (sums[at, end] - sums[at, start])
                )
                start = end
                blended = end < rows and abs(end + 0.5 - curve) <= far
                highest[stack, i, x] = math.inf if blended else math.ceil(curve - 0.5) - 0.5 - PAD + far
                lowest[stack, i, x] = math.ceil(curve - 0.5) + 0.5 - PAD - far
                if blended:
                    mixed = value
                    for j in range(i, used - 1):
                        step = y[first + j + 1] * faulted.VELOCITY
                        mixed += step * soft((end + 0.5 - PAD - curves[stack, j, x]) / faulted.WIDTH)
                    own += squares[at, end + 1] - squares[at, end]
                    own += mixed * (
                        mixed * (counts[at, end + 1] - counts[at, end])
                        - 2 * (sums[at, end + 1] - sums[at, end])
                    )
                    start = end + 1
                value += y[first + i + 1] * faulted.VELOCITY
            own += squares[at, rows] - squares[at, start]
            own += value * (
                value * (counts[at, rows] - counts[at, start]) - 2 * (sums[at, rows] - sums[at, start])
            )
        errors[x] = own
        error += own
    return error


@compiled
def draw(
    y: Any, layers: int, waves: int, target: Target, drawing: Drawing, some: Any, error: float, limit: float
) -> float:
    """Draw some columns of numbers (N,), under the curves of a drawing; an error and theirs, squared.

    Where no edge is near, cells are counted in runs. Past a limit it is not gone on with: what it is then is more.
    """
    if len(target.counts):
        return _draw_led_back(y, layers, waves, target, drawing, some, error, limit)
    columns, height = target.v.shape
    v, sums, squares = target.v, target.sums, target.squares
    curves, highest, lowest, errors = drawing.curves, drawing.highest, drawing.lowest, drawing.errors
    last = 1 if y[faulted.TWO] > 0 else 0  # the stack of the block
    starts = (faulted.HEAD, faulted.HEAD + last * (layers + (layers - 1) * waves))
    used = (layers_of(y, layers, 0, waves), layers_of(y, layers, last, waves))
    width = max(y[faulted.SOFT] * faulted.SOFTNESS, faulted.WIDTH)
    far = FAR * width
    crisp = 2 * far < NATIVE / height
    lines = _lines(y)
    top, reach, shifted = (
        y[faulted.FILL_TOP] * faulted.DEPTH,
        y[faulted.FILL_REACH] * faulted.DEPTH,
        y[faulted.SHIFT] * faulted.DEPTH,
    )
    lower = 1 if shifted >= 0 else 0  # which side of line 0 the fill is on
    fill = (y[starts[lower] + 1] / 2 + y[faulted.FILL_VELOCITY]) * faulted.VELOCITY if top > 0 else 0.0
    cell = NATIVE / height
    if not crisp and highest[0, 0, 0] < math.inf:  # wherever a soft edge goes, some cell changes
        highest[:] = math.inf
    for x in some:
        if error > limit:
            break
        own = 0.0
        if crisp:
            for stack in range(2):
                for i in range(layers - 1):
                    highest[stack, i, x], lowest[stack, i, x] = -math.inf, math.inf
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
                    over, under = depth - top, curves[stack, 0, x] - down
                    plain = abs(over) > far and abs(under) > far and abs(near) > far
                    if -over > far:
                        run = min(run, int(math.ceil((-over - far) / cell)))
                    if under > far:
                        run = min(run, int(math.ceil((under - far) / cell)))
                    if reach > 0:
                        run = min(run, _cells_to(abs(near) - far, lines, 0, cell))
                    if over > 0 and under > 0 and near > 0:
                        value += fill
                over_it, under_it = -1, -1  # the interfaces next to the run
                for i in range(used[inside] - 1):
                    below = down - curves[stack, i, x]
                    if below < -far:
                        run = min(run, int(math.ceil((-below - far) / cell)))
                        under_it = i
                        break
                    if below <= far:
                        plain = False
                        break
                    value += y[first + i + 1] * faulted.VELOCITY
                    over_it = i
                if plain:
                    end = z + run
                    if crisp and over_it >= 0:
                        lowest[stack, over_it, x] = min(lowest[stack, over_it, x], down - far)
                    if crisp and under_it >= 0:
                        deep = down + (run - 1) * cell + far
                        highest[stack, under_it, x] = max(highest[stack, under_it, x], deep)
                    own += (
                        squares[x, end]
                        - squares[x, z]
                        + value * (value * run - 2 * (sums[x, end] - sums[x, z]))
                    )
                    z = end
                    continue
            block, shift = 1.0, 0.0
            for i in range(len(lines)):
                off = _beyond(lines, i, px, depth)
                part = soft(off / width) if abs(off) < far else (1.0 if off > 0 else 0.0)
                if lines[i, 4] > 0:
                    block *= part
                else:
                    shift += part * lines[i, 3]
            down, value = depth - shift, 0.0
            if block < 1:
                value = (1 - block) * _layer(
                    y, faulted.HEAD, used[0], curves, highest, lowest, 0, x, down, width, crisp
                )
            if block > 0:
                value += block * _layer(
                    y, starts[1], used[1], curves, highest, lowest, last, x, down - shifted, width, crisp
                )
            if fill != 0:
                if crisp:
                    highest[lower * last, 0, x] = math.inf
                part = fill * soft((depth - top) / width)
                part *= soft((curves[lower * last, 0, x] - (down - shifted if lower else down)) / width)
                if reach > 0:
                    part *= soft(near / width)
                value += part * (block if lower else 1 - block)
            own += (value - v[x, z]) ** 2
            z += 1
        errors[x] = own
        error += own
    return error


@compiled
def draw_all(y: Any, layers: int, basis: Any, target: Target, drawing: Drawing) -> Any:
    """Draw all columns of numbers (N,): their squared error, and the interfaces as they are told."""
    told = interfaces(y, layers, basis)
    for stack in range(2):
        bend(told, drawing.curves, stack, 0, 0, layers - 1, 0.0, basis[0])
    every = np.arange(len(target.v))
    return draw(y, layers, len(basis), target, drawing, every, 0.0, math.inf), told


@compiled
def stacks_of(y: Any, layers: int, basis: Any) -> Any:
    """The values of both stacks of numbers (N,), by column and from PAD rows over the map on, (2, W, H)."""
    told = interfaces(y, layers, basis)
    waves, columns = basis.shape
    out = np.empty((2, columns, NATIVE + 2 * PAD))
    for stack in range(2):
        first, used = (
            faulted.HEAD + stack * (layers + (layers - 1) * waves),
            layers_of(y, layers, stack, waves),
        )
        for x in range(columns):
            deepest = -math.inf
            out[stack, x] = y[first] * faulted.VELOCITY
            for i in range(used - 1):
                deepest = max(deepest, told[stack, i, x])
                step, curve = y[first + i + 1] * faulted.VELOCITY, deepest + PAD
                row = min(max(int(math.ceil(curve - FAR * faulted.WIDTH - 0.5)), 0), out.shape[2])
                if row < out.shape[2] and row + 0.5 - curve <= FAR * faulted.WIDTH:
                    out[stack, x, row] += step * soft((row + 0.5 - curve) / faulted.WIDTH)
                    row += 1
                out[stack, x, row:] += step
    return out

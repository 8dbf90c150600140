"""A layered map <-> its interfaces and velocities <-> bytes, exactly. interfaces.py draws it on other grids.

    map -> layers from top to bottom, depth of every interface in every column -> adaptive models -> bytes

A map qualifies where its distinct values, each taken as one layer, have one order from top to bottom that all its
columns keep; a layer may be missing from any column. Depths are coded interface by interface, each column predicted
from the interface's own course and from the interface above, on both sides of the column.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from . import adaptive, residual
from .adaptive import (
    BAD,
    ONE,
    blend,
    byte_memory,
    clip,
    code_bit,
    code_byte,
    code_even,
    code_flag,
    code_signed,
    past_end,
)

MAX_LAYERS = 64
MAX_DEPTHS = 1 << 28  # of a block, interfaces times columns
INPUTS, SLOT_BITS, WAYS = 8, 16, 5
SPEED, SPEED_1 = 12, 6  # the latter in coder velcodec-1
VALUE_PARTS = 16  # of the range that a velocity is sought in
ALL = 1 << 36  # of the draws of rising values


@dataclass(frozen=True)
class Layered:
    """A layered map: values (L,) from top to bottom, and depths (L - 1, W) int64, of 0..H cells above an interface.

    With a code, values are int64 in steps of that code (residual.py).
    """

    values: NDArray[Any]
    depths: NDArray[np.int64]
    code: int | None = None


def analyse(m: NDArray[Any]) -> Layered | None:
    """Interfaces and values of a map (H, W) of any dtype, compared bit for bit, or None where it is not layered."""
    bits = np.ascontiguousarray(m).view(f"u{m.dtype.itemsize}")
    # Few maps have many values: look at some columns before sorting them all.
    if len(np.unique(bits[:, :: max(1, m.shape[1] // 8)])) > MAX_LAYERS:
        return None
    patterns, labels = np.unique(bits, return_inverse=True)
    if len(patterns) > MAX_LAYERS:
        return None
    order = np.empty(len(patterns), dtype=np.int64)
    depths = np.zeros((len(patterns) - 1, m.shape[1]), dtype=np.int64)
    if not _sort(labels.reshape(m.shape).astype(np.int64), order, depths):
        return None
    return Layered(patterns[order].view(m.dtype), depths)


def in_steps(layers: Layered, steps: NDArray[np.int64], code: int) -> Layered:
    """A layered map with values (L,) in steps of a code in place of its own; neighbours that become equal are one."""
    differs = np.diff(steps) != 0
    return Layered(steps[np.append(differs, True)], layers.depths[differs], code)


@njit(cache=True, nogil=True)
def _sort(labels: Any, order: Any, depths: Any) -> bool:
    """Fill in the labels from top to bottom and the interfaces' depths; False where columns disagree."""
    height, width = labels.shape
    count = len(order)
    above = np.zeros((count, count), np.bool_)
    depth, size = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for z in range(height):
        for x in range(width):
            a = labels[z, x]
            depth[a] += z
            size[a] += 1
            if z + 1 < height and labels[z + 1, x] != a:
                above[a, labels[z + 1, x]] = True
    rank = np.full(count, -1, np.int64)
    for k in range(count):
        best = -1
        for a in range(count):
            free = rank[a] < 0
            for b in range(count):
                free = free and not (rank[b] < 0 and above[b, a])
            if free and (best < 0 or depth[a] * size[best] < depth[best] * size[a]):
                best = a
        if best < 0:
            return False
        rank[best] = k
        order[k] = best
    for x in range(width):
        for z in range(height):
            for i in range(rank[labels[z, x]], count - 1):
                depths[i, x] += 1
    return True


def draw(layers: Layered, height: int) -> NDArray[Any]:
    """The map (H, W), bit for bit."""
    place = np.zeros((height, layers.depths.shape[1]), dtype=np.int64)
    for depths in layers.depths:
        place += np.arange(height)[:, None] >= depths
    out: NDArray[Any] = layers.values[place]
    return out


# Bytes


def encode(
    maps: list[Layered], heights: list[int], low: float, high: float, unit: float
) -> tuple[bytes, NDArray[np.float64]]:
    """Layered maps of some heights to a stream, and the bytes that each took of it (n,)."""
    spent = np.zeros(len(maps) + 1)

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        model, head = adaptive.memory(INPUTS, 1 << SLOT_BITS, 3 * WAYS), byte_memory()
        for i, (m, height) in enumerate(zip(maps, heights, strict=True)):
            if m.code is not None:
                code_byte(io, buffer, head, m.code)
            floor, span = _range(low, high, unit, m.code)
            integers = _integers(m.values, floor, span)
            _code_head(io, buffer, model, SPEED, len(m.values), int(integers is not None))
            if integers is not None:
                _code_integers(io, buffer, model, SPEED, span, integers, 2)
            else:
                _code_patterns(io, buffer, m.values.dtype.itemsize, _patterns(m.values))
            _code_depths(io, buffer, model, SPEED, m.depths.copy(), height, 2)
            spent[i + 1] = adaptive.cost(io) / 8

    data = adaptive.write(code, 256 + sum(8 * len(m.values) + 2 * m.depths.size for m in maps))
    return data, np.diff(spent)


def decode(
    data: bytes,
    shapes: list[tuple[int, int]],
    stepped: list[bool],
    dtype: np.dtype[Any],
    low: float,
    high: float,
    unit: float,
    whole: bool = True,
    coder: int = 2,
) -> list[Layered]:
    """A stream, whole or not, of a coder (1 or 2) to its first maps, of some shapes (H, W), in steps or not.

    Raises FormatError where it does not hold them.
    """
    maps: list[Layered] = []
    speed = SPEED_1 if coder == 1 else SPEED

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        model, head = adaptive.memory(INPUTS, 1 << SLOT_BITS, 3 * WAYS), byte_memory()
        room = MAX_DEPTHS
        for (height, width), in_steps in zip(shapes, stepped, strict=True):
            step_code = code_byte(io, buffer, head, 0) if in_steps else None
            floor, span = _range(low, high, unit, step_code)
            count, integers = _code_head(io, buffer, model, speed, 1, 0)
            room -= (count - 1) * width
            if (integers and not span) or room < 0:
                io[BAD] = 1
            if io[BAD] or past_end(io, buffer):
                return
            kind = np.dtype(np.int64) if in_steps else dtype
            numbers = np.zeros(count, dtype=np.int64)
            if integers:
                _code_integers(io, buffer, model, speed, span, numbers, coder)
                if io[BAD]:
                    return
                values = (numbers + floor).astype(kind)
            else:
                _code_patterns(io, buffer, kind.itemsize, numbers)
                values = numbers.astype(f"u{kind.itemsize}").view(kind)
            depths = np.zeros((count - 1, width), dtype=np.int64)
            _code_depths(io, buffer, model, speed, depths, height, coder)
            maps.append(Layered(values, depths, step_code))

    adaptive.read(code, data, whole)
    return maps


def _range(low: float, high: float, unit: float, code: int | None) -> tuple[int, int]:
    """The least integer value and the number of integers of a file's range; 0 integers where they are too many."""
    if code is None:
        floor, ceiling = math.floor(low), math.ceil(high)
    else:
        step = residual.step(unit, code)
        if not step or max(abs(low), abs(high)) / step >= 1 << 52:
            return 0, 0
        floor, ceiling = round(low / step), round(high / step)
    span = ceiling - floor + 1
    return floor, span if span <= 1 << 24 and max(abs(floor), abs(ceiling)) < 1 << 52 else 0


def _patterns(values: NDArray[Any]) -> NDArray[np.int64]:
    return values.view(f"u{values.dtype.itemsize}").astype(np.uint64).view(np.int64)


def _integers(values: NDArray[Any], floor: int, span: int) -> NDArray[np.int64] | None:
    """Values (L,) as integers above the floor, where they are just these, bit for bit."""
    if not span or not np.isfinite(values).all():
        return None
    numbers = np.rint(values.astype(np.float64)).astype(np.int64)
    again = numbers.astype(values.dtype)
    if not np.array_equal(_patterns(again), _patterns(values)):
        return None
    numbers -= floor
    return numbers if numbers.min() >= 0 and numbers.max() < span else None


@njit(cache=True, nogil=True)
def _code_head(io: Any, buffer: Any, model: Any, speed: int, count: int, whole: int) -> tuple[int, int]:
    """The number of layers, 1..64, and whether their values are integers within the file's range."""
    h, slots = np.zeros(INPUTS, np.int64), np.zeros(INPUTS, np.int64)
    h[:] = blend(1, 0)
    whole = code_flag(io, buffer, model, h, slots, 0, 0, speed, whole)
    node = 1
    for k in range(5, -1, -1):
        node = 2 * node + code_flag(io, buffer, model, h, slots, node, 0, speed, ((count - 1) >> k) & 1)
    return node - MAX_LAYERS + 1, whole


@njit(cache=True, nogil=True)
def _code_patterns(io: Any, buffer: Any, size: int, values: Any) -> None:
    """Values (L,) as the `size` bytes of each, most significant first, all as likely."""
    for i in range(len(values)):
        found = np.int64(0)
        for k in range(size - 1, -1, -1):
            found = (found << 8) | code_even(io, buffer, 256, (values[i] >> (8 * k)) & 0xFF)
        values[i] = found


@njit(cache=True, nogil=True)
def _code_integers(io: Any, buffer: Any, model: Any, speed: int, span: int, values: Any, coder: int) -> None:
    """Values (L,) in 0..span - 1, each other than the one before: do they rise, then as random draws.

    In coder velcodec-1 each as a part of the range that is left and a place in it.
    """
    h, slots = np.zeros(INPUTS, np.int64), np.zeros(INPUTS, np.int64)
    rising = 1
    for i in range(1, len(values)):
        if values[i] <= values[i - 1]:
            rising = 0
    h[:] = blend(2, 0)
    rising = code_flag(io, buffer, model, h, slots, 0, 0, speed, rising)
    if coder != 1:
        if rising:
            _code_draw(io, buffer, span, values)
        else:
            _code_unsorted(io, buffer, span, values)
        return
    floor = 0
    for i in range(len(values)):
        left = span - floor
        if left < 1:
            io[BAD] = 1
            return
        h[0] = blend(3, rising)
        h[1] = blend(blend(4, rising), len(values) - i)
        h[2] = blend(blend(blend(5, rising), len(values) - i), i)
        h[3] = blend(blend(6, rising), i)
        h[4] = blend(blend(7, rising), left * 16 // span)
        h[5] = blend(blend(blend(8, rising), left * 16 // span), len(values) - i)
        h[6] = blend(9, 0 if rising or i == 0 else 1 + values[i - 1] * 8 // span)
        h[7] = blend(blend(10, rising), min(i, 1))
        part = min((values[i] - floor) * VALUE_PARTS // left, VALUE_PARTS - 1)
        node = 1
        for k in range(3, -1, -1):
            node = 2 * node + code_flag(io, buffer, model, h, slots, node, 0, speed, (part >> k) & 1)
        part = node - VALUE_PARTS
        first = -(-part * left // VALUE_PARTS)
        last = -(-(part + 1) * left // VALUE_PARTS)
        if last <= first:
            io[BAD] = 1
            return
        values[i] = floor + first + code_even(io, buffer, last - first, values[i] - floor - first)
        if rising:
            floor = values[i] + 1


@njit(cache=True, nogil=True)
def _code_unsorted(io: Any, buffer: Any, span: int, values: Any) -> None:
    """Values (L,) in 0..span - 1, any but the one before as likely."""
    if span < 2:
        io[BAD] = 1
        return
    values[0] = code_even(io, buffer, span, values[0])
    for i in range(1, len(values)):
        before = values[i - 1]
        place = code_even(io, buffer, span - 1, values[i] - (1 if values[i] > before else 0))
        values[i] = place + (1 if place >= before else 0)


@njit(cache=True, nogil=True)
def _code_draw(io: Any, buffer: Any, span: int, values: Any) -> None:
    """Rising values (L,) in 0..span - 1, every set of them as likely: OpenFWI sorts what it draws."""
    floor = 0
    for i in range(len(values)):
        count, left = len(values) - i, span - floor
        if left < count:
            io[BAD] = 1
            return
        low, high = 0, left - count + 1
        above_low, above_high = ALL, 0
        while high - low > 1:
            middle = (low + high) // 2
            above = _draws_above(left, count, middle)
            p = ((above - above_high) << 16) // max(above_low - above_high, 1)
            if code_bit(io, buffer, 1 if values[i] - floor >= middle else 0, min(max(p, 1), ONE - 1)):
                low, above_low = middle, above
            else:
                high, above_high = middle, above
        values[i] = floor + low
        floor = values[i] + 1


@njit(cache=True, nogil=True)
def _draws_above(left: int, count: int, middle: int) -> int:
    """Of the draws of count numbers out of left, those with all at or above the middle one, in 1 / ALL."""
    share = ALL
    for k in range(count):
        share = share * (left - middle - k) // (left - k)
    return share


@njit(cache=True, nogil=True)
def _first_column(depths: Any, i: int, height: int, h: Any, coder: int) -> int:
    """Fill in the contexts (8,) of an interface's depth in the first column; the depth that it is coded from."""
    count = len(depths)
    above = depths[i - 1, 0] if i else 0
    before = above - (depths[i - 2, 0] if i > 1 else 0) if i else 0
    room = height - above - before
    h[0] = blend(blend(11, i), count)
    h[1] = blend(12, before)
    h[2] = blend(blend(13, before), count)
    h[6] = blend(blend(17, room), count - i)
    if coder == 1:
        h[3] = blend(14, above)
        h[4] = blend(blend(15, i), count - i)
        h[5] = blend(16, height - above)
        h[7] = blend(18, count - i)
        return int(above + before)
    thinnest, thickest = before, before  # of the layers above but for the first
    for k in range(1, i):
        thickness = depths[k, 0] - depths[k - 1, 0]
        thinnest, thickest = min(thinnest, thickness), max(thickest, thickness)
    among = 1 + min(before - thinnest, 3) + 4 * min(thickest - before, 3) if i > 1 else 0
    room = min(max(room, 0), 4)
    h[3] = blend(blend(14, min(i, 2)), room)
    h[4] = blend(blend(blend(15, among), min(i, 2)), count)
    h[5] = blend(blend(16, among), room)
    h[7] = blend(blend(blend(18, among), before), min(i, 2))
    return int(above + before)


@njit(cache=True, nogil=True)
def _code_depths(io: Any, buffer: Any, model: Any, speed: int, depths: Any, height: int, coder: int) -> None:
    """Depths (I, W) of interfaces in 0..height, each at or below the one above."""
    h, slots = np.zeros(INPUTS, np.int64), np.zeros(INPUTS, np.int64)
    count, width = depths.shape
    for i in range(count):
        if past_end(io, buffer):
            return
        gap, seen = 0, 0  # sum of the distances from the interface above, and how many
        for x in range(width):
            above = depths[i - 1, x] if i else 0
            if above == height:
                depths[i, x] = height
                continue
            if x == 0:
                guess = _first_column(depths, i, height, h, coder)
                d = guess + code_signed(io, buffer, model, h, slots, 0, WAYS, speed, depths[i, 0] - guess)
            else:
                y1 = depths[i, x - 1]
                y2 = depths[i, max(x - 2, 0)]
                y3 = depths[i, max(x - 3, 0)]
                y4 = depths[i, max(x - 4, 0)]
                y5 = depths[i, max(x - 5, 0)]
                e1, e2, e3 = y1 - y2, y2 - y3, y3 - y4
                over, g, g1, ahead, ahead2, away = 0, 0, 0, 0, 0, 0
                low = 0
                if i:
                    over = depths[i - 1, x - 1]
                    after = depths[i - 1, min(x + 1, width - 1)]
                    g, g1 = above - over, over - depths[i - 1, max(x - 2, 0)]
                    ahead, ahead2 = after - above, depths[i - 1, min(x + 2, width - 1)] - after
                    if y1 < height and over < height:
                        gap += y1 - over
                        seen += 1
                    # How far the last distance was from their mean, in eighths of a cell.
                    away = clip(8 * (y1 - over) - 8 * gap // max(seen, 1), 40)
                    low = 1 if after == height else 0
                edge = (1 if i else 0) + (2 if y1 == height else 0) + 4 * low
                guess = y1 + (g if i else e1)
                h[0] = blend(blend(blend(21, e1), e2), edge)
                h[1] = blend(blend(blend(blend(blend(22, e1), e2), e3), g), edge)
                h[2] = blend(blend(blend(blend(23, g), g1), ahead), e1)
                h[3] = blend(blend(blend(24, away // 4), e1 - g1), edge)
                h[4] = blend(blend(blend(blend(25, away // 2), e1 - g1), g), ahead)
                h[5] = blend(
                    blend(
                        blend(
                            blend(blend(blend(26, clip(g, 3)), clip(g1, 3)), clip(ahead, 3)), clip(ahead2, 3)
                        ),
                        e1,
                    ),
                    e2,
                )
                h[6] = blend(blend(blend(blend(27, y1 - y5), e1), g + ahead), edge)
                h[7] = blend(blend(blend(blend(blend(28, y1 - over if i else 0), e1), e2), g), min(x, 3))
                way = 1 + (edge & 3)
                d = guess + code_signed(io, buffer, model, h, slots, way, WAYS, speed, depths[i, x] - guess)
            if d < above or d > height:
                io[BAD] = 1
                d = min(max(d, above), height)
            depths[i, x] = d

"""The models of layered maps: number of layers, velocities, and depths, each its own inverse (adaptive.py).

A fresh model has coded PRIMER, typical layered maps made by synth.py, so that a file of few maps costs little more
by the map than one of many.
"""

from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import adaptive
from .adaptive import BAD, ONE, blend, clip, code_bit, code_even, code_flag, code_signed, past_end
from .compiled import compiled

MAX_LAYERS = 64
INPUTS, SLOT_BITS, WAYS = 8, 16, 5
SPEED, SPEED_1 = 12, 6  # the latter in coder velcodec-1
VALUE_PARTS = 16  # of the range that a velocity is sought in
ALL = 1 << 36  # of the draws of rising values
PRIMER = "primer.bin"  # of each of PRIMER_MAPS maps the number of layers and the depths
PRIMER_MAPS, PRIMER_HEIGHT, PRIMER_WIDTH = 580, 70, 32


def fresh(coder: int) -> tuple[NDArray[Any], ...]:
    """The memory of the models before the first map of a block."""
    if coder < 3:
        return adaptive.memory(INPUTS, 1 << SLOT_BITS, 3 * WAYS)
    return tuple(part.copy() for part in _primed())


@cache
def _primed() -> tuple[NDArray[Any], ...]:
    model = fresh(2)

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        for _ in range(PRIMER_MAPS):
            count, _ = code_head(io, buffer, model, SPEED, 1, 1)
            depths = np.zeros((count - 1, PRIMER_WIDTH), dtype=np.int64)
            code_depths(io, buffer, model, SPEED, depths, PRIMER_HEIGHT, 3)

    adaptive.read(code, resources.files("velcodec").joinpath(PRIMER).read_bytes())
    return model


@compiled
def code_head(io: Any, buffer: Any, model: Any, speed: int, count: int, whole: int) -> tuple[int, int]:
    """The number of layers, 1..64, and whether their values are integers within the file's range."""
    h, slots = np.zeros(INPUTS, np.int64), np.zeros(INPUTS, np.int64)
    h[:] = blend(1, 0)
    whole = code_flag(io, buffer, model, h, slots, 0, 0, speed, whole)
    node = 1
    for k in range(5, -1, -1):
        node = 2 * node + code_flag(io, buffer, model, h, slots, node, 0, speed, ((count - 1) >> k) & 1)
    return node - MAX_LAYERS + 1, whole


@compiled
def code_patterns(io: Any, buffer: Any, size: int, values: Any) -> None:
    """Values (L,) as the `size` bytes of each, most significant first, all as likely."""
    for i in range(len(values)):
        found = np.int64(0)
        for k in range(size - 1, -1, -1):
            found = (found << 8) | code_even(io, buffer, 256, (values[i] >> (8 * k)) & 0xFF)
        values[i] = found


@compiled
def code_integers(io: Any, buffer: Any, model: Any, speed: int, span: int, values: Any, coder: int) -> None:
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


@compiled
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


@compiled
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


@compiled
def _draws_above(left: int, count: int, middle: int) -> int:
    """Of the draws of count numbers out of left, those with all at or above the middle one, in 1 / ALL."""
    share = ALL
    for k in range(count):
        share = share * (left - middle - k) // (left - k)
    return share


@compiled
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


@compiled
def code_depths(io: Any, buffer: Any, model: Any, speed: int, depths: Any, height: int, coder: int) -> None:
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

"""The model `edges` of integers: plateaus, and what lies between them where edges are smoothed.

    is it the neighbour above, to the left, to the right above, to the left above? else how far from a prediction

The prediction is the one of six that missed least nearby. Contexts tell which neighbours are equal, where they lie
between the least and the greatest of all, and how they differ from the prediction. Files of the coder velcodec-1 had
other contexts, one prediction, and one set of weights (`code_edges` with coder 1).
"""

from typing import Any

import numpy as np

from . import adaptive
from .adaptive import BAD, blend, code_flag, code_signed, past_end
from .border import LIMIT, PAD, along_first_row, close_row, open_row, padded
from .compiled import compiled, inlined

SLOT_BITS, CALM_BITS = 18, 16
INPUTS, CALM_INPUTS = 16, 3
SPEED, CALM_SPEED = 10, 6
WAYS = 8
SELECTORS = 7 * WAYS
SPREADS, MISSES = 13, 16  # octaves of the neighbours' range and of what predictions missed by, told apart
GUESSES = 6

INPUTS_1, SPEED_1 = 13, 14  # in coder velcodec-1


def fresh(coder: int) -> tuple[Any, ...]:
    """Fresh models: of places near an edge, and of calm ones."""
    inputs, selectors = (INPUTS_1, SELECTORS) if coder == 1 else (INPUTS, SELECTORS + SPREADS * MISSES)
    return (
        adaptive.memory(inputs, 1 << SLOT_BITS, selectors),
        adaptive.memory(CALM_INPUTS, 1 << CALM_BITS, 1),
    )


@compiled
def code_edges(io: Any, buffer: Any, model: Any, q: Any, coder: int) -> None:
    """Code a map of integers (H, W) int64, or fill it in when decoding, as a coder (1 or 2) has it."""
    near, calm = model
    height, width = q.shape
    inputs = near[0].shape[0]
    h, slots = np.zeros(inputs, np.int64), np.zeros(inputs, np.int64)
    h3, slots3 = np.zeros(CALM_INPUTS, np.int64), np.zeros(CALM_INPUTS, np.int64)
    guesses = np.zeros(GUESSES, np.int64)
    missed = np.zeros(
        (GUESSES, 2, width + 2 * PAD), np.int64
    )  # of this row and the one above, by their parity
    a = padded(height, width)
    for z in range(height):
        r = z + PAD
        if io[BAD] or past_end(io, buffer):
            return
        if z:
            open_row(a, r, width)
        for column in range(width):
            x = column + PAD
            if z == 0 and column:
                along_first_row(a, x)
            v = q[z, column]
            known = _is_calm(a, r, x)
            if known and _code_calm(io, buffer, calm, h3, slots3, a, r, x, 1 if v == a[r - 1, x] else 0):
                q[z, column] = a[r, x] = a[r - 1, x]
                missed[:, r & 1, x] = 0
                continue
            like, like2 = _likeness(a, r, x)
            base, second, speed = _median(a, r, x), -1, SPEED_1
            if coder == 1:
                _contexts_1(a, r, x, like, like2, h)
            else:
                base, second = _contexts(a, r, x, like, like2, guesses, missed, h)
                speed = SPEED
            v = _code_near(io, buffer, near, h, slots, a, r, x, known, base, second, speed, v)
            for k in range(GUESSES):
                missed[k, r & 1, x] = abs(v - guesses[k])
            q[z, column] = a[r, x] = v
        close_row(a, r, width)


@inlined
def _is_calm(a: Any, r: int, x: int) -> bool:
    """Whether the nine neighbours looked at first all equal the one above."""
    up = a[r - 1, x]
    return bool(
        up == a[r, x - 1] and up == a[r, x - 2]
        and up == a[r - 1, x - 2] and up == a[r - 1, x - 1] and up == a[r - 1, x + 1] and up == a[r - 1, x + 2]
        and up == a[r - 2, x - 1] and up == a[r - 2, x] and up == a[r - 2, x + 1]
    )  # fmt: skip


@inlined
def _code_calm(io: Any, buffer: Any, calm: Any, h: Any, slots: Any, a: Any, r: int, x: int, bit: int) -> int:
    """Whether a calm place goes on as the sample above."""
    up = a[r - 1, x]
    far = (a[r - 3, x] == up) + 2 * (a[r, x - 3] == up) + 4 * (a[r - 1, x + 3] == up)
    h[0] = blend(1, far)
    h[1] = blend(blend(2, min(r - PAD, 255) // 2), far)
    h[2] = blend(blend(3, up), far)
    return int(code_flag(io, buffer, calm, h, slots, 0, 0, CALM_SPEED, bit))


@compiled
def _likeness(a: Any, r: int, x: int) -> tuple[int, int]:
    """Which pairs of neighbours are equal: bits of eleven and of eight."""
    left, left2, left3 = a[r, x - 1], a[r, x - 2], a[r, x - 3]
    up, up_left, up_left2 = a[r - 1, x], a[r - 1, x - 1], a[r - 1, x - 2]
    up_right, up_right2, up_right3 = a[r - 1, x + 1], a[r - 1, x + 2], a[r - 1, x + 3]
    up2, up2_left, up2_right, up3 = a[r - 2, x], a[r - 2, x - 1], a[r - 2, x + 1], a[r - 3, x]
    like = (
        (left == up) + 2 * (up_left == up) + 4 * (up_right == up) + 8 * (up_left == left)
        + 16 * (left2 == left) + 32 * (up2 == up) + 64 * (up_right2 == up_right)
        + 128 * (up2_right == up_right) + 256 * (up_left2 == up_left) + 512 * (up2_left == up_left)
        + 1024 * (up_right == left)
    )  # fmt: skip
    like2 = (
        (up3 == up2) + 2 * (left3 == left2) + 4 * (up_right3 == up_right2) + 8 * (up2 == up_right)
        + 16 * (left2 == up_left2) + 32 * (up2_right == up2) + 64 * (up2_left == up2) + 128 * (left2 == up_left)
    )  # fmt: skip
    return like, like2


@compiled
def _median(a: Any, r: int, x: int) -> int:
    """The plane through three neighbours, within the two nearest."""
    left, up = a[r, x - 1], a[r - 1, x]
    return int(min(max(left + up - a[r - 1, x - 1], min(left, up)), max(left, up)))


@compiled
def _contexts(
    a: Any, r: int, x: int, like: int, like2: int, guesses: Any, missed: Any, h: Any
) -> tuple[int, int]:
    """Fill in the predictions (6,) and the contexts (16,); the prediction taken, and the selector besides the way."""
    left, left2, left3 = a[r, x - 1], a[r, x - 2], a[r, x - 3]
    up, up_left, up_left2 = a[r - 1, x], a[r - 1, x - 1], a[r - 1, x - 2]
    up_right, up_right2, up_right3 = a[r - 1, x + 1], a[r - 1, x + 2], a[r - 1, x + 3]
    up2, up2_left, up2_right, up3 = a[r - 2, x], a[r - 2, x - 1], a[r - 2, x + 1], a[r - 3, x]
    least, most = min(left, up), max(left, up)
    for v in (left2, left3, up_left, up_left2, up_right, up_right2, up2, up2_left, up2_right):
        least, most = min(least, v), max(most, v)
    span = most - least
    guesses[0] = _median(a, r, x)
    guesses[1] = min(max(2 * left - left2, least), most)
    guesses[2] = min(max(2 * up - up2, least), most)
    guesses[3] = min(max(left + up_right - up, least), most)
    guesses[4] = min(max(up + up_right - up2_right, least), most)
    guesses[5] = (left + up_right) >> 1
    best, miss = 0, np.int64(1) << 62
    for k in range(GUESSES):
        row, above = missed[k, r & 1], missed[k, 1 - (r & 1)]
        near = 2 * row[x - 1] + 2 * above[x] + above[x + 1] + above[x - 1] + row[x - 2]
        if near < miss:
            best, miss = k, near
    base = guesses[best]
    size, off = _octaves(span), _octaves(miss)
    h[0] = blend(1, like)
    h[1] = blend(blend(2, like), like2)
    h[2] = blend(blend(blend(3, up), left), up_right)
    h[3] = blend(blend(4, like & 127), min(r - PAD, 63) // 2)
    h[4] = blend(blend(blend(blend(blend(5, like), like2 & 7), up_right - up), left - up), up_right2 - up)
    h[5] = blend(blend(blend(6, up), up2), up3)
    h[6] = blend(blend(blend(blend(7, up), up_right), up_right2), up_right3)
    h[7] = blend(
        blend(blend(blend(8, _share(left, least, span, 12)), _share(up, least, span, 12)),
              _share(up_left, least, span, 12)),
        best,
    )  # fmt: skip
    h[8] = blend(
        blend(blend(blend(blend(9, _share(up, least, span, 6)), _share(up_right, least, span, 6)),
                    _share(left, least, span, 6)), _share(up_left, least, span, 6)),
        _share(left2, least, span, 4),
    )  # fmt: skip
    h[9] = blend(blend(blend(10, _half_octaves(left - base)), _half_octaves(up - base)), size)
    h[10] = blend(
        blend(blend(11, _half_octaves(up_right - base)), _half_octaves(up_left - base)), _octaves(up2 - base)
    )
    h[11] = blend(blend(blend(12, off), best), size)
    h[12] = blend(blend(blend(13, _share(base, least, span, 24)), size), best)
    h[13] = blend(
        blend(blend(14, _half_octaves(guesses[1] - base)), _half_octaves(guesses[3] - base)),
        _half_octaves(guesses[2] - base),
    )
    h[14] = blend(
        blend(blend(blend(15, _octaves(up - up2)), _octaves(up_left - up2_left)), _octaves(up_right - up2_right)),
        _octaves(left - up_left),
    )  # fmt: skip
    h[15] = blend(
        blend(blend(16, _octaves(left - left2)), _octaves(up_left - up_left2)), _octaves(up_right - up)
    )
    return base, SELECTORS + min(size, SPREADS - 1) + SPREADS * min(off, MISSES - 1)


@compiled
def _octaves(v: int) -> int:
    """The number of binary digits of |v|, with its sign."""
    size, digits = abs(v), 0
    while digits < 62 and size >> digits:
        digits += 1
    return -digits if v < 0 else digits


@compiled
def _half_octaves(v: int) -> int:
    """|v| on a scale of two levels an octave, with its sign."""
    size = abs(v)
    if size < 4:
        return v
    digits = _octaves(size)
    level = 2 * digits - 2 + ((size >> (digits - 2)) & 1)
    return -level if v < 0 else level


@compiled
def _share(v: int, least: int, span: int, parts: int) -> int:
    """Where v lies in a range: 0 at or below it, else in which of some parts, else one more."""
    if span == 0 or v <= least:
        return 0
    if v >= least + span:
        return parts + 1
    return 1 + (v - least) * parts // span


@compiled
def _contexts_1(a: Any, r: int, x: int, like: int, like2: int, h: Any) -> None:
    """Fill in the contexts (13,) of coder velcodec-1."""
    left, left2, left3 = a[r, x - 1], a[r, x - 2], a[r, x - 3]
    up, up_left, up_left2 = a[r - 1, x], a[r - 1, x - 1], a[r - 1, x - 2]
    up_right, up_right2, up_right3 = a[r - 1, x + 1], a[r - 1, x + 2], a[r - 1, x + 3]
    up2, up2_left, up2_right, up3 = a[r - 2, x], a[r - 2, x - 1], a[r - 2, x + 1], a[r - 3, x]
    h[0] = blend(1, like)
    h[1] = blend(blend(2, like), like2)
    h[2] = blend(blend(3, up - up_left), left - up_left)
    h[3] = blend(blend(blend(4, up - up_left), left - up_left), up_right - up)
    h[4] = blend(blend(blend(5, up), left), up_right)
    h[5] = blend(blend(6, like & 127), min(r - PAD, 63) // 2)
    h[6] = blend(blend(blend(blend(7, up - up2), up_right - up2_right), up_left - up2_left), left - up_left)
    h[7] = blend(blend(blend(8, left - left2), up_left - up_left2), up - up_left)
    h[8] = blend(blend(blend(blend(blend(9, left - up), up_left - up), up_right - up), up2 - up), left2 - up)
    h[9] = blend(blend(blend(blend(blend(10, like), like2 & 7), up_right - up), left - up), up_right2 - up)
    h[10] = blend(blend(blend(11, up), up2), up3)
    h[11] = blend(blend(blend(blend(12, up), up_right), up_right2), up_right3)
    h[12] = blend(blend(blend(13, left), left2), left3)


@inlined
def _code_near(
    io: Any, buffer: Any, near: Any, h: Any, slots: Any, a: Any, r: int, x: int, known: bool, base: int,
    second: int, speed: int, v: int,
) -> int:  # fmt: skip
    """A sample near an edge: one of four neighbours, or how far from the prediction. `known`: not the one above."""
    left, up, up_left, up_right = a[r, x - 1], a[r - 1, x], a[r - 1, x - 1], a[r - 1, x + 1]
    way = (left == up) + 2 * (up_right == up) + 4 * (up_left == up)
    for k in range(4):
        if k == 0:
            candidate, new = up, not known
        elif k == 1:
            candidate, new = left, left != up
        elif k == 2:
            candidate, new = up_right, up_right != up and up_right != left
        else:
            candidate, new = up_left, up_left != up and up_left != left and up_left != up_right
        if new and code_flag(
            io, buffer, near, h, slots, 200 + k, k * WAYS + way, speed, 1 if v == candidate else 0, second
        ):
            return int(candidate)
    v = base + code_signed(io, buffer, near, h, slots, 4 * WAYS + way, WAYS, speed, v - base, second)
    if abs(v) >= LIMIT:
        io[BAD] = 1
        return 0
    return v

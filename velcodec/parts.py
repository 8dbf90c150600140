"""The parts of values that are not whole: integers (H, W) in 1/2^bits, given the wholes that they are added to."""

from typing import Any

import numpy as np

from . import adaptive
from .adaptive import BAD, blend, code_flag, code_signed, past_end
from .border import LIMIT
from .compiled import compiled

INPUTS, SLOT_BITS, SPEED = 5, 16, 6
MAX_BITS = 24
MEMORY = 1 << 12  # wholes whose last part is remembered


def fresh() -> tuple[Any, ...]:
    """A fresh model."""
    return adaptive.memory(INPUTS, 1 << SLOT_BITS, 6)


@compiled
def code_parts(io: Any, buffer: Any, model: Any, whole: Any, parts: Any, bits: int, mantissa: int) -> None:
    """Code the parts (H, W) of values, in 1/2^bits, given their wholes (H, W).

    Is it the part of the neighbour to the left, above, or last seen with the same whole? else how many of the steps
    that a float of this mantissa has there.
    """
    height, width = whole.shape
    h, slots = np.zeros(INPUTS, np.int64), np.zeros(INPUTS, np.int64)
    keys, seen = np.full(MEMORY, LIMIT, np.int64), np.zeros(MEMORY, np.int64)
    for z in range(height):
        if io[BAD] or past_end(io, buffer):
            return
        for x in range(width):
            v = whole[z, x]
            place = v & (MEMORY - 1)
            tried = np.int64(0)  # candidates: 1 left, 2 above, 4 remembered
            left, up, last = np.int64(0), np.int64(0), np.int64(0)
            if x and whole[z, x - 1] == v:
                left = parts[z, x - 1]
                tried += 1
            if z and whole[z - 1, x] == v:
                up = parts[z - 1, x]
                if not tried or up != left:
                    tried += 2
            if keys[place] == v:
                last = seen[place]
                if not (tried & 1 and last == left) and not (tried & 2 and last == up):
                    tried += 4
            edges = 0  # which of the eight steps between samples, two to each side, change the whole
            for k in range(-2, 2):
                a, b = min(max(x + k, 0), width - 1), min(max(x + k + 1, 0), width - 1)
                edges = 2 * edges + (1 if whole[z, a] != whole[z, b] else 0)
                a, b = min(max(z + k, 0), height - 1), min(max(z + k + 1, 0), height - 1)
                edges = 2 * edges + (1 if whole[a, x] != whole[b, x] else 0)
            state = tried + 8 * (left != 0) + 16 * (up != 0) + 32 * (last != 0)
            h[0] = blend(1, state)
            h[1] = blend(blend(2, state), edges)
            h[2] = blend(blend(3, edges), tried)
            h[3] = blend(blend(4, v), state)
            h[4] = blend(blend(blend(5, left), up), tried)
            part = parts[z, x]
            if tried & 1 and code_flag(io, buffer, model, h, slots, 200, 0, SPEED, 1 if part == left else 0):
                part = left
            elif tried & 2 and code_flag(io, buffer, model, h, slots, 201, 1, SPEED, 1 if part == up else 0):
                part = up
            elif tried & 4 and code_flag(
                io, buffer, model, h, slots, 202, 2, SPEED, 1 if part == last else 0
            ):
                part = last
            else:
                exponent = 0
                while (abs(v) - 1) >> (exponent + 1) > 0:
                    exponent += 1
                fixed = min(max(bits - max(mantissa - exponent, 0), 0), bits)
                part = code_signed(io, buffer, model, h, slots, 3, 1, SPEED, part >> fixed)
                if abs(part) > (1 << bits) >> (fixed + 1):
                    io[BAD] = 1
                    part = 0
                part <<= fixed
            parts[z, x] = part
            keys[place] = v
            seen[place] = part

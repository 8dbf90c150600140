"""Spectra <-> bytes: an adaptive model of the integers of a discrete cosine transform, its own inverse.

    sizes of the waves just longer, and of this one and those about it in the maps before
        -> contexts -> mixed (adaptive.py)

Waves are coded by rows, longest first. What was seen of each wave in the maps of the stream that have the same shape
is carried on, in steps of the map at hand.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import adaptive
from .adaptive import BAD, blend, byte_memory, code_byte, code_even, code_signed, past_end
from .border import LIMIT
from .compiled import compiled, inlined
from .smooth import level
from .spectrum import CODES, PER_OCTAVE, Spectrum

SLOT_BITS = 15
INPUTS, WAYS, LENGTHS, SPEED = 9, 24, 64, 6
SEEN, LEARNED = 32, 14  # what a size of 1 counts for in what was seen, and how much of 64 is learned of a map
MOST_SEEN = 1 << 40
FALLS = np.rint(65536 * 2.0 ** (-np.arange(PER_OCTAVE) / PER_OCTAVE)).astype(
    np.int64
)  # by a part of an octave


def fresh() -> tuple[NDArray[Any], ...]:
    """A fresh model."""
    return adaptive.memory(INPUTS, 1 << SLOT_BITS, 3 * WAYS + LENGTHS)


def encode(maps: list[Spectrum]) -> tuple[bytes, NDArray[np.float64]]:
    """Spectra to a stream, and the bytes that each took of it (n,)."""
    spent = np.zeros(len(maps) + 1)

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        coder = _Coder(io, buffer)
        for i, m in enumerate(maps):
            coder.map(m.whole.copy(), m.code)
            spent[i + 1] = adaptive.cost(io) / 8

    return adaptive.write(code, 256 + sum(m.whole.size for m in maps)), np.diff(spent)


def decode(data: bytes, shapes: list[tuple[int, int]], all_of_it: bool = True) -> list[Spectrum]:
    """A stream, all of it or not, to its first spectra, of some shapes (H, W).

    Raises FormatError where it does not hold them.
    """
    maps: list[Spectrum] = []

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        coder = _Coder(io, buffer)
        for shape in shapes:
            if io[BAD] or past_end(io, buffer):
                return
            whole = np.zeros(shape, np.int64)
            maps.append(Spectrum(whole, coder.map(whole, 0)))

    adaptive.read(code, data, all_of_it)
    return maps


class _Coder:
    """The model of one stream, on its way through its maps; codes or fills in, as the registers say."""

    def __init__(self, io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        self.io, self.buffer = io, buffer
        self.head = byte_memory()
        self.model = fresh()
        self.seen: dict[tuple[int, ...], tuple[NDArray[np.int64], int]] = {}

    def map(self, whole: NDArray[np.int64], code: int) -> int:
        high = code_byte(self.io, self.buffer, self.head, code // 8)
        code = 8 * high + code_even(self.io, self.buffer, 8, code % 8)
        if code >= CODES:
            self.io[BAD] = 1
            return 0
        seen, of = self.seen.get(whole.shape, (np.zeros(whole.shape, np.int64), code))
        _rescale(seen, code - of)
        code_spectrum(self.io, self.buffer, self.model, seen, whole)
        self.seen[whole.shape] = seen, code
        return code


@compiled
def _rescale(seen: Any, by: int) -> None:
    """Turn what was seen into steps that are longer by so many parts of an octave."""
    octaves, fall = by // PER_OCTAVE, FALLS[by % PER_OCTAVE]
    for row in range(seen.shape[0]):
        for k in range(seen.shape[1]):
            size = (seen[row, k] * fall) >> 16
            seen[row, k] = min(size, MOST_SEEN >> -octaves) << -octaves if octaves < 0 else size >> octaves


@inlined
def _level(v: int) -> int:
    """A size on a scale of two levels an octave."""
    if v < 6:
        return v
    k = 0
    while v >> (k + 2):
        k += 1
    return 3 + 2 * k + ((v >> k) & 1)


@compiled
def code_spectrum(io: Any, buffer: Any, model: Any, seen: Any, q: Any) -> None:
    """Code integers (H, W) int64 of waves, or fill them in when decoding, and learn their sizes into `seen` (H, W)."""
    height, width = q.shape
    h, slots = np.zeros(INPUTS, np.int64), np.zeros(INPUTS, np.int64)
    size = np.zeros((height + 2, width + 3), np.int64)  # with a border above and on both sides
    before = np.zeros((height + 4, width + 4), np.int64)  # so that its own border is none
    before[2 : height + 2, 2 : width + 2] = seen
    for row in range(height):
        if io[BAD] or past_end(io, buffer):
            return
        for k in range(width):
            left, left2, up, up2 = (
                size[row + 2, k + 1],
                size[row + 2, k],
                size[row + 1, k + 2],
                size[row, k + 2],
            )
            up_left, up_right = size[row + 1, k + 1], size[row + 1, k + 3]
            near = 2 * (left + up) + up_left + up_right + left2 + up2
            own = before[row + 2, k + 2]
            around = (
                2 * own
                + before[row + 2, k + 1] + before[row + 1, k + 2] + before[row + 2, k + 3] + before[row + 3, k + 2]
                + before[row + 2, k + 4] + before[row + 4, k + 2] + before[row + 3, k + 3] + before[row + 3, k + 1]
            ) // 10  # fmt: skip
            length = level(k * k + row * row)
            of_near, of_own, of_around = _level(near), _level(own), _level(around)
            h[0] = blend(blend(1, of_near), length // 2)
            h[1] = blend(blend(2, of_own), of_near // 2)
            h[2] = blend(blend(3, k), row)
            h[3] = blend(blend(blend(4, min(left, 7)), min(up, 7)), of_around // 2)
            h[4] = blend(blend(5, length), 4 * k // max(k + row, 1))
            h[5] = blend(6, _level(6 * near + around))
            h[6] = blend(
                blend(blend(7, 4 * min(left, 3) + min(left2, 3)), 4 * min(up, 3) + min(up2, 3)),
                4 * min(up_left, 3) + min(up_right, 3),
            )
            h[7] = blend(blend(8, of_around), length // 2)
            h[8] = blend(blend(blend(9, _level(left + left2)), _level(up + up2)), of_own // 2)
            second = 3 * WAYS + min(length, LENGTHS - 1)
            v = code_signed(
                io, buffer, model, h, slots, min(of_near, WAYS - 1), WAYS, SPEED, q[row, k], second
            )
            if abs(v) >= LIMIT:
                io[BAD] = 1
                return
            q[row, k] = v
            size[row + 2, k + 2] = abs(v)
    for row in range(height):
        for k in range(width):
            seen[row, k] += ((SEEN * abs(q[row, k]) - seen[row, k]) * LEARNED) >> 6

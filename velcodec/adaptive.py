"""Binary decisions <-> bytes: an adaptive range coder whose models are integers alone.

    contexts of a decision -> a probability each -> mixed in the logistic domain -> range coder -> bytes

Context mixing after Mahoney, "Adaptive weighing of context models for lossless data compression" (2005), in integer
arithmetic throughout: every machine codes the same bytes. One function codes and decodes a decision, so that a model
written with it is its own inverse.

A model's memory is two arrays: `seen` (inputs, slots), 256 times the probability of a one in 1/65536, and how often a
slot was seen (one number, since slots lie far apart in memory); `w` (selectors, inputs, CONFIDENCES), weights in
1/65536 by how often the slot was seen. The coder's is `io`, its registers. All functions here and in the models are
compiled by numba when first used and kept on disk.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .errors import FormatError

ONE = 1 << 16  # probability 1
STRETCH_LIMIT = 3071  # |ln(p / (1 - p))| at most, in 1/256
KNOT = 256  # distance of the knots of squash
KNOTS = np.array(  # 65536 / (1 + exp(-s)) at s = -12, -11 ... 12, at least 1
    [1, 1, 3, 8, 22, 60, 162, 439, 1179, 3108, 7812, 17625, 32768,
     47911, 57724, 62428, 64357, 65097, 65374, 65476, 65514, 65528, 65533, 65535, 65535],
    dtype=np.int64,
)  # fmt: skip
CONFIDENCES = 6
LIMIT = 255  # of the count of a slot
LEAST, MOST = 24, ONE - 24  # of a mixed probability

HIGH, LOW, CODE, AT, DECODING, FULL, BAD = 0, 1, 2, 3, 4, 5, 6  # places in `io`


def _squash_table() -> NDArray[np.int32]:
    s = np.arange(-STRETCH_LIMIT, STRETCH_LIMIT + 1, dtype=np.int64) + len(KNOTS) // 2 * KNOT
    i, part = s // KNOT, s % KNOT
    p = (KNOTS[i] * (KNOT - part) + KNOTS[np.minimum(i + 1, len(KNOTS) - 1)] * part) // KNOT
    return np.clip(p, 1, ONE - 1).astype(np.int32)


SQUASH = _squash_table()  # of s + STRETCH_LIMIT: probability in 1/65536
STRETCH = (np.searchsorted(SQUASH, np.arange(0, ONE, 16) + 8) - STRETCH_LIMIT).astype(np.int32)  # of p // 16
STRETCH = np.clip(STRETCH, -STRETCH_LIMIT, STRETCH_LIMIT)
CONFIDENCE = np.array([0, 1, 2, 2, 3, 3, 3, 3] + [4] * 24 + [5] * (LIMIT - 31), dtype=np.int32)
RATE = (2 * ONE // (2 * np.arange(LIMIT + 1) + 3)).astype(np.int32)  # 1 / (n + 1.5)


def new_io(data: bytes | None = None) -> NDArray[np.int64]:
    """Registers of a coder; with data they decode it."""
    io = np.zeros(7, dtype=np.int64)
    io[HIGH] = 0xFFFFFFFF
    if data is not None:
        head = (data[:4] + bytes(4))[:4]
        io[CODE], io[AT], io[DECODING] = int.from_bytes(head, "big"), 4, 1
    return io


def memory(inputs: int, slots: int, selectors: int, weight: int = 0) -> tuple[NDArray[Any], ...]:
    """Fresh `seen` and `w` of a model."""
    seen = np.full((inputs, slots), ONE // 2 << 8, dtype=np.int32)
    first = weight or ONE * 2 // (inputs + 2)
    w = np.empty((selectors, inputs, CONFIDENCES), dtype=np.int32)
    w[:] = np.array([0, first // 3, first // 2, first * 3 // 4, first, first])
    return seen, w


@inlined
def code_bit(io: Any, buffer: Any, bit: int, p: int) -> int:
    """Code one decision of probability p / 65536 of a one; returns it. Carryless range coder of 32 bits."""
    low, high = io[LOW], io[HIGH]
    middle = low + ((high - low) >> 16) * p + ((((high - low) & 0xFFFF) * p) >> 16)
    if io[DECODING]:
        bit = 1 if io[CODE] <= middle else 0
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) & 0xFF000000 == 0:
        if io[DECODING]:
            byte = buffer[io[AT]] if io[AT] < len(buffer) else 0
            io[CODE] = ((io[CODE] << 8) & 0xFFFFFFFF) | byte
        elif io[AT] < len(buffer):
            buffer[io[AT]] = high >> 24
        else:
            io[FULL] = 1
        io[AT] += 1
        low = (low << 8) & 0xFFFFFFFF
        high = ((high << 8) & 0xFFFFFFFF) | 0xFF
    io[LOW], io[HIGH] = low, high
    return bit


@compiled
def past_end(io: Any, buffer: Any) -> bool:
    """Whether a decoder has come to where no stream that `write` gave can lead it: what follows would be made up."""
    return io[DECODING] == 1 and io[AT] > len(buffer) + 3


@inlined
def clip(value: int, limit: int) -> int:
    """A number within -limit .. limit."""
    return min(max(value, -limit), limit)


@compiled
def code_mixed(
    io: Any,
    buffer: Any,
    seen: Any,
    w: Any,
    selector: int,
    slots: Any,
    limit: int,
    speed: int,
    bit: int,
    second: int = -1,
) -> int:
    """Code one decision from the slots (inputs,) of its contexts, and learn from it.

    With a second selector the two mixtures are averaged, and each learns by itself.
    """
    total, total2 = np.int64(0), np.int64(0)  # what the contexts say, weighted, in the logistic domain
    if second < 0:
        for i in range(len(slots)):
            state = seen[i, slots[i]]
            total += np.int64(w[selector, i, CONFIDENCE[state & 255]]) * STRETCH[state >> 12]
        mean = total = clip(total >> 16, STRETCH_LIMIT)
    else:
        for i in range(len(slots)):
            state = seen[i, slots[i]]
            c, stretched = CONFIDENCE[state & 255], np.int64(STRETCH[state >> 12])
            total += w[selector, i, c] * stretched
            total2 += w[second, i, c] * stretched
        total, total2 = clip(total >> 16, STRETCH_LIMIT), clip(total2 >> 16, STRETCH_LIMIT)
        mean = (total + total2) >> 1
    mixed = min(max(np.int64(SQUASH[mean + STRETCH_LIMIT]), LEAST), MOST)
    bit = code_bit(io, buffer, bit, mixed)
    target = bit * (ONE - 1)
    error, error2 = (target - mixed) * speed, np.int64(0)
    if second >= 0:
        error = (target - np.int64(SQUASH[total + STRETCH_LIMIT])) * speed
        error2 = (target - np.int64(SQUASH[total2 + STRETCH_LIMIT])) * speed
    for i in range(len(slots)):
        state = np.int64(seen[i, slots[i]])
        p, n = state >> 8, state & 255
        c, stretched = CONFIDENCE[n], np.int64(STRETCH[p >> 4])
        w[selector, i, c] += (stretched * error + (1 << 17)) >> 18
        if second >= 0:
            w[second, i, c] += (stretched * error2 + (1 << 17)) >> 18
        p += ((target - p) * np.int64(RATE[n])) >> 16
        seen[i, slots[i]] = p << 8 | min(n + 1, max(n, limit))
    return bit


@compiled
def blend(h: int, value: int) -> int:
    """A hash of 32 bits and one more number."""
    h = ((h ^ (value & 0xFFFFFF)) * 0x9E3779B1) & 0xFFFFFFFF
    return h ^ (h >> 15)


@compiled
def choose(hashes: Any, node: int, slots: Any, mask: int) -> None:
    """The slot of each context at one node of a number's tree of decisions."""
    for i in range(len(hashes)):
        slots[i] = blend(hashes[i], node) & mask


@inlined
def code_flag(
    io: Any,
    buffer: Any,
    model: Any,
    hashes: Any,
    slots: Any,
    node: int,
    selector: int,
    speed: int,
    bit: int,
    second: int = -1,
) -> int:
    """Code one decision at a node under contexts given by their hashes."""
    seen, w = model
    choose(hashes, node, slots, seen.shape[1] - 1)
    return code_mixed(io, buffer, seen, w, selector, slots, LIMIT, speed, bit, second)


@inlined
def code_signed(
    io: Any,
    buffer: Any,
    model: Any,
    hashes: Any,
    slots: Any,
    selector: int,
    ways: int,
    speed: int,
    value: int,
    second: int = -1,
) -> int:
    """Code an integer about 0 under contexts given by their hashes: zero?, sign, bucket of the size, place in it.

    The size has b + 1 binary digits: b is coded in unary, then up to three of the digits after the first, the others
    as even odds. Selectors are `selector`, `selector + ways` and `selector + 2 ways`.
    """
    if not code_flag(io, buffer, model, hashes, slots, 0, selector, speed, 1 if value != 0 else 0, second):
        return 0
    sign = 1 if value < 0 else 0
    negative = code_flag(io, buffer, model, hashes, slots, 1, selector + ways, speed, sign, second)
    size = abs(value)
    digits = 0
    while digits < 40:
        more = 1 if size >> (digits + 1) else 0
        node = 2 + 2 * digits + negative
        if not code_flag(io, buffer, model, hashes, slots, node, selector + 2 * ways, speed, more, second):
            break
        digits += 1
    found = 1
    for k in range(digits - 1, -1, -1):
        digit = (size >> k) & 1
        if k >= digits - 3:
            node = 96 + 8 * digits + found
            digit = code_flag(
                io, buffer, model, hashes, slots, node, selector + 2 * ways, speed, digit, second
            )
        else:
            digit = code_bit(io, buffer, digit, ONE // 2)
        found = 2 * found + digit
    return -found if negative else found


def byte_memory(counted: bool = False) -> tuple[NDArray[Any], ...]:
    """A fresh model of numbers of 0..255; a counted one takes each probability as the decisions before it give it."""
    seen, w = memory(1, 256, 1)
    if counted:
        w[:] = ONE
    return seen, w


@compiled
def code_byte(io: Any, buffer: Any, model: Any, value: int) -> int:
    """Code a number of 0..255, digit by digit, each under the digits before it."""
    return _code_byte(io, buffer, model, np.zeros(1, np.int64), 2, value)


@compiled
def _code_byte(io: Any, buffer: Any, model: Any, slots: Any, speed: int, value: int) -> int:
    seen, w = model
    node = 1
    for k in range(7, -1, -1):
        slots[0] = node
        node = 2 * node + code_mixed(io, buffer, seen, w, 0, slots, 30, speed, (value >> k) & 1)
    return node - 256


@compiled
def code_even(io: Any, buffer: Any, count: int, value: int) -> int:
    """Code a number of 0 .. count - 1, all as likely, a binary digit at a time."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        above = ((high - middle) << 16) // (high - low)
        if code_bit(io, buffer, 1 if value >= middle else 0, min(max(above, 1), ONE - 1)):
            low = middle
        else:
            high = middle
    return low


@compiled
def finish(io: Any, buffer: Any) -> None:
    """Write the last bytes: the fewest that name a code within the range."""
    low, high = io[LOW], io[HIGH]
    for length in range(1, 5):
        shift = 32 - 8 * length
        code = ((low + (1 << shift) - 1) >> shift) << shift
        if code <= high and code <= 0xFFFFFFFF:
            for k in range(length):
                if io[AT] < len(buffer):
                    buffer[io[AT]] = (code >> (24 - 8 * k)) & 0xFF
                else:
                    io[FULL] = 1
                io[AT] += 1
            return


def write(code: Callable[[NDArray[np.int64], NDArray[np.uint8]], None], size: int) -> bytes:
    """The bytes that `code` writes, given room for some `size` of them; it is run again where that was too little."""
    while True:
        io, buffer = new_io(), np.zeros(size, dtype=np.uint8)
        code(io, buffer)
        finish(io, buffer)
        if not io[FULL]:
            return buffer[: io[AT]].tobytes()
        size *= 2


def read(
    code: Callable[[NDArray[np.int64], NDArray[np.uint8]], None], data: bytes, whole: bool = True
) -> None:
    """Run `code` on bytes that `write` gave, of which it reads the whole or the beginning.

    Raises FormatError where they hold what cannot be, or end elsewhere.
    """
    io = new_io(data)
    code(io, np.frombuffer(data, dtype=np.uint8).copy())
    _check_end(io, data, whole)


def _check_end(io: NDArray[np.int64], data: bytes, whole: bool) -> None:
    # Four bytes are read ahead of the last decision, and `finish` writes one to four.
    ends = len(data) <= io[AT] <= len(data) + 3 or (not whole and io[AT] <= len(data) + 3)
    if io[BAD] or not ends:
        raise FormatError("an adaptive stream does not hold the maps that its block states")


def cost(io: NDArray[np.int64]) -> float:
    """Bits written so far, with the fraction that still lies in the registers."""
    return 8.0 * float(io[AT]) + 32.0 - float(np.log2(float(io[HIGH] - io[LOW] + 1)))


@compiled
def _code_bytes(io: Any, buffer: Any, model: Any, speed: int, values: Any) -> None:
    slots = np.zeros(1, np.int64)
    for i in range(len(values)):
        if past_end(io, buffer):
            return
        values[i] = _code_byte(io, buffer, model, slots, speed, np.int64(values[i]))


def pack_bytes(parts: list[bytes], counted: bool) -> bytes:
    """Bytes, each part under a fresh model, as one stream: for few of them, where a table would cost too much."""

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        for part in parts:
            values = np.frombuffer(part, np.uint8).copy()
            _code_bytes(io, buffer, byte_memory(counted), 0 if counted else 2, values)

    return write(code, 64 + 2 * sum(map(len, parts)))


class ByteReader:
    """The parts of a stream that `pack_bytes` gave, one after another: a part may say how long the next ones are."""

    def __init__(self, data: bytes, counted: bool) -> None:
        self._data, self._counted = data, counted
        self._io, self._buffer = new_io(data), np.frombuffer(data, np.uint8).copy()

    def take(self, size: int) -> bytes:
        """The next part; of a stream that holds fewer bytes it is made up, which `end` finds."""
        part = np.zeros(size, np.uint8)
        model = byte_memory(self._counted)
        _code_bytes(self._io, self._buffer, model, 0 if self._counted else 2, part)
        return part.tobytes()

    def end(self) -> None:
        """Raises FormatError where the stream holds more or fewer parts."""
        _check_end(self._io, self._data, True)


def unpack_bytes(data: bytes, sizes: list[int], counted: bool) -> list[bytes]:
    """The parts, of some sizes, of a stream that `pack_bytes` gave. Raises FormatError where it holds others."""
    reader = ByteReader(data, counted)
    parts = [reader.take(size) for size in sizes]
    reader.end()
    return parts

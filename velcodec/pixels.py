"""Maps of integers <-> bytes, exactly: two adaptive models, each its own inverse, and one of fractions.

    edges    is it the neighbour above, to the left, to the right above, to the left above? else how far from them
    smooth   how far from a linear prediction of twelve neighbours, whose weights the encoder fits and sends

Both read a map row by row and see only what came before. Maps of a block share one model, which learns as it goes.
`edges` suits plateaus (layers, faults, coarse steps), `smooth` textures. Contexts are mixed by adaptive.py.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from . import adaptive
from .adaptive import BAD, blend, clip, code_even, code_flag, code_mixed, code_signed, past_end

SLOT_BITS = 18
EDGE_SPEED, CALM_SPEED, SMOOTH_SPEED, PART_SPEED = 14, 6, 5, 6
EDGE_INPUTS, EDGE_WAYS = 13, 8
CALM_INPUTS = 3
SMOOTH_INPUTS, SMOOTH_WAYS = 10, 32
PAD = 3  # samples seen beyond each border, as the nearest within reads
NEIGHBOURS = np.array(  # (rows up, columns to the left) of the prediction of `smooth`
    [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, -1), (2, 1), (1, -2), (1, 2), (0, 3), (3, 0)]
)
WEIGHT_BITS = 12  # of the fraction of a weight
LIMIT = 1 << 36  # of integers coded
PART_INPUTS, PART_BITS = 5, 16
MAX_PART_BITS = 24
MEMORY = 1 << 12  # wholes whose last part is remembered


def edges_memory() -> tuple[Any, ...]:
    """Fresh models of `edges`: of places near an edge, and of calm ones."""
    return (
        adaptive.memory(EDGE_INPUTS, 1 << SLOT_BITS, 7 * EDGE_WAYS),
        adaptive.memory(CALM_INPUTS, 1 << 16, 1),
    )


def smooth_memory() -> tuple[Any, ...]:
    """Fresh model of `smooth`."""
    return adaptive.memory(SMOOTH_INPUTS, 1 << SLOT_BITS, 3 * SMOOTH_WAYS)


@njit(cache=True, nogil=True)
def _open_row(a: Any, row: int, width: int) -> None:
    """Fill the border to the left of a row, and above the first one, before its first sample is coded."""
    for k in range(PAD):
        a[row, k] = a[row - 1, PAD]
    if row == PAD + 1:
        for r in range(PAD):
            for x in range(width + 2 * PAD):
                a[r, x] = a[PAD, min(max(x, PAD), PAD + width - 1)]


@njit(cache=True, nogil=True)
def _first_row(a: Any, x: int, width: int) -> None:
    """In the first row the border above reads as the sample to the left."""
    for r in range(PAD + 1):
        for k in range(-PAD, PAD + 1):
            if r < PAD or x + k < PAD:
                a[r, x + k] = a[PAD, x - 1]


@njit(cache=True, nogil=True)
def code_edges(io: Any, buffer: Any, model: Any, q: Any) -> None:
    """Code a map of integers (H, W) int64, or fill it in when decoding."""
    near, calm = model
    height, width = q.shape
    h = np.zeros(EDGE_INPUTS, np.int64)
    slots = np.zeros(EDGE_INPUTS, np.int64)
    h3 = np.zeros(CALM_INPUTS, np.int64)
    slots3 = np.zeros(CALM_INPUTS, np.int64)
    a = np.zeros((height + PAD, width + 2 * PAD), np.int64)
    for z in range(height):
        r = z + PAD
        if past_end(io, buffer):
            return
        if z:
            _open_row(a, r, width)
        for column in range(width):
            x = column + PAD
            if z == 0 and column:
                _first_row(a, x, width)
            v = q[z, column]
            left, left2, left3 = a[r, x - 1], a[r, x - 2], a[r, x - 3]
            up, up_left, up_right, up_right2 = a[r - 1, x], a[r - 1, x - 1], a[r - 1, x + 1], a[r - 1, x + 2]
            up_left2, up_right3 = a[r - 1, x - 2], a[r - 1, x + 3]
            up2, up2_left, up2_right, up3 = a[r - 2, x], a[r - 2, x - 1], a[r - 2, x + 1], a[r - 3, x]
            if (
                left == up and up == up_left and up == up_right and up == left2 and up == up2
                and up == up_right2 and up == up_left2 and up == up2_left and up == up2_right
            ):  # fmt: skip
                far = (1 if up3 == up else 0) + (2 if left3 == up else 0) + (4 if up_right3 == up else 0)
                h3[0] = blend(1, far)
                h3[1] = blend(blend(2, min(z, 255) // 2), far)
                h3[2] = blend(blend(3, up), far)
                if code_flag(io, buffer, calm, h3, slots3, 0, 0, CALM_SPEED, 1 if v == up else 0):
                    q[z, column] = a[r, x] = up
                    if column == width - 1:
                        for k in range(1, PAD + 1):
                            a[r, x + k] = a[r, x]
                    continue
                known = True
            else:
                known = False
            like = (
                (left == up) + 2 * (up_left == up) + 4 * (up_right == up) + 8 * (up_left == left)
                + 16 * (left2 == left) + 32 * (up2 == up) + 64 * (up_right2 == up_right)
                + 128 * (up2_right == up_right) + 256 * (up_left2 == up_left) + 512 * (up2_left == up_left)
                + 1024 * (up_right == left)
            )  # fmt: skip
            like2 = (
                (up3 == up2) + 2 * (left3 == left2) + 4 * (up_right3 == up_right2) + 8 * (up2 == up_right)
                + 16 * (left2 == up_left2) + 32 * (up2_right == up2) + 64 * (up2_left == up2)
                + 128 * (left2 == up_left)
            )  # fmt: skip
            h[0] = blend(1, like)
            h[1] = blend(blend(2, like), like2)
            h[2] = blend(blend(3, up - up_left), left - up_left)
            h[3] = blend(blend(blend(4, up - up_left), left - up_left), up_right - up)
            h[4] = blend(blend(blend(5, up), left), up_right)
            h[5] = blend(blend(6, like & 127), min(z, 63) // 2)
            h[6] = blend(
                blend(blend(blend(7, up - up2), up_right - up2_right), up_left - up2_left), left - up_left
            )
            h[7] = blend(blend(blend(8, left - left2), up_left - up_left2), up - up_left)
            h[8] = blend(
                blend(blend(blend(blend(9, left - up), up_left - up), up_right - up), up2 - up), left2 - up
            )
            h[9] = blend(
                blend(blend(blend(blend(10, like), like2 & 7), up_right - up), left - up), up_right2 - up
            )
            h[10] = blend(blend(blend(11, up), up2), up3)
            h[11] = blend(blend(blend(blend(12, up), up_right), up_right2), up_right3)
            h[12] = blend(blend(blend(13, left), left2), left3)
            way = (left == up) + 2 * (up_right == up) + 4 * (up_left == up)
            if not known and code_flag(io, buffer, near, h, slots, 200, way, EDGE_SPEED, 1 if v == up else 0):
                v = up
            elif left != up and code_flag(
                io, buffer, near, h, slots, 201, EDGE_WAYS + way, EDGE_SPEED, 1 if v == left else 0
            ):
                v = left
            elif (
                up_right != up
                and up_right != left
                and code_flag(
                    io,
                    buffer,
                    near,
                    h,
                    slots,
                    202,
                    2 * EDGE_WAYS + way,
                    EDGE_SPEED,
                    1 if v == up_right else 0,
                )
            ):
                v = up_right
            elif (
                up_left != up
                and up_left != left
                and up_left != up_right
                and code_flag(
                    io, buffer, near, h, slots, 203, 3 * EDGE_WAYS + way, EDGE_SPEED, 1 if v == up_left else 0
                )
            ):
                v = up_left
            else:
                base = min(max(left + up - up_left, min(left, up)), max(left, up))
                v = base + code_signed(
                    io, buffer, near, h, slots, 4 * EDGE_WAYS + way, EDGE_WAYS, EDGE_SPEED, v - base
                )
            q[z, column] = a[r, x] = v
            if column == width - 1:
                for k in range(1, PAD + 1):
                    a[r, x + k] = v


@njit(cache=True, nogil=True)
def _level(v: int) -> int:
    """A size on a scale of four levels an octave."""
    if v < 8:
        return v
    k = 0
    while v >> (k + 3):
        k += 1
    return 4 + 4 * k + ((v >> k) & 3)


@njit(cache=True, nogil=True)
def code_smooth(io: Any, buffer: Any, model: Any, weights: Any, q: Any) -> None:
    """Code a map of integers (H, W) int64, or fill it in; `weights` (13,) of the neighbours and a constant."""
    height, width = q.shape
    h = np.zeros(SMOOTH_INPUTS, np.int64)
    slots = np.zeros(SMOOTH_INPUTS, np.int64)
    a = np.zeros((height + PAD, width + 2 * PAD), np.int64)
    off = np.zeros((height + PAD, width + 2 * PAD), np.int64)  # what a prediction missed by, in halves
    for z in range(height):
        r = z + PAD
        if past_end(io, buffer):
            return
        if z:
            _open_row(a, r, width)
        for column in range(width):
            x = column + PAD
            if z == 0 and column:
                _first_row(a, x, width)
            total = weights[len(NEIGHBOURS)]
            for k in range(len(NEIGHBOURS)):
                total += weights[k] * a[r - NEIGHBOURS[k, 0], x - NEIGHBOURS[k, 1]]
            guess = total >> (WEIGHT_BITS - 4)  # in sixteenths
            base, part = (guess + 8) >> 4, (guess + 8) & 15
            left, up, up_left, up_right = a[r, x - 1], a[r - 1, x], a[r - 1, x - 1], a[r - 1, x + 1]
            o_left, o_up = off[r, x - 1], off[r - 1, x]
            o_up_left, o_up_right = abs(off[r - 1, x - 1]), abs(off[r - 1, x + 1])
            rough = _level(
                (4 * abs(o_left) + 4 * abs(o_up) + 2 * o_up_left + 2 * o_up_right
                 + abs(off[r, x - 2]) + abs(off[r - 2, x]) + 8) // 7
            )  # fmt: skip
            steep = _level(abs(left - up_left) + abs(up - up_left) + abs(up - up_right))
            h[0] = blend(1, rough)
            h[1] = blend(blend(2, rough), steep)
            h[2] = blend(blend(3, part), rough // 2)
            h[3] = blend(blend(blend(4, _level(abs(o_left))), _level(abs(o_up))), _level(o_up_right) // 2)
            h[4] = blend(
                blend(blend(5, clip(((left << 4) - guess) // 8, 20)), clip(((up << 4) - guess) // 8, 20)),
                rough // 3,
            )
            h[5] = blend(blend(blend(blend(6, clip(o_left, 3)), clip(o_up, 3)), part // 4), rough // 3)
            h[6] = blend(blend(7, steep), min(z, 31) // 4)
            h[7] = blend(
                blend(blend(blend(8, clip(o_left, 2)), clip(o_up, 2)), clip(off[r - 1, x + 1], 2)), part // 2
            )
            h[8] = blend(
                blend(9, clip(((up_right << 4) - guess) // 8, 20)), clip(((left << 4) - guess) // 8, 20)
            )
            h[9] = blend(
                blend(10, clip(((up_left << 4) - guess) // 8, 20)),
                clip(((a[r - 2, x] << 4) - guess) // 8, 20),
            )
            way = min(rough, SMOOTH_WAYS - 1)
            v = base + code_signed(
                io, buffer, model, h, slots, way, SMOOTH_WAYS, SMOOTH_SPEED, q[z, column] - base
            )
            q[z, column] = a[r, x] = v
            off[r, x] = ((v << 4) - guess) // 8
            if column == width - 1:
                for k in range(1, PAD + 1):
                    a[r, x + k] = v


def fit_weights(maps: list[NDArray[np.int64]], sample: int = 40) -> NDArray[np.int64]:
    """Weights (13,) that predict maps of integers with small absolute errors: least squares, reweighted."""
    rows, wanted = [], []
    for m in maps[:: max(1, len(maps) // sample)]:
        a = np.pad(m[:256, :1024], ((PAD, 0), (PAD, PAD)), mode="edge").astype(np.float64)
        height, width = m[:256, :1024].shape
        part = [a[PAD - up : PAD - up + height, PAD - left : PAD - left + width] for up, left in NEIGHBOURS]
        rows.append(np.stack([*(p.ravel() for p in part), np.ones(height * width)], 1))
        wanted.append(m[:256, :1024].ravel().astype(np.float64))
    x, y = np.concatenate(rows), np.concatenate(wanted)
    trust = np.ones(len(y))
    for _ in range(3):
        weighted = x * trust[:, None]
        c = np.linalg.lstsq(weighted.T @ x + 1e-3 * np.eye(x.shape[1]), weighted.T @ y)[0]
        trust = 1 / (np.abs(y - x @ c) + 1)
    return np.clip(np.rint(c * (1 << WEIGHT_BITS)), -(1 << 15), (1 << 15) - 1).astype(np.int64)


# Streams


@dataclass(frozen=True)
class Integers:
    """A map as integers: whole (H, W) int64, a code 0..255, and parts (H, W) int64 in 1/2^code where it has some.

    Without parts the code says what a unit is worth (residual.py); with them a value is whole + part / 2^code.
    """

    whole: NDArray[np.int64]
    code: int
    parts: NDArray[np.int64] | None = None


def encode(maps: list[Integers], smooth: bool, mantissa: int) -> tuple[bytes, NDArray[np.float64]]:
    """Maps of integers to a stream, and the bytes that each took of it (n,).

    Args:
        smooth: the model.
        mantissa: bits of the mantissa of the values that parts belong to.
    """
    weights = fit_weights([m.whole for m in maps]) if smooth else np.zeros(0, np.int64)
    spent = np.zeros(len(maps) + 1)

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        coder = _Coder(io, buffer, smooth)
        coder.weights(weights)
        for i, m in enumerate(maps):
            coder.map(m.whole.copy(), m.code, None if m.parts is None else m.parts.copy(), mantissa)
            spent[i + 1] = adaptive.cost(io) / 8

    return adaptive.write(code, 256 + sum(m.whole.size for m in maps)), np.diff(spent)


def decode(
    data: bytes,
    shapes: list[tuple[int, int]],
    parted: list[bool],
    smooth: bool,
    mantissa: int,
    all_of_it: bool = True,
) -> list[Integers]:
    """A stream, all of it or not, to its first maps of integers, of some shapes (H, W).

    Raises FormatError where it does not hold them.
    """
    maps: list[Integers] = []

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        coder = _Coder(io, buffer, smooth)
        coder.weights(np.zeros(len(NEIGHBOURS) + 1 if smooth else 0, np.int64))
        for shape, has_parts in zip(shapes, parted, strict=True):
            if io[BAD] or past_end(io, buffer):
                return
            whole = np.zeros(shape, np.int64)
            parts = np.zeros(shape, np.int64) if has_parts else None
            maps.append(Integers(whole, coder.map(whole, 0, parts, mantissa), parts))

    adaptive.read(code, data, all_of_it)
    return maps


class _Coder:
    """The models of one stream, on their way through its maps; codes or fills in, as the registers say."""

    def __init__(self, io: NDArray[np.int64], buffer: NDArray[np.uint8], smooth: bool) -> None:
        self.io, self.buffer, self.smooth = io, buffer, smooth
        self.head = adaptive.memory(1, 256, 1)
        self.model = smooth_memory() if smooth else edges_memory()
        self.of_parts = adaptive.memory(PART_INPUTS, 1 << PART_BITS, 6)

    def weights(self, values: NDArray[np.int64]) -> None:
        self.of_neighbours = values
        for i in range(len(values)):
            values[i] = code_even(self.io, self.buffer, 1 << 16, int(values[i]) + (1 << 15)) - (1 << 15)

    def map(self, whole: NDArray[np.int64], code: int, parts: NDArray[np.int64] | None, mantissa: int) -> int:
        code = code_byte(self.io, self.buffer, self.head, code)
        if self.smooth:
            code_smooth(self.io, self.buffer, self.model, self.of_neighbours, whole)
        else:
            code_edges(self.io, self.buffer, self.model, whole)
        if np.abs(whole).max() >= LIMIT or (parts is not None and code > MAX_PART_BITS):
            self.io[BAD] = 1
        elif parts is not None:
            code_parts(self.io, self.buffer, self.of_parts, whole, parts, code, mantissa)
        return code


@njit(cache=True, nogil=True)
def code_byte(io: Any, buffer: Any, model: Any, value: int) -> int:
    """Code a number of 0..255, digit by digit, each under the digits before it."""
    p, n, w = model
    slots = np.zeros(1, np.int64)
    node = 1
    for k in range(7, -1, -1):
        slots[0] = node
        node = 2 * node + code_mixed(io, buffer, p, n, w, 0, slots, 30, 2, (value >> k) & 1)
    return node - 256


@njit(cache=True, nogil=True)
def code_parts(io: Any, buffer: Any, model: Any, whole: Any, parts: Any, bits: int, mantissa: int) -> None:
    """Code the parts (H, W) of values, in 1/2^bits, given their wholes (H, W).

    Is it the part of the neighbour to the left, above, or last seen with the same whole? else none? else how many of
    the steps that a float of this mantissa has there.
    """
    height, width = whole.shape
    h, slots = np.zeros(PART_INPUTS, np.int64), np.zeros(PART_INPUTS, np.int64)
    keys, seen = np.full(MEMORY, LIMIT, np.int64), np.zeros(MEMORY, np.int64)
    for z in range(height):
        if past_end(io, buffer):
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
            if tried & 1 and code_flag(
                io, buffer, model, h, slots, 200, 0, PART_SPEED, 1 if part == left else 0
            ):
                part = left
            elif tried & 2 and code_flag(
                io, buffer, model, h, slots, 201, 1, PART_SPEED, 1 if part == up else 0
            ):
                part = up
            elif tried & 4 and code_flag(
                io, buffer, model, h, slots, 202, 2, PART_SPEED, 1 if part == last else 0
            ):
                part = last
            else:
                exponent = 0
                while (abs(v) - 1) >> (exponent + 1) > 0:
                    exponent += 1
                fixed = min(max(bits - max(mantissa - exponent, 0), 0), bits)
                part = code_signed(io, buffer, model, h, slots, 3, 1, PART_SPEED, part >> fixed) << fixed
            parts[z, x] = part
            keys[place] = v
            seen[place] = part

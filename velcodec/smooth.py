"""The model `smooth` of integers: textures, and what changes gently.

    how far from a prediction: a linear one of twelve neighbours, whose weights the encoder fits and sends, and from
    there a share of the way to the mean of six, which weigh the more the less they missed nearby

The share is learned on the way. Contexts tell how well the neighbours were predicted, how steep the map is, where the
neighbours lie beside the prediction, and how far the six differ. Files of coders before velcodec-6 had the linear one
alone, other contexts, and one set of weights (`code_smooth` with coder 1).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import adaptive
from .adaptive import BAD, blend, clip, code_signed, past_end
from .border import LIMIT, PAD, along_first_row, close_row, open_row, padded
from .compiled import compiled, inlined

SLOT_BITS = 18
INPUTS, WAYS, SPEED = 11, 32, 8
STEEPS, PARTS = 32, 16
GUESSES = 6
WELL, LOST = 100, 65000  # of what a prediction missed by: about as good as none, and as bad as any
FAR = 1 << 24  # sixteenths from the linear prediction, that another is heard for at most
ONE = 1 << 16  # the whole way from one to the other
NEIGHBOURS = np.array(  # (rows up, columns to the left)
    [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, -1), (2, 1), (1, -2), (1, 2), (0, 3), (3, 0)]
)
WEIGHT_BITS = 12  # of the fraction of a weight

INPUTS_1, SPEED_1 = 10, 5  # in coders before velcodec-6


def fresh(coder: int) -> tuple[Any, ...]:
    """A fresh model, and the share."""
    inputs, selectors = (INPUTS_1, 3 * WAYS) if coder == 1 else (INPUTS, 3 * WAYS + STEEPS * PARTS)
    return adaptive.memory(inputs, 1 << SLOT_BITS, selectors), np.full(1, ONE // 4, np.int64)


@compiled
def level(v: int) -> int:
    """A size on a scale of four levels an octave."""
    if v < 8:
        return v
    k = 0
    while v >> (k + 3):
        k += 1
    return 4 + 4 * k + ((v >> k) & 3)


@compiled
def code_smooth(io: Any, buffer: Any, model: Any, weights: Any, q: Any, coder: int) -> None:
    """Code a map of integers (H, W) int64, or fill it in when decoding, as a coder (1 or 2) has it.

    `weights` (13,) are those of the neighbours and a constant.
    """
    own, shares = model
    share = shares[0]
    height, width = q.shape
    inputs = own[0].shape[0]
    h, slots = np.zeros(inputs, np.int64), np.zeros(inputs, np.int64)
    guesses = np.zeros(GUESSES, np.int64)  # in sixteenths
    missed = np.zeros((GUESSES, 2, width + 2 * PAD), np.int64)  # of two rows, by their parity
    a = padded(height, width)
    off = padded(height, width)  # what a prediction missed by, in halves
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
            linear = weights[len(NEIGHBOURS)]
            for k in range(len(NEIGHBOURS)):
                linear += weights[k] * a[r - NEIGHBOURS[k, 0], x - NEIGHBOURS[k, 1]]
            linear >>= WEIGHT_BITS - 4  # in sixteenths
            guess, turn = linear, np.int64(0)
            if coder > 1:
                turn = _turn(a, r, x, linear, guesses, missed)
                guess += (turn * (share >> 8)) >> 8
            base, part = (guess + 8) >> 4, (guess + 8) & 15
            left, up, up_left, up_right = a[r, x - 1], a[r - 1, x], a[r - 1, x - 1], a[r - 1, x + 1]
            rough = level(
                (4 * abs(off[r, x - 1]) + 4 * abs(off[r - 1, x])
                 + 2 * abs(off[r - 1, x - 1]) + 2 * abs(off[r - 1, x + 1])
                 + abs(off[r, x - 2]) + abs(off[r - 2, x]) + 8) // 7
            )  # fmt: skip
            steep = level(abs(left - up_left) + abs(up - up_left) + abs(up - up_right))
            second, speed = np.int64(-1), SPEED_1
            if coder == 1:
                h[0] = blend(1, rough)
                h[1] = blend(blend(2, rough), steep)
                h[2] = blend(blend(3, part), rough // 2)
                _contexts(a, off, r, x, guess, rough, steep, part, h, 3)
            else:
                _contexts(a, off, r, x, guess, rough, steep, part, h, 0)
                _contexts_of_guesses(off, r, x, guess, linear + turn, guesses, rough, part, h)
                second, speed = 3 * WAYS + min(steep, STEEPS - 1) * PARTS + part, SPEED
            way = min(rough, WAYS - 1)
            v = base + code_signed(io, buffer, own, h, slots, way, WAYS, speed, q[z, column] - base, second)
            if abs(v) >= LIMIT:
                io[BAD] = 1
                return
            q[z, column] = a[r, x] = v
            miss = (v << 4) - guess
            off[r, x] = miss // 8
            if coder > 1:
                share = min(max(share + clip(turn, 64) * clip(miss, 64) // 16, 0), ONE)
                for k in range(GUESSES):
                    missed[k, r & 1, x] = min(abs((v << 4) - guesses[k]), LOST)
        close_row(a, r, width)
    shares[0] = share


@inlined
def _turn(a: Any, r: int, x: int, linear: int, guesses: Any, missed: Any) -> int:
    """Fill in the predictions (6,); how far their mean, each weighed by how well it did nearby, is from the first."""
    left, up, up_left, up_right = a[r, x - 1], a[r - 1, x], a[r - 1, x - 1], a[r - 1, x + 1]
    guesses[0] = linear
    guesses[1] = (left + up_right - up) << 4
    guesses[2] = (left + up - up_left) << 4
    guesses[3] = (2 * up - a[r - 2, x]) << 4
    guesses[4] = (2 * left - a[r, x - 2]) << 4
    guesses[5] = (left + up_right) << 3
    total, weights = np.int64(0), np.int64(0)
    row, above = r & 1, 1 - (r & 1)
    for k in range(GUESSES):
        near = (
            2 * missed[k, row, x - 1] + 2 * missed[k, above, x]
            + missed[k, above, x + 1] + missed[k, above, x - 1] + missed[k, row, x - 2]
        )  # fmt: skip
        near = min(near, LOST) + WELL
        weight = (np.int64(1) << 33) // (near * near)
        total += weight * clip(guesses[k] - linear, FAR)
        weights += weight
    return int(total // weights)


@inlined
def _contexts(
    a: Any, off: Any, r: int, x: int, guess: int, rough: int, steep: int, part: int, h: Any, at: int
) -> None:
    """Fill in seven contexts from place `at` on: of what neighbours missed by, and where they lie."""
    o_left, o_up, o_up_right = off[r, x - 1], off[r - 1, x], off[r - 1, x + 1]
    left, up_left = _beside(a[r, x - 1] << 4, guess), _beside(a[r - 1, x - 1] << 4, guess)
    up, up_right = _beside(a[r - 1, x] << 4, guess), _beside(a[r - 1, x + 1] << 4, guess)
    up2 = _beside(a[r - 2, x] << 4, guess)
    h[at] = blend(blend(blend(4, level(abs(o_left))), level(abs(o_up))), level(abs(o_up_right)) // 2)
    h[at + 1] = blend(blend(blend(5, left), up), rough // 3)
    h[at + 2] = blend(blend(blend(blend(6, clip(o_left, 3)), clip(o_up, 3)), part // 4), rough // 3)
    h[at + 3] = blend(blend(7, steep), min(r - PAD, 31) // 4)
    h[at + 4] = blend(blend(blend(blend(8, clip(o_left, 2)), clip(o_up, 2)), clip(o_up_right, 2)), part // 2)
    h[at + 5] = blend(blend(9, up_right), left)
    h[at + 6] = blend(blend(10, up_left), up2)


@inlined
def _contexts_of_guesses(
    off: Any, r: int, x: int, guess: int, mean: int, guesses: Any, rough: int, part: int, h: Any
) -> None:
    """Fill in the last four contexts: of how the predictions differ."""
    spread = np.int64(0)
    for k in range(GUESSES):
        spread += abs(guesses[k] - guess)
    h[7] = blend(blend(blend(12, clip((mean - guess) // 4, 24) // 2), part // 4), clip(off[r, x - 1], 2))
    h[8] = blend(blend(13, level(spread // 16)), rough // 2)
    h[9] = blend(blend(14, _beside(guesses[1], guess)), _beside(guesses[2], guess))
    h[10] = blend(blend(15, _beside(guesses[3], guess)), _beside(guesses[4], guess))


@inlined
def _beside(v: int, guess: int) -> int:
    """Where something lies beside a prediction, both in sixteenths: in halves, 10 at most."""
    return clip((v - guess) // 8, 20)


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

"""The model `smooth` of integers: textures, and what changes gently.

How far from a linear prediction of twelve neighbours, whose weights the encoder fits and sends? Contexts tell how well
the neighbours were predicted, how steep the map is, and where the neighbours lie beside the prediction.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import adaptive
from .adaptive import BAD, blend, clip, code_signed, past_end
from .border import LIMIT, PAD, along_first_row, close_row, open_row, padded
from .compiled import compiled

SLOT_BITS = 18
INPUTS, WAYS, SPEED = 10, 32, 5
NEIGHBOURS = np.array(  # (rows up, columns to the left)
    [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, -1), (2, 1), (1, -2), (1, 2), (0, 3), (3, 0)]
)
WEIGHT_BITS = 12  # of the fraction of a weight


def fresh() -> tuple[Any, ...]:
    """A fresh model."""
    return adaptive.memory(INPUTS, 1 << SLOT_BITS, 3 * WAYS)


@compiled
def _level(v: int) -> int:
    """A size on a scale of four levels an octave."""
    if v < 8:
        return v
    k = 0
    while v >> (k + 3):
        k += 1
    return 4 + 4 * k + ((v >> k) & 3)


@compiled
def code_smooth(io: Any, buffer: Any, model: Any, weights: Any, q: Any) -> None:
    """Code a map of integers (H, W) int64, or fill it in; `weights` (13,) of the neighbours and a constant."""
    height, width = q.shape
    h = np.zeros(INPUTS, np.int64)
    slots = np.zeros(INPUTS, np.int64)
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
            way = min(rough, WAYS - 1)
            v = base + code_signed(io, buffer, model, h, slots, way, WAYS, SPEED, q[z, column] - base)
            if abs(v) >= LIMIT:
                io[BAD] = 1
                return
            q[z, column] = a[r, x] = v
            off[r, x] = ((v << 4) - guess) // 8
        close_row(a, r, width)


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

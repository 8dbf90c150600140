"""The last layers of the warp decoder, compiled for a processor: a tile of points at a time, from features to value.

What torch does in some ten passes over all points of a batch stays in the nearest memory here. For sampling alone:
nothing here is differentiated.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled, inlined
from ..device import side_by_side

TILE = 128  # points
ONE, TWO, HALF = (np.float32(n) for n in (1, 2, 0.5))
PI_HIGH, PI_LOW, PER_PI = np.float32(3.140625), np.float32(9.676535897932e-4), np.float32(0.31830988618379)
# sin r = r + r^3 (S3 + S5 r^2 + ..) within 1e-7 of it up to half of pi (Shibata, Petrogalli, "SLEEF", 2020).
S3, S5, S7, S9 = (
    np.float32(s) for s in (-0.16666659712, 0.00833307858557, -0.000198106907192, 2.60831598098e-06)
)


def finished(
    features: NDArray[np.float32],
    shares: NDArray[np.float32],
    x: NDArray[np.float32],
    z: NDArray[np.float32],
    span: float,
    layers: Sequence[NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Values (B, P) of points from their features (B, C, P), the first the warp, and the profile's shares.

    Args:
        shares: (B, W + 1, samples) that samples of the profile add to the units of the first layer, and to the value.
        x, z: (P,) where the points are, in unit coordinates.
        span: half the length of the profile in these.
        layers: of the first layer, with the value for a last unit, weights (W + 1, C - 1 + 2) of features but the warp,
            x and z, and biases (W + 1,); weights and biases of the second; weights (1, W) of the output.
    """
    out = np.empty((len(features), len(x)), np.float32)
    tiles = len(features) * -(-len(x) // TILE)
    ends = [tiles * k // 2 for k in range(3)]
    arrays = features, shares, x, z, np.float32(span), *(np.ascontiguousarray(own) for own in layers), out
    side_by_side(_finish, [(*arrays, first, end) for first, end in zip(ends, ends[1:], strict=False)])
    return out


@compiled
def _finish(
    features: Any, shares: Any, x: Any, z: Any, span: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, out: Any,
    first: int, end: int,
) -> None:  # fmt: skip
    """Fill in the values of some tiles."""
    own, width, count = features.shape[1] - 1, len(w2), len(x)
    per_map = (count + TILE - 1) // TILE
    inputs, units = np.zeros((own + 2, TILE), np.float32), np.empty((width + 1, TILE), np.float32)
    more, values = np.empty((width, TILE), np.float32), np.empty((1, TILE), np.float32)
    low, part = np.empty(TILE, np.int64), np.empty(TILE, np.float32)
    for tile in range(first, end):
        b, start = tile // per_map, tile % per_map * TILE
        until = min(start + TILE, count)
        n = until - start
        inputs[:own, :n] = features[b, 1:, start:until]
        inputs[own, :n] = x[start:until]
        inputs[own + 1, :n] = z[start:until]
        np.dot(w1, inputs, units)
        _place(z[start:until], features[b, 0, start:until], span, shares.shape[2], low, part)
        _read(shares[b], low[:n], part, units)
        _sines(units[:width], b1)
        np.dot(w2, units[:width], more)
        _sines(more, b2)
        np.dot(w3, more, values)
        for j in range(n):
            out[b, start + j] = values[0, j] + (units[width, j] + b1[width])


@compiled
def _place(z: Any, warp: Any, span: Any, samples: int, low: Any, part: Any) -> None:
    """Between which samples of the profile points read, and how far; past an end at it, and NaN at the first."""
    half, last = np.float32(samples) * HALF, np.float32(samples - 1)
    for j in range(len(z)):
        at = ((z[j] + warp[j]) / span + ONE) * half - HALF
        at = at if at > 0 else np.float32(0)
        at = at if at < last else last
        low[j] = min(int(at), samples - 2)
        part[j] = at - np.float32(low[j])


@compiled
def _read(shares: Any, low: Any, part: Any, to: Any) -> None:
    """Add the profile's shares at the places of points."""
    for c in range(len(shares)):
        for j in range(len(low)):
            value = shares[c, low[j]]
            to[c, j] += value + part[j] * (shares[c, low[j] + 1] - value)


@compiled
def _sines(h: Any, bias: Any) -> None:
    """sin(h + bias), in place."""
    for c in range(len(h)):
        for j in range(h.shape[1]):
            h[c, j] = _sine(h[c, j] + bias[c])


@inlined
def _sine(t: Any) -> Any:
    turns = np.floor(t * PER_PI + HALF)
    r = (t - turns * PI_HIGH) - turns * PI_LOW
    s = r * r
    y = r + r * s * (S3 + s * (S5 + s * (S7 + s * S9)))
    return y * (ONE - TWO * (turns - TWO * np.floor(turns * HALF)))

"""Integers of a layered latent: rounded from the top down, then moved one by one by rate and distortion.

The error is counted in whole cells, from the depths that curves round to: nothing is decoded.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .decoders.cosines import NATIVE
from .decoders.layered import VELOCITY, WIDTH
from .told import Tables, added_bits

BLENDED = 5  # widths from an edge to the last centre whose cell shows both sides


@dataclass(frozen=True)
class Outline:
    """A layered map in unit velocities (L,); depths (L - 1, W) in its own cells; cosines (L - 1, K) in native cells.

    Args:
        layers: those of the decoder.
        basis: (W, K) cosines at the map's columns.
    """

    values: NDArray[np.float64]
    depths: NDArray[np.int64]
    height: int
    cosines: NDArray[np.float64]
    layers: int
    basis: NDArray[np.float64]

    @property
    def scale(self) -> float:
        return float(np.ptp(self.values)) ** 2 * self.height * self.depths.shape[1]

    def rounded(self, step: float) -> NDArray[np.int64]:
        """The integers (N,) nearest, each told by its difference from the rounded one before it."""
        velocities = np.zeros(self.layers, dtype=np.int64)
        velocities[: len(self.values)] = np.diff(np.rint(self.values / (VELOCITY * step)), prepend=0.0)
        shapes = np.zeros((self.layers - 1, self.cosines.shape[1]), dtype=np.int64)
        shapes[: len(self.cosines)] = np.diff(np.rint(self.cosines / step), axis=0, prepend=0.0)
        return np.concatenate([velocities, shapes.ravel()])

    def halved(self, q: NDArray[np.int64], step: float) -> NDArray[np.int64]:
        """The integers (N,) that tell the same as some at a step do, in steps half as large."""
        return 2 * q

    def searched(self, q: NDArray[np.int64], tables: Tables, sweeps: int, price: float, gain: float) -> float:
        """Move integers (N,) in place; the squared error that they leave."""
        return float(
            _searched(
                q, self.values, self.depths, self.height, self.basis, tables, self.layers, sweeps, price, gain
            )
        )

    def centre(self, q: NDArray[np.int64], tables: Tables) -> None:
        """Nothing: curves are likeliest as they are."""

    def patched(
        self, q: NDArray[np.int64], step: float
    ) -> Iterator[tuple[NDArray[np.int64], float, "Outline"]]:
        """Nothing: layers have no patches."""
        return iter(())

    def again(self, q: NDArray[np.int64], step: float) -> None:
        """None: there is one way to look at layers without faults."""


@compiled
def _searched(
    q: Any,
    values: Any,
    depths: Any,
    height: int,
    basis: Any,
    tables: Any,
    layers: int,
    sweeps: int,
    price: float,
    gain: float,
) -> float:
    step, low, high = tables.step, tables.low, tables.high
    count, (width, waves) = len(values), basis.shape
    near = np.cumsum(q[:count]) * (VELOCITY * step)
    cell = NATIVE / height
    shift = basis * (step / cell)
    edge = BLENDED * WIDTH / cell
    curves = np.full((width, count - 1), -0.5)  # in the map's own cells, from the first one's centre
    for i in range(count - 1):
        for x in range(width):
            if i:
                curves[x, i] = curves[x, i - 1]
            for k in range(waves):
                curves[x, i] += q[layers + i * waves + k] * shift[x, k]
    off, new_off, column = np.zeros(width), np.zeros(width), np.zeros(count - 1)
    for x in range(width):
        off[x] = _column(values, depths[:, x], height, near, curves[x], edge)
    tried = near.copy()
    for _ in range(sweeps):
        worth = price + gain * off.sum()
        moved = False
        for i in range(2 * count - 1):
            of_values = i < count  # velocities first, then interfaces
            first = i if of_values else i - count
            last = count if of_values else count - 1
            for k in range(1 if of_values else waves):
                here = first if of_values else layers + first * waves + k
                after = here + (1 if of_values else waves)
                for sign in (-1, 1):
                    for alone in (False, True):  # those below move along, or are told apart by one less
                        if alone and first + 1 == last:
                            continue
                        new, other = q[here] + sign, q[after] - sign if alone else 0
                        if new < low[here] or new > high[here]:
                            continue
                        more = added_bits(tables, here, q[here], new)
                        if alone:
                            if other < low[after] or other > high[after]:
                                continue
                            more += added_bits(tables, after, q[after], other)
                        end = first + 1 if alone else last
                        added = 0.0
                        if of_values:
                            tried[first:end] += sign * VELOCITY * step
                            for x in range(width):
                                new_off[x] = _column(values, depths[:, x], height, tried, curves[x], edge)
                                added += new_off[x] - off[x]
                        else:
                            for x in range(width):
                                by = sign * shift[x, k]
                                new_off[x] = off[x]
                                if _rounds_alike(curves[x], by, first, end, edge):
                                    continue
                                column[:] = curves[x]
                                column[first:end] += by
                                new_off[x] = _column(values, depths[:, x], height, near, column, edge)
                                added += new_off[x] - off[x]
                        if added + worth * more < -1e-12:
                            q[here] = new
                            if alone:
                                q[after] = other
                            off[:] = new_off
                            moved = True
                            if of_values:
                                near[:] = tried
                            else:
                                for x in range(width):
                                    curves[x, first:end] += sign * shift[x, k]
                        elif of_values:
                            tried[:] = near
        if not moved:
            break
    return float(off.sum())


@inlined
def _rounds_alike(curves: Any, by: float, first: int, end: int, edge: float) -> bool:
    """Whether curves of a column may move, for all that its cells show."""
    for j in range(first, end):
        old, new = curves[j], curves[j] + by
        below = math.floor(old)
        if min(old, new) - below < edge or below + 1 - max(old, new) < edge:
            return False
    return True


@inlined
def _column(values: Any, depths: Any, height: int, near: Any, curves: Any, edge: float) -> float:
    """Squared error of a column: its layers against those of curves, each cell by its centre."""
    count = len(values)
    i, j, z, error = 0, 0, 0, 0.0
    below = _cells(curves[0], height) if count > 1 else height
    while z < height:
        while i < count - 1 and depths[i] <= z:
            i += 1
        while j < count - 1 and below <= z:
            j += 1
            below = _cells(curves[j], height) if j < count - 1 else height
        end = below if j < count - 1 else height
        if i < count - 1:
            end = min(end, depths[i])
        error += (end - z) * (values[i] - near[j]) ** 2
        z = end
    return error + _blended(values, depths, height, near, curves, edge)


@inlined
def _blended(values: Any, depths: Any, height: int, near: Any, curves: Any, edge: float) -> float:
    """What the cells whose centres lie within the width of an edge add to the squared error of a column."""
    count, more, above = len(values), 0.0, -math.inf
    for j in range(count - 1):
        z = round(curves[j])
        off = z - curves[j]
        if 0 <= z < height and abs(off) < edge and curves[j] > above:
            i = 0
            while i < count - 1 and depths[i] <= z:
                i += 1
            own, other = (near[j], near[j + 1]) if off < 0 else (near[j + 1], near[j])
            share = (other - own) / (1 + math.exp(abs(off) / edge * BLENDED))
            more += (own - values[i] + share) ** 2 - (own - values[i]) ** 2
        above = max(above, curves[j])
    return more


@inlined
def _cells(curve: float, height: int) -> int:
    """How many cell centres lie above a curve."""
    return max(0, min(height, math.ceil(curve)))

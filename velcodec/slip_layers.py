"""The layers of a stack whose rock slipped, drawn as its cells show them once they are led back.

cells of a stack, slips -> the column and depth that each is led back to -> the order of the layers -> interfaces, one
fold at several depths -> which layer each cell is drawn in
"""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import stacks
from .compiled import compiled
from .decoders.cosines import NATIVE
from .faulted_drawing import PAD
from .slips import led, led_back, normals_of
from .told import basis

ACROSS, DOWN = 25, 20  # cells that rock is shifted, at most
EVERY, ACROSS_EVERY = 3, 4  # cells down and across of which one shows how a shift does,
STRIDE = 2  # and shifts so many cells apart
SHOWN, PAST = 4, 3  # cells that show a column's layers, and columns past those, where layers are drawn
FREE = 0.1  # where they are not: how much of the error of cells that lead there goes
FARTHER = 0.002  # of error that a cell further must win
FEWEST = 6  # cells of a layer
ROWS = NATIVE + 2 * PAD

Slips: TypeAlias = NDArray[np.float64]  # (S, 5) as Faults has them


class Stack:
    """The cells (n,) of a stack, in every so many columns, and how well layers with some slips draw them.

    Attributes:
        x, z: columns and rows of the cells.
        sample: which of them show how a shift does.
    """

    def __init__(
        self,
        values: NDArray[np.float64],
        labels: NDArray[np.int64],
        cells: NDArray[np.bool_],
        whose: int,
        waves: int,
        layers: int,
        every: int = 1,
    ) -> None:
        """Of the plateaus (V,) of a map, which each cell (70, 70) is of, and which cells are the stack's.

        Args:
            whose: 1 of the block's stack, -1 of the other.
            waves: of an interface.
            layers: at most.
        """
        self.z, self.x = np.nonzero(cells & (np.arange(NATIVE) % every == 0))
        self.values, self.labels, self.whose, self.layers = values, labels[self.z, self.x], whose, layers
        self.across, self.spread = basis(NATIVE, waves), stacks.fold_spread(waves)
        self.sample = (self.z % EVERY == EVERY // 2) & (self.x % ACROSS_EVERY == 0)

    def __len__(self) -> int:
        return len(self.z)

    def beyond(self, angle: float, offset: float) -> NDArray[np.bool_]:
        """Which cells (n,) are beyond a line."""
        middle = NATIVE / 2 - 0.5
        out: NDArray[np.bool_] = (self.x - middle) * math.cos(angle) + (self.z - middle) * math.sin(
            angle
        ) > offset
        return out

    def errors(self, slips: Slips) -> NDArray[np.float64]:
        """The squared error of each cell (n,), 0 where it is of the layer drawn."""
        shapes = self.layers, self.across, self.spread
        out: NDArray[np.float64] = _errors(
            self.z, self.x, self.labels, self.values, slips, float(self.whose), *shapes
        )
        return out

    def error(self, slips: Slips) -> float:
        """That of all cells."""
        return float(self.errors(slips).sum())

    def won(
        self, slips: Slips, rest: NDArray[np.bool_], beyond: NDArray[np.bool_], errors: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """What each shift, STRIDE cells apart, down, then across, takes off the error of cells beyond a line.

        Args:
            rest: cells (n,) that show the layers there.
            beyond: cells (n,) that would be shifted.
            errors: of each cell (n,) as it is.
        """
        own = beyond & self.sample
        places = self.z[rest], self.x[rest], self.labels[rest]
        shifted = self.z[own], self.x[own], self.values[self.labels[own]], errors[own]
        shapes = self.layers, self.across, self.spread
        out: NDArray[np.float64] = _won(*places, *shifted, self.values, slips, float(self.whose), *shapes)
        return out


@compiled
def _layers(labels: Any, columns: Any, depths: Any, count: int, layers: int, across: Any, spread: Any) -> Any:
    """The labels of layers (n,) from the top, as cells (m,) show them, and in each column where they end (n - 1, W).

    That is a row, PAD rows over the map first.
    """
    often, mean = stacks.depths_of(labels, depths, count)
    most = np.sort(often)[-min(layers, count)]
    for k in range(count):
        if often[k] < max(most, FEWEST):
            mean[k] = math.inf
    order = np.argsort(mean)[: min((mean < math.inf).sum(), layers)]
    places = np.full(count, -1)
    for i in range(len(order)):
        places[order[i]] = i
    n = max(len(order) - 1, 0)
    target, low, high = np.empty((n, NATIVE)), np.empty((n, NATIVE)), np.empty((n, NATIVE))
    stacks.edges(places[labels], columns, depths, target, low, high)
    curves = stacks.parallel(target, low, high, across, spread) @ across.T
    ends = np.empty((n, NATIVE), np.int64)
    for x in range(NATIVE):
        start = 0
        for i in range(n):
            start = min(max(int(math.ceil(curves[i, x] - 0.5)) + PAD, start), ROWS)
            ends[i, x] = start
    return order, ends


@compiled
def _errors(
    z: Any, x: Any, labels: Any, values: Any, slips: Any, side: float, layers: int, across: Any, spread: Any
) -> Any:
    """The squared error (n,) of cells of a stack as layers with slips draw them; 0 where it is too small for layers."""
    columns, depths = led_back(z, x, slips, side)
    order, ends = _layers(labels, columns, depths, len(values), layers, across, spread)
    out = np.zeros(len(z))
    for k in range(len(z) if len(order) else 0):
        row, i = int(math.floor(depths[k])) + PAD, 0
        while i < len(ends) and row >= ends[i, columns[k]]:
            i += 1
        if order[i] != labels[k]:
            out[k] = (values[order[i]] - values[labels[k]]) ** 2
    return out


@compiled
def _won(
    z: Any, x: Any, labels: Any, own_z: Any, own_x: Any, own: Any, errors: Any, values: Any, slips: Any, side: float,
    layers: int, across: Any, spread: Any,
) -> Any:  # fmt: skip
    """What each shift takes off the error of some cells, of velocities and errors (m,), as others (n,) show layers."""
    columns, depths = led_back(z, x, slips, side)
    order, ends = _layers(labels, columns, depths, len(values), layers, across, spread)
    drawn = _drawn(columns, order, ends, values, slips, side)
    reach, depth = ACROSS // STRIDE, DOWN // STRIDE
    upwards = np.zeros((2 * reach + 1, 2 * depth + 1))  # by shifts across, then up
    for c in range(len(own)):
        base = own_z[c] + DOWN
        for i in range(2 * reach + 1):
            column = min(max(own_x[c] - STRIDE * (i - reach), 0), NATIVE - 1)
            for k in range(2 * depth + 1):
                there = drawn[base % STRIDE, column, base // STRIDE - depth + k]
                gain = errors[c] - (there - own[c]) ** 2
                upwards[i, k] += FREE * errors[c] if math.isnan(there) else gain
    won = np.empty((2 * depth + 1, 2 * reach + 1))
    for i in range(2 * reach + 1):
        for k in range(2 * depth + 1):
            farther = FARTHER * STRIDE * (abs(i - reach) + abs(k - depth))
            won[k, i] = upwards[i, 2 * depth - k] - farther
    return won


@compiled
def _drawn(columns: Any, order: Any, ends: Any, values: Any, slips: Any, side: float) -> Any:
    """Velocities (STRIDE, W, (DOWN + H + DOWN) / STRIDE) that layers, moved by slips, have on a map, over and under it.

    A row's remainder comes first. NaN where none of the columns that show the layers is near.
    """
    shown, near = np.zeros(NATIVE, np.int64), np.zeros(NATIVE, np.bool_)
    for column in columns:
        shown[column] += 1
    for x in range(NATIVE):
        if shown[x] >= SHOWN:
            near[max(x - PAST, 0) : x + PAST + 1] = True
    out, middle = np.full((STRIDE, NATIVE, (NATIVE + 2 * DOWN) // STRIDE), math.nan), NATIVE / 2
    normals = normals_of(slips)
    for x in range(NATIVE if len(order) else 0):
        for z in range(NATIVE + 2 * DOWN):
            px, pz = led(x + 0.5 - middle, z - DOWN + 0.5 - middle, slips, normals, side)
            column, row, i = int(px + middle), int(math.floor(pz + middle)) + PAD, 0
            if near[column]:
                while i < len(ends) and row >= ends[i, column]:
                    i += 1
                out[z % STRIDE, x, z // STRIDE] = values[order[i]]
    return out

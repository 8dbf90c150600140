"""Patches of a faulted latent: trapezia of one velocity over what layers and faults leave wrong, found one by one.

map, as drawn so far -> regions of one velocity that are drawn wrong -> the trapezium over each that takes most error
off, its numbers moved while that grows -> the best one drawn -> the next

A decoder's numbers tell them; here a patch is those numbers (7,) as integers of `cell` cells, its corner by itself.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .decoders import faulted, trapezia
from .decoders.cosines import NATIVE
from .faulted_drawing import FAR, soft

REGIONS = 5  # that are tried for each patch, those of most error
WRONG = 0.03  # of the map's range: cells less wrong than this are not
ALIKE = 0.03  # of the range: cells next to each other, of one region
SMALL = 0.3  # of the error of the region with most: smaller ones are not tried
STRIDES = (4, 2, 1)  # integers that a patch's sides are moved by, in turn
TURNS = 24  # at each, at most
SWEEPS = 6  # over its numbers then, at most
LEAST = 1e-12  # of error that a move is made for
OVERLAP = 0.01  # of a cell, that two patches share


class Patch(NamedTuple):
    """A patch of a map.

    Attributes:
        numbers: its integers (7,).
        share: how much of each cell (H, W) of the map is its.
        error: squared, of the map with it and those before.
    """

    numbers: NDArray[np.int64]
    share: NDArray[np.float64]
    error: float


def found(
    v: NDArray[np.float64], drawn: NDArray[np.float64], width: float, cell: float, most: int
) -> Iterator[Patch]:
    """Patches for a map (H, W) over what is drawn of it, each the one that takes most error off.

    Args:
        width: of edges, cells, as the decoder has it.
        cell: cells that an integer is.
        most: patches.
    """
    now, span = drawn.copy(), float(np.ptp(v))
    for _ in range(most):
        numbers = _best(v, now, WRONG * span, ALIKE * span, cell)
        if not numbers[trapezia.LENGTH]:
            return
        _polished(v, now, numbers, width, cell)
        share = cover(numbers, width, cell, len(v))
        now += share * (_velocity(numbers, cell) - now)
        yield Patch(numbers, share, float(((now - v) ** 2).sum()))


def insert(order: list[Patch], patch: Patch) -> None:
    """Insert a patch that is drawn over those of a list, in place, in order of their corners: that takes fewer bits.

    Of those that overlap the order stays.
    """
    at = len(order)
    while at and order[at - 1].numbers[trapezia.ACROSS] > patch.numbers[trapezia.ACROSS]:
        if ((order[at - 1].share > OVERLAP) & (patch.share > OVERLAP)).any():
            break
        at -= 1
    order.insert(at, patch)


def in_order(drawn: Sequence[Patch]) -> list[Patch]:
    """Patches that are drawn one after the other in the order of their corners."""
    order: list[Patch] = []
    for patch in drawn:
        insert(order, patch)
    return order


def as_told(order: Sequence[Patch], places: int) -> NDArray[np.int64]:
    """The integers (7 places,) of a latent that tell patches in an order."""
    out = np.zeros((places, trapezia.PATCH), np.int64)
    if order:
        out[: len(order)] = [patch.numbers for patch in order]
        out[: len(order), trapezia.ACROSS] = np.diff(out[: len(order), trapezia.ACROSS], prepend=0)
    return out.ravel()


@inlined
def _velocity(numbers: Any, cell: float) -> float:
    return float(numbers[trapezia.VALUE] * cell * faulted.VELOCITY)


@compiled
def cover(numbers: Any, width: float, cell: float, side: int) -> Any:
    """How much of each cell (side, side) of a map is a patch's."""
    out = np.zeros((side, side))
    turned, length = numbers[trapezia.LENGTH] < 0, abs(numbers[trapezia.LENGTH]) * cell
    first, top = numbers[trapezia.ACROSS] * cell, numbers[trapezia.DOWN] * cell
    if turned:
        first, top = top, first
    height, other = numbers[trapezia.HEIGHT] * cell, numbers[trapezia.OTHER_HEIGHT] * cell
    tilt, unit = numbers[trapezia.TILT] * cell, NATIVE / side
    for i in range(side):
        a = (i + 0.5) * unit - first
        ends = soft(a / width) * soft((length - a) / width)
        if ends < 1e-9:
            continue
        part = a / length
        from_top = top + tilt * part
        to = from_top + height + (other - height) * part
        for j in range(side):
            b = (j + 0.5) * unit
            if from_top - b > FAR * width or b - to > FAR * width:
                continue
            share = ends * soft((b - from_top) / width) * soft((to - b) / width)
            if turned:
                out[i, j] = share
            else:
                out[j, i] = share
    return out


@compiled
def _best(v: Any, now: Any, wrong: float, alike: float, cell: float) -> Any:
    """The numbers (7,) of the patch that takes most error off, were its edges crisp; 0 where none takes any."""
    side = len(v)
    numbers, best = np.zeros(trapezia.PATCH, np.int64), 0.0
    labels, sums, count = _regions(v, now, wrong, alike)
    if count == 0:
        return numbers
    order = np.argsort(-sums[:count])
    gains, box, trial = np.zeros((side, side + 1)), np.empty((2, side), np.int64), np.empty(6, np.int64)
    for k in order[:REGIONS]:
        if sums[k] < SMALL * sums[order[0]]:
            break
        own = np.empty(side * side)
        n = 0
        for z in range(side):
            for x in range(side):
                if labels[z, x] == k:
                    own[n] = v[z, x]
                    n += 1
        value = int(round(np.median(own[:n]) / (cell * faulted.VELOCITY)))
        velocity = value * cell * faulted.VELOCITY
        for turned in range(2):
            for i in range(side):
                box[0, i], box[1, i] = side, -1
                for j in range(side):
                    z, x = (i, j) if turned else (j, i)
                    gain = (now[z, x] - v[z, x]) ** 2 - (velocity - v[z, x]) ** 2
                    gains[i, j + 1] = gains[i, j] + gain
                    if labels[z, x] == k:
                        box[0, i], box[1, i] = min(box[0, i], j), j
            for fitted in range(2):
                _start(box, bool(fitted), cell, trial)
                won = _moved(gains, cell, trial)
                if won > best:
                    best = won
                    numbers[trapezia.LENGTH] = -trial[1] if turned else trial[1]
                    numbers[trapezia.ACROSS] = trial[2] if turned else trial[0]
                    numbers[trapezia.DOWN] = trial[0] if turned else trial[2]
                    numbers[trapezia.HEIGHT], numbers[trapezia.OTHER_HEIGHT] = trial[3], trial[4]
                    numbers[trapezia.TILT], numbers[trapezia.VALUE] = trial[5], value
    return numbers


@compiled
def _polished(v: Any, now: Any, numbers: Any, width: float, cell: float) -> None:
    """Move the numbers of a patch, in place, one by one, while the map drawn with its edges as they are gets better."""
    best = _added(v, now, numbers, width, cell)
    for _ in range(SWEEPS):
        better = False
        for k in range(len(numbers)):
            for sign in (-1, 1):
                numbers[k] += sign
                added = math.inf if numbers[trapezia.LENGTH] == 0 else _added(v, now, numbers, width, cell)
                if added < best - LEAST:
                    best, better = added, True
                else:
                    numbers[k] -= sign
        if not better:
            return


@compiled
def _added(v: Any, now: Any, numbers: Any, width: float, cell: float) -> float:
    """Squared error that a patch adds."""
    share, velocity, total = cover(numbers, width, cell, len(v)), _velocity(numbers, cell), 0.0
    for z in range(len(v)):
        for x in range(len(v)):
            if share[z, x] != 0:
                off = now[z, x] - v[z, x]
                total += (off + share[z, x] * (velocity - now[z, x])) ** 2 - off**2
    return total


@compiled
def _regions(v: Any, now: Any, wrong: float, alike: float) -> Any:
    """Regions of cells drawn wrong, neighbours of one velocity: labels (H, W), -1 of none; their errors, how many."""
    side = len(v)
    labels = np.full((side, side), -1, np.int64)
    sums, count = np.zeros(side * side), 0
    stack = np.empty((side * side, 2), np.int64)
    for z in range(side):
        for x in range(side):
            if labels[z, x] >= 0 or abs(now[z, x] - v[z, x]) < wrong:
                continue
            labels[z, x], stack[0, 0], stack[0, 1], n = count, z, x, 1
            while n:
                n -= 1
                i, j = stack[n]
                sums[count] += (now[i, j] - v[i, j]) ** 2
                for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                    if not (0 <= a < side and 0 <= b < side) or labels[a, b] >= 0:
                        continue
                    if abs(now[a, b] - v[a, b]) >= wrong and abs(v[a, b] - v[i, j]) <= alike:
                        labels[a, b], stack[n, 0], stack[n, 1] = count, a, b
                        n += 1
            count += 1
    return labels, sums, count


@inlined
def _start(box: Any, fitted: bool, cell: float, trial: Any) -> None:
    """A trapezium (first, length, top, height, other height, tilt) about a region, whose cells of each column box has.

    Fitted: between the lines of least squares of its tops and of its bottoms.
    """
    first, last, high, low = len(box[0]), -1, len(box[0]), -1
    n, sx, sxx, s, sx_of = 0.0, 0.0, 0.0, np.zeros(2), np.zeros(2)
    for i in range(len(box[0])):
        if box[1, i] < 0:
            continue
        first, last = min(first, i), i
        high, low = min(high, box[0, i]), max(low, box[1, i])
        at = i + 0.5
        n, sx, sxx = n + 1, sx + at, sxx + at * at
        for e in range(2):
            s[e] += box[e, i] + e
            sx_of[e] += (box[e, i] + e) * at
    trial[0], trial[1] = int(round(first / cell)), int(round((last + 1 - first) / cell))
    spread = n * sxx - sx * sx
    if not fitted or spread < 1:
        trial[2], trial[3] = int(round(high / cell)), int(round((low + 1 - high) / cell))
        trial[4], trial[5] = trial[3], 0
        return
    ends = np.empty((2, 2))
    for e in range(2):
        slope = (n * sx_of[e] - sx * s[e]) / spread
        for k in range(2):
            ends[e, k] = s[e] / n + slope * ((last + 1 if k else first) - sx / n)
    trial[2], trial[5] = int(round(ends[0, 0] / cell)), int(round((ends[0, 1] - ends[0, 0]) / cell))
    trial[3] = int(round((ends[1, 0] - ends[0, 0]) / cell))
    trial[4] = int(round((ends[1, 1] - ends[0, 1]) / cell))


@compiled
def _moved(gains: Any, cell: float, trial: Any) -> float:
    """Move a trapezium, in place, while it takes more error off; how much that is."""
    best, other = _gain(gains, cell, trial), np.empty(6, np.int64)
    for stride in STRIDES:
        for _ in range(TURNS):
            better = False
            for move in range(len(MOVES)):
                for sign in (-1, 1):
                    for i in range(6):
                        other[i] = trial[i] + sign * stride * MOVES[move, i]
                    if other[1] < 1:
                        continue
                    won = _gain(gains, cell, other)
                    if won > best + LEAST:
                        best, better = won, True
                        trial[:] = other
            if not better:
                break
    return best


# Of first, length, top, height, other height, tilt: a side, a corner, all of it.
MOVES = np.array(
    [
        [0, 1, 0, 0, 0, 0],
        [1, -1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 1, -1, -1, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 1, -1, 0, -1],
        [0, 0, 0, 0, -1, 1],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 1, 0, 0, -1],
    ]
)


@compiled
def _gain(gains: Any, cell: float, trial: Any) -> float:
    """Error that a trapezium takes off, of running sums (W, H + 1) down each column; edges are crisp."""
    side = len(gains)
    first, length = trial[0] * cell, trial[1] * cell
    total = 0.0
    for i in range(max(int(math.ceil(first - 0.5)), 0), min(int(math.ceil(first + length - 0.5)), side)):
        part = (i + 0.5 - first) / length
        top = (trial[2] + trial[5] * part) * cell
        bottom = top + (trial[3] + (trial[4] - trial[3]) * part) * cell
        j, k = min(max(int(math.ceil(top - 0.5)), 0), side), min(max(int(math.ceil(bottom - 0.5)), 0), side)
        if k > j:
            total += gains[i, k] - gains[i, j]
    return total

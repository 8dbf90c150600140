"""A map -> layers with smoothed edges that draw it within an error, in few bits.

    plateaus -> which layer each sample is of -> one order of layers for all columns -> depths in parts of a cell,
    moved one by one while that lowers  squared error + price x bits

The bits are guessed from the course of an interface, not coded: what comes out is coded once, by layers.py.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .layers import Layered
from .soft import Soft, draw, native

MAX_LAYERS = 12  # of a map that is looked at
PLATEAU = 3  # samples with neighbours of their own value that make it a layer's
ON_PLATEAUS = 0.4  # of the samples that are such ones, at least
REACH = 8.0  # cells from a sample to the layers that it may be of
SWEEPS = 12  # over all interfaces and columns
NEAR = 4  # columns from one that moves to the last whose best depth that may change
PRICES = (0.3, 0.1, 0.03, 0.01, 0.004, 0.0015)  # of a bit, as shares of the squared error that is allowed
LONGEST = 1024  # steps of a course whose bits are told apart
COURSE_BITS = np.append(0.25, 2.0 + 2.0 * np.log2(np.arange(1, LONGEST + 1)))
SLOW = 3  # place in PRICES of one that says that finer parts may take fewer bits


def outlines(m: NDArray[Any]) -> list[Layered]:
    """Layers of a map (H, W) to begin a search with: none, or one or two ways to see them.

    A sample equal to all its neighbours is inside a layer. Any other belongs to the layer that has the nearest such
    sample, or else to that of the nearest value among the layers no further away than REACH.
    """
    from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter

    same = maximum_filter(m, 3, mode="nearest") == minimum_filter(m, 3, mode="nearest")
    values, counts = np.unique(m[same], return_counts=True)
    many = counts >= PLATEAU
    if not 2 <= many.sum() <= MAX_LAYERS or counts.sum() < ON_PLATEAUS * m.size:
        return []
    values = values[many]
    away = np.stack([distance_transform_edt(~(same & (m == v))) for v in values])
    off = np.abs(m - values[:, None, None])
    labels = [away.argmin(axis=0), np.where(away <= REACH, off, np.inf).argmin(axis=0)]
    if np.array_equal(*labels):
        labels.pop()
    found = [_in_order(values, own) for own in labels]
    return [own for own in found if own is not None]


def _in_order(values: NDArray[Any], labels: NDArray[Any]) -> Layered | None:
    """Layers of values (V,) as labels (H, W) put them; None where no one order of few does for all columns."""
    order = _common_order(labels)
    if order is None:
        return None
    depths = np.zeros((len(order) - 1, labels.shape[1]), dtype=np.int64)
    _embed(labels.astype(np.int64), order, depths)
    return Layered(values[order], depths)


def _common_order(labels: NDArray[Any]) -> NDArray[np.int64] | None:
    """A short order of labels (H, W), some perhaps more than once, of which every column has a part; None: too long."""
    seen: dict[tuple[int, ...], int] = {}
    begins = np.ones(labels.shape, bool)
    begins[1:] = labels[1:] != labels[:-1]
    for column, first in zip(labels.T, begins.T, strict=True):
        runs = tuple(column[first].tolist())
        seen[runs] = seen.get(runs, 0) + 1
    order: list[int] = []
    for runs in sorted(seen, key=lambda runs: (-seen[runs], runs)):
        order = _supersequence(order, list(runs))
        if len(order) > MAX_LAYERS:
            return None
    return np.array(order, dtype=np.int64)


def _supersequence(a: list[int], b: list[int]) -> list[int]:
    """A shortest sequence that has both among its parts."""
    common = np.zeros((len(a) + 1, len(b) + 1), dtype=np.int64)
    for i in reversed(range(len(a))):
        for j in reversed(range(len(b))):
            same = a[i] == b[j]
            common[i, j] = 1 + common[i + 1, j + 1] if same else max(common[i + 1, j], common[i, j + 1])
    out, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            out.append(a[i])
            i, j = i + 1, j + 1
        elif common[i + 1, j] >= common[i, j + 1]:
            out.append(a[i])
            i += 1
        else:
            out.append(b[j])
            j += 1
    return out + a[i:] + b[j:]


@compiled
def _embed(labels: Any, order: Any, depths: Any) -> None:
    """Fill in depths (L - 1, W): each column's runs as layers of the order, nearest to the column on the left."""
    height, width = labels.shape
    count = len(order)
    ends = np.zeros(height + 1, np.int64)
    runs = np.zeros(height + 1, np.int64)
    cost = np.zeros((height + 1, count))
    back = np.zeros((height + 1, count), np.int64)
    for x in range(width):
        n = 0
        for z in range(height):
            if z + 1 == height or labels[z + 1, x] != labels[z, x]:
                runs[n], ends[n] = labels[z, x], z + 1
                n += 1
        for r in range(n):
            start = ends[r - 1] if r else 0
            for k in range(count):
                cost[r, k] = np.inf
                if order[k] != runs[r]:
                    continue
                if r == 0:
                    total = 0.0
                    for i in range(k):
                        total += abs(depths[i, x - 1]) if x else 0.0
                    cost[r, k] = total
                    continue
                for before in range(k):
                    if cost[r - 1, before] == np.inf:
                        continue
                    total = cost[r - 1, before]
                    for i in range(before, k):
                        total += abs(start - depths[i, x - 1]) if x else 0.0
                    if total < cost[r, k]:
                        cost[r, k], back[r, k] = total, before
        best, last = np.inf, count - 1
        for k in range(count):
            total = cost[n - 1, k]
            for i in range(k, count - 1):
                total += abs(height - depths[i, x - 1]) if x else 0.0
            if total < best:
                best, last = total, k
        depths[last:, x] = height
        for r in range(n - 1, 0, -1):
            before = back[r, last]
            depths[before:last, x] = ends[r - 1]
            last = before
        depths[:last, x] = 0


def cheapest(
    m: NDArray[np.float64], start: Layered, allowed: float, parts: Sequence[tuple[int, int]]
) -> tuple[Soft, float] | None:
    """The layers that draw a map (H, W) within a squared error, summed, in the fewest bits that some tries come to.

    Args:
        start: where the search begins: depths in cells, values as they will read back.
        parts: of a cell that depths may be given in, coarse to fine.

    Returns:
        The layers, and an estimate of the bits of their depths; None where no try keeps the error.
    """
    best: tuple[Soft, float] | None = None
    for own in parts:
        kept: tuple[Soft, float] | None = None
        dear, cheap = 0, len(PRICES)
        while dear < cheap:  # the highest price that keeps the error
            place = (dear + cheap) // 2
            found, bits, error = _fitted(m, start, own, PRICES[place] * allowed)
            if error <= allowed:
                kept, cheap = (found, bits), place
            else:
                dear = place + 1
        if kept is not None:
            if best is not None and kept[1] >= best[1]:
                return best
            best = kept
            if cheap < SLOW:
                return best
    return best


def _fitted(
    m: NDArray[np.float64], start: Layered, parts: tuple[int, int], price: float
) -> tuple[Soft, float, float]:
    """Depths in parts of a cell that draw a map best for their bits, at a price in squared units; bits, and error."""
    down, across = parts
    depths = (start.depths * down).repeat(across, axis=1)
    found = Soft(Layered(start.values, depths), parts)
    off = draw(found, len(m)) - m
    steps, shares = _steps(len(m), down), _shares(m.shape[1], across)
    bits, error = _descend(off, depths, np.diff(start.values), steps, shares, down, across, price)
    return found, bits, error


@lru_cache(maxsize=16)
def _steps(height: int, parts: int) -> NDArray[np.float64]:
    """How a unit step at each depth 0 .. H parts reads in every row: (H parts + 1, H)."""
    fine = (np.arange(height * parts)[:, None] >= np.arange(height * parts + 1)).astype(np.float64)
    return np.ascontiguousarray(native(fine, parts).T)


@lru_cache(maxsize=16)
def _shares(width: int, parts: int) -> NDArray[np.float64]:
    """The share that each of W parts columns has of each native one: (W parts, W)."""
    return np.ascontiguousarray(native(np.eye(width * parts), parts).T)


@inlined
def _course_bits(step: int) -> float:
    """About the bits of an interface that goes elsewhere than thought."""
    return COURSE_BITS[min(abs(step), LONGEST)]


@inlined
def _bits(depths: Any, i: int, x: int) -> float:
    """About the bits of the depth of an interface in a column: level, straight on, or as the one above goes."""
    if x == 0:
        return 6.0
    own = depths[i, x] - depths[i, x - 1]
    least = _course_bits(own)
    if x > 1:
        least = min(least, 0.3 + _course_bits(own - depths[i, x - 1] + depths[i, x - 2]))
    if i > 0:
        least = min(least, 0.3 + _course_bits(own - depths[i - 1, x] + depths[i - 1, x - 1]))
    return least


@inlined
def _bits_near(depths: Any, i: int, j: int, x: int) -> float:
    """About the bits that hang on the depths of interfaces i .. j in a column."""
    total = 0.0
    for k in range(i, min(j + 2, len(depths))):
        for at in range(x, min(x + 3, depths.shape[1])):
            total += _bits(depths, k, at)
    return total


@inlined
def _least_bits(depths: Any, i: int, j: int, x: int) -> float:
    """What _bits_near can at least be."""
    count, width = depths.shape
    return 0.25 * (min(j + 2, count) - i) * (min(x + 3, width) - x)


@inlined
def _error_near(off: Any, z: int, x: int) -> float:
    """The squared error about a cell, within the reach of a depth that moves by a cell or so."""
    total = 0.0
    for row in range(max(z - 4, 0), min(z + 5, off.shape[0])):
        for at in range(max(x - 1, 0), min(x + 2, off.shape[1])):
            total += off[row, at] ** 2
    return total


@compiled
def _descend(
    off: Any, depths: Any, jumps: Any, steps: Any, shares: Any, down: int, across: int, price: float
) -> tuple[float, float]:
    """Move depths, one column of one interface (or of some at one depth) at a time, while that lowers the cost.

    `off` (H, W) is what is drawn less the map.
    """
    height = len(off)
    count, width = depths.shape
    candidates = np.zeros(10, np.int64)
    stir = np.zeros(width, np.int64)  # the last sweep in which a column, or one near it, moved
    for sweep in range(1, SWEEPS + 1):
        moved = 0
        for x in range(width):
            if stir[x] < sweep - 1:
                continue
            for i in range(count):
                for j in range(i, count):
                    if depths[j, x] != depths[i, x]:
                        break
                    before = depths[i, x]
                    low = depths[i - 1, x] if i > 0 else 0
                    high = depths[j + 1, x] if j + 1 < count else height * down
                    for k, away in enumerate((-1, 1, -2, 2, -down, down)):
                        candidates[k] = before + away
                    candidates[6] = depths[i, max(x - 1, 0)]
                    candidates[7] = depths[i, min(x + 1, width - 1)]
                    candidates[8], candidates[9] = low, high
                    jump = jumps[i : j + 1].sum()
                    now = _bits_near(depths, i, j, x)
                    if _error_near(off, before // down, x // across) < price * (
                        _least_bits(depths, i, j, x) - now + 0.1
                    ):
                        continue  # even if all of it went, and all bits that may
                    best, taken = -1e-9, before
                    for d in candidates:
                        if d == before or d < low or d > high:
                            continue
                        gain = _moved(off, jump, steps, shares, x, before, int(d), down, across, False)
                        if gain > best + price * now:
                            continue
                        depths[i : j + 1, x] = d
                        gain += price * (_bits_near(depths, i, j, x) - now)
                        depths[i : j + 1, x] = before
                        if gain < best:
                            best, taken = gain, int(d)
                    if taken != before:
                        depths[i : j + 1, x] = taken
                        _moved(off, jump, steps, shares, x, before, int(taken), down, across, True)
                        stir[max(x - NEAR, 0) : x + NEAR + 1] = sweep
                        moved += 1
        if not moved:
            break
    bits = 0.0
    for i in range(count):
        for x in range(width):
            bits += _bits(depths, i, x)
    return bits, (off**2).sum()


@inlined
def _moved(
    off: Any,
    jump: float,
    steps: Any,
    shares: Any,
    x: int,
    before: int,
    after: int,
    down: int,
    across: int,
    really: bool,
) -> float:
    """What moving interfaces of a column, of a jump together, does to the squared error; done only if `really`."""
    height, width = off.shape
    top = max(min(before, after) // down - 3, 0)
    bottom = min(max(before, after) // down + 4, height)
    cell = x // across
    total = 0.0
    for z in range(top, bottom):
        change = jump * (steps[after, z] - steps[before, z])
        if change == 0:
            continue
        for at in range(max(cell - 1, 0), min(cell + 2, width)):
            new = off[z, at] + shares[x, at] * change
            total += new * new - off[z, at] ** 2
            if really:
                off[z, at] = new
    return total

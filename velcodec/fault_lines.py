"""Lines of a map of plateaus that may be faults: those that many borders lie on, and how its two sides match.

Hough, "Method and means for recognizing complex patterns", US patent 3069654, 1962, with the normal form of a line of
Duda and Hart, 1972.
"""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .decoders.cosines import NATIVE
from .faults import TURN, Faults, cells_beyond
from .grid import centres

STEEPEST = 80  # degrees between a line and the vertical
ANGLES = np.deg2rad(np.arange(-STEEPEST, STEEPEST + 1, 2.5))
OFFSETS = np.arange(-45.0, 45.5, 0.5)  # cells from the middle
CANDIDATES = 12  # lines that are looked at for each
SHORTEST = 2.5  # cells of border that a line has at least
APART = (3, 4)  # steps of angle and of offset between one line and the next
MIXED = 0.1  # cells of border that a cell on the wrong side takes off a line between two stacks
TORN = 0.05  # of the cells, on the wrong side, at most
BESIDE = 1.5  # cells from a line to those on its sides
TRACES = 4  # lines, at most, that cells lie on,
TRACE = 10  # each so many at least,
ON_TRACE = 1.6  # so many cells from it at most
SHIFTS = 2  # of each line that are tried
UNLIKE = 0.5  # of a cell that matches, what one that does not takes off

Lines: TypeAlias = list[tuple[float, float, float]]


def candidates(
    v: NDArray[np.float64], skip: NDArray[np.bool_] | None = None, most: int = CANDIDATES
) -> Lines:
    """Lines of a map (70, 70) as (angle, offset, cells of border on it), the longest first.

    Args:
        skip: cells (70, 70) whose borders with those right of and under them count for nothing.
        most: lines.
    """
    skip = np.zeros(v.shape, np.bool_) if skip is None else skip
    found = np.zeros((len(ANGLES), len(OFFSETS)))
    _hough(v, ANGLES, OFFSETS, skip, found)
    out = []
    for _ in range(most):
        a, b = np.unravel_index(found.argmax(), found.shape)
        if found[a, b] < SHORTEST:
            break
        out.append((float(ANGLES[a]), float(OFFSETS[b]), float(found[a, b])))
        found[max(0, a - APART[0]) : a + APART[0] + 1, max(0, b - APART[1]) : b + APART[1] + 1] = 0
    return out


def beside(line: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The cells (70, 70) next to a line."""
    near: NDArray[np.bool_] = np.abs(cells_beyond(line)) < BESIDE
    return near


def traced(cells: NDArray[np.bool_]) -> Lines:
    """Lines as (angle, offset, cells on it) that some cells (70, 70) of a map lie on, those of most cells first."""
    places = centres(NATIVE) * (NATIVE / 2)
    z, x = (places[i] for i in np.nonzero(cells))
    out: Lines = []
    while len(x) >= TRACE and len(out) < TRACES:
        found = np.zeros((len(ANGLES), len(OFFSETS)), np.int64)
        _near(x, z, ANGLES, OFFSETS, ON_TRACE, found)
        a, b = np.unravel_index(found.argmax(), found.shape)
        if found[a, b] < TRACE:
            break
        angle, offset = float(ANGLES[a]), float(OFFSETS[b])
        for _ in range(2):  # the line of least squares of the cells on it
            on = np.abs(x * math.cos(angle) + z * math.sin(angle) - offset) < ON_TRACE
            own = np.stack([x[on], z[on]])
            normal = np.linalg.eigh(np.cov(own))[1][:, 0]
            normal = normal if normal[0] >= 0 else -normal
            angle, offset = math.atan2(normal[1], normal[0]), float(normal @ own.mean(axis=1))
        out.append((angle, offset, float(on.sum())))
        rest = np.abs(x * math.cos(angle) + z * math.sin(angle) - offset) > 2 * ON_TRACE
        x, z = x[rest], z[rest]
    return out


def between_stacks(labels: NDArray[np.int64], lines: Lines) -> NDArray[np.float64] | None:
    """The line, of some, with other velocities on each side; None where there is none such."""
    best, line = 0.0, None
    for angle, offset, length in lines:
        torn, least = _torn(labels, int(labels.max()) + 1, angle, offset)
        if torn < TORN * labels.size and least >= 2 and length - MIXED * torn > best:
            best, line = length - MIXED * torn, np.array([angle, offset])
    return line


def settled(labels: NDArray[np.int64], line: NDArray[np.float64]) -> NDArray[np.float64]:
    """A line between two stacks, moved while fewer cells are on the side of the other one."""
    line, count = line.copy(), int(labels.max()) + 1
    least = _torn(labels, count, *line)[0]
    for by in (1.0, 0.5, 0.25, 0.125):
        moved = True
        while moved:
            moved = False
            for k, unit in enumerate((TURN, 1.0)):
                for sign in (-1, 1):
                    line[k] += sign * by * unit
                    now = _torn(labels, count, *line)[0]
                    if now < least:
                        least, moved = now, True
                    else:
                        line[k] -= sign * by * unit
    return line


def matches(
    v: NDArray[np.float64], f: Faults, line: NDArray[np.float64], reach: int
) -> list[tuple[float, float]]:
    """Shifts beyond a line with which its sides match, (how much better they do than unshifted, cells): the best few.

    Args:
        f: the faults that there are already.
        reach: cells, at most.
    """
    inside, shift = f.sides()
    found = np.zeros(2 * reach + 1)
    _match(v, inside if f.two else np.zeros_like(inside), shift, line[0], line[1], reach, found)
    gains = found - found[reach]
    best = np.flatnonzero((gains[1:-1] >= gains[:-2]) & (gains[1:-1] >= gains[2:]) & (gains[1:-1] > 0)) + 1
    best = best[np.argsort(-gains[best])][:SHIFTS]
    return [(float(gains[k]), float(k - reach)) for k in best]


@compiled
def _hough(v: Any, angles: Any, offsets: Any, skip: Any, found: Any) -> None:
    """Cells of border along every line: the borders' lengths along it, shared between its neighbours."""
    height, width = v.shape
    first, step, count = offsets[0], offsets[1] - offsets[0], len(offsets)
    for a in range(len(angles)):
        across, down = math.cos(angles[a]), math.sin(angles[a])
        for z in range(height):
            for x in range(width):
                if skip[z, x]:
                    continue
                for upright in (True, False):
                    other_z, other_x = (z, x + 1) if upright else (z + 1, x)
                    if other_z >= height or other_x >= width or v[z, x] == v[other_z, other_x]:
                        continue
                    # The middle of the border, in cells from the middle of the map.
                    p = x + (1.0 if upright else 0.5) - width / 2
                    q = z + (0.5 if upright else 1.0) - height / 2
                    place = (p * across + q * down - first) / step
                    i = int(math.floor(place))
                    if 0 <= i < count - 1:
                        length = abs(across) if upright else abs(down)
                        found[a, i] += (1 - (place - i)) * length
                        found[a, i + 1] += (place - i) * length


@compiled
def _near(x: Any, z: Any, angles: Any, offsets: Any, reach: float, found: Any) -> None:
    """How many cells at x, z are within reach of every line."""
    step, last = offsets[1] - offsets[0], len(offsets) - 1
    for a in range(len(angles)):
        across, down = math.cos(angles[a]), math.sin(angles[a])
        for i in range(len(x)):
            off = x[i] * across + z[i] * down
            first = max(int((off - reach - offsets[0]) / step), 0)
            for b in range(first, min(int((off + reach - offsets[0]) / step) + 1, last) + 1):
                if abs(off - offsets[b]) < reach:
                    found[a, b] += 1


@compiled
def _torn(labels: Any, count: int, angle: float, offset: float) -> Any:
    """Cells on the side of a line where their label is the rarer; labels of the side that has fewer of them."""
    height, width = labels.shape
    sides = np.zeros((2, count))
    across, down = math.cos(angle), math.sin(angle)
    for z in range(height):
        for x in range(width):
            beyond = (x + 0.5 - width / 2) * across + (z + 0.5 - height / 2) * down > offset
            sides[1 if beyond else 0, labels[z, x]] += 1
    torn, here, there = 0.0, 0, 0
    for k in range(count):
        torn += min(sides[0, k], sides[1, k])
        if sides[0, k] > sides[1, k]:
            here += 1
        elif sides[1, k] > 0:
            there += 1
    return torn, min(here, there)


@compiled
def _match(v: Any, inside: Any, shift: Any, angle: float, offset: float, reach: int, found: Any) -> None:
    """Cells of a line where one side, and the other so much further down, are of one velocity, of each shift."""
    height, width = v.shape
    across, down = math.cos(angle), math.sin(angle)
    for k in range(-height, height):
        p = offset * across - k * down + width / 2
        q = offset * down + k * across + height / 2
        x, z = int(math.floor(p - BESIDE * across)), int(math.floor(q - BESIDE * down))
        other_x, other_z = int(math.floor(p + BESIDE * across)), int(math.floor(q + BESIDE * down))
        if min(x, other_x, z) < 0 or max(x, other_x) >= width or z >= height:
            continue
        for t in range(-reach, reach + 1):
            there = other_z + t
            if not 0 <= there < height or inside[there, other_x] != inside[z, x]:
                continue
            if shift[there, other_x] == shift[z, x]:
                found[t + reach] += 1.0 if v[there, other_x] == v[z, x] else -UNLIKE

"""A layered map <-> its interfaces and velocities <-> bytes, exactly. interfaces.py draws it on other grids.

    map -> layers from top to bottom, depth of every interface in every column -> adaptive models -> bytes

A map qualifies where its distinct values, each taken as one layer, have one order from top to bottom that all its
columns keep, or where values come back, but in few enough layers (repeated.py); a layer may be missing from any
column. Depths are coded interface by interface, each column predicted from the interface's own course and from the
interface above, on both sides of the column.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import adaptive, layer_models, repeated, residual
from .adaptive import BAD, byte_memory, code_byte, past_end
from .compiled import compiled
from .layer_models import MAX_LAYERS, SPEED, SPEED_1, code_depths, code_head, code_integers, code_patterns

MAX_DEPTHS = 1 << 28  # of a block, interfaces times columns


@dataclass(frozen=True)
class Layered:
    """A layered map: values (L,) from top to bottom, and depths (L - 1, W) int64, of 0..H cells above an interface.

    With a code, values are int64 in steps of that code (residual.py).
    """

    values: NDArray[Any]
    depths: NDArray[np.int64]
    code: int | None = None


def analyse(m: NDArray[Any]) -> Layered | None:
    """Interfaces and values of a map (H, W) of any dtype, compared bit for bit, or None where it is not layered."""
    bits = np.ascontiguousarray(m).view(f"u{m.dtype.itemsize}")
    # Few maps have many values: look at some columns before sorting them all.
    if len(np.unique(bits[:, :: max(1, m.shape[1] // 8)])) > MAX_LAYERS:
        return None
    patterns, labels = np.unique(bits, return_inverse=True)
    if len(patterns) > MAX_LAYERS:
        return None
    labels = labels.reshape(m.shape).astype(np.int64)
    order = np.empty(len(patterns), dtype=np.int64)
    depths = np.zeros((len(patterns) - 1, m.shape[1]), dtype=np.int64)
    if not _sort(labels, order, depths):
        found = repeated.ordered(labels)
        if found is None:
            return None
        order, depths = found
    return Layered(patterns[order].view(m.dtype), depths)


def in_steps(layers: Layered, steps: NDArray[np.int64], code: int) -> Layered:
    """A layered map with values (L,) in steps of a code in place of its own; neighbours that become equal are one."""
    differs = np.diff(steps) != 0
    return Layered(steps[np.append(differs, True)], layers.depths[differs], code)


@compiled
def _sort(labels: Any, order: Any, depths: Any) -> bool:
    """Fill in the labels from top to bottom and the interfaces' depths; False where columns disagree."""
    height, width = labels.shape
    count = len(order)
    above = np.zeros((count, count), np.bool_)
    depth, size = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for z in range(height):
        for x in range(width):
            a = labels[z, x]
            depth[a] += z
            size[a] += 1
            if z + 1 < height and labels[z + 1, x] != a:
                above[a, labels[z + 1, x]] = True
    rank = np.full(count, -1, np.int64)
    for k in range(count):
        best = -1
        for a in range(count):
            free = rank[a] < 0
            for b in range(count):
                free = free and not (rank[b] < 0 and above[b, a])
            if free and (best < 0 or depth[a] * size[best] < depth[best] * size[a]):
                best = a
        if best < 0:
            return False
        rank[best] = k
        order[k] = best
    for x in range(width):
        for z in range(height):
            for i in range(rank[labels[z, x]], count - 1):
                depths[i, x] += 1
    return True


def draw(layers: Layered, height: int) -> NDArray[Any]:
    """The map (H, W), bit for bit."""
    out: NDArray[Any] = layers.values[_places(layers.depths, height)]
    return out


@compiled
def _places(depths: Any, height: int) -> Any:
    """Which layer each sample (H, W) is of, from the depths (L - 1, W) of interfaces, each at or below the last."""
    count, width = depths.shape
    out = np.zeros((height, width), np.intp)
    for i in range(count):
        for x in range(width):
            for z in range(max(depths[i, x], 0), height):
                out[z, x] = i + 1
    return out


# Bytes


def encode(
    maps: list[Layered],
    heights: list[int],
    low: float,
    high: float,
    unit: float,
    scales: Sequence[int] | None = None,
) -> tuple[bytes, NDArray[np.float64]]:
    """Layered maps of some heights to a stream, and the bytes that each took of it (n,).

    Maps of different scales, small integers, have models of their own; all are of scale 0 unless said.
    """
    spent = np.zeros(len(maps) + 1)

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        models, head = _Models(3), byte_memory()
        for i, (m, height) in enumerate(zip(maps, heights, strict=True)):
            model = models.of(scales[i] if scales else 0)
            if m.code is not None:
                code_byte(io, buffer, head, m.code)
            floor, span = _range(low, high, unit, m.code)
            integers = _integers(m.values, floor, span)
            code_head(io, buffer, model, SPEED, len(m.values), int(integers is not None))
            if integers is not None:
                code_integers(io, buffer, model, SPEED, span, integers, 3)
            else:
                code_patterns(io, buffer, m.values.dtype.itemsize, _patterns(m.values))
            code_depths(io, buffer, model, SPEED, m.depths.copy(), height, 3)
            spent[i + 1] = adaptive.cost(io) / 8

    data = adaptive.write(code, 256 + sum(8 * len(m.values) + 2 * m.depths.size for m in maps))
    return data, np.diff(spent)


def decode(
    data: bytes,
    shapes: list[tuple[int, int]],
    stepped: list[bool],
    dtype: np.dtype[Any],
    low: float,
    high: float,
    unit: float,
    whole: bool = True,
    coder: int = 3,
    scales: Sequence[int] | None = None,
) -> list[Layered]:
    """A stream, whole or not, of models 1, 2 or 3 to its first maps, of some shapes (H, W) and scales, in steps or not.

    Raises FormatError where it does not hold them.
    """
    maps: list[Layered] = []
    speed = SPEED_1 if coder == 1 else SPEED

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        models, head = _Models(coder), byte_memory()
        room = MAX_DEPTHS
        for i, ((height, width), in_steps) in enumerate(zip(shapes, stepped, strict=True)):
            model = models.of(scales[i] if scales else 0)
            step_code = code_byte(io, buffer, head, 0) if in_steps else None
            floor, span = _range(low, high, unit, step_code)
            count, integers = code_head(io, buffer, model, speed, 1, 0)
            room -= (count - 1) * width
            if (integers and not span) or room < 0:
                io[BAD] = 1
            if io[BAD] or past_end(io, buffer):
                return
            kind = np.dtype(np.int64) if in_steps else dtype
            numbers = np.zeros(count, dtype=np.int64)
            if integers:
                code_integers(io, buffer, model, speed, span, numbers, coder)
                if io[BAD]:
                    return
                values = (numbers + floor).astype(kind)
            else:
                code_patterns(io, buffer, kind.itemsize, numbers)
                values = numbers.astype(f"u{kind.itemsize}").view(kind)
            depths = np.zeros((count - 1, width), dtype=np.int64)
            code_depths(io, buffer, model, speed, depths, height, coder)
            maps.append(Layered(values, depths, step_code))

    adaptive.read(code, data, whole)
    return maps


class _Models:
    """Adaptive models of the maps of each scale."""

    def __init__(self, coder: int) -> None:
        self.coder = coder
        self.made: dict[int, tuple[NDArray[Any], ...]] = {}

    def of(self, scale: int) -> tuple[NDArray[Any], ...]:
        if scale not in self.made:
            self.made[scale] = layer_models.fresh(self.coder)
        return self.made[scale]


def _range(low: float, high: float, unit: float, code: int | None) -> tuple[int, int]:
    """The least integer value and the number of integers of a file's range; 0 integers where they are too many."""
    if code is None:
        floor, ceiling = math.floor(low), math.ceil(high)
    else:
        step = residual.step(unit, code)
        if not step or max(abs(low), abs(high)) / step >= 1 << 52:
            return 0, 0
        floor, ceiling = round(low / step), round(high / step)
    span = ceiling - floor + 1
    return floor, span if span <= 1 << 24 and max(abs(floor), abs(ceiling)) < 1 << 52 else 0


def _patterns(values: NDArray[Any]) -> NDArray[np.int64]:
    return values.view(f"u{values.dtype.itemsize}").astype(np.uint64).view(np.int64)


def _integers(values: NDArray[Any], floor: int, span: int) -> NDArray[np.int64] | None:
    """Values (L,) as integers above the floor, where they are just these, bit for bit."""
    if not span or not np.isfinite(values).all():
        return None
    numbers = np.rint(values.astype(np.float64)).astype(np.int64)
    again = numbers.astype(values.dtype)
    if not np.array_equal(_patterns(again), _patterns(values)):
        return None
    numbers -= floor
    return numbers if numbers.min() >= 0 and numbers.max() < span else None

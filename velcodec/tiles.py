"""Large maps <-> tiles: where they lie, which a window needs, and how overlapping ones are blended. Pure numpy."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .grid import Grid, Window


@dataclass(frozen=True)
class Layout:
    """How a map (H, W) is cut into tiles of at most (h, w) cells, row by row.

    Without overlap tiles follow one another and the last of a row or column is what is left. With overlap all tiles
    of an axis have one size and adjoining ones share at least `overlap` cells; the last is moved back into the map.
    """

    map_shape: tuple[int, int]
    tile: tuple[int, int]
    overlap: int = 0

    @cached_property
    def axes(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(first, past the last) cell of every tile along depth and along the surface."""
        z, x = (_cut(n, t, self.overlap) for n, t in zip(self.map_shape, self.tile, strict=True))
        return z, x

    def __len__(self) -> int:
        z, x = (_count(n, t, self.overlap) for n, t in zip(self.map_shape, self.tile, strict=True))
        return z * x

    def window(self, index: int) -> Window:
        """The cells of a tile, ((z0, z1), (x0, x1))."""
        row, column = divmod(index, len(self.axes[1]))
        return self.axes[0][row], self.axes[1][column]

    def shape(self, index: int) -> tuple[int, int]:
        """(h, w) of a tile."""
        (z0, z1), (x0, x1) = self.window(index)
        return z1 - z0, x1 - x0

    def part(self, index: int, grid: Grid) -> "Part | None":
        """What a tile adds to a grid over the map, or None where it has no sample of it."""
        row, column = divmod(index, len(self.axes[1]))
        z = _share(grid.z, self.map_shape[0], self.axes[0], row)
        x = _share(grid.x, self.map_shape[1], self.axes[1], column)
        if z is None or x is None:
            return None
        window = None
        if grid.window is not None:
            (z0, _), (x0, _) = self.window(index)
            window = _native(z[1], grid.window[0][0] - z0), _native(x[1], grid.window[1][0] - x0)
        return Part(Grid(z[0], x[0], window), (z[1], x[1]), z[2][:, None] * x[2][None, :])


@dataclass(frozen=True)
class Part:
    """A tile's share of a grid: the grid in the tile's own coordinates, its place, and weights (h, w) that blend it."""

    grid: Grid
    place: tuple[slice, slice]
    weight: NDArray[np.float64]


def _count(n: int, size: int, overlap: int) -> int:
    """Tiles along an axis of n cells."""
    return 1 if n <= size else -(-(n - overlap) // (size - overlap))


def _cut(n: int, size: int, overlap: int) -> list[tuple[int, int]]:
    if n <= size:
        return [(0, n)]
    if not overlap:
        return [(a, min(a + size, n)) for a in range(0, n, size)]
    starts = (min(i * (size - overlap), n - size) for i in range(_count(n, size, overlap)))
    return [(a, a + size) for a in starts]


def _native(place: slice, shift: int) -> tuple[int, int]:
    """A tile's own cells of a slice of a window that begins `shift` cells after the tile."""
    return place.start + shift, place.stop + shift


def _share(
    coordinate: NDArray[np.float64], n: int, tiles: list[tuple[int, int]], index: int
) -> tuple[NDArray[np.float64], slice, NDArray[np.float64]] | None:
    """Coordinates in a tile of the samples within it, their slice, and their weights."""
    cell = (coordinate + 1) / 2 * n
    low, high = tiles[index]
    # Samples lie half-open within their tile; the map's own ends are closed.
    first = 0 if index == 0 else int(np.searchsorted(cell, low))
    last = len(cell) if index == len(tiles) - 1 else int(np.searchsorted(cell, high))
    if first >= last:
        return None
    cell = cell[first:last]
    weight = _ramp(cell, tiles, index)
    total = sum(
        np.where((cell >= a) & (cell < b), _ramp(cell, tiles, i), 0.0) if i != index else weight
        for i, (a, b) in enumerate(tiles)
        if a < high and b > low
    )
    return (cell - low) / (high - low) * 2 - 1, slice(first, last), weight / total


def _ramp(cell: NDArray[np.float64], tiles: list[tuple[int, int]], index: int) -> NDArray[np.float64]:
    """The weight of a tile before it is shared out: 1, falling to 0 towards a neighbour across what both have."""
    low, high = tiles[index]
    weight = np.ones_like(cell)
    if index and tiles[index - 1][1] > low:
        weight = np.minimum(weight, (cell - low) / (tiles[index - 1][1] - low))
    if index + 1 < len(tiles) and tiles[index + 1][0] < high:
        weight = np.minimum(weight, (high - cell) / (high - tiles[index + 1][0]))
    return np.maximum(weight, 1e-9)

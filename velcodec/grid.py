"""Where samples lie: cell-centred coordinates in [-1, 1]^2, windows, and interpolation of sampled maps. Pure numpy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError

Window = tuple[tuple[int, int], tuple[int, int]]


def centres(n: int) -> NDArray[np.float64]:
    """The n cell-centred samples (2j + 1) / n - 1 of [-1, 1], (n,) float64."""
    return (2 * np.arange(n) + 1) / n - 1


@dataclass(frozen=True)
class Grid:
    """A regular grid to sample on: depths z (H,) and positions x (W,), unit coordinates, float64.

    `window` is the part of the native samples that the grid is exactly, where it is one, else None.
    """

    z: NDArray[np.float64]
    x: NDArray[np.float64]
    window: Window | None

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return len(self.z), len(self.x)


def make_grid(
    native: tuple[int, int], shape: tuple[int, int] | None = None, window: Window | None = None
) -> Grid:
    """A grid of `shape` samples over a window of a map.

    Args:
        native: (H, W) of the map as given.
        shape: samples wanted over the window; None means the native ones.
        window: ((z0, z1), (x0, x1)) in native cells; None means the whole map.

    Raises:
        UsageError: an empty or outlying window, or a shape below 1 x 1.
    """
    window = window or ((0, native[0]), (0, native[1]))
    if np.shape(window) != (2, 2):
        raise UsageError(f"a window is ((z0, z1), (x0, x1)) in cells, not {window!r}")
    for (low, high), n in zip(window, native, strict=True):
        if not 0 <= low < high <= n:
            raise UsageError(f"window {low}:{high} is not within the map's {n} cells")
    cells = (window[0][1] - window[0][0], window[1][1] - window[1][0])
    wanted = shape or cells
    if min(wanted) < 1:
        raise UsageError(f"a grid of {wanted[0]} x {wanted[1]} samples cannot be; give 1 or more each way")
    if wanted == cells:
        z, x = (centres(n)[low:high] for n, (low, high) in zip(native, window, strict=True))
        return Grid(z, x, window)
    z, x = (
        (low + (centres(m) + 1) / 2 * (high - low)) * 2 / n - 1
        for m, n, (low, high) in zip(wanted, native, window, strict=True)
    )
    return Grid(z, x, None)


def resample(maps: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Maps (n, H, W) on a grid, (n, h, w): themselves where the grid is native, else bilinear, flat past the edge."""
    if grid.window is not None:
        (z0, z1), (x0, x1) = grid.window
        return maps[:, z0:z1, x0:x1]
    return _linear(_linear(maps.astype(np.float64), grid.z, 1), grid.x, 2)


def _linear(maps: NDArray[np.float64], coordinate: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    n = maps.shape[axis]
    at = np.clip((coordinate + 1) / 2 * n - 0.5, 0, n - 1)
    low = np.minimum(np.floor(at).astype(int), max(n - 2, 0))
    high = np.minimum(low + 1, n - 1)
    weight = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
    left, right = maps.take(low, axis), maps.take(high, axis)
    # A sample right on a neighbour takes that neighbour alone, lest 0 x NaN spoil it.
    blend = np.where(weight == 1, right, left * (1 - weight) + right * weight)
    return np.where(weight == 0, left, blend)

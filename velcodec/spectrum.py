"""Maps as cosines of every length: integers of a discrete cosine transform in steps, drawn at any point.

    v(x, z) = offset + step x sum_lk q_lk  b_l cos(pi l (z + 1) / 2)  a_k cos(pi k (x + 1) / 2)
    a_0 = 1 / sqrt(W),  a_k = sqrt(2 / W),  and b_l so of H

On the H x W cell centres these waves are orthonormal (Ahmed, Natarajan, Rao, "Discrete cosine transform", 1974), so
that errors of the integers are errors of the map. No codebook is needed, and no grid is preferred.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .grid import centres

CODE_ZERO = 512  # code of a step that is the file's unit
CODES = 1024
PER_OCTAVE = 32


@dataclass(frozen=True)
class Spectrum:
    """A map as integers (H, W) int64 of its waves, those down first, and the code 0..1023 of their step."""

    whole: NDArray[np.int64]
    code: int


def step(unit: float, code: int) -> float:
    """The step of a code: unit x 2^((code - 512) / 32)."""
    return float(unit * 2.0 ** ((code - CODE_ZERO) / PER_OCTAVE))


def products(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Products (H, W) of a map less its offset with the waves."""
    from scipy.fft import dctn  # a third of a second to import

    found: NDArray[np.float64] = dctn(values, norm="ortho")
    return found


def draw(stored: Spectrum, step: float, offset: float) -> NDArray[np.float64]:
    """The map (H, W) on its own grid."""
    height, width = stored.whole.shape
    return draw_at(stored, step, offset, centres(height), centres(width))


def draw_at(
    stored: Spectrum, step: float, offset: float, z: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values (h, w) at depths z (h,) and positions x (w,) in [-1, 1]."""
    rows, columns = np.flatnonzero(stored.whole.any(1)), np.flatnonzero(stored.whole.any(0))
    if not len(rows):
        return np.full((len(z), len(x)), offset)
    height, width = stored.whole.shape
    down, across = _waves(z, rows, height), _waves(x, columns, width)
    drawn: NDArray[np.float64] = offset + step * (down @ stored.whole[np.ix_(rows, columns)] @ across.T)
    return drawn


def sample(
    stored: Spectrum, step: float, offset: float, points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values (P,) at points (P, 2) given as (x, z) in [-1, 1]^2, and their slopes (P, 2)."""
    (height, width), (x, z) = stored.whole.shape, points.T
    rows, columns = np.flatnonzero(stored.whole.any(1)), np.flatnonzero(stored.whole.any(0))
    own = step * stored.whole[np.ix_(rows, columns)]
    down, across = _waves(z, rows, height), _waves(x, columns, width)
    along = np.sum((down @ own) * _slopes(x, columns, width), 1)
    deeper = np.sum((_slopes(z, rows, height) @ own) * across, 1)
    return offset + np.sum((down @ own) * across, 1), np.stack([along, deeper], 1)


def _waves(at: NDArray[np.float64], numbers: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Some of the waves (n,) along an axis of so many cells, at places (m,) in [-1, 1]: (m, n)."""
    waves: NDArray[np.float64] = _gains(numbers, count) * np.cos(np.pi / 2 * numbers * (at[:, None] + 1))
    return waves


def _slopes(at: NDArray[np.float64], numbers: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Their derivatives."""
    turns = np.pi / 2 * numbers
    slopes: NDArray[np.float64] = -_gains(numbers, count) * turns * np.sin(turns * (at[:, None] + 1))
    return slopes


def _gains(numbers: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    return np.sqrt((1.0 + (numbers > 0)) / count)

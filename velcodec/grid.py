"""Where samples lie: cell-centred coordinates in [-1, 1]^2, grid sizes and windows. Pure numpy."""

import numpy as np
from numpy.typing import NDArray


def centres(n: int, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
    """Samples start .. stop - 1 of n cell-centred ones, (2j + 1) / n - 1, as (stop - start,) float64."""
    j = np.arange(start, n if stop is None else stop)
    return (2 * j + 1) / n - 1

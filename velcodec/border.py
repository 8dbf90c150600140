"""What a model of integers sees outside of the map that it is going through: the nearest sample within, roughly.

A model keeps the map in an array with PAD samples of border above, to the left and to the right, and calls these in
the order of its rows and columns. format_spec.md says what each place reads as.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled

PAD = 3
LIMIT = 1 << 36  # of integers coded


@compiled
def padded(height: int, width: int) -> NDArray[np.int64]:
    """Room for a map and its border."""
    return np.zeros((height + PAD, width + 2 * PAD), np.int64)


@compiled
def open_row(a: Any, row: int, width: int) -> None:
    """Before the first sample of a row but the first one: the border to its left, and once that above the map."""
    for k in range(PAD):
        a[row, k] = a[row - 1, PAD]
    if row == PAD + 1:
        for r in range(PAD):
            for x in range(width + 2 * PAD):
                a[r, x] = a[PAD, min(max(x, PAD), PAD + width - 1)]


@compiled
def along_first_row(a: Any, x: int) -> None:
    """Before a sample of the first row but its first: all borders read as the sample to the left."""
    for r in range(PAD + 1):
        for k in range(-PAD, PAD + 1):
            if r < PAD or x + k < PAD:
                a[r, x + k] = a[PAD, x - 1]


@compiled
def close_row(a: Any, row: int, width: int) -> None:
    """After the last sample of a row: the border to its right."""
    for k in range(PAD):
        a[row, PAD + width + k] = a[row, PAD + width - 1]

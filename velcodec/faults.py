"""What the faults of a map are: straight lines, and how far the rock beyond each is shifted.

A line takes part in one of two ways. Beyond the first, and within the walls, lies the block: rock of a stack of layers
of its own, or that of the others shifted. Beyond a fault all is shifted, block or not. Layers may be folded.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .decoders.cosines import NATIVE
from .decoders.faulted import LINES, SLIP
from .grid import centres

TURN = (
    0.04  # radians that a line is turned by, as faults are looked for, where other things are moved by a cell
)
NONE, FAULT, WALL = 0, 1, 2  # what a line is; the first, where there is one, is a wall


@dataclass
class Faults:
    """Lines (angle of the normal, offset in cells from the middle) (LINES, 2), what each is (LINES,), and shifts.

    Cells with (x - 35) cos(angle) + (z - 35) sin(angle) > offset lie beyond a line.

    Args:
        throws: cells (LINES,) that rock is shifted down: the block, then all beyond each other line if it is a fault.
        two: the block has a stack of its own.
        fold: cells (2, W) that the layers of each stack are shifted down.
        slips: (S, 5) of two stacks: angle and offset of a line, cells that rock beyond it moved across and down, and
            whose it is, the block's past 0; the last to move comes first. With them no other line does anything.
        parallel: all layers of a stack are of one fold.
    """

    lines: NDArray[np.float64]
    kinds: NDArray[np.int64]
    throws: NDArray[np.float64]
    two: bool
    fold: NDArray[np.float64]
    slips: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, SLIP)))
    parallel: bool = False

    @classmethod
    def nothing(cls, between: NDArray[np.float64] | None = None) -> "Faults":
        """No faults but, where there is one, a line between two stacks."""
        lines, kinds = np.zeros((LINES, 2)), np.zeros(LINES, np.int64)
        if between is not None:
            lines[0], kinds[0] = between, WALL
        return cls(lines, kinds, np.zeros(LINES), between is not None, np.zeros((2, NATIVE)))

    def copied(self) -> "Faults":
        """The same, to be changed by itself."""
        numbers = self.lines.copy(), self.kinds.copy(), self.throws.copy()
        return Faults(*numbers, self.two, self.fold.copy(), self.slips.copy(), self.parallel)

    @property
    def moving(self) -> list[int]:
        """The lines whose shift is one: the first, where a block is shifted, and faults."""
        return [i for i, kind in enumerate(self.kinds) if kind == FAULT or (i == 0 and kind and not self.two)]

    def sides(
        self, throws: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Which cells (70, 70) of the native grid are the block's, and how far down each is shifted.

        Args:
            throws: other ones.
        """
        inside, shift = np.empty((NATIVE, NATIVE), np.uint8), np.empty((NATIVE, NATIVE))
        fill_sides(self.lines, self.kinds, self.throws if throws is None else throws, inside, shift)
        return inside, shift


def cells_beyond(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far (70, 70) each cell of the native grid lies beyond a line."""
    at = centres(NATIVE) * (NATIVE / 2)
    cells: NDArray[np.float64] = at * math.cos(line[0]) + at[:, None] * math.sin(line[0]) - line[1]
    return cells


@compiled
def fill_sides(lines: Any, kinds: Any, throws: Any, inside: Any, shift: Any) -> None:
    """Fill in which cells (H, W) are the block's, and how far down each is shifted."""
    height, width = inside.shape
    inside[:] = 1 if (kinds == WALL).any() else 0
    shift[:] = 0
    for f in range(len(lines)):
        if kinds[f] == NONE:
            continue
        across, down = math.cos(lines[f, 0]), math.sin(lines[f, 0])
        for z in range(height):
            rest = lines[f, 1] - (z + 0.5 - height / 2) * down
            if kinds[f] == WALL:
                for x in range(width):
                    inside[z, x] &= (x + 0.5 - width / 2) * across > rest
            else:
                for x in range(width):
                    shift[z, x] += throws[f] if (x + 0.5 - width / 2) * across > rest else 0.0
    for z in range(height):
        for x in range(width):
            shift[z, x] += throws[0] if inside[z, x] else 0.0

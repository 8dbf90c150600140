"""Maps told by numbers that are read off them, layers and faults, and the tables that such numbers are coded with."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .decoders.cosines import factors
from .grid import centres
from .prior import Prior


class Tables(NamedTuple):
    """A table set for N numbers: least and largest integer told of each, and bits[start + q - low] of integer q."""

    step: float
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    start: NDArray[np.int64]
    bits: NDArray[np.float32]

    def holds(self, q: NDArray[np.int64]) -> bool:
        """Whether integers (N,) are all within the tables."""
        return bool(_holds(self, q))

    def total(self, q: NDArray[np.int64]) -> float:
        """Bits of integers (N,), brought within the tables, and 4 more a step that they are brought."""
        return float(_total(self, q))


class Told(Protocol):
    """A map as numbers (N,) of a decoder, not rounded yet."""

    @property
    def scale(self) -> float:
        """The map's squared range times its samples: its squared error at an NMSE of 1."""

    def rounded(self, step: float) -> NDArray[np.int64]:
        """The integers (N,) nearest, in steps."""

    def halved(self, q: NDArray[np.int64], step: float) -> NDArray[np.int64]:
        """The integers (N,) that tell the same as some at a step do, in steps half as large."""

    def searched(self, q: NDArray[np.int64], tables: Tables, sweeps: int, price: float, gain: float) -> float:
        """Move integers (N,) one by one, in place; the squared error of the normalised map that they leave.

        Args:
            sweeps: over all numbers, at most.
            price, gain: a bit is worth price + gain x squared error.
        """

    def centre(self, q: NDArray[np.int64], tables: Tables) -> None:
        """Move integers (N,), in place, to the middle of those that draw every cell alike, for a bit or two."""

    def patched(self, q: NDArray[np.int64], step: float) -> Iterator[tuple[NDArray[np.int64], float, "Told"]]:
        """Integers (N,) with one patch, two, and so on; nothing where no patches help.

        With them the squared error that they leave, and the map as if it were, where they cover it, what these tell
        without any.
        """

    def again(self, q: NDArray[np.int64], step: float) -> NDArray[np.int64] | None:
        """The map read anew, where some of its integers (N,) tell how to look at it; None where none do."""


def tables_of(prior: Prior, t: int, numbers: slice) -> Tables:
    """Some numbers of a table set."""
    low, high, start = (of[t, numbers] for of in (prior.first, prior.last, prior.places))
    return Tables(float(prior.step[t]), low, high, start, prior.integers_bits.numpy())


@lru_cache(maxsize=8)
def basis(width: int, waves: int) -> NDArray[np.float64]:
    """The cosines (W, K) of interfaces at the columns of a map."""
    across: NDArray[np.float64] = factors(torch.from_numpy(centres(width)), waves).numpy()
    return across


@inlined
def added_bits(tables: Any, d: int, old: int, new: int) -> float:
    """Bits more that number d takes as another integer."""
    at = tables.start[d] - tables.low[d]
    return float(tables.bits[at + new] - tables.bits[at + old])


@compiled
def _holds(tables: Any, q: Any) -> bool:
    out = 0
    for d in range(len(q)):
        out += q[d] < tables.low[d] or q[d] > tables.high[d]
    return out == 0


@compiled
def _total(tables: Any, q: Any) -> float:
    total = 0.0
    for d in range(len(q)):
        inside = min(max(q[d], tables.low[d]), tables.high[d])
        total += tables.bits[tables.start[d] + inside - tables.low[d]] + 4 * abs(q[d] - inside)
    return total

"""Tables of slips: of each number those of all slips of training maps together, and how often each slip is there."""

import math

import numpy as np
from numpy.typing import NDArray

from .decoders import faulted
from .tables import Mass, smoothed
from .told_tables import anywhere

OFFSET = 45.0  # cells that lines lie from the middle of a map, at most
ACROSS, DOWN = 30, 36  # cells that rock is moved, at most, seen or not
LEAST = 0.02  # how often any slip is there, and is not, at least


def masses(
    integers: NDArray[np.int64], decoder: faulted.FaultedDecoder, step: float, cell: float
) -> dict[int, Mass]:
    """The tables of the integers (n, N) of maps with slips, by the place of their number.

    Args:
        cell: cells that an integer of across or down is.
    """
    slips = integers[:, decoder.slip :].reshape(len(integers), decoder.slips, faulted.SLIP)
    there = slips[:, :, faulted.S_WHOSE] != 0
    reaches = {
        faulted.S_ANGLE: math.pi / faulted.ANGLE / step,
        faulted.S_OFFSET: OFFSET / faulted.DEPTH / step,
        faulted.S_ACROSS: ACROSS / cell,
        faulted.S_DOWN: DOWN / cell,
    }
    own = {
        k: _within(
            anywhere(smoothed(slips[there][:, k].astype(np.float64)), math.ceil(reach)), math.ceil(reach)
        )
        for k, reach in reaches.items()
    }
    out = {}
    for j in range(decoder.slips):
        both = there[:, j - j % 2 : j - j % 2 + 2]  # two slips have the same tables, which are stored once
        share = min(max(float(both.mean()), LEAST), 1 - LEAST)
        for k, mass in own.items():
            out[decoder.slip + faulted.SLIP * j + k] = or_none(mass, share)
        whose = slips[:, j - j % 2 : j - j % 2 + 2, faulted.S_WHOSE]
        sides = np.array([(whose < 0).sum(), 0, (whose > 0).sum()]) + 1.0
        sides *= share / sides[[0, 2]].sum()
        sides[1] = 1 - share
        out[decoder.slip + faulted.SLIP * j + faulted.S_WHOSE] = -1, sides
    return out


def _within(mass: Mass, reach: int) -> Mass:
    """The part of a table that is within a reach of 0."""
    low, seen = mass
    return -reach, seen[-reach - low :][: 2 * reach + 1]


def or_none(mass: Mass, share: float) -> Mass:
    """A table of numbers that are there in a share of the cases, and 0 in the others."""
    low, seen = mass
    out = share * seen / seen.sum()
    out[-low] += 1 - share
    return low, out

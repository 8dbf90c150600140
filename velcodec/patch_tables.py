"""Table sets with patches, counted on what layers and faults leave wrong of training maps.

A table tells nothing of another number, so that an unused patch would cost all its seven numbers. Hence sets of a few
sizes: in each most patches are there nearly always, and those past its size never.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from . import patches
from .aim import FLOOR
from .decoders import trapezia
from .faulted_fit import CELL, FINE, FaultedMap, unit_of
from .slip_tables import or_none
from .tables import Mass, always, smoothed
from .told_tables import anywhere

SURE, LIKELY = 0.97, 0.8  # how often a patch of the first and of the second half of a set is there
BITS = 32.0  # of a patch, about, as maps are counted
# How far from 0 (cells) numbers may be, seen or not; velocities in units of faulted.VELOCITY.
FARTHEST = {
    trapezia.LENGTH: 70, trapezia.ACROSS: 70, trapezia.DOWN: 70, trapezia.HEIGHT: 40, trapezia.OTHER_HEIGHT: 40,
    trapezia.TILT: 40, trapezia.VALUE: 52,
}  # fmt: skip


def sequences(maps: Sequence[FaultedMap], rate: float) -> list[list[patches.Patch]]:
    """The patches of each map that are worth their bits, in the order in which they were found."""

    def own(told: FaultedMap) -> list[patches.Patch]:
        q = told.rounded(FINE)
        found = list(told.over(q, FINE))
        errors = np.array([told.error(q, FINE), *(patch.error for patch in found)])
        costs = np.log(errors / told.scale + FLOOR) + rate * BITS * np.arange(len(errors))
        return found[: int(costs.argmin())]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(own, maps))


def table_sets(
    found: Sequence[Sequence[patches.Patch]], first: int, step: float, sizes: Sequence[int]
) -> list[dict[int, Mass]]:
    """The tables of each size, by the place of their number: the unit of patches stands at `first`, they follow."""
    out = []
    for size in sizes:
        told = [patches.as_told(patches.in_order(own[:size]), size).reshape(size, -1) for own in found if own]
        there = np.concatenate([rows[rows[:, trapezia.LENGTH] != 0] for rows in told])
        masses = [
            anywhere(smoothed(there[:, k].astype(np.float64)), round(FARTHEST[k] / CELL))
            for k in range(trapezia.PATCH)
        ]
        tables = {first: always(unit_of(step))}
        for i in range(size):
            share = SURE if i < size / 2 else LIKELY
            for k, mass in enumerate(masses):
                tables[first + 1 + trapezia.PATCH * i + k] = or_none(mass, share)
        out.append(tables)
    return out

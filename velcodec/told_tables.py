"""Table sets of maps told by numbers: counts of integers that a search finds cheap under the last ones."""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from . import prior
from .aim import FLOOR
from .tables import Mass, always, smoothed
from .told import Tables, Told, tables_of

ROUNDS = 2  # of filling tables with integers that are cheap under the last ones
SWEEPS = 2  # of each
LEAST = 6 / 65536  # mass of any integer that may be, seen or not


@dataclass(frozen=True)
class Kind:
    """Maps of one kind, and the step sizes (latent units) of its tables.

    Args:
        anywhere: how far from 0 (latent units) numbers may be that these maps show too little of, by their place.
        others: further table sets of some of the steps, by what they have in other numbers, by their place.
        told: tables of some numbers, by their place, that these integers (n, N) of a step are to have.
    """

    maps: Sequence[Told]
    steps: Sequence[float]
    anywhere: dict[int, float] = field(default_factory=dict)
    others: dict[float, list[dict[int, Mass]]] = field(default_factory=dict)
    told: Callable[[NDArray[np.int64], float], dict[int, Mass]] = lambda q, step: {}


def table_sets(
    kinds: Iterable[Kind], latent: int, marker: float, rate: float
) -> tuple[list[float], list[list[Mass]]]:
    """Steps (T) and tables of number 0 to the last of a latent, a set for each kind and step.

    Args:
        latent: numbers of the whole latent; those past the maps' own are 0.
        marker: what number 0 stands at, in latent units.
        rate: nats of log NMSE that a bit must win, as tables are filled.
    """
    steps: list[float] = []
    sets: list[list[Mass]] = []
    for kind in kinds:
        for step in kind.steps:
            masses = _filled(kind, step, rate)
            for i, reach in kind.anywhere.items():
                masses[i] = anywhere(masses[i], math.ceil(reach / step))
            for other in ({}, *kind.others.get(step, [])):
                own = [other.get(i, mass) for i, mass in enumerate(masses)]
                steps.append(step)
                sets.append([always(round(marker / step)), *own, *[always(0)] * (latent - 1 - len(own))])
    return steps, sets


def _filled(kind: Kind, step: float, rate: float) -> list[Mass]:
    """Tables (N) of the integers of a kind of maps."""
    q = np.stack([told.rounded(step) for told in kind.maps])
    masses = _masses(kind, q, step)
    for _ in range(ROUNDS):
        tables = tables_of(prior.build(np.array([step], np.float32), [masses]), 0, slice(None))
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(_search, kind.maps, q, [tables] * len(q), [rate] * len(q)))
        masses = _masses(kind, q, step)
    return masses


def _masses(kind: Kind, q: NDArray[np.int64], step: float) -> list[Mass]:
    own = kind.told(q, step)
    return [own[i] if i in own else _mass(column) for i, column in enumerate(q.T)]


def _search(told: Told, q: NDArray[np.int64], tables: Tables, rate: float) -> None:
    told.searched(q, tables, SWEEPS, rate * FLOOR * told.scale, rate)


def _mass(column: NDArray[np.int64]) -> Mass:
    return smoothed(column.astype(np.float64)) if column.any() else always(0)


def anywhere(mass: Mass, reach: int) -> Mass:
    """A table of integers within a reach of 0 too, each with some mass; one that is always the same stays."""
    low, seen = mass
    if len(seen) <= 2:
        return mass
    first, last = min(low, -reach), max(low + len(seen) - 1, reach)
    out = np.full(last - first + 1, LEAST)
    out[low - first :][: len(seen)] += seen / seen.sum()
    return first, out

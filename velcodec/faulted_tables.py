"""Table sets for the faulted decoder of a choice, counted on faulted training maps.

maps -> the best way to see each -> kinds: edges soft or not, one stack or two, folded or not -> tables of each step
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from .decoders.faulted import DEPTH, HEAD, LINE, SOFT, TWO, FaultedDecoder
from .faulted_fit import FaultedMap, faulted_maps
from .tables import Mass, always
from .told_tables import filled

# Kinds: soft edges, two stacks, folded; step sizes in latent units.
KINDS = (
    (True, False, False, (0.25, 0.5, 1.0, 2.0, 4.0)),
    (True, False, True, (0.25, 0.5, 1.0, 2.0)),
    (False, True, False, (0.5, 1.0, 2.0, 4.0)),
    (False, True, True, (0.5, 1.0, 2.0)),
)
FEWEST = 20  # maps of a kind
LEAST = 6 / 65536  # mass of any shift that may be, seen or not
FARTHEST = 36.0  # cells


def table_sets(
    maps: NDArray[np.float32], decoder: FaultedDecoder, latent: int, marker: float, rate: float
) -> tuple[list[float], list[list[Mass]]]:
    """Steps (T) and tables of number 0 to the last of a latent, counted on normalised maps (n, 70, 70).

    Args:
        latent: numbers of the whole latent; those past the faulted decoder's are 0.
        marker: what number 0 stands at, in latent units.
        rate: nats of log NMSE that a bit must win, as tables are filled.
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        seen = list(pool.map(lambda v: faulted_maps(v, decoder), maps))
    best = [ways[0] for ways in seen if ways]
    rest = [always(0)] * (latent - 1 - decoder.latent)
    steps: list[float] = []
    sets: list[list[Mass]] = []
    for *kind, sizes in KINDS:
        own = [told for told in best if _kind(told) == kind]
        scales = [float(np.ptp(told.v)) ** 2 * told.v.size for told in own]
        for step in sizes if len(own) >= FEWEST else ():
            masses = filled(own, scales, step, rate)
            for i in _positions(decoder) if kind[1] else ():
                masses[i] = _anywhere(masses[i], FARTHEST / DEPTH / step)
            steps.append(step)
            sets.append([always(round(marker / step)), *masses, *rest])
    return steps, sets


def _kind(told: FaultedMap) -> list[bool]:
    """Whether edges are soft, whether there are two stacks, whether they are folded."""
    first = HEAD + 2 * told.decoder.layers - 1
    return [
        told.numbers[SOFT] > 0,
        told.numbers[TWO] > 0,
        bool(told.numbers[first : HEAD + told.decoder.stack].any()),
    ]


def _positions(decoder: FaultedDecoder) -> list[int]:
    """The shifts, and the first depth of each stack: what real maps of two stacks have more of than synthetic ones."""
    return [LINE + 2, LINE + 6, *(HEAD + stack * decoder.stack + decoder.layers for stack in range(2))]


def _anywhere(mass: Mass, reach: float) -> Mass:
    """A table of integers within a reach of 0 too, each with some mass; one that is always the same stays."""
    low, seen = mass
    if len(seen) <= 2:
        return mass
    first, last = min(low, -math.ceil(reach)), max(low + len(seen) - 1, math.ceil(reach))
    out = np.full(last - first + 1, LEAST)
    out[low - first :][: len(seen)] += seen / seen.sum()
    return first, out

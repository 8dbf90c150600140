"""Table sets for the faulted decoder of a choice, counted on faulted training maps.

maps -> the best way to see each -> kinds: edges soft or not, one stack or two, folded or not -> tables of each step
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from . import patch_tables, slip_tables
from .decoders.faulted import DEPTH, HEAD, LINE, SOFT, TWO, FaultedDecoder
from .faulted_fit import CELL, FaultedMap, faulted_maps
from .tables import Mass
from .told_tables import Kind

NONE, ALIKE, FREE = range(3)  # slips: none, of layers that are parallel, of others
# Kinds: soft edges, two stacks, folded, slips; step sizes in latent units, and how many patches sets with patches of
# each step have. A codebook has 112 sets at most: these are the ones that maps were seen to use.
KINDS: tuple[tuple[bool, bool, bool, int, tuple[float, ...], dict[float, tuple[int, ...]]], ...] = (
    (True, False, False, NONE, (0.25, 0.5, 1.0, 2.0, 4.0), {0.5: (4, 12), 1.0: (4, 12), 2.0: (4,)}),
    (True, False, True, NONE, (0.25, 0.5, 1.0, 2.0), {0.25: (4, 12, 24), 0.5: (4, 12, 24), 1.0: (4,)}),
    (False, True, False, NONE, (0.5, 1.0, 2.0, 4.0), {}),
    (False, True, True, NONE, (0.5, 1.0, 2.0), {0.5: (4,)}),
    (False, True, False, ALIKE, (0.5, 1.0, 2.0, 4.0), {0.5: (4, 12, 24), 1.0: (4, 12), 2.0: (4, 12)}),
    (False, True, True, ALIKE, (0.5, 1.0, 2.0), {0.5: (4, 12, 24), 1.0: (4, 12, 24), 2.0: (4, 12)}),
    (False, True, True, FREE, (0.5, 1.0), {0.5: (24,), 1.0: (12, 24)}),
    (False, False, True, NONE, (0.5, 1.0), {0.5: (4, 24), 1.0: (4, 24)}),
)
FEWEST = 20  # maps of a kind
FARTHEST = 36.0 / DEPTH  # 36 cells: shifts of real maps of two stacks, of which synthetic ones have too few


def kinds(
    maps: NDArray[np.float32],
    decoder: FaultedDecoder,
    rate: float,
    torn: NDArray[np.float32] | None = None,
) -> list[Kind]:
    """The kinds that there are of normalised maps (n, 70, 70); those without faults or plateaus are passed over.

    Args:
        rate: nats of log NMSE that a bit must win, as patches are counted.
        torn: more such maps, of which patches alone are counted.
    """
    best = _best(maps, decoder)
    more = [] if torn is None else _best(torn, decoder)
    made = []
    for soft, two, folded, slips, steps, patched in KINDS:
        own = [told for told in best if _kind(told) == (soft, two, folded, slips)]
        if len(own) >= FEWEST:
            like = [told for told in more if _kind(told)[:2] == (soft, two)]
            found = patch_tables.sequences([*own, *like], rate) if decoder.patches else []
            others = {
                step: patch_tables.table_sets(found, decoder.unit, step, sizes)
                for step, sizes in patched.items()
                if any(found)
            }
            far = dict.fromkeys(_positions(decoder), FARTHEST) if two else {}
            told = {"told": partial(_slips, decoder=decoder)} if slips else {}
            made.append(Kind(own, steps, far, others, **told))
    return made


def _best(maps: NDArray[np.float32], decoder: FaultedDecoder) -> list[FaultedMap]:
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        seen = list(pool.map(lambda v: faulted_maps(v, decoder), maps))
    return [told for ways in seen for told in ways if told is ways[0] or len(told.faults.slips)]


def _slips(q: NDArray[np.int64], step: float, decoder: FaultedDecoder) -> dict[int, Mass]:
    return slip_tables.masses(q, decoder, step, CELL)


def _kind(told: FaultedMap) -> tuple[bool, bool, bool, int]:
    """Whether edges are soft, whether there are two stacks, whether they are folded, what slips there are."""
    first = HEAD + 2 * told.decoder.layers - 1
    return (
        bool(told.numbers[SOFT] > 0),
        bool(told.numbers[TWO] > 0),
        bool(told.numbers[first : HEAD + told.decoder.stack].any()),
        (ALIKE if told.faults.parallel else FREE) if len(told.faults.slips) else NONE,
    )


def _positions(decoder: FaultedDecoder) -> list[int]:
    """The shifts, and the first depth of each stack."""
    return [LINE + 2, LINE + 6, *(HEAD + stack * decoder.stack + decoder.layers for stack in range(2))]

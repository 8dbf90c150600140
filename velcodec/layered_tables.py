"""Table sets for the layered decoder of a choice, counted on layered training maps.

maps -> kinds by their layers, flat or folded -> integers of each step -> tables -> integers cheap under those
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from . import prior
from .aim import FLOOR
from .decoders.layered import LayeredDecoder
from .layered_fit import basis, outline
from .layered_search import Outline, rounded, searched, tables_of
from .tables import Mass, always, smoothed

# Kinds: flat or not, layers at least and at most, step sizes in latent units.
KINDS = (
    (True, 2, 5, (0.5, 0.2)),
    (True, 6, 8, (0.5, 0.2)),
    (False, 2, 4, (2.0, 1.0, 0.5)),
    (False, 5, 5, (2.0, 1.0, 0.5)),
    (False, 6, 6, (2.0, 1.0, 0.5)),
    (False, 7, 7, (2.0, 1.0, 0.5)),
    (False, 8, 8, (2.0, 1.0, 0.5)),
)
ROUNDS = 2  # of filling tables with integers that are cheap under the last ones
SWEEPS = 2  # of each
MAPS = 800  # of a kind, at most


def table_sets(
    maps: NDArray[np.float32], decoder: LayeredDecoder, latent: int, marker: float, rate: float
) -> tuple[list[float], list[list[Mass]]]:
    """Steps (T) and tables of number 0 to the last of a latent, counted on normalised maps (n, 70, 70).

    Args:
        latent: numbers of the whole latent; those past the layered decoder's are 0.
        marker: what number 0 stands at, in latent units.
        rate: nats of log NMSE that a bit must win, as tables are filled.
    """
    outlines = [own for v in maps if (own := outline(v, decoder)) is not None and len(own.values) > 1]
    rest = [always(0)] * (latent - 1 - decoder.latent)
    steps: list[float] = []
    sets: list[list[Mass]] = []
    for flat, least, most, sizes in KINDS:
        kind = [o for o in outlines if least <= len(o.values) <= most and _is_flat(o) == flat]
        for step in sizes if kind else ():
            steps.append(step)
            sets.append([always(round(marker / step)), *_filled(kind[:MAPS], decoder, step, rate), *rest])
    return steps, sets


def _is_flat(own: Outline) -> bool:
    return bool(np.ptp(own.depths, axis=1).max() == 0)


def _filled(outlines: Sequence[Outline], decoder: LayeredDecoder, step: float, rate: float) -> list[Mass]:
    """Tables of the integers that a search finds for maps under tables of their first ones."""
    q = np.stack([rounded(own, step, decoder.layers) for own in outlines])
    masses = [_mass(column) for column in q.T]
    for _ in range(ROUNDS):
        tables = tables_of(prior.build(np.array([step], np.float32), [masses]), 0, slice(None))
        for own, integers in zip(outlines, q, strict=True):
            scale = float(np.ptp(own.values)) ** 2 * own.height * own.depths.shape[1]
            across = basis(own.depths.shape[1], decoder.waves)
            searched(integers, own, across, tables, decoder.layers, SWEEPS, rate * FLOOR * scale, rate)
        masses = [_mass(column) for column in q.T]
    return masses


def _mass(column: NDArray[np.int64]) -> Mass:
    return smoothed(column.astype(np.float64)) if column.any() else always(0)

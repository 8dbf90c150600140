"""Table sets for the layered decoder of a choice, counted on layered training maps.

maps -> kinds by their layers, flat or folded -> integers of each step -> tables -> integers cheap under those
"""

import numpy as np
from numpy.typing import NDArray

from .decoders.layered import LayeredDecoder
from .layered_fit import outline
from .layered_search import Outline
from .tables import Mass, always
from .told_tables import filled

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
        kind = [o for o in outlines if least <= len(o.values) <= most and _is_flat(o) == flat][:MAPS]
        scales = [float(np.ptp(o.values)) ** 2 * o.height * o.depths.shape[1] for o in kind]
        for step in sizes if kind else ():
            steps.append(step)
            sets.append([always(round(marker / step)), *filled(kind, scales, step, rate), *rest])
    return steps, sets


def _is_flat(own: Outline) -> bool:
    return bool(np.ptp(own.depths, axis=1).max() == 0)

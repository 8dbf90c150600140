"""Table sets for the layered decoder of a choice, counted on layered training maps.

maps -> kinds by their layers, flat or folded -> integers of each step -> tables -> integers cheap under those
"""

import math

import numpy as np
from numpy.typing import NDArray

from . import layered_fit
from .decoders.layered import LayeredDecoder
from .layered_search import Outline
from .told_tables import Kind

# Kinds: flat or not, layers at least and at most, step sizes in latent units.
KINDS = (
    (True, 2, 5, (0.5, 0.2)),
    (True, 6, 8, (0.5, 0.2)),
    (False, 2, 4, (2.0, 1.0, 0.5, 0.25)),
    (False, 5, 5, (2.0, 1.0, 0.5, 0.25)),
    (False, 6, 6, (2.0, 1.0, 0.5, 0.25)),
    (False, 7, 7, (2.0, 1.0, 0.5, 0.25)),
    (False, 8, 8, (2.0, 1.0, 0.5, 0.25)),
)
MAPS = 800  # of a kind, at most


def kinds(maps: NDArray[np.float32], decoder: LayeredDecoder) -> list[Kind]:
    """The kinds that there are of normalised maps (n, 70, 70); those that are not layered are passed over."""
    outlines = [o for v in maps for o in layered_fit.outlines(v, decoder) if len(o.values) > 1]
    made = []
    for flat, least, most, steps in KINDS:
        own = [o for o in outlines if least <= len(o.values) <= most and _is_flat(o) == flat]
        if own:
            made.append(Kind(own[:: math.ceil(len(own) / MAPS)], steps))  # of all families that there are
    return made


def _is_flat(own: Outline) -> bool:
    return bool(np.ptp(own.depths, axis=1).max() == 0)

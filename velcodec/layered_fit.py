"""Layered maps as the numbers of the layered decoder: interfaces read off the map.

map -> layers and the depths of their interfaces (layers.py) -> cosines of each that round to them, where some do
"""

import numpy as np
from numpy.typing import NDArray

from . import curves, layers
from .decoders.cosines import NATIVE
from .decoders.layered import LayeredDecoder
from .layered_search import Outline
from .told import basis

NARROWEST = 24  # columns of a map that interfaces are told by
WITHIN = 0.38  # cells from a depth within which a curve rounds to it, and stays clear of a cell's centre


def outlines(v: NDArray[np.float32], decoder: LayeredDecoder) -> list[Outline]:
    """The one way to tell a map by its layers, or none."""
    own = outline(v, decoder)
    return [] if own is None else [own]


def outline(v: NDArray[np.float32], decoder: LayeredDecoder) -> Outline | None:
    """The layers of a normalised map (H, W); None where it has none, too many, or too few columns to tell them by."""
    height, width = v.shape
    found = layers.analyse(v) if width >= NARROWEST else None
    if found is None or len(found.values) > decoder.layers:
        return None
    waves = min(width, decoder.waves)
    across = np.pad(basis(width, waves), ((0, 0), (0, decoder.waves - waves)))
    cell = NATIVE / height
    low = np.where(found.depths > 0, (found.depths - WITHIN) * cell, -np.inf)
    high = np.where(found.depths < height, (found.depths + WITHIN) * cell, np.inf)
    cosines = curves.likeliest(low, high, across)
    return Outline(found.values.astype(np.float64), found.depths, height, cosines, decoder.layers, across)

"""Layered maps as the numbers of the layered decoder: interfaces read off the map.

map -> layers and the depths of their interfaces (layers.py) -> cosines of each that round to them, where some do
"""

import numpy as np
from numpy.typing import NDArray

from . import layers
from .decoders.cosines import NATIVE
from .decoders.layered import LayeredDecoder
from .layered_search import Outline, within
from .told import basis

STIFFNESS = 1e-6  # weight of a cosine's square, times the fourth power of its half periods
OUTSIDE = 1e-2  # weight of a column in which an interface is not there
WITHIN = 0.42  # cells from a depth within which a curve rounds to it, and stays clear of a cell's centre
RELAXED, PASSES = 1.6, 60  # of the projections onto the curves that do


def outlines(v: NDArray[np.float32], decoder: LayeredDecoder) -> list[Outline]:
    """The one way to tell a map by its layers, or none."""
    own = outline(v, decoder)
    return [] if own is None else [own]


def outline(v: NDArray[np.float32], decoder: LayeredDecoder) -> Outline | None:
    """The layers of a normalised map (H, W); None where it has none, too many, or too few columns to tell them by."""
    height, width = v.shape
    found = layers.analyse(v) if width >= decoder.waves else None
    if found is None or len(found.values) > decoder.layers:
        return None
    across = basis(width, decoder.waves)
    inside = (found.depths > 0) & (found.depths < height)
    weight = np.where(inside, 1.0, OUTSIDE)
    stiff = STIFFNESS * width * np.arange(decoder.waves, dtype=np.float64) ** 4
    normal = (across.T * weight[:, None, :]) @ across + np.diag(stiff)
    cell = NATIVE / height
    cosines = np.linalg.solve(normal, ((weight * found.depths * cell) @ across)[..., None])[..., 0]
    low = np.where(found.depths > 0, (found.depths - WITHIN) * cell, -np.inf)
    high = np.where(found.depths < height, (found.depths + WITHIN) * cell, np.inf)
    within(cosines, low, high, across, RELAXED * NATIVE / width, PASSES)  # orthonormal on 70 columns
    return Outline(found.values.astype(np.float64), found.depths, height, cosines, decoder.layers, across)

"""Latents for the layered decoder of a choice: interfaces read off the map.

map -> layers and the depths of their interfaces (layers.py) -> cosines of each that round to them, where some do
    -> integers (layered_search.py), for each step size and several prices of a bit -> the cheapest
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import layers
from .aim import FLOOR, FORTUNE, Aim
from .codebook import Codebook
from .decoders.choice import ChoiceDecoder
from .decoders.cosines import NATIVE, factors
from .decoders.layered import LayeredDecoder
from .grid import centres
from .layered_search import Outline, Tables, rounded, searched, tables_of, within
from .target import span_of

STIFFNESS = 1e-6  # weight of a cosine's square, times the fourth power of its half periods
OUTSIDE = 1e-2  # weight of a column in which an interface is not there
WITHIN = 0.42  # cells from a depth within which a curve rounds to it, and stays clear of a cell's centre
RELAXED, PASSES = 1.6, 60  # of the projections onto the curves that do
SWEEPS = 4  # over all numbers of a map
LOOKS = 1  # step sizes that are searched with where no PSNR is asked for
DEAR = 3.0  # times the bits of the cheapest step size at which one is of another kind of maps
PRICES = (0.0005, 0.002, 0.006, 0.015)  # of a bit, as shares of the squared error that a PSNR allows
SAFETY = 0.98  # of that error: edges are not quite crisp


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
    return Outline(found.values.astype(np.float64), found.depths, height, cosines)


def fit(v: Tensor, codebook: Codebook, aim: Aim, search: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The cheapest layered latents of normalised maps (B, H, W), those that are layered.

    Args:
        search: move the integers, rather than round once.

    Returns:
        Which maps they are (n,), latents (n, D) at whole steps, and table sets (n,).
    """
    assert isinstance(codebook.decoder, ChoiceDecoder) and codebook.decoder.layered is not None
    layered = codebook.decoder.layered
    scale = (span_of(v).double() ** 2 * (v.shape[1] * v.shape[2])).tolist()
    goals = [None] * len(v) if aim.psnr is None else aim.nmse().tolist()
    own = slice(1, 1 + layered.latent)
    sets = [tables_of(codebook.prior, t, own) for t in codebook.layered_tables]
    maps = v.cpu().numpy()

    def cheapest(i: int) -> tuple[int, NDArray[np.int64], int] | None:
        told = outline(maps[i], layered)
        if told is None:
            return None
        made = _candidates(told, sets, layered, aim.rate, scale[i], goals[i], search)
        _, q, which = min(made, key=lambda one: one[0])
        return i, q, codebook.layered_tables[which]

    if search:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # the search is compiled, and holds no lock
            tried = list(pool.map(cheapest, range(len(v))))
    else:  # little of this is: threads would wait for each other
        tried = list(map(cheapest, range(len(v))))
    made = [one for one in tried if one is not None]
    rows, table = (torch.tensor([one[k] for one in made], dtype=torch.long) for k in (0, 2))
    q = torch.zeros(len(made), codebook.latent)
    for i, (_, integers, t) in enumerate(made):
        q[i, 0] = float(codebook.prior.low[t, 0])
        q[i, own] = torch.from_numpy(integers).float()
    z = q * torch.from_numpy(codebook.prior.step)[table][:, None]
    return rows.to(v.device), z.to(v.device), table.to(v.device)


def _candidates(
    own: Outline,
    sets: list[Tables],
    decoder: LayeredDecoder,
    rate: float,
    scale: float,
    goal: float | None,
    search: bool,
) -> Iterator[tuple[float, NDArray[np.int64], int]]:
    """Integers (N,) of a map as (what they cost, integers, place of their table set)."""
    across = basis(own.depths.shape[1], decoder.waves)
    starts = []
    for step in sorted({tables.step for tables in sets}):
        first = rounded(own, step, decoder.layers)
        of_step = [i for i, tables in enumerate(sets) if tables.step == step]
        which = min(of_step, key=lambda i: sets[i].total(first))
        q = np.clip(first, sets[which].low, sets[which].high)
        error = searched(q, own, across, sets[which], decoder.layers, 0, 0.0, 0.0)
        starts.append((_cost(rate * sets[which].total(first), error / scale, goal), q, which))
    if not search:
        yield from starts
        return
    for _, q, which in sorted(starts, key=lambda start: start[0])[: LOOKS if goal is None else None]:
        tables = sets[which]
        if goal is None:
            price, gain = rate * FLOOR * scale, rate
            error = searched(q, own, across, tables, decoder.layers, SWEEPS, price, gain)
            yield _cost(rate * tables.total(q), error / scale, goal), q, which
            continue
        if tables.total(q) > DEAR * min(sets[other].total(start) for _, start, other in starts):
            continue
        for share in PRICES:  # from where the last left off, cheaper and cheaper
            error = searched(q, own, across, tables, decoder.layers, SWEEPS, share * goal * scale, 0.0)
            yield _cost(rate * tables.total(q), error / scale, goal), q.copy(), which
            if error > goal * scale:
                break


def _cost(bits: float, nmse: float, goal: float | None) -> float:
    """What a latent costs, as Aim has it, in nats."""
    return bits - FORTUNE if goal is not None and nmse <= SAFETY * goal else bits + math.log(nmse + FLOOR)


@lru_cache(maxsize=8)
def basis(width: int, waves: int) -> NDArray[np.float64]:
    """The cosines (W, K) of interfaces at the columns of a map."""
    across: NDArray[np.float64] = factors(torch.from_numpy(centres(width)), waves).numpy()
    return across

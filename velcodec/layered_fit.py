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

from . import decoders, layers
from .aim import FLOOR, FORTUNE, Aim, Found
from .codebook import Codebook
from .decoders.choice import ChoiceDecoder
from .decoders.cosines import NATIVE, factors
from .decoders.layered import LayeredDecoder
from .grid import centres
from .layered_search import Outline, Tables, rounded, searched, within

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


def fit(v: Tensor, codebook: Codebook, aim: Aim, search: bool) -> Found:
    """The cheapest layered latents of normalised maps (B, H, W); none of those that are not layered.

    Args:
        search: move the integers, rather than round once.
    """
    decoder = codebook.decoder
    assert isinstance(decoder, ChoiceDecoder) and decoder.layered is not None
    found = Found.nothing(len(v), codebook.latent, v.device)
    layered = decoder.layered
    span = (v.amax((1, 2)) - v.amin((1, 2))).clamp_min(1e-3)
    scale = (span.double() ** 2 * (v.shape[1] * v.shape[2])).tolist()
    goals = [None] * len(v) if aim.psnr is None else aim.nmse().tolist()
    sets = [_tables(codebook, t) for t in codebook.layered_tables]
    maps = v.cpu().numpy()

    def cheapest(i: int) -> tuple[int, NDArray[np.int64], int] | None:
        own = outline(maps[i], layered)
        if own is None:
            return None
        made = _candidates(own, sets, layered, aim.rate, scale[i], goals[i], search)
        _, q, which = min(made, key=lambda one: one[0])
        return i, q, codebook.layered_tables[which]

    if search:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # the search is compiled, and holds no lock
            tried = list(pool.map(cheapest, range(len(v))))
    else:  # little of this is: threads would wait for each other
        tried = list(map(cheapest, range(len(v))))
    made = [one for one in tried if one is not None]
    if not made:
        return found
    numbers, integers, tables = zip(*made, strict=True)
    rows = torch.tensor(numbers, device=v.device)
    q = torch.zeros(len(rows), codebook.latent)
    q[:, 0] = torch.from_numpy(codebook.prior.low[list(tables), 0].astype(np.float32))
    q[:, 1 : 1 + layered.latent] = torch.from_numpy(np.stack(integers)).float()
    found.take(measured(v[rows], q.to(v.device), torch.tensor(tables).to(v.device), codebook), rows, aim)
    return found


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


def measured(v: Tensor, q: Tensor, table: Tensor, codebook: Codebook) -> Found:
    """Integers (B, D) and table sets (B,) of normalised maps (B, H, W), and what they decode to."""
    span = (v.amax((1, 2)) - v.amin((1, 2))).clamp_min(1e-3)
    z, x = (torch.from_numpy(centres(n)).float().to(v.device) for n in v.shape[1:])
    step = torch.from_numpy(codebook.prior.step).to(v.device)[table][:, None]
    with torch.no_grad():
        restored = decoders.sample_grid(codebook.decoder, q * step, z, x)
        bits = codebook.prior.bits(q, table).sum(1)
    nmse = ((restored - v) ** 2).mean((1, 2)) / span**2
    return Found(q, table, torch.log(nmse.clamp_min(1e-12)), bits)


@lru_cache(maxsize=8)
def basis(width: int, waves: int) -> NDArray[np.float64]:
    """The cosines (W, K) of interfaces at the columns of a map."""
    across: NDArray[np.float64] = factors(torch.from_numpy(centres(width)), waves).numpy()
    return across


def _tables(codebook: Codebook, t: int) -> Tables:
    """The numbers of the layered decoder under a table set."""
    assert isinstance(codebook.decoder, ChoiceDecoder) and codebook.decoder.layered is not None
    own = slice(1, 1 + codebook.decoder.layered.latent)
    p = codebook.prior
    low = p.low[t, own].astype(np.int64)
    start = p.starts[t, own]
    return Tables(float(p.step[t]), low, p.high(t)[own], start, p.integers_bits.numpy())

"""A codebook of the warp decoder -> one of the choice decoder: its numbers that matter, and cosines beside them.

    tables of the warp codebook -> the numbers that carry anything, moved to 1 .. N; their weights
    smooth training maps        -> the 255 waves of most power, table sets for several steps of their products

Nothing here is trained: cosines are a fixed basis and their tables are counts.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import cosine_fit, prior
from .codebook import Codebook
from .decoders.choice import ChoiceDecoder
from .decoders.cosines import NATIVE, CosineDecoder
from .grid import centres
from .prior import TABLE_BITS, Prior
from .tables import smoothed, trimmed

SILENT = 0.1  # bits that a number may carry in every table set of the usual steps and still be left out
STEPS = (1.6, 1.0, 0.64, 0.4, 0.25, 0.16, 0.1)  # of cosines: the coarsest keeps 25 dB or so, the finest 45
PRICE = 0.12  # of a bit, in squared steps, at which table sets are filled
ROUNDS = 3  # of filling tables with integers that are cheap under the last ones
MAPS = 3000  # training maps of each kind

Mass = tuple[int, NDArray[np.float64]]


def with_cosines(book: Codebook, kinds: Sequence[NDArray[np.float32]]) -> Codebook:
    """A warp codebook with cosines, its tables filled with some kinds of normalised smooth maps (n, 70, 70)."""
    usual = book.prior.step <= book.usual_step
    kept = np.flatnonzero(_entropies(book.prior)[usual].max(0) > SILENT)
    latent, card = book.latent, copy.deepcopy(book.card)
    kept = kept[: latent - 1]
    decoding = card["decoding"]
    options = {"warp": {**decoding["options"], "latent": len(kept)}}
    card["decoding"] = {**decoding, "decoder": "choice", "options": options}
    card["encoder"] = {**(card["encoder"] or {}), "latent": len(kept)}
    kinds = [maps[:MAPS] for maps in kinds]
    cosines = CosineDecoder(latent - 1)
    cosines.waves.copy_(torch.from_numpy(_waves(kinds, latent - 1)))
    tensors = _moved(book.tensors, kept)
    tensors["decoder.cosines.waves"] = cosines.waves.numpy().astype(np.float16)
    masses = _drawn_masses(book.prior, kept)
    steps = list(book.prior.step)
    products = [_products(cosines, maps) for maps in kinds]
    first = [[_first_mass(c[:, d] / step) for d in range(c.shape[1])] for c in products for step in STEPS]
    steps += [np.float32(step) for _ in products for step in STEPS]
    for _ in range(ROUNDS):
        tables = trimmed(prior.build(np.array(steps, np.float32), masses + [_marked(m) for m in first]))
        made = Codebook({**tensors, **tables.tensors()}, card)
        first = [
            _filled(made, c, len(masses) + i * len(STEPS) + j)
            for i, c in enumerate(products)
            for j in range(len(STEPS))
        ]
    tables = trimmed(prior.build(np.array(steps, np.float32), masses + [_marked(m) for m in first]))
    return Codebook({**tensors, **tables.tensors()}, card)


def _entropies(p: Prior) -> NDArray[np.float64]:
    """Bits of each number under each table set, (T, D)."""
    out = np.empty(p.size.shape)
    for t, d in np.ndindex(*out.shape):
        share = p.table(t, d) / (1 << TABLE_BITS)
        out[t, d] = -(share * np.log2(share)).sum()
    return out


def _moved(tensors: dict[str, NDArray[Any]], kept: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The networks' tensors, by their names in a choice decoder, for the kept numbers alone."""
    out = {}
    for name, value in tensors.items():
        if name in ("decoder.seed.weight", "decoder.profile1.weight"):
            value = np.ascontiguousarray(value[:, kept])
        elif name.startswith("encoder.out."):
            value = np.ascontiguousarray(value[kept])
        if not name.startswith("prior."):
            out[name.replace("decoder.", "decoder.warp.", 1)] = value
    return out


def _drawn_masses(p: Prior, kept: NDArray[np.int64]) -> list[list[Mass]]:
    """The table sets of the network, moved; number 0 is 0, and those past the kept ones are too."""
    nothing: Mass = (-1, np.array([1e-9, 1.0]))
    rest = [nothing] * (p.latent - 1 - len(kept))
    return [
        [nothing, *((int(p.low[t, d]), p.table(t, d).astype(np.float64)) for d in kept), *rest]
        for t in range(p.tables)
    ]


def _marked(masses: list[Mass]) -> list[Mass]:
    """A table set of cosines: number 0 is 1."""
    return [(1, np.array([1.0, 1e-9])), *masses]


def _waves(kinds: Sequence[NDArray[np.float32]], count: int) -> NDArray[np.float32]:
    """The waves (count, 2) of most power, by the mean over kinds of maps of each one's share; constant first."""
    whole = CosineDecoder(NATIVE * NATIVE)
    down, across = torch.meshgrid(torch.arange(NATIVE), torch.arange(NATIVE), indexing="ij")
    whole.waves.copy_(torch.stack([across.flatten(), down.flatten()], 1))
    power = np.zeros(NATIVE * NATIVE)
    for maps in kinds:
        mean_square = (_products(whole, maps[:500]) ** 2).mean(0)
        power += np.log(mean_square + 1e-6 * mean_square.sum())
    waves: NDArray[np.float32] = whole.waves.numpy()[np.argsort(-power, kind="stable")[:count]]
    return waves


def _products(cosines: CosineDecoder, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    axis = torch.from_numpy(centres(NATIVE)).float()
    products: NDArray[np.float32] = cosines.project(torch.from_numpy(maps), axis, axis).numpy()
    return products


def _first_mass(q: NDArray[np.float32]) -> Mass:
    return smoothed(np.rint(q).astype(np.float64))


def _filled(book: Codebook, c: NDArray[np.float32], t: int) -> list[Mass]:
    """The tables of products c (n, N) made cheap under a table set: what they count."""
    assert isinstance(book.decoder, ChoiceDecoder)
    price = torch.full((len(c),), PRICE * float(book.prior.step[t]) ** 2)
    q = cosine_fit.integers(torch.from_numpy(c), book, t, price).numpy().astype(np.float64)
    return [smoothed(q[:, d]) for d in range(q.shape[1])]

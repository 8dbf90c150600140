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
from .prior import Prior
from .tables import smoothed, trimmed

SILENT = 0.1  # bits that a number may carry over all kinds of maps, at the usual step, and still be left out
STEPS = (1.6, 1.0, 0.64, 0.4, 0.25, 0.16, 0.1)  # of cosines: the coarsest keeps 25 dB or so, the finest 45
PRICE = 0.12  # of a bit, in squared steps, at which table sets are filled
ROUNDS = 3  # of filling tables with integers that are cheap under the last ones
MAPS = 3000  # training maps of each kind

Mass = tuple[int, NDArray[np.float64]]


def with_wider_steps(
    book: Codebook, keep: Sequence[int], widen: Sequence[int], times: Sequence[int]
) -> Codebook:
    """A codebook with some of its table sets, and of some of these sets for wider steps: its integers, rounded."""
    p, steps, masses = book.prior, [], []
    for t in keep:
        own: list[Mass] = [(int(p.low[t, d]), p.table(t, d).astype(np.float64)) for d in range(p.latent)]
        for wide in (1, *times) if t in widen else (1,):
            steps.append(float(p.step[t]) * wide)
            masses.append([_rounded(*mass, wide) for mass in own])
    made = trimmed(prior.build(np.array(steps, np.float32), masses))
    tensors = {name: value for name, value in book.tensors.items() if not name.startswith("prior.")}
    return Codebook(
        {**tensors, **made.tensors()}, {**book.card, "usual_step": float(p.step[list(widen)].max())}
    )


def _rounded(low: int, mass: NDArray[np.float64], times: int) -> Mass:
    """Mass on integers low, low + 1, ... as it falls on those of a step some times as wide."""
    at = np.rint((low + np.arange(len(mass))) / times).astype(int)
    out = np.full(max(at[-1] - at[0], 1) + 1, 1e-8 * mass.sum())
    np.add.at(out, at - at[0], mass)
    return int(at[0]), out


def with_cosines(book: Codebook, kinds: Sequence[NDArray[np.float32]]) -> Codebook:
    """A warp codebook with cosines, its tables filled with some kinds of normalised smooth maps (n, 70, 70)."""
    latent, card = book.latent, copy.deepcopy(book.card)
    kept, rest = _silent(book)
    decoding = card["decoding"]
    options = {"warp": {**decoding["options"], "latent": len(kept)}}
    card["decoding"] = {**decoding, "decoder": "choice", "options": options}
    card["encoder"] = {**(card["encoder"] or {}), "latent": len(kept)}
    kinds = [maps[:MAPS] for maps in kinds]
    cosines = CosineDecoder(latent - 1)
    cosines.waves.copy_(torch.from_numpy(_waves(kinds, latent - 1)))
    tensors = _moved(book.tensors, kept, rest)
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


def _silent(book: Codebook) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The numbers that carry something, at most all but one, and what latents (D,) have of the others: a constant."""
    p = book.prior
    usual = np.flatnonzero(p.step == p.step[p.step <= book.usual_step].max()).tolist()
    bits, mean = np.empty(p.latent), np.empty(p.latent)
    for d in range(p.latent):
        low = min(int(p.low[t, d]) for t in usual)
        mass = np.zeros(max(int(p.high(t)[d]) for t in usual) - low + 1)
        for t in usual:
            mass[p.low[t, d] - low :][: p.size[t, d]] += p.table(t, d) / len(usual)
        share = mass[mass > 0] / mass.sum()
        bits[d] = -(share * np.log2(share)).sum()
        mean[d] = low + int(mass.argmax())
    kept = np.flatnonzero(bits > SILENT)
    kept = kept if len(kept) < p.latent else np.sort(np.argsort(-bits)[:-1])
    rest = mean * float(p.step[usual[0]])
    rest[kept] = 0
    return kept, rest


def _moved(
    tensors: dict[str, NDArray[Any]], kept: NDArray[np.int64], rest: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """The networks' tensors, by their names in a choice decoder, for the kept numbers; the rest goes into biases."""
    out = {}
    for name, value in tensors.items():
        if name in ("decoder.seed.bias", "decoder.profile1.bias"):
            weight = tensors[name.replace("bias", "weight")].astype(np.float64)
            value = (value + weight @ rest).astype(value.dtype)
        elif name in ("decoder.seed.weight", "decoder.profile1.weight"):
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

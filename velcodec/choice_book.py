"""A codebook of the warp decoder -> one of the choice decoder: its numbers that matter, cosines and layers beside them.

    tables of the warp codebook -> the numbers that carry anything, moved to 1 .. N; their weights
    smooth training maps        -> the waves of most power, table sets of their products (cosine_tables.py)
    layered training maps       -> table sets of their interfaces and velocities (layered_tables.py)
    faulted training maps       -> table sets of their faults too (faulted_tables.py, told_tables.py)

Nothing here is trained: cosines and layers are fixed, and their tables are counts.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import cosine_tables, faulted_tables, layered_tables, prior, told_tables
from .codebook import Codebook, in_bytes
from .decoders.choice import FAULTS, LAYERS
from .decoders.cosines import CosineDecoder
from .decoders.faulted import FaultedDecoder
from .decoders.layered import LayeredDecoder
from .prior import Prior
from .tables import RARE, Mass, always, trimmed
from .told_tables import Kind

SILENT = 0.5  # bits that a number may carry over all kinds of maps, at the usual step, and still be left out
HEAVY = 50_000  # numbers of a tensor of the encoder network that is kept in int8
FAULTS_RARE = 3  # of 65536, at the ends of the faulted decoder's tables
WAVES = 40  # of an interface of layers, with and without faults: fewer leave columns that do not round to its depth
PATCHES = 24  # over what layers and faults leave wrong
SLIPS = 6  # of both stacks together
LATENT = 800  # faults, patches and slips need as many; of other maps' most are always 0, and take no bytes


@dataclass(frozen=True)
class Smooth:
    """A kind of smooth maps: normalised (n, 70, 70); how many cosines, step sizes and classes it has tables for."""

    maps: NDArray[np.float32]
    numbers: int
    steps: Sequence[float]
    classes: int = 1


def with_parts(book: Codebook, kinds: Sequence[Smooth], layered: NDArray[np.float32]) -> Codebook:
    """A warp codebook with cosines and layers beside the network.

    Args:
        kinds: of smooth maps, each with table sets of its own.
        layered: normalised maps (n, 70, 70); those that are not layered are passed over.
    """
    card = copy.deepcopy(book.card)
    kept, rest = _silent(book)
    decoding = card["decoding"]
    warp = {**decoding["options"], "latent": len(kept)}
    options = {"latent": LATENT, "warp": warp, "layered": {"waves": WAVES}}
    card["decoding"] = {**decoding, "decoder": "choice", "options": options}
    card["encoder"] = {**(card["encoder"] or {}), "latent": len(kept)}
    cosines = CosineDecoder(LATENT - 1)
    waves = cosine_tables.waves([kind.maps for kind in kinds], LATENT - 1)
    cosines.waves.copy_(cosines.waves.new_tensor(waves))
    tensors = {**_moved(book.tensors, kept, rest), "decoder.cosines.waves": waves.astype(np.float16)}
    steps, sets = book.prior.step.tolist(), _network_sets(book.prior, kept)
    made = [cosine_tables.table_sets(cosines, k.maps, k.numbers, k.steps, k.classes) for k in kinds]
    made.append(
        told_tables.table_sets(
            layered_tables.kinds(layered, LayeredDecoder(waves=WAVES)), LATENT, LAYERS, book.rate
        )
    )
    for more, masses in made:
        steps += more
        sets += masses
    return Codebook({**tensors, **_built(steps, sets).tensors()}, card)


def with_layers(book: Codebook, maps: NDArray[np.float32], without: Sequence[int] = ()) -> Codebook:
    """A choice codebook with the layered decoder beside its other parts, or in place of the one that it had.

    Args:
        maps: normalised training maps (n, 70, 70); those that are not layered are passed over.
        without: table sets that are left out, those of the decoder before among them.
    """
    kinds = layered_tables.kinds(maps, LayeredDecoder(waves=WAVES))
    return _with_part(book, "layered", kinds, LAYERS, RARE, without, {"waves": WAVES})


def with_faults(
    book: Codebook,
    maps: NDArray[np.float32],
    without: Sequence[int] = (),
    torn: NDArray[np.float32] | None = None,
    patches: int = PATCHES,
    slips: int = SLIPS,
) -> Codebook:
    """A choice codebook with the faulted decoder beside its other parts, or in place of the one that it had.

    Args:
        maps: normalised training maps (n, 70, 70); those without faults or plateaus are passed over.
        without: table sets that are left out, those of the decoder before among them.
        torn: more such maps, of which patches alone are counted.
        patches, slips: that a map may have; 0 where the codebook has too few numbers for any.
    """
    options = {"waves": WAVES, "patches": patches, "slips": slips}
    kinds = faulted_tables.kinds(maps, FaultedDecoder(**options), book.rate, torn)
    return _with_part(book, "faulted", kinds, FAULTS, FAULTS_RARE, without, options)


def widened(book: Codebook) -> Codebook:
    """A choice codebook of LATENT numbers, those that it did not have always 0."""
    card, more = copy.deepcopy(book.card), LATENT - book.latent
    card["decoding"]["options"]["latent"] = LATENT
    p, rest = book.prior, [always(0)] * more
    masses = [[*_masses(p, t, range(p.latent)), *rest] for t in range(p.tables)]
    tensors = {**book.tensors, **prior.build(p.step, masses).tensors()}
    waves = [tuple(wave) for wave in book.tensors["decoder.cosines.waves"].astype(int).tolist()]
    longer = sorted(
        {(k, m) for k in range(70) for m in range(70)} - set(waves), key=lambda wave: (sum(wave), wave)
    )
    tensors["decoder.cosines.waves"] = np.array(waves + longer[:more], np.float16)
    return Codebook(tensors, card)


def with_faults_of(book: Codebook, other: Codebook) -> Codebook:
    """A choice codebook with the faulted decoder of another one, which knows nothing of networks."""
    options = other.card["decoding"]["options"]["faulted"]
    return _joined(book, book.prior, prior.some(other.prior, other.faulted_tables), "faulted", options)


def _built(steps: Sequence[float], masses: list[list[Mass]], rare: int = RARE) -> Prior:
    return trimmed(prior.build(np.array(steps, np.float32), masses), rare)


def _with_part(
    book: Codebook,
    part: str,
    kinds: Sequence[Kind],
    first: float,
    rare: int,
    without: Sequence[int],
    options: dict[str, Any],
) -> Codebook:
    """A choice codebook with a decoder of layers, and tables counted on kinds of maps, in place of some table sets."""
    tables = _built(*told_tables.table_sets(kinds, book.latent, first, book.rate), rare)
    kept = prior.some(book.prior, [t for t in range(book.prior.tables) if t not in without])
    return _joined(book, kept, tables, part, options)


def _joined(book: Codebook, tables: Prior, more: Prior, part: str, options: dict[str, Any]) -> Codebook:
    """A choice codebook with tables of its own and those of one part, a decoder of some options.

    Its encoder network is kept in int8: where a search starts may be rough, and this makes room for the tables.
    """
    card = copy.deepcopy(book.card)
    card["decoding"]["options"][part] = options
    networks = {k: v for k, v in book.tensors.items() if not k.startswith("prior.")}
    tensors = {**in_bytes(networks, "encoder.", HEAVY), **prior.joined(tables, more).tensors()}
    return Codebook(tensors, card)


def _silent(book: Codebook) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The numbers that carry something, at least one, and what latents (D,) have of the others: a constant."""
    p = book.prior
    step = p.step[p.step <= book.usual_step].max()
    usual = np.flatnonzero(p.step == step).tolist()
    bits, mean = np.empty(p.latent), np.empty(p.latent)
    for d in range(p.latent):
        low = min(int(p.low[t, d]) for t in usual)
        mass = np.zeros(max(int(p.high(t)[d]) for t in usual) - low + 1)
        for t in usual:
            mass[p.low[t, d] - low :][: p.size[t, d]] += p.table(t, d) / len(usual)
        share = mass[mass > 0] / mass.sum()
        bits[d] = -(share * np.log2(share)).sum()
        mean[d] = low + int(mass.argmax())
    kept = np.flatnonzero((bits > SILENT) | (bits == bits.max()))
    rest = mean * float(step)
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


def _network_sets(p: Prior, kept: NDArray[np.int64]) -> list[list[Mass]]:
    """The table sets of the network, moved: number 0 is 0, and so are those past the kept ones."""
    rest = [always(0)] * (LATENT - 1 - len(kept))
    return [[always(0), *_masses(p, t, kept.tolist()), *rest] for t in range(p.tables)]


def _masses(p: Prior, t: int, numbers: Iterable[int]) -> list[Mass]:
    """Those of some numbers of a table set."""
    return [(int(p.low[t, d]), p.table(t, d).astype(np.float64)) for d in numbers]

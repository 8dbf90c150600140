"""Trained networks -> a codebook: integer tables, drift bound, figures, card.

    networks -> fp16 weights -> tables of the rate model -> latents that the search finds -> tables of those
             -> cosines and layers beside the network (choice_book.py)

An auto-decoder's tables are counted on the latents of its own training maps.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import __version__, choice_book, prior
from .choice_book import Smooth
from .codebook import Codebook, load_codebook, save
from .fit import fit_latents
from .grid import make_grid
from .objectives import STEP, Networks
from .prior import Prior
from .synthesis import sample
from .tables import logistic, smoothed, trimmed
from .training_data import CENTRE, SCALE, Pool, Recipe

COARSE = 0.5  # step of the table sets, relative to the one trained with
# Families that share table sets of the network, and how many times as wide their steps are, for PSNRs below the best.
KINDS: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...] = (
    (("FlatFault_A",), (1, 2, 4, 8, 16)),
    (("CurveFault_A",), (1, 2, 4, 8, 16)),
    (("FlatFault_B", "CurveFault_B"), (1, 2, 4, 8)),
)
# Cosines, step sizes and classes of smooth maps. At the coarsest step Style_A keeps 26 dB, at the finest 43.
SMOOTH_KINDS: dict[str, tuple[int, tuple[float, ...], int]] = {
    "Style_A": (320, (1.6, 1.0, 0.64, 0.4, 0.25, 0.19, 0.145), 1),
    "Style_B": (choice_book.LATENT - 1, (1.0, 0.64, 0.4, 0.25, 0.19, 0.145, 0.1), 2),
}
LAYERED_KINDS = ("FlatVel_A", "FlatVel_B", "CurveVel_A", "CurveVel_B")
LAYERED_MAPS = 1500  # of each family
OWN_STEP = 0.125  # of an auto-decoder's latents, of their standard deviation
# Of 65536, as tables.RARE, of the network's numbers: a search makes do with likelier ones.
RARE_IN_SEARCH = 56
SAMPLE_MAPS = 256  # training maps of each family whose latents make the tables
DRIFT_MAPS = 64
DRIFT_MARGIN = 4.0  # times the largest drift measured


def release(
    nets: Networks,
    recipe: Recipe,
    pool: Pool,
    held_out: Mapping[str, Tensor],
    output: Path,
    *,
    id: str,
    training_data: str,
    licence: str,
    notes: str = "",
    effort: int = 3,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Codebook:
    """Make a codebook of trained networks and write it.

    Args:
        held_out: normalised maps (n, 70, 70) by family, never trained on; the card's figures are theirs.
        id, training_data, licence, notes: for the card.
        effort: of the search whose latents make the tables.
    """
    weights = _weights(nets)
    card: dict[str, Any] = {
        "id": id,
        "version": 1,
        "training_data": training_data,
        "licence": licence,
        "recipe": asdict(recipe),
        "code_version": __version__,
        "notes": notes,
        "decoding": {
            "decoder": recipe.decoder,
            "options": recipe.options,
            "normalisation": [CENTRE, SCALE],
        },
        "encoder": {} if nets.encoder is not None else None,
        "encoder_unit": STEP,
        "rate": recipe.rate,
        "drift_bound": 0.0,
    }
    where = torch.device(device)
    progress("counting latents of training maps for the tables")
    if nets.latents is not None:
        tables = _own_prior(nets.latents.weight.detach().cpu().numpy())
    else:
        first = Codebook({**weights, **_logistic_prior(nets).tensors()}, card)
        tables = trimmed(_seen_prior(first, pool, effort, where), RARE_IN_SEARCH)
    card["usual_step"] = float(tables.step[0])
    book = Codebook({**weights, **tables.tensors()}, card)
    if recipe.decoder == "warp":
        progress("counting the cosines of smooth training maps and the layers of layered ones")
        smooth = [Smooth(v, *SMOOTH_KINDS[f]) for f in SMOOTH_KINDS if len(v := _maps_of(f, pool))]
        layered = [_maps_of(family, pool)[:LAYERED_MAPS] for family in LAYERED_KINDS]
        book = choice_book.with_parts(book, smooth, np.concatenate(layered))
        before = load_codebook(recipe.start) if recipe.start else None
        if before is not None and before.faulted_tables and before.latent <= book.latent:
            book = choice_book.with_faults_of(book, choice_book.widened(before))
    card = book.card
    progress("measuring the drift bound")
    shares = [v[: max(1, DRIFT_MAPS // len(pool.sources))].numpy() for _, v in pool.sources]
    card["drift_bound"] = measure_drift(book, np.concatenate(shares)[:DRIFT_MAPS])
    progress("measuring held-out maps")
    card["figures"] = {f: figures(book, maps.numpy(), effort, where) for f, maps in held_out.items()}
    book = Codebook(book.tensors, card)
    save(book, Path(output), overwrite)
    return book


def _weights(nets: Networks) -> dict[str, NDArray[Any]]:
    """Weights of decoder and encoder as float16 tensors."""
    out = {}
    for name, part in (("decoder", nets.decoder), ("encoder", nets.encoder)):
        if part is not None:
            for key, value in part.state_dict().items():
                out[f"{name}.{key}"] = value.detach().cpu().numpy().astype(np.float16)
    return out


def _logistic_prior(nets: Networks) -> Prior:
    """Tables of the rate model's logistics."""
    assert nets.rates is not None
    mean = nets.rates.mean.detach().cpu().numpy().astype(np.float64)
    scale = np.exp(nets.rates.log_scale.detach().cpu().numpy().astype(np.float64))
    masses = [
        [logistic(a, b) for a, b in zip(m, s, strict=True)]
        for m, s in zip(mean / COARSE, scale / COARSE, strict=True)
    ]
    return prior.build(np.full(len(masses), STEP * COARSE, np.float32), masses)


def _own_prior(latents: NDArray[np.float32]) -> Prior:
    """One table set of an auto-decoder's latents (n, D), at a fraction of their spread."""
    step = float(latents.std()) * OWN_STEP
    q = np.rint(latents.astype(np.float64) / step)
    return trimmed(prior.build(np.array([step], np.float32), [[smoothed(column) for column in q.T]]))


def _seen_prior(book: Codebook, pool: Pool, effort: int, device: torch.device) -> Prior:
    """Tables of latents that the search finds for training maps: a set a kind of map and step."""
    steps, masses = [], []
    usual = float(book.prior.step.max())
    kinds = [(families, times) for families, times in KINDS if any(len(_maps_of(f, pool)) for f in families)]
    others = tuple({name for name, _ in pool.sources} - {f for families, _ in KINDS for f in families})
    for families, times in kinds or [(others, (1, 2, 4, 8))]:
        found = _latents_of(families, book, pool, effort, device)
        for wide in times:
            q = np.rint(found.astype(np.float64) / (usual * wide))
            steps.append(usual * wide)
            masses.append([smoothed(column) for column in q.T])
    return prior.build(np.array(steps, np.float32), masses)


def _latents_of(
    families: tuple[str, ...], book: Codebook, pool: Pool, effort: int, device: torch.device
) -> NDArray[np.float32]:
    """Latents (n, D) that the search finds for some training maps of some families."""
    found = []
    for family, maps in pool.sources:
        if family in families:
            share = sum(name == family for name, _ in pool.sources)
            thinned = maps[:: max(1, len(maps) * share // SAMPLE_MAPS)][: max(1, SAMPLE_MAPS // share)]
            found.append(fit_latents(thinned.numpy(), book, device, effort).latents)
    return np.concatenate(found)


def _maps_of(family: str, pool: Pool) -> NDArray[np.float32]:
    """All training maps (n, 70, 70) of a family."""
    found = [maps.numpy() for name, maps in pool.sources if name == family]
    return np.concatenate(found) if found else np.zeros((0, 70, 70), np.float32)


def measure_drift(book: Codebook, v: NDArray[np.float32], effort: int = 0) -> float:
    """A bound on how far two decodes of a latent differ, in normalised units, from normalised maps (n, 70, 70).

    The largest difference over batch sizes and thread counts from a decode in float64, times a margin for machines
    that are not at hand.
    """
    where, maps = torch.device("cpu"), len(v)
    latents = fit_latents(v, book, where, effort).latents
    grid = make_grid((70, 70))
    decoder = book.decoder.double()
    axis = torch.from_numpy(grid.z)
    with torch.no_grad():
        exact = decoder.grid(torch.from_numpy(latents).double(), axis, axis).numpy()  # type: ignore[operator]
    book.decoder.float()
    worst, threads = 0.0, torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            for batch in (1, 7, maps):
                for i in range(0, maps, batch):
                    out = sample(book, latents[i : i + batch], grid, where)
                    worst = max(worst, float(np.abs(out - exact[i : i + batch]).max()))
    finally:
        torch.set_num_threads(threads)
    return DRIFT_MARGIN * worst


def figures(book: Codebook, maps: NDArray[np.float32], effort: int, device: torch.device) -> dict[str, float]:
    """Mean PSNR (dB) and mean ideal bytes of the latents of normalised maps, rounded, at an effort."""
    fit = fit_latents(maps, book, device, effort)
    _, latents, size = fit.rounded(book)
    restored = sample(book, latents, make_grid((70, 70)), device).clip(-1, 1)
    span = np.ptp(maps, axis=(1, 2))
    quality = 10 * np.log10(span**2 / ((restored - maps) ** 2).mean((1, 2)))
    return {"psnr": round(float(quality.mean()), 2), "bytes": round(float(size.mean()), 1), "maps": len(maps)}

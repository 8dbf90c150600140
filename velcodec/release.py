"""Trained networks -> a codebook: integer tables, drift bound, figures, card.

networks -> fp16 weights -> tables of the rate model -> latents that the search finds -> tables of those
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import __version__, prior
from .codebook import Codebook, save
from .fit import fit_latents
from .grid import make_grid
from .prior import Prior
from .smoothness import with_cosines
from .synthesis import sample
from .tables import logistic, smoothed, trimmed
from .train import CENTRE, SCALE, STEP, Networks, Pool, Recipe

COARSE = 0.5  # step of the table sets, relative to the one trained with
FINE = 0.25  # of a second set for the kinds that latents fit so well that the step limits them
KINDS = (  # families that share table sets
    ("FlatVel_A",),
    ("FlatVel_B",),
    ("CurveVel_A", "CurveVel_B"),
    ("FlatFault_A",),
    ("CurveFault_A",),
    ("FlatFault_B", "CurveFault_B"),
    ("Style_A",),
    ("Style_B",),
)
FINE_KINDS = (("FlatVel_A",),)
FLAT_KINDS = (("FlatVel_A",), ("FlatVel_B",))  # seldom stored as latents: without sets of wider steps
SMOOTH_KINDS = (("Style_A",), ("Style_B",))  # whose cosines have table sets
TIMES = (2, 4, 8)  # wider steps of more sets, for PSNRs below the best
SAMPLE_MAPS = 256  # training maps of each family whose latents make the tables
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
        "usual_step": STEP * COARSE,
        "drift_bound": 0.0,
    }
    smooth = [maps for families in SMOOTH_KINDS if len(maps := _maps_of(families, pool))]
    smooth = smooth if recipe.decoder == "warp" else []
    drawn = [families for families in KINDS if not (smooth and families in SMOOTH_KINDS)]
    first = _logistic_prior(nets)
    where = torch.device(device)
    book = Codebook({**weights, **first.tensors()}, card)
    progress("fitting latents of training maps for the tables")
    book = Codebook({**weights, **trimmed(_seen_prior(book, pool, drawn, effort, where)).tensors()}, card)
    if smooth:
        progress("counting the cosines of smooth training maps")
        book = with_cosines(book, smooth)
    card = book.card
    progress("measuring the drift bound")
    card["drift_bound"] = measure_drift(book, pool)
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
    """Tables of the rate model's logistics; of an auto-decoder, of logistics fitted to its latents."""
    if nets.rates is not None:
        mean = nets.rates.mean.detach().cpu().numpy().astype(np.float64)
        scale = np.exp(nets.rates.log_scale.detach().cpu().numpy().astype(np.float64))
        step = STEP
    else:
        assert nets.latents is not None
        z = nets.latents.weight.detach().cpu().numpy().astype(np.float64)
        step = float(z.std() / 4)
        mean = z.mean(0, keepdims=True) / step
        scale = z.std(0, keepdims=True) / step * math.sqrt(3) / math.pi
    masses = [
        [logistic(a, b) for a, b in zip(m, s, strict=True)]
        for m, s in zip(mean / COARSE, scale / COARSE, strict=True)
    ]
    return prior.build(np.full(len(masses), step * COARSE, np.float32), masses)


def _seen_prior(
    book: Codebook, pool: Pool, kinds: Sequence[tuple[str, ...]], effort: int, device: torch.device
) -> Prior:
    """Tables of latents that the search finds for training maps: a set a kind of map, for some finer and wider ones."""
    steps, masses = [], []
    coarse = float(book.prior.step.max())
    for step, of_step in ((coarse, kinds), (coarse * FINE / COARSE, FINE_KINDS)):
        for families in of_step:
            found = _latents_of(families, book, pool, effort, device, rounded=step == coarse)
            wide = step == coarse and families not in FLAT_KINDS
            for times in (1, *TIMES) if wide and len(found) else (1,) * bool(len(found)):
                q = np.rint(found.astype(np.float64) / (step * times))
                steps.append(step * times)
                masses.append([smoothed(q[:, d]) for d in range(book.latent)])
    return prior.build(np.array(steps, np.float32), masses)


def _latents_of(
    families: tuple[str, ...], book: Codebook, pool: Pool, effort: int, device: torch.device, rounded: bool
) -> NDArray[np.float32]:
    """Latents (n, D) that the search finds for some training maps of some families."""
    found = [np.zeros((0, book.latent), np.float32)]
    for family, maps in pool.sources:
        if family in families:
            share = sum(name == family for name, _ in pool.sources)
            thinned = maps[:: max(1, len(maps) * share // SAMPLE_MAPS)][: max(1, SAMPLE_MAPS // share)]
            found.append(fit_latents(thinned.numpy(), book, device, effort, rounded).latents)
    return np.concatenate(found)


def _maps_of(families: tuple[str, ...], pool: Pool) -> NDArray[np.float32]:
    """All training maps (n, 70, 70) of some families."""
    found = [maps.numpy() for family, maps in pool.sources if family in families]
    return np.concatenate(found) if found else np.zeros((0, 70, 70), np.float32)


def measure_drift(book: Codebook, pool: Pool, maps: int = 64) -> float:
    """A bound on how far two decodes of one latent differ, in normalised units.

    The largest difference over batch sizes and thread counts from a decode in float64, times a margin for machines
    that are not at hand.
    """
    where = torch.device("cpu")
    shares = [v[: max(1, maps // len(pool.sources))].numpy() for _, v in pool.sources]
    v = np.concatenate(shares)[:maps]
    maps = len(v)
    latents = fit_latents(v, book, where, 0).latents
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

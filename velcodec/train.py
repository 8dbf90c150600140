"""Codebook training: maps of several families -> decoder, amortised encoder and rate model.

    joint          v -> encoder -> y + U(-1/2, 1/2) -> decoder -> v'      loss = log NMSE + rate x bits(y)
    auto-decoder   latent of each map ----------------> decoder -> v'      loss = MSE + 1e-4 |z|^2

The joint objective is that of Balle et al., "End-to-end optimized image compression", 2017: uniform noise stands in
for rounding, a factorised logistic model per family for the entropy coder. The distortion is the logarithm of the
MSE over the map's squared range, that is its PSNR, so that one rate weighs alike on every map. The auto-decoder's
is the paper's (Liu et al. 2026; figures in its Section 3).

Everything that a run depends on stands in its Recipe; a checkpoint holds all it needs to go on.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from . import decoders, synth
from .amortised import AmortisedEncoder
from .codebook import Codebook, load_codebook
from .decoders.choice import ChoiceDecoder
from .device import has_fast_bfloat16, keep_freed_memory
from .errors import DataError, UsageError
from .grid import centres
from .optim import Muon
from .parallel import Team

CENTRE, SCALE = 3000.0, 1500.0  # m/s: the normalisation of OpenFWI's range to [-1, 1]
STEP = 0.15  # latent units of one quantisation step
LOG_FLOOR = 1e-5  # NMSE below which (50 dB) the joint objective stops rewarding
CLIP = 1.0

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Recipe:
    """What a training run depends on. Rates are per bit, learning rates are peaks, weights share out a batch."""

    decoder: str = "warp"
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 40_000
    batch: int = 64
    side: int = 28  # rows and columns drawn a step: 28 x 28 of the 4900 samples
    rate: float = 5e-4
    learning_rate: float = 1.5e-3
    muon_rate: float = 0.008
    warmup: int = 200
    decay: float = 1.0  # share of the steps over which the learning rate falls to 2 %
    penalty: float = 1e-4  # lambda |z|^2 of the auto-decoder
    synthetic: int = 4000  # maps of each family from synth.py
    start: str = (
        ""  # codebook (id, hash or path) whose networks training goes on from; of one decoder with it
    )
    seed: int = 0
    weights: dict[str, float] = field(
        default_factory=lambda: {
            "FlatVel_A": 0.05,
            "FlatVel_B": 0.03,
            "CurveVel_A": 0.20,
            "CurveVel_B": 0.08,
            "FlatFault_A": 0.22,
            "FlatFault_B": 0.10,
            "CurveFault_A": 0.22,
            "CurveFault_B": 0.10,
            "Style_A": 0.0,  # cosines' work: for their tables alone
            "Style_B": 0.0,
        }  # fmt: skip
    )


@dataclass(frozen=True)
class Pool:
    """Normalised native maps (n, 70, 70) by source: (family, maps). Real and synthetic maps are two sources."""

    sources: tuple[tuple[str, Tensor], ...]

    def draw(self, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch: maps (B, 70, 70), mirrored at random, and the index of each map's family (B,)."""
        share = {name: sum(family == name for family, _ in self.sources) for name in recipe.weights}
        p = torch.tensor(
            [recipe.weights.get(family, 0.0) / max(1, share.get(family, 1)) for family, _ in self.sources]
        )
        picks = torch.multinomial(p, recipe.batch, replacement=True, generator=generator).tolist()
        rows = torch.rand(recipe.batch, generator=generator).tolist()
        flips = torch.rand(recipe.batch, generator=generator).tolist()
        maps = []
        for pick, row, flip in zip(picks, rows, flips, strict=True):
            source = self.sources[pick][1]
            v = source[int(row * len(source))]
            maps.append(v.flip(-1) if flip < 0.5 else v)
        return torch.stack(maps), torch.tensor([synth.FAMILIES.index(self.sources[i][0]) for i in picks])


def normalise(maps: NDArray[Any]) -> Tensor:
    """Maps in m/s, (n, 70, 70) or (n, 1, 70, 70), to float32 about [-1, 1]."""
    v = np.asarray(maps, dtype=np.float32)
    v = v.reshape(-1, *v.shape[-2:])
    if v.shape[1:] != (70, 70) or not np.isfinite(v).all():
        raise DataError(f"training maps must be finite and 70 x 70, not of shape {v.shape}")
    return torch.from_numpy((v - CENTRE) / SCALE)


def build_pool(recipe: Recipe, real: Mapping[str, NDArray[Any]], progress: Callable[[str], None]) -> Pool:
    """Real maps by family, and `recipe.synthetic` maps of every family that the recipe names, be it with weight 0."""
    sources = [(synth.canonical(family), normalise(maps)) for family, maps in real.items()]
    for family, weight in recipe.weights.items():
        if weight >= 0 and recipe.synthetic > 0:
            progress(f"making {recipe.synthetic} maps of {family}")
            made = synth.generate(family, recipe.synthetic, 70, seed=recipe.seed + 1)
            sources.append((synth.canonical(family), normalise(made)))
    if not sources:
        raise UsageError("nothing to train on: give --data or --synthetic")
    return Pool(tuple(sources))


class RateModel(nn.Module):
    """Bits of quantised latents under a logistic of its own for every family and latent number."""

    def __init__(self, tables: int, latent: int = 256) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(tables, latent))
        self.log_scale = nn.Parameter(torch.ones(tables, latent))

    def forward(self, y: Tensor, table: Tensor) -> Tensor:
        """Latents (B, 256) in steps and the table of each (B,) to bits (B, 256)."""
        mean, sharpness = self.mean[table], torch.exp(-self.log_scale[table])
        above, below = (y + 0.5 - mean) * sharpness, (y - 0.5 - mean) * sharpness
        # s(a) - s(b) = s(a) s(-b) (1 - e^(b - a)): exact, and its gradient lives far out in the tails.
        nats = F.softplus(-above) + F.softplus(below) - torch.log(-torch.expm1(-sharpness))
        return nats / math.log(2)


@dataclass
class Networks:
    """The parts that train together. The auto-decoder has latents (n, 256) of its maps and no encoder or rates."""

    decoder: nn.Module
    encoder: AmortisedEncoder | None = None
    rates: RateModel | None = None
    latents: nn.Embedding | None = None

    def parts(self) -> dict[str, nn.Module]:
        """The parts there are, by name."""
        named = {
            "decoder": self.decoder,
            "encoder": self.encoder,
            "rates": self.rates,
            "latents": self.latents,
        }
        return {name: part for name, part in named.items() if part is not None}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of every part."""
        for part in self.parts().values():
            yield from part.parameters()


def nmse(restored: Tensor, maps: Tensor, span: Tensor) -> Tensor:
    """MSE of each map over its squared range (B,); 10 log10 of it is minus the PSNR."""
    return ((restored - maps) ** 2).mean((1, 2)) / span**2


def psnr(decoder: nn.Module, latents: Tensor, maps: Tensor) -> Tensor:
    """PSNR in dB of each map (B, 70, 70) as decoded on its native grid, clamped to [-1, 1]."""
    axis = torch.from_numpy(centres(70)).float().to(maps.device)
    restored = decoders.sample_grid(decoder, latents, axis, axis).clamp(-1, 1)
    span = (maps.amax((1, 2)) - maps.amin((1, 2))).clamp_min(1e-6)
    return -10 * torch.log10(nmse(restored, maps, span).clamp_min(1e-12))


def train(
    recipe: Recipe,
    pool: Pool,
    held_out: Mapping[str, Tensor],
    checkpoint: Path,
    team: Team | None = None,
    report: Report = lambda row: None,
    every: int = 1000,
    tick: Callable[[], None] = lambda: None,
) -> Networks:
    """Train by the recipe, resuming from the checkpoint if it is there; it is rewritten every `every` steps.

    Args:
        held_out: normalised maps (n, 70, 70) by family, measured at every report and never trained on.
        team: the processes that train together and their devices; this one alone, on the CPU, unless said.
        report: called with {"step", "loss", family: (PSNR dB, bytes)} beside every checkpoint.
        tick: called after each step.

    Batches are drawn alike whatever the number of processes, and a checkpoint may be resumed by another number.
    """
    if not recipe.steps and not recipe.start:
        raise UsageError("0 steps leave networks untrained; name a codebook to start from")
    if (
        recipe.decoder != "siren"
        and recipe.steps
        and not any(recipe.weights.get(f, 0) > 0 for f, _ in pool.sources)
    ):
        raise UsageError(
            "no family with maps here has a weight above 0, so the network has nothing to learn from: smooth families "
            "are told by cosines; add maps of others, or weights, or take 0 steps from a codebook"
        )
    team = team or Team()
    team.check(recipe.batch)
    keep_freed_memory()
    torch.manual_seed(recipe.seed)
    objective: Joint | AutoDecoder
    if recipe.decoder == "siren":
        objective = AutoDecoder(recipe, pool)
    else:
        objective = Joint(recipe, pool, fresh=not checkpoint.exists())
    objective.to(team.device)
    optimisers = objective.optimisers()
    step, generator = _resume(checkpoint, objective.nets, optimisers, recipe)
    together = team.wrapped(objective)
    axis = torch.from_numpy(centres(70)).float().to(team.device)
    where = torch.device(team.device)
    while step < recipe.steps:
        _set_rates(optimisers, _schedule(recipe, step))
        batch, rows, columns = objective.draw(generator)
        share = [team.share(part) for part in batch]
        rows, columns = rows.to(where), columns.to(where)
        loss = together(share, rows, columns, axis, step)
        _update(loss, optimisers, objective.nets)
        step += 1
        tick()
        if team.leads and (step % every == 0 or step == recipe.steps):
            _save(checkpoint, objective.nets, optimisers, step, generator, recipe)
            report({"step": step, "loss": loss.item(), **objective.measure(held_out, team.device)})
    return objective.nets


class Joint(nn.Module):
    """Decoder, encoder and rate model together: log NMSE + rate x bits, with noise in place of rounding."""

    def __init__(self, recipe: Recipe, pool: Pool, fresh: bool) -> None:
        super().__init__()
        self.recipe, self.pool = recipe, pool
        self.decoder = decoders.build(recipe.decoder, recipe.options)
        self.encoder = AmortisedEncoder()
        self.rates = RateModel(len(synth.FAMILIES))
        self.nets = Networks(self.decoder, self.encoder, self.rates)
        if recipe.start and fresh:
            _start_from(load_codebook(recipe.start), self.nets, pool)

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Muon for the matrices inside encoder and decoder; Adam for biases, output layers and the rate model."""
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, part in self.nets.parts().items():
            for key, p in part.named_parameters():
                inside = name in ("decoder", "encoder") and p.dim() >= 2 and p.shape[0] > 1
                (matrices if inside and not (name == "decoder" and key.startswith("out")) else rest).append(p)
        return [
            Muon(matrices, lr=self.recipe.muon_rate),
            torch.optim.Adam(rest, lr=self.recipe.learning_rate),
        ]

    def draw(self, generator: torch.Generator) -> tuple[list[Tensor], Tensor, Tensor]:
        """A whole batch: maps, families and noise; and the rows and columns to look at."""
        maps, family = self.pool.draw(self.recipe, generator)
        rows, columns = _rows_and_columns(self.recipe, generator)
        return [maps, family, torch.rand((len(maps), 256), generator=generator) - 0.5], rows, columns

    def forward(self, batch: list[Tensor], rows: Tensor, columns: Tensor, axis: Tensor, step: int) -> Tensor:
        """The loss of a share of a batch."""
        maps, family, noise = batch
        with torch.autocast(maps.device.type, torch.bfloat16, enabled=has_fast_bfloat16(maps.device)):
            y = self.encoder(maps)
            y = y + noise
            restored = decoders.sample_grid(self.decoder, STEP * y, axis[rows], axis[columns])
        span = (maps.amax((1, 2)) - maps.amin((1, 2))).clamp_min(0.05)
        distortion = torch.log(nmse(restored, maps[:, rows][:, :, columns], span) + LOG_FLOOR).mean()
        ramp = 1.0 if self.recipe.start else min(1.0, max(0.02, 2 * step / self.recipe.steps))
        bits: Tensor = self.rates(y, family).sum(1).mean()
        return distortion + self.recipe.rate * ramp * bits

    def measure(self, held_out: Mapping[str, Tensor], device: str) -> dict[str, Any]:
        """Network alone, latents rounded, ideal entropy coding: {family: (PSNR dB, bytes a map)}."""
        out: dict[str, Any] = {}
        with torch.no_grad():
            for family, maps in held_out.items():
                y = torch.round(self.encoder(maps.to(device)))
                table = torch.full((len(y),), synth.FAMILIES.index(family), device=device)
                size = self.rates(y, table).sum(1).mean().item() / 8
                out[family] = (psnr(self.decoder, STEP * y, maps.to(device)).mean().item(), size)
        return out


class AutoDecoder(nn.Module):
    """The paper's objective: Adam, latents N(0, 0.01^2). Held-out maps are measured after a short search."""

    maps: Tensor

    def __init__(self, recipe: Recipe, pool: Pool) -> None:
        super().__init__()
        if recipe.start:
            raise UsageError(
                "an auto-decoder has a latent of its own for every map and cannot go on from a codebook"
            )
        self.recipe = recipe
        self.register_buffer("maps", torch.cat([v for _, v in pool.sources]), persistent=False)
        self.decoder = decoders.build(recipe.decoder, recipe.options)
        self.latents = nn.Embedding(len(self.maps), 256)
        nn.init.normal_(self.latents.weight, std=0.01)
        self.nets = Networks(self.decoder, latents=self.latents)

    def optimisers(self) -> list[torch.optim.Optimizer]:
        """Adam alone."""
        return [torch.optim.Adam(list(self.nets.parameters()), lr=self.recipe.learning_rate)]

    def draw(self, generator: torch.Generator) -> tuple[list[Tensor], Tensor, Tensor]:
        """The numbers of a whole batch of maps; and the rows and columns to look at."""
        index = torch.randint(len(self.maps), (self.recipe.batch,), generator=generator)
        return [index], *_rows_and_columns(self.recipe, generator)

    def forward(self, batch: list[Tensor], rows: Tensor, columns: Tensor, axis: Tensor, step: int) -> Tensor:
        """The loss of a share of a batch."""
        (index,) = batch
        with torch.autocast(axis.device.type, torch.bfloat16, enabled=has_fast_bfloat16(axis.device)):
            z = self.latents(index)
            restored = decoders.sample_grid(self.decoder, z, axis[rows], axis[columns])
        error = restored - self.maps[index][:, rows][:, :, columns]
        return (error**2).mean() + self.recipe.penalty * (z.float() ** 2).sum(1).mean()

    def measure(self, held_out: Mapping[str, Tensor], device: str) -> dict[str, Any]:
        """Unquantised latents fitted in 100 steps of Adam from zero: {family: (PSNR dB, 1024 bytes)}."""
        axis = torch.from_numpy(centres(70)).float().to(device)
        out: dict[str, Any] = {}
        for family, whole in held_out.items():
            maps = whole[:20].to(device)
            z = torch.zeros(len(maps), 256, device=device, requires_grad=True)
            optimiser = torch.optim.Adam([z], lr=3e-3)
            for _ in range(100):
                pick = torch.randperm(70, device=device)[:24]
                restored = decoders.sample_grid(self.decoder, z, axis[pick], axis[pick])
                loss = ((restored - maps[:, pick][:, :, pick]) ** 2).mean((1, 2)).sum()
                (z.grad,) = torch.autograd.grad(loss, [z])
                optimiser.step()
            with torch.no_grad():
                out[family] = (psnr(self.decoder, z, maps).mean().item(), 1024.0)
        return out


def _rows_and_columns(recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    first, second = (torch.randperm(70, generator=generator)[: recipe.side].sort()[0] for _ in range(2))
    return first, second


def _start_from(book: Codebook, nets: Networks, pool: Pool, sample: int = 256) -> None:
    """Give the networks a codebook's weights, and the rate model the spread of its encoder's latents."""
    assert nets.encoder is not None and nets.rates is not None
    if book.encoder is None:
        raise UsageError(f"codebook {book.id} has no encoder network to go on from")
    if abs(book.unit - STEP) > 1e-9:
        raise UsageError(f"codebook {book.id} was trained with a step of {book.unit:g}, not {STEP:g}")
    drawing = book.decoder.warp if isinstance(book.decoder, ChoiceDecoder) else book.decoder
    try:
        nets.decoder.load_state_dict(_widened(drawing, nets.decoder))
        nets.encoder.load_state_dict(_widened(book.encoder, nets.encoder))
    except RuntimeError as error:
        raise UsageError(f"codebook {book.id} is of another decoder than the recipe's") from error
    with torch.no_grad():
        for family in {name for name, _ in pool.sources}:
            maps = torch.cat([v[:sample] for name, v in pool.sources if name == family])
            y = nets.encoder(maps)
            row = synth.FAMILIES.index(family)
            nets.rates.mean[row] = y.mean(0)
            nets.rates.log_scale[row] = torch.log(y.std(0).clamp_min(0.1) * math.sqrt(3) / math.pi)


def _widened(trained: nn.Module, fresh: nn.Module) -> dict[str, Tensor]:
    """Weights of a network for one like it of more latent numbers, which it leaves alone: zeros."""
    state = trained.state_dict()
    for name, wanted in fresh.state_dict().items():
        own = state.get(name)
        if own is not None and own.dim() == wanted.dim():
            pad = [
                n
                for a, b in zip(own.shape[::-1], wanted.shape[::-1], strict=True)
                for n in (0, max(0, b - a))
            ]
            state[name] = F.pad(own, pad)
    return state


def _schedule(recipe: Recipe, step: int) -> float:
    """Linear warm-up, constant, then a cosine down to 2 % over the last `decay` of the steps."""
    rise = min(1.0, (step + 1) / recipe.warmup)
    left = min(1.0, (recipe.steps - step) / max(1.0, recipe.decay * recipe.steps))
    return rise * (0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * left)))


def _set_rates(optimisers: list[torch.optim.Optimizer], factor: float) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * factor


def _update(loss: Tensor, optimisers: list[torch.optim.Optimizer], nets: Networks) -> None:
    for optimiser in optimisers:
        optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(list(nets.parameters()), CLIP)
    for optimiser in optimisers:
        optimiser.step()


def _save(
    path: Path,
    nets: Networks,
    optimisers: list[torch.optim.Optimizer],
    step: int,
    generator: torch.Generator,
    recipe: Recipe,
) -> None:
    """Write a checkpoint beside its target and rename it, so that an interrupted write leaves the last one."""
    state = {
        "step": step,
        "recipe": json.dumps(asdict(recipe)),
        "generator": generator.get_state(),
        "parts": {name: part.state_dict() for name, part in nets.parts().items()},
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    torch.save(state, beside)
    os.replace(beside, path)


def _resume(
    path: Path, nets: Networks, optimisers: list[torch.optim.Optimizer], recipe: Recipe
) -> tuple[int, torch.Generator]:
    """The step to go on from and the generator, after loading the checkpoint where there is one."""
    generator = torch.Generator().manual_seed(recipe.seed)
    if not path.exists():
        return 0, generator
    state = torch.load(path, map_location="cpu", weights_only=True)
    saved = json.loads(state["recipe"])
    if (saved["decoder"], saved["options"]) != (recipe.decoder, recipe.options):
        raise UsageError(f"{path} is of another decoder ({saved['decoder']}); name another checkpoint")
    for name, part in nets.parts().items():
        part.load_state_dict(state["parts"][name])
    for optimiser, saved_state in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved_state)
    generator.set_state(state["generator"])
    return int(state["step"]), generator

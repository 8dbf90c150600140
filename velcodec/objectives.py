"""What training minimises, and the networks that it trains.

    joint          v -> encoder -> y + U(-1/2, 1/2) -> decoder -> v'      loss = log NMSE + rate x bits(y)
    auto-decoder   latent of each map ----------------> decoder -> v'      loss = MSE + 1e-4 |z|^2

The joint objective is that of Balle et al., "End-to-end optimized image compression", 2017: uniform noise stands in
for rounding, a factorised logistic model per family for the entropy coder. The distortion is the logarithm of the
MSE over the map's squared range, that is its PSNR, so that one rate weighs alike on every map. The auto-decoder's
is the paper's (Liu et al. 2026; figures in its Section 3).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import decoders, synth
from .amortised import AmortisedEncoder
from .codebook import Codebook, load_codebook
from .decoders.choice import ChoiceDecoder
from .device import has_fast_bfloat16
from .errors import UsageError
from .grid import centres
from .optim import Muon
from .training_data import Pool, Recipe

STEP = 0.15  # latent units of one quantisation step
LOG_FLOOR = 1e-5  # NMSE below which (50 dB) the joint objective stops rewarding


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

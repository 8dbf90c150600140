"""Latents for a batch of maps: the amortised encoder's start, then a search with the decoder frozen.

    maps -> encoder network -> z -> Adam on  log NMSE(decoder(z)) + rate x bits(z)  -> z

The distortion is the logarithm of the MSE over the map's squared range, that is its PSNR, so that one rate weighs
alike on every map. While it explores, the search adds uniform noise of one quantisation step (Balle et al., 2017);
then it rounds softly, after Yang, Bamler and Mandt, "Improving inference for neural image compression", 2020.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from . import decoders
from .codebook import Codebook
from .grid import centres

STEPS = (0, 8, 16, 32, 64, 100, 160, 260, 420, 700)  # of the search, by effort
BATCH_POINTS = 64 * 4900  # samples of the maps fitted at a time
FLOOR = 1e-7  # NMSE (70 dB) below which a map is as good as exact


@dataclass(frozen=True)
class Fit:
    """Latents (B, D) float32 in latent units, and the table set that codes each (B,)."""

    latents: NDArray[np.float32]
    table: NDArray[np.int64]


def fit_latents(
    maps: NDArray[np.float32],
    codebook: Codebook,
    device: torch.device,
    effort: int,
    rounded: bool,
    tables: list[int],
) -> Fit:
    """Fit latents to normalised maps.

    Args:
        maps: (B, H, W) float32, finite.
        effort: 0 (the network alone) to 9.
        rounded: the latents will be rounded and entropy-coded: weigh their bits and search for good integers.
        tables: the table sets to choose from, all of one step.
    """
    codebook.to(device)
    batch = max(1, BATCH_POINTS // (maps.shape[1] * maps.shape[2]))
    parts = [
        _fit_batch(torch.from_numpy(maps[i : i + batch]).to(device), codebook, STEPS[effort], rounded, tables)
        for i in range(0, len(maps), batch)
    ]
    return Fit(*(torch.cat(p).cpu().numpy() for p in zip(*parts, strict=True)))


def _fit_batch(
    v: Tensor, codebook: Codebook, steps: int, rounded: bool, tables: list[int]
) -> tuple[Tensor, Tensor]:
    z = _start(v, codebook)
    table = _cheapest(z, codebook, tables)
    if steps:
        z = _search(v, z, table, codebook, steps, rounded)
        table = _cheapest(z, codebook, tables)
    return z, table


def _start(v: Tensor, codebook: Codebook) -> Tensor:
    """Latents (B, D) from the encoder network, which sees the map at its native 70 x 70; zero without a network."""
    if codebook.encoder is None:
        return torch.zeros(len(v), codebook.latent, device=v.device)
    native = v if v.shape[1:] == (70, 70) else F.interpolate(v[:, None], size=(70, 70), mode="bilinear")[:, 0]
    with torch.no_grad():
        return torch.cat([codebook.encoder(part) for part in native.split(256)]) * float(
            codebook.prior.step[0]
        )


def _cheapest(z: Tensor, codebook: Codebook, tables: list[int]) -> Tensor:
    """The table set (B,) that takes the fewest bits for each latent once rounded."""
    with torch.no_grad():
        bits = []
        for t in tables:
            y = torch.round(z / float(codebook.prior.step[t]))
            bits.append(codebook.prior.bits(y, torch.full((len(z),), t, device=z.device)).sum(1))
        return torch.tensor(tables, device=z.device)[torch.stack(bits).argmin(0)]


def _search(v: Tensor, start: Tensor, table: Tensor, codebook: Codebook, steps: int, rounded: bool) -> Tensor:
    """Adam on the latents in quantisation steps; of start and end, the better for each map."""
    step = torch.from_numpy(codebook.prior.step).to(v.device)[table][:, None]
    span = (v.amax((1, 2)) - v.amin((1, 2))).clamp_min(1e-3)
    z_axis, x_axis = (torch.from_numpy(centres(n)).float().to(v.device) for n in v.shape[1:])
    y = (start / step).clone()
    first = torch.round(y) if rounded else y.clone()
    m, s = torch.zeros_like(y), torch.zeros_like(y)
    generator = torch.Generator().manual_seed(0)  # the same file from the same input
    for k in range(steps):
        done = k / steps
        q = y.detach().clone().requires_grad_(True)
        coded = _perturb(q, done, generator) if rounded else q
        rows, columns = _subset(v.shape[1], generator, k, steps), _subset(v.shape[2], generator, k, steps)
        values = decoders.sample_grid(codebook.decoder, coded * step, z_axis[rows], x_axis[columns])
        error = ((values - v[:, rows][:, :, columns]) ** 2).mean((1, 2)) / span**2
        loss = torch.log(error + FLOOR).sum()
        if rounded:
            loss = loss + codebook.rate * codebook.prior.bits(coded, table).sum()
        (gradient,) = torch.autograd.grad(loss, [q])
        m.mul_(0.9).add_(gradient, alpha=0.1)
        s.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        rate = 0.3 * (0.5 * (1 + math.cos(math.pi * done)) + 0.03)
        y -= rate * (m / (1 - 0.9 ** (k + 1))) / ((s / (1 - 0.99 ** (k + 1))).sqrt() + 1e-8)
    last = torch.round(y) if rounded else y
    with torch.no_grad():
        better = [
            _objective(q, v, span, table, step, codebook, rounded, z_axis, x_axis) for q in (first, last)
        ]
        return torch.where((better[1] < better[0])[:, None], last, first) * step


def _subset(n: int, generator: torch.Generator, k: int, steps: int) -> Tensor:
    """Rows or columns to look at in step k: half of them at random, all in the last steps."""
    if k >= steps - max(1, steps // 8) or n < 16:
        return torch.arange(n)
    return torch.randperm(n, generator=generator)[: (n + 1) // 2].sort()[0]


def _perturb(q: Tensor, done: float, generator: torch.Generator) -> Tensor:
    """Uniform noise for the first part of the search, then rounding with the gradient passed straight through."""
    if done < 0.6:
        return q + (torch.rand(q.shape, generator=generator).to(q.device) - 0.5)
    return q + (torch.round(q) - q).detach()


def _objective(
    q: Tensor,
    v: Tensor,
    span: Tensor,
    table: Tensor,
    step: Tensor,
    codebook: Codebook,
    rounded: bool,
    z_axis: Tensor,
    x_axis: Tensor,
) -> Tensor:
    """What the search minimises, of each map (B,), on all its samples."""
    values = decoders.sample_grid(codebook.decoder, q * step, z_axis, x_axis)
    loss = torch.log(((values - v) ** 2).mean((1, 2)) / span**2 + FLOOR)
    return loss + codebook.rate * codebook.prior.bits(q, table).sum(1) if rounded else loss

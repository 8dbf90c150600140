"""Maps that latents are fitted to, and how far latents are from them as they decode."""

import copy

import torch
from torch import Tensor

from . import decoders
from .aim import FLOOR, Found
from .codebook import Codebook
from .grid import centres

NARROWEST = 1e-3  # normalised: the range that a map has at least, for PSNR


def span_of(v: Tensor) -> Tensor:
    """The range of normalised maps (B, H, W) that their NMSE is by: (B,)."""
    return (v.amax((1, 2)) - v.amin((1, 2))).clamp_min(NARROWEST)


class Target:
    """Maps to fit, or every so many rows and columns of them, and how far latents are from them."""

    def __init__(self, v: Tensor, codebook: Codebook, every: int = 1) -> None:
        self.span = span_of(v)
        first = every // 2 if min(v.shape[1:]) > every // 2 else 0
        self.v, self.codebook = v[:, first::every, first::every], codebook
        axes = (torch.from_numpy(centres(n)).float().to(v.device) for n in v.shape[1:])
        self.z_axis, self.x_axis = (axis[first::every] for axis in axes)

    def parts(self) -> "list[Target]":
        """Every other column of the maps, and the others, for searches that look at them in turn."""
        if self.v.shape[2] < 2:
            return [self]
        halves = [copy.copy(self), copy.copy(self)]
        for first, half in enumerate(halves):
            half.v, half.x_axis = self.v[:, :, first::2].contiguous(), self.x_axis[first::2]
        return halves

    def log_nmse(self, z: Tensor) -> Tensor:
        """Logarithm of the MSE over the squared range of each map (B,) as latents (B, D) give it, floored."""
        return torch.log(self.nmse(z) + FLOOR)

    def nmse(self, z: Tensor) -> Tensor:
        """The MSE over the squared range of each map (B,)."""
        values = decoders.sample_grid(self.codebook.decoder, z, self.z_axis, self.x_axis)
        return ((values - self.v) ** 2).mean((1, 2)) / self.span**2


def measured(v: Tensor, z: Tensor, table: Tensor, codebook: Codebook, every: int = 1) -> Found:
    """Latents (B, D), rounded, and what they give on every so many rows and columns of maps (B, H, W)."""
    with torch.no_grad():
        step = torch.from_numpy(codebook.prior.step).to(v.device)[table][:, None]
        low, high = (end.to(v.device)[table] for end in codebook.prior.ends)
        q = torch.clamp(torch.round(z / step), low, high)
        nmse = Target(v, codebook, every).nmse(q * step).clamp_min(1e-12)
        return Found(q, table, torch.log(nmse), codebook.prior.bits(q, table).sum(1))

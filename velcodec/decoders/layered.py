"""Layered maps by their layers: velocities from top to bottom, and interfaces as sums of cosines over the width.

    v(x, z) = v_0 + sum_i (v_i - v_{i-1}) sigmoid((d(z) - c_i(x)) / WIDTH)
    c_i(x) = the deepest of b_1(x) .. b_i(x),   b_i(x) = b_{i-1}(x) + sum_k t_ik a(k) cos(pi k (x + 1) / 2),   b_0 = 0

d(z) = 35 (z + 1) is the depth in cells of the native grid. An interface is told by how it differs from the one above:
in folded layers these differ little. Edges are crisp on any grid that anyone asks for: a sigmoid has a gradient, a step
has none.
"""

import torch
from torch import Tensor, nn

from .cosines import NATIVE, factors

VELOCITY = 0.05  # normalised velocity of one latent unit
WIDTH = 0.02  # cells


class LayeredDecoder(nn.Module):
    """Latents (B, N) and points in [-1, 1]^2 to normalised values; differentiable in the latents.

    Args:
        layers: L, at most.
        waves: K of an interface, the constant among them.

    N = L + (L - 1) K: v_0, the steps v_i - v_{i-1} in units of VELOCITY, then t_1, t_2, ... in cells.
    """

    def __init__(self, layers: int = 8, waves: int = 24) -> None:
        super().__init__()
        if not (1 <= layers <= 64 and 1 <= waves <= NATIVE):
            raise ValueError(f"{layers} layers of {waves} waves cannot be")
        self.layers, self.waves = layers, waves
        self.latent = layers + (layers - 1) * waves

    def forward(self, latents: Tensor, points: Tensor) -> Tensor:
        """Values (B, P) at points (P, 2) or (B, P, 2) given as (x, z) in [-1, 1]^2."""
        points = points.expand(len(latents), -1, -1)
        basis = factors(points[..., 0].double(), self.waves)
        curves = torch.einsum("bik,bpk->bip", self.interfaces(latents), basis)
        return self._drawn(latents, curves, _depth(points[..., 1])[:, None])

    def grid(self, latents: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """Values (B, H, W) on the regular grid of depths z (H,) and positions x (W,)."""
        curves = self.interfaces(latents) @ factors(x.double(), self.waves).T
        return self._drawn(latents, curves[:, :, None], _depth(z)[None, None, :, None])

    def interfaces(self, latents: Tensor) -> Tensor:
        """The cosines of every interface, (B, L - 1, K) float64: in float32 a crisp edge would feel the rounding."""
        return latents[:, self.layers :].double().view(len(latents), self.layers - 1, self.waves).cumsum(1)

    def _drawn(self, latents: Tensor, curves: Tensor, depth: Tensor) -> Tensor:
        """Values at a depth in cells under curves (B, L - 1, ...), which broadcast."""
        values = latents[:, :1].view(-1, *[1] * (curves.dim() - 2)) * VELOCITY
        deepest = torch.full_like(curves[:, :1], -torch.inf).sum(1)
        for i in range(self.layers - 1):
            deepest = torch.maximum(deepest, curves[:, i])
            below = torch.sigmoid(((depth[:, 0] - deepest) / WIDTH).to(latents.dtype))
            step = latents[:, i + 1].view(-1, *[1] * (below.dim() - 1)) * VELOCITY
            values = values + step * below
        return values.expand(len(latents), *torch.broadcast_shapes(depth.shape[2:], curves.shape[2:]))


def _depth(z: Tensor) -> Tensor:
    """Unit coordinates to cells from the top, float64."""
    return (z.double() + 1) * (NATIVE / 2)

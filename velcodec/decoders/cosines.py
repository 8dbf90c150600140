"""Smooth maps as a sum of cosines: the two-dimensional DCT, cut off and read at any point.

    v(x, z) = sum_i y_i  a(k_i) cos(pi k_i (x + 1) / 2)  a(l_i) cos(pi l_i (z + 1) / 2)
    a(0) = 1 / sqrt(70), a(k) = sqrt(2 / 70)

For fields whose neighbours correlate strongly the DCT is close to the best linear transform there is (Ahmed, Natarajan,
Rao, "Discrete cosine transform", 1974). On the native 70 x 70 cell centres these waves are orthonormal, so that the
numbers of a map are its products with them, and errors of the numbers are errors of the map.
"""

import math

import torch
from torch import Tensor, nn

NATIVE = 70  # cells along each side of the grid on which the waves are orthonormal


class CosineDecoder(nn.Module):
    """Latents (B, N) and points in [-1, 1]^2 to values, linear in the latents.

    Args:
        latent: N, the number of waves.

    `waves` (N, 2) holds (k, l), the half periods across and down of each wave, 0..69.
    """

    waves: Tensor

    def __init__(self, latent: int = 255) -> None:
        super().__init__()
        self.latent = latent
        self.register_buffer("waves", torch.zeros(latent, 2))

    def check(self) -> None:
        """Raises ValueError where `waves` are not whole numbers 0 .. 69, all different."""
        waves = self.waves.cpu()
        whole = bool(((waves >= 0) & (waves < NATIVE) & (waves == waves.floor())).all())
        if not whole or len(torch.unique(waves, dim=0)) < len(waves):
            raise ValueError("the waves of its cosines cannot be")

    def forward(self, latents: Tensor, points: Tensor) -> Tensor:
        """Values (B, P) at points (P, 2) or (B, P, 2) given as (x, z) in [-1, 1]^2; differentiable in both."""
        basis = self._waves(points[..., 0], 0) * self._waves(points[..., 1], 1)
        values: Tensor = torch.matmul(basis, latents[..., None])[..., 0]
        return values

    def grid(self, latents: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """Values (B, H, W) on the regular grid of depths z (H,) and positions x (W,)."""
        across, down = self._table(x), self._table(z)
        table = latents.new_zeros(len(latents), down.shape[1], across.shape[1])
        k, down_index = self.waves.long().unbind(1)
        table[:, down_index, k] = latents
        return down.to(latents.dtype) @ table @ across.T.to(latents.dtype)

    def project(self, values: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """The latents (B, N) nearest, in mean square, to values (B, H, W) at the H x W cell centres z and x.

        Waves too short for a grid are left out of it.
        """
        across, down = (self._table(axis) * (NATIVE / len(axis)) for axis in (x, z))
        table = down.T @ values @ across
        k, down_index = self.waves.long().unbind(1)
        kept = (k < len(x)) & (down_index < len(z))
        return torch.where(kept, table[:, down_index, k], 0.0)

    def _waves(self, at: Tensor, axis: int) -> Tensor:
        """Each wave's factor along an axis: positions (...) to (..., N)."""
        k = self.waves[:, axis].to(at.dtype)
        return _gain(k).to(at.dtype) * torch.cos(math.pi / 2 * k * (at[..., None] + 1))

    def _table(self, at: Tensor) -> Tensor:
        """Factors of the waves 0 .. the shortest at positions (n,): (n, K)."""
        # The angle in float64: short waves would feel float32's rounding of it.
        return factors(at.double(), int(self.waves.max()) + 1).to(at.dtype)


def factors(at: Tensor, count: int) -> Tensor:
    """a(k) cos(pi k (x + 1) / 2) for k = 0 .. count - 1 at positions (...) float64: (..., count)."""
    k = torch.arange(count, device=at.device, dtype=torch.float64)
    return _gain(k) * torch.cos(math.pi / 2 * k * (at[..., None] + 1))


def _gain(k: Tensor) -> Tensor:
    one, two = (torch.full_like(k, math.sqrt(n / NATIVE), dtype=torch.float64) for n in (1, 2))
    return torch.where(k == 0, one, two)

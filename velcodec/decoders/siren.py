"""The published decoder: a SIREN fed with the point and the latent side by side.

Liu, Luo, Xiong, "High-fidelity compression of seismic velocity models via SIREN auto-decoders", arXiv 2603.14284,
2026: 258 -> 512, four times 512 -> 512, 512 -> 1, h = sin(w0 (W h + b)), w0 = 30. Initialisation of Sitzmann et al.,
"Implicit Neural Representations with Periodic Activation Functions", 2020.
"""

import math

import torch
from torch import Tensor, nn

W0 = 30.0


class SirenDecoder(nn.Module):
    """Latents (B, 256) and points in [-1, 1]^2 to normalised values; differentiable in both.

    Args:
        latent: numbers in a latent.
        width: units of each sine layer.
        depth: sine layers after the first.
        split_init: initialise coordinate and latent columns of the first layer each by its own fan-in. The
            published rule U(-1/258, 1/258) leaves the coordinates less than one period over the map.
    """

    def __init__(self, latent: int = 256, width: int = 512, depth: int = 4, split_init: bool = False) -> None:
        super().__init__()
        self.latent = latent
        self.first = nn.Linear(2 + latent, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.out = nn.Linear(width, 1)
        with torch.no_grad():
            bound = 1 / (2 + latent)
            self.first.weight.uniform_(-bound, bound)
            if split_init:
                self.first.weight[:, :2].uniform_(-1 / 2, 1 / 2)
                self.first.weight[:, 2:].uniform_(-1 / latent, 1 / latent)
            bound = math.sqrt(6 / width) / W0
            for layer in (*self.hidden, self.out):
                layer.weight.uniform_(-bound, bound)

    def forward(self, latents: Tensor, points: Tensor) -> Tensor:
        """Values (B, P) at points (P, 2) or (B, P, 2) given as (x, z)."""
        weight, bias = self.first.weight, self.first.bias
        # The latent's share of the first layer is the same at every point: computed once a map.
        shared = nn.functional.linear(latents, weight[:, 2:], bias)[:, None]
        h = torch.sin(W0 * (nn.functional.linear(points, weight[:, :2]) + shared))
        for layer in self.hidden:
            h = torch.sin(W0 * layer(h))
        values: Tensor = self.out(h)[..., 0].to(latents.dtype)
        return values

    def grid(self, latents: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """Values (B, H, W) on the regular grid of depths z (H,) and positions x (W,)."""
        points = torch.stack(torch.meshgrid(x, z, indexing="xy"), -1).view(-1, 2)
        return self(latents, points).view(len(latents), len(z), len(x))

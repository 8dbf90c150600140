"""Two decoders under one latent, whose first number says which of them the others are for.

    y_0 <= 0    y_1 .. y_N to the warp decoder: layers, faults, edges
    y_0 > 0     y_1 .. y_255 to the cosines: smooth maps and textures

A network that draws edges is a poor basis for a smooth field and the reverse; an entropy-coded y_0 costs nothing, as
a table set belongs to one of the two.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .cosines import CosineDecoder
from .warp import WarpDecoder


class ChoiceDecoder(nn.Module):
    """Latents (B, L) and points in [-1, 1]^2 to normalised values; differentiable in both but where y_0 is 0.

    Args:
        latent: L, the first number included.
        warp: options of the warp decoder; its `latent` is N, at most L - 1.
    """

    def __init__(self, latent: int = 256, warp: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.latent = latent
        self.warp = WarpDecoder(**{"latent": latent - 1, **(warp or {})})
        self.cosines = CosineDecoder(latent - 1)
        if self.warp.latent >= latent:
            raise ValueError(f"a warp decoder of {self.warp.latent} numbers needs a latent of more")

    def forward(self, latents: Tensor, points: Tensor) -> Tensor:
        """Values (B, P) at points (P, 2) or (B, P, 2) given as (x, z) in [-1, 1]^2."""
        points = points.expand(len(latents), -1, -1)
        out = latents.new_zeros(len(latents), points.shape[1])
        for part, rows, numbers in self._parts(latents):
            out = out.index_copy(0, rows, part(numbers, points[rows]))
        return out

    def grid(self, latents: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """Values (B, H, W) on the regular grid of depths z (H,) and positions x (W,)."""
        parts = self._parts(latents)
        if len(parts) == 1:
            part, _, numbers = parts[0]
            return part.grid(numbers, z, x)
        out = latents.new_zeros(len(latents), len(z), len(x))
        for part, rows, numbers in parts:
            out = out.index_copy(0, rows, part.grid(numbers, z, x))
        return out

    def _parts(self, latents: Tensor) -> list[tuple[WarpDecoder | CosineDecoder, Tensor, Tensor]]:
        """The decoders that latents are for: (decoder, rows (n,), numbers (n, N)) of each."""
        smooth = latents[:, 0] > 0
        found: list[tuple[WarpDecoder | CosineDecoder, Tensor, Tensor]] = []
        for part, mine in ((self.warp, ~smooth), (self.cosines, smooth)):
            rows = torch.nonzero(mine)[:, 0]
            if len(rows):
                found.append((part, rows, latents[rows, 1 : 1 + part.latent]))
        return found

"""Four decoders under one latent, whose first number says which of them the others are for.

         y_0 <= 0     y_1 .. y_N to the warp decoder: faults, edges, whatever is not of the others
    0  < y_0 <= 10    y_1 .. y_M to the cosines: smooth maps and textures
    10 < y_0 <= 30    y_1 .. to the layered decoder, where there is one
    30 < y_0          y_1 .. to the faulted decoder, where there is one

A network that draws edges is a poor basis for a smooth field and the reverse, and layers and faults are fewest numbers
of all; an entropy-coded y_0 costs nothing, as a table set belongs to one of the four. Where one of the last two is not
there, the one before it takes its y_0.
"""

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from .cosines import CosineDecoder
from .faulted import FaultedDecoder
from .layered import LayeredDecoder
from .warp import WarpDecoder

Part: TypeAlias = WarpDecoder | CosineDecoder | LayeredDecoder | FaultedDecoder
LAYERS, FAULTS = 20.0, 40.0  # number 0 of layers and of faults, in latent units; that of cosines is one step
FROM_LAYERS, FROM_FAULTS = 10.0, 30.0  # what number 0 of each is past


class ChoiceDecoder(nn.Module):
    """Latents (B, L) and points in [-1, 1]^2 to normalised values; differentiable in both but where y_0 decides.

    Args:
        latent: L, the first number included; the cosines take all others.
        warp: options of the warp decoder; its `latent` is N, at most L - 1.
        layered, faulted: options of these decoders; without any, there is none.
    """

    def __init__(
        self,
        latent: int = 256,
        warp: dict[str, Any] | None = None,
        layered: dict[str, Any] | None = None,
        faulted: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.warp = WarpDecoder(**{"latent": latent - 1, **(warp or {})})
        self.cosines = CosineDecoder(latent - 1)
        self.layered = None if layered is None else LayeredDecoder(**layered)
        self.faulted = None if faulted is None else FaultedDecoder(**faulted)
        for part in (self.warp, self.layered, self.faulted):
            if part is not None and part.latent >= latent:
                raise ValueError(f"a decoder of {part.latent} numbers needs a latent of more")

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

    def sorts(self, latents: Tensor) -> Tensor:
        """Whose each latent is (B,): 0 the network's, 1 the cosines', 2 the layered decoder's, 3 the faulted one's."""
        first = latents[:, 0]
        sorts = (first > 0).long()
        for sort, part, past in ((2, self.layered, FROM_LAYERS), (3, self.faulted, FROM_FAULTS)):
            if part is not None:
                sorts[first > past] = sort
        return sorts

    def _parts(self, latents: Tensor) -> list[tuple[Part, Tensor, Tensor]]:
        """The decoders that latents are for: (decoder, rows (n,), numbers (n, N)) of each."""
        sorts = self.sorts(latents)
        found: list[tuple[Part, Tensor, Tensor]] = []
        for sort, part in enumerate((self.warp, self.cosines, self.layered, self.faulted)):
            rows = torch.nonzero(sorts == sort)[:, 0]
            if part is not None and len(rows):
                found.append((part, rows, latents[rows, 1 : 1 + part.latent]))
        return found

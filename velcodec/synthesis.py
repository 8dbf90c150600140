"""Latents -> values on a grid or at points, in batches that bound memory. The one place where floats may drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .codebook import Codebook
from .device import keep_freed_memory, on_device, points_at_once
from .grid import Grid

if TYPE_CHECKING:
    import torch

POINTS = 640_000  # samples decoded at a time
POINT_BYTES = 1 << 10  # that decoding a sample takes on a GPU, about


def sample(
    codebook: Codebook, latents: NDArray[np.float32], grid: Grid, device: torch.device
) -> NDArray[np.float32]:
    """Latents (n, D) to normalised values (n, h, w) on a grid, float32."""
    import torch

    from . import decoders

    keep_freed_memory()
    codebook.to(device)
    height, width = grid.shape
    points = points_at_once(device, POINTS, POINT_BYTES)
    rows = max(1, min(height, points // width))
    maps = max(1, points // (rows * width))
    z = torch.from_numpy(grid.z).float().to(device)
    x = torch.from_numpy(grid.x).float().to(device)
    out = np.empty((len(latents), height, width), dtype=np.float32)
    with torch.inference_mode():
        for i in range(0, len(latents), maps):
            part = on_device(latents[i : i + maps], device)
            for r in range(0, height, rows):
                values = decoders.sample_grid(codebook.decoder, part, z[r : r + rows], x)
                out[i : i + maps, r : r + rows] = values.cpu().numpy()
    return out


def denormalise(
    values: NDArray[np.float32], offset: float, scale: float, low: float, high: float, dtype: str
) -> NDArray[np.generic]:
    """Normalised values to offset + scale x value, clipped to [low, high], in a dtype; integers are rounded."""
    v = np.clip(values.astype(np.float64) * scale + offset, low, high)
    target = np.dtype(dtype)
    return (np.rint(v) if target.kind in "iu" else v).astype(target)

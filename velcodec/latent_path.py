"""From one map to another through their latents: a path of velocity models that the decoder knows how to draw.

z(a) = (1 - a) z_A + a z_B,  a = 0 .. 1        (Liu, Luo, Xiong 2026, arXiv 2603.14284, Table 8)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .archive import Archive
from .decoders.choice import ChoiceDecoder
from .device import resolve_device
from .errors import DataError, UsageError
from .grid import make_grid
from .synthesis import denormalise, sample

# By ChoiceDecoder.sorts.
SORTS = ("drawn by the network", "told by cosines", "told by its layers", "told by its layers and faults")


def interpolate(
    first: Archive,
    i: int,
    second: Archive,
    j: int,
    steps: int = 7,
    shape: tuple[int, int] | None = None,
    device: str = "auto",
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Maps between map i of an archive and map j of the same or another one, by linear interpolation of their latents.

    Args:
        steps: maps, both ends among them, at least 2.
        shape: (H, W) samples of each; None means the native grid of the first.
        device: where to decode.

    Returns:
        The weights a (steps,) of the second map, and the maps (steps, H, W) in the first archive's dtype and units.
        The range of values that a file clips to is interpolated too. Residuals are left out: the ends are what
        the latents alone decode to.

    Raises:
        UsageError: fewer than 2 steps, an index that is not there, or files of different codebooks or units.
        DataError: a map without a latent, or in tiles; or two of different parts of a choice decoder.
    """
    if steps < 2:
        raise UsageError("interpolation takes at least 2 steps, its ends")
    if first.codebook_sha256 != second.codebook_sha256:
        raise UsageError("the files are of different codebooks; latents of one mean nothing to the other")
    if first.header.units != second.header.units:
        raise UsageError(f"one file is in {first.header.units}, the other in {second.header.units}")
    ends = np.stack([_latent(first, i), _latent(second, j)])
    decoder = first.codebook.decoder
    if isinstance(decoder, ChoiceDecoder):
        one, other = (SORTS[sort] for sort in decoder.sorts(torch.from_numpy(ends)).tolist())
        if one != other:
            raise DataError(f"map {i} is {one}, map {j} {other}: no path of latents joins them")
    weights = np.linspace(0.0, 1.0, steps)
    latents = ((1 - weights)[:, None] * ends[0] + weights[:, None] * ends[1]).astype(np.float32)
    grid = make_grid(first.map_shape, shape, None)
    values = sample(first.codebook, latents, grid, resolve_device(device))
    scales = np.array([(h.offset, h.scale, h.low, h.high) for h in (first.header, second.header)])
    maps = []
    for weight, value in zip(weights.tolist(), values, strict=True):
        offset, scale, low, high = ((1 - weight) * scales[0] + weight * scales[1]).tolist()
        maps.append(denormalise(value, offset, scale, low, high, first.header.dtype))
    return weights, np.stack(maps)


def _latent(archive: Archive, index: int) -> NDArray[np.float32]:
    latent = archive.latents([index])[0]
    if not np.isfinite(latent).all():
        raise DataError(f"{archive.name}: map {index} has no latent; compress it with --latent-only")
    return latent

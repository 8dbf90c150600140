"""One map as a continuous function of position: its latent's, its cosines, or its samples joined bilinearly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import spectrum
from .codebook import Codebook
from .errors import UsageError
from .header import Header
from .spectrum import Spectrum

if TYPE_CHECKING:
    import torch

Points = NDArray[np.float64]
# Points (P, 2) as (x, z) in [-1, 1]^2 -> values (P,) and, where asked for, slopes (P, 2) per unit coordinate.
Evaluate = Callable[[Points, bool], tuple[NDArray[np.float64], NDArray[np.float64]]]


class Field:
    """A velocity model v(x, z) that can be asked anywhere within the map, with its gradient.

    Called with points (P, 2) as (x, z): unit coordinates in [-1, 1]^2, or metres from the top left corner of the
    map, whose extent is (W dx, H dz). Values are in the file's units, clipped to its range.
    """

    def __init__(self, evaluate: Evaluate, header: Header) -> None:
        self._evaluate, self._header = evaluate, header
        height, width = header.map_shape
        self.extent = np.array([width * header.spacing[1], height * header.spacing[0]])

    def __call__(
        self, points: NDArray[Any], unit: str = "unit", gradient: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values (P,) at points (P, 2); with `gradient` also dv/dx, dv/dz (P, 2) per unit of the coordinates.

        Raises:
            UsageError: the points are not (P, 2) or not finite, or the unit is neither "unit" nor "metres".
        """
        p = np.asarray(points, dtype=np.float64)
        if p.ndim != 2 or p.shape[1] != 2:
            raise UsageError(f"points must be (P, 2) as (x, z), not {p.shape}")
        if not np.isfinite(p).all():
            raise UsageError("some points are NaN or infinite")
        if unit not in ("unit", "metres"):
            raise UsageError(f"points are in 'unit' coordinates or 'metres', not {unit!r}")
        stretch = 2 / self.extent if unit == "metres" else np.ones(2)
        raw, slopes = self._evaluate(p * stretch - 1 if unit == "metres" else p, gradient)
        values = np.clip(raw, self._header.low, self._header.high)
        if not gradient:
            return values
        slopes = slopes * stretch
        slopes[values != raw] = 0.0  # clipped: flat
        return values, slopes


def of_latent(
    latent: NDArray[np.float32], codebook: Codebook, header: Header, device: torch.device
) -> Evaluate:
    """What a latent (D,) decodes to; its slopes are the decoder's own derivatives."""
    import torch

    def evaluate(at: Points, gradient: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        decoder = codebook.to(device).decoder
        where = torch.from_numpy(at).float().to(device).requires_grad_(gradient)
        with torch.enable_grad() if gradient else torch.no_grad():
            normalised = decoder(torch.from_numpy(latent[None]).to(device), where)[0]
        values = normalised.detach().cpu().numpy().astype(np.float64) * header.scale + header.offset
        if not gradient:
            return values, np.zeros((0, 2))
        (slope,) = torch.autograd.grad(normalised.sum(), [where])
        return values, slope.cpu().numpy().astype(np.float64) * header.scale

    return evaluate


def of_waves(stored: Spectrum, header: Header) -> Evaluate:
    """What cosines come to, with their own derivatives."""
    step = spectrum.step(header.unit or 0.0, stored.code)
    return lambda at, gradient: spectrum.sample(stored, step, header.offset, at)


def of_samples(samples: NDArray[Any]) -> Evaluate:
    """Samples (H, W) joined bilinearly, level beyond the outermost; the slopes are those between the samples."""
    v = samples.astype(np.float64)

    def evaluate(at: Points, gradient: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        lows, parts, inside = [], [], []
        for n, coordinate in zip(v.shape, (at[:, 1], at[:, 0]), strict=True):
            place = (coordinate + 1) / 2 * n - 0.5
            bounded = np.clip(place, 0, n - 1)
            lows.append(np.minimum(bounded.astype(int), max(n - 2, 0)))
            parts.append(bounded - lows[-1])
            inside.append(place == bounded)
        (i, j), (a, b) = lows, parts
        i2, j2 = np.minimum(i + 1, v.shape[0] - 1), np.minimum(j + 1, v.shape[1] - 1)
        top, bottom = v[i, j] * (1 - b) + v[i, j2] * b, v[i2, j] * (1 - b) + v[i2, j2] * b
        across = (v[i, j2] - v[i, j]) * (1 - a) + (v[i2, j2] - v[i2, j]) * a
        slopes = np.stack(
            [across * inside[1] * v.shape[1] / 2, (bottom - top) * inside[0] * v.shape[0] / 2], axis=1
        )
        return top * (1 - a) + bottom * a, slopes

    return evaluate

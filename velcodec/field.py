"""One map as a continuous function of position."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .codebook import Codebook
from .errors import UsageError
from .header import Header


class Field:
    """A velocity model v(x, z) that can be asked anywhere within the map, with its gradient.

    Called with points (P, 2) as (x, z): unit coordinates in [-1, 1]^2, or metres from the top left corner of the
    map, whose extent is (W dx, H dz). Values are in the file's units, clipped to its range.
    """

    def __init__(
        self, latent: NDArray[np.float32], codebook: Codebook, header: Header, device: torch.device
    ) -> None:
        self.latent = latent
        self._codebook, self._header, self._device = codebook, header, device
        height, width = header.map_shape
        self.extent = np.array([width * header.spacing[1], height * header.spacing[0]])

    def __call__(
        self, points: NDArray[Any], unit: str = "unit", gradient: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values (P,) at points (P, 2); with `gradient` also dv/dx, dv/dz (P, 2) per unit of the coordinates.

        Raises:
            UsageError: the points are not (P, 2), or the unit is neither "unit" nor "metres".
        """
        p = np.asarray(points, dtype=np.float64)
        if p.ndim != 2 or p.shape[1] != 2:
            raise UsageError(f"points must be (P, 2) as (x, z), not {p.shape}")
        if unit not in ("unit", "metres"):
            raise UsageError(f"points are in 'unit' coordinates or 'metres', not {unit!r}")
        stretch = 2 / self.extent if unit == "metres" else np.ones(2)
        at = p * stretch - 1 if unit == "metres" else p
        decoder = self._codebook.to(self._device).decoder
        latent = torch.from_numpy(self.latent[None]).to(self._device)
        where = torch.from_numpy(at).float().to(self._device).requires_grad_(gradient)
        with torch.enable_grad() if gradient else torch.no_grad():
            normalised = decoder(latent, where)[0]
        raw = normalised.detach().cpu().numpy().astype(np.float64) * self._header.scale + self._header.offset
        values = np.clip(raw, self._header.low, self._header.high)
        if not gradient:
            return values
        (slope,) = torch.autograd.grad(normalised.sum(), [where])
        slopes = slope.cpu().numpy().astype(np.float64) * self._header.scale * stretch
        slopes[values != raw] = 0.0  # clipped: flat
        return values, slopes

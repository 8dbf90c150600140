"""Maps as latents of a codebook, alone or with a residual."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import container, pixels, quantise, residual
from ..codebook import Codebook
from ..decoder import corrected, restore
from ..fit import fit_latents
from ..grid import make_grid
from ..header import Header
from ..pixels import Integers
from ..request import Request
from ..synthesis import sample
from .asked import allowed_rms, codes, keeps, quality
from .offer import Maps, Offer, nothing


@dataclass(frozen=True)
class Latents:
    """Latents of n maps of one shape as they would be stored, and what they decode to, normalised (n, h, w)."""

    kinds: NDArray[np.uint8]
    stored: list[Any]  # of each map: integers, (scale, int8) or float16
    bytes: NDArray[np.float64]
    values: NDArray[np.float32]

    def some(self, rows: Sequence[int]) -> "Latents":
        """Those of some rows."""
        return Latents(self.kinds[rows], [self.stored[i] for i in rows], self.bytes[rows], self.values[rows])


def fitted(
    maps: Maps,
    header: Header,
    request: Request,
    codebook: Codebook,
    device: torch.device,
    effort: int,
    most: NDArray[np.float64] | None = None,
) -> Latents:
    """Latents of maps of one shape, searched for at an effort.

    Args:
        most: bytes (n,) that they are to take less than, where a PSNR is asked for.
    """
    original = np.stack(maps.samples).astype(np.float64)
    normalised = ((original - header.offset) / header.scale).astype(np.float32)
    rounded = request.latent == "entropy"
    goals = _goals(maps, header, request, codebook) if rounded else None
    plain = None if rounded else header.plain
    fit = fit_latents(normalised, codebook, device, effort, plain, goals, most)
    n = len(original)
    stored: list[Any]
    if rounded:
        kinds = container.KIND_ENTROPY + fit.table
        q, latents, size = fit.rounded(codebook)
        stored = list(q)
    elif request.latent == "int8":
        scale, eight = quantise.to_int8(fit.latents[:, : header.plain])
        kinds, size = np.full(n, container.KIND_INT8), np.full(n, 4.0 + header.plain)
        stored = list(zip(scale, eight, strict=True))
        latents = quantise.whole(quantise.from_int8(scale, eight), codebook.latent)
    else:
        half = quantise.to_fp16(fit.latents[:, : header.plain])
        kinds, size = np.full(n, container.KIND_FP16), np.full(n, 2.0 * header.plain)
        stored, latents = list(half), quantise.whole(quantise.from_fp16(half), codebook.latent)
    values = sample(codebook, latents, make_grid(original.shape[1:]), device)
    return Latents(kinds.astype(np.uint8), stored, size, values)


def _goals(maps: Maps, header: Header, request: Request, codebook: Codebook) -> NDArray[np.float64] | None:
    """The PSNRs (n,) to fit latents for, so that what is asked still holds with the drift added."""
    if request.goal is None:
        return None
    goals = np.full(len(maps), float(request.goal))
    if request.latent_only:
        return goals
    allowed = np.array([allowed_rms(span, request) for span in maps.spans.tolist()])
    share = np.minimum(codebook.drift * abs(header.scale) / np.maximum(allowed, 1e-30), 0.5)
    return goals - 20 * np.log10(1 - share)


def as_latents(maps: Maps, latents: Latents, header: Header, request: Request, drift: float) -> Offer:
    """Latents alone; the drift, in the array's units, is added to every error before a map counts as kept."""
    out = nothing(len(maps))
    restored = restore(latents.values, header)
    for i, (m, r) in enumerate(zip(maps.samples, restored, strict=True)):
        out.psnr[i], out.error[i] = quality(m, r, maps.spans[i])
        if request.latent_only or keeps(m, r, maps.spans[i], request, drift):
            out.bytes[i] = latents.bytes[i]
    out.kinds, out.stored = latents.kinds.copy(), list(latents.stored)
    return out


def as_corrected(maps: Maps, latents: Latents, header: Header, request: Request, drift: float) -> Offer:
    """Entropy-coded latents and a quantised residual, which keeps a bound or a PSNR on any device."""
    out = nothing(len(maps))
    rows, own = [], []
    for i, m in enumerate(maps.samples):
        base = latents.values[i].astype(np.float64) * header.scale + header.offset
        grid = make_grid(m.shape)
        off = m.astype(np.float64) - base
        for code in codes(maps.spans[i], header, request):
            step = residual.step(header.unit or 0.0, code)
            if request.max_error is None and not residual.within(
                off, step, allowed_rms(maps.spans[i], request)
            ):
                continue
            q = residual.quantise(off, step)
            if q is None:
                break
            restored = corrected(latents.values[i], Integers(q, code), grid, header)
            if keeps(m, restored, maps.spans[i], request, drift):
                rows.append(i)
                own.append(Integers(q, code))
                out.kinds[i] = latents.kinds[i] - container.KIND_ENTROPY + container.KIND_RESIDUAL
                out.psnr[i], out.error[i] = quality(m, restored, maps.spans[i])
                out.stored[i] = (latents.stored[i], own[-1])
                break
    if own:
        out.bytes[rows] = pixels.encode(own, pixels.models(header.generation)[1], 0)[1] + latents.bytes[rows]
    return out

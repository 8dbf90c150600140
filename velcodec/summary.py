"""What a .vlz file says of its maps: modes, quality, and the figures that `velcodec info` prints."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container, footer, quality
from .decoder import MODES, mode_name
from .stored import Stored


@dataclass(frozen=True)
class Quality:
    """Quality of each map, measured when the archive was written.

    psnr is in dB (inf: exact), rounded down to 0.5 dB (to 0.25 in files of velcodec 0.3, to 0.05 before); max_error is
    an upper bound in the units of the file; mode is one of `velcodec.decoder.MODES`, or several joined by ", " for a
    map in tiles; "lost" is what a repair could not save, NaN or, of integers, 0. A map in tiles has the PSNR that its
    tiles' mean square errors give, or more.
    """

    psnr: NDArray[np.float64]
    max_error: NDArray[np.float64]
    mode: tuple[str, ...]


@dataclass(frozen=True)
class Looked:
    """The kind and the quality codes of every record, (n,) each."""

    kinds: NDArray[np.uint8]
    psnr: NDArray[np.uint16]
    error: NDArray[np.uint16]

    @property
    def modes(self) -> list[str]:
        """The mode of every record."""
        # Nothing but a repair writes samples as they are and does not say that they are exact.
        lost = (self.kinds == container.KIND_EXACT) & (self.psnr != container.PSNR_EXACT)
        return ["lost" if gone else mode_name(int(kind)) for kind, gone in zip(self.kinds, lost, strict=True)]


def looked(stored: Stored) -> Looked:
    """What the records say of themselves; every block is read for it."""
    kinds, psnr, error = [], [stored.footer.psnr], [stored.footer.error]
    for entry in stored.footer.entries:
        payload = stored.section(entry).payload
        if stored.header.archive:
            p, e, payload = footer.unpack_quality(payload, entry.count)
            psnr.append(p)
            error.append(e)
        kinds.append(stored.kinds(payload, entry))
    return Looked(np.concatenate(kinds), np.concatenate(psnr), np.concatenate(error))


def quality_of(stored: Stored, seen: Looked) -> Quality:
    """The quality of every map."""
    header = stored.header
    psnr, error = quality.quality_values(seen.psnr, seen.error, quality.quality_scale(header.features))
    if header.bound is not None:
        # Codes round up; a map that a repair has lost keeps no bound.
        error = np.where(np.isinf(error), error, np.minimum(error, header.bound))
    tiles = len(header.layout)
    if tiles == 1:
        return Quality(psnr, error, tuple(seen.modes))
    with np.errstate(divide="ignore"):
        mse = (10 ** (-psnr / 10)).reshape(-1, tiles)
        area = np.array([np.prod(header.layout.shape(t)) for t in range(tiles)], dtype=np.float64)
        whole = -10 * np.log10((mse * area).sum(1) / area.sum())
    mixed = tuple(
        ", ".join(sorted(set(seen.modes[first : first + tiles]))) for first in range(0, len(psnr), tiles)
    )
    return Quality(whole, error.reshape(-1, tiles).max(1), mixed)


def info(stored: Stored, seen: Looked) -> dict[str, Any]:
    """What `velcodec info --json` prints."""
    header, size = stored.header, stored.storage.size
    own = quality_of(stored, seen)
    kept = np.array(["lost" not in mode for mode in own.mode])
    finite = own.psnr[np.isfinite(own.psnr) & kept]
    raw = 4 * header.maps * header.map_shape[0] * header.map_shape[1]
    return {
        "format_version": container.FORMAT_VERSION,
        "maps": header.maps,
        "shape": list(header.shape),
        "dtype": np.dtype(header.dtype).str,
        "units": header.units,
        "spacing": list(header.spacing),
        "range": [header.low, header.high],
        "codebook": {
            "id": header.codebook_id,
            "sha256": header.codebook_sha256,
            "embedded": bool(stored.footer.book[1]),
        },
        "bytes": size,
        "bytes_per_map": size / header.maps,
        "ratio": raw / size,
        "tiles": len(header.layout),
        "modes": {name: seen.modes.count(name) for name in MODES if name in seen.modes},
        "psnr": {
            "mean": float(finite.mean()) if len(finite) else None,
            "min": float(finite.min()) if len(finite) else None,
        },
        "max_error": float(own.max_error[kept].max(initial=0.0)),
    }

"""Records -> maps. Never imports fit: reading needs no search.

MAPS payload -> integers -> latents -> synthesis on a grid -> m/s
             -> exact maps ----------> resampled ---------^
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import container, entropy, quantise
from .codebook import Codebook
from .errors import FormatError
from .grid import Grid, resample
from .header import Header
from .synthesis import denormalise, sample

MODE_NAMES = {
    container.KIND_EXACT: "exact",
    container.KIND_INT8: "latent-int8",
    container.KIND_FP16: "latent-fp16",
}


def mode_name(kind: int) -> str:
    """The mode of a record as `info` prints it."""
    return MODE_NAMES.get(kind, "latent-entropy")


@dataclass(frozen=True)
class Records:
    """A block read: kinds (n,), latents (n, D) with NaN rows for exact maps, and the exact maps by their row."""

    kinds: NDArray[np.uint8]
    latents: NDArray[np.float32]
    exact: dict[int, NDArray[Any]]


def kinds_of(payload: bytes, count: int) -> NDArray[np.uint8]:
    """The kinds alone, (count,)."""
    return np.frombuffer(container.unpack_stream(payload, 0, count)[0], np.uint8)


def read_records(payload: bytes, count: int, header: Header, codebook: Codebook | None) -> Records:
    """Parse a MAPS payload. The codebook may be None where every map is exact.

    Raises:
        FormatError: a stream is not what the kinds say.
    """
    block = container.unpack_block(payload, count, header.latent, header.map_bytes)
    kinds = block.kinds
    latents = np.full((count, header.latent), np.nan, dtype=np.float32)
    tables = sorted({int(k) for k in kinds if k >= container.KIND_ENTROPY})
    if tables:
        if codebook is None or tables[-1] - container.KIND_ENTROPY >= codebook.prior.tables:
            raise FormatError("a map names a table set that its codebook has not")
        groups = [(k - container.KIND_ENTROPY, int((kinds == k).sum())) for k in tables]
        decoded = entropy.decode(block.entropy, groups, codebook.models)
        for (table, _), q in zip(groups, decoded, strict=True):
            latents[kinds == table + container.KIND_ENTROPY] = quantise.from_integers(
                q, codebook.prior, table
            )
    elif block.entropy:
        raise FormatError("a block has latents that no map uses")
    eight = np.frombuffer(block.int8, np.uint8).reshape(-1, 4 + header.latent)
    if len(eight):
        scale = eight[:, :4].copy().view("<f4")[:, 0]
        latents[kinds == container.KIND_INT8] = quantise.from_int8(scale, eight[:, 4:].view(np.int8))
    half = np.frombuffer(block.fp16, "<f2").reshape(-1, header.latent)
    latents[kinds == container.KIND_FP16] = quantise.from_fp16(half)
    stack = np.frombuffer(block.exact, header.dtype).reshape(-1, *header.map_shape)
    rows = np.flatnonzero(kinds == container.KIND_EXACT).tolist()
    return Records(kinds, latents, dict(zip(rows, stack, strict=True)))


def decode_maps(
    records: Records,
    rows: Sequence[int],
    grid: Grid,
    header: Header,
    codebook: Codebook | None,
    device: torch.device,
) -> NDArray[Any]:
    """The maps of some rows of a block on a grid: (len(rows), h, w) in the header's dtype."""
    out = np.empty((len(rows), *grid.shape), dtype=header.dtype)
    coded = [i for i, row in enumerate(rows) if row not in records.exact]
    if coded:
        assert codebook is not None
        values = sample(codebook, records.latents[[rows[i] for i in coded]], grid, device)
        out[coded] = restore(values, header)
    kept = [i for i, row in enumerate(rows) if row in records.exact]
    if kept:
        maps = resample(np.stack([records.exact[rows[i]] for i in kept]), grid)
        whole = np.dtype(header.dtype).kind in "iu" and maps.dtype.kind == "f"
        out[kept] = np.rint(maps) if whole else maps
    return out


def restore(values: NDArray[np.float32], header: Header) -> NDArray[Any]:
    """Normalised values (n, h, w) to the units and dtype of the header."""
    return denormalise(values, header.offset, header.scale, header.low, header.high, header.dtype)

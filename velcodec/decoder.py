"""Records -> maps. Never imports fit: reading needs no search.

    MAPS payload -> integers -> latents ------> synthesis on a grid (+ residual) -> m/s
                 -> layers ------------------> drawn on a grid ---------------------^
                 -> cosines -----------------> drawn on a grid (+ residual) --------^
                 -> integers -> exact, quantised maps -> resampled -----------------^

A record is a map, or a tile of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import (
    blocks,
    container,
    entropy,
    exact,
    interfaces,
    layers,
    pixels,
    quantise,
    residual,
    soft,
    spectrum,
    spectrum_coder,
)
from .codebook import Codebook
from .device import resolve_device
from .errors import FormatError
from .grid import Grid, make_grid, resample
from .header import MAX_SAMPLES, Header
from .layers import Layered
from .pixels import Integers, Model
from .soft import Soft
from .spectrum import Spectrum
from .synthesis import denormalise, sample

MODES = (
    "latent-entropy", "latent-int8", "latent-fp16", "latent+residual", "cosines", "cosines+residual", "quantised",
    "layered", "layered-soft", "exact", "lost",
)  # fmt: skip
SOFT_KINDS = range(container.KIND_SOFT, container.KIND_SOFT + len(container.PARTS))
MODE_OF_KIND = {
    container.KIND_EXACT: "exact",
    container.KIND_INT8: "latent-int8",
    container.KIND_FP16: "latent-fp16",
    container.KIND_LAYERED: "layered",
    container.KIND_COSINES: "cosines",
    container.KIND_COSINES_RESIDUAL: "cosines+residual",
    container.KIND_EDGES: "quantised",
    container.KIND_SMOOTH: "quantised",
    container.KIND_EDGES_EXACT: "exact",
    container.KIND_SMOOTH_EXACT: "exact",
    container.KIND_LAYERED_STEPS: "layered",
    **dict.fromkeys(SOFT_KINDS, "layered-soft"),
}

MAX_FINE = 1 << 26  # parts of cells of a map with smoothed edges
COSINE_KINDS = (container.KIND_COSINES, container.KIND_COSINES_RESIDUAL)
LAYERED_KINDS = (container.KIND_LAYERED, container.KIND_LAYERED_STEPS, *SOFT_KINDS)
EXACT_KINDS = (container.KIND_EDGES_EXACT, container.KIND_SMOOTH_EXACT)


@dataclass(frozen=True)
class Corrected:
    """A map as cosines, and as the integers of what they miss."""

    base: Spectrum
    correction: Integers


Stored = NDArray[Any] | Layered | Soft | Spectrum | Corrected | Integers


def mode_name(kind: int) -> str:
    """The mode of a record as `info` prints it."""
    return MODE_OF_KIND.get(kind, "latent+residual" if kind >= container.KIND_RESIDUAL else "latent-entropy")


@dataclass(frozen=True)
class Records:
    """A block read.

    Attributes:
        kinds: (n,).
        read: (n,) which rows were read; the others have nothing stored, and no latent.
        latents: (n, D) float32; NaN rows for records without one.
        stored: by row what is kept beside or instead of a latent: samples, layers, cosines, or integers.
        shapes: (h, w) of each record.
    """

    kinds: NDArray[np.uint8]
    latents: NDArray[np.float32]
    stored: dict[int, Stored]
    shapes: Sequence[tuple[int, int]]
    read: NDArray[np.bool_]

    @cached_property
    def nbytes(self) -> int:
        """About what it takes in memory."""
        return self.latents.nbytes + sum(map(_nbytes, self.stored.values()))


def _nbytes(stored: Stored) -> int:
    if isinstance(stored, Soft):
        return _nbytes(stored.layers)
    if isinstance(stored, Layered):
        return stored.values.nbytes + stored.depths.nbytes
    if isinstance(stored, Corrected):
        return _nbytes(stored.base) + _nbytes(stored.correction)
    if isinstance(stored, Spectrum):
        return stored.whole.nbytes
    if isinstance(stored, Integers):
        return stored.whole.nbytes + (0 if stored.parts is None else stored.parts.nbytes)
    return stored.nbytes


def has_latent(kind: int) -> bool:
    """Whether a record of a kind has a latent."""
    plain = kind in (container.KIND_INT8, container.KIND_FP16)
    return plain or container.KIND_ENTROPY <= kind < container.KIND_COSINES_RESIDUAL


def read_records(
    payload: bytes,
    shapes: Sequence[tuple[int, int]],
    header: Header,
    codebook: Codebook | None,
    wanted: Sequence[int] | None = None,
) -> Records:
    """Parse a MAPS payload of records of some shapes. The codebook may be None where none has a latent.

    Streams are read from their beginning: with `wanted` rows each no further than to the last of those that is in it,
    which saves time.

    Raises:
        FormatError: a stream is not what the kinds say.
    """
    dtype = np.dtype(header.dtype)
    sizes = [h * w * dtype.itemsize for h, w in shapes]
    block = blocks.unpack_block(payload, header.features, header.plain, sizes)
    read, chosen = np.ones(len(shapes), bool), set(range(len(shapes)) if wanted is None else wanted)

    def needed(there: list[int]) -> list[int]:
        """Of the rows that are in a stream those as far as it is read."""
        last = max((row for row in there if row in chosen), default=-1)
        rows = [row for row in there if row <= last]
        read[there[len(rows) :]] = False
        return rows

    with_latent = [row for row, kind in enumerate(block.kinds.tolist()) if has_latent(kind)]
    if with_latent and not needed(with_latent):
        latents = np.full((len(shapes), header.latent), np.nan, dtype=np.float32)
    else:
        latents = _read_latents(block, header, codebook)
        read[with_latent] = True  # each number of all maps at a time
    stored: dict[int, Stored] = {}
    at = 0
    for row in _rows_of(block.kinds, (container.KIND_EXACT,)):
        stored[row] = np.frombuffer(block.exact[at : at + sizes[row]], dtype).reshape(shapes[row])
        at += sizes[row]
    adaptive = (block.kinds >= container.KIND_LAYERED) & (block.kinds <= SOFT_KINDS[-1])
    adaptive |= (block.kinds == container.KIND_COSINES) | (block.kinds >= container.KIND_RESIDUAL)
    held = sum(h * w for (h, w), own in zip(shapes, adaptive.tolist(), strict=True) if own)
    if held > MAX_SAMPLES:
        raise FormatError("a block states more samples than there can be")
    there = _rows_of(block.kinds, LAYERED_KINDS)
    rows = needed(there)
    if rows:
        stored.update(
            zip(rows, _read_layers(block, rows, shapes, header, len(rows) == len(there)), strict=True)
        )
    if block.layers and not there:
        raise FormatError("a block has layers that no map uses")
    there = _rows_of(block.kinds, COSINE_KINDS)
    rows = needed(there)
    spectra: dict[int, Spectrum] = {}
    if rows:
        own = [shapes[row] for row in rows]
        found = spectrum_coder.decode(block.cosines, own, len(rows) == len(there))
        spectra.update(zip(rows, found, strict=True))
    if block.cosines and not there:
        raise FormatError("a block has cosines that no map uses")
    edges, smooth = pixels.models(header.generation)
    streams: tuple[tuple[bytes, Model, Sequence[int]], ...] = (
        (block.edges, edges, (container.KIND_EDGES, container.KIND_EDGES_EXACT)),
        (block.smooth, smooth, (container.KIND_SMOOTH, container.KIND_SMOOTH_EXACT)),
        (block.residual, smooth, range(container.KIND_RESIDUAL, 256)),
    )
    for data, model, kinds in streams:
        there = _rows_of(block.kinds, kinds)
        rows = needed(there)
        if rows:
            parted = [block.kinds[row] in EXACT_KINDS for row in rows]
            own = [shapes[row] for row in rows]
            whole = len(rows) == len(there)
            integers = pixels.decode(data, own, parted, model, exact.mantissa(dtype), whole)
            stored.update(zip(rows, integers, strict=True))
        if data and not there:
            raise FormatError("a block has integers that no map uses")
    for row, base in spectra.items():
        if not read[row]:
            continue
        correction = stored.get(row)
        stored[row] = Corrected(base, correction) if isinstance(correction, Integers) else base
    return Records(block.kinds, latents, stored, shapes, read)


def _rows_of(kinds: NDArray[np.uint8], wanted: Sequence[int]) -> list[int]:
    """The rows whose kind is one of some. Of a few maps np.isin would take as long as they take to read."""
    return [row for row, kind in enumerate(kinds.tolist()) if kind in wanted]


def _read_layers(
    block: blocks.Block, rows: list[int], shapes: Sequence[tuple[int, int]], header: Header, whole: bool
) -> list[Layered | Soft]:
    """The layered records of some rows, values in the header's dtype."""
    dtype, unit = np.dtype(header.dtype).newbyteorder("="), header.unit or 0.0
    stepped = [bool(block.kinds[row] != container.KIND_LAYERED) for row in rows]
    kinds = [int(block.kinds[row]) for row in rows]
    parts = [container.PARTS[kind - container.KIND_SOFT] if kind in SOFT_KINDS else None for kind in kinds]
    own = [
        (h, w) if part is None else (h * part[0], w * part[1])
        for (h, w), part in zip((shapes[row] for row in rows), parts, strict=True)
    ]
    if any(part and h * w > MAX_FINE for (h, w), part in zip(own, parts, strict=True)):
        raise FormatError("a map with smoothed edges is larger than it may be")
    scales = [0 if part is None else 1 + container.PARTS.index(part) for part in parts]
    models = min(3, header.generation)
    low, high = header.low, header.high
    found = layers.decode(block.layers, own, stepped, dtype, low, high, unit, whole, models, scales)
    out: list[Layered | Soft] = []
    for m, part in zip(found, parts, strict=True):
        if m.code is not None:
            m = Layered(_in_units(m.values, m.code, header), m.depths)
        out.append(m if part is None else Soft(m, part))
    return out


def _read_latents(block: blocks.Block, header: Header, codebook: Codebook | None) -> NDArray[np.float32]:
    """Latents (n, D) of a block, NaN for records without one."""
    kinds = block.kinds
    latents = np.full((len(kinds), header.latent), np.nan, dtype=np.float32)
    coded = (kinds >= container.KIND_ENTROPY) & (kinds < container.KIND_COSINES_RESIDUAL)
    if coded.any():
        tables = np.where(coded, (kinds - container.KIND_ENTROPY) % container.MAX_TABLES, 255)
        used = sorted({int(t) for t in tables[coded]})
        if codebook is None or used[-1] >= codebook.prior.tables:
            raise FormatError("a map names a table set that its codebook has not")
        groups = [(t, int((tables == t).sum())) for t in used]
        models = codebook.of(header.escapes).models
        for (t, _), q in zip(groups, entropy.decode(block.entropy, groups, models), strict=True):
            latents[tables == t] = quantise.from_integers(q, codebook.prior, t)
    elif block.entropy:
        raise FormatError("a block has latents that no map uses")
    if block.int8:
        eight = np.frombuffer(block.int8, np.uint8).reshape(-1, 4 + header.plain)
        scale = eight[:, :4].copy().view("<f4")[:, 0]
        plain = quantise.from_int8(scale, eight[:, 4:].view(np.int8))
        latents[kinds == container.KIND_INT8] = quantise.whole(plain, header.latent)
    if block.fp16:
        half = np.frombuffer(block.fp16, "<f2").reshape(-1, header.plain)
        latents[kinds == container.KIND_FP16] = quantise.whole(quantise.from_fp16(half), header.latent)
    return latents


def decode_records(
    records: Records,
    wanted: Sequence[tuple[int, Grid]],
    header: Header,
    codebook: Codebook | None,
    device: str,
) -> list[NDArray[Any]]:
    """Records by row, each on a grid of its own, (h, w) in the header's dtype."""
    out: list[NDArray[Any] | None] = [None] * len(wanted)
    by_grid: dict[tuple[bytes, bytes], list[int]] = {}
    for i, (row, grid) in enumerate(wanted):
        if not has_latent(int(records.kinds[row])):
            out[i] = _kept(records.stored[row], records.shapes[row], grid, header)
        else:
            # Grids that differ in the last digit are one.
            by_grid.setdefault((np.round(grid.z, 12).tobytes(), np.round(grid.x, 12).tobytes()), []).append(i)
    for same in by_grid.values():
        assert codebook is not None
        grid = wanted[same[0]][1]
        latents = records.latents[[wanted[i][0] for i in same]]
        values = sample(codebook, latents, grid, resolve_device(device))
        for i, v in zip(same, values, strict=True):
            row = wanted[i][0]
            correction = records.stored.get(row)
            if isinstance(correction, Integers):
                out[i] = corrected(v, correction, wanted[i][1], header)
            else:
                out[i] = restore(v, header)
    return [v for v in out if v is not None]


def _kept(stored: Stored, shape: tuple[int, int], grid: Grid, header: Header) -> NDArray[Any]:
    """A record without a latent on a grid."""
    dtype = np.dtype(header.dtype)
    if isinstance(stored, Layered) and grid.window is None:
        return interfaces.draw_at(stored, shape[0], grid.z, grid.x).astype(dtype)
    if isinstance(stored, Soft) and grid.window is None:
        return within_range(soft.draw_at(stored, shape[0], grid.z, grid.x), header)
    if isinstance(stored, Spectrum | Corrected) and grid.window is None:
        return of_waves(stored, grid, header)
    native = as_samples(stored, shape, header)
    on_grid = resample(native[None], grid)[0]
    whole = dtype.kind in "iu" and on_grid.dtype.kind == "f"
    return (np.rint(on_grid) if whole else on_grid).astype(dtype)


def as_samples(stored: Stored, shape: tuple[int, int], header: Header) -> NDArray[Any]:
    """A record without a latent as its own samples (h, w) in the header's dtype."""
    dtype = np.dtype(header.dtype)
    if isinstance(stored, Layered):
        return layers.draw(stored, shape[0]).astype(dtype)
    if isinstance(stored, Soft):
        return within_range(soft.draw(stored, shape[0]), header)
    if isinstance(stored, Spectrum | Corrected):
        return of_waves(stored, make_grid(shape), header)
    if not isinstance(stored, Integers):
        return stored
    if stored.parts is not None:
        return exact.from_integers(stored, dtype)
    return _in_units(stored.whole, stored.code, header)


def _in_units(steps: NDArray[np.int64], code: int, header: Header) -> NDArray[Any]:
    """Integers in steps of a code, in the header's dtype."""
    step = residual.step(header.unit or 0.0, code)
    return residual.cast(
        residual.dequantise(steps, step, 0.0, header.low, header.high), np.dtype(header.dtype)
    )


def within_range(values: NDArray[np.float64], header: Header) -> NDArray[Any]:
    """Values clipped to the file's range, in the header's dtype."""
    return residual.cast(np.clip(values, header.low, header.high), np.dtype(header.dtype))


def of_waves(stored: Spectrum | Corrected, grid: Grid, header: Header, nudge: float = 0.0) -> NDArray[Any]:
    """Cosines, with their residual where they have one, on a grid, (h, w) in the header's dtype.

    Args:
        nudge: what all sums of cosines are off by, of the file's largest value.
    """
    own = stored.base if isinstance(stored, Corrected) else stored
    step = spectrum.step(header.unit or 0.0, own.code)
    drawn = spectrum.draw_at(own, step, header.offset, grid.z, grid.x)
    drawn += nudge * max(abs(header.low), abs(header.high))
    if isinstance(stored, Corrected):
        return upon(drawn, stored.correction, grid, header)
    return within_range(drawn, header)


def corrected(values: NDArray[np.float32], correction: Integers, grid: Grid, header: Header) -> NDArray[Any]:
    """Normalised values (h, w) of a latent and its residual, (h, w) in the header's dtype."""
    return upon(values.astype(np.float64) * header.scale + header.offset, correction, grid, header)


def upon(base: NDArray[np.float64], correction: Integers, grid: Grid, header: Header) -> NDArray[Any]:
    """Values (h, w) on a grid and the residual of what they miss, (h, w) in the header's dtype."""
    unit = residual.step(header.unit or 0.0, correction.code)
    steps = resample(correction.whole[None], grid)[0]
    return residual.cast(
        residual.dequantise(steps, unit, base, header.low, header.high), np.dtype(header.dtype)
    )


def restore(values: NDArray[np.float32], header: Header) -> NDArray[Any]:
    """Normalised values (n, h, w) to the units and dtype of the header."""
    return denormalise(values, header.offset, header.scale, header.low, header.high, header.dtype)

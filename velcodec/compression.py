"""Arrays of maps -> .vlz files: how maps are cut into records and blocks, and what the header says of them."""

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from .archive import Archive
from .codebook import Codebook, load_codebook
from .container import MAX_BLOCK_MAPS
from .device import resolve_device
from .encoder import Progress, encode_block
from .errors import DataError, UsageError
from .grid import Window
from .header import DTYPES, Header, from_json
from .modes import Maps
from .request import Request
from .sources import Slices
from .tiles import Layout
from .writer import Writer, check_target, created

BLOCK_MAPS = 100  # of the adaptive modes: a map is reached by decoding its block
LATENT_BLOCK_MAPS = 250
BLOCK_BYTES = 1 << 25  # of raw maps in a block of large ones
TILE = 256  # cells of a tile's side
TILE_FROM = 1 << 18  # samples of a map beyond which it is cut into tiles
LATENT_TILE = 70  # cells of the side of a tile with a latent of its own
LATENT_TILE_FROM = 140  # cells of a map's side beyond which one latent cannot hold it
OVERLAP = 10  # cells that adjoining latents share
STRIP = 1 << 22  # samples looked at at a time for a map's range
NORMAL_RANGE = (1000.0, 5000.0)  # m/s: data within is normalised as the codebook was trained


def compress(
    array: Any,
    path: str | os.PathLike[str] | BinaryIO,
    *,
    psnr: float | None = None,
    max_error: float | None = None,
    latent_only: bool = False,
    lossless: bool = False,
    latent: str = "entropy",
    codebook: str | None = None,
    effort: int = 3,
    device: str = "auto",
    embed_codebook: str = "auto",
    overwrite: bool = False,
    units: str = "m/s",
    spacing: tuple[float, float] = (10.0, 10.0),
    axis: int = 0,
    block: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compress velocity models into a .vlz file.

    Args:
        array: (H, W), (n, H, W) or (n, 1, H, W) of float16/32/64 or integers: numpy, memory-mapped or HDF5. Large
            maps are cut into tiles; memory stays bounded by those.
        path: the file to write; or a new binary file, open for writing and reading.
        psnr: every single map reads back at this PSNR in dB or more (10 log10(range^2 / MSE), the map's range); 35
            unless said.
        max_error: instead, no sample is off by more than this, in the array's units, on any device that decodes.
        latent_only: store every map as a latent, whatever its PSNR; with `psnr` the cheapest that reaches it, if any.
        lossless: restore every bit.
        latent: "entropy" (quantised, entropy-coded), "int8" or "fp16".
        codebook: id, SHA-256 or path; None means the default.
        effort: 0 (no search) to 9 (a thorough one).
        device: "auto", "cpu" or "cuda".
        embed_codebook: "auto" (when it costs under 1 % of the file), "always" or "never".
        overwrite: replace an existing file.
        units: of the values; kept for the reader.
        spacing: (dz, dx) in metres.
        axis: of a 3-D array, along which its slices are the maps; they are (H, W) of the other two axes in order.
        block: maps that are coded together; None means 100, or 250 of latents alone. One map is read by decoding
            those before it in its block, and the fewer there are the more bytes each takes.
        progress: called with (maps done, maps in all) after each block; of large maps with their tiles.

    Returns:
        `Archive.info()` of the file written.

    Raises:
        UsageError: wrong options, or the file exists. DataError: the array cannot be encoded as asked.
        CodebookError: the codebook is not here.
    """
    request = Request(psnr, max_error, latent_only, lossless, latent, effort)
    check_block(block)
    if embed_codebook not in ("auto", "always", "never"):
        raise UsageError(f"embed_codebook must be auto, always or never, not {embed_codebook!r}")
    where = resolve_device(device)
    shape, dtype = checked(array)
    if axis and not isinstance(array, Slices):
        array = Slices(array, axis)
    if isinstance(array, Slices):
        shape, axis = array.shape, array.axis
    book = load_codebook(codebook)
    check_target(path, overwrite)
    ranges = ranges_of(array)
    low = min((r[0] for r in ranges if r), default=0.0)
    high = max((r[1] for r in ranges if r), default=0.0)
    header = replace(
        header_for(shape, dtype, (low, high), request, book), units=units, spacing=spacing, axis=axis
    )
    from_json(header.to_json())  # refuse here what a reader would refuse
    with created(path, overwrite) as file:
        writer = Writer(file, header)
        write_maps(writer, array, ranges, header, request, book, where, progress, block)
        writer.finish(book, embed_codebook)
    with Archive(path, device=device) as archive:
        return archive.info()


def header_for(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    span: tuple[float, float],
    request: Request,
    book: Codebook,
) -> Header:
    """The header of maps of a shape, dtype and range of values, encoded as a request asks."""
    layout = _layout(shape[-2:], request)
    low, high = span
    offset, scale = book.offset, book.scale
    if not NORMAL_RANGE[0] <= low <= high <= NORMAL_RANGE[1]:
        # Other units or a wider range: the whole range on [-1, 1], so that density or km/s work as well.
        offset, scale = (low + high) / 2, max((high - low) / 2, abs(high) * 1e-6, 1e-30)
    tiled = len(layout) > 1
    return Header(
        shape=shape,
        dtype=dtype.str,
        units="m/s",
        spacing=(10.0, 10.0),
        offset=offset,
        scale=scale,
        low=low,
        high=high,
        codebook_id=book.id,
        codebook_sha256=book.sha256,
        latent=book.latent,
        unit=_unit(request, low, high, dtype),
        tile=layout.tile if tiled else None,
        overlap=layout.overlap if tiled else 0,
        bound=request.max_error,
    )


def write_maps(
    writer: Writer,
    array: Any,
    ranges: Sequence[tuple[float, float] | None],
    header: Header,
    request: Request,
    book: Codebook,
    device: torch.device,
    progress: Progress | None = None,
    block: int | None = None,
) -> None:
    """Encode an array of maps, by blocks of so many; `ranges` are those of its maps."""
    layout = header.layout
    spans = np.array([r[1] - r[0] if r else 0.0 for r in ranges])
    records = len(ranges) * len(layout)
    for first, count in _blocks(records, layout, request, np.dtype(header.dtype), block):
        where_from = [divmod(r, len(layout)) for r in range(first, first + count)]
        samples = [_samples(array, m, layout.window(t)) for m, t in where_from]
        maps = Maps(samples, spans[[m for m, _ in where_from]])
        writer.write(encode_block(maps, header, request, book, device))
        if progress is not None:
            progress(first + count, records)


def ranges_of(array: Any) -> list[tuple[float, float] | None]:
    """The least and greatest finite value of every map of an array; None for one that has none."""
    return [_range(array, m) for m in range(array.shape[0] if len(array.shape) > 2 else 1)]


def _layout(map_shape: tuple[int, ...], request: Request) -> Layout:
    """How maps are cut: not at all, into large tiles, or into the codebook's for latents alone."""
    height, width = map_shape
    if request.latent_only and max(height, width) > LATENT_TILE_FROM:
        return Layout((height, width), (LATENT_TILE, LATENT_TILE), OVERLAP)
    if not request.latent_only and height * width > TILE_FROM:
        return Layout((height, width), (min(height, TILE), min(width, TILE)))
    return Layout((height, width), (height, width))


def _blocks(
    records: int, layout: Layout, request: Request, dtype: np.dtype[Any], block: int | None
) -> list[tuple[int, int]]:
    """(first record, count) of every block. A large tile is a block of its own, so that it is read by itself."""
    size = layout.tile[0] * layout.tile[1]
    most = block or (BLOCK_MAPS if request.adaptive else LATENT_BLOCK_MAPS)
    if len(layout) > 1 and request.adaptive:
        most = 1
    count = max(1, min(most, BLOCK_BYTES // (size * dtype.itemsize)))
    return [(first, min(count, records - first)) for first in range(0, records, count)]


def _samples(array: Any, m: int, window: Window) -> NDArray[Any]:
    """Part of a map, (h, w)."""
    (z0, z1), (x0, x1) = window
    if len(array.shape) == 2:
        return np.asarray(array[z0:z1, x0:x1])
    return np.asarray(array[m, z0:z1, x0:x1] if len(array.shape) == 3 else array[m, 0, z0:z1, x0:x1])


def _range(array: Any, m: int) -> tuple[float, float] | None:
    """The least and greatest finite value of a map, read in strips; None where it has none."""
    height, width = (int(n) for n in array.shape[-2:])
    rows = max(1, STRIP // width)
    low, high = np.inf, -np.inf
    for z in range(0, height, rows):
        part = _samples(array, m, ((z, min(z + rows, height)), (0, width)))
        part = part[np.isfinite(part)] if part.dtype.kind == "f" else part
        if part.size:
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    return (low, high) if low <= high else None


def _unit(request: Request, low: float, high: float, dtype: np.dtype[Any]) -> float | None:
    """The step of code 128: twice the bound, or about the one whose rounding gives the PSNR on the whole range."""
    if request.latent_only:
        return None
    if request.lossless:
        return 0.0
    if request.max_error is None:
        unit = (high - low) * 10 ** (-request.least_psnr / 20) * math.sqrt(12)
    elif dtype.kind in "iu":
        unit = 2.0 * math.floor(request.max_error) + 1  # an odd step leaves whole numbers within the bound
    else:
        unit = 2 * request.max_error
    return float(min(max(unit, 1e-30), 1e30))


def check_block(block: int | None) -> None:
    """Raises UsageError for a number of maps that no block can have."""
    if block is not None and not 1 <= block <= MAX_BLOCK_MAPS:
        raise UsageError(f"a block is of 1 to {MAX_BLOCK_MAPS} maps, not {block}")


def checked(array: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array that can be encoded. Raises DataError."""
    try:
        shape, dtype = tuple(int(n) for n in array.shape), np.dtype(array.dtype)
    except (AttributeError, TypeError) as error:
        raise DataError("give a numpy array or an HDF5 dataset (of a tensor, tensor.numpy())") from error
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise DataError(
            "some samples are masked, and a mask is not kept: fill them first, as in array.filled(np.nan)"
        )
    if dtype.newbyteorder("<").str not in DTYPES:
        raise DataError(f"values of dtype {dtype} cannot be encoded; use float16/32/64 or integers")
    if not 2 <= len(shape) <= 4 or (len(shape) == 4 and shape[1] != 1):
        raise DataError(f"shape {shape} is not (H, W), (n, H, W) or (n, 1, H, W)")
    if min(shape) < 1:
        raise DataError(f"shape {shape} holds no maps")
    return shape, dtype

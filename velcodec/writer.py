"""Write .vlz files: blocks of maps -> records -> a file beside the target, renamed when it is complete and on disk."""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container
from .archive import Archive
from .codebook import Codebook, load_codebook, to_bytes
from .container import Entry, Footer, Section
from .device import resolve_device
from .encoder import Encoded, Progress, Request, encode_block, value_range
from .errors import DataError, UsageError
from .header import DTYPES, Header, from_json

BLOCK_MAPS = 256
BLOCK_BYTES = 1 << 25  # of raw maps in a block of large ones
EMBED_SHARE = 0.01  # of the file that an embedded codebook may take with "auto"
NORMAL_RANGE = (1000.0, 5000.0)  # m/s: data within is normalised as the codebook was trained


class Writer:
    """Writes a .vlz file beside its target; `finish` gives it its name, anything else leaves no trace."""

    def __init__(self, path: Path, header: Header, overwrite: bool) -> None:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name a .vlz file in it")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists; choose another name or allow overwriting (--overwrite)")
        self._path = path
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._entries: list[Entry] = []
        self._psnr: list[NDArray[np.float64]] = []
        self._error: list[NDArray[np.float64]] = []
        self._maps = 0
        try:
            self._file = self._beside.open("wb")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        self._file.write(container.pack_prologue())
        payload = container.pack_header(header.to_json())
        self._file.write(container.pack_section(Section(container.TAG_HEADER, 0, 0, payload)))

    def write(self, encoded: Encoded) -> None:
        """Add a block."""
        count = len(encoded.psnr)
        section = container.pack_section(Section(container.TAG_MAPS, self._maps, count, encoded.payload))
        self._entries.append(Entry(self._file.tell(), len(section), self._maps, count))
        self._file.write(section)
        self._maps += count
        self._psnr.append(encoded.psnr)
        self._error.append(encoded.error)

    def finish(self, codebook: Codebook, embed: str) -> None:
        """Write codebook, footer and tail, put them on disk, and give the file its name."""
        book = (0, 0)
        data = to_bytes(codebook) if embed != "never" else b""
        if embed == "always" or (embed == "auto" and len(data) < EMBED_SHARE * self._file.tell()):
            section = container.pack_section(Section(container.TAG_CODEBOOK, 0, 0, data))
            book = (self._file.tell(), len(section))
            self._file.write(section)
        codes = container.quality_codes(np.concatenate(self._psnr), np.concatenate(self._error))
        payload = container.pack_footer(Footer(self._entries, book, *codes))
        section = container.pack_section(Section(container.TAG_FOOTER, 0, 0, payload))
        tail = container.pack_tail(self._file.tell(), len(section))
        self._file.write(section + tail)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._beside, self._path)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        self._beside.unlink(missing_ok=True)


def compress(
    array: Any,
    path: str | os.PathLike[str],
    *,
    psnr: float = 35.0,
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
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compress velocity models into a .vlz file.

    Args:
        array: (H, W), (n, H, W) or (n, 1, H, W) of float16/32/64 or integers: numpy, memory-mapped or HDF5.
        path: the file to write.
        psnr: every single map reads back at this PSNR in dB or more (10 log10(range^2 / MSE), the map's range).
        latent_only: store every map as a latent, whatever its PSNR.
        lossless: restore every bit.
        latent: "entropy" (quantised, entropy-coded), "int8" or "fp16".
        codebook: id, SHA-256 or path; None means the default.
        effort: 0 (the encoder network alone) to 9 (a thorough search).
        device: "auto", "cpu" or "cuda".
        embed_codebook: "auto" (when it costs under 1 % of the file), "always" or "never".
        overwrite: replace an existing file.
        units: of the values; kept for the reader.
        spacing: (dz, dx) in metres.
        progress: called with (maps done, maps in all) after each block.

    Returns:
        `Archive.info()` of the file written.

    Raises:
        UsageError: wrong options, or the file exists. DataError: the array cannot be encoded as asked.
        CodebookError: the codebook is not here.
    """
    request = Request(psnr, latent_only, lossless, latent, effort)
    if embed_codebook not in ("auto", "always", "never"):
        raise UsageError(f"embed_codebook must be auto, always or never, not {embed_codebook!r}")
    where = resolve_device(device)
    target = Path(path)
    shape, dtype = _checked(array)
    maps = shape[0] if len(shape) > 2 else 1
    source = array if len(shape) > 2 else np.asarray(array)[None]
    per_block = max(1, min(BLOCK_MAPS, BLOCK_BYTES // (shape[-2] * shape[-1] * dtype.itemsize)))
    blocks = [(first, min(per_block, maps - first)) for first in range(0, maps, per_block)]
    book = load_codebook(codebook)
    low, high = value_range(source, blocks)
    offset, scale = book.offset, book.scale
    if not NORMAL_RANGE[0] <= low <= high <= NORMAL_RANGE[1]:
        # Other units or a wider range: the whole range on [-1, 1], so that density or km/s work as well.
        offset, scale = (low + high) / 2, max((high - low) / 2, abs(high) * 1e-6, 1e-30)
    header = Header(
        shape, dtype.str, units, spacing, offset, scale, low, high, book.id, book.sha256, book.latent
    )
    from_json(header.to_json())  # refuse here what a reader would refuse
    with Writer(target, header, overwrite) as writer:
        for first, count in blocks:
            part = np.asarray(source[first : first + count]).reshape(count, *shape[-2:])
            writer.write(encode_block(part, header, request, book, where))
            if progress is not None:
                progress(first + count, maps)
        writer.finish(book, embed_codebook)
    with Archive(target, device=device) as archive:
        return archive.info()


def _checked(array: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array that can be encoded. Raises DataError."""
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise DataError("give a numpy array or an HDF5 dataset")
    shape, dtype = tuple(int(n) for n in array.shape), np.dtype(array.dtype)
    if dtype.newbyteorder("<").str not in DTYPES:
        raise DataError(f"values of dtype {dtype} cannot be encoded; use float16/32/64 or integers")
    if not 2 <= len(shape) <= 4 or (len(shape) == 4 and shape[1] != 1):
        raise DataError(f"shape {shape} is not (H, W), (n, H, W) or (n, 1, H, W)")
    if min(shape) < 1:
        raise DataError(f"shape {shape} holds no maps")
    return shape, dtype

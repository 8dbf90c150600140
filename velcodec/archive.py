"""Open, read and write .vlz files.

Reading maps a slice of the archive to blocks, blocks to records (a few are kept), records to maps on a grid.
Writing goes to a file beside the target, which takes its name only when it is complete and on disk.
"""

import contextlib
import operator
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from . import container
from .codebook import Codebook, from_bytes, load_codebook, resolve, to_bytes
from .container import Entry, Footer, Section
from .decoder import Records, decode_maps, kinds_of, mode_name, read_records
from .device import resolve_device
from .encoder import Encoded, Progress, Request, encode_block, value_range
from .errors import CodebookError, DataError, FormatError, UsageError
from .field import Field
from .grid import Window, make_grid
from .header import DTYPES, Header, from_json

BLOCK_MAPS = 256
BLOCK_BYTES = 1 << 25  # of raw maps in a block of large ones
KEPT_BLOCKS = 4
EMBED_SHARE = 0.01
NORMAL_RANGE = (1000.0, 5000.0)  # m/s: data within is normalised as the codebook was trained

MapIndex = int | slice | Sequence[int] | NDArray[Any]


@dataclass(frozen=True)
class Quality:
    """Measured when the archive was written, of each map: PSNR in dB (inf: exact; rounded down to 0.05 dB), an upper
    bound of the maximum error in the units of the file, and the mode that stores it."""

    psnr: NDArray[np.float64]
    max_error: NDArray[np.float64]
    mode: tuple[str, ...]


class Archive:
    """A .vlz file as a sequence of maps, (H, W) each, in the dtype given to `compress`.

    `len(a)`, `a[3]` (H, W), `a[10:20]` (10, H, W); see `read` for other grids. Safe to read from several threads.
    """

    def __init__(self, path: str | os.PathLike[str], codebook: str | None = None, device: str = "auto") -> None:
        self.path = Path(path)
        self._device, self._wanted = device, codebook
        self._lock = threading.RLock()
        self._codebook: Codebook | None = None
        self._kept: OrderedDict[int, Records] = OrderedDict()
        try:
            self._file: BinaryIO = self.path.open("rb")
        except OSError as error:
            raise UsageError(f"cannot open {path}: {error.strerror}") from error
        try:
            self.bytes = os.fstat(self._file.fileno()).st_size
            self.header, self._footer = self._read_frame()
        except BaseException:
            self._file.close()
            raise

    def _read_frame(self) -> tuple[Header, Footer]:
        container.unpack_prologue(self._file.read(container.PROLOGUE.size))
        header = from_json(
            container.unpack_header(
                container.read_section(self._file, container.TAG_HEADER, container.MAX_HEADER).payload
            )
        )
        first = self._file.tell()
        self._file.seek(max(first, self.bytes - container.TAIL.size))
        offset, length = container.unpack_tail(self._file.read(), self.bytes)
        if offset < first:
            raise FormatError("the file's tail does not point at its footer")
        section = container.unpack_section(self._at(offset, length), container.TAG_FOOTER)
        footer = container.unpack_footer(section.payload, offset)
        if len(footer.psnr) != header.maps or (footer.entries and footer.entries[0].offset < first):
            raise FormatError("the footer does not fit the header")
        return header, footer

    def _at(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(length)
        if len(data) != length:
            raise FormatError("the file is truncated")
        return data

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array given to `compress`."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the array given to `compress`."""
        return np.dtype(self.header.dtype)

    @property
    def map_shape(self) -> tuple[int, int]:
        """(H, W) of one map."""
        return self.header.map_shape

    @property
    def codebook_id(self) -> str:
        """Id of the codebook that the file names."""
        return self.header.codebook_id

    @property
    def codebook_sha256(self) -> str:
        """SHA-256 of the codebook that the file names."""
        return self.header.codebook_sha256

    @property
    def codebook(self) -> Codebook:
        """The codebook that the file names: embedded, or found by its hash.

        Raises:
            CodebookError: it is not here, or the one named in `open` is another.
        """
        with self._lock:
            if self._codebook is None:
                self._codebook = self._find_codebook()
            return self._codebook

    def _find_codebook(self) -> Codebook:
        offset, length = self._footer.book
        if self._wanted is not None:
            found = load_codebook(self._wanted)
        elif length:
            section = container.unpack_section(self._at(offset, length), container.TAG_CODEBOOK)
            found = from_bytes(section.payload)
        else:
            found = resolve(self.codebook_id, self.codebook_sha256)
        if found.sha256 != self.codebook_sha256 or found.latent != self.header.latent:
            raise CodebookError(
                f"{self.path} needs codebook {self.codebook_id} with SHA-256 {self.codebook_sha256}, "
                f"not {found.id} with {found.sha256}"
            )
        return found

    @property
    def quality(self) -> Quality:
        """Quality measured when the file was written, of each map."""
        psnr, error = container.quality_values(self._footer.psnr, self._footer.error)
        modes = []
        for entry in self._footer.entries:
            modes += [mode_name(int(k)) for k in kinds_of(self._payload(entry), entry.count)]
        return Quality(psnr, error, tuple(modes))

    def info(self) -> dict[str, Any]:
        """What `velcodec info --json` prints."""
        quality = self.quality
        finite = quality.psnr[np.isfinite(quality.psnr)]
        names = ("latent-entropy", "latent-int8", "latent-fp16", "exact")
        raw = 4 * len(self) * self.map_shape[0] * self.map_shape[1]
        return {
            "format_version": container.FORMAT_VERSION,
            "maps": len(self),
            "shape": list(self.shape),
            "dtype": self.dtype.str,
            "units": self.header.units,
            "spacing": list(self.header.spacing),
            "range": [self.header.low, self.header.high],
            "codebook": {
                "id": self.codebook_id,
                "sha256": self.codebook_sha256,
                "embedded": bool(self._footer.book[1]),
            },
            "bytes": self.bytes,
            "bytes_per_map": self.bytes / len(self),
            "ratio": raw / self.bytes,
            "modes": {name: quality.mode.count(name) for name in names if name in quality.mode},
            "psnr": {
                "mean": float(finite.mean()) if len(finite) else None,
                "min": float(finite.min()) if len(finite) else None,
            },
            "max_error": float(quality.max_error.max()),
        }

    # Reading

    def __len__(self) -> int:
        return self.header.maps

    def __getitem__(self, index: MapIndex) -> NDArray[Any]:
        if isinstance(index, (int, np.integer)):
            return self.read([self._row(int(index))])[0]
        return self.read(index)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for i in range(len(self)):
            yield self[i]

    def read(
        self,
        maps: MapIndex | None = None,
        shape: tuple[int, int] | None = None,
        window: Window | None = None,
        device: str | None = None,
    ) -> NDArray[Any]:
        """Maps on a grid, (n, H', W') in the file's dtype and units.

        Args:
            maps: a slice, indices, or None for all.
            shape: (H', W') samples over the map, or over the window where one is given; None means native.
            window: ((z0, z1), (x0, x1)) in native cells.
            device: where to decode; None means as `open` was told.

        Exact maps are interpolated linearly at other grids; latents are continuous and are sampled anew.

        Raises:
            UsageError: an index, shape or window that is not within the archive.
            FormatError: a block is damaged. CodebookError: the codebook is not here.
        """
        rows = self._rows(maps)
        grid = make_grid(self.map_shape, shape, window)
        where = resolve_device(device or self._device)
        out = np.empty((len(rows), *grid.shape), dtype=self.dtype)
        for entry, places in self._by_block(rows):
            records = self._records(entry)
            inside = [rows[p] - entry.first for p in places]
            codebook = self._codebook
            out[places] = decode_maps(records, inside, grid, self.header, codebook, where)
        return out

    def latents(self, maps: MapIndex | None = None) -> NDArray[np.float32]:
        """Latents as stored, dequantised: (n, D) float32 in latent units; a row of NaN for an exact map."""
        rows = self._rows(maps)
        out = np.empty((len(rows), self.header.latent), dtype=np.float32)
        for entry, places in self._by_block(rows):
            out[places] = self._records(entry).latents[[rows[p] - entry.first for p in places]]
        return out

    def field(self, index: int) -> Field:
        """Map `index` as a continuous function of position. Raises DataError for a map stored exactly."""
        row = self._row(index)
        latent = self.latents([row])[0]
        if not np.isfinite(latent).all():
            raise DataError(f"map {index} is stored exactly and has no latent; read it with shape= for other grids")
        return Field(latent, self.codebook, self.header, resolve_device(self._device))

    def verify(self) -> None:
        """Read and decode every section. Raises FormatError at the first that is damaged, CodebookError."""
        if self._footer.book[1]:
            _ = self.codebook
        for entry in self._footer.entries:
            records = self._parse(entry)
            if not np.isfinite(records.latents[[r for r in range(entry.count) if r not in records.exact]]).all():
                raise FormatError(f"the latents of the block at map {entry.first} are not finite")

    def _row(self, index: int) -> int:
        row = operator.index(index)
        if not -len(self) <= row < len(self):
            raise UsageError(f"map {index} is not within the archive's {len(self)} maps")
        return row % len(self)

    def _rows(self, maps: MapIndex | None) -> list[int]:
        if maps is None:
            return list(range(len(self)))
        if isinstance(maps, slice):
            return list(range(*maps.indices(len(self))))
        return [self._row(int(i)) for i in np.atleast_1d(np.asarray(maps))]

    def _by_block(self, rows: list[int]) -> Iterator[tuple[Entry, list[int]]]:
        """Blocks that hold the rows, with the places of those rows in the list, block by block."""
        entries = self._footer.entries
        firsts = np.array([entry.first for entry in entries])
        places: dict[int, list[int]] = {}
        for place, block in enumerate((np.searchsorted(firsts, rows, side="right") - 1).tolist()):
            places.setdefault(block, []).append(place)
        for block in sorted(places):
            yield entries[block], places[block]

    def _payload(self, entry: Entry) -> bytes:
        section = container.unpack_section(self._at(entry.offset, entry.length), container.TAG_MAPS)
        if (section.first, section.count) != (entry.first, entry.count):
            raise FormatError(f"the block at map {entry.first} is not the one that the index names")
        return section.payload

    def _parse(self, entry: Entry) -> Records:
        payload = self._payload(entry)
        needs = bool((kinds_of(payload, entry.count) != container.KIND_EXACT).any())
        return read_records(payload, entry.count, self.header, self.codebook if needs else None)

    def _records(self, entry: Entry) -> Records:
        with self._lock:
            records = self._kept.pop(entry.first, None) or self._parse(entry)
            self._kept[entry.first] = records
            while len(self._kept) > KEPT_BLOCKS:
                self._kept.popitem(last=False)
            return records

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def decompress(
    path: str | os.PathLike[str],
    *,
    maps: MapIndex | None = None,
    shape: tuple[int, int] | None = None,
    window: Window | None = None,
    device: str = "auto",
    codebook: str | None = None,
) -> NDArray[Any]:
    """Restore maps as an array laid out as the one given: (H', W'), (n, H', W') or (n, 1, H', W').

    See `Archive.read` for the arguments and errors.
    """
    with Archive(path, codebook, device) as archive:
        out = archive.read(maps, shape, window)
        return out.reshape(layout(archive.shape, out.shape))


def layout(given: tuple[int, ...], read: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of maps (n, H', W') laid out as the array given was."""
    if len(given) == 2:
        return read[1:]
    return (read[0], 1, *read[1:]) if len(given) == 4 else read

"""Open and read .vlz files: maps -> their blocks -> records (a few blocks are kept) -> maps on a grid."""

import math
import operator
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import blocks, container, manifest, quality
from .codebook import Codebook, from_bytes, load_codebook, resolve
from .container import Entry, Footer, Section
from .decoder import MODES, Records, decode_records, has_latent, mode_name, read_records
from .device import check_device, resolve_device
from .errors import CodebookError, DataError, FormatError, UsageError
from .field import Field, of_latent, of_samples
from .grid import Grid, Window, make_grid, resample
from .header import Header, from_json
from .manifest import Source
from .residual import cast

KEPT_BYTES = 64 << 20  # of blocks that have been read

MapIndex = int | slice | Sequence[int] | NDArray[Any]


@dataclass(frozen=True)
class Quality:
    """Quality of each map, measured when the archive was written.

    psnr is in dB (inf: exact), rounded down to 0.5 dB (to 0.25 in files of velcodec 0.3, to 0.05 before); max_error is
    an upper bound in the units of the file; mode is one of `velcodec.decoder.MODES`, or several joined by ", " for a
    map in tiles. A map in tiles has the PSNR that its tiles' mean square errors give, or more.
    """

    psnr: NDArray[np.float64]
    max_error: NDArray[np.float64]
    mode: tuple[str, ...]


class Archive:
    """A .vlz file as a sequence of maps, (H, W) each, in the dtype given to `compress`.

    `len(a)`, `a[3]` (H, W), `a[10:20]` (10, H, W); see `read` for other grids. Safe to read from several threads, in
    processes that a fork makes, and in others that it is sent to: they open the file anew.

    Args:
        codebook: id, SHA-256 or path; None means the one that the file names.
        device: where latents are decoded: "auto", "cpu" or "cuda".
        keep: bytes of memory for blocks that have been read, the last ones used; 2 to 40 KB a map, as stored. Who reads
            maps at random many times over gives as much as the whole archive takes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        codebook: str | None = None,
        device: str = "auto",
        keep: int = KEPT_BYTES,
    ) -> None:
        self.path = Path(path)
        self._device, self._wanted = device, codebook
        self._lock = threading.RLock()
        _open.add(self)
        self._codebook: Codebook | None = None
        self._kept: OrderedDict[int, Records] = OrderedDict()
        self._keep, self._held = keep, 0
        self._sources: tuple[Source, ...] | None = None
        self._seen: tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint16]] | None = None
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
        features = container.unpack_prologue(self._file.read(container.PROLOGUE.size))
        header = from_json(
            container.unpack_header(
                container.read_section(self._file, container.TAG_HEADER, container.MAX_HEADER).payload,
                features,
            )
        )
        first = self._file.tell()
        self._file.seek(max(first, self.bytes - container.TAIL.size))
        offset, length = container.unpack_tail(self._file.read(), self.bytes)
        if offset < first:
            raise FormatError("the file's tail does not point at its footer")
        section = container.unpack_section(self._at(offset, length), container.TAG_FOOTER)
        footer = container.unpack_footer(section.payload, offset, features)
        if header.features != features:
            raise FormatError("the file's first bytes are damaged: they and its header disagree")
        records = sum(entry.count for entry in footer.entries)
        if records != header.maps * len(header.layout) or (
            footer.entries and footer.entries[0].offset < first
        ):
            raise FormatError("the footer does not fit the header")
        return header, footer

    def _at(self, offset: int, length: int) -> bytes:
        data = b""  # by position: processes that a fork made share the file's own
        while len(data) < length and (
            more := os.pread(self._file.fileno(), length - len(data), offset + len(data))
        ):
            data += more
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
    def sources(self) -> tuple[Source, ...]:
        """The files that the maps are from, in the maps' order; none but of an archive of files."""
        with self._lock:
            if self._sources is None:
                offset, length = self._footer.sources
                found: list[Any] = []
                if length:
                    section = container.unpack_section(self._at(offset, length), container.TAG_SOURCES)
                    found = container.unpack_sources(section.payload)
                self._sources = manifest.from_json(found, len(self), self.map_shape)
            return self._sources

    def blocks(self, first: int = 0, end: int | None = None) -> Iterator[tuple[int, int, bytes]]:
        """(first record, count, payload) of every block, or of those that hold some records, as stored and checked."""
        for entry in self._footer.entries:
            if entry.first + entry.count > first and (end is None or entry.first < end):
                yield entry.first, entry.count, self._section(entry).payload

    @property
    def quality(self) -> Quality:
        """Quality measured when the file was written, of each map."""
        psnr, error = quality.quality_values(*self.quality_codes, quality.quality_scale(self.header.features))
        if self.header.bound is not None:
            # Codes round up; a map that a repair has lost keeps no bound.
            error = np.where(np.isinf(error), error, np.minimum(error, self.header.bound))
        modes = self._modes()
        tiles = len(self.header.layout)
        if tiles == 1:
            return Quality(psnr, error, tuple(modes))
        with np.errstate(divide="ignore"):
            mse = (10 ** (-psnr / 10)).reshape(len(self), tiles)
            area = np.array([np.prod(self.header.layout.shape(t)) for t in range(tiles)], dtype=np.float64)
            whole = -10 * np.log10((mse * area).sum(1) / area.sum())
        mixed = [", ".join(sorted(set(modes[i * tiles : (i + 1) * tiles]))) for i in range(len(self))]
        return Quality(whole, error.reshape(len(self), tiles).max(1), tuple(mixed))

    @property
    def quality_codes(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """The quality codes of every record."""
        if not self.header.archive:
            return self._footer.psnr, self._footer.error
        return self._looked()[1:]

    def _modes(self) -> list[str]:
        """The mode of every record."""
        return [mode_name(int(kind)) for kind in self._looked()[0]]

    def _looked(self) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint16]]:
        """The kind of every record, and of an archive the quality codes; every block is read for it, once."""
        with self._lock:
            if self._seen is None:
                kinds, psnr, error = [], [], []
                for entry in self._footer.entries:
                    payload = self._section(entry).payload
                    if self.header.archive:
                        p, e, payload = container.unpack_quality(payload, entry.count)
                        psnr.append(p)
                        error.append(e)
                    kinds.append(self._kinds(payload, entry))
                none = np.empty(0, np.uint16)
                self._seen = (
                    np.concatenate(kinds), np.concatenate([none, *psnr]), np.concatenate([none, *error]),
                )  # fmt: skip
            return self._seen

    def info(self) -> dict[str, Any]:
        """What `velcodec info --json` prints."""
        quality = self.quality
        finite = quality.psnr[np.isfinite(quality.psnr)]
        modes = self._modes()
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
            "tiles": len(self.header.layout),
            "modes": {name: modes.count(name) for name in MODES if name in modes},
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

        At other grids latents, being continuous, are sampled anew, layers are drawn with interfaces as crisp or as
        smoothed as they are stored, and what is stored as samples is interpolated linearly. Of a map in tiles only
        those are read that the window needs.

        Raises:
            UsageError: an index, shape or window that is not within the archive.
            FormatError: a block is damaged. CodebookError: the codebook is not here.
        """
        rows = self._rows(maps)
        grid = make_grid(self.map_shape, shape, window)
        where = device or self._device
        check_device(where)
        if len(self.header.layout) > 1 and not self.header.overlap and grid.window is None:
            return self._read_between(rows, grid, where)
        out = np.empty((len(rows), *grid.shape), dtype=self.dtype)
        if len(self.header.layout) == 1:
            for entry, places in self._by_block(rows):
                records = self._records(entry, max(rows[p] for p in places))
                wanted = [(rows[p] - entry.first, grid) for p in places]
                for p, v in zip(
                    places, decode_records(records, wanted, self.header, self._codebook, where), strict=True
                ):
                    out[p] = v
            return out
        for i, row in enumerate(rows):
            out[i] = self._assembled(row, grid, where)
        return out

    def _assembled(self, row: int, grid: Grid, where: str) -> NDArray[Any]:
        """A map in tiles on a grid: its tiles decoded each on a share of it, and blended where they overlap."""
        layout = self.header.layout
        parts = {
            row * len(layout) + t: part
            for t in range(len(layout))
            if (part := layout.part(t, grid)) is not None
        }
        blended = self.header.overlap > 0
        out = np.zeros(grid.shape, dtype=np.float64 if blended else self.dtype)
        for entry, places in self._by_block(list(parts)):
            chosen = [list(parts)[p] for p in places]
            wanted = [(record - entry.first, parts[record].grid) for record in chosen]
            for record, v in zip(
                chosen,
                decode_records(self._records(entry, max(chosen)), wanted, self.header, self._codebook, where),
                strict=True,
            ):
                part = parts[record]
                if blended:
                    out[part.place] += part.weight * v
                else:
                    out[part.place] = v
        return cast(out, self.dtype)

    def _read_between(self, rows: list[int], grid: Grid, where: str) -> NDArray[Any]:
        """Maps in tiles of samples on a grid between them: the samples about it, interpolated across tiles."""
        cells = [
            (max(0, math.floor((c.min() + 1) / 2 * n) - 1), min(n, math.ceil((c.max() + 1) / 2 * n) + 1))
            for c, n in zip((grid.z, grid.x), self.map_shape, strict=True)
        ]
        around = make_grid(self.map_shape, None, (cells[0], cells[1]))
        z, x = (
            ((c + 1) / 2 * n - low) / (high - low) * 2 - 1
            for c, n, (low, high) in zip((grid.z, grid.x), self.map_shape, cells, strict=True)
        )
        out = np.empty((len(rows), *grid.shape), dtype=self.dtype)
        for i, row in enumerate(rows):
            native = self._assembled(row, around, where)
            out[i] = cast(resample(native[None], Grid(z, x, None))[0], self.dtype)
        return out

    def latents(self, maps: MapIndex | None = None) -> NDArray[np.float32]:
        """Latents as stored, dequantised: (n, D) float32 in latent units; a row of NaN for a map without one.

        Raises:
            DataError: the maps are in tiles, which have a latent each.
        """
        if len(self.header.layout) > 1:
            raise DataError("the maps are in tiles and have no latent of their own; read them with read()")
        rows = self._rows(maps)
        out = np.empty((len(rows), self.header.latent), dtype=np.float32)
        for entry, places in self._by_block(rows):
            out[places] = self._records(entry, entry.first).latents[[rows[p] - entry.first for p in places]]
        return out

    def field(self, index: int) -> Field:
        """Map `index` as a continuous function of position: its latent's, or its samples joined bilinearly."""
        row = self._row(index)
        if len(self.header.layout) == 1:
            ((entry, _),) = self._by_block([row])
            kind = int(self._records(entry, entry.first).kinds[row - entry.first])
            if has_latent(kind) and kind < container.KIND_RESIDUAL:
                where = resolve_device(self._device)
                return Field(
                    of_latent(self.latents([row])[0], self.codebook, self.header, where), self.header
                )
        return Field(of_samples(self[row]), self.header)

    def verify(self) -> None:
        """Read and decode every section. Raises FormatError at the first that is damaged, CodebookError."""
        if self._footer.book[1]:
            _ = self.codebook
        _ = self.sources
        for entry in self._footer.entries:
            records = self._parse(entry)
            coded = [r for r in range(entry.count) if has_latent(int(records.kinds[r]))]
            if not np.isfinite(records.latents[coded]).all():
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
        """Blocks that hold the records, with the places of those rows in the list, block by block."""
        entries = self._footer.entries
        firsts = np.array([entry.first for entry in entries])
        places: dict[int, list[int]] = {}
        for place, block in enumerate((np.searchsorted(firsts, rows, side="right") - 1).tolist()):
            places.setdefault(block, []).append(place)
        for block in sorted(places):
            yield entries[block], places[block]

    def _section(self, entry: Entry) -> Section:
        section = container.unpack_section(self._at(entry.offset, entry.length), container.TAG_MAPS)
        if (section.first, section.count) != (entry.first, entry.count):
            raise FormatError(f"the block at map {entry.first} is not the one that the index names")
        return section

    def _payload(self, entry: Entry) -> bytes:
        """What a block holds of its maps, their quality left out."""
        payload = self._section(entry).payload
        return container.unpack_quality(payload, entry.count)[2] if self.header.archive else payload

    def _kinds(self, payload: bytes, entry: Entry) -> NDArray[np.uint8]:
        return blocks.unpack_kinds(payload, entry.count, self.header.features)[0]

    def _parse(self, entry: Entry, until: int | None = None) -> Records:
        payload = self._payload(entry)
        needs = any(has_latent(int(k)) for k in self._kinds(payload, entry))
        layout = self.header.layout
        shapes = [layout.shape((entry.first + i) % len(layout)) for i in range(entry.count)]
        return read_records(payload, shapes, self.header, self.codebook if needs else None, until)

    def _records(self, entry: Entry, last: int) -> Records:
        """A block, read at least as far as to record `last`; those used last are kept.

        The first time it is read that far and no further, the second time whole.
        """
        wanted = last - entry.first + 1
        with self._lock:
            records = self._kept.pop(entry.first, None)
            if records is not None:
                self._held -= records.nbytes
            if records is None:
                records = self._parse(entry, wanted)
            elif records.until < wanted:
                records = self._parse(entry)
            self._kept[entry.first] = records
            self._held += records.nbytes
            while self._held > self._keep and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].nbytes
            return records

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (self.path.absolute(), self._wanted, self._device, self._keep)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # not so where opening failed
            self._file.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_open: weakref.WeakSet[Archive] = weakref.WeakSet()


def _renew_locks() -> None:
    """A thread that held a lock as the process forked is not there to give it back."""
    for archive in _open:
        archive._lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)


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

    Slices of a volume lie along the axis that they were taken from.

    See `Archive.read` for the arguments and errors.
    """
    with Archive(path, codebook, device) as archive:
        out = archive.read(maps, shape, window)
        return np.moveaxis(out.reshape(layout(archive.shape, out.shape)), 0, archive.header.axis)


def layout(given: tuple[int, ...], read: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of maps (n, H', W') laid out as the array given was."""
    if len(given) == 2:
        return read[1:]
    return (read[0], 1, *read[1:]) if len(given) == 4 else read

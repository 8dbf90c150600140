"""Open and read .vlz files: maps -> their blocks -> records (a few blocks are kept) -> maps on a grid.

Where bytes lie is places.py's, what sections hold stored.py's, what is said of all maps summary.py's.
"""

import math
import operator
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import container, summary
from .codebook import Codebook, from_bytes, load_codebook, resolve
from .decoder import Records, decode_records, has_latent, read_records
from .device import check_device, resolve_device, side_by_side
from .errors import CodebookError, DataError, FormatError, UsageError
from .field import Field, of_latent, of_samples, of_waves
from .footer import Entry
from .grid import Grid, Window, make_grid, resample
from .header import Header
from .kept import Kept
from .manifest import Source
from .places import Place, stored_at
from .residual import cast
from .spectrum import Spectrum
from .stored import Stored
from .summary import Looked, Quality

KEPT_BYTES = 64 << 20  # of blocks that have been read
NATIVE = "native"  # of a block: its maps are kept, not its records

MapIndex = int | slice | Sequence[int] | NDArray[Any]


class Archive:
    """A .vlz file as a sequence of maps, (H, W) each, in the dtype given to `compress`.

    `len(a)`, `a[3]` (H, W), `a[10:20]` (10, H, W); see `read` for other grids. Safe to read from several threads, in
    processes that a fork makes, and in others that it is sent to: they open the file anew.

    Args:
        path: of the file; a group of an HDF5 file that carries one, as in "models.h5:/vlz"; a URL that fsspec knows, as
            in https:// or s3://, of which only what is wanted is fetched; or an open binary file, which stays open.
        codebook: id, SHA-256 or path; None means the one that the file names.
        device: where latents are decoded: "auto", "cpu" or "cuda".
        keep: bytes of memory for blocks that have been read, the last ones used. Who reads maps at random many times
            over gives as much as they take as arrays.
    """

    def __init__(
        self,
        path: Place,
        codebook: str | None = None,
        device: str = "auto",
        keep: int = KEPT_BYTES,
    ) -> None:
        self._device, self._wanted = device, codebook
        self._lock = threading.RLock()
        _open.add(self)
        self._codebook: Codebook | None = None
        self._kept = Kept(keep)
        self._sources: tuple[Source, ...] | None = None
        self._seen: Looked | None = None
        self._storage = stored_at(path)
        try:
            self.stored = Stored(self._storage)
        except BaseException:
            self._storage.close()
            raise

    # What it is

    @property
    def name(self) -> str:
        """The path or URL that it was opened by."""
        return self._storage.name

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self._storage.size

    @property
    def keep(self) -> int:
        """Bytes of memory for blocks that have been read; may be set."""
        return self._kept.most

    @keep.setter
    def keep(self, most: int) -> None:
        self._kept.most = most

    @property
    def header(self) -> Header:
        """The file's header."""
        return self.stored.header

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
        if self._wanted is not None:
            found = load_codebook(self._wanted)
        elif embedded := self.stored.book():
            found = from_bytes(embedded)
        else:
            found = resolve(self.codebook_id, self.codebook_sha256)
        if found.sha256 != self.codebook_sha256 or found.latent != self.header.latent:
            raise CodebookError(
                f"{self.name} needs codebook {self.codebook_id} with SHA-256 {self.codebook_sha256}, "
                f"not {found.id} with {found.sha256}"
            )
        return found

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files that the maps are from, in the maps' order; none but of an archive of files."""
        with self._lock:
            if self._sources is None:
                self._sources = self.stored.sources()
            return self._sources

    @property
    def quality(self) -> Quality:
        """Quality measured when the file was written, of each map."""
        return summary.quality_of(self.stored, self.looked)

    @property
    def looked(self) -> Looked:
        """What every record says of itself; every block is read for it, once."""
        with self._lock:
            if self._seen is None:
                self._seen = summary.looked(self.stored)
            return self._seen

    def info(self) -> dict[str, Any]:
        """What `velcodec info --json` prints."""
        return summary.info(self.stored, self.looked)

    # Reading

    def __len__(self) -> int:
        return self.header.maps

    def __getitem__(self, index: MapIndex) -> NDArray[Any]:
        if isinstance(index, tuple):
            raise UsageError("an archive is indexed by its maps alone; index what it gives, or read a window")
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            return self.read([self._row(int(index))])[0]
        return self.read(index)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for i in range(len(self)):
            yield self[i]

    def read(
        self,
        maps: MapIndex | None = None,
        shape: tuple[int, int] | int | None = None,
        window: Window | None = None,
        device: str | None = None,
    ) -> NDArray[Any]:
        """Maps on a grid, (n, H', W') in the file's dtype and units.

        Args:
            maps: a slice, indices, a mask (n,) of booleans, or None for all.
            shape: (H', W') samples over the map, or over the window where one is given; a number alone is both; None
                means native.
            window: ((z0, z1), (x0, x1)) in native cells.
            device: where to decode; None means as `open` was told.

        At other grids latents, being continuous, are sampled anew, layers are drawn with interfaces as crisp or as
        smoothed as they are stored, and what is stored as samples is interpolated linearly. Of a map in tiles only
        those are read that the window needs. Blocks are read side by side, by as many threads as there are cores, or as
        `torch.set_num_threads` has said.

        Raises:
            UsageError: an index, shape or window that is not within the archive.
            FormatError: a block is damaged. CodebookError: the codebook is not here.
        """
        rows = self._rows(maps)
        if isinstance(shape, int):
            shape = shape, shape
        if shape is None and window == tuple((0, n) for n in self.map_shape):
            window = None  # all of the map
        grid = make_grid(self.map_shape, shape, window)
        where = device or self._device
        check_device(where)
        if len(self.header.layout) > 1 and not self.header.overlap and grid.window is None:
            return self._read_between(rows, grid, where)
        out = np.empty((len(rows), *grid.shape), dtype=self.dtype)
        if len(self.header.layout) == 1:
            native = shape is None and window is None

            def fill(entry: Entry, places: list[int]) -> None:
                own = [rows[p] - entry.first for p in places]
                maps = self._native(entry, grid, where) if native else None
                out[places] = self._decoded(entry, own, grid, where) if maps is None else maps[own]

            left = []
            for entry, places in self.stored.by_block(rows):
                if native and self._has_native(entry, where):  # a thread would take longer
                    fill(entry, places)
                else:
                    left.append((entry, places))
            side_by_side(fill, left)
            return out
        for i, row in enumerate(rows):
            out[i] = self._assembled(row, grid, where)
        return out

    def _decoded(self, entry: Entry, rows: list[int], grid: Grid, where: str) -> NDArray[Any]:
        """Some maps of a block on a grid, (n, H', W')."""
        records = self._records(entry, rows)
        wanted = [(row, grid) for row in rows]
        return np.stack(decode_records(records, wanted, self.header, self._codebook, where))

    def _has_native(self, entry: Entry, where: str) -> bool:
        """Whether all maps of a block are kept."""
        with self._lock:
            return self._kept.get(_native_key(entry, where)) is not None

    def _native(self, entry: Entry, grid: Grid, where: str) -> NDArray[Any] | None:
        """All maps of a block on the native grid, (n, H, W), kept; None at first, or for more than memory holds."""
        key = _native_key(entry, where)
        if entry.count * math.prod(self.map_shape) * self.dtype.itemsize > self.keep:
            return None
        with self._lock:
            maps: NDArray[Any] | None = self._kept.get(key)
            again = self._kept.get(entry.first) is not None
        if maps is None and again:
            maps = self._decoded(entry, list(range(entry.count)), grid, where)
            with self._lock:
                self._kept.drop(entry.first)
                self._kept.put(key, maps, maps.nbytes)
        return maps

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
        for entry, places in self.stored.by_block(list(parts)):
            chosen = [list(parts)[p] for p in places]
            wanted = [(record - entry.first, parts[record].grid) for record in chosen]
            records = self._records(entry, [row for row, _ in wanted])
            for record, v in zip(
                chosen,
                decode_records(records, wanted, self.header, self._codebook, where),
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
        for entry, places in self.stored.by_block(rows):
            own = [rows[p] - entry.first for p in places]
            out[places] = self._records(entry, own).latents[own]
        return out

    def field(self, index: int) -> Field:
        """Map `index` as a continuous function of position: its latent's, its cosines', or its samples joined."""
        row = self._row(index)
        if len(self.header.layout) == 1:
            ((entry, _),) = self.stored.by_block([row])
            records = self._records(entry, [row - entry.first])
            kind = int(records.kinds[row - entry.first])
            if kind == container.KIND_COSINES:
                stored = records.stored[row - entry.first]
                assert isinstance(stored, Spectrum)
                return Field(of_waves(stored, self.header), self.header)
            if has_latent(kind) and kind < container.KIND_RESIDUAL:
                where = resolve_device(self._device)
                return Field(
                    of_latent(self.latents([row])[0], self.codebook, self.header, where), self.header
                )
        return Field(of_samples(self[row]), self.header)

    def verify(self) -> None:
        """Read and decode every section. Raises FormatError at the first that is damaged, CodebookError."""
        if self.stored.footer.book[1]:
            _ = self.codebook
        _ = self.sources
        for entry in self.stored.footer.entries:
            records = self._parse(entry)
            coded = [r for r in range(entry.count) if has_latent(int(records.kinds[r]))]
            if not np.isfinite(records.latents[coded]).all():
                raise FormatError(
                    f"{self.name}: the latents of the block at map {entry.first} are not finite"
                )

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
        chosen = np.atleast_1d(np.asarray(maps))
        if chosen.dtype == bool and chosen.shape == (len(self),):
            return np.flatnonzero(chosen).tolist()
        if chosen.ndim > 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise UsageError(
                f"maps are chosen by a slice, by integers or by a mask of shape ({len(self)},), "
                f"not by {chosen.dtype} of shape {chosen.shape}"
            )
        return [self._row(int(i)) for i in chosen]

    def _parse(self, entry: Entry, wanted: Sequence[int] | None = None) -> Records:
        payload = self.stored.payload(entry)
        needs = any(has_latent(int(k)) for k in self.stored.kinds(payload, entry))
        layout = self.header.layout
        shapes = [layout.shape((entry.first + i) % len(layout)) for i in range(entry.count)]
        with self.stored.naming():
            return read_records(payload, shapes, self.header, self.codebook if needs else None, wanted)

    def _records(self, entry: Entry, rows: Sequence[int]) -> Records:
        """A block, some rows of it read at least; blocks used last are kept.

        The first time each of its streams is read as far as these rows need it and no further, the second time whole.
        """
        with self._lock:
            records: Records | None = self._kept.get(entry.first)
        if records is None or not records.read[list(rows)].all():
            # The lock is for what is kept: threads parse side by side.
            records = self._parse(entry, rows if records is None else None)
        with self._lock:
            self._kept.put(entry.first, records, records.nbytes)
        return records

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (self._storage.place, self._wanted, self._device, self.keep)

    def close(self) -> None:
        """Close the file."""
        self._storage.close()

    def __del__(self) -> None:
        if hasattr(self, "_storage"):  # not so where opening failed
            self._storage.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _native_key(entry: Entry, where: str) -> tuple[int, str, str]:
    """What the maps of a block, decoded on some device, are kept under."""
    return entry.first, NATIVE, where


_open: weakref.WeakSet[Archive] = weakref.WeakSet()


def _renew_locks() -> None:
    """A thread that held a lock as the process forked is not there to give it back."""
    for archive in _open:
        archive._lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)


def decompress(
    path: Place,
    *,
    maps: MapIndex | None = None,
    shape: tuple[int, int] | int | None = None,
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

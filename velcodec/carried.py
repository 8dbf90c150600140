"""The bytes of a .vlz file that a group of an HDF5 file carries; hdf5.py puts them there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import FormatError, UsageError
from .storage import LocalFile, explained, line, whole

CARRIED = "vlz"  # the dataset of the group


class CarriedFile:
    """A .vlz file that a group of an HDF5 file carries: the bytes of its dataset `vlz`.

    HDF5 is asked where they lie, and they are read from there as of any file: HDF5 holds no lock, and needs none. Where
    they are in no one piece, as h5repack may leave them, HDF5 reads them.
    """

    def __init__(self, file: Path, group: str) -> None:
        self.name = f"{file}:{group}"
        self._path, self._group = os.path.abspath(file), group
        self._file: LocalFile | None = None
        with self._dataset() as found:
            self.size = int(found.size)
            begin = found.id.get_offset()
            if begin is not None:
                self._file, self._begin = LocalFile(found.file.filename), int(begin)

    @contextlib.contextmanager
    def _dataset(self) -> Iterator[Any]:
        with opened_hdf5(self._path) as store, explained(self.name):
            item = store.get(self._group)
            if item is None:
                raise UsageError(f"there is no group {self._group}")
            found: Any = item.get(CARRIED) if hasattr(item, "get") else None
            if getattr(found, "dtype", None) != "u1" or found.ndim != 1:
                raise UsageError("it carries no .vlz file; velcodec attach puts one there")
            yield found

    def at(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise FormatError("the file is truncated")
        if self._file is not None:
            return self._file.at(self._begin + offset, length)
        with self._dataset() as found, explained(self.name):
            return whole(found[offset : offset + length].tobytes(), length)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def place(self) -> str:
        return f"{self._path}:{self._group}"


@contextlib.contextmanager
def opened_hdf5(path: str | os.PathLike[str]) -> Iterator[Any]:
    """An HDF5 file, open for reading. Raises UsageError where it cannot be opened, FormatError where it is none."""
    import h5py

    try:
        store = h5py.File(path, "r")
    except OSError as error:
        if isinstance(error, BlockingIOError):
            raise UsageError(f"cannot open {path}: somebody is writing to it") from error
        if error.errno:
            raise UsageError(f"cannot open {path}: {os.strerror(error.errno)}") from error
        raise FormatError(f"{path} is not a whole HDF5 file: {line(error)}") from error
    with store:
        if store.mode != "r":  # of a file that this process writes to already
            raise UsageError(f"cannot open {path}: this process is writing to it; close it first")
        yield store

"""Where the bytes of a file lie: on disk, in a file object, behind a URL; read by position."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO, Protocol, TypeAlias

from .errors import FormatError, UsageError

Place: TypeAlias = (
    str | os.PathLike[str] | BinaryIO
)  # a path, a URL as fsspec knows them, or an open binary file

# Of a file far away, read as it is opened: its header lies within the one, the index of 100,000 maps within the other.
BEGINNING, END = 1 << 12, 1 << 14


class Storage(Protocol):
    """Bytes that are read by position, from several threads at once."""

    name: str
    size: int

    def at(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on. Raises FormatError where there are fewer, UsageError if none can be read."""

    @property
    def place(self) -> str:
        """What another process opens it by. Raises UsageError where none can."""

    def close(self) -> None:
        """Give back what is open."""


class LocalFile:
    """A file of this machine. A process that a fork made reads it too: positions are not shared."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        try:
            self._file = open(path, "rb")  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"cannot open {path}: {error.strerror}") from error
        self.size = os.fstat(self._file.fileno()).st_size

    def at(self, offset: int, length: int) -> bytes:
        data = b""
        while len(data) < length and (
            more := os.pread(self._file.fileno(), length - len(data), offset + len(data))
        ):
            data += more
        return whole(data, length)

    def close(self) -> None:
        self._file.close()

    @property
    def place(self) -> str:
        return os.path.abspath(self.name)


class FileObject:
    """An open binary file that somebody else closes; it must be able to seek."""

    def __init__(self, file: BinaryIO) -> None:
        self.name = str(getattr(file, "name", "") or "the file given")
        self._file = file
        self._lock = threading.Lock()
        try:
            self.size = file.seek(0, os.SEEK_END)
        except (OSError, AttributeError) as error:
            raise UsageError(f"{self.name} cannot be read at any position; give a path or a file") from error

    def at(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            return whole(self._file.read(length), length)

    def close(self) -> None:
        pass

    @property
    def place(self) -> str:
        raise UsageError(
            "an archive in an open file cannot be sent to another process; open it by path or URL"
        )


class RemoteFile:
    """A file that fsspec finds by a URL. Its beginning and end are read at once and kept."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._connect()
        with self._explained():
            self.size = int(self._system.size(self._path))
        self._ends = {0: self._fetched(0, min(BEGINNING, self.size))}
        last = max(0, self.size - END)
        self._ends[last] = self._fetched(last, self.size - last)

    def _connect(self) -> None:
        import fsspec

        with self._explained():
            self._system, self._path = fsspec.core.url_to_fs(self.name)
        self._process = os.getpid()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Any error as a UsageError: every file system has exceptions of its own."""
        try:
            yield
        except ImportError as error:
            raise UsageError(f"cannot open {self.name}: {error}; pip install 'velcodec[remote]'") from error
        except FileNotFoundError as error:
            raise UsageError(f"cannot open {self.name}: no such file") from error
        except Exception as error:
            raise UsageError(f"cannot read {self.name}: {error or type(error).__name__}") from error

    def _fetched(self, offset: int, length: int) -> bytes:
        if os.getpid() != self._process:  # connections do not outlive a fork
            self._connect()
        if not length:
            return b""
        with self._explained():
            data = bytes(self._system.cat_file(self._path, start=offset, end=offset + length))
        if len(data) > length:
            raise UsageError(
                f"cannot read {self.name}: the server does not give parts of files; fetch it first"
            )
        return data

    def at(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise FormatError("the file is truncated")
        for begin, data in self._ends.items():
            if begin <= offset and offset + length <= begin + len(data):
                return data[offset - begin :][:length]
        return whole(self._fetched(offset, length), length)

    def close(self) -> None:
        pass

    @property
    def place(self) -> str:
        return self.name


def whole(data: bytes, length: int) -> bytes:
    """Bytes that are as many as they should be. Raises FormatError for fewer."""
    if len(data) != length:
        raise FormatError("the file is truncated")
    return data


def stored_at(place: Place) -> Storage:
    """The bytes of a path, a URL or an open binary file. Raises UsageError where they cannot be read."""
    if not isinstance(place, (str, os.PathLike)):
        return FileObject(place)
    return RemoteFile(str(place)) if is_url(place) else LocalFile(place)


def is_url(place: Place) -> bool:
    """Whether a place is a URL, as in https://..., s3://..., memory://... or zip://a.vlz::https://..."""
    return isinstance(place, str) and ("://" in place or "::" in place) and not os.path.exists(place)

"""Where the bytes of a .vlz file lie: on disk, in an open file, behind a URL, in an HDF5 file; read by position."""

import contextlib
import io
import os
import re
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

from .errors import FormatError, UsageError
from .sources import KINDS, split

Place: TypeAlias = (
    str | os.PathLike[str] | BinaryIO
)  # a path, a URL as fsspec knows them, file.h5:/group, or an open binary file

# Of a file far away, read as it is opened: its header lies within the one, the index of 100,000 maps within the other.
BEGINNING, END = 1 << 10, 1 << 15
AHEAD = 1 << 20  # bytes fetched at once, at most, for one who reads on and on; more where that is asked for
PATIENCE = 60.0  # seconds that a server of https:// or http:// may be silent
CARRIED = "vlz"  # the dataset of a group of HDF5 that holds the bytes of a .vlz file


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
        return whole(_at(self._file, offset, length), length)

    def close(self) -> None:
        self._file.close()

    @property
    def place(self) -> str:
        return os.path.abspath(self.name)


class FileObject:
    """An open binary file that somebody else closes; it must be able to seek.

    Of one that is neither on this machine nor in memory, a process that a fork made reads nothing: both would move it.
    """

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.name = name if isinstance(name, str) and name else "the file given"
        self._file = file
        self._on_disk = isinstance(getattr(file, "raw", file), io.FileIO)
        self._lock, self._process = threading.Lock(), os.getpid()
        try:
            file.seek(0, os.SEEK_END)
            self.size = file.tell()
            readable = file.read(0) == b""  # not so of a text file
        except (OSError, AttributeError, ValueError) as error:
            raise UsageError(f"{self.name} cannot be read at any position; give a path or a file") from error
        if not readable:
            raise UsageError(f"{self.name} is not open as a binary file; open it with mode 'rb'")

    def at(self, offset: int, length: int) -> bytes:
        with _explained(self.name):
            return whole(self._read(offset, length), length)

    def _read(self, offset: int, length: int) -> bytes:
        if self._on_disk:
            return _at(self._file, offset, length)
        if self._process != os.getpid():
            if not isinstance(self._file, io.BytesIO):
                raise UsageError("a process that a fork made cannot read from it; open it by path or URL")
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            self._file.seek(offset)
            data = b""
            while len(data) < length and (more := self._file.read(length - len(data))):
                data += more
            return data

    def close(self) -> None:
        pass

    @property
    def place(self) -> str:
        raise UsageError(
            "an archive in an open file cannot be sent to another process; open it by path or URL"
        )


class RemoteFile:
    """A file that fsspec finds by a URL. Its beginning and end are read as it is opened, and kept.

    A process that a fork made connects anew.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._closed = False
        with _explained(url):
            self._connect()
            size = self._system.size(self._path)
        if size is None:
            raise UsageError(f"cannot read {url}: the server does not say how large it is; fetch it first")
        self.size = int(size)
        # The end first: a server that gives no parts of files shows it there.
        few = self.size <= BEGINNING + END
        ends = [(0, self.size)] if few else [(self.size - END, END), (0, BEGINNING)]
        # What follows the part read last: where, what of it is here, and how much was fetched. Who reads on is given
        # twice as much each time.
        self._ahead = (-1, b"", 0)
        self._ends = [(begin, self._fetched(begin, length)) for begin, length in ends if length]

    def _connect(self) -> None:
        import fsspec

        self._system: Any
        self._system, self._path = fsspec.core.url_to_fs(self.name, **_options(self.name))
        _remote.add(self)
        self._is_web = "http" in self._system.protocol
        # Those that are not made for many requests at once may have one place in a file for all.
        several = getattr(self._system, "async_impl", False)
        self._turn: Any = contextlib.nullcontext() if several else threading.Lock()

    def _fetched(self, offset: int, length: int) -> bytes:
        with _explained(self.name):
            if self._closed:
                raise UsageError("it is closed")
            if self._system is None:
                self._connect()
            with self._turn:
                return whole(bytes(self._part(offset, offset + length)), length)

    def _part(self, begin: int, end: int) -> Any:
        if not self._is_web:
            return self._system.cat_file(self._path, start=begin, end=end)
        # cat_file would take the whole file from a server that has no parts to give; an open file looks first.
        with self._system.open(self._path, size=self.size, cache_type="none") as file:
            file.seek(begin)
            try:
                return file.read(end - begin)
            except ValueError as error:
                raise UsageError("the server does not give parts of files; fetch it first") from error

    def at(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise FormatError("the file is truncated")
        if not length:
            return b""
        first, ahead, step = self._ahead
        for begin, data in (*self._ends, (first, ahead)):
            if begin <= offset and offset + length <= begin + len(data):
                return data[offset - begin :][:length]
        size = length
        if first <= offset <= first + len(ahead):
            size = min(max(length, min(2 * step, AHEAD)), self.size - offset)
        data = self._fetched(offset, size)
        self._ahead = (offset + length, data[length:], size)
        return data[:length]

    def leave(self) -> None:
        """In a process that a fork made: let go of connections, and close none, which would end them for all."""
        _others.append(self._system)
        self._system = None

    def close(self) -> None:
        self._system, self._closed = None, True

    @property
    def place(self) -> str:
        return self.name


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
        with opened_hdf5(self._path) as store, _explained(self.name):
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
        with self._dataset() as found, _explained(self.name):
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
        raise FormatError(f"{path} is not a whole HDF5 file: {_line(error)}") from error
    with store:
        if store.mode != "r":  # of a file that this process writes to already
            raise UsageError(f"cannot open {path}: this process is writing to it; close it first")
        yield store


def whole(data: bytes, length: int) -> bytes:
    """Bytes that are as many as they should be. Raises FormatError for fewer."""
    if len(data) != length:
        raise FormatError("the file is truncated")
    return data


def stored_at(place: Place) -> Storage:
    """The bytes of a path, a URL, a group of an HDF5 file or an open file. Raises UsageError if they cannot be read."""
    if not isinstance(place, (str, os.PathLike)):
        return FileObject(place)
    if is_url(place):
        return RemoteFile(str(place))
    file, group = split(place)
    if group is not None and KINDS[file.suffix.lower()] == "hdf5":
        return CarriedFile(file, group)
    return LocalFile(place)


def is_url(place: Place) -> bool:
    """Whether a place is a URL, as in https://..., s3://..., memory://... or zip://a.vlz::https://..."""
    begins = isinstance(place, str) and re.match(r"[a-z][a-z0-9+.-]*(://|::)", place, re.IGNORECASE)
    return bool(begins) and not os.path.exists(str(place))


def _at(file: Any, offset: int, length: int) -> bytes:
    """Bytes of an open file on disk, fewer where it ends; its position stays."""
    data = b""
    while len(data) < length and (more := os.pread(file.fileno(), length - len(data), offset + len(data))):
        data += more
    return data


def _options(url: str) -> dict[str, Any]:
    """What fsspec is told of the protocols in a URL: of the web, with whose connections to be patient for how long."""
    found = {part.split("://")[0] for part in url.split("::")} & {"http", "https"}
    if not found:
        return {}
    try:
        import aiohttp
    except ImportError as error:
        raise UsageError("this needs aiohttp: pip install 'velcodec[remote]'") from error
    from fsspec.config import conf

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE, sock_read=PATIENCE)
    usual = {"timeout": timeout, "headers": {"Accept-Encoding": "identity"}}
    return {
        # Connections are this file's own, so that closing it closes them.
        name: {
            "skip_instance_cache": True,
            "client_kwargs": usual | conf.get(name, {}).get("client_kwargs", {}),
        }
        for name in found
    }


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Any error as a UsageError: every file system has exceptions of its own."""
    try:
        yield
    except FormatError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read {name}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if error.__cause__ is not None and (isinstance(error, FileNotFoundError) or not str(error)):
        error = error.__cause__  # of HTTP any answer but a good one is a file not found
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "no such file"
    if isinstance(status, int):
        return f"the server answers {status} {getattr(error, 'message', '')}".strip()
    return _line(error)


def _line(error: BaseException) -> str:
    """An error of another library as part of one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


_remote: weakref.WeakSet[RemoteFile] = weakref.WeakSet()
_others: list[Any] = []  # file systems of the process that this one is forked from


def _leave() -> None:
    for file in _remote:
        file.leave()
    if (
        "fsspec.asyn" in sys.modules
    ):  # the thread that it runs in stayed behind; releases before 2025 wait for it
        sys.modules["fsspec.asyn"].reset_lock()


os.register_at_fork(after_in_child=_leave)

"""Where the bytes of a .vlz file lie, read by position: of a file of this machine, and of an open one."""

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from .errors import FormatError, UsageError


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
        with explained(self.name):
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


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """A FormatError says of which file it is: of several files one wants to know which."""
    try:
        yield
    except FormatError as error:
        if str(error).startswith(f"{name}: "):
            raise
        raise type(error)(f"{name}: {error}") from error


def whole(data: bytes, length: int) -> bytes:
    """Bytes that are as many as they should be. Raises FormatError for fewer."""
    if len(data) != length:
        raise FormatError("the file is truncated")
    return data


def _at(file: Any, offset: int, length: int) -> bytes:
    """Bytes of an open file on disk, fewer where it ends; its position stays."""
    data = b""
    while len(data) < length and (more := os.pread(file.fileno(), length - len(data), offset + len(data))):
        data += more
    return data


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
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
    return line(error)


def line(error: BaseException) -> str:
    """An error of another library as part of one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__

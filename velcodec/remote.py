"""The bytes of a .vlz file behind a URL, as fsspec knows them: only what is wanted is fetched."""

import contextlib
import os
import re
import sys
import threading
import weakref
from typing import Any

from .errors import FormatError, UsageError
from .storage import explained, whole

# Read as the file is opened: its header lies within the one, the index of 100,000 maps within the other.
BEGINNING, END = 1 << 10, 1 << 15
AHEAD = 1 << 20  # bytes fetched at once, at most, for one who reads on and on; more where that is asked for
PATIENCE = 60.0  # seconds that a server of https:// or http:// may be silent


class RemoteFile:
    """A file that fsspec finds by a URL. Its beginning and end are read as it is opened, and kept.

    A process that a fork made connects anew.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._closed = False
        with explained(url):
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
        with explained(self.name):
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


def is_url(place: object) -> bool:
    """Whether a place is a URL, as in https://..., s3://..., memory://... or zip://a.vlz::https://..."""
    if not isinstance(place, str):
        return False
    begins = re.match(r"[a-z][a-z0-9+.-]*(://|::)", place, re.IGNORECASE)
    return begins is not None and not os.path.exists(place)


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


_remote: weakref.WeakSet[RemoteFile] = weakref.WeakSet()
_others: list[Any] = []  # file systems of the process that this one is forked from


def _leave() -> None:
    for file in _remote:
        file.leave()
    if "fsspec.asyn" in sys.modules:
        # The thread that it runs in stayed behind, and releases before 2025 wait for it.
        sys.modules["fsspec.asyn"].reset_lock()


os.register_at_fork(after_in_child=_leave)

"""Where a .vlz file may lie: behind a URL, in an open file, under an odd name; and what fails says so in one line."""

import builtins
import gc
import io
import mmap
import multiprocessing
import os
import pickle
import re
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import velcodec
from velcodec import archiving, remote, synth
from velcodec.archiving import Options
from velcodec.joining import blocks_of, numbered
from velcodec.request import Request
from velcodec.shards import find_shards
from velcodec.writer import Writer, created

from .test_cli import bad, good

pytest.importorskip("aiohttp")
MAPS, SHARD = 100_000, 500


class Server(ThreadingHTTPServer):
    """Gives one file at any path, as the path says, and counts requests and the bytes of what it answers with."""

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.sent, self.asked, self.connections = data, 0, 0, 0
        self.silent = threading.Event()

    def url(self, path: str = "a.vlz") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def counted(self) -> tuple[int, int]:
        """Bytes and requests since the last call."""
        found = self.sent, self.asked
        self.sent = self.asked = 0
        return found

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a reader that leaves early is what some tests are about


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.server.asked += 1
        self._answer(b"" if "nolength" in self.path else self.server.data, "HEAD")

    def do_GET(self) -> None:
        self.server.asked += 1
        self._answer(self.server.data, "GET")

    def _answer(self, data: bytes, method: str) -> None:
        path, size = self.path, len(data)
        for code in (403, 404, 500):
            if f"/{code}" in path:
                return self._say(code, b"")
        if "nohead" in path and method == "HEAD":
            return self._say(405, b"")
        part = self.headers.get("Range", "")
        if not part or "whole" in path or "nolength" in path:
            return self._say(200, data, length="nolength" not in path, body=method == "GET")
        first, last = (int(n) for n in part.removeprefix("bytes=").split("-"))
        if "slow" in path and first:
            self.server.silent.wait(20)
        if first >= size:
            return self._say(416, b"")
        self._say(206, data[first : last + 1], where=f"bytes {first}-{min(last, size - 1)}/{size}")

    def _say(self, code: int, data: bytes, where: str = "", length: bool = True, body: bool = True) -> None:
        self.send_response(code)
        if where:
            self.send_header("Content-Range", where)
        if length:
            self.send_header("Content-Length", str(len(data)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if "cut" in self.path and code == 206:
            data, self.close_connection = data[: len(data) // 2], True
        for begin in range(0, len(data) if body else 0, 1 << 16):
            piece = data[begin : begin + (1 << 16)]
            self.wfile.write(piece)
            self.server.sent += len(piece)


@contextmanager
def serving(data: bytes) -> Iterator[Server]:
    with Server(data) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.silent.set()
            server.shutdown()
            thread.join()


def archive_of(folder: Path, count: int) -> Path:
    """An archive of four shards of so many maps, one block each."""
    for i, family in enumerate(("FlatVel_A", "FlatVel_A", "CurveVel_A", "CurveVel_A")):
        place = folder / family
        place.mkdir(exist_ok=True)
        np.save(place / f"model{i}.npy", synth.generate(family, count, seed=i)[:, None])
    options = Options(Request(lossless=True, effort=0), device="cpu")
    archiving.archive(find_shards([folder]), folder / "a.vlz", options, workers=1)
    return folder / "a.vlz"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 80 maps in four blocks."""
    return archive_of(tmp_path_factory.mktemp("parts"), 20)


@pytest.fixture(scope="module")
def maps(parts: Path) -> np.ndarray:
    return velcodec.decompress(parts)[:, 0]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100,000 maps of 200 shards of 500: the blocks of four of 100, over and over, in an order of their own."""
    parts = archive_of(tmp_path_factory.mktemp("large"), 100)
    path = parts.with_name("large.vlz")
    with velcodec.open(parts) as small, created(path) as file:
        header = replace(small.header, shape=(MAPS, 1, 70, 70))
        like = replace(small.sources[0], shape=(SHARD, 1, 70, 70))
        rng = np.random.default_rng(0)
        named = [
            replace(like, name=f"FlatVel_A/model/model{i}.npy", shard=str(i), sha256=rng.bytes(32).hex())
            for i in range(MAPS // SHARD)
        ]
        writer = Writer(file, header, numbered(named))
        shards = [list(blocks_of(small, source)) for source in small.sources]
        for which in rng.integers(0, len(shards), MAPS // 100):
            for count, payload in shards[which]:
                writer.copy(count, payload)
        writer.finish(small.codebook, "never")
    return path


@pytest.fixture(scope="module")
def server(parts: Path) -> Iterator[Server]:
    with serving(parts.read_bytes()) as running:
        yield running


def one_line(place: Any, kind: type[Exception] = velcodec.UsageError) -> str:
    """What opening a place, and reading all of it, fails with."""
    with pytest.raises(kind) as caught, velcodec.open(place) as archive:
        archive.read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is fetched


def test_one_map_of_many_takes_little(large: Path) -> None:
    """Of 100,000 maps: the index as it is opened, then the map's block alone."""
    with serving(large.read_bytes()) as server, velcodec.open(large) as here:
        with velcodec.open(server.url()) as there:
            opened = server.counted()
            row = there[61_803]
            one = server.counted()
            np.testing.assert_array_equal(row, here[61_803])
            assert there.sources == here.sources
            listed = server.counted()
            assert len(there) == MAPS
        print(f"{large.stat().st_size} bytes: opening {opened}, one map {one}, sources {listed}")
        assert opened[0] + one[0] < 100_000 and opened[0] < 40_000
        assert opened[1] == 3 and one[1] == 1  # its size, its end, its beginning
        assert listed[0] < 20_000 and listed[1] == 1


def test_who_reads_all_of_it_gets_more_at_once(large: Path) -> None:
    with serving(large.read_bytes()) as server, velcodec.open(large) as here:
        with velcodec.open(server.url()) as there:
            for one, other in zip(there.stored.blocks(), here.stored.blocks(), strict=True):
                assert one == other
        sent, asked = server.counted()
    assert sent < 1.02 * large.stat().st_size + 40_000
    assert asked < 30


def test_a_small_file_comes_in_one_piece(server: Server, parts: Path, maps: np.ndarray) -> None:
    server.counted()
    with velcodec.open(server.url()) as archive:
        np.testing.assert_array_equal(archive[:], maps)
        assert archive.name == server.url() and archive.bytes == parts.stat().st_size
    assert server.counted() == (parts.stat().st_size, 2)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are fetched one by one, although the file is small."""
    monkeypatch.setattr(remote, "BEGINNING", 256)
    monkeypatch.setattr(remote, "END", 256)


@pytest.mark.usefixtures("far")
def test_threads_read_a_url(server: Server, maps: np.ndarray) -> None:
    failed: list[BaseException] = []

    def read(archive: velcodec.Archive, seed: int) -> None:
        try:
            for row in np.random.default_rng(seed).integers(0, len(maps), 10):
                np.testing.assert_array_equal(archive[row], maps[row])
        except BaseException as error:
            failed.append(error)

    with velcodec.open(server.url(), keep=0) as archive:
        threads = [threading.Thread(target=read, args=(archive, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed


def _reads(archive: velcodec.Archive, maps: np.ndarray) -> None:
    for row in (50, 5, 75, 25):
        np.testing.assert_array_equal(archive[row], maps[row])


@pytest.mark.usefixtures("far")
def test_processes_read_a_url(server: Server, maps: np.ndarray) -> None:
    """Forked ones connect anew, and leave the connection that they are forked with as it is."""
    with velcodec.open(server.url(), keep=0) as archive:
        _reads(archive, maps)
        before = server.connections
        worker = multiprocessing.get_context("fork").Process(target=_forked, args=(archive, maps))
        worker.start()
        worker.join(60)
        assert worker.exitcode == 0
        assert server.connections == before + 1
        begun = time.monotonic()
        _reads(archive, maps)
        assert server.connections == before + 1
        assert time.monotonic() - begun < 5
        with pickle.loads(pickle.dumps(archive)) as again:
            _reads(again, maps)


def _forked(archive: velcodec.Archive, maps: np.ndarray) -> None:
    _reads(archive, maps)
    del archive
    gc.collect()


# What fails


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("404/a.vlz", "no such file"),
        ("403/a.vlz", "the server answers 403 Forbidden"),
        ("500/a.vlz", "the server answers 500 Internal Server Error"),
        ("nolength/a.vlz", "does not say how large"),
        ("cut/a.vlz", "not enough data|payload|closed|disconnect"),
    ],
)
def test_servers_that_give_nothing(server: Server, path: str, message: str) -> None:
    said = one_line(server.url(path))
    assert server.url(path) in said
    assert re.search(message, said)


def test_a_server_without_parts(parts: Path, maps: np.ndarray) -> None:
    """Is told from its first answer, which is not read; a small file is read whole."""
    with serving(bytes(1 << 26)) as server:
        assert "does not give parts" in one_line(server.url("whole/a.vlz"))
        assert server.asked == 2
        assert server.sent < 1 << 25
        server.data = parts.read_bytes()
        with velcodec.open(server.url("whole/a.vlz")) as archive:
            np.testing.assert_array_equal(archive[:], maps)


def test_a_server_without_head(server: Server, maps: np.ndarray) -> None:
    with velcodec.open(server.url("nohead/a.vlz")) as archive:
        np.testing.assert_array_equal(archive[70], maps[70])


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "connect" in one_line(f"http://127.0.0.1:{port}/a.vlz").lower()


@pytest.mark.usefixtures("far")
def test_a_silent_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 0.3)
    begun = time.monotonic()
    assert "timeout" in one_line(server.url("slow/a.vlz")).lower()
    assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize(
    "change", [lambda d: d[:1200], lambda d: d[:600] + bytes(len(d) - 600), lambda d: b""]
)
def test_a_file_that_changes(parts: Path, change: Callable[[bytes], bytes]) -> None:
    data = parts.read_bytes()
    with serving(data) as server, velcodec.open(server.url()) as archive:
        server.data = change(data)
        with pytest.raises(velcodec.FormatError):
            archive[79]
        server.data = data
        assert archive[79].shape == (70, 70)


@pytest.mark.usefixtures("far")
def test_a_closed_one(server: Server) -> None:
    archive = velcodec.open(server.url())
    archive.close()
    with pytest.raises(velcodec.UsageError, match="closed"):
        archive[50]


def test_what_is_no_archive(server: Server) -> None:
    with serving(b"<html>no</html>") as other:
        assert "not a .vlz file" in one_line(other.url(), velcodec.FormatError)
    with serving(b"") as other:
        one_line(other.url(), velcodec.VelcodecError)


def test_without_aiohttp(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "aiohttp":
            raise ImportError("No module named 'aiohttp'")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'velcodec[remote]'" in one_line(server.url())


# Other URLs


def test_urls_of_other_kinds(parts: Path, maps: np.ndarray, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/some/a.vlz", parts.read_bytes())
    for name, how in (("stored", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", how) as packed:
            packed.write(parts, "in/a.vlz")
    urls = [f"zip://in/a.vlz::{tmp_path}/{name}.zip" for name in ("stored", "packed")]
    for url in ("memory://some/a.vlz", f"file://{parts}", *urls):
        with velcodec.open(url) as archive:
            assert archive.name == url
            np.testing.assert_array_equal(archive[[3, 70]], maps[[3, 70]])


@pytest.mark.usefixtures("far")
def test_a_zip_behind_a_url(parts: Path, maps: np.ndarray) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as packed:
        packed.write(parts, "a.vlz")
    with serving(held.getvalue()) as server, velcodec.open(f"zip://a.vlz::{server.url('a.zip')}") as archive:
        _reads(archive, maps)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://none.vlz", "no such file"),
        ("file:///none.vlz", "no such file"),
        ("zip://none.vlz::/none.zip", "no such file"),
        ("nothing://a.vlz", "Protocol not known: nothing"),
        ("nothing::a.vlz", "rotocol not known: nothing"),
        ("http://", "cannot read http://"),
        ("file:///", "cannot read file:///"),
        ("a:/b.vlz", "cannot open a:/b.vlz: No such file"),
        ("a b::c.vlz", "cannot open a b::c.vlz: No such file"),
    ],
)
def test_urls_of_nothing(url: str, message: str) -> None:
    assert message in one_line(url, velcodec.VelcodecError)


@pytest.mark.parametrize("name", ["a::b.vlz", "zip::a.vlz", "C:\\maps.vlz", "a b#?%20.vlz"])
def test_odd_names_of_files_here(
    parts: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(parts.read_bytes())
    for place in (name, Path(name)):
        with velcodec.open(place) as archive:
            assert len(archive) == 80


# Open files


@contextmanager
def opened_files(parts: Path) -> Iterator[list[Any]]:
    """Kinds of open files: on disk, in memory, and two more."""
    fsspec.filesystem("memory").pipe_file("/a.vlz", parts.read_bytes())
    packed = parts.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as new:
        new.write(parts, "a.vlz")
    with (
        open(parts, "rb") as plain,
        open(parts, "rb", buffering=0) as raw,
        fsspec.open("memory://a.vlz").open() as kept,
        fsspec.open(f"file://{parts}").open() as other,
        zipfile.ZipFile(packed).open("a.vlz") as member,
        open(parts, "rb") as under,
        mmap.mmap(under.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        yield [plain, raw, other, kept, io.BytesIO(parts.read_bytes()), mapped, member]


def test_open_files(parts: Path, maps: np.ndarray) -> None:
    """They stay open; two threads read one at a time; no other process can open them."""
    with opened_files(parts) as files:
        for file in files:
            failed: list[BaseException] = []

            def read(archive: velcodec.Archive, failed: list[BaseException] = failed) -> None:
                try:
                    _reads(archive, maps)
                except BaseException as error:
                    failed.append(error)

            with velcodec.open(file, keep=0) as archive:
                threads = [threading.Thread(target=read, args=(archive,)) for _ in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert not failed
                with pytest.raises(velcodec.UsageError, match="cannot be sent to another process"):
                    pickle.dumps(archive)
            assert not file.closed
            assert velcodec.open(file)[7].shape == (70, 70)


def test_open_files_and_forks(parts: Path, maps: np.ndarray) -> None:
    """A fork shares the position in a file: those are read that are read by position, or are in memory."""
    context = multiprocessing.get_context("fork")
    with opened_files(parts) as (plain, raw, other, kept, held, _, member):
        for file, code in ((plain, 0), (raw, 0), (other, 0), (kept, 0), (held, 0), (member, 1)):
            with velcodec.open(file, keep=0) as archive:
                worker = context.Process(target=_told, args=(archive, maps))
                worker.start()
                _reads(archive, maps)
                worker.join(60)
                assert worker.exitcode == code


def _told(archive: velcodec.Archive, maps: np.ndarray) -> None:
    try:
        _reads(archive, maps)
    except velcodec.UsageError as error:
        raise SystemExit(1 if "fork" in str(error) else 2) from None


def test_open_files_that_cannot_be_read(parts: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe, open(writing, "wb"):
        assert "at any position" in one_line(pipe)
    with open(parts, encoding="latin-1") as text:
        assert "mode 'rb'" in one_line(text)
    with open(tmp_path / "new", "wb") as new:
        assert "at any position" in one_line(new)
    with open(parts, "rb") as gone:
        pass
    assert "at any position" in one_line(gone)
    for nothing in (5, None, b"a.vlz", [1]):
        assert "give a path" in one_line(nothing)
    with open(parts, "rb") as file, velcodec.open(file) as archive:
        file.close()
        with pytest.raises(velcodec.UsageError, match="closed"):
            archive[3]
    with pytest.raises(velcodec.FormatError, match="truncated"):
        velcodec.open(io.BytesIO(parts.read_bytes()[:-1]))


# The command line


def test_commands_take_urls(server: Server, parts: Path, maps: np.ndarray, tmp_path: Path) -> None:
    url = server.url()
    assert "80 of 70 x 70" in good("info", url)
    good("decompress", url, tmp_path / "some.npy", "--maps", "10:12")
    np.testing.assert_array_equal(np.load(tmp_path / "some.npy")[:, 0], maps[10:12])
    good("verify", url)
    good("extract", url, tmp_path / "back", "--only", "*model3*")
    assert np.load(tmp_path / "back" / "CurveVel_A" / "model3.npy").shape == (20, 1, 70, 70)
    good("plot", url, "-o", tmp_path / "a.png", "--maps", 3)
    good("merge", url, tmp_path / "again.vlz")
    assert (tmp_path / "again.vlz").read_bytes() == parts.read_bytes()
    assert "no such file" in bad("info", server.url("404/a.vlz"))
    assert "no such file" in bad("decompress", server.url("404/a.vlz"), tmp_path / "b.npy")
    assert not (tmp_path / "b.npy").exists()


@pytest.mark.parametrize("command", ["info", "decompress", "verify", "extract", "plot"])
def test_help_says_so(command: str) -> None:
    assert "URL" in good(command, "--help") and "FILE.h5:/GROUP" in good(command, "--help")

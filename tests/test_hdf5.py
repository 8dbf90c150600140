"""A .vlz file in a group of an HDF5 file: put there without harm to what is there, and read where it lies."""

import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import velcodec
from velcodec import storage, synth
from velcodec.hdf5 import attach

from .test_cli import bad, files, good

KEEP = np.arange(300_000, dtype=np.float64)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive of two files, a.vlz, another file, b.vlz, and an HDF5 file of other things, full.h5."""
    folder = tmp_path_factory.mktemp("made")
    place = folder / "maps" / "FlatVel_A"
    place.mkdir(parents=True)
    for i in range(2):
        np.save(place / f"model{i}.npy", synth.generate("FlatVel_A", 4, seed=i)[:, None])
    good("archive", folder / "maps", folder / "a.vlz", "--lossless", "--effort", 0, "--workers", 1)
    np.save(folder / "b.npy", synth.generate("CurveVel_A", 3, seed=9))
    good("compress", folder / "b.npy", folder / "b.vlz", "--lossless", "--effort", 0)
    with h5py.File(folder / "full.h5", "w") as store:
        store["survey/keep"] = KEEP
        store["survey"].attrs["who"] = "somebody"
        store["v"] = np.load(folder / "b.npy")
    return folder


@pytest.fixture
def full(made: Path, tmp_path: Path) -> Path:
    """A copy of the HDF5 file of other things."""
    path = tmp_path / "full.h5"
    path.write_bytes((made / "full.h5").read_bytes())
    return path


def kept(path: Path) -> None:
    """Whether other things are as they were, and nothing lies beside the file."""
    with h5py.File(path) as store:
        np.testing.assert_array_equal(store["survey/keep"][:], KEEP)
        assert store["survey"].attrs["who"] == "somebody"
        assert store["v"].shape == (3, 70, 70)
    assert files(path.parent) == [path.name]


def one_line(place: Any, kind: type[Exception] = velcodec.UsageError) -> str:
    with pytest.raises(kind) as caught:
        velcodec.open(place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_group_carries_an_archive(made: Path, full: Path) -> None:
    group = f"{full}:/survey/velocity"
    attach(made / "a.vlz", group)
    kept(full)
    with h5py.File(full) as store:
        found = store["survey/velocity"]
        assert found["vlz"][:].tobytes() == (made / "a.vlz").read_bytes()
        assert found["vlz"].dtype == np.uint8 and found["vlz"].chunks is None
        said = dict(found.attrs)
    with velcodec.open(made / "a.vlz") as here, velcodec.open(group) as there:
        assert said["format"] == "vlz" and said["velcodec"] == velcodec.__version__
        assert (said["codebook"], said["codebook_sha256"]) == (here.codebook_id, here.codebook_sha256)
        assert tuple(said["shape"]) == here.shape and said["dtype"] == here.dtype.str
        assert said["units"] == "m/s" and tuple(said["spacing"]) == (10.0, 10.0) and said["maps"] == 8
        assert there.name == group and there.bytes == here.bytes
        assert there.sources == here.sources and there.info() == here.info()
        np.testing.assert_array_equal(there[:], here[:])
    np.testing.assert_array_equal(
        velcodec.decompress(group, maps=3), velcodec.decompress(made / "a.vlz", maps=3)
    )


def test_commands_read_it(made: Path, tmp_path: Path) -> None:
    group = f"{tmp_path}/new.h5:/deep/er"
    assert "8 maps" in good("attach", made / "a.vlz", group)
    assert "8 of 70 x 70" in good("info", group, "--sources")
    good("verify", group)
    good("decompress", group, tmp_path / "some.npy", "--maps", "2:4")
    assert np.load(tmp_path / "some.npy").shape == (2, 1, 70, 70)
    good("extract", group, tmp_path / "back")
    assert [p.read_bytes() for p in sorted((tmp_path / "back").rglob("*.npy"))] == [
        p.read_bytes() for p in sorted((made / "maps").rglob("*.npy"))
    ]
    good("plot", group, "-o", tmp_path / "a.png")
    good("merge", group, tmp_path / "again.vlz")
    assert (tmp_path / "again.vlz").read_bytes() == (made / "a.vlz").read_bytes()
    assert "exists" in bad("attach", made / "b.vlz", group)
    good("attach", made / "b.vlz", group, "--overwrite")
    good("verify", group, "--against", made / "b.npy")


def test_what_is_given_may_lie_anywhere(made: Path, full: Path) -> None:
    attach(io.BytesIO((made / "a.vlz").read_bytes()), f"{full}:/one")
    attach(f"{full}:/one", f"{full}:/two")
    kept(full)
    for group in ("one", "two"):
        with velcodec.open(f"{full}:{group}") as archive:
            assert archive.shape == (8, 1, 70, 70)


def test_only_an_archive_is_replaced(made: Path, full: Path) -> None:
    before = full.read_bytes()
    with pytest.raises(velcodec.UsageError, match="exists"):
        attach(made / "a.vlz", f"{full}:/survey")
    attach(made / "a.vlz", f"{full}:/survey", overwrite=True)
    kept(full)
    with velcodec.open(f"{full}:/survey") as old:
        with pytest.raises(velcodec.UsageError, match="exists"):
            attach(made / "b.vlz", f"{full}:/survey")
        attach(made / "b.vlz", f"{full}:/survey", overwrite=True)
        kept(full)
        assert old[:].shape == (8, 70, 70)  # who has it open keeps what was there
    with velcodec.open(f"{full}:/survey") as new:
        assert new.shape == (3, 70, 70)
    assert len(before) < full.stat().st_size


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("", "name an HDF5 file and a group"),
        (":", "name an HDF5 file and a group"),
        (":/", "name an HDF5 file and a group"),
        (":/v", "is a dataset"),
        (":/v/a", "is a dataset"),
        (":/survey/keep/a/b", "is a dataset"),
        (":/survey", "exists"),
        (":/other/a", "a link to another file"),
        (":/nowhere", "leads nowhere"),
        (":/gone/a", "leads nowhere"),
        (":/own", "has not put there"),
    ],
)
def test_groups_in_the_way(made: Path, full: Path, tmp_path: Path, group: str, message: str) -> None:
    with h5py.File(tmp_path / "more.hdf", "w") as other:
        other.create_group("there")
    with h5py.File(full, "r+") as store:
        store["other"] = h5py.ExternalLink("more.hdf", "/there")
        store["gone"] = h5py.ExternalLink("none.h5", "/there")
        store["nowhere"] = h5py.SoftLink("/none")
        store["own/vlz"] = [1, 2]
    before = full.read_bytes()
    for overwrite in (False, True) if message not in ("exists",) else (False,):
        if message == "has not put there" and not overwrite:
            continue
        with pytest.raises(velcodec.UsageError, match=message) as caught:
            attach(made / "a.vlz", f"{full}{group}", overwrite)
        assert "\n" not in str(caught.value)
    assert full.read_bytes() == before
    assert files(tmp_path) == ["full.h5", "more.hdf"]


def test_what_cannot_be_attached(made: Path, full: Path, tmp_path: Path) -> None:
    before = full.read_bytes()
    cases: list[tuple[Any, str, str]] = [
        (made / "b.npy", f"{full}:/a", "not a .vlz file"),
        (made / "none.vlz", f"{full}:/a", "No such file"),
        (made / "a.vlz", f"{made / 'a.vlz'}:/a", "name an HDF5 file"),
        (made / "a.vlz", f"{tmp_path}/none/new.h5:/a", "there is no directory"),
    ]
    (tmp_path / "no.h5").write_bytes(b"nothing of the kind" * 100)
    cases.append((made / "a.vlz", f"{tmp_path}/no.h5:/a", "not a whole HDF5 file"))
    for path, target, message in cases:
        assert message in bad("attach", path, target)
    with h5py.File(full, "r+"):
        assert "this process is writing" in bad("attach", made / "a.vlz", f"{full}:/a")
        code = "import sys; from velcodec_cli.main import main; main(sys.argv[1:])"
        for command in (["attach", str(made / "a.vlz"), f"{full}:/a"], ["info", f"{full}:/a"]):
            found = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
            assert "somebody is writing to it" in found.stderr and found.stderr.count("\n") == 1
    assert full.read_bytes() == before
    assert files(tmp_path) == ["full.h5", "no.h5"]


def test_a_failure_leaves_the_file_as_it_was(made: Path, full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = full.read_bytes()
    monkeypatch.setattr("velcodec.hdf5.PIECE", 100)
    given = storage.LocalFile.at

    def at(self: storage.LocalFile, offset: int, length: int) -> bytes:
        if (offset, length) == (100, 100):
            raise velcodec.FormatError("the file is truncated")
        return given(self, offset, length)

    monkeypatch.setattr(storage.LocalFile, "at", at)
    with pytest.raises(velcodec.FormatError):
        attach(made / "b.vlz", f"{full}:/a")
    assert full.read_bytes() == before
    kept(full)


@pytest.mark.parametrize("room", [1_000_000, 2_402_000 + 8192])
def test_a_full_disk(made: Path, full: Path, room: int) -> None:
    """Of the copy, or of the group that is added to it."""
    before = full.read_bytes()
    code = f"""if True:
        import resource, signal, sys
        from velcodec_cli.main import main
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, resource.RLIM_INFINITY))
        main(sys.argv[1:])"""
    big = full.parent / "big.vlz"
    velcodec.compress(np.random.default_rng(0).random((2, 70, 70)), big, lossless=True, effort=0)
    found = subprocess.run(
        [sys.executable, "-c", code, "attach", str(big), f"{full}:/a"], capture_output=True, text=True
    )
    big.unlink()
    assert found.returncode == 2, found.stderr
    assert "cannot write" in found.stderr and found.stderr.count("\n") == 1, found.stderr
    assert full.read_bytes() == before
    kept(full)


# Reading


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (":/none", "there is no group /none"),
        (":/survey", "it carries no .vlz file"),
        (":/v", "it carries no .vlz file"),
        (":/survey/keep/a", "there is no group"),
        (":/texts", "it carries no .vlz file"),
    ],
)
def test_groups_without_an_archive(full: Path, place: str, message: str) -> None:
    with h5py.File(full, "r+") as store:
        store["texts/vlz"] = "text"
    assert message in one_line(f"{full}{place}")


def test_files_that_are_not_hdf5(made: Path, full: Path, tmp_path: Path) -> None:
    assert "No such file" in one_line(f"{tmp_path}/none.h5:/a")
    (tmp_path / "no.h5").write_bytes(b"no")
    assert "not a whole HDF5 file" in one_line(f"{tmp_path}/no.h5:/a", velcodec.FormatError)
    attach(made / "a.vlz", f"{full}:/a")
    (tmp_path / "cut.h5").write_bytes(full.read_bytes()[:-100])
    one_line(f"{tmp_path}/cut.h5:/a", velcodec.FormatError)
    with h5py.File(full, "r+") as store:
        store["a/vlz"][-1000:] = 0
    one_line(f"{full}:/a", velcodec.FormatError)


def repacked(full: Path) -> None:
    """As h5repack would, in compressed chunks."""
    with h5py.File(full, "r+") as store:
        data = store["a/vlz"][:]
        del store["a/vlz"]
        store["a"].create_dataset("vlz", data=data, chunks=(100,), compression="gzip")


def linked(full: Path) -> None:
    """The file under another name, and a link to it in its place."""
    with h5py.File(full.with_name("under.h5"), "w") as store, h5py.File(full) as before:
        before.copy("a", store, name="b")
    with h5py.File(full, "r+") as store:
        del store["a"]
        store["a"] = h5py.ExternalLink("under.h5", "/b")


def pushed(full: Path) -> None:
    """Behind a block of the user's."""
    with h5py.File(full) as before, h5py.File(full.with_name("user.h5"), "w", userblock_size=512) as store:
        before.copy("a", store, name="a")
    os.replace(full.with_name("user.h5"), full)


@pytest.mark.parametrize("change", [lambda path: None, repacked, linked, pushed])
def test_threads_and_processes_read_it(made: Path, full: Path, change: Callable[[Path], None]) -> None:
    attach(made / "a.vlz", f"{full}:/a")
    change(full)
    maps = velcodec.decompress(made / "a.vlz")[:, 0]
    failed: list[BaseException] = []

    def read(archive: velcodec.Archive) -> None:
        try:
            for _ in range(3):
                np.testing.assert_array_equal(archive[[7, 0]], maps[[7, 0]])
        except BaseException as error:
            failed.append(error)

    with velcodec.open(f"{full}:/a", keep=0) as archive:
        threads = [threading.Thread(target=read, args=(archive,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        worker = multiprocessing.get_context("fork").Process(
            target=np.testing.assert_array_equal, args=(_Later(archive), maps)
        )
        worker.start()
        read(archive)
        worker.join(60)
        assert worker.exitcode == 0
        with pickle.loads(pickle.dumps(archive)) as again:
            read(again)
    assert not failed


class _Later:
    """The maps of an archive, read when they are asked for."""

    def __init__(self, archive: velcodec.Archive) -> None:
        self._archive = archive

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self._archive[:]


def test_it_is_read_from_where_it_lies(made: Path, full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By position and without HDF5, which others may write with meanwhile."""
    attach(made / "a.vlz", f"{full}:/a")
    with velcodec.open(f"{full}:/a", keep=0) as archive:
        with h5py.File(full, "r+") as store:
            store["later"] = [1]
        monkeypatch.setattr(h5py, "File", None)
        assert archive[3].shape == (70, 70)
        with pytest.raises(velcodec.FormatError, match="truncated"):
            archive.stored.storage.at(archive.bytes - 1, 2)

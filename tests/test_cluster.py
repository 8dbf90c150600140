"""Archives by the workers of a Dask cluster, each a process: one is killed, then all, and the scheduler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import velcodec
from velcodec import archiving, synth
from velcodec import cluster as module
from velcodec.cluster import cluster
from velcodec.errors import DataError, VelcodecError
from velcodec.shards import find_shards

from .test_cli import bad, good, run

pytest.importorskip("distributed")
SHARDS, MAPS = 6, 6
FAST = ("--effort", 0, "--device", "cpu")


@contextmanager
def dask(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask's, which has ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def scheduler(file: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    arguments = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file)
    with dask("distributed.cli.dask_scheduler", *arguments, **environment) as process:
        until(file.exists)
        yield process


def worker(file: Path, threads: int = 1) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A worker without a nanny, which would bring it back."""
    arguments = ("--scheduler-file", file, "--nthreads", threads, "--no-nanny", "--no-dashboard")
    return dask("distributed.cli.dask_worker", *arguments, "--local-directory", file.parent / "dask")


def until(true: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, and an archive of them made by this machine, here.vlz."""
    folder = tmp_path_factory.mktemp("maps")
    for i in range(SHARDS):
        np.save(folder / f"model{i}.npy", synth.generate("FlatFault_A", MAPS + i, seed=i)[:, None])
    good("archive", folder, folder / "here.vlz", *FAST, "--workers", 1)
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of a scheduler that has a worker of two threads."""
    file = tmp_path_factory.mktemp("cluster") / "scheduler.json"
    with scheduler(file), worker(file, 2), cluster(str(file), print):
        yield file


def parts(output: Path) -> dict[str, int]:
    """Names and inodes of the parts that are whole."""
    found = {}
    for path in output.with_name(f"{output.name}.parts").glob("*.vlz"):
        with suppress(FileNotFoundError):
            found[path.name] = path.stat().st_ino
    return found


def at_a_part(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has a part open that it writes."""
    for place in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if os.readlink(place).endswith(".part"):
                return True
    return False


def test_a_killed_worker_costs_its_shards_only(maps: Path, address: Path, tmp_path: Path) -> None:
    """The command is a process of its own, given paths relative to its folder, and says nothing of it."""
    output, seen = tmp_path / "a.vlz", defaultdict(set)
    arguments = ("archive", os.path.relpath(maps, tmp_path), output.name, *FAST, "--scheduler", address)
    with worker(address) as doomed, cluster(str(address), print) as team:
        until(lambda: team.size == 3)
        with subprocess.Popen(
            [sys.executable, "-m", "velcodec_cli.main", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        ) as command:  # fmt: skip
            dict(team.map(eval, [("__import__('velcodec.archiving')",)] * 9))  # that they begin at one time
            until(lambda: parts(output) and at_a_part(doomed))
            doomed.send_signal(signal.SIGKILL)
            while command.poll() is None:
                for name, inode in parts(output).items():
                    seen[name].add(inode)
                time.sleep(0.005)
            said, errors = command.communicate()
    assert (command.returncode, errors) == (0, "")
    assert f"{SHARDS} files" in said
    assert len(seen) == SHARDS
    assert all(len(inodes) == 1 for inodes in seen.values())
    assert output.read_bytes() == (maps / "here.vlz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.vlz"]


def test_an_interrupted_run_goes_on(
    maps: Path, address: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.vlz"
    command = ("archive", maps, output, *FAST, "--scheduler", address)
    encoded = archiving.encoded

    def interrupted(*given: Any) -> Iterator[int]:
        for done in encoded(*given):
            yield done
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archiving, "encoded", interrupted)
        result = run(*command)
    assert result.exit_code == 130
    assert not output.exists()
    assert parts(output)
    kept = f"of {SHARDS} files are kept in {output}.parts, and --resume goes on\n"
    assert result.stderr.startswith("velcodec: interrupted; ") and result.stderr.endswith(kept)
    assert "--resume goes on" in bad(*command)
    result = run(*command, "--resume")
    assert result.exit_code == 0
    assert f"of {SHARDS} files are done already" in result.stderr
    assert output.read_bytes() == (maps / "here.vlz").read_bytes()


def test_files_are_appended(maps: Path, address: Path, tmp_path: Path) -> None:
    for i in range(2):
        np.save(tmp_path / f"more{i}.npy", synth.generate("CurveVel_A", 3, seed=i))
    good("archive", tmp_path / "more0.npy", tmp_path / "a.vlz", *FAST, "--scheduler", address)
    good("append", tmp_path / "a.vlz", tmp_path / "more1.npy", "--device", "cpu", "--scheduler", address)
    with velcodec.open(tmp_path / "a.vlz") as archive:
        assert [(s.name, s.maps) for s in archive.sources] == [("more0.npy", 3), ("more1.npy", 3)]
        archive.verify()


def test_a_dry_run_asks_how_many_threads_there_are(maps: Path, address: Path, tmp_path: Path) -> None:
    with cluster(str(address), print) as team:
        assert team.size == 2
        assert list(team.map(eval, [("__import__('torch').get_num_threads()",)])) == [(0, 1)]
        assert list(team.map(eval, [])) == []
    text = good("archive", maps, tmp_path / "o.vlz", *FAST, "--dry-run", "--scheduler", address)
    assert text.startswith(f"{SHARDS} files")
    assert not list(tmp_path.iterdir())


def test_errors_of_tasks_come_back_as_they_are(maps: Path, address: Path, tmp_path: Path) -> None:
    whole = (maps / "model0.npy").read_bytes()
    (tmp_path / "model0.npy").write_bytes(whole[:-1000])
    output = tmp_path / "o.vlz"
    assert "not a whole .npy file" in bad("archive", tmp_path, output, *FAST, "--scheduler", address)
    assert not output.with_name("o.vlz.parts").exists()
    with cluster(str(address), print) as team, pytest.raises(DataError, match="shape"):
        list(team.map(velcodec.compress, [(np.zeros(3), str(output))]))
    assert "exclude each other" in bad("archive", maps, output, *FAST, "--scheduler", address, "--workers", 2)
    assert not output.exists()


def test_workers_of_another_release_are_refused(
    maps: Path, address: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "__version__", "0.0.1")
    said = bad("archive", maps, tmp_path / "o.vlz", *FAST, "--scheduler", address)
    assert f"velcodec {velcodec.__version__}, this is 0.0.1" in said
    monkeypatch.setattr(module.Cluster, "check", lambda self, folder: None)  # one that joins later
    said = bad("archive", maps, tmp_path / "o.vlz", *FAST, "--scheduler", address)
    assert f"has velcodec {velcodec.__version__}, this is 0.0.1" in said
    assert "the worker tcp://" in said
    assert not list(tmp_path.iterdir())


def test_a_folder_that_a_worker_does_not_see(address: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(VelcodecError, match="does not see"),
        cluster(str(address), print, tmp_path / "elsewhere"),
    ):
        pass


@pytest.mark.parametrize(
    "wrong", ["127.0.0.1:1", "127.0.0.1", "foo://127.0.0.1:1", "none.json", "wrong.json"]
)
def test_a_scheduler_that_is_not_there(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "CONNECT", 0.5)
    Path("wrong.json").write_text("{}")
    assert wrong in bad("archive", maps, "o.vlz", *FAST, "--scheduler", wrong)
    assert not Path("o.vlz.parts").exists()


def test_without_dask(maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = bad("archive", maps, tmp_path / "o.vlz", *FAST, "--scheduler", "127.0.0.1:1")
    assert "pip install 'velcodec[dask]'" in said


def test_a_cluster_that_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without workers from the start; of the same file again and again; all workers; and the scheduler."""
    monkeypatch.setattr(module, "LOOK", 0.2)
    monkeypatch.setattr(module, "WORKERS", 0.5)
    file, said = tmp_path / "scheduler.json", []
    with scheduler(file, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as process:
        with pytest.raises(VelcodecError, match="no workers; start some"), cluster(str(file), said.append):
            pass
        assert len(said) == 1
        monkeypatch.setattr(module, "WORKERS", 30)
        fatal = pytest.raises(VelcodecError, match="killed at the same file")
        with worker(file), cluster(str(file), said.append) as team, fatal:
            list(team.map(os._exit, [(1,)]))
        with worker(file) as doomed, cluster(str(file), said.append) as team:
            monkeypatch.setattr(module, "WORKERS", 0.5)
            assert sorted(team.map(abs, [(-3,), (-4,)])) == [(0, 3), (1, 4)]
            doomed.kill()
            until(lambda: team.size == 0)
            with pytest.raises(VelcodecError, match="no workers; start some"):
                list(team.map(time.sleep, [(60,)]))
            process.kill()
            with pytest.raises(VelcodecError, match="was lost"):
                list(team.map(time.sleep, [(60,)]))


def test_shards_are_named_for_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from velcodec.shards import absolute

    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", v=np.zeros((1, 5, 5)))
    np.save("b.npy", np.zeros((1, 5, 5)))
    shards = [absolute(shard) for shard in find_shards(["a.npz:v", "b.npy"])]
    assert [shard.path for shard in shards] == [f"{tmp_path}/a.npz:v", f"{tmp_path}/b.npy"]
    assert [shard.name for shard in shards] == ["a.npz:v", "b.npy"]

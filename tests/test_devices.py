"""What is chosen for devices that are not here, and workers that take several in turn."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import velcodec
from velcodec import archiving, device, synth, workers
from velcodec.archiving import Options
from velcodec.request import Request
from velcodec.shards import find_shards

GPUS = [torch.device("cuda", number) for number in range(2)]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine of two GPUs with 1 GiB free each, and eight cores."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda where: (1 << 30, 1 << 31))
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))


def test_batches_are_sized_to_the_memory_of_a_gpu(two_gpus: None) -> None:
    assert device.points_at_once(torch.device("cpu"), 80_000, 1024) == 80_000
    assert device.points_at_once(GPUS[0], 80_000, 1024) == (1 << 28) // 1024
    assert device.points_at_once(GPUS[0], 80_000, 1 << 20) == 80_000


def test_workers_take_devices_in_turn(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for number in range(4):
        monkeypatch.setattr(workers, "_number", number)
        taken.append(workers.own_device("cuda:0, cuda:1"))
    assert taken == [GPUS[0], GPUS[1], GPUS[0], GPUS[1]]


@pytest.mark.parametrize(
    ("asked", "named", "expected"),
    [
        (None, "cuda:0", 4),
        (None, "cuda:0,cuda:1", 8),
        (3, "cuda:0,cuda:1", 3),
        (None, "cpu", 8),
        (0, "cpu", 1),
    ],
)
def test_workers_are_as_many_as_devices_feed(
    two_gpus: None, asked: int | None, named: str, expected: int
) -> None:
    assert workers.crew(asked, named) == expected


def test_an_archive_by_workers_of_several_devices(tmp_path: Path) -> None:
    """They are one and the same here: what each worker takes is tested above."""
    for k in range(3):
        np.save(tmp_path / f"model{k}.npy", synth.generate("FlatVel_A", 3, seed=k))
    shards = find_shards([tmp_path / f"model{k}.npy" for k in range(3)])
    request = Request(lossless=True, effort=0)
    archiving.archive(shards, tmp_path / "a.vlz", Options(request, device="cpu,cpu"), workers=2)
    with velcodec.open(tmp_path / "a.vlz") as archive:
        np.testing.assert_array_equal(archive[6:], np.load(tmp_path / "model2.npy"))
    for wrong in ("cpu,", "cpu,tpu", "cuda:0,cpu" if not torch.cuda.is_available() else "cpu,cuda:99x"):
        with pytest.raises(velcodec.UsageError):
            archiving.archive(shards, tmp_path / "b.vlz", Options(request, device=wrong), workers=2)
    assert not (tmp_path / "b.vlz").exists()


@pytest.mark.parametrize(("block", "counts"), [(2, [2, 2, 2, 1]), (100, [7]), (25, [7])])
def test_maps_of_a_block(tmp_path: Path, block: int, counts: list[int]) -> None:
    np.save(tmp_path / "model1.npy", synth.generate("FlatVel_A", 7))
    shards = find_shards([tmp_path / "model1.npy"])
    options = Options(Request(lossless=True, effort=0), block=block)
    archiving.archive(shards, tmp_path / "a.vlz", options, workers=1)
    velcodec.compress(np.load(tmp_path / "model1.npy"), tmp_path / "b.vlz", lossless=True, block=block)
    for name in ("a.vlz", "b.vlz"):
        with velcodec.open(tmp_path / name) as archive:
            assert [entry.count for entry in archive.stored.footer.entries] == counts


@pytest.mark.parametrize("block", [0, -1, 4097])
def test_blocks_that_cannot_be(tmp_path: Path, block: int) -> None:
    maps = synth.generate("FlatVel_A", 1)
    with pytest.raises(velcodec.UsageError, match="1 to 4096 maps"):
        velcodec.compress(maps, tmp_path / "a.vlz", block=block)
    np.save(tmp_path / "model1.npy", maps)
    shards = find_shards([tmp_path / "model1.npy"])
    with pytest.raises(velcodec.UsageError, match="1 to 4096 maps"):
        archiving.archive(shards, tmp_path / "a.vlz", Options(Request(), block=block))
    assert [p.name for p in tmp_path.iterdir()] == ["model1.npy"]


def test_workers_have_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """For arithmetic too, unless the environment says otherwise; that of this process stays."""
    for name in workers.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    with workers.team(2) as two:
        found = [dict(two.map(os.getenv, [(name,)]))[0] for name in workers.THREADS]
        assert dict(two.map(eval, [("__import__('torch').get_num_threads()",)])) == {0: 1}
    assert found == ["1", "1", "3"]
    assert [os.getenv(name) for name in workers.THREADS] == [None, None, "3"]


def test_side_by_side_torch_has_a_thread_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """And as many as before when all is done, here and in threads to come; after an error, too."""
    monkeypatch.setattr(device, "cores", lambda: 3)
    before, seen = torch.get_num_threads(), set[int]()
    torch.set_num_threads(3)
    try:
        device.side_by_side(lambda i: seen.add(torch.get_num_threads()), [(i,) for i in range(6)])
        assert seen == {1} and torch.get_num_threads() == 3
        with pytest.raises(velcodec.FormatError, match="4"):
            device.side_by_side(_fail_at_four, [(i,) for i in range(9)])
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_tasks_are_done_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """By as many threads as there are cores, or as torch is to use; an error of one is raised."""
    meeting = threading.Barrier(3)
    monkeypatch.setattr(device, "cores", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    device.side_by_side(lambda i: meeting.wait(20) and None, [(i,) for i in range(6)])
    with pytest.raises(velcodec.FormatError, match="4"):
        device.side_by_side(_fail_at_four, [(i,) for i in range(9)])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    threads = set()
    device.side_by_side(lambda i: threads.add(threading.get_ident()), [(i,) for i in range(6)])
    assert threads == {threading.get_ident()}


def _fail_at_four(i: int) -> None:
    if i == 4:
        raise velcodec.FormatError(str(i))

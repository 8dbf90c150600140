"""An archive in PyTorch's training loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

import velcodec
from velcodec import archiving, synth
from velcodec.archiving import Options
from velcodec.request import Request
from velcodec.shards import find_shards


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.float32]]:
    """An archive of two families, exact, and its maps."""
    folder = tmp_path_factory.mktemp("made")
    maps = []
    for family in ("CurveVel_A", "FlatVel_A"):
        (folder / family).mkdir()
        maps.append(synth.generate(family, 30, seed=3)[:, None])
        np.save(folder / family / "model1.npy", maps[-1])
    shards = find_shards([folder])
    archiving.archive(
        shards, folder / "a.vlz", Options(Request(lossless=True, effort=0), device="cpu"), workers=1
    )
    return folder / "a.vlz", np.concatenate(maps)


def test_a_dataset_of_maps(made: tuple[Path, NDArray[np.float32]]) -> None:
    path, maps = made
    data = velcodec.VelocityDataset(path)
    assert len(data) == 60
    assert data[3].shape == (1, 70, 70)
    assert data[3].dtype == torch.float32
    for index in (0, 59, -1):
        np.testing.assert_array_equal(data[index].numpy(), maps[index])
    for index in (60, -61):
        with pytest.raises(IndexError):
            data[index]
    for index in (slice(0, 3), 1.0, "a"):
        with pytest.raises(velcodec.UsageError, match="one whole number"):
            data[index]
    assert sum(1 for _ in data) == 60
    assert data.__getitems__([5, 40])[1].tolist() == maps[40].tolist()


def test_families_grids_and_transforms(made: tuple[Path, NDArray[np.float32]]) -> None:
    path, maps = made
    flat = velcodec.VelocityDataset(path, families=["FlatVel_A"], transform_label=lambda v: (v - 3000) / 1500)
    assert len(flat) == 30
    np.testing.assert_allclose(flat[2].numpy(), (maps[32] - 3000) / 1500, rtol=1e-6)
    fine = velcodec.VelocityDataset(path, shape=(140, 35))
    with velcodec.open(path) as archive:
        np.testing.assert_array_equal(fine[7][0].numpy(), archive.read([7], (140, 35))[0])
    with pytest.raises(velcodec.UsageError, match="it has CurveVel_A, FlatVel_A"):
        velcodec.VelocityDataset(path, families=["Style_A"])


def test_a_list_of_files_as_openfwi_has_it(made: tuple[Path, NDArray[np.float32]], tmp_path: Path) -> None:
    path, maps = made
    for text in (
        "FlatVel_A/data1.npy\tFlatVel_A/model1.npy\n",
        "/data/OpenFWI/FlatVel_A/model1.npy\n\n",
    ):
        (tmp_path / "train.txt").write_text(text)
        data = velcodec.VelocityDataset(path, tmp_path / "train.txt")
        np.testing.assert_array_equal(np.stack([v.numpy() for v in data]), maps[30:])
    (tmp_path / "both.txt").write_text("FlatVel_A/model1.npy\nCurveVel_A/model1.npy")
    np.testing.assert_array_equal(velcodec.VelocityDataset(path, tmp_path / "both.txt")[30], maps[0])
    with pytest.raises(velcodec.UsageError, match="it has CurveVel_A, FlatVel_A"):
        velcodec.VelocityDataset(path, tmp_path / "both.txt", families=["Style_A"])
    for text, what in (
        ("model1.npy", "several files"),
        ("FlatVel_A/model2.npy", "no file"),
        ("\n", "no files"),
    ):
        (tmp_path / "wrong.txt").write_text(text)
        with pytest.raises(velcodec.UsageError, match=what):
            velcodec.VelocityDataset(path, tmp_path / "wrong.txt")
    with pytest.raises(velcodec.UsageError, match="cannot read"):
        velcodec.VelocityDataset(path, tmp_path / "none.txt")


def test_all_maps_may_be_decoded_at_first(
    made: tuple[Path, NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, maps = made
    data = velcodec.VelocityDataset(
        path, preload=True, families=["FlatVel_A"], transform_label=lambda v: v / 1000
    )
    monkeypatch.setattr(data, "_archive", None)
    loader = DataLoader(data, batch_size=10, num_workers=2, multiprocessing_context="fork")
    found = np.concatenate([batch.numpy() for batch in loader])
    np.testing.assert_allclose(found, maps[30:] / 1000, rtol=1e-6)
    np.testing.assert_allclose(data[-1].numpy(), maps[-1] / 1000, rtol=1e-6)


def test_forked_workers_share_what_they_decode(
    made: tuple[Path, NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, maps = made
    data = velcodec.VelocityDataset(path)
    loader = DataLoader(data, batch_size=10, shuffle=True, num_workers=2, multiprocessing_context="fork")
    assert sum(len(batch) for batch in loader) == 60
    monkeypatch.setattr(velcodec.Archive, "read", None)  # what follows was decoded by the workers
    np.testing.assert_array_equal(np.stack([data[k].numpy() for k in range(60)]), maps)


@pytest.mark.parametrize("shape", [None, (35, 20)])
def test_what_memory_does_not_hold_is_read_all_the_same(
    made: tuple[Path, NDArray[np.float32]], tmp_path: Path, shape: tuple[int, int] | None
) -> None:
    path, _ = made
    few, all_ = (velcodec.VelocityDataset(path, shape=shape, keep=keep) for keep in (1, 1 << 30))
    for rows in ([3, 40, 3], [59]):
        for one, other in zip(few.__getitems__(rows), all_.__getitems__(rows), strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_maps_in_tiles(tmp_path: Path) -> None:
    maps = np.concatenate([synth.generate("FlatVel_A", 2, 150, seed=k) for k in range(2)])
    velcodec.compress(maps, tmp_path / "a.vlz", latent_only=True, effort=0, device="cpu")
    data = velcodec.VelocityDataset(tmp_path / "a.vlz")
    with velcodec.open(tmp_path / "a.vlz") as archive:
        np.testing.assert_allclose(np.concatenate([v.numpy() for v in data]), archive[:], atol=0.2)


@pytest.mark.parametrize("how", [None, "fork", "spawn"])
def test_a_loader_shuffles_them(made: tuple[Path, NDArray[np.float32]], how: str | None) -> None:
    """In this process, and with two workers."""
    path, maps = made
    data = velcodec.VelocityDataset(path)
    loader = DataLoader(
        data,
        batch_size=16,
        shuffle=True,
        generator=torch.Generator().manual_seed(1),
        num_workers=0 if how is None else 2,
        multiprocessing_context=how,
    )
    batches = [batch.numpy() for batch in loader]
    assert [len(batch) for batch in batches] == [16, 16, 16, 12]
    found = np.concatenate(batches)
    assert not np.array_equal(found, maps)
    key = lambda v: v.tobytes()  # noqa: E731
    np.testing.assert_array_equal(sorted(found, key=key), sorted(maps, key=key))


def test_latents_decode_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of the decoder for what a loader asks for at a time, of a block."""
    maps = synth.generate("FlatFault_A", 8, seed=4)
    velcodec.compress(maps, tmp_path / "a.vlz", latent_only=True, effort=0, device="cpu")
    data = velcodec.VelocityDataset(tmp_path / "a.vlz")
    calls: list[int] = []
    import velcodec.archive as module

    plain = module.decode_records
    monkeypatch.setattr(module, "decode_records", lambda *args: calls.append(len(args[1])) or plain(*args))
    batch = next(iter(DataLoader(data, batch_size=8)))
    assert calls == [8]
    assert 10 * np.log10(1500**2 / ((batch[:, 0].numpy() - maps) ** 2).mean()) > 25

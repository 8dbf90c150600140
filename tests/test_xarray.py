"""Archives as xarray datasets, with xarray itself."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import velcodec
from velcodec import archiving, grid, synth
from velcodec.archiving import Options
from velcodec.request import Request
from velcodec.shards import find_shards
from velcodec.storage import LocalFile

xr = pytest.importorskip("xarray")
pytest.importorskip("dask")


@pytest.fixture(scope="module")
def maps() -> NDArray[np.float32]:
    """(120, 70, 70) m/s: two blocks of an archive."""
    return synth.generate("FlatVel_A", 120, seed=5)


@pytest.fixture(scope="module")
def path(maps: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exact archive of them, with a spacing of its own."""
    path = tmp_path_factory.mktemp("exact") / "a.vlz"
    velcodec.compress(maps, path, lossless=True, effort=0, spacing=(5.0, 12.5))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Offsets that are read from files, as they are."""
    found: list[int] = []
    plain = LocalFile.at

    def at(self: LocalFile, offset: int, length: int) -> bytes:
        found.append(offset)
        return plain(self, offset, length)

    monkeypatch.setattr(LocalFile, "at", at)
    return found


def blocks(path: Path) -> list[int]:
    """Where the blocks of an archive begin."""
    with velcodec.open(path) as archive:
        return [entry.offset for entry in archive.stored.footer.entries]


def test_a_dataset(path: Path, maps: NDArray[np.float32]) -> None:
    with xr.open_dataset(path) as data:
        assert dict(data.sizes) == {"map": 120, "z": 70, "x": 70}
        assert data.velocity.dtype == np.float32
        assert data.velocity.attrs == {"long_name": "seismic velocity", "units": "m/s"}
        np.testing.assert_array_equal(data.z, 5.0 * np.arange(70))
        np.testing.assert_array_equal(data.x, 12.5 * np.arange(70))
        assert data.z.units == data.x.units == "m"
        assert set(data.coords) == {"z", "x"}
        assert data.codebook == "openfwi-2d-v5"
        assert len(data.codebook_sha256) == 64
        np.testing.assert_array_equal(data.velocity, maps)
        assert float(data.velocity[7].sel(z=52, x=801, method="nearest")) == maps[7, 10, 64]


EMPTY = np.empty(0, dtype=int)
KEYS: dict[str, tuple[Any, ...]] = {
    "a map": (3, slice(None), slice(None)),
    "a sample": (-1, -2, -3),
    "steps": (slice(118, 90, -9), slice(10, 20), slice(None, None, -7)),
    "numbers": (np.array([5, 5, 110, 2]), slice(5, 6), np.array([0, 19, 3])),
    "numbers twice": (np.array([0, 1]), np.array([0, 0, 2]), np.array([1, 1])),
    "chosen": (np.arange(120) % 50 == 0, 4, slice(None)),
    "no maps": (slice(0, 0), 3, slice(None)),
    "no samples": (2, slice(None), EMPTY),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("res", [None, 20])
def test_any_index_gives_what_numpy_gives(path: Path, key: tuple[Any, ...], res: int | None) -> None:
    with xr.open_dataset(path, res=res) as data, velcodec.open(path) as archive:
        whole = archive.read(shape=None if res is None else (res, res))
        at = [np.arange(n)[k] for n, k in zip(whole.shape, key, strict=True)]
        wanted = whole[np.ix_(*map(np.atleast_1d, at))].reshape([a.size for a in at if a.ndim])
        found = data.velocity[key]
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found, wanted)


def test_points_are_indexed_one_by_one(path: Path, maps: NDArray[np.float32]) -> None:
    at = {name: xr.DataArray(v, dims="p") for name, v in {"map": [9, 2], "z": [0, 69], "x": [8, 8]}.items()}
    with xr.open_dataset(path) as data:
        np.testing.assert_array_equal(data.velocity.isel(at), maps[[9, 2], [0, 69], [8, 8]])


def test_no_block_is_read_before_it_is_indexed(path: Path, reads: list[int]) -> None:
    first, second = blocks(path)
    reads.clear()
    with xr.open_dataset(path) as data:
        part = data.velocity.isel(map=slice(100, 110), z=slice(0, 5))
        assert not {first, second} & set(reads)
        part.load()
        assert second in reads
        assert first not in reads


def test_of_a_large_map_the_tiles_that_a_window_needs_are_read(
    compressed: Callable[..., Path], reads: list[int]
) -> None:
    model = np.tile(synth.generate("FlatVel_A", 1, seed=1)[0], (8, 8))
    path = compressed(model, lossless=True)
    tiles = blocks(path)
    reads.clear()
    with xr.open_dataset(path) as data:
        assert dict(data.sizes) == {"map": 1, "z": 560, "x": 560}
        np.testing.assert_array_equal(
            data.velocity.isel(z=slice(300, 310), x=slice(0, 9)), model[None, 300:310, :9]
        )
        assert [at for at in reads if at in tiles] == [tiles[3]]
    with xr.open_dataset(path, chunks={}) as data:
        assert data.velocity.chunks == ((1,), (256, 256, 48), (256, 256, 48))
        np.testing.assert_array_equal(data.velocity, model[None])
    with xr.open_dataset(path, res=100, chunks={}) as data:
        assert data.velocity.chunks == ((1,), (100,), (100,))


@pytest.mark.parametrize("res", [280, (140, 35), 1])
def test_other_grids_lie_where_archive_read_samples_them(path: Path, res: Any) -> None:
    shape = res if isinstance(res, tuple) else (res, res)
    with xr.open_dataset(path, res=res) as data, velcodec.open(path) as archive:
        np.testing.assert_array_equal(data.velocity[[4, 100]], archive.read([4, 100], shape))
        wanted, native = grid.make_grid((70, 70), shape), grid.make_grid((70, 70))
        for name, unit, first, step in (
            ("z", wanted.z, native.z[0], 5.0),
            ("x", wanted.x, native.x[0], 12.5),
        ):
            np.testing.assert_allclose(data[name], (unit - first) / 2 * 70 * step, atol=1e-9)


@pytest.mark.filterwarnings("ignore:The specified chunks separate")
def test_dask_reads_blocks_in_threads(path: Path, maps: NDArray[np.float32]) -> None:
    with xr.open_dataset(path, chunks={}) as data:
        assert data.velocity.chunks == ((100, 20), (70,), (70,))
        np.testing.assert_array_equal(data.velocity.max("map"), maps.max(0))
    with xr.open_dataset(path, chunks={"map": 8, "z": 35}) as data:
        np.testing.assert_array_equal(data.velocity.compute(scheduler="threads", num_workers=4), maps)


@pytest.mark.parametrize("chunks", [None, {}])
def test_a_dataset_is_sent_to_another_process_unread(
    path: Path, maps: NDArray[np.float32], chunks: Any
) -> None:
    with xr.open_dataset(path, chunks=chunks) as data:
        sent = pickle.dumps(data)
        assert len(sent) < 20_000
        other = pickle.loads(sent)
        np.testing.assert_array_equal(other.velocity[117:], maps[117:])


def test_latents_and_what_they_keep(compressed: Callable[..., Path], maps: NDArray[np.float32]) -> None:
    path = compressed(maps[:4].astype(">f8"), max_error=20)
    with xr.open_dataset(path, device="cpu", keep=1, codebook="openfwi-2d-v2") as data:
        assert data.velocity.attrs["max_error"] == 20
        assert data.velocity.dtype == np.dtype(">f8")
        assert np.abs(data.velocity - maps[:4]).max() <= 20


def test_slices_of_a_volume(compressed: Callable[..., Path], maps: NDArray[np.float32]) -> None:
    path = compressed(maps[:6], lossless=True, axis=2)
    with xr.open_dataset(path) as data:
        assert dict(data.sizes) == {"map": 70, "z": 6, "x": 70}
        np.testing.assert_array_equal(data.velocity[9], maps[:6, :, 9])


def test_files_of_an_archive(tmp_path: Path) -> None:
    made = {
        "FlatVel_A/model1": synth.generate("FlatVel_A", 3, seed=2)[:, None],
        "FlatVel_B/model2": synth.generate("FlatVel_B", 2, seed=2),
        "own": synth.generate("FlatVel_A", 1, seed=3)[0],
    }
    for name, v in made.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "in" / name, v)
    path = tmp_path / "a.vlz"
    request = Request(lossless=True, effort=0)
    archiving.archive(find_shards([tmp_path / "in"]), path, Options(request, device="cpu"), workers=1)
    with xr.open_dataset(path) as data:
        assert data.family.values.tolist() == ["FlatVel_A"] * 3 + ["FlatVel_B"] * 2 + [""]
        assert data.shard.values.tolist() == ["1"] * 3 + ["2"] * 2 + [""]
        assert data.row.values.tolist() == [0, 1, 2, 0, 1, 0]
        assert data.source.values[3] == "FlatVel_B/model2.npy"
        flat = data.isel(map=data.family == "FlatVel_B").velocity
        np.testing.assert_array_equal(flat, made["FlatVel_B/model2"])
        again = data.set_xindex("family").sel(family="FlatVel_A")
        np.testing.assert_array_equal(again.velocity, made["FlatVel_A/model1"][:, 0])
        data.to_netcdf(tmp_path / "a.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "a.nc") as copy, xr.open_dataset(path) as data:
        xr.testing.assert_identical(copy.load(), data.load())


def test_urls_open_files_and_several_files(path: Path, maps: NDArray[np.float32]) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/x/a.vlz", path.read_bytes())
    with xr.open_dataset("memory://x/a.vlz") as data:
        np.testing.assert_array_equal(data.velocity[5], maps[5])
    with path.open("rb") as file, xr.open_dataset(file, engine="velcodec") as data:
        np.testing.assert_array_equal(data.velocity[5], maps[5])
    with xr.open_mfdataset([path, path], combine="nested", concat_dim="map") as data:
        assert data.velocity.shape == (240, 70, 70)
        np.testing.assert_array_equal(data.velocity[125], maps[5])


def test_what_it_says_it_can_open() -> None:
    engine = xr.backends.list_engines()["velcodec"]
    for name in ("a.vlz", Path("a.vlz"), "A.VLZ", "https://h/a.vlz?key=1", "zip://a.vlz::https://h/b.zip"):
        assert engine.guess_can_open(name)
    for other in ("a.nc", "a.vlz.nc", b"VLZ", None):
        assert not engine.guess_can_open(other)
    assert ".vlz" in engine.description


def test_variables_that_are_dropped(path: Path) -> None:
    with xr.open_dataset(path, drop_variables=["z", "nothing"]) as data:
        assert set(data.variables) == {"velocity", "x"}
    with xr.open_dataset(path, drop_variables="velocity") as data:
        assert not data.data_vars


def test_it_is_closed(path: Path) -> None:
    data = xr.open_dataset(path)
    data.close()
    with pytest.raises(ValueError, match="closed file"):
        data.velocity.load()


@pytest.mark.parametrize("res", [0, (70, -1), 1.5, (1, 2, 3), "70"])
def test_sizes_that_cannot_be(path: Path, res: Any) -> None:
    with pytest.raises(velcodec.UsageError, match="res must be|cannot be"):
        xr.open_dataset(path, res=res)


def test_files_that_cannot_be_read(path: Path, tmp_path: Path) -> None:
    with pytest.raises(velcodec.UsageError, match="cannot open"):
        xr.open_dataset(tmp_path / "none.vlz")
    bad = bytearray(path.read_bytes())
    bad[blocks(path)[1] + 100] ^= 1
    (tmp_path / "bad.vlz").write_bytes(bad)
    with xr.open_dataset(tmp_path / "bad.vlz") as data:
        data.velocity[:100].load()
        with pytest.raises(velcodec.FormatError):
            data.velocity[100:].load()
    (tmp_path / "bad.vlz").write_bytes(bad[:1000])
    with pytest.raises(velcodec.FormatError):
        xr.open_dataset(tmp_path / "bad.vlz")

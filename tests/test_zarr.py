"""Chunks of Zarr arrays as .vlz files, with zarr, numcodecs and xarray themselves."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import velcodec
from velcodec import synth

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")

from velcodec.numcodecs_codec import Velcodec  # noqa: E402
from velcodec.zarr_codec import VelcodecSerializer  # noqa: E402

EXACT: dict[str, Any] = {"lossless": True, "effort": 0}
REQUESTS: list[dict[str, Any]] = [
    {},
    {"psnr": 40, "effort": 1},
    {"max_error": 2.5, "codebook": "openfwi-2d-v2"},
    {"latent_only": True, "latent": "fp16", "effort": np.int64(0)},
    {"max_error": np.float32(0.1)},
    EXACT,
]

Made = Callable[..., tuple[Any, Path]]


@pytest.fixture(scope="module")
def maps() -> NDArray[np.float32]:
    """(30, 70, 70) m/s."""
    return synth.generate("FlatVel_A", 30, seed=9)


@pytest.fixture(params=[3, 2])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """made(array, chunks, codec, ...) writes a Zarr array of either format; it gives it, opened anew, and its path."""

    def write(
        array: Any, chunks: tuple[int, ...], codec: dict[str, Any] = EXACT, **more: Any
    ) -> tuple[Any, Path]:
        path = tmp_path / "a.zarr"
        if request.param == 3:
            coding = {"serializer": VelcodecSerializer(**codec), "compressors": None}
        else:
            coding = {"compressors": Velcodec(**codec)}
        written = zarr.create_array(
            path,
            shape=array.shape,
            dtype=array.dtype,
            chunks=chunks,
            zarr_format=request.param,
            **coding,
            **more,
        )
        written[...] = array
        return zarr.open_array(path), path

    return write


def files(path: Path) -> list[Path]:
    """Its chunks' files."""
    return sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".json" and p.name[0] != ".")


def test_chunks_are_files(made: Made, maps: NDArray[np.float32]) -> None:
    array, path = made(maps, (10, 70, 70))
    np.testing.assert_array_equal(array[:], maps)
    np.testing.assert_array_equal(array[8:14, 5, ::3], maps[8:14, 5, ::3])
    chunks = files(path)
    assert len(chunks) == 3
    for n, chunk in enumerate(chunks):
        with velcodec.open(chunk) as archive:
            np.testing.assert_array_equal(archive[:], maps[10 * n : 10 * n + 10])
            assert not archive.info()["codebook"]["embedded"]


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f2", "<i2", ">i4", "u1"])
def test_dtypes_and_byte_orders(made: Made, maps: NDArray[np.float32], dtype: str) -> None:
    given = (maps[:3] / (20 if dtype == "u1" else 1)).astype(dtype)
    array, _ = made(given, (2, 70, 70))
    np.testing.assert_array_equal(array[:], given)


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((70, 70), (70, 70)),
        ((70, 70), (40, 50)),
        ((5, 60, 65), (2, 70, 70)),
        ((2, 3, 70, 70), (1, 1, 70, 70)),
        ((2, 3, 70, 70), (2, 2, 35, 70)),
        ((1, 2, 1, 70, 70), (1, 2, 1, 70, 70)),
    ],
)
def test_shapes_of_chunks(
    made: Made, maps: NDArray[np.float32], shape: tuple[int, ...], chunks: tuple[int, ...]
) -> None:
    given = maps.ravel()[: np.prod(shape)].reshape(shape)
    array, _ = made(given, chunks)
    np.testing.assert_array_equal(array[...], given)


def test_bounds_hold(made: Made, maps: NDArray[np.float32]) -> None:
    array, _ = made(maps, (15, 70, 70), {"max_error": 8, "effort": 0})
    assert 0 < np.abs(array[:] - maps).max() <= 8


def test_a_psnr_holds(made: Made, maps: NDArray[np.float32]) -> None:
    given = np.concatenate([maps[:4], synth.generate("CurveFault_A", 4, seed=1)])
    array, path = made(given, (8, 70, 70), {"psnr": 35, "effort": 0})
    allowed = (given.max((1, 2)) - given.min((1, 2))) ** 2 / 10**3.5
    assert (((array[:] - given) ** 2).mean((1, 2)) <= allowed).all()
    assert sum(f.stat().st_size for f in files(path)) < given.nbytes / 20


def test_empty_chunks_fills_and_parts(made: Made, maps: NDArray[np.float32]) -> None:
    """A chunk of the fill alone is not stored; one written in parts is read and encoded anew."""
    given = np.full((6, 70, 70), np.nan, dtype="f4")
    array, path = made(given, (2, 70, 70), fill_value=float("nan"))
    assert not files(path)
    array[1] = maps[1]
    array[2, :10, 3] = 1500.5
    array[2, 10:, 3] = -np.inf
    given[1], given[2, :10, 3], given[2, 10:, 3] = maps[1], 1500.5, -np.inf
    assert len(files(path)) == 2
    np.testing.assert_array_equal(zarr.open_array(path)[:], given)


def test_many_chunks_at_once_are_what_one_is(made: Made, maps: NDArray[np.float32]) -> None:
    _, path = made(maps, (2, 70, 70), {"psnr": 30, "effort": 0})
    names = {int(f.parts[-3] if f.parts[-4] == "c" else f.name.split(".")[0]): f for f in files(path)}
    assert len(names) == 15
    for n in (0, 7, 14):
        alone = VelcodecSerializer(psnr=30, effort=0).encoded(maps[2 * n : 2 * n + 2])
        assert names[n].read_bytes() == alone


@pytest.mark.parametrize("how", ["changed", "truncated", "no file", "another chunk"])
def test_corrupt_chunks_are_refused(made: Made, maps: NDArray[np.float32], how: str) -> None:
    array, path = made(maps[:4], (2, 70, 70))
    first = files(path)[0]
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 0x10
    other = VelcodecSerializer(**EXACT).encoded(maps[:3])
    first.write_bytes({"changed": data, "truncated": data[:-9], "no file": b"x", "another chunk": other}[how])
    # Format 2 does not tell a codec which shape it wants; zarr itself says that it is another.
    other_size = how == "another chunk" and array.metadata.zarr_format == 2
    with pytest.raises(ValueError if other_size else velcodec.FormatError):
        array[0]
    np.testing.assert_array_equal(array[2:], maps[2:4])


def test_a_hostile_size_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = VelcodecSerializer(**EXACT).encoded(np.zeros((64, 256, 256), dtype="f4"))
    monkeypatch.setattr("velcodec.archive.Archive.read", lambda *_: pytest.fail("decoded"))
    with pytest.raises(
        velcodec.FormatError, match=r"holds float32 of shape \(64, 256, 256\), not float32 of"
    ):
        VelcodecSerializer().decoded(data, ((2, 70, 70), np.dtype("f4")))


@pytest.mark.parametrize(
    ("shape", "dtype", "what"),
    [
        ((10,), "f4", "1 axes hold no maps"),
        ((4, 4), "?", "bool cannot be"),
        ((4, 4), "c8", "complex64 cannot be"),
    ],
)
def test_arrays_that_are_refused_as_they_are_made(shape: tuple[int, ...], dtype: str, what: str) -> None:
    for more in ({}, {"shards": shape}):
        with pytest.raises(velcodec.DataError, match=what):
            zarr.create_array(
                {}, shape=shape, chunks=shape, dtype=dtype, serializer=VelcodecSerializer(), **more
            )


def test_shards(tmp_path: Path, maps: NDArray[np.float32]) -> None:
    written = zarr.create_array(
        tmp_path / "a.zarr", shape=maps.shape, dtype="f4", chunks=(5, 70, 70), shards=(15, 70, 70),
        serializer=VelcodecSerializer(**EXACT), compressors=None,
    )  # fmt: skip
    written[:] = maps  # not data=maps, which zarr 3.1.2 mixes up in shards
    array = zarr.open_array(tmp_path / "a.zarr")
    np.testing.assert_array_equal(array[3:18], maps[3:18])
    assert len(files(tmp_path / "a.zarr")) == 2


@pytest.mark.parametrize("asked", REQUESTS, ids=str)
def test_configurations_round_trip(asked: dict[str, Any]) -> None:
    serializer, compressor = VelcodecSerializer(**asked), Velcodec(**asked)
    stored = json.loads(json.dumps(serializer.to_dict()))
    assert stored == {"name": "velcodec", "configuration": {"latent": "entropy", "effort": 3, **asked}}
    assert VelcodecSerializer.from_dict(stored) == serializer
    assert pickle.loads(pickle.dumps(serializer)) == serializer
    config = json.loads(json.dumps(compressor.get_config()))
    assert config == {"id": "velcodec", **stored["configuration"]}
    assert numcodecs.get_codec(config) == compressor
    assert zarr.registry.get_codec_class("velcodec") is VelcodecSerializer


def test_requests_that_are_refused() -> None:
    with pytest.raises(velcodec.UsageError, match="exclude each other"):
        VelcodecSerializer(lossless=True, max_error=1)
    for fields in ({"rate": 1}, {"effort": "high"}):
        with pytest.raises(velcodec.UsageError, match="upgrade velcodec"):
            VelcodecSerializer.from_dict({"name": "velcodec", "configuration": fields})
    with pytest.raises(velcodec.UsageError, match="effort must be"):
        numcodecs.get_codec({"id": "velcodec", "effort": 11})


def test_a_codebook_that_is_not_here(tmp_path: Path, maps: NDArray[np.float32]) -> None:
    """The array opens; a codebook is looked for as a chunk is written or read."""
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(2, 70, 70), dtype="f4", chunks=(2, 70, 70),
        serializer=VelcodecSerializer(codebook="none-such"), compressors=None,
    )  # fmt: skip
    assert array.shape == (2, 70, 70)
    with pytest.raises(velcodec.CodebookError, match="none-such"):
        array[:] = maps[:2]


def test_the_codec_alone(maps: NDArray[np.float32]) -> None:
    codec = Velcodec(**EXACT)
    data = codec.encode(maps[:2])
    np.testing.assert_array_equal(codec.decode(data), maps[:2])
    np.testing.assert_array_equal(codec.decode(np.frombuffer(data, np.uint8)), maps[:2])
    assert codec.decode(codec.encode(maps[0])).shape == (70, 70)
    out = np.empty((2, 70, 70), np.float32)
    assert codec.decode(data, out) is out
    np.testing.assert_array_equal(out, maps[:2])


def test_buffers_without_maps_are_refused(maps: NDArray[np.float32], tmp_path: Path) -> None:
    codec = Velcodec(**EXACT)
    for given, what in (
        (maps.tobytes(), "not bytes"),
        (maps.ravel(), "1 axes hold no maps"),
        (maps.astype("c8"), "complex64"),
        (np.asfortranarray(maps), "order='C'"),
    ):
        with pytest.raises(velcodec.DataError, match=what):
            codec.encode(given)
    array = zarr.create_array({}, shape=maps.shape, dtype="f4", chunks=maps.shape, zarr_format=2, order="F",
                              compressors=codec)  # fmt: skip
    with pytest.raises(velcodec.DataError, match="order='C'"):
        array[:] = maps
    with pytest.raises(velcodec.FormatError):
        codec.decode(b"nothing")


def test_xarray_writes_and_reads_them(tmp_path: Path, maps: NDArray[np.float32]) -> None:
    """From .vlz to Zarr and back, with coordinates; the bound is held, and datasets stay lazy."""
    xr = pytest.importorskip("xarray")
    pytest.importorskip("dask")
    velcodec.compress(maps, tmp_path / "a.vlz", effort=0, lossless=True)
    coding = {
        "serializer": VelcodecSerializer(max_error=5, effort=0),
        "compressors": None,
        "chunks": (10, 70, 70),
    }
    with xr.open_dataset(tmp_path / "a.vlz") as data:
        data.to_zarr(tmp_path / "a.zarr", encoding={"velocity": coding}, zarr_format=3, consolidated=False)
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as back:
        assert back.velocity.chunks == ((10, 10, 10), (70,), (70,))
        assert 0 < np.abs(back.velocity - maps).max() <= 5
        np.testing.assert_array_equal(back.z, 10.0 * np.arange(70))
        assert back.velocity.units == "m/s"
    old = {"compressors": Velcodec(**EXACT), "chunks": (30, 70, 70)}
    with xr.open_dataset(tmp_path / "a.vlz", chunks={}) as data:
        data.to_zarr(tmp_path / "b.zarr", encoding={"velocity": old}, zarr_format=2, consolidated=False)
    with xr.open_zarr(tmp_path / "b.zarr", consolidated=False) as back:
        np.testing.assert_array_equal(back.velocity, maps)

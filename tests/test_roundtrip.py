"""Round trips over shapes, dtypes and modes, held to what each mode promises."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import velcodec
from velcodec import synth
from velcodec.metrics import max_error, psnr
from velcodec.quality import COARSER

from .conftest import real

Compressed = Callable[..., Path]


def check(array: NDArray[Any], path: Path, psnr_asked: float | None, exact: bool) -> None:
    """The one round-trip checker: layout, promises, and the figures that the file states about itself."""
    restored = velcodec.decompress(path)
    assert restored.shape == array.shape
    assert restored.dtype == array.dtype
    if exact:
        assert restored.tobytes() == array.tobytes()
    flat, back = (a.reshape(-1, *a.shape[-2:]) for a in (array, restored))
    with velcodec.open(path) as archive:
        quality = archive.quality
        # Alone a map may drift from itself among others, and then round to the next number of its dtype.
        unit = (
            1.0
            if array.dtype.kind in "iu"
            else float(np.spacing(np.float16(4500)) if array.itemsize == 2 else 0)
        )
        alone = archive[len(archive) - 1].astype(np.float64)
        np.testing.assert_allclose(alone, back[-1].astype(np.float64), rtol=0, atol=0.2 + unit)
    measured, worst = psnr(flat, back), max_error(flat, back)
    if psnr_asked is not None:
        assert (measured >= psnr_asked).all()
    for i, mode in enumerate(quality.mode):
        if mode == "exact":
            assert flat[i].tobytes() == back[i].tobytes()
            assert np.isinf(quality.psnr[i])
            assert quality.max_error[i] == 0
        else:
            # One of 64 maps decodes alone like among others, but for the drift of floats.
            assert quality.psnr[i] <= measured[i] + 0.01 <= quality.psnr[i] + COARSER.psnr_step + 0.02
            assert worst[i] <= quality.max_error[i] + 0.2
            assert quality.max_error[i] <= worst[i] * 2 ** (1 / COARSER.error_steps) + 0.2


LAYOUTS = {
    "one map": (70, 70),
    "stack": (3, 70, 70),
    "shard": (3, 1, 70, 70),
    "tall": (2, 1, 90, 40),
    "small": (2, 9, 12),
    "one sample": (1, 1, 1, 1),
    "one row": (2, 1, 33),
}
DTYPES = ("<f2", "<f4", "<f8", ">f4", ">f8", "<i2", ">i4", "<u2", "<i8")
MODES: dict[str, dict[str, Any]] = {
    "psnr": {"psnr": 25.0},
    "entropy": {"latent_only": True},
    "int8": {"latent_only": True, "latent": "int8"},
    "fp16": {"latent_only": True, "latent": "fp16"},
    "lossless": {"lossless": True},
}


def sample(shape: tuple[int, ...]) -> NDArray[np.float32]:
    n = shape[0] if len(shape) > 2 else 1
    return synth.generate("FlatFault_A", n, shape[-2:], seed=3).reshape(shape)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, mode: str, compressed: Compressed) -> None:
    array = sample(LAYOUTS[layout])
    path = compressed(array, **MODES[mode])
    check(array, path, MODES[mode].get("psnr"), mode == "lossless")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype: str, mode: str, compressed: Compressed) -> None:
    array = sample((3, 70, 70)).astype(dtype)
    path = compressed(array, **MODES[mode])
    check(array, path, MODES[mode].get("psnr"), mode == "lossless")


@pytest.mark.parametrize("effort", [0, 1, 3])
def test_every_map_meets_the_psnr(
    effort: int, mixed_maps: NDArray[np.float32], compressed: Compressed
) -> None:
    path = compressed(mixed_maps, psnr=30, effort=effort)
    check(mixed_maps, path, 30.0, False)


def test_blocks(
    mixed_maps: NDArray[np.float32], compressed: Compressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("velcodec.compression.BLOCK_MAPS", 3)
    path = compressed(mixed_maps, psnr=25)
    check(mixed_maps, path, 25.0, False)
    whole = velcodec.decompress(path)
    with velcodec.open(path) as archive:
        np.testing.assert_allclose(archive.read([9, 0, 4, 4]), whole[[9, 0, 4, 4]], rtol=0, atol=0.2)
        np.testing.assert_allclose(archive[7:2:-2], whole[7:2:-2], rtol=0, atol=0.2)


def test_other_units(compressed: Compressed) -> None:
    """Density in g/cm3 or velocity in km/s is normalised by its own range and keeps its PSNR."""
    array = sample((4, 70, 70)) / 1000
    check(array, compressed(array, latent_only=True, units="km/s"), None, False)
    metres = velcodec.decompress(compressed(sample((4, 70, 70)), latent_only=True))
    kilometres = velcodec.decompress(compressed(array, latent_only=True))
    assert abs(psnr(array, kilometres).mean() - psnr(sample((4, 70, 70)), metres).mean()) < 6


def test_constant_maps(compressed: Compressed) -> None:
    array = np.full((3, 70, 70), 2000, np.float32)
    check(array, compressed(array), 35.0, True)
    check(array, compressed(array, latent_only=True), None, False)


def test_never_more_bytes_than_zstd(mixed_maps: NDArray[np.float32], compressed: Compressed) -> None:
    import zstandard

    noise = np.random.default_rng(0).normal(3000, 300, (6, 70, 70)).astype(np.float32)
    for maps in (mixed_maps, noise):
        zstd = sum(len(zstandard.ZstdCompressor(level=19).compress(m.tobytes())) for m in maps)
        small = compressed(maps[:1], lossless=True).stat().st_size
        overhead = small - len(zstandard.ZstdCompressor(level=19).compress(maps[0].tobytes()))
        assert compressed(maps, psnr=35).stat().st_size <= zstd + overhead + 8 * len(maps)


@pytest.mark.parametrize("name", ["flatvel_a", "curvevel_a", "flatfault_a"])
def test_real_shards(name: str, compressed: Compressed) -> None:
    shard = real(name)[:40]
    check(shard, compressed(shard, psnr=35, effort=1), 35.0, False)
    check(shard, compressed(shard, lossless=True), None, True)


# Awkward values


def awkward() -> NDArray[np.float32]:
    array = sample((5, 70, 70))
    array[1, 3, 4] = np.nan
    array[2, 0] = np.inf
    array[3, 5, 5] = -np.inf
    return array


@pytest.mark.parametrize("options", [{"psnr": 25.0}, {"lossless": True}])
def test_nan_and_infinity_survive(options: dict[str, Any], compressed: Compressed) -> None:
    array = awkward()
    path = compressed(array, **options)
    restored = velcodec.decompress(path)
    np.testing.assert_array_equal(restored[1:4], array[1:4])
    with velcodec.open(path) as archive:
        assert archive.quality.mode[1:4] == ("exact",) * 3


def test_nan_is_refused_as_a_latent(compressed: Compressed) -> None:
    with pytest.raises(velcodec.DataError, match="NaN"):
        compressed(awkward(), latent_only=True)


def test_values_past_float32(compressed: Compressed) -> None:
    array = sample((2, 70, 70)).astype(np.float64)
    array[0, 0, 0] = 1e300
    np.testing.assert_array_equal(velcodec.decompress(compressed(array, lossless=True)), array)
    for lossy in ({}, {"max_error": 5.0}, {"latent_only": True}):
        with pytest.raises(velcodec.DataError, match="lossless"):
            compressed(array, **lossy)


@pytest.mark.parametrize("shape", [(0, 70, 70), (3, 0, 70), (70,), (2, 3, 70, 70), (1, 1, 1, 7, 7)])
def test_shapes_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(velcodec.DataError):
        velcodec.compress(np.zeros(shape, np.float32), tmp_path / "a.vlz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["complex64", "bool", "U3", "object", "datetime64[s]"])
def test_dtypes_refused(dtype: str, tmp_path: Path) -> None:
    with pytest.raises(velcodec.DataError, match="dtype"):
        velcodec.compress(np.zeros((1, 8, 8)).astype(dtype), tmp_path / "a.vlz")


def test_open_files_are_written_to(tmp_path: Path) -> None:
    """New ones: what is in a longer one would be left at the end."""
    maps = synth.generate("CurveVel_A", 3)
    velcodec.compress(maps, tmp_path / "a.vlz", effort=0)
    file = io.BytesIO()
    velcodec.compress(maps, file, effort=0)
    assert file.getvalue() == (tmp_path / "a.vlz").read_bytes()
    np.testing.assert_array_equal(velcodec.decompress(file), velcodec.decompress(tmp_path / "a.vlz"))
    full = io.BytesIO(bytes(10_000))
    with pytest.raises(velcodec.UsageError, match="must be empty"):
        velcodec.compress(maps, full, effort=0)
    assert full.getvalue() == bytes(10_000)
    with open(tmp_path / "b.vlz", "wb") as unread, pytest.raises(velcodec.UsageError, match="must be empty"):
        velcodec.compress(maps, unread, effort=0)


def test_a_target_below_a_file_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(velcodec.UsageError, match="file/a.vlz: Not a directory"):
        velcodec.compress(synth.generate("FlatVel_A", 1), tmp_path / "file" / "a.vlz", effort=0)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"psnr": "35"}, "a PSNR is a number, not '35'"),
        ({"max_error": "5"}, "max-error is a number"),
        ({"effort": 1.5}, "effort is a whole number, not 1.5"),
    ],
)
def test_options_of_another_type_are_refused(option: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(velcodec.UsageError, match=said):
        velcodec.compress(np.zeros((1, 5, 5), np.float32), tmp_path / "a.vlz", **option)
    velcodec.compress(
        np.zeros((1, 5, 5), np.float32), tmp_path / "a.vlz", psnr=np.float32(35), effort=np.int64(0)
    )


def test_tensors_and_masked_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(velcodec.DataError, match="give a numpy array"):
        velcodec.compress(torch.zeros(1, 5, 5), tmp_path / "a.vlz")
    masked = np.ma.masked_greater(np.arange(25, dtype=np.float32).reshape(1, 5, 5), 20)
    with pytest.raises(velcodec.DataError, match="masked"):
        velcodec.compress(masked, tmp_path / "a.vlz")
    velcodec.compress(np.ma.masked_greater(np.asarray(masked), 99), tmp_path / "a.vlz")  # none is


def test_windows_points_and_rows_that_cannot_be_are_refused(compressed: Compressed) -> None:
    path = compressed(synth.generate("FlatVel_A", 2, 20), effort=0)
    with velcodec.open(path) as archive:
        with pytest.raises(velcodec.UsageError, match=r"a window is \(\(z0, z1\), \(x0, x1\)\)"):
            archive.read([0], window=(0, 5, 0, 4))  # type: ignore[arg-type]
        with pytest.raises(velcodec.UsageError, match="NaN"):
            archive.field(0)(np.array([[0.0, np.nan]]))


@pytest.mark.parametrize(
    ("family", "asked", "share"), [("FlatVel_A", 30, 0.9), ("CurveVel_B", 30, 0.85), ("FlatVel_B", 150, 1.1)]
)
def test_of_layered_maps_a_psnr_takes_fewer_bytes_than_every_bit(
    family: str, asked: float, share: float, tmp_path: Path
) -> None:
    """Velocities in steps, or latents; where neither wins, what lossless takes, and a header that names a codebook."""
    maps = synth.generate(family, 20, 70, seed=78)
    velcodec.compress(maps, tmp_path / "some.vlz", psnr=asked)
    velcodec.compress(maps, tmp_path / "all.vlz", lossless=True)
    back = np.asarray(velcodec.decompress(tmp_path / "some.vlz"))
    assert psnr(maps, back).min() >= asked
    some, every = ((tmp_path / name).stat().st_size for name in ("some.vlz", "all.vlz"))
    assert some <= share * every

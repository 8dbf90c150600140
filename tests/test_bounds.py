"""A stated bound is a promise: no sample is off by more, however many maps are decoded at a time, on any threads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import velcodec
from velcodec import compression, container, encoder, metrics, modes, synth
from velcodec.request import Request

from .conftest import real_maps

Compressed = Callable[..., Path]
BOUNDS = (0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0)
MIXED = ("FlatFault_A", "CurveFault_A", "CurveFault_B", "Style_A", "Style_B", "CurveVel_A")


def mixed(each: int = 2, seed: int = 31) -> NDArray[np.float32]:
    return np.concatenate([synth.generate(family, each, seed=seed) for family in MIXED])


def worst(maps: NDArray[Any], copy: NDArray[Any]) -> float:
    return float(np.abs(maps.astype(np.float64) - copy.astype(np.float64)).max())


@pytest.mark.parametrize("bound", BOUNDS)
def test_no_sample_is_off_by_more(bound: float, compressed: Compressed) -> None:
    maps = mixed()
    with velcodec.open(compressed(maps, max_error=bound, effort=0)) as archive:
        assert worst(maps, archive[:]) <= bound
        assert archive.quality.max_error.max() <= bound
        for i, copy in enumerate(archive):
            assert worst(maps[i], copy) <= archive.quality.max_error[i]
        threads = torch.get_num_threads()
        try:
            for n in (1, 2):
                torch.set_num_threads(n)
                for batch in (1, 7, 64):
                    for i in range(0, len(maps), batch):
                        archive._kept.clear()  # decode them again, so many together
                        assert worst(maps[i : i + batch], archive[i : i + batch]) <= bound
        finally:
            torch.set_num_threads(threads)


def test_layers_come_in_steps_of_the_bound(compressed: Compressed) -> None:
    """Layered maps, and maps whose layers differ within a step, in fewer bytes than bit for bit."""
    maps = synth.generate("CurveVel_A", 30, seed=12)
    maps[::2] += np.random.default_rng(3).normal(0, 3, maps[::2].shape).astype(np.float32)
    size = {e: compressed(maps[1::2], max_error=e).stat().st_size for e in (0.5, 25.0)}
    assert size[25.0] < 0.95 * size[0.5]
    with velcodec.open(compressed(maps[1::2], max_error=25.0)) as archive:
        assert set(archive.quality.mode) == {"layered"}
        assert 1 < worst(maps[1::2], archive[:]) <= 25
        assert np.isin(archive.read(shape=(200, 210)), archive[:]).all(), "crisp at any resolution"
    assert worst(maps, velcodec.decompress(compressed(maps, max_error=25.0))) <= 25


@settings(deadline=None, max_examples=25)
@given(
    bound=st.floats(1e-3, 1e3),
    dtype=st.sampled_from(["<f4", ">f4", "<f8", "<f2", "<i2", "<i4", "<u2"]),
    family=st.sampled_from(MIXED),
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 24), st.integers(1, 24)),
)
def test_bounds_of_any_size_and_dtype(
    bound: float, dtype: str, family: str, seed: int, shape: tuple[int, int], tmp_path_factory: Any
) -> None:
    maps = synth.generate(family, 2, shape, seed=seed).astype(dtype)
    path = tmp_path_factory.mktemp("bound") / "a.vlz"
    velcodec.compress(maps, path, max_error=bound, effort=0)
    assert worst(maps, velcodec.decompress(path)) <= bound


@pytest.mark.parametrize("psnr", [20.0, 35.0, 50.0])
def test_every_map_keeps_its_psnr(psnr: float, compressed: Compressed) -> None:
    maps = mixed()
    assert metrics.psnr(maps, velcodec.decompress(compressed(maps, psnr=psnr, effort=0))).min() >= psnr


@pytest.mark.parametrize("bound", [2.0, 50.0])
def test_a_latent_with_a_residual_keeps_its_bound(
    bound: float, compressed: Compressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where it is not the cheapest: everything else is taken away here."""
    for other in ("as_layers", "as_layers_in_steps", "as_quantised", "as_cosines", "as_zstd"):
        monkeypatch.setattr(modes, other, lambda maps, *rest, **more: modes.nothing(len(maps)))
    maps = synth.generate("Style_A", 3, seed=5)
    path = compressed(maps, max_error=bound, effort=0)
    with velcodec.open(path) as archive:
        assert set(archive.quality.mode) <= {"latent+residual", "latent-entropy"}
        assert "latent+residual" in archive.quality.mode
        assert worst(maps, archive[:]) <= bound
        assert np.isfinite(archive.latents()).all()
        finer = archive.read(shape=(140, 140))
        assert np.abs(finer.reshape(3, 70, 2, 70, 2).mean((2, 4)) - maps).mean() < 2 * bound + 60


def test_drift_is_taken_off_the_bound() -> None:
    m = np.zeros((4, 4), np.float32)
    request = Request(max_error=1.0)
    assert modes.keeps(m, m + 0.9, 1.0, request, drift=0.05)
    assert not modes.keeps(m, m + 0.9, 1.0, request, drift=0.2)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("family", ["flatvel_a", "curvevel_a", "flatfault_a"])
def test_real_shards_keep_their_bounds(family: str, bound: float, compressed: Compressed) -> None:
    maps = real_maps(family)
    threads = torch.get_num_threads()
    with velcodec.open(compressed(maps, max_error=bound, effort=0)) as archive:
        assert archive.quality.max_error.max() <= bound
        try:
            for n, batch in ((1, 500), (2, 64), (1, 7), (2, 1)):
                torch.set_num_threads(n)
                for i in range(0, min(len(maps), 20 * batch), batch):
                    archive._kept.clear()  # decode them again, so many together
                    assert worst(maps[i : i + batch], archive[i : i + batch]) <= bound
        finally:
            torch.set_num_threads(threads)


@pytest.mark.parametrize("family", ["flatvel_a", "curvevel_a", "flatfault_a"])
def test_real_shards_come_back_bit_for_bit(family: str, compressed: Compressed) -> None:
    maps = real_maps(family, 100)
    path = compressed(maps, lossless=True)
    assert velcodec.decompress(path).tobytes() == maps.tobytes()
    most = {"flatvel_a": 16, "curvevel_a": 75, "flatfault_a": 900}[family]
    assert path.stat().st_size <= most * 100


def test_no_mode_takes_more_than_zstd(compressed: Compressed) -> None:
    """Noise has no structure: what remains is zstd of the bytes, and some tens of bytes of headers a block."""
    noise = np.random.default_rng(0).integers(0, 1 << 32, (20, 30, 30), dtype=np.uint32).view(np.float32)
    path = compressed(noise, lossless=True)
    assert velcodec.decompress(path).tobytes() == noise.tobytes()
    assert path.stat().st_size < noise.nbytes + 1500


def test_requests_exclude_each_other() -> None:
    for wrong in ({"max_error": 1.0, "lossless": True}, {"latent_only": True, "max_error": 2.0}):
        with pytest.raises(velcodec.UsageError, match="exclude"):
            Request(**wrong)  # type: ignore[arg-type]
    for bound in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(velcodec.UsageError, match="max-error"):
            Request(max_error=bound)


# Large models


def large(shape: tuple[int, int] = (90, 150)) -> NDArray[np.float32]:
    return synth.generate("CurveFault_A", 1, shape, seed=4)[0]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "TILE", 32)
    monkeypatch.setattr(compression, "TILE_FROM", 1000)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("request_", [{"lossless": True}, {"max_error": 25.0}, {"psnr": 35.0}])
def test_tiles_come_back_as_asked(request_: dict[str, Any], compressed: Compressed) -> None:
    maps = np.stack([large(), large()[::-1]])
    path = compressed(maps, effort=0, **request_)
    with velcodec.open(path) as archive:
        copy = archive[:]
        assert archive.info()["tiles"] == 15
        assert archive.quality.psnr.shape == (2,)
        if "lossless" in request_:
            assert copy.tobytes() == maps.tobytes()
        elif "max_error" in request_:
            assert worst(maps, copy) <= 25
            assert archive.quality.max_error.max() <= 26
        else:
            assert (metrics.psnr(maps, copy) >= 35).all()
            assert (archive.quality.psnr <= metrics.psnr(maps, copy) + 0.1).all()


@pytest.mark.usefixtures("small_tiles")
def test_a_window_reads_its_tiles_alone(compressed: Compressed, monkeypatch: pytest.MonkeyPatch) -> None:
    m = large()
    path = compressed(m, max_error=10.0, effort=0)
    read: list[int] = []
    from velcodec import archive as module

    original = module.read_records

    def counted(payload: bytes, shapes: Any, *rest: Any) -> Any:
        read.append(len(shapes))
        return original(payload, shapes, *rest)

    monkeypatch.setattr(module, "read_records", counted)
    with velcodec.open(path) as archive:
        part = archive.read([0], window=((40, 60), (70, 90)))
        assert read == [1], "one tile of fifteen"
        assert worst(m[40:60, 70:90], part[0]) <= 10
        archive.read([0], window=((31, 33), (0, 10)))
        assert sum(read) == 3
        finer = archive.read([0], shape=(40, 40), window=((40, 60), (70, 90)))[0]
    np.testing.assert_allclose(finer.reshape(20, 2, 20, 2).mean((1, 3)), part[0], atol=400)


@pytest.mark.usefixtures("small_tiles")
def test_other_resolutions_have_no_seams(compressed: Compressed) -> None:
    """Samples between tiles are interpolated across them, as of one map."""
    from velcodec.grid import make_grid, resample

    m = large()
    path = compressed(m, lossless=True, effort=0)
    with velcodec.open(path) as archive:
        for shape, window in (((180, 300), None), ((64, 64), ((20, 52), (20, 52)))):
            expected = resample(m[None], make_grid(m.shape, shape, window))
            np.testing.assert_allclose(archive.read([0], shape=shape, window=window), expected, atol=1e-3)


def test_tiles_of_latents_are_blended(compressed: Compressed, monkeypatch: pytest.MonkeyPatch) -> None:
    m = synth.generate("FlatFault_A", 1, (100, 160), seed=8)[0]
    path = compressed(m, latent_only=True, effort=0)
    with velcodec.open(path) as archive:
        assert archive.info()["tiles"] == 6
        whole = archive.read([0])[0]
        window = archive.read([0], window=((30, 80), (50, 120)))[0]
        np.testing.assert_allclose(window, whole[30:80, 50:120], atol=0.5)
        assert archive.read([0], shape=(200, 320)).shape == (1, 200, 320)
        with pytest.raises(velcodec.DataError, match="tiles"):
            archive.latents()
    assert metrics.psnr(m, whole)[0] > 20
    # Where tiles meet, steps from column to column are no larger than elsewhere.
    steps, true = np.abs(np.diff(whole, axis=1)).mean(0), np.abs(np.diff(m, axis=1)).mean(0)
    assert (steps - true).max() < 60


@pytest.mark.parametrize(
    ("name", "bound"),
    [("marmousi2_351x1701", 0.5), ("marmousi2_351x1701", 25.0), *(("overthrust_207x801", e) for e in BOUNDS)],
)
def test_large_models_keep_their_bound(name: str, bound: float, compressed: Compressed) -> None:
    m = real_maps(name)[0]
    path = compressed(m, max_error=bound, effort=0)
    with velcodec.open(path) as archive:
        assert worst(m, archive[0]) <= bound
        assert archive.info()["tiles"] == (14 if name.startswith("marmousi") else 1)


# Awkward data


@pytest.mark.parametrize("shape", [(1, 70), (70, 1), (1, 1), (8, 8), (3, 500)])
@pytest.mark.parametrize("request_", [{"lossless": True}, {"max_error": 5.0}, {}])
def test_odd_shapes(shape: tuple[int, int], request_: dict[str, Any], compressed: Compressed) -> None:
    maps = synth.generate("Style_A", 2, shape, seed=1)
    copy = velcodec.decompress(compressed(maps, effort=0, **request_))
    assert worst(maps, copy) <= (0 if "lossless" in request_ else 5 if request_ else np.inf)


def test_thin_maps_in_tiles_of_latents(compressed: Compressed) -> None:
    maps = synth.generate("FlatVel_A", 1, (12, 200), seed=1)
    with velcodec.open(compressed(maps, latent_only=True)) as archive:
        assert archive.info()["tiles"] == 4
        assert archive[0].shape == (12, 200)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u8", "i8"])
def test_the_ends_of_integer_dtypes(dtype: str, compressed: Compressed) -> None:
    limits = np.iinfo(dtype)
    maps = np.random.default_rng(2).integers(limits.min, limits.max, (2, 9, 9), dtype, endpoint=True)
    maps[0, 0, :2] = limits.min, limits.max
    for request in ({"max_error": 1.0}, {"psnr": 30.0}, {"lossless": True}):
        copy = velcodec.decompress(compressed(maps, **request))
        off = np.abs(copy.astype(object) - maps.astype(object)).max()
        assert off == 0 if "lossless" in request else off <= 1 or "psnr" in request


def test_nan_and_infinity_survive_lossy_requests(compressed: Compressed) -> None:
    maps = mixed(1)
    maps[0, :3], maps[1, 5, 5], maps[2, 0, 0] = np.nan, np.inf, -np.inf
    for request in ({"max_error": 10.0}, {"psnr": 30.0}):
        copy = velcodec.decompress(compressed(maps, effort=0, **request))
        np.testing.assert_array_equal(copy[:3], maps[:3])


@pytest.mark.parametrize("value", [0.0, -3.5, 1e30, 2500.0])
def test_constants(value: float, compressed: Compressed) -> None:
    maps = np.full((3, 20, 20), value, np.float32)
    for request in ({"max_error": 1.0}, {"lossless": True}, {}):
        path = compressed(maps, **request)
        np.testing.assert_array_equal(velcodec.decompress(path), maps)
        assert path.stat().st_size < 600


@pytest.mark.parametrize(("scale", "units"), [(1e-3, "km/s"), (0.5, "kg/m3"), (10.0, "m/s")])
def test_other_units(scale: float, units: str, compressed: Compressed) -> None:
    maps = (mixed(1) * scale).astype(np.float32)
    path = compressed(maps, max_error=10 * scale, units=units, effort=0)
    assert worst(maps, velcodec.decompress(path)) <= 10 * scale
    assert compressed(maps, units=units, effort=0).stat().st_size < 500 * len(maps)


def test_the_encoder_looks_for_latents_where_they_may_pay(
    compressed: Compressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fitted for maps that layers hold in a few bytes."""
    called: list[int] = []
    monkeypatch.setattr(encoder.modes, "fitted", lambda *a: called.append(1))

    compressed(synth.generate("FlatVel_A", 20, seed=3), effort=3)
    assert not called


def test_textures_are_read_fast_at_low_efforts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bytes hardly differ the model that is read faster is taken; higher efforts count bytes alone."""
    maps = synth.generate("Style_B", 3, seed=4)

    def kinds(effort: int) -> list[int]:
        velcodec.compress(maps, tmp_path / "a.vlz", psnr=38, effort=effort, overwrite=True)
        with velcodec.open(tmp_path / "a.vlz") as archive:
            return [int(kind) for kind in archive.looked.kinds]

    before = kinds(3)
    monkeypatch.setattr(encoder, "SMOOTH_LEEWAY", 0.1)
    assert kinds(0) == [container.KIND_SMOOTH] * 3
    assert kinds(3) == before
    monkeypatch.setattr(encoder, "SMOOTH_LEEWAY", 10.0)
    assert container.KIND_SMOOTH not in kinds(0)


@pytest.mark.parametrize(("bound", "model"), [(50, container.KIND_SMOOTH), (100, container.KIND_EDGES)])
def test_maps_of_a_block_share_a_model_where_that_takes_fewer_bytes(
    bound: float, model: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone would take the one that suits it; then either model has less to learn from."""
    maps, try_shared = synth.generate("Style_B", 60, seed=42), encoder._try_shared

    def stored() -> tuple[int, set[int]]:
        velcodec.compress(maps, tmp_path / "a.vlz", max_error=bound, effort=1, overwrite=True)
        with velcodec.open(tmp_path / "a.vlz") as archive:
            assert worst(maps, archive[:]) <= bound
            return archive.bytes, {int(kind) for kind in archive.looked.kinds}

    shared, kinds = stored()

    def for_each(*how: Any) -> list[modes.Offer]:
        try_shared(*how)
        return []

    monkeypatch.setattr(encoder, "_try_shared", for_each)
    apart, both = stored()
    assert kinds == {model} and both == {container.KIND_SMOOTH, container.KIND_EDGES}
    assert shared < 0.995 * apart

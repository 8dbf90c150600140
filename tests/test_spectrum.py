"""The mode `cosines`: what its stream holds comes back, keeps a PSNR, and is drawn on any grid."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import velcodec
from velcodec import container, encoder, modes, spectrum, spectrum_coder, spectrum_fit, synth
from velcodec.errors import FormatError
from velcodec.grid import centres, make_grid, resample
from velcodec.metrics import psnr
from velcodec.spectrum import Spectrum

SHAPES = [(1, 1), (1, 9), (8, 1), (3, 5), (17, 12)]


def compressed(maps: NDArray[Any], **request: Any) -> velcodec.Archive:
    file = io.BytesIO()
    velcodec.compress(maps, file, embed_codebook="never", **request)
    return velcodec.open(io.BytesIO(file.getvalue()))


@st.composite
def spectra(draw: st.DrawFn) -> list[Spectrum]:
    """Up to five spectra of a few shapes, with steps and integers of any size."""
    out = []
    for _ in range(draw(st.integers(1, 5))):
        shape = draw(st.sampled_from(SHAPES))
        rng = np.random.default_rng(draw(st.integers(0, 1000)))
        size = 2.0 ** draw(st.integers(0, 35))
        whole = (rng.standard_normal(shape) * rng.random(shape) ** 8 * size).astype(np.int64)
        out.append(Spectrum(np.clip(whole, 1 - (1 << 36), (1 << 36) - 1), draw(st.integers(0, 1023))))
    return out


@settings(deadline=None)
@given(spectra())
def test_spectra_come_back(maps: list[Spectrum]) -> None:
    data, spent = spectrum_coder.encode(maps)
    assert len(spent) == len(maps) and (spent >= 0).all() and abs(spent.sum() - len(data)) < 8
    shapes = [m.whole.shape for m in maps]
    for until in (len(maps), 1):  # all of the stream, or its beginning
        found = spectrum_coder.decode(data, shapes[:until], until == len(maps))  # type: ignore[arg-type]
        for m, back in zip(maps, found, strict=False):
            assert m.code == back.code
            np.testing.assert_array_equal(m.whole, back.whole)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_spectra(data: bytes) -> None:
    try:
        found = spectrum_coder.decode(data, [(6, 7), (6, 7), (2, 2)])
    except FormatError:
        return
    assert all(np.abs(m.whole).max() < 1 << 36 and 0 <= m.code < 1024 for m in found)


def test_a_stream_cut_short_is_refused() -> None:
    rng = np.random.default_rng(2)
    data, _ = spectrum_coder.encode([Spectrum(rng.integers(-9, 9, (20, 20)), 500)] * 3)
    for cut in (0, 1, len(data) // 2, len(data) - 5):
        with pytest.raises(FormatError):
            spectrum_coder.decode(data[:cut], [(20, 20)] * 3)


def test_waves_are_orthonormal_and_drawn_anywhere() -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal((9, 14))
    c = spectrum.products(values)
    assert (c**2).sum() == pytest.approx((values**2).sum())
    stored = Spectrum(np.rint(c * 1e6).astype(np.int64), 512)
    np.testing.assert_allclose(spectrum.draw(stored, 1e-6, 5.0), 5 + values, atol=1e-5)
    one = np.zeros((9, 14), np.int64)
    one[2, 3] = 4
    z, x = centres(5), centres(31)
    waves = (
        np.sqrt(2 / 9) * np.cos(np.pi * (z + 1))[:, None] * np.sqrt(2 / 14) * np.cos(1.5 * np.pi * (x + 1))
    )
    np.testing.assert_allclose(spectrum.draw_at(Spectrum(one, 0), 0.5, 1.0, z, x), 1 + 2 * waves, atol=1e-12)
    assert (spectrum.draw(Spectrum(0 * one, 0), 0.5, 1.0) == 1).all()


@pytest.mark.parametrize("share", [1e-1, 1e-3, 1e-6])
def test_the_coarsest_step_keeps_its_error(share: float) -> None:
    c = spectrum.products(synth.generate("Style_B", 1, 70, seed=8)[0].astype(float) - 3000)
    allowed = share * float((c**2).sum())
    found = spectrum_fit.coarsest(c, 40.0, allowed)
    assert found is not None
    left = float(((c - spectrum.step(40.0, found.code) * found.whole) ** 2).sum())
    assert 0.85 * allowed < left <= allowed
    plain = np.rint(c / spectrum.step(40.0, found.code))
    assert np.count_nonzero(found.whole) < np.count_nonzero(plain)  # bits are weighed
    assert spectrum_fit.coarsest(c, 1e-30, allowed) is None  # of 2^16 units at most


@pytest.mark.parametrize("psnr_", [30.0, 35.0, 38.0])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i2", "<f8"])
def test_textures_keep_their_psnr(psnr_: float, dtype: str) -> None:
    maps = synth.generate("Style_B", 6, 70, seed=77).astype(dtype)
    archive = compressed(maps, psnr=psnr_, effort=1)
    back = archive.read()
    assert back.dtype == np.dtype(dtype)
    found = psnr(maps.astype(np.float32), back.astype(np.float32))
    assert (found >= psnr_).all()
    if psnr_ > 32:  # else latents take as few bytes
        assert found.max() < psnr_ + 0.2 and set(archive.quality.mode) == {"cosines"}
    assert (archive.quality.psnr <= found).all()


@pytest.mark.parametrize("bound", [0.3, 7.5, 100.0])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", "<u4"])
def test_smooth_maps_keep_a_bound(bound: float, dtype: str) -> None:
    maps = synth.generate("Style_A", 4, 70, seed=79).astype(dtype)
    archive = compressed(maps, max_error=bound, effort=3)
    back = archive.read()
    assert back.dtype == np.dtype(dtype)
    off = np.abs(maps.astype(float) - back.astype(float)).max((1, 2))
    assert (off <= bound).all() and (off <= archive.quality.max_error).all()
    if bound > 1:
        assert set(archive.quality.mode) == {"cosines+residual"}
        np.testing.assert_array_equal(archive.read([2], window=((3, 9), (0, 70)))[0], back[2, 3:9])
        between = archive.read([0], shape=(210, 210))[0, 1::3, 1::3]  # the native cells among others
        np.testing.assert_allclose(between, back[0], atol=1e-3 if back.dtype.kind == "f" else 1)


@pytest.mark.parametrize("dtype", ["<f4", "<i4"])
def test_a_bound_is_kept_however_sums_are_rounded(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = synth.generate("Style_A", 5, 70, seed=80).astype(dtype)
    archive = compressed(maps, max_error=5.0, effort=1)
    assert "cosines+residual" in archive.quality.mode
    real = spectrum.draw_at
    for by in (-3e-7, 3e-7):
        monkeypatch.setattr(spectrum, "draw_at", lambda *args, by=by: real(*args) + by)
        archive._kept.clear()
        assert np.abs(maps - archive.read().astype(float)).max() <= 5.0


def test_one_row_a_window_and_another_grid() -> None:
    fine = synth.generate("Style_B", 3, 140, seed=78)
    maps = synth.generate("Style_B", 3, 70, seed=78)
    archive = compressed(maps, psnr=38.0, effort=1)
    assert set(archive.quality.mode) == {"cosines"}
    back = archive.read()
    np.testing.assert_array_equal(archive.read([2])[0], back[2])
    np.testing.assert_array_equal(archive.read([1], window=((5, 30), (60, 70)))[0], back[1, 5:30, 60:])
    np.testing.assert_array_equal(archive.read([1], shape=(70, 70)), back[1:2])
    double = archive.read(shape=(140, 140))
    linear = resample(back, make_grid((70, 70), (140, 140))).astype(np.float32)
    assert (psnr(fine, double) > psnr(fine, linear)).all()


def test_a_field_of_cosines_and_its_slopes() -> None:
    maps = synth.generate("Style_A", 4, 70, seed=81)
    archive = compressed(maps, psnr=46.0, effort=0)
    assert set(archive.quality.mode) == {"cosines"}
    field, at = archive.field(3), centres(70)
    points = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)
    values, slopes = field(points, gradient=True)
    np.testing.assert_allclose(values.reshape(70, 70), archive[3], rtol=1e-6)
    inside = (values > archive.header.low + 1) & (values < archive.header.high - 1)
    for axis in (0, 1):
        step = np.eye(2)[axis] * 1e-5
        found = (np.asarray(field(points + step)) - np.asarray(field(points - step))) / 2e-5
        np.testing.assert_allclose(slopes[inside, axis], found[inside], rtol=1e-4, atol=0.1)


def test_maps_that_are_no_textures_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    real = spectrum_fit.coarsest

    def noted(*args: Any) -> Spectrum | None:
        tried.append(1)
        return real(*args)

    monkeypatch.setattr(spectrum_fit, "coarsest", noted)
    for family in ("FlatVel_A", "CurveVel_B", "FlatFault_A"):
        compressed(synth.generate(family, 3, 70, seed=5), psnr=35.0, effort=1)
    assert not tried
    textures = synth.generate("Style_A", 2, 70, seed=5)
    for request in ({"lossless": True}, {"latent_only": True}):
        compressed(textures, effort=0, **request)
    assert not tried
    compressed(textures, psnr=35.0, effort=0)
    assert len(tried) == 2
    compressed(synth.generate("CurveFault_A", 2, 70, seed=5), max_error=10.0, effort=0)  # too many waves
    assert len(tried) == 2


def test_textures_are_not_tried_as_samples_and_other_maps_are(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    real = modes.as_quantised

    def noted(maps: modes.Maps, *args: Any, **more: Any) -> modes.Offer:
        tried.append(len(maps))
        return real(maps, *args, **more)

    monkeypatch.setattr(modes, "as_quantised", noted)
    mixed = np.concatenate([synth.generate(f, 3, 70, seed=83) for f in ("Style_A", "CurveFault_B")])
    few = compressed(mixed, psnr=40.0, effort=0)
    assert sum(tried) <= 2 * 3  # two models of samples
    monkeypatch.setattr(encoder, "SURE", 0.0)
    tried.clear()
    every = compressed(mixed, psnr=40.0, effort=0)
    assert sum(tried) > 2 * 3
    assert list(few.quality.mode) == list(every.quality.mode)
    np.testing.assert_array_equal(few.read(), every.read())


@pytest.mark.parametrize("scale", [1e-38, 1e-4, 1e34])
@pytest.mark.parametrize("request_", [{"psnr": 33.0}, {"psnr": 200.0}, {"max_error": 0.01}], ids=str)
def test_values_of_any_size(scale: float, request_: dict[str, float]) -> None:
    maps = (synth.generate("Style_A", 2, 70, seed=82).astype(np.float64) * scale).astype(np.float32)
    asked = {"max_error": max(0.01 * scale * 3000, 1e-40)} if "max_error" in request_ else request_
    back = compressed(maps, effort=0, **asked).read()
    if "psnr" in asked:
        assert (psnr(maps, back) >= asked["psnr"]).all()
    else:
        assert np.abs(maps.astype(float) - back).max() <= asked["max_error"]


def test_textures_beside_maps_that_are_none() -> None:
    maps = synth.generate("Style_B", 5, 70, seed=9)
    maps[1] = 2000.0
    maps[2, 3, 4] = np.nan
    maps[3] = synth.generate("FlatVel_A", 1, 70, seed=9)[0]
    archive = compressed(maps, psnr=35.0, effort=1)
    assert [mode == "cosines" for mode in archive.quality.mode] == [True, False, False, False, True]
    back = archive.read()
    np.testing.assert_array_equal(np.isnan(back), np.isnan(maps))
    assert (psnr(maps[[0, 4]], back[[0, 4]]) >= 35).all()


def test_a_large_model_in_tiles() -> None:
    big = synth.generate("Style_B", 1, (530, 500), seed=4)[0]
    archive = compressed(big, psnr=32.0, effort=0)
    assert "cosines" in archive.quality.mode[0] and archive.header.tile is not None
    assert psnr(big[None], archive.read())[0] >= 32
    assert archive.read(shape=(100, 90)).shape == (1, 100, 90)


def test_files_of_older_coders_hold_none() -> None:
    assert container.KIND_COSINES == 15
    from velcodec import blocks

    kinds = np.array([15], np.uint8)
    assert blocks.known_kinds(kinds, 1023).all()
    assert not blocks.known_kinds(kinds, 511).any()

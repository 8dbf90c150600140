"""Waves over maps: the records against an exact solution, their misfit, and verify --waveform."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import velcodec
from velcodec import DataError, UsageError, metrics, synth, waveform
from velcodec.waveform import misfit, shots

from .test_cli import bad, files, good

pytest.importorskip("deepwave")
torch.set_flush_denormal(False)  # loading it may have set this for all tests
SPACING = (10.0, 10.0)
STEPS = 300


@pytest.fixture(scope="module")
def layered() -> NDArray[np.float32]:
    """Two layers over a third, (40, 49), m/s."""
    v = np.full((40, 49), 1800, np.float32)
    v[12:], v[25:] = 2400, 3600
    return v


# Acquisition


def test_openfwi_has_a_receiver_at_every_cell_and_sources_at_these():
    np.testing.assert_array_equal(waveform.spread(waveform.RECEIVERS, 70), np.arange(70))
    np.testing.assert_array_equal(waveform.spread(waveform.SOURCES, 70), [0, 17, 34, 52, 69])


@pytest.mark.parametrize("width", [2, 31, 70, 200])
def test_other_widths_are_covered_from_edge_to_edge(width):
    at = waveform.spread(waveform.RECEIVERS, width)
    assert (at[0], at[-1]) == (0, width - 1)
    assert np.ptp(np.diff(at)) <= 1


def test_the_wavelet_peaks_at_its_delay():
    wavelet = waveform.ricker()
    assert wavelet.argmax() * waveform.STEP == pytest.approx(waveform.DELAY)
    assert wavelet.max() == pytest.approx(1)
    assert abs(wavelet[0]) < 1e-3  # the records start before the wavelet does
    spectrum = np.abs(np.fft.rfft(wavelet))
    assert np.fft.rfftfreq(len(wavelet), waveform.STEP)[spectrum.argmax()] == pytest.approx(
        waveform.FREQUENCY, abs=1
    )


# Records


@pytest.mark.parametrize("shape", [(8, 9), (1, 8, 9), (2, 8, 9), (2, 1, 8, 9)])
def test_shapes(shape):
    records = shots(np.full(shape, 2000), SPACING, steps=20)
    assert records.shape == (1 if len(shape) == 2 else shape[0], 5, 20, 70)
    assert records.dtype == np.float32


def exact(distance: float, speed: float, steps: int) -> NDArray[np.float64]:
    """Pressure by the Green's function of the plane, 1 / (2 pi sqrt(t^2 - (r / c)^2)), for a source of one cell."""
    arrival = distance / speed
    theta = np.linspace(0, 8, 8001)  # t = arrival cosh(theta) takes the root's place
    t = np.arange(steps)[:, None] * waveform.STEP - arrival * np.cosh(theta)
    a = (np.pi * waveform.FREQUENCY * (t - waveform.DELAY)) ** 2
    wavelet = (1 - 2 * a) * np.exp(-a)
    return np.asarray(SPACING[0] * SPACING[1] / (2 * np.pi) * np.trapezoid(wavelet, theta, axis=1))


@pytest.mark.parametrize("speed", [1800.0, 4500.0])
def test_direct_wave_has_the_exact_time_and_size_and_no_edge_reflects(speed):
    record = shots(np.full((8, 70), speed), SPACING, steps=500)[0, 0]  # source in column 0
    for column in (10, 35, 60):
        distance = column * SPACING[1]
        wanted = exact(distance, speed, 500)
        assert np.linalg.norm(record[:, column] - wanted) < 0.03 * np.linalg.norm(wanted)
        # In the plane the wavelet's phase turns by an eighth of a period, so its peak comes up to that much later.
        late = record[:, column].argmax() * waveform.STEP - waveform.DELAY - distance / speed
        assert -0.002 <= late <= 1 / (8 * waveform.FREQUENCY)


def test_records_are_of_shots_from_left_to_right(layered):
    record = shots(layered, SPACING, steps=STEPS)[0]
    np.testing.assert_allclose(record, record[::-1, :, ::-1], atol=1e-4 * np.abs(record).max())
    strongest = np.abs(record).max(axis=1).argmax(axis=1)  # the receiver at the source
    assert strongest[0] <= 1 < strongest[1] < strongest[2] < strongest[3] < 68 <= strongest[4]


def test_spacing_is_depth_first(layered):
    wide = shots(layered, (10.0, 15.0), steps=STEPS)[0, 0]
    tall = shots(layered, (15.0, 10.0), steps=STEPS)[0, 0]
    assert np.abs(wide[:150, -1]).max() < 0.01 * np.abs(wide).max()  # 720 m at 1800 m/s: not there yet
    assert not np.allclose(wide, tall)


# Misfit


def test_equal_maps_have_no_misfit(layered):
    records = shots(np.stack([layered, layered]), SPACING, steps=STEPS)
    assert misfit(records[:1], records[1:]).tolist() == [0.0]


def test_misfit_grows_with_the_error(layered):
    maps = np.stack([layered] * 4)
    maps[1:, 8:20, 10:40] += np.array([5, 20, 80], np.float32)[:, None, None]
    records = shots(maps, SPACING, steps=STEPS, top_speed=4000)
    found = misfit(np.stack([records[0]] * 4), records)
    assert found[0] == 0
    assert (np.diff(found) > 0).all()
    assert 0 < found[1] < 0.01
    assert found[3] < 1


def test_misfit_is_relative():
    d = np.random.default_rng(0).normal(size=(3, 5, 10, 7)).astype(np.float32)
    np.testing.assert_allclose(misfit(d, d * np.float32(1.25)), 0.25, rtol=1e-6)
    assert misfit(np.zeros((1, 2)), np.zeros((1, 2))).tolist() == [0.0]
    assert misfit(np.zeros((1, 2)), np.ones((1, 2))).tolist() == [np.inf]
    with pytest.raises(UsageError, match="shape"):
        misfit(d, d[:2])


def test_one_time_step_for_both_maps_leaves_the_solver_out(layered):
    deep = layered.copy()
    deep[-3:] = 4600  # fast enough for a shorter time step; its reflection comes after these samples
    own, given = (misfit(shots(layered, SPACING, steps=150, top_speed=top),
                         shots(deep, SPACING, steps=150, top_speed=top))[0] for top in (None, 4600))  # fmt: skip
    assert given < 1e-5 < own


# What cannot be modelled


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "finite"), (np.inf, "finite"), (0, "above 0"), (-1500, "above 0"), (1e300, "finite"),
        (1e6, "in m/s"), (1.5, "cells of 0.02 m or less"),
    ],
)  # fmt: skip
def test_speeds_that_no_wave_has(value, message):
    v = np.full((8, 9), 2000.0)
    v[3, 4] = value
    with pytest.raises(DataError, match=message):
        shots(v, SPACING, steps=10)


def test_a_grid_too_coarse_for_the_wavelength():
    with pytest.raises(DataError, match="need cells of 20 m or less, and these have 25 m"):
        shots(np.full((8, 9), 1500), (25.0, 10.0), steps=10)


@pytest.mark.parametrize("spacing", [(0.0, 10.0), (10.0, -1.0), (np.nan, 10.0)])
def test_spacings_that_cannot_be(spacing):
    with pytest.raises(UsageError, match="spacing"):
        shots(np.full((8, 9), 2000), spacing, steps=10)


@pytest.mark.parametrize("shape", [(9,), (1, 9), (2, 2, 8, 9)])
def test_arrays_that_are_no_maps(shape):
    with pytest.raises(UsageError, match="maps must be"):
        shots(np.full(shape, 2000), SPACING, steps=10)


# verify --waveform


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with six small maps, and files of them: latents only, and exact."""
    folder = tmp_path_factory.mktemp("made")
    maps = synth.generate("CurveVel_A", 6, 70, seed=3)[:, :16, :20]
    np.save(folder / "maps.npy", maps[:, None])
    velcodec.compress(maps[:, None], folder / "latent.vlz", latent_only=True, effort=0)
    velcodec.compress(maps[:, None], folder / "exact.vlz", lossless=True)
    velcodec.compress(maps[:1, None], folder / "km.vlz", lossless=True, units="km/s")
    return folder


@pytest.fixture
def short(monkeypatch) -> None:
    """Records of fewer samples, so that tests are quick."""
    monkeypatch.setitem(shots.__kwdefaults__, "steps", 200)


def test_verify_states_the_misfit_beside_psnr(short, made):
    text = good("verify", made / "latent.vlz", "--against", made / "maps.npy", "--waveform")
    maps, restored = np.load(made / "maps.npy")[:4], velcodec.decompress(made / "latent.vlz")[:4]
    psnr, found = metrics.psnr(maps, restored), []
    for v, r in zip(maps, restored, strict=True):
        top = float(max(v.max(), r.max()))
        found += misfit(*(shots(a, SPACING, top_speed=top) for a in (v, r))).tolist()
    assert f"waveforms of 4 maps: relative misfit mean {np.mean(found):.4f}" in text
    assert f"worst {max(found):.4f} (map {np.argmax(found)})" in text
    for i in range(4):
        assert f"map {i}: misfit {found[i]:.4f}, {psnr[i]:.1f} dB, SSIM " in text
    assert text.endswith("every map keeps what the file states\n")


def test_exact_maps_have_no_misfit(short, made):
    options = ["--waveform", "--waveform-maps", "4::-3"]
    text = good("verify", made / "exact.vlz", "--against", made / "maps.npy", *options)
    assert "waveforms of 2 maps: relative misfit mean 0.0000, worst 0.0000 (map 4)" in text
    assert "map 1: misfit 0.0000, exact" in text


def test_picture(short, made, tmp_path):
    target = tmp_path / "o.png"
    options = ["--waveform", "--waveform-maps", "1:3", "--waveform-picture", target]
    assert str(target) in good("verify", made / "latent.vlz", "--against", made / "maps.npy", *options)
    assert target.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert files(tmp_path) == ["o.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--waveform"], "name it with --against"),
        (["--against", "maps.npy", "--waveform-maps", "0:2"], "go with --waveform"),
        (["--against", "maps.npy", "--waveform-picture", "o.png"], "go with --waveform"),
        (["--against", "maps.npy", "--waveform", "--waveform-picture", "o.npy"], "not the name of a picture"),
        (["--against", "maps.npy", "--waveform", "--waveform-maps", "9:"], "--waveform-maps chooses none"),
    ],
)
def test_wrong_use(made, monkeypatch, options, message):
    monkeypatch.chdir(made)
    assert message in bad("verify", "latent.vlz", *options)


def test_other_units_are_refused(made):
    assert "'km/s'" in bad("verify", made / "km.vlz", "--against", made / "maps.npy", "--waveform")


def test_a_map_that_no_wave_crosses_is_named(made, tmp_path):
    maps = np.load(made / "maps.npy")
    maps[1, 0, 3, 3] = np.nan
    np.save(tmp_path / "v.npy", maps)
    velcodec.compress(maps, tmp_path / "v.vlz", lossless=True)
    options = ["--waveform", "--waveform-maps", "1:3"]
    line = bad("verify", tmp_path / "v.vlz", "--against", tmp_path / "v.npy", *options)
    assert "map 1: waves need speeds that are finite" in line


def test_without_deepwave_the_extra_is_named(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "deepwave", None)
    line = bad("verify", made / "latent.vlz", "--against", made / "maps.npy", "--waveform")
    assert "pip install 'velcodec[waveform]'" in line
    good("verify", made / "latent.vlz", "--against", made / "maps.npy")

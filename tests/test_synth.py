"""Synthetic velocity models: what every family promises, and statistics against real shards if any."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.fft import dctn

from velcodec.errors import UsageError
from velcodec.synth import FAMILIES, canonical, generate

from .conftest import real_maps

INTEGER = [f for f in FAMILIES if "Vel" in f or f.endswith("Fault_B")]


def curve_facts(maps: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Step quantiles (m/s), median peak-to-peak (cells), mean amplitude of harmonics 1-5 (cells)."""
    steps, peaks, harmonics = [], [], []
    for m in maps:
        values = np.unique(m)
        steps.extend(np.diff(values))
        for v in values[:-1]:
            line = (m <= v).sum(axis=0)
            if line.min() > 0 and line.max() < 70:
                peaks.append(np.ptp(line))
                harmonics.append(2 / 70 * np.abs(np.fft.rfft(line - line.mean())[1:6]))
    return np.percentile(steps, [25, 50, 75]), float(np.median(peaks)), np.mean(harmonics, axis=0)


def texture_facts(maps: np.ndarray) -> dict[str, float]:
    """Correlation of neighbours once row means are off, and what a map's 256 lowest cosine coefficients leave, dB."""
    maps = maps.astype(np.float64)
    d = maps - maps.mean(axis=2, keepdims=True)
    wave = np.hypot(*np.meshgrid(np.arange(70), np.arange(70))).ravel()
    power = dctn(maps, axes=(1, 2), norm="ortho").reshape(len(maps), -1) ** 2
    left = power[:, np.argsort(wave, kind="stable")[256:]].sum(axis=1) / 4900 / np.ptp(maps, axis=(1, 2)) ** 2
    return {
        "across": float((d[:, :, 1:] * d[:, :, :-1]).mean() / (d**2).mean()),
        "down": float((d[:, 1:] * d[:, :-1]).mean() / (d**2).mean()),
        "lowest 256": float(-10 * np.log10(left).mean()),
        "spread": float((maps.std(axis=(1, 2)) / np.ptp(maps, axis=(1, 2))).mean()),
        "texture": float((d.std(axis=(1, 2)) / np.ptp(maps, axis=(1, 2))).mean()),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_shape_dtype_range_and_determinism(family: str) -> None:
    maps = generate(family, 4, (40, 70), seed=3)
    assert maps.shape == (4, 40, 70) and maps.dtype == np.float32
    assert maps.min() >= 1500 and maps.max() <= 4500
    assert np.array_equal(maps, generate(family, 4, (40, 70), seed=3))
    assert not np.array_equal(maps, generate(family, 4, (40, 70), seed=4))
    assert np.array_equal(maps[2:], generate(family, 2, (40, 70), seed=3, first=2))
    assert generate(family, 0).shape == (0, 70, 70)


@pytest.mark.parametrize("family", FAMILIES)
def test_same_geology_at_three_times_the_resolution(family: str) -> None:
    fine = generate(family, 4, 210, seed=1)[:, 1::3, 1::3]
    coarse = generate(family, 4, 70, seed=1)
    # A sum of many cosines may end on another last bit of a float32 on another grid.
    assert np.abs(fine - coarse).max() <= (1e-3 if "Style" in family else 0)


@pytest.mark.parametrize("family", INTEGER)
def test_integer_families(family: str) -> None:
    maps = generate(family, 20, 55)
    assert np.array_equal(maps, np.round(maps))


def test_flatvel_rows_are_constant_and_neighbours_differ() -> None:
    for family in ("FlatVel_A", "FlatVel_B"):
        assert np.ptp(generate(family, 50), axis=2).max() == 0
    counts = {len(np.unique(m)) for m in generate("FlatVel_B", 300)}
    assert counts <= set(range(2, 9)) and len(counts) > 4


def test_velocity_order() -> None:
    for family in ("FlatVel_A", "CurveVel_A"):
        assert np.diff(generate(family, 50), axis=1).min() >= 0
    for family in ("FlatVel_B", "CurveVel_B"):
        assert np.diff(generate(family, 50), axis=1).min() < 0


def test_fault_b_has_twelve_values() -> None:
    for family in ("FlatFault_B", "CurveFault_B"):
        assert np.mean([len(np.unique(m)) == 12 for m in generate(family, 40)]) > 0.9


def test_flatfault_a_edges() -> None:
    hits = 0
    for m in generate("FlatFault_A", 60):
        values, counts = np.unique(m, return_counts=True)
        plateaus = np.sort(values[np.argsort(counts)[-4:]])
        column = m[:, 0]
        for low, high in pairwise(plateaus):
            share = (column - low) / (high - low)
            inside = share[(share > 0.001) & (share < 0.999)]
            hits += inside.size == 2 and np.allclose(inside, [0.0535, 0.9465], atol=0.002)
    assert hits > 60  # most edges of the block that did not move


# As texture_facts gives them for five and seven real maps, read back from a picture.
STYLE_FACTS = {
    "Style_A": {"across": 0.978, "down": 0.991, "lowest 256": 49.1, "spread": 0.231, "texture": 0.095},
    "Style_B": {"across": 0.854, "down": 0.881, "lowest 256": 29.2, "spread": 0.242, "texture": 0.079},
}
WITHIN = {"across": 0.04, "down": 0.04, "lowest 256": 2.0, "spread": 0.03, "texture": 0.015}


@pytest.mark.parametrize("family", STYLE_FACTS)
def test_style_texture(family: str) -> None:
    ours, theirs = texture_facts(generate(family, 60, seed=8)), STYLE_FACTS[family]
    assert {k: v for k, v in ours.items() if abs(v - theirs[k]) > WITHIN[k]} == {}


def test_names() -> None:
    assert canonical("flatvel-a") == "FlatVel_A" and canonical("STYLE_B") == "Style_B"
    with pytest.raises(UsageError, match="CurveFault_B"):
        canonical("FlatVel_C")
    with pytest.raises(UsageError):
        generate("FlatVel_A", -1)


def test_real_flatvel_layer_counts() -> None:
    def histogram(maps: np.ndarray) -> np.ndarray:
        return np.bincount([len(np.unique(m[:, 0])) for m in maps], minlength=10) / len(maps)

    assert (
        np.abs(
            histogram(real_maps("openfwi_flatvel_a_train", 2000)) - histogram(generate("FlatVel_A", 2000))
        ).max()
        < 0.04
    )


def test_real_curvevel_interfaces() -> None:
    theirs, ours = real_maps("openfwi_curvevel_a_train", 500), generate("CurveVel_A", 500)
    (step, peak, harmonic), (step2, peak2, harmonic2) = curve_facts(theirs), curve_facts(ours)
    assert np.allclose(step, step2, rtol=0.15)
    assert abs(peak - peak2) <= 3
    assert np.allclose(harmonic, harmonic2, rtol=0.25)
    counts, counts2 = ([len(np.unique(m)) for m in maps] for maps in (theirs, ours))
    assert abs(np.mean(counts) - np.mean(counts2)) < 0.4


def test_real_flatfault_samples() -> None:
    theirs, ours = real_maps("openfwi_flatfault_a_train", 400), generate("FlatFault_A", 400)
    assert abs(np.mean(theirs == np.round(theirs)) - np.mean(ours == np.round(ours))) < 0.07
    medians = [np.median([len(np.unique(m)) for m in maps]) for maps in (theirs, ours)]
    assert abs(medians[0] - medians[1]) < 80
    assert abs(float(theirs.mean()) - float(ours.mean())) < 120

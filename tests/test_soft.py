"""Layers with smoothed edges: the drawing is what OpenFWI's shards show, and the search finds layers it drew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import velcodec
from velcodec import container, layers, metrics, soft, soft_fit, synth
from velcodec.layers import Layered
from velcodec.soft import Soft

from .conftest import real_maps

SMOOTHED = ["FlatFault_A", "CurveFault_A"]


def wavy(down: int, across: int, width: int = 30) -> Layered:
    """Three layers, 40 cells deep, in parts of a cell."""
    x = np.arange(width * across) / across
    depths = np.stack([12 + 3 * np.sin(x / 5), 25 + 2 * np.cos(x / 4) + 5.0 * (x > 17)])
    return Layered(np.array([1500.0, 2600.0, 4100.0]), np.round(depths * down).astype(np.int64))


def test_a_flat_edge_reads_as_the_shards_do() -> None:
    edge = Layered(np.array([1000.0, 2000.0]), np.full((1, 8), 5, dtype=np.int64))
    column = soft.draw(Soft(edge, (1, 1)), 10)[:, 3]
    share = (column - 1000) / 1000
    np.testing.assert_allclose(share[3:7], [0, 0.0535, 0.9465, 1], atol=3e-4)
    assert np.ptp(soft.draw(Soft(edge, (1, 1)), 10), axis=1).max() < 1e-9


@pytest.mark.parametrize("parts", container.PARTS)
def test_parts_of_a_cell_draw_one_map(parts: tuple[int, int]) -> None:
    """Depths that whole cells have draw the same, whatever the parts; and all that is drawn lies in the range."""
    down, across = parts
    whole = wavy(1, 1)
    fine = Layered(whole.values, (whole.depths * down).repeat(across, axis=1))
    np.testing.assert_allclose(
        soft.draw(Soft(fine, parts), 40), soft.draw(Soft(whole, (1, 1)), 40), atol=1e-9
    )
    drawn = soft.draw(Soft(wavy(down, across), parts), 40)
    assert drawn.shape == (40, 30) and drawn.min() >= 1500 - 1e-9 and drawn.max() <= 4100 + 1e-9


@pytest.mark.parametrize("parts", container.PARTS[:4])
def test_the_search_finds_what_was_drawn(parts: tuple[int, int]) -> None:
    m = soft.draw(Soft(wavy(*parts), parts), 40)
    rms = 2600 * 10 ** (-45 / 20)
    best = min(
        (
            soft_fit.cheapest(m, start, m.size * rms**2, container.PARTS)
            for start in soft_fit.outlines(m.round(6))
        ),
        key=lambda found: found[1] if found else np.inf,
    )
    assert best is not None
    found, bits = best
    assert np.sqrt(np.mean((soft.draw(found, 40) - m) ** 2)) <= rms + 1e-6
    assert 0 < bits < 2000


def test_a_dearer_bit_is_a_smoother_line() -> None:
    m = synth.generate("CurveFault_A", 1, 70, seed=5)[0].astype(np.float64)
    start = soft_fit.outlines(m)[0]
    tight, loose = (
        soft_fit.cheapest(m, start, m.size * np.ptp(m) ** 2 * 10**-p, container.PARTS) for p in (3.4, 2.6)
    )
    assert tight is not None and loose is not None and loose[1] < tight[1]


def test_maps_without_layers_have_no_outline() -> None:
    rng = np.random.default_rng(0)
    assert soft_fit.outlines(rng.normal(size=(30, 30))) == []
    assert soft_fit.outlines(np.zeros((30, 30))) == []
    assert soft_fit.outlines(rng.integers(0, 2, (30, 30)).repeat(3, 0).repeat(3, 1).astype(float)) == []


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=6), st.randoms())
@settings(max_examples=60, deadline=None)
def test_any_columns_of_few_layers_have_an_order(runs: list[list[int]], random: object) -> None:
    """Whatever the columns, the layers found draw the very labels."""
    labels = np.zeros((12, len(runs)), dtype=np.int64)
    for x, run in enumerate(runs):
        labels[:, x] = np.array(run)[np.arange(12) * len(run) // 12]
    found = soft_fit._in_order(np.arange(5.0), labels)
    if found is not None:
        assert np.array_equal(layers.draw(found, 12), labels)
        assert (np.diff(found.depths, axis=0) >= 0).all()


@pytest.mark.parametrize("family", SMOOTHED)
def test_smoothed_faults_keep_the_psnr_in_fewer_bytes(family: str, tmp_path: Path) -> None:
    maps = synth.generate(family, 12, 70, seed=77)
    path = tmp_path / "a.vlz"
    velcodec.compress(maps, path, psnr=33, effort=2)  # from effort 3 on most are cheaper as latents
    with velcodec.open(path) as archive:
        modes = list(archive.quality.mode)
        fine = archive.read(shape=(280, 280))
        back = archive.read()
    assert set(modes) <= {"layered-soft", "latent-entropy"}  # fills are cheaper as latents
    assert modes.count("layered-soft") >= 6
    assert metrics.psnr(maps, back).min() >= 33
    truth = synth.generate(family, 12, 280, seed=77)
    blocky = back.repeat(4, axis=1).repeat(4, axis=2)
    soft_rows = [i for i, mode in enumerate(modes) if mode == "layered-soft"]
    ours, nearest = (((v - truth)[soft_rows] ** 2).mean() for v in (fine, blocky))
    assert ours < nearest
    assert path.stat().st_size / 12 < 60


def test_real_faults_are_soft_layers(tmp_path: Path) -> None:
    maps = real_maps("openfwi_flatfault_a_dev", 20)
    velcodec.compress(maps, tmp_path / "a.vlz", psnr=35)
    back = np.asarray(velcodec.decompress(tmp_path / "a.vlz"))
    assert metrics.psnr(maps, back).min() >= 35
    assert (tmp_path / "a.vlz").stat().st_size / 20 < 50

"""Patches over what layers and faults leave wrong: found, told, drawn, searched for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from velcodec import faulted_fit, metrics, patches, synth
from velcodec.codebook import load_codebook
from velcodec.decoders import faulted, trapezia
from velcodec.fit import fit_latents
from velcodec.grid import centres, make_grid
from velcodec.synthesis import sample
from velcodec.training_data import CENTRE, SCALE, normalise

CPU = torch.device("cpu")
CRISP = faulted.WIDTH
DECODER = faulted.FaultedDecoder(waves=8, patches=12)


def torn(family: str, count: int, seed: int) -> NDArray[np.float32]:
    """Normalised maps (n, 70, 70) of which a wedge is moved, as no layers and three faults tell them."""
    maps = normalise(synth.generate(family, count, seed=seed)).numpy()
    z, x = np.mgrid[:70, :70]
    wedge = (x - 0.6 * z > 8) & (x + 0.8 * z < 75)
    return np.where(wedge, np.roll(maps, (9, -6), (1, 2)), maps)


def flat(*drawn: tuple[int, ...]) -> NDArray[np.float64]:
    """A map of two layers with trapezia (numbers of a patch) over it."""
    v = np.where(np.arange(70)[:, None] < 30, -0.5, 0.3) * np.ones((70, 70))
    for numbers in drawn:
        share = patches.cover(np.array(numbers), CRISP, 1.0, 70)
        v += share * (numbers[trapezia.VALUE] * faulted.VELOCITY - v)
    return v


def test_trapezia_are_found_as_they_are() -> None:
    """Upright, turned, a triangle, one that reaches past the map."""
    made = [
        (12, 20, 5, 8, 3, 4, 30),
        (-15, 50, 40, 6, 10, -5, -20),
        (9, 2, 45, 0, 9, 0, 40),
        (20, 60, 8, 5, 5, 3, 10),
    ]
    v = flat(*made)
    found = list(patches.found(v, flat(), CRISP, 1.0, 12))
    assert found[4].error < 0.02 * ((v - flat()) ** 2).sum()
    assert (np.diff([patch.error for patch in found]) < 0).all()


def test_nothing_wrong_takes_no_patches() -> None:
    assert list(patches.found(flat(), flat(), CRISP, 1.0, 12)) == []
    assert list(patches.found(flat(), flat() + 1e-3, CRISP, 1.0, 12)) == []


def drawn(told: NDArray[np.int64]) -> NDArray[np.float64]:
    """Two layers with the patches that a latent tells."""
    rows = told.reshape(-1, trapezia.PATCH).copy()
    rows[:, trapezia.ACROSS] = np.cumsum(rows[:, trapezia.ACROSS])
    return flat(*map(tuple, rows[rows[:, trapezia.LENGTH] != 0]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-30, 60)] * 7), max_size=8))
def test_told_from_left_they_draw_the_same(rows: list[tuple[int, ...]]) -> None:
    rows = [row for row in rows if row[trapezia.LENGTH]]
    given_ = [patches.Patch(np.array(row), patches.cover(np.array(row), CRISP, 1.0, 70), 0.0) for row in rows]
    told = patches.as_told(patches.in_order(given_), 10)
    assert told.shape == (70,) and not told[7 * len(rows) :].any()
    np.testing.assert_allclose(
        drawn(told), flat(*rows), atol=0.1
    )  # of two that share less than a hundredth of a cell


@pytest.mark.parametrize("family", ["CurveVel_B", "CurveFault_B", "FlatFault_A"])
def test_a_map_with_patches_is_drawn_as_told(family: str) -> None:
    """The decoder leaves the error that is said, less with every patch; beside them the map is as told without."""
    axis = torch.from_numpy(centres(70))
    for v in torn(family, 3, 11):
        for told in faulted_fit.faulted_maps(v, DECODER)[:1]:
            for step in (0.5, 2.0):
                q, last = told.rounded(step), np.inf
                for more, error, beside in told.patched(q, step):
                    y = torch.from_numpy(more * step)[None]
                    off = DECODER.grid(y, axis, axis)[0].numpy() - told.v
                    assert (off**2).sum() == pytest.approx(error, rel=1e-2, abs=1e-3)  # soft edges overlap
                    assert error < last and (more[: DECODER.unit] == q[: DECODER.unit]).all()
                    rest, last = beside, error
                assert rest.error(q, step) < told.error(q, step)


def test_a_decoder_without_patches_has_none() -> None:
    v = torn("CurveFault_B", 1, 12)[0]
    told = faulted_fit.faulted_maps(v, faulted.FaultedDecoder(waves=8))[0]
    assert list(told.patched(told.rounded(1.0), 1.0)) == []


def test_patches_of_no_unit_draw_nothing() -> None:
    """A hostile latent: no number that is not finite comes of it."""
    axis = torch.from_numpy(centres(70))
    y = torch.ones(1, DECODER.latent)
    y[:, DECODER.unit] = 0
    assert torch.isfinite(DECODER.grid(y, axis, axis)).all()


def test_patches_are_differentiable() -> None:
    axis = torch.from_numpy(centres(20))
    y = torch.zeros(1, DECODER.latent, dtype=torch.double)
    y[0, faulted.SOFT], y[0, DECODER.unit] = 40, 16
    y[0, DECODER.unit + 1 :][:7] = torch.tensor([20.0, 10, 10, 15, 25, 5, 30])
    y.requires_grad_(True)
    (gradient,) = torch.autograd.grad(DECODER.grid(y, axis, axis).square().sum(), [y])
    assert torch.isfinite(gradient).all() and (gradient[0, DECODER.unit + 1 :][:7] != 0).all()


@pytest.mark.parametrize("family", ["CurveVel_B", "CurveFault_B", "CurveFault_A"])
def test_latents_of_torn_maps_come_nearer(family: str) -> None:
    """Than with the codebook before, which had no patches."""
    maps, mean = torn(family, 6, 13), {}
    for name in ("openfwi-2d-v3", None):
        book = load_codebook(name)
        fit = fit_latents(maps, book, CPU, 3, psnr=np.full(len(maps), 33.0))
        restored = sample(book, fit.rounded(book)[1], make_grid((70, 70)), CPU)
        mean[book.id] = metrics.psnr(maps * SCALE + CENTRE, restored * SCALE + CENTRE).mean()
    assert mean["openfwi-2d-v5"] > mean["openfwi-2d-v3"] + 2


@pytest.mark.parametrize("goal", [None, 40.0])
def test_flat_layers_with_a_lens_take_patches(goal: float | None) -> None:
    """Though layers alone come so far from them that the coarsest step, which has no tables for patches, looks best."""
    v = np.where(np.arange(70)[:, None] > 30, 0.0, -0.667) * np.ones((70, 70))
    v[10, 20], v[40:50, 30:55] = -0.2, 0.667
    book, maps = load_codebook(), np.repeat(v[None], 2, 0).astype(np.float32)
    fit = fit_latents(maps, book, CPU, 3, psnr=None if goal is None else np.full(2, goal))
    assert np.isin(fit.table, book.patched_tables).all()
    _, latents, size = fit.rounded(book)
    restored = sample(book, latents, make_grid((70, 70)), CPU)
    assert metrics.psnr(maps * SCALE + CENTRE, restored * SCALE + CENTRE).min() > 40
    assert size.max() < 90


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(*[st.integers(-60, 120)] * 7), max_size=4), min_size=1, max_size=5), st.data()
)
def test_on_a_grid_patches_are_as_at_points(maps: list[list[tuple[int, ...]]], data: st.DataObject) -> None:
    """Within windows of their own, whatever grid, whatever reaches out of it, sharp edges or soft; gradients too."""
    numbers = torch.zeros(len(maps), 4, trapezia.PATCH, dtype=torch.double)
    for b, told in enumerate(maps):
        for i, one in enumerate(told):
            numbers[b, i] = torch.tensor(one)
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    x, z = ((torch.arange(n) + 0.5) * (70 / n) for n in (width, height))
    edges = torch.full((len(maps), 1), data.draw(st.sampled_from([0.02, 0.5, 3.0])), dtype=torch.double)
    at = [axis.flatten().expand(len(maps), -1).double() for axis in torch.meshgrid(x, z, indexing="xy")]
    drawn, slopes = [], []
    for grid in (True, False):
        leaf = numbers.clone().requires_grad_()
        shape = (height, width) if grid else (height * width,)
        before = 0 * leaf.sum() + torch.zeros(len(maps), *shape, dtype=torch.double)
        axes = (x[None, None].double(), z[None, :, None].double()) if grid else (at[0], at[1])
        values = trapezia.draw_trapezia(before, leaf, *axes, edges[:, :, None] if grid else edges, 0.02)
        (values**2).sum().backward()
        drawn.append(values.detach().reshape(len(maps), -1))
        assert leaf.grad is not None
        slopes.append(leaf.grad)
    torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-4, atol=1e-3)

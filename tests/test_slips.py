"""Slips of the stacks of B families: drawn, counted, found, searched for."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from velcodec import (
    fault_growth,
    fault_lines,
    faulted_fit,
    faulted_search,
    faults,
    metrics,
    plateaus,
    slip_growth,
    slip_tables,
    slips,
    synth,
)
from velcodec.codebook import load_codebook
from velcodec.decoders import faulted
from velcodec.faulted_drawing import target_of
from velcodec.faults import cells_beyond
from velcodec.fit import fit_latents
from velcodec.grid import centres, make_grid
from velcodec.synthesis import sample
from velcodec.told import basis, tables_of
from velcodec.training_data import CENTRE, SCALE, normalise

CPU = torch.device("cpu")
DECODER = faulted.FaultedDecoder(waves=8, patches=2, slips=4)
FAMILIES = ("FlatFault_B", "CurveFault_B")


def two_stacks(*slipped: tuple[float, float, int, int, int]) -> NDArray[np.float64]:
    """Two folded stacks of three layers, left and right of the middle, with slips as Faults has them: a latent (N,)."""
    y = np.zeros(DECODER.latent)
    y[faulted.TWO] = 1
    for stack, velocities in enumerate(((-0.6, 0.5, 0.4), (-0.9, 0.55, 0.9))):
        first = faulted.HEAD + stack * DECODER.stack
        y[first : first + 3] = np.array(velocities) / faulted.VELOCITY
        y[first + DECODER.layers :][:2] = np.array([22.0, 15.0]) / faulted.DEPTH
        y[first + 2 * DECODER.layers - 1 + 2] = 40.0 * (-1) ** stack  # one long wave, of the first interface
    y[DECODER.unit] = 1 / faulted.FINEST
    for j, (angle, offset, across, down, whose) in enumerate(slipped):
        told = angle / faulted.ANGLE, offset / faulted.DEPTH, across, down, whose
        y[DECODER.slip + faulted.SLIP * j :][: faulted.SLIP] = told
    return y


def drawn(y: NDArray[np.float64], decoder: faulted.FaultedDecoder = DECODER) -> NDArray[np.float64]:
    axis = torch.from_numpy(centres(70))
    return decoder.grid(torch.from_numpy(y)[None], axis, axis)[0].numpy()


SLIPPED = [(0.4, -8.0, 6, -9, -1), (-0.3, 12.0, -9, 13, 1), (0.1, -20.0, 5, 12, -1)]


def test_a_slip_moves_rock_as_pixels_would_be_moved() -> None:
    """The last slip of a stack comes first; what comes in at a side is like the border; line 0 is whole."""
    stacks = []
    for side in (0, 1):
        y = two_stacks()
        y[faulted.OFFSET_0] = (80 if side == 0 else -80) / faulted.DEPTH  # one stack alone
        tall = drawn(y)
        for angle, offset, across, down, whose in reversed(SLIPPED):
            if (whose > 0) != (side == 1):
                continue
            z, x = np.mgrid[:70, :70]
            beyond = cells_beyond(np.array([angle, offset])) > 0
            from_z = np.clip(z - down, 0, 69)
            moved = tall[from_z, np.clip(x - across, 0, 69)]
            tall = np.where(beyond, moved, tall)
        stacks.append(tall)
    expected = np.where(np.arange(70) < 35, *stacks)
    got = drawn(two_stacks(*SLIPPED))
    inner = np.abs(got - expected)[15:-13]  # rows that nothing from over or under the map comes into
    assert (inner > 0.05).mean() < 0.005  # cells that an interface passes through the middle of
    assert (np.abs(drawn(two_stacks()) - expected)[15:-13] > 0.05).mean() > 0.1


def test_slips_are_the_same_by_points_as_by_the_grid() -> None:
    y = torch.from_numpy(np.stack([two_stacks(), two_stacks(*SLIPPED), two_stacks(SLIPPED[1])]))
    axis = torch.from_numpy(centres(23))
    grid = DECODER.grid(y, axis, axis).numpy()
    z, x = torch.meshgrid(axis, axis, indexing="ij")
    points = DECODER(y, torch.stack([x, z], -1).reshape(-1, 2)).reshape(grid.shape)
    np.testing.assert_allclose(points.numpy(), grid, atol=1e-6)
    alone = np.stack([DECODER.grid(one[None], axis, axis)[0].numpy() for one in y])
    np.testing.assert_array_equal(alone, grid)


def test_maps_of_one_stack_have_no_slips() -> None:
    y, plain = two_stacks(*SLIPPED), two_stacks()
    y[faulted.TWO] = plain[faulted.TWO] = -1
    np.testing.assert_array_equal(drawn(y), drawn(plain))


@pytest.mark.parametrize("slipped", [(), SLIPPED[:1], SLIPPED])
def test_the_search_counts_what_is_drawn(slipped: list[tuple[float, float, int, int, int]]) -> None:
    """Led back, cells are counted in runs; near line 0 the decoder is a little softer."""
    rng = np.random.default_rng(1)
    y = two_stacks(*slipped, (1.0, 30.0, 2, 2, 1))
    v = drawn(y) + rng.normal(0, 0.1, (70, 70))
    counted = faulted_search.error_of(y, slips.target_of(y, v, DECODER), basis(70, DECODER.waves), 8)
    assert counted == pytest.approx(((drawn(y) - v) ** 2).sum(), rel=0.01)


@pytest.mark.parametrize("slipped", [(0.2, 3.0, 0, 0, 1), SLIPPED[0], SLIPPED[1]])
def test_the_search_draws_as_the_decoder_does(slipped: tuple[float, float, int, int, int]) -> None:
    """Where line 0 goes through the middle of cells, too."""
    y = two_stacks(slipped)
    y[faulted.ANGLE_0], y[faulted.OFFSET_0] = 0.3 / faulted.ANGLE, 0.45 / faulted.DEPTH
    quick = slips.drawn_of(y, basis(70, DECODER.waves), DECODER)
    np.testing.assert_allclose(quick, drawn(y), atol=0.01)  # edges end where they are 0.007
    assert np.ptp(quick) > 1


@pytest.mark.parametrize("family", ["FlatFault_B", "CurveFault_B", "FlatFault_A"])
@pytest.mark.parametrize("step", [0.5, 2.0])
def test_half_as_large_steps_tell_the_same(family: str, step: float) -> None:
    """Lines, layers, flags, slips and their unit: every cell."""
    own = load_codebook().decoder.faulted  # type: ignore[union-attr]
    some = 0
    for v in normalise(synth.generate(family, 3, seed=24)).numpy():
        for told in faulted_fit.faulted_maps(v, own, hasty=True)[:1]:
            q = told.rounded(step)
            np.testing.assert_allclose(
                drawn(told.halved(q, step) * (step / 2), own), drawn(q * step, own), atol=1e-9
            )
            some += 1
            assert slips.are_told(q, own) == (family != "FlatFault_A")
    assert some


@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_moves_lines_and_slips_too(family: str) -> None:
    """And what it says that it leaves is the error of what it leaves."""
    book = load_codebook()
    own = book.decoder.faulted  # type: ignore[union-attr]
    assert isinstance(own, faulted.FaultedDecoder)
    sets = [tables_of(book.prior, t, slice(1, 1 + own.latent)) for t in book.faulted_tables]
    moved = 0
    for v in normalise(synth.generate(family, 4, seed=21)).numpy():
        told = faulted_fit.faulted_maps(v, own, hasty=True)[0]
        q = told.rounded(0.5)
        tables = min((one for one in sets if one.step == 0.5), key=lambda one: one.total(told.rounded(0.5)))
        before, start = told.searched(q.copy(), tables, 0, 0.0, 0.0), q.copy()
        error = told.searched(q, tables, 4, 0.0, 0.0)
        assert error < before
        assert error == pytest.approx(told.error(q, 0.5), rel=1e-6)
        assert error == pytest.approx(((drawn(q * 0.5, own) - v) ** 2).sum(), rel=0.05, abs=0.5)  # near lines
        moved += int((q[own.slip :] != start[own.slip :]).sum())
    assert moved > 2


def a_map(slipped: list[tuple[float, float, int, int, int]]) -> NDArray[np.float64]:
    """A map of plateaus: what `two_stacks` tells, with every cell of one velocity."""
    y = two_stacks(*slipped)
    levels = np.concatenate(
        [np.cumsum(y[first:][:3]) for first in (faulted.HEAD, faulted.HEAD + DECODER.stack)]
    )
    levels = np.sort(levels * faulted.VELOCITY)
    v = drawn(y)
    return np.asarray(levels[np.abs(v[..., None] - levels).argmin(-1)])


@pytest.mark.parametrize("slipped", [SLIPPED[:1], SLIPPED[1:2], SLIPPED[:2]])
def test_slips_are_found(slipped: list[tuple[float, float, int, int, int]]) -> None:
    """In haste what leaves less than half of the error, else what is as good as those that there are."""
    v = a_map(slipped)
    values, labels = np.unique(v, return_inverse=True)
    labels = labels.reshape(v.shape)
    p = plateaus.Plateaus(v, values, labels, False)

    def error(f: faults.Faults) -> float:
        told = faulted_fit.FaultedMap(p, f, DECODER, False)
        return told.error(told.rounded(0.25), 0.25)

    line = fault_lines.settled(labels, np.array([0.0, 0.0]))
    hasty, patient = (
        slip_growth.with_slips(values, labels, line, 8, pains)
        for pains in (slip_growth.HASTY, slip_growth.PATIENT)
    )
    assert hasty.parallel and patient.parallel
    true, none = (dataclasses.replace(patient, slips=np.array(s).reshape(-1, 5)) for s in (slipped, []))
    assert error(hasty) < 0.5 * error(none)
    assert error(patient) < 1.3 * error(true)


def test_stacks_whose_velocities_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps of 300 m/s many layers of both stacks are of one velocity, as in a picture: no line parts those then."""
    maps = normalise(300 * np.round(synth.generate("CurveFault_B", 10, seed=31) / 300)).numpy()
    book = load_codebook()
    own = book.decoder.faulted  # type: ignore[union-attr]
    left = []
    for poor in (fault_growth.POOR, np.inf):
        monkeypatch.setattr(fault_growth, "POOR", poor)
        told = [faulted_fit.faulted_maps(v, own, hasty=True)[0] for v in maps]
        left.append(sum(one.error(one.rounded(0.25), 0.25) for one in told))
    assert left[0] < 0.6 * left[1]


def test_whole_stacks_have_no_slips() -> None:
    v = a_map([])
    values, labels = np.unique(v, return_inverse=True)
    f = slip_growth.with_slips(values, labels.reshape(v.shape), np.array([0.0, 0.0]), 8, slip_growth.HASTY)
    assert len(f.slips) == 0
    assert f.fold.all()


def test_maps_of_the_b_families_are_told_in_fewer_bytes_than_without_slips() -> None:
    """The codebook before has none: at a PSNR that both reach."""
    maps = np.concatenate([synth.generate(family, 4, seed=22) for family in FAMILIES])
    normal = normalise(maps).numpy()
    sizes = []
    for name in ("openfwi-2d-v5", "openfwi-2d-v4"):
        book = load_codebook(name)
        fit = fit_latents(normal, book, CPU, 3, psnr=np.full(len(maps), 30.0))
        _, latents, size = fit.rounded(book)
        copy = sample(book, latents, make_grid((70, 70)), CPU) * SCALE + CENTRE
        assert metrics.psnr(maps, copy.astype(np.float32)).min() >= 29.9
        sizes.append(size.sum())
    assert sizes[0] < 0.75 * sizes[1]


def test_values_of_maps_with_slips_have_gradients() -> None:
    """Finite ones everywhere."""
    book = load_codebook("openfwi-2d-v5")
    normal = normalise(synth.generate("CurveFault_B", 1, seed=22)).numpy()
    fit = fit_latents(normal, book, CPU, 3)
    latent = torch.from_numpy(fit.rounded(book)[1])
    part = book.decoder.faulted  # type: ignore[union-attr]
    assert isinstance(part, faulted.FaultedDecoder)
    assert (latent[0, 1 + part.slip + faulted.S_WHOSE :: faulted.SLIP] != 0).any()
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (500, 2))).requires_grad_()
    value = book.decoder(latent, points)
    value.sum().backward()
    assert points.grad is not None and bool(torch.isfinite(points.grad).all())


def test_targets_of_maps_without_slips_have_no_counts() -> None:
    assert target_of(np.zeros((70, 70))).counts.shape == (0, 1)


def test_tables_of_slips_reach_everywhere() -> None:
    """Whatever training maps had; a slip that they have in half of the cases is none as often."""
    rng = np.random.default_rng(5)
    q = np.zeros((200, DECODER.latent), np.int64)
    told = q[:, DECODER.slip :].reshape(200, DECODER.slips, faulted.SLIP)
    told[:100, 0] = rng.integers(1, 30, (100, faulted.SLIP))
    told[:100, 0, faulted.S_WHOSE] = -1
    told[:50, 1] = rng.integers(1, 30, (50, faulted.SLIP))
    told[:50, 1, faulted.S_WHOSE] = 1
    masses = slip_tables.masses(q, DECODER, 0.5, 1.0)
    assert sorted(masses) == list(range(DECODER.slip, DECODER.latent))
    reach = {
        faulted.S_ANGLE: np.pi / faulted.ANGLE / 0.5,
        faulted.S_OFFSET: 45 / faulted.DEPTH / 0.5,
        faulted.S_ACROSS: 30,
        faulted.S_DOWN: 36,
        faulted.S_WHOSE: 1,
    }
    for i, (low, mass) in masses.items():
        j, k = divmod(i - DECODER.slip, faulted.SLIP)
        assert low <= -reach[k] and low + len(mass) - 1 >= reach[k]
        assert (mass[[0, -1]] > 0).all()
        share = 0.375 if j < 2 else slip_tables.LEAST
        if k == faulted.S_WHOSE:
            np.testing.assert_allclose(mass[1] / mass.sum(), 1 - share)
        else:
            assert mass[-low] / mass.sum() >= 1 - share
    for k in range(faulted.SLIP):
        np.testing.assert_array_equal(masses[DECODER.slip + k][1], masses[DECODER.slip + faulted.SLIP + k][1])


def test_on_a_finer_grid_b_families_come_nearer_than_any_neighbour() -> None:
    """No cell shows where within a cell an interface lies: in the middle of where it may be."""
    book = load_codebook()
    maps, truth = (synth.generate("FlatFault_B", 6, size, seed=23) for size in (70, 280))
    latents = fit_latents(normalise(maps).numpy(), book, CPU, 3).rounded(book)[1]
    fine = sample(book, latents, make_grid((280, 280)), CPU) * SCALE + CENTRE
    nearest = maps.repeat(4, 1).repeat(4, 2)
    off = [((copy - truth) ** 2).mean() for copy in (fine, nearest)]
    assert off[0] < 0.9 * off[1]

"""Maps told by their layers and faults: what is found in them, what is drawn, and what a search makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from velcodec import (
    faulted_fit,
    faulted_search,
    faulted_tables,
    faults,
    plateaus,
    prior,
    synth,
    told_tables,
    training_data,
)
from velcodec.choice_book import Smooth, with_faults, with_faults_of, with_parts
from velcodec.codebook import Codebook, load_codebook, save
from velcodec.decoders import faulted
from velcodec.faulted_drawing import target_of
from velcodec.fit import fit_latents
from velcodec.grid import centres, make_grid
from velcodec.synthesis import sample
from velcodec.told import basis, tables_of

CPU = torch.device("cpu")
DECODER = faulted.FaultedDecoder()
AXIS = torch.from_numpy(centres(70))
STACK = faulted.HEAD + DECODER.layers  # where the depths of the first stack begin


def normal(family: str, count: int, seed: int, shape: int = 70) -> NDArray[np.float32]:
    return training_data.normalise(synth.generate(family, count, shape, seed=seed)).numpy()


def drawn(y: NDArray[np.float64], size: int = 70) -> NDArray[np.float64]:
    axis = torch.from_numpy(centres(size))
    return DECODER.grid(torch.from_numpy(y)[None], axis, axis)[0].numpy()


def psnr_of(v: NDArray[np.float32], y: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.ptp(v) ** 2 / ((drawn(y) - v) ** 2).mean()))


def a_fault() -> NDArray[np.float64]:
    """Two layers, 0 above 0.4 from row 30 on; right of the middle both lie 8 cells deeper. Crisp."""
    y = np.zeros(DECODER.latent)
    y[faulted.TWO], y[faulted.LINE + 3], y[faulted.LINE + 7] = -1, -1, -1
    y[faulted.SHIFT] = 8 / faulted.DEPTH
    y[faulted.HEAD + 1] = 0.4 / faulted.VELOCITY
    y[STACK] = 30 / faulted.DEPTH
    return y


def test_a_fault_is_drawn_where_it_is() -> None:
    v = np.zeros((70, 70))
    v[30:, :35] = v[38:, 35:] = 0.4
    np.testing.assert_allclose(drawn(a_fault()), v, atol=1e-6)
    fine = np.repeat(np.repeat(v, 4, 0), 4, 1)
    np.testing.assert_allclose(drawn(a_fault(), 280), fine, atol=2e-3)


def test_walls_faults_stacks_and_fills() -> None:
    y = a_fault()
    y[[faulted.LINE, faulted.LINE + 1, faulted.LINE + 3]] = (
        0,
        20 / faulted.DEPTH,
        1,
    )  # a wall: only what is right of column 55 is shifted
    v = np.zeros((70, 70))
    v[30:, :55] = v[38:, 55:] = 0.4
    np.testing.assert_allclose(drawn(y), v, atol=1e-6)
    y[[faulted.LINE + 2, faulted.LINE + 3]] = 5 / faulted.DEPTH, -1  # a fault: there all is shifted by 5 more
    v[:] = 0
    v[30:, :35] = v[38:, 35:55] = v[43:, 55:] = 0.4
    np.testing.assert_allclose(drawn(y), v, atol=1e-6)
    y = a_fault()
    y[faulted.FILL_TOP], y[faulted.FILL_REACH] = 32 / faulted.DEPTH, 10 / faulted.DEPTH
    v[:] = 0
    v[30:, :35] = v[38:, 35:] = 0.4
    v[32:38, 35:45] = 0.2  # half of the step
    np.testing.assert_allclose(drawn(y), v, atol=1e-6)
    y = a_fault()
    y[faulted.TWO], second = 1, faulted.HEAD + DECODER.stack
    y[second], y[second + 1], y[second + DECODER.layers] = (
        0.8 / faulted.VELOCITY,
        -0.2 / faulted.VELOCITY,
        12 / faulted.DEPTH,
    )
    v[:] = 0
    v[30:, :35] = 0.4
    v[:20, 35:], v[20:, 35:] = 0.8, 0.6
    np.testing.assert_allclose(drawn(y), v, atol=1e-6)


def test_points_and_grids_agree_and_have_gradients() -> None:
    y = torch.from_numpy(a_fault())[None].float().requires_grad_()
    x, z = np.meshgrid(centres(9), centres(11))
    points = torch.from_numpy(np.stack([x.ravel(), z.ravel()], 1)).float()
    grid = DECODER.grid(y, torch.from_numpy(centres(11)), torch.from_numpy(centres(9)))
    torch.testing.assert_close(DECODER(y, points).view(1, 11, 9), grid)
    soft = y.detach().clone()
    soft[0, faulted.SOFT] = 40
    soft.requires_grad_()
    DECODER.grid(soft, AXIS, AXIS).sum().backward()
    assert soft.grad is not None
    assert all(
        float(soft.grad[0, i].abs()) > 0
        for i in (faulted.SHIFT, faulted.OFFSET_0, faulted.ANGLE_0, faulted.HEAD, faulted.HEAD + 1, STACK)
    )


@pytest.mark.parametrize("family", synth.FAMILIES[4:8])
def test_the_search_counts_what_is_drawn(family: str) -> None:
    """Cells are counted in runs there, and edges cut off where they are all but done."""
    for v in normal(family, 3, 31):
        for told in faulted_fit.faulted_maps(v, DECODER):
            y = told.rounded(0.5) * 0.5
            counted = faulted_search.error_of(y, target_of(told.v), basis(70, DECODER.waves), DECODER.layers)
            assert counted == pytest.approx(((drawn(y) - v) ** 2).sum(), rel=0.01, abs=0.01)


@pytest.mark.parametrize("step", [0.25, 0.5])
@pytest.mark.parametrize("family", synth.FAMILIES[4:8])
def test_the_search_knows_what_it_draws(family: str, step: float) -> None:
    """It draws only what a move changes; what it says at the end is the error of all."""
    codebook = load_codebook()
    own = codebook.decoder.faulted  # type: ignore[union-attr]
    assert isinstance(own, faulted.FaultedDecoder)
    numbers = slice(1, 1 + own.latent)
    sets = [tables_of(codebook.prior, t, numbers) for t in codebook.faulted_tables]
    of_step = [tables for tables in sets if tables.step == step]
    for v in normal(family, 3, 34):
        for told in faulted_fit.faulted_maps(v, own)[:1]:
            q = told.rounded(step)
            tables = min(of_step, key=lambda one: one.total(told.rounded(step)))
            np.clip(q, tables.low, tables.high, out=q)
            before = told.searched(q.copy(), tables, 0, 0.0, 0.0)
            error = told.searched(q, tables, 4, 0.0, 0.0)
            assert error < before
            counted = told.error(q, step)
            assert error == pytest.approx(counted, rel=1e-9)


@pytest.mark.parametrize("family", synth.FAMILIES[4:8])
def test_a_map_is_read_anew_with_its_lines_where_they_are(family: str) -> None:
    differs = False
    for v in normal(family, 3, 35):
        told = faulted_fit.faulted_maps(v, DECODER)[0]
        q = told.rounded(0.25)
        q[[faulted.SHIFT, faulted.OFFSET_0]] += 40  # 1.5 cells
        anew = told.again(q, 0.25)
        assert anew is not None
        np.testing.assert_array_equal(anew[: faulted.HEAD], q[: faulted.HEAD])
        differs |= bool((anew != q).any())
        hasty = faulted_fit.faulted_maps(v, DECODER, hasty=True)[0]
        assert (hasty.again(q, 0.25) is None) == told.seen.soft
    assert differs


@pytest.mark.parametrize("goal", [None, 35.0])
def test_reading_anew_makes_latents_cheaper(goal: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    codebook, maps = load_codebook("openfwi-2d-v3"), normal("CurveFault_B", 6, 36)  # without patches
    goals = None if goal is None else np.full(len(maps), goal)
    after = fit_latents(maps, codebook, CPU, 3, psnr=goals).rounded(codebook)
    monkeypatch.setattr(faulted_fit.FaultedMap, "again", lambda *_: None)
    before = fit_latents(maps, codebook, CPU, 3, psnr=goals).rounded(codebook)
    assert after[2].mean() < 0.98 * before[2].mean()


def test_what_something_else_does_in_fewer_bytes_is_not_searched_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codebook, maps = load_codebook(), normal("CurveFault_B", 3, 36)
    searched, sweeps = faulted_fit.FaultedMap.searched, []

    def counted(self: faulted_fit.FaultedMap, *how: Any) -> float:
        sweeps.append(how[2])
        return searched(self, *how)

    def fitted(effort: int, most: float | None) -> tuple[float, int]:
        sweeps.clear()
        others = None if most is None else np.full(len(maps), most)
        fit = fit_latents(maps, codebook, CPU, effort, psnr=np.full(len(maps), 33.0), most=others)
        return float(fit.rounded(codebook)[2].sum()), sum(sweeps)

    monkeypatch.setattr(faulted_fit.FaultedMap, "searched", counted)
    free, dear, cheap = (fitted(3, most) for most in (None, 1000.0, 10.0))
    assert dear[0] == pytest.approx(free[0], rel=0.03)
    assert cheap[1] < 0.7 * min(free[1], dear[1])
    assert fitted(5, 10.0)[1] == fitted(5, None)[1]  # who asks for that has the time


@pytest.mark.parametrize("family", synth.FAMILIES[4:8])
def test_numbers_of_what_is_not_there_change_nothing(family: str) -> None:
    """The search takes their error for known, and it is: no drawing shows them. All others show."""
    idle_ones = 0
    for v in normal(family, 3, 32):
        told = faulted_fit.faulted_maps(v, DECODER)[0]
        y = told.rounded(0.5) * 0.5
        before = drawn(y)
        used = faulted.HEAD + (2 if y[faulted.TWO] > 0 else 1) * DECODER.stack
        for d in range(used):
            moved = y.copy()
            moved[d] += 0.5
            if faulted_search._idle(y, d, DECODER.layers, DECODER.waves):
                idle_ones += 1
                np.testing.assert_array_equal(drawn(moved), before)
            elif d >= STACK and d < STACK + DECODER.layers - 1:  # how deep an interface is
                assert (drawn(moved) != before).any()
    assert idle_ones > 50


@pytest.mark.parametrize(
    ("family", "least"),
    [("FlatFault_A", 33), ("FlatFault_B", 31), ("CurveFault_A", 30), ("CurveFault_B", 29)],
)
def test_faults_are_found(family: str, least: float) -> None:
    """Good enough a start, of most maps."""
    found = []
    for v in normal(family, 8, 33):
        ways = faulted_fit.faulted_maps(v, DECODER)
        assert 1 <= len(ways) <= faulted_fit.WAYS
        found.append(psnr_of(v, ways[0].rounded(0.25) * 0.25))
    assert np.median(found) > least


def test_a_fault_is_found_where_it_is() -> None:
    v = np.repeat(drawn(a_fault()).astype(np.float32)[None], 1, 0)[0].round(3)
    (told,) = (way for way in faulted_fit.faulted_maps(v, DECODER)[:1])
    assert abs(abs(told.numbers[faulted.SHIFT] * faulted.DEPTH) - 8) < 0.5
    assert psnr_of(v, told.rounded(0.25) * 0.25) > 40


def test_small_fills_are_seen() -> None:
    """As of one real CurveFault_A map in three: a few cells, in more than one place."""
    v = np.zeros((70, 70))
    v[30:, :35] = v[38:, 35:] = 0.4
    labels = (v > 0).astype(np.int64)
    v[34:38, 36:40] = v[36:38, 60:63] = 0.2 + 0.01
    seen = plateaus.Plateaus(v, np.array([0.0, 0.4]), labels, True)
    (own,) = plateaus.with_fills(seen)
    assert own.filled is not None
    np.testing.assert_array_equal(own.filled, np.isclose(v, 0.21))
    assert own.fill == pytest.approx((0.0, 0.2, 0.4))
    assert not own.labels[own.filled].any()  # the interface is under it


@pytest.mark.parametrize("rows", [slice(60, 70), slice(0, 10)])
def test_rock_half_way_at_the_edge_of_a_map_is_no_fill(rows: slice) -> None:
    """Nothing lies under it, or over it."""
    v = normal("FlatFault_A", 1, 33)[0]
    v[rows, :50] = (v[0, 0] + v.max()) / 2
    ways = faulted_fit.faulted_maps(v, DECODER)
    assert all(np.isfinite(way.numbers).all() for way in ways)


def test_maps_without_plateaus_are_not_told() -> None:
    rng = np.random.default_rng(3)
    for v in (
        rng.normal(size=(70, 70)),
        np.zeros((70, 70)),
        normal("Style_A", 1, 1)[0],
        rng.integers(0, 3, (40, 70)),
    ):
        assert faulted_fit.faulted_maps(v.astype(np.float32), DECODER) == []


@pytest.mark.parametrize("values", [2, 3, 16])
def test_maps_of_scattered_values_are_told_somehow(values: int) -> None:
    """Nothing there is a layer or a fault, but they pass for plateaus."""
    rng = np.random.default_rng(5)
    for v in (rng.integers(0, values, (70, 70)), rng.integers(0, values, (70, 1)) * np.ones((1, 70), int)):
        for told in faulted_fit.faulted_maps((v / values).astype(np.float32), DECODER):
            assert np.isfinite(told.numbers).all()
            assert np.isfinite(drawn(told.rounded(1.0) * 1.0)).all()


def test_turned_and_shifted_lines_tell_the_same() -> None:
    line = np.array([0.3, 5.0])
    f = faults.Faults(
        np.tile(line, (3, 1)), np.array([faults.WALL, 0, 0]), np.array([7.0, 0, 0]), False, np.zeros((2, 70))
    )
    inside, shift = f.sides()
    np.testing.assert_array_equal(inside, faults.cells_beyond(line) > 0)
    np.testing.assert_array_equal(shift, 7.0 * inside)
    f.kinds[1], f.throws[1] = faults.FAULT, 2.0
    np.testing.assert_array_equal(f.sides()[1], 9.0 * inside)


def test_a_search_makes_faults_cheaper() -> None:
    """And leaves the error that it says."""
    maps = normal("FlatFault_A", 30, 35)
    kinds = faulted_tables.kinds(maps, DECODER, 5e-4)
    steps, sets = told_tables.table_sets(kinds, DECODER.latent + 1, 40.0, 5e-4)
    assert len(steps) >= 5
    made = prior.build(np.array(steps, np.float32), sets)
    tables = tables_of(made, steps.index(1.0), slice(1, None))
    for v in maps[:5]:
        told = faulted_fit.faulted_maps(v, DECODER)[0]
        q = np.clip(told.rounded(1.0), tables.low, tables.high)
        before, bits = told.searched(q.copy(), tables, 0, 0.0, 0.0), tables.total(q)
        price = 0.01
        after = told.searched(q, tables, 4, price, 0.0)
        assert after + price * tables.total(q) < before + price * bits
        assert (q >= tables.low).all() and (q <= tables.high).all()
        assert after == pytest.approx(((drawn(q * 1.0) - v) ** 2).sum(), rel=0.01, abs=0.01)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Codebook:
    """A choice of network, cosines and faults."""
    smooth = [Smooth(normal("Style_A", 40, 1), 100, (0.64,))]
    layered = normal("FlatVel_A", 30, 1)
    plain = with_parts(load_codebook("openfwi-2d-dev-2"), smooth, layered)
    made = with_faults(
        plain, np.concatenate([normal("FlatFault_A", 30, 35), normal("FlatFault_B", 4, 35)]), [0]
    )
    assert made.prior.tables == plain.prior.tables - 1 + len(made.faulted_tables)
    made.card["id"] = "of-faults"
    path = tmp_path_factory.mktemp("book") / "c.safetensors"
    save(made, path)
    return load_codebook(path)


def test_faulted_maps_find_their_part(book: Codebook) -> None:
    assert (
        len(book.faulted_tables) == 5 + 5
    )  # of flat layers with soft edges, and patches: too few of other kinds
    maps = normal("FlatFault_A", 6, 37)
    fit = fit_latents(maps, book, CPU, 1)
    told = np.isin(fit.table, book.faulted_tables)
    assert told.mean() > 0.5
    _, latents, size = fit.rounded(book)
    off = sample(book, latents, make_grid((70, 70)), CPU) - maps
    psnr = 10 * np.log10(np.ptp(maps, axis=(1, 2)) ** 2 / (off**2).mean((1, 2)))
    assert psnr[told].mean() > 40 and size[told].mean() < 50  # with patches: some 30 dB and 15 bytes without
    assert not np.isin(
        fit_latents(maps, book, CPU, 0).table, book.faulted_tables
    ).any()  # takes too long for that


@pytest.mark.parametrize("wanted", [28.0, 34.0])
def test_faults_reach_a_psnr(book: Codebook, wanted: float) -> None:
    maps = normal("FlatFault_A", 4, 39)
    fit = fit_latents(maps, book, CPU, 1, psnr=np.full(4, wanted))
    _, latents, size = fit.rounded(book)
    off = sample(book, latents, make_grid((70, 70)), CPU) - maps
    psnr = 10 * np.log10(np.ptp(maps, axis=(1, 2)) ** 2 / (off**2).mean((1, 2)))
    told = np.isin(fit.table, book.faulted_tables)
    assert told.any() and psnr[told].min() >= wanted - 0.01
    assert size[told].mean() < 30


def test_another_codebook_takes_the_faults_over(book: Codebook) -> None:
    """They know nothing of its network."""
    plain = with_parts(load_codebook("openfwi-2d-dev-2"), [], normal("FlatVel_A", 30, 1))
    made = with_faults_of(plain, book)
    assert len(made.faulted_tables) == len(book.faulted_tables)
    for old, new in zip(book.faulted_tables, made.faulted_tables, strict=True):
        assert made.prior.step[new] == book.prior.step[old]
        np.testing.assert_array_equal(made.prior.low[new], book.prior.low[old])
        assert all((made.prior.table(new, d) == book.prior.table(old, d)).all() for d in (0, 1, 4, 9, 500))


def test_coarse_steps_are_searched_for_a_psnr() -> None:
    """From where their rounded numbers are still short of it."""
    book, maps = load_codebook(), normal("FlatFault_B", 8, 77)
    fit = fit_latents(maps, book, CPU, 3, psnr=np.full(8, 30.0))
    _, latents, size = fit.rounded(book)
    restored = sample(book, latents, make_grid((70, 70)), CPU)
    psnr = 10 * np.log10(np.ptp(maps, axis=(1, 2)) ** 2 / ((restored - maps) ** 2).mean((1, 2)))
    assert (psnr >= 30).mean() >= 0.75
    assert (book.prior.step[fit.table] >= 2).mean() >= 0.75
    assert size.mean() < 28

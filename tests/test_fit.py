"""The latent search: it helps, more effort helps more, and its choice of tables is the cheapest."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import velcodec
from velcodec import fit as fitting
from velcodec import synth
from velcodec.aim import Aim, Found
from velcodec.codebook import Codebook
from velcodec.fit import STEPS, Fit, fit_latents, table_groups
from velcodec.grid import make_grid
from velcodec.synthesis import sample
from velcodec.target import Target

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def book() -> Codebook:
    return velcodec.load_codebook()


@pytest.fixture(scope="module")
def maps(book: Codebook) -> NDArray[np.float32]:
    families = ("FlatFault_A", "CurveVel_A", "Style_A")
    made = np.concatenate([synth.generate(family, 2, seed=21) for family in families])
    return ((made - book.offset) / book.scale).astype(np.float32)


def quality(
    fit: Fit, maps: NDArray[np.float32], book: Codebook
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PSNR in dB and bits of each map, latents rounded."""
    step = book.prior.step[fit.table][:, None]
    y = np.rint(fit.latents / step).astype(np.float32)
    restored = sample(book, y * step, make_grid((70, 70)), CPU)
    psnr = 10 * np.log10(np.ptp(maps, axis=(1, 2)) ** 2 / ((restored - maps) ** 2).mean((1, 2)))
    bits = book.prior.bits(torch.from_numpy(y), torch.from_numpy(fit.table)).sum(1).numpy()
    return psnr, bits


def test_efforts_pay(maps: NDArray[np.float32]) -> None:
    """Of what the network draws; those since tell these faults by lines, which more effort hardly betters."""
    book = velcodec.load_codebook("openfwi-2d-v1")
    cost = []
    for effort in (0, 2, 5):
        psnr, bits = quality(fit_latents(maps, book, CPU, effort), maps, book)
        cost.append((-psnr * np.log(10) / 10 + book.rate * bits).mean())
    assert cost[1] < cost[0] - 0.1
    assert cost[2] < cost[1] - 0.05
    assert list(STEPS) == sorted(set(STEPS))


def test_an_effort_finds_faults(book: Codebook, maps: NDArray[np.float32]) -> None:
    none, some = (
        (-psnr * np.log(10) / 10 + book.rate * bits).mean()
        for psnr, bits in (
            quality(fit_latents(maps[:2], book, CPU, effort), maps[:2], book) for effort in (0, 2)
        )
    )
    assert some < none - 0.5


def test_no_map_gets_worse_than_its_start(book: Codebook, maps: NDArray[np.float32]) -> None:
    start, found = (quality(fit_latents(maps, book, CPU, effort), maps, book) for effort in (0, 1))
    before, after = (-p * np.log(10) / 10 + book.rate * b for p, b in (start, found))
    assert (after <= before + 1e-3).all()


def test_the_table_chosen_is_the_cheapest_of_its_step(book: Codebook, maps: NDArray[np.float32]) -> None:
    fit = fit_latents(maps, book, CPU, 0)
    own = np.isin(fit.table, book.network_tables)  # the others are told by layers or cosines
    assert own.sum() >= 2
    tables = next(group for group in table_groups(book) if book.prior.step[group[0]] <= book.usual_step)
    y = torch.from_numpy(np.rint(fit.latents[own] / book.prior.step[tables[0]]).astype(np.float32))
    bits = torch.stack([book.prior.bits(y, torch.full((len(y),), t)).sum(1) for t in tables])
    np.testing.assert_array_equal(np.array(tables)[bits.argmin(0).numpy()], fit.table[own])


def test_rounding_costs_little(book: Codebook, maps: NDArray[np.float32]) -> None:
    """The step of each map is chosen so that its rounded latent keeps nearly the PSNR of a free one."""
    maps = maps[:4]  # of the network: cosines are weighed against bits
    free = fit_latents(maps, book, CPU, 3, plain=256).latents
    restored = sample(book, free, make_grid((70, 70)), CPU)
    best = 10 * np.log10(np.ptp(maps, axis=(1, 2)) ** 2 / ((restored - maps) ** 2).mean((1, 2)))
    assert (best - quality(fit_latents(maps, book, CPU, 3), maps, book)[0]).mean() < 0.5


def test_the_same_maps_give_the_same_latents(book: Codebook, maps: NDArray[np.float32]) -> None:
    a, b = (fit_latents(maps[:2], book, CPU, 1) for _ in range(2))
    np.testing.assert_allclose(a.latents, b.latents, atol=1e-3)


@pytest.mark.parametrize("shape", [(9, 12), (90, 40), (1, 5), (140, 140)])
def test_any_shape(book: Codebook, shape: tuple[int, int]) -> None:
    maps = ((synth.generate("FlatFault_A", 2, shape) - 3000) / 1500).astype(np.float32)
    fit = fit_latents(maps, book, CPU, 1, plain=256)
    assert np.isfinite(fit.latents).all()


def test_the_halves_of_a_target_are_all_of_it(book: Codebook, maps: NDArray[np.float32]) -> None:
    """The mean of their errors is that of the whole."""
    v, z = torch.from_numpy(maps), torch.zeros(len(maps), book.latent)
    whole = Target(v, book)
    halves = whole.parts()
    assert [half.v.shape[2] for half in halves] == [35, 35]
    torch.testing.assert_close(torch.stack([half.nmse(z) for half in halves]).mean(0), whole.nmse(z))
    narrow = Target(v[:, :, :1], book)
    assert narrow.parts() == [narrow]


def test_maps_unlike_those_that_tables_were_counted_on(book: Codebook) -> None:
    """Of greater contrast, and steeper: some of their numbers lie past the tables."""
    z, x = np.mgrid[:70, :70]
    steep = np.where(z > 20 + 45 / (1 + np.exp(-(x - 55) / 2.0)), 0.6, -0.4)
    style = synth.generate("Style_A", 2, seed=6).astype(np.float64)
    style = (style - style.mean((1, 2), keepdims=True)) / 900
    maps = np.concatenate([style, steep[None]]).astype(np.float32)
    goal = np.full(len(maps), 38.0)
    found, before = (fit_latents(maps, own, CPU, 3, psnr=goal) for own in (book, book.closed))
    q, _, _ = found.rounded(book)
    own = [(book.prior.low[t], book.prior.high(int(t))) for t in found.table]
    past = np.array([((n < low) | (n > high)).sum() for n, (low, high) in zip(q, own, strict=True)])
    assert past.any() and (past < 20).all()
    assert (quality(found, maps, book)[0] >= 37.95).all()
    assert not (quality(before, maps, book.closed)[0] >= 37.95).all()
    q, _, _ = before.rounded(book.closed)
    for n, t in zip(q, before.table, strict=True):
        assert (n >= book.prior.low[t]).all() and (n <= book.prior.high(int(t))).all()


def test_the_cost_of_what_reaches_a_psnr_tells_one_bit_from_another() -> None:
    aim = Aim(0.0005, torch.full((3,), 30.0))
    bits = torch.tensor([400.0, 401.0, 300.0])
    cost = aim.cost(torch.log(torch.tensor([5e-4, 5e-4, 2e-3])), bits)
    assert cost[0] < cost[1] < cost[2]
    told = aim.bits(cost)
    assert (told[:2] - bits[:2]).abs().max() < 0.5
    assert told[2] == float("inf")


def test_latents_that_take_more_than_something_else_are_not_drawn(
    book: Codebook, maps: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    real = fitting.measured

    def noted(v: torch.Tensor, z: torch.Tensor, table: torch.Tensor, book: Codebook, every: int = 1) -> Found:
        drawn.append(len(v) if every == 1 else 0)
        return real(v, z, table, book, every)

    monkeypatch.setattr(fitting, "measured", noted)
    asked: dict[str, Any] = {"psnr": np.full(len(maps), 33.0)}
    some = fit_latents(maps, book, CPU, 0, **asked, most=np.full(len(maps), 9.0))
    few = sum(drawn)
    drawn.clear()
    every = fit_latents(maps, book, CPU, 0, **asked)
    assert few < sum(drawn) / 4
    cheap = every.rounded(book)[2] < 9
    np.testing.assert_array_equal(some.rounded(book)[0][cheap], every.rounded(book)[0][cheap])

"""Codebooks whose decoder is a choice: how maps become cosines or layers, and what becomes of tables and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import velcodec
import velcodec.decoders
import velcodec.prior
from velcodec import cosine_fit, layered_fit, layers, objectives, synth, told_fit, training_data
from velcodec.aim import Aim
from velcodec.amortised import AmortisedEncoder
from velcodec.choice_book import LATENT, Smooth, widened, with_parts
from velcodec.codebook import Codebook, load_codebook, save
from velcodec.decoders.choice import ChoiceDecoder
from velcodec.fit import Fit, fit_latents, parts_read_off, table_groups
from velcodec.grid import make_grid
from velcodec.synthesis import sample
from velcodec.tables import smoothed
from velcodec.target import measured

CPU = torch.device("cpu")
WARP = "openfwi-2d-dev-2"


def normal(family: str, count: int, seed: int) -> np.ndarray:
    return training_data.normalise(synth.generate(family, count, 70, seed=seed)).numpy()


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Codebook:
    smooth = [
        Smooth(normal("Style_A", 100, 1), 255, (0.64, 0.25, 0.145)),
        Smooth(normal("Style_B", 100, 1), 300, (0.25,), 2),
    ]
    layered = np.concatenate([normal(f, 60, 1) for f in ("FlatVel_A", "CurveVel_A", "CurveFault_B")])
    made = with_parts(load_codebook(WARP), smooth, layered)
    made.card["id"] = "of-three-parts"
    path = tmp_path_factory.mktemp("book") / "c.safetensors"
    save(made, path)
    return load_codebook(path)


def psnr_of(maps: np.ndarray, book: Codebook, latents: np.ndarray) -> np.ndarray:
    off = sample(book, latents, make_grid((70, 70)), CPU) - maps
    psnr: np.ndarray = 10 * np.log10(np.ptp(maps, axis=(1, 2)) ** 2 / (off**2).mean((1, 2)))
    return psnr


def test_every_sort_of_map_finds_its_part(book: Codebook) -> None:
    for family, tables in (
        ("CurveVel_A", book.layered_tables),
        ("FlatVel_A", book.layered_tables),
        ("Style_A", book.smooth_tables),
        ("Style_B", book.smooth_tables),
        ("FlatFault_A", book.network_tables),
    ):
        found = fit_latents(normal(family, 8, 7), book, CPU, 1).table
        assert np.isin(found, tables).mean() > 0.7, family
    assert sorted(book.layered_tables + book.smooth_tables + book.network_tables) == list(
        range(book.prior.tables)
    )


def test_the_network_is_what_it_was(book: Codebook) -> None:
    """Leaving out silent numbers moves its maps by little."""
    maps, before = normal("FlatFault_A", 8, 7), load_codebook(WARP)
    old, new = (fit_latents(maps, b, CPU, 0) for b in (before, book))
    a, b = psnr_of(maps, before, old.rounded(before)[1]), psnr_of(maps, book, new.rounded(book)[1])
    assert np.abs(a - b).max() < 0.3


def test_the_search_finds_what_it_found(book: Codebook) -> None:
    """That there are cosines is nothing to the search of a network's numbers."""
    maps, before = normal("FlatFault_A", 12, 7), load_codebook(WARP)
    old, new = (fit_latents(maps, b, CPU, 1) for b in (before, book))
    a, b = psnr_of(maps, before, old.rounded(before)[1]), psnr_of(maps, book, new.rounded(book)[1])
    assert (a - b).mean() < 0.15
    assert (b - psnr_of(maps, book, fit_latents(maps, book, CPU, 0).rounded(book)[1])).mean() > 1


def test_smooth_maps_become_cosines(book: Codebook) -> None:
    maps = normal("Style_A", 8, 7)
    fit = fit_latents(maps, book, CPU, 3)
    assert np.isin(fit.table, book.smooth_tables).all()
    old = fit_latents(maps, load_codebook(WARP), CPU, 0)
    _, latents, size = fit.rounded(book)
    assert psnr_of(maps, book, latents).mean() > psnr_of(maps, load_codebook(WARP), old.latents).mean() + 5
    assert size.mean() < 256
    free = fit_latents(maps, book, CPU, 0, plain=256).latents
    assert not free[:, 256:].any() and free.shape[1] == LATENT
    assert psnr_of(maps, book, free).mean() > psnr_of(maps, book, latents).mean()


@pytest.mark.parametrize("wanted", [28.0, 34.0, 40.0])
def test_a_psnr_is_reached_in_fewer_bytes_the_lower_it_is(book: Codebook, wanted: float) -> None:
    maps = normal("Style_A", 6, 9)
    fit = fit_latents(maps, book, CPU, 0, psnr=np.full(6, wanted))
    _, latents, size = fit.rounded(book)
    reached = psnr_of(maps, book, latents)
    assert reached.min() >= wanted and reached.mean() < wanted + 1
    more = fit_latents(maps, book, CPU, 0, psnr=np.full(6, wanted + 2)).rounded(book)[2]
    assert size.mean() < more.mean()


def test_error_and_bits_are_those_of_the_decode(book: Codebook) -> None:
    maps = normal("Style_B", 4, 11)
    found = cosine_fit.fit(torch.from_numpy(maps), book, Aim(book.rate))
    step = book.prior.step[found.table.numpy()][:, None]
    latents = (found.integers.numpy() * step).astype(np.float32)
    np.testing.assert_allclose(
        -10 / np.log(10) * found.log_nmse.numpy(), psnr_of(maps, book, latents), atol=0.01
    )
    np.testing.assert_allclose(found.bits, book.prior.bits(found.integers, found.table).sum(1), rtol=1e-5)
    least = cosine_fit.least_cost(torch.from_numpy(maps), book, Aim(book.rate))
    assert (least < found.cost(Aim(book.rate))).all()


def test_wider_steps_reach_less_in_fewer_bytes() -> None:
    """With tables of wider steps too, the network's latents come down to a PSNR that is asked for."""
    before = load_codebook(WARP)
    seen = fit_latents(normal("FlatFault_A", 60, 2), before, CPU, 0).latents.astype(np.float64)
    steps = np.array([0.075, 0.15, 0.3], np.float32)
    masses = [[smoothed(np.rint(seen[:, d] / step)) for d in range(256)] for step in steps]
    tensors = {k: v for k, v in before.tensors.items() if not k.startswith("prior.")}
    made = Codebook(
        {**tensors, **velcodec.prior.build(steps, masses).tensors()}, {**before.card, "usual_step": 0.075}
    )
    assert table_groups(made) == [[2], [1], [0]]
    maps = normal("FlatFault_A", 6, 12)
    usual, asked = fit_latents(maps, made, CPU, 0), fit_latents(maps, made, CPU, 0, psnr=np.full(6, 20.0))
    assert (usual.table == 0).all() and (asked.table == 2).all()
    assert asked.rounded(made)[2].mean() < 0.8 * usual.rounded(made)[2].mean()


def test_training_goes_on_from_a_choice(book: Codebook) -> None:
    assert isinstance(book.decoder, ChoiceDecoder) and book.encoder is not None
    nets = objectives.Networks(
        velcodec.decoders.build("warp", {}), AmortisedEncoder(), objectives.RateModel(10)
    )
    maps = torch.from_numpy(normal("CurveVel_A", 4, 3))
    objectives._start_from(book, nets, training_data.Pool((("CurveVel_A", maps),)))
    axis = torch.from_numpy(make_grid((70, 70)).z).float()
    assert nets.encoder is not None
    y = nets.encoder(maps)
    z = torch.nn.functional.pad(book.encoder(maps), (1, 256 - 1 - book.decoder.warp.latent))
    torch.testing.assert_close(y[:, : book.decoder.warp.latent], book.encoder(maps))
    torch.testing.assert_close(
        nets.decoder.grid(y, axis, axis), book.decoder.grid(z, axis, axis), atol=1e-4, rtol=1e-3
    )  # type: ignore[operator]


def test_files_of_all_sorts(book: Codebook, tmp_path: Path) -> None:
    path = tmp_path / "book.safetensors"
    save(book, path)
    maps = np.concatenate(
        [synth.generate(f, 2, 70, seed=4) for f in ("Style_A", "CurveVel_A", "FlatFault_A")]
    )
    for latent in ("entropy", "int8", "fp16"):
        target = tmp_path / f"{latent}.vlz"
        velcodec.compress(
            maps,
            target,
            latent_only=True,
            latent=latent,
            codebook=str(path),
            effort=0,
            embed_codebook="always",
        )
        back = np.asarray(velcodec.decompress(target))
        off = ((back - maps) ** 2).mean((1, 2)) / np.ptp(maps, axis=(1, 2)) ** 2
        assert (-10 * np.log10(off))[:2].min() > (30 if latent == "int8" else 38)
        assert np.asarray(velcodec.decompress(target, shape=(105, 140))).shape == (6, 105, 140)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 70.0, 0.5, None])
def test_waves_that_cannot_be_are_refused(book: Codebook, bad: float | None) -> None:
    waves = book.tensors["decoder.cosines.waves"].copy()
    waves[3] = waves[4] if bad is None else bad
    with pytest.raises(velcodec.CodebookError, match="waves"):
        Codebook({**book.tensors, "decoder.cosines.waves": waves}, book.card)


def test_no_path_joins_two_sorts(book: Codebook, tmp_path: Path) -> None:
    path = tmp_path / "book.safetensors"
    save(book, path)
    maps = np.concatenate(
        [synth.generate("Style_A", 2, 70, seed=4), synth.generate("FlatFault_A", 1, 70, seed=4)]
    )
    velcodec.compress(
        maps, tmp_path / "a.vlz", latent_only=True, codebook=str(path), effort=0, embed_codebook="always"
    )
    with velcodec.open(tmp_path / "a.vlz") as a:
        _, between = velcodec.interpolate(a, 0, a, 1, steps=3)
        off = np.abs(between[1] - (between[0] + between[2]) / 2)
        assert np.percentile(off, 99) < 0.1  # cosines are linear, but where the range clips
        with pytest.raises(velcodec.DataError, match="no path"):
            velcodec.interpolate(a, 0, a, 2)


def test_each_map_has_a_psnr_of_its_own(book: Codebook) -> None:
    maps = normal("Style_A", 2, 5).repeat(2, 0)
    fit = fit_latents(maps, book, CPU, 0, psnr=np.array([28.0, 38.0, 38.0, 28.0]))
    _, latents, size = fit.rounded(book)
    reached = psnr_of(maps, book, latents)
    assert (reached >= [28, 38, 38, 28]).all()
    assert size[0] < size[1] and size[3] < size[2]


@pytest.mark.parametrize(("wanted", "most"), [(30.0, 50.0), (33.0, 60.0)])
def test_layers_reach_a_psnr(book: Codebook, wanted: float, most: float) -> None:
    maps = normal("CurveVel_A", 8, 9)
    fit = fit_latents(maps, book, CPU, 3, psnr=np.full(8, wanted))
    _, latents, size = fit.rounded(book)
    layered = np.isin(fit.table, book.layered_tables)
    assert layered.sum() >= 6
    assert (psnr_of(maps, book, latents)[layered] >= wanted).mean() > 0.7
    assert size[layered].mean() < most


def test_a_search_makes_layers_cheaper(book: Codebook) -> None:
    maps, aim = torch.from_numpy(normal("CurveVel_A", 8, 9)), Aim(book.rate)
    (part,) = parts_read_off(book, 1)
    rows, *once = told_fit.fit(maps, book, part, aim, search=False)
    again, *found = told_fit.fit(maps, book, part, aim, search=True)
    torch.testing.assert_close(rows, again)
    before, searched = (measured(maps[rows], *latents, book) for latents in (once, found))
    assert (searched.cost(aim) <= before.cost(aim) + 0.02).all()
    assert searched.cost(aim).mean() < before.cost(aim).mean() - 0.2


def test_interfaces_round_to_those_of_the_map(book: Codebook) -> None:
    assert isinstance(book.decoder, ChoiceDecoder) and book.decoder.layered is not None
    for v in normal("CurveVel_A", 10, 15):
        own = layered_fit.outline(v, book.decoder.layered)
        assert own is not None
        curves = own.cosines @ own.basis.T
        depths = np.clip(np.ceil(curves - 0.5), 0, 70)
        assert (depths == own.depths).mean() > 0.9
    assert layered_fit.outline(normal("Style_A", 1, 1)[0], book.decoder.layered) is None


def test_layers_of_other_grids(book: Codebook) -> None:
    """Interfaces are in native cells whatever the grid they were read off, and crisp on any."""
    fine = normal_at("CurveVel_A", 4, 21, 210)
    fit = fit_latents(fine, book, CPU, 1)
    assert np.isin(fit.table, book.layered_tables).all()
    latents = fit.rounded(book)[1]
    native = sample(book, latents, make_grid((70, 70)), CPU)
    off = (native - normal_at("CurveVel_A", 4, 21, 70)) ** 2
    assert (10 * np.log10(np.ptp(fine, axis=(1, 2)) ** 2 / off.mean((1, 2)))).mean() > 27
    drawn = sample(book, latents, make_grid((210, 210)), CPU)
    for m in drawn:
        counts = np.unique(m.round(3), return_counts=True)[1]
        # Eight layers at most, and between two of them no more than a sample a column.
        assert m.size - np.sort(counts)[-8:].sum() <= 7 * m.shape[1]


def normal_at(family: str, count: int, seed: int, side: int) -> np.ndarray:
    return (
        (synth.generate(family, count, side, seed=seed) - training_data.CENTRE) / training_data.SCALE
    ).astype(np.float32)


def test_more_layers_than_the_decoder_has(book: Codebook) -> None:
    v = np.arange(70, dtype=np.float32)[:, None].repeat(70, 1) // 6 / 12
    assert len(layers.analyse(v).values) == 12  # type: ignore[union-attr]
    fit = fit_latents(v[None], book, CPU, 0)
    assert not np.isin(fit.table, book.layered_tables).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 23), (40, 24), (200, 31)])
def test_small_and_odd_maps_of_layers(book: Codebook, shape: tuple[int, int]) -> None:
    """Of fewer columns than an interface has cosines, a map is not told by its layers."""
    v = np.repeat(np.linspace(-0.5, 0.5, min(shape[0], 4), dtype=np.float32), -(-shape[0] // 4))[: shape[0]]
    fit = fit_latents(np.tile(v[:, None], (1, 1, shape[1])), book, CPU, 1)
    assert np.isfinite(fit.latents).all()
    assert np.isin(fit.table, book.layered_tables).all() == (shape[1] >= 24)


def test_one_layer(book: Codebook) -> None:
    fit = fit_latents(np.full((1, 70, 70), 0.25, np.float32), book, CPU, 1)
    assert np.isfinite(fit.latents).all()
    back = sample(book, fit.rounded(book)[1], make_grid((70, 70)), CPU)
    assert np.abs(back - 0.25).max() < 0.1


@pytest.mark.parametrize("name", ["made", "openfwi-2d-v3"])
def test_tables_that_are_alike_are_stored_once(book: Codebook, name: str) -> None:
    """Before openfwi-2d-v4 those of one integer alone took no frequencies."""
    book = book if name == "made" else load_codebook(name)
    stored = book.prior.tensors()
    assert stored["prior.table"].shape == book.prior.size.shape
    assert 1 < len(stored["prior.size"]) < 0.6 * book.prior.size.size
    for tensors in (book.tensors, stored):
        again = velcodec.prior.Prior.of_tensors(tensors)
        for part in velcodec.prior.NAMES:
            np.testing.assert_array_equal(getattr(again, part), getattr(book.prior, part))
        short = {**tensors, "prior.frequency": tensors["prior.frequency"][:-3]}
        with pytest.raises(velcodec.CodebookError):
            velcodec.prior.Prior.of_tensors(short)


def test_hostile_tables_are_refused(book: Codebook) -> None:
    """A table that is not there, one without frequencies, and few bytes that stand for too many."""
    tensors = book.prior.tensors()
    which, size = tensors["prior.table"], tensors["prior.size"]
    large = np.full(4096, 16, np.uint16)
    for changed in (
        {"prior.table": np.full_like(which, len(size))},
        {"prior.table": which[0]},
        {"prior.table": which.astype(np.int16) - 1},
        {"prior.table": which[:, :0]},
        {"prior.size": np.zeros_like(size)},
        {"prior.size": size[:-1]},
        {
            "prior.table": np.zeros((112, 4096), np.uint16),
            "prior.low": np.zeros(1, np.int16),
            "prior.size": np.full(1, 4096, np.uint16),
            "prior.frequency": large,
        },
    ):
        with pytest.raises(velcodec.CodebookError):
            velcodec.prior.Prior.of_tensors({**tensors, **changed})


def test_the_default_codebook_draws_folded_layers_all_but_exactly() -> None:
    book = load_codebook()
    maps = normal("CurveVel_B", 12, 77)
    latents = fit_latents(maps, book, CPU, 1)
    psnr = psnr_of(maps, book, latents.rounded(book)[1])
    assert np.median(psnr) > 40
    reached = fit_latents(maps, book, CPU, 1, psnr=np.full(12, 38.0))
    assert (psnr_of(maps, book, reached.rounded(book)[1]) >= 38).mean() >= 0.75


def test_a_layer_much_thicker_than_those_counted_is_told() -> None:
    """Its table ends long before; a search used to stop a table's length past that, and cut it short."""
    z, x = np.mgrid[:70, :70] + 0.5
    fold = 4 * np.cos(np.pi * x / 70) + 3 * np.cos(3 * np.pi * x / 70)
    depths = np.array(
        [6.0, 14, 22, 50, 58]
    )  # the fourth layer is 28 cells thick, where six of a map have some 12
    v = np.array([-0.9, -0.4, 0.1, 0.3, 0.6, 0.9], np.float32)[(z > depths[:, None, None] + fold).sum(0)]
    book, maps = load_codebook(), np.repeat(v[None], 2, 0)
    fit = fit_latents(maps, book, CPU, 1)
    assert set(fit.table.tolist()) <= set(book.layered_tables)
    assert psnr_of(maps, book, fit.rounded(book)[1]).min() > 45


def test_a_widened_codebook_draws_the_same() -> None:
    """Its latents have more numbers, all 0, and cosines more waves."""
    book = load_codebook("openfwi-2d-v3")
    wide = widened(book)
    assert (book.latent, wide.latent) == (640, LATENT)
    maps = np.concatenate([normal(f, 2, 5) for f in ("CurveVel_A", "FlatFault_A", "Style_B")])
    fit = fit_latents(maps, book, CPU, 1)
    _, latents, size = fit.rounded(book)
    more = np.pad(latents, ((0, 0), (0, LATENT - book.latent)))
    _, same, sizes = Fit(more, fit.table).rounded(wide)
    np.testing.assert_array_equal(same, more)
    np.testing.assert_allclose(sizes, size, atol=0.1)
    grid = make_grid((70, 70))
    np.testing.assert_allclose(sample(wide, more, grid, CPU), sample(book, latents, grid, CPU), atol=1e-4)

"""The pure stages: prior, quantise, entropy, container, grid. Properties, and exact bytes in small cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from velcodec import blocks, container, entropy, footer, quality, quantise
from velcodec import prior as pr
from velcodec.blocks import Block
from velcodec.container import Section
from velcodec.entropy import TableModels
from velcodec.errors import CodebookError, FormatError, UsageError
from velcodec.footer import Entry, Footer
from velcodec.grid import centres, make_grid, resample
from velcodec.prior import Prior


def small_prior(sizes: tuple[int, ...] = (3, 9, 40), sets: int = 2) -> Prior:
    rng = np.random.default_rng(0)
    masses = [[(-(n // 2) + t, rng.random(n) + 1e-3) for n in sizes] for t in range(sets)]
    return pr.build(np.array([0.15, 0.075], np.float32)[:sets], masses)


# Prior


@given(hnp.arrays(np.float64, st.integers(2, 256), elements=st.floats(1e-12, 1e3)))
def test_integer_tables_sum_and_never_vanish(mass: np.ndarray) -> None:
    table = pr.integer_table(mass)
    assert table.sum() == 1 << 16
    assert table.min() >= 1


def test_bits_are_those_of_the_tables() -> None:
    prior = small_prior().closed()
    for t in range(2):
        for d in range(3):
            for k, f in enumerate(prior.table(t, d)):
                y = prior.low[t].astype(np.float32)
                y[d] += k
                bits = prior.bits(torch.from_numpy(y[None]), torch.tensor([t]))[0, d]
                assert bits.item() == pytest.approx(16 - np.log2(f), abs=1e-4)
                y[d] -= 2 * len(prior.table(t, d))
                whole = prior.bits(torch.from_numpy(y[None]), torch.tensor([t])).sum(1)
                torch.testing.assert_close(prior.integer_bits(torch.from_numpy(y[None]), t).sum(1), whole)


def test_bits_between_and_beyond_the_integers() -> None:
    prior = small_prior()
    low = torch.from_numpy(prior.low[0].astype(np.float32))[None]
    t = torch.tensor([0])
    middle = prior.bits(low + 0.25, t)
    torch.testing.assert_close(middle, 0.75 * prior.bits(low, t) + 0.25 * prior.bits(low + 1, t))
    torch.testing.assert_close(prior.bits(low - 2, t), prior.bits(low, t) + 8)
    y = (low + 0.3).requires_grad_()
    prior.bits(y, t).sum().backward()
    assert torch.isfinite(y.grad).all()


def test_invalid_tables_are_refused() -> None:
    prior = small_prior()
    wrong = prior.frequency.copy()
    wrong[0] += 1
    for frequency in (wrong, prior.frequency[:-1], np.zeros_like(prior.frequency)):
        with pytest.raises(CodebookError):
            Prior(prior.step, prior.low, prior.size, frequency)
    with pytest.raises(CodebookError):
        Prior(-prior.step, prior.low, prior.size, prior.frequency)


# Quantise


@given(hnp.arrays(np.float32, (4, 3), elements=st.floats(-50, 50, width=32)))
def test_integers_stay_within_the_tables(latents: np.ndarray) -> None:
    prior = small_prior()
    q = quantise.to_integers(latents, prior, 1)
    assert (q >= prior.low[1]).all()
    assert (q <= prior.high(1)).all()
    np.testing.assert_array_equal(quantise.to_integers(quantise.from_integers(q, prior, 1), prior, 1), q)
    inside = (latents > prior.low[1] * 0.075) & (latents < prior.high(1) * 0.075)
    assert (np.abs(quantise.from_integers(q, prior, 1) - latents)[inside] <= 0.0376).all()


@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(-1e4, 1e4, width=32)))
def test_int8_and_fp16_are_close(latents: np.ndarray) -> None:
    scale, q = quantise.to_int8(latents)
    assert (np.abs(quantise.from_int8(scale, q) - latents) <= scale[:, None] * 0.51 + 1e-30).all()
    half = quantise.from_fp16(quantise.to_fp16(latents))
    assert (np.abs(half - latents) <= 1e-3 * np.abs(latents) + 1e-6).all()


# Entropy


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(0, 20))
def test_entropy_coding_round_trips(seed: int, n: int, m: int) -> None:
    prior = small_prior()
    rng = np.random.default_rng(seed)
    groups = [
        (t, rng.integers(prior.low[t], prior.high(t) + 1, (count, 3)).astype(np.int32))
        for t, count in ((0, n), (1, m))
    ]
    models = TableModels(prior)
    data = entropy.encode(groups, models)
    back = entropy.decode(data, [(t, len(q)) for t, q in groups], models)
    for (_, q), r in zip(groups, back, strict=True):
        np.testing.assert_array_equal(q, r)


def rare_ends() -> Prior:
    """Numbers whose ends are both open, the low one, the high one, neither, and one that is hardly ever another."""
    both, flat = np.array([1.0, 40, 2000, 50, 1.2]), np.ones(4)
    masses = [(-2, both), (3, both[:4]), (-7, both[::-1][:4][::-1]), (0, flat), (5, np.array([1.0, 1e-9]))]
    return pr.build(np.array([0.5], np.float32), [masses])


def test_which_ends_are_open() -> None:
    prior = rare_ends()
    low, high = prior.open
    assert low[0].tolist() == [True, True, False, False, False]
    assert high[0].tolist() == [True, False, True, False, True]
    assert prior.first[0].tolist() == [-18, -13, -7, 0, 5]
    assert prior.last[0].tolist() == [18, 6, 12, 3, 6]  # of the last a search leaves alone what is open
    closed = prior.closed()
    assert not np.any(closed.open)
    np.testing.assert_array_equal(closed.first, prior.low)
    np.testing.assert_array_equal(closed.last[0], prior.high(0))


@given(st.lists(st.integers(-40_000, 40_000), min_size=5, max_size=5), st.integers(1, 6))
def test_integers_past_open_ends_round_trip(wanted: list[int], n: int) -> None:
    prior = rare_ends()
    low, high = (
        np.where(end[0], past, own)
        for end, past, own in zip(prior.open, (-40_000, 40_000), (prior.low[0], prior.high(0)), strict=True)
    )
    q = np.tile(np.clip(wanted, low, high), (n, 1)).astype(np.int32)
    q[0] = prior.low[0]
    models = TableModels(prior)
    data = entropy.encode([(0, q), (0, q[:1])], models)
    first, second = entropy.decode(data, [(0, n), (0, 1)], models)
    np.testing.assert_array_equal(first, q)
    np.testing.assert_array_equal(second, q[:1])


def test_bits_past_open_ends_are_those_of_the_code() -> None:
    prior = rare_ends()
    at_end = 16 - np.log2(prior.table(0, 0)[-1])
    for past, more in ((0, 1), (1, 3), (2, 3), (3, 5), (6, 5), (7, 7)):
        y = prior.low[0].astype(np.float32)
        y[0] = prior.high(0)[0] + past
        told = prior.bits(torch.from_numpy(y[None]), torch.tensor([0]))[0, 0].item()
        assert told == pytest.approx(at_end + more, abs=1e-3)
        whole = prior.closed().bits(torch.from_numpy(y[None]), torch.tensor([0]))[0, 0].item()
        assert whole == pytest.approx(at_end + 4 * past, abs=1e-3)
    rows = 400
    q = np.tile(prior.low[0].astype(np.int32), (rows, 1))
    q[:, 0] = prior.high(0)[0] + 12
    bits = (
        prior.bits(torch.from_numpy(q.astype(np.float32)), torch.zeros(rows, dtype=torch.long)).sum().item()
    )
    size = len(entropy.encode([(0, q)], TableModels(prior)))
    assert bits / 8 - 1 <= size <= bits / 8 + 8


def test_a_distance_past_a_table_that_no_coder_writes_is_refused() -> None:
    prior = rare_ends()
    models = TableModels(prior)
    q = prior.low[:1].astype(np.int32).copy()
    q[0, 0] -= 65_535  # a bit more than 16
    with pytest.raises(FormatError, match="further past its table"):
        entropy.decode(entropy.encode([(0, q)], models), [(0, 1)], models)


def test_entropy_coding_comes_close_to_the_entropy() -> None:
    prior = small_prior((40,) * 64, 1)
    rng = np.random.default_rng(0)
    columns = [rng.choice(40, 100, p=prior.table(0, d) / 65536) + prior.low[0, d] for d in range(64)]
    q = np.stack(columns, 1).astype(np.int32)
    bits = prior.bits(torch.from_numpy(q).float(), torch.zeros(100, dtype=torch.long)).double().sum().item()
    assert bits / 8 <= len(entropy.encode([(0, q)], TableModels(prior))) <= bits / 8 + 8


def test_entropy_coded_bytes_are_pinned() -> None:
    """The bytes of a small message: they may not change while the coders are called velcodec-1 to 6, and 7."""
    prior = small_prior((3, 5), 1)
    flat = Prior(
        prior.step,
        prior.low,
        prior.size,
        np.array([1, 65534, 1, 13107, 13107, 13107, 13107, 13108], np.uint16),
    )
    q = np.array([[0, -2], [0, 2], [-1, 0]], np.int32)
    assert entropy.encode([(0, q)], TableModels(flat.closed())).hex() == PINNED
    assert entropy.encode([(0, q)], TableModels(flat)).hex() == PINNED_7


PINNED = "0c2d0200"
PINNED_7 = "122e0200"


def test_streams_that_cannot_be_are_refused() -> None:
    models = TableModels(small_prior())
    q = np.zeros((50, 3), np.int32)
    data = entropy.encode([(0, q)], models)
    for wrong in (data[:-1], data + bytes(8)):
        with pytest.raises(FormatError):
            entropy.decode(wrong, [(0, 50)], models)


# Container

SECOND, THIRD = container.FEATURE_SECOND, container.FEATURE_SECOND | container.FEATURE_THIRD
CODERS = (0, SECOND, THIRD, THIRD | container.FEATURE_FOURTH)  # features of each


def test_a_section_byte_for_byte() -> None:
    section = container.pack_section(Section(b"MAPS", 1, 2, b"abc"))
    assert section[:16].hex() == "4d415053010000000200000003000000"
    assert section[16:20] == container.crc32c(section[:16], b"abc").to_bytes(4, "little")
    assert section[20:] == b"abc"
    assert container.crc32c(b"123456789") == 0xE3069283  # the check value of CRC32C
    assert container.unpack_section(section, b"MAPS") == Section(b"MAPS", 1, 2, b"abc")


@given(
    hnp.arrays(np.float64, 20, elements=st.floats(0, 300)),
    hnp.arrays(np.float64, 20, elements=st.floats(0, 1e8)),
)
def test_quality_codes_round_the_safe_way(psnr: np.ndarray, error: np.ndarray) -> None:
    for scale in (quality.FINE, quality.COARSE):
        p, e = quality.quality_values(*quality.quality_codes(psnr, error, scale), scale)
        assert (p <= psnr + 1e-6).all()
        assert (p >= psnr - 1.002 * scale.psnr_step).all()
        assert (e >= error * (1 - 1e-9)).all()
        assert (e <= error * 2 ** (1.02 / scale.error_steps) + 1e-9).all()


@pytest.mark.parametrize("scale", [quality.FINE, quality.COARSE])
def test_quality_of_exact_and_unbounded(scale: quality.QualityScale) -> None:
    codes = quality.quality_codes(np.array([np.inf, 0.0]), np.array([0.0, np.inf]), scale)
    p, e = quality.quality_values(*codes, scale)
    assert p.tolist() == [np.inf, 0]
    assert e.tolist() == [0, np.inf]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(1, 300), max_size=5), st.integers(0, 2**32 - 1))
def test_footers_round_trip(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    entries, maps, offset = [], 0, container.PROLOGUE.size
    for count in counts:
        entries.append(Entry(offset, 100 + count, maps, count))
        maps, offset = maps + count, offset + 100 + count
    psnr, error = (rng.integers(0, 65536, maps).astype(np.uint16) for _ in range(2))
    for features in CODERS:
        packed = footer.pack_footer(Footer(entries, (offset, 50), psnr, error), features)
        foot = footer.unpack_footer(packed, offset + 50, features)
        assert foot.entries == entries
        assert foot.book == (offset, 50)
        np.testing.assert_array_equal(foot.psnr, psnr)
        np.testing.assert_array_equal(foot.error, error)
        with pytest.raises(FormatError):
            footer.unpack_footer(packed + b"left over", offset + 50, features)


@pytest.mark.parametrize("features", CODERS)
def test_indexes_that_cannot_be_are_refused(features: int) -> None:
    codes = np.zeros(4, np.uint16)
    good = [Entry(16, 40, 0, 2), Entry(56, 40, 2, 2)]

    def through(foot: Footer) -> Footer:
        return footer.unpack_footer(footer.pack_footer(foot, features), 96, features)

    through(Footer(good, (0, 0), codes, codes))
    for entries, book in (
        ([Entry(16, 40, 0, 2), Entry(50, 40, 2, 2)], (0, 0)),  # overlap
        ([Entry(16, 40, 0, 2), Entry(56, 41, 2, 2)], (0, 0)),  # past the end
        ([Entry(16, 40, 0, 2), Entry(56, 40, 1, 2)], (0, 0)),  # a map twice
        ([Entry(16, 10, 0, 2), Entry(56, 40, 2, 2)], (0, 0)),  # shorter than its header
        (good, (90, 6)),  # codebook over a block
        (good, (96, 1)),  # codebook past the end
    ):
        with pytest.raises(FormatError):
            through(Footer(entries, book, codes, codes))


def test_blocks_round_trip_and_check_their_kinds() -> None:
    block = Block(np.array([0, 1, 2, 16], np.uint8), b"abcd", bytes(260), bytes(512), bytes(range(16)))
    back = blocks.unpack_block(blocks.pack_block(block, 0), 0, 256, [16] * 4)
    np.testing.assert_array_equal(back.kinds, block.kinds)
    assert (back.entropy, back.int8, back.fp16, back.exact) == (
        b"abcd",
        bytes(260),
        bytes(512),
        bytes(range(16)),
    )
    for kinds in ([0, 1, 2, 5], [0, 0, 2, 16], [1, 1, 2, 16]):
        wrong = blocks.pack_block(
            Block(np.array(kinds, np.uint8), b"abcd", bytes(260), bytes(512), bytes(16)), 0
        )
        with pytest.raises(FormatError):
            blocks.unpack_block(wrong, 0, 256, [16] * 4)


# Grid


def test_centres_are_cell_centred() -> None:
    np.testing.assert_allclose(centres(4), [-0.75, -0.25, 0.25, 0.75])
    grid = make_grid((70, 70), (280, 280))
    np.testing.assert_allclose(grid.z, centres(280))
    np.testing.assert_allclose(make_grid((70, 50), None, ((10, 20), (0, 50))).z, centres(70)[10:20])


def test_a_window_at_its_own_resolution_covers_its_cells() -> None:
    grid = make_grid((70, 70), (20, 4), ((10, 20), (0, 2)))
    assert grid.shape == (20, 4)
    np.testing.assert_allclose(grid.z.reshape(10, 2).mean(1), centres(70)[10:20])
    np.testing.assert_allclose(grid.x.reshape(2, 2).mean(1), centres(70)[:2])


@pytest.mark.parametrize("window", [((0, 0), (0, 5)), ((5, 3), (0, 5)), ((-1, 3), (0, 5)), ((0, 11), (0, 5))])
def test_windows_outside_are_refused(window: tuple[tuple[int, int], tuple[int, int]]) -> None:
    with pytest.raises(UsageError):
        make_grid((10, 10), None, window)


def test_resampling_is_linear_and_keeps_nan_local() -> None:
    ramp = np.add.outer(np.arange(10.0), 2 * np.arange(8.0))[None]
    out = resample(ramp, make_grid((10, 8), (30, 24)))
    np.testing.assert_allclose(out[0, 1:-1:3, 1:-1:3], ramp[0], atol=1e-9)
    holed = ramp.copy()
    holed[0, 5, 5] = np.nan
    assert np.isnan(resample(holed, make_grid((10, 8), (30, 24)))[0]).sum() <= 36
    np.testing.assert_array_equal(
        resample(ramp, make_grid((10, 8), None, ((2, 4), (1, 3)))), ramp[:, 2:4, 1:3]
    )

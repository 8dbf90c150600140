"""What is stored exactly: layers, integers and fractions under the adaptive models, bit for bit, whatever they hold."""

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from velcodec import adaptive, exact, interfaces, layers, metrics, pixels, synth
from velcodec.errors import FormatError
from velcodec.grid import make_grid
from velcodec.pixels import Integers

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


def layered(maps: list[NDArray[Any]], low: float = 0.0, high: float = 5000.0) -> bytes:
    """Encode maps that must qualify, decode them and compare."""
    found = [layers.analyse(m) for m in maps]
    own = [f for f in found if f is not None]
    assert len(own) == len(maps)
    data, sizes = layers.encode(own, [len(m) for m in maps], low, high, 0.0)
    assert sizes.sum() == pytest.approx(len(data), abs=6)
    back = layers.decode(data, [m.shape for m in maps], [False] * len(maps), maps[0].dtype, low, high, 0.0)
    for m, b in zip(maps, back, strict=True):
        assert layers.draw(b, len(m)).tobytes() == m.tobytes()
    return data


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 9)),
    st.sampled_from(["<f4", "<f8", "<f2", "<i2", "<u1", "<i8"]),
    st.booleans(),
)
def test_any_stack_of_layers_comes_back(steps: NDArray[np.int64], dtype: str, rising: bool) -> None:
    """Layers may be missing from any column, and velocities need not rise."""
    order = np.arange(100, 200) if rising else np.random.default_rng(int(steps.sum())).permutation(100)
    layered([order[np.minimum(np.cumsum(steps, axis=0), 60)].astype(dtype)])


def test_layers_of_any_bit_pattern() -> None:
    m = np.zeros((9, 7), np.float32)
    m[2:4], m[4:5], m[5:8], m[8:] = -0.0, np.nan, 1e-40, np.inf
    layered([m, m])
    layered([np.full((1, 1), -1.5), np.full((3, 1), 0.0)])


@settings(deadline=None, max_examples=200)
@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3)))
def test_values_may_come_back(m: NDArray[np.int64]) -> None:
    found = layers.analyse(m)
    if found is None:
        return
    assert (np.diff(found.values) != 0).all()
    assert (np.diff(found.depths, axis=0) >= 0).all()
    layered([m])


def test_interfaces_of_values_that_come_back_go_on_from_column_to_column() -> None:
    """Sand, shale, sand, shale under a fold that brings layers out of the map above and below."""
    top = np.round(22 * np.sin(np.arange(70) / 9)).astype(np.int64)
    depths = np.clip(top + np.arange(5, 80, 15)[:, None], 0, 70)
    m = 2000 + 500.0 * ((np.arange(70)[:, None, None] >= depths).sum(1) % 2).astype(np.float32)
    found = layers.analyse(m)
    assert found is not None
    np.testing.assert_array_equal(found.depths, depths)
    size = len(layered([m]))
    assert size < 120


@pytest.mark.parametrize("depth", [12, 30])
def test_a_lens_is_a_layer_of_its_own(depth: int) -> None:
    m = np.full((40, 50), 1500, np.int16)
    m[20:] = 2500
    m[depth : depth + 4, 10:20] = 2500 if depth < 20 else 1500
    found = layers.analyse(m)
    assert found is not None and len(found.values) == 4
    layered([m])


def test_columns_that_disagree_are_not_layers() -> None:
    m = np.random.default_rng(1).integers(0, 3, (40, 40)).astype(np.float32)
    assert layers.analyse(m) is None
    assert layers.analyse(np.arange(200, dtype=np.float32).reshape(200, 1)) is None


@pytest.mark.parametrize("family", ["FlatVel_A", "FlatVel_B", "CurveVel_A", "CurveVel_B"])
def test_families_of_layers_are_small(family: str) -> None:
    maps = list(synth.generate(family, 40, seed=3))
    assert len(layered(maps)) / 40 < (20 if family.startswith("Flat") else 80)


def test_interfaces_are_smooth_between_columns() -> None:
    """A sine comes back from its rounded depths to a seventh of a cell in the median."""
    x = np.arange(70)
    truth = 30 + 6 * np.sin(2 * np.pi * x / 30)
    curve = interfaces.smooth_depths(np.rint(truth)[None].astype(np.int64), 70)[0]
    off = np.abs(curve - truth)
    assert np.median(off) < 0.15
    assert np.percentile(off, 95) < 0.5
    assert np.abs(curve - np.rint(truth)).max() <= 0.5


def test_nothing_is_smoothed_across_a_fault() -> None:
    depths = np.concatenate([np.full(30, 20), np.full(40, 45)])[None]
    np.testing.assert_allclose(interfaces.smooth_depths(depths, 70), depths, atol=1e-6)
    assert interfaces.jumps(depths)[0].nonzero()[0].tolist() == [29]


def drawn(family: str, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """MSE of layered maps at 280 x 280 against the truth, ours (n,) and of interpolations (n, 4), and their names."""
    grid = make_grid((70, 70), (280, 280))
    coarse, fine = (synth.generate(family, count, side, seed=11) for side in (70, 280))
    rivals = ["NEAREST", "BILINEAR", "BICUBIC", "LANCZOS"]
    ours, theirs = [], []
    for m, truth in zip(coarse, fine, strict=True):
        found = layers.analyse(m)
        if found is not None:
            ours.append(interfaces.draw_at(found, 70, grid.z, grid.x))
            assert np.isin(ours[-1], found.values).all()  # crisp
            ways = [Image.fromarray(m).resize((280, 280), Image.Resampling[name]) for name in rivals]
            theirs.append([metrics.mse(truth, np.asarray(way))[0] for way in ways])
            ours[-1] = metrics.mse(truth, ours[-1])[0]
    assert len(ours) >= count // 5
    return np.array(ours), np.array(theirs), rivals


@pytest.mark.parametrize(
    ("family", "most"), [("CurveVel_A", 0.75), ("CurveVel_B", 0.75), ("CurveFault_B", 0.95)]
)
def test_layers_are_drawn_nearer_to_the_truth_than_any_interpolation(family: str, most: float) -> None:
    ours, theirs, names = drawn(family, 24)
    best = theirs.mean(axis=0)
    assert ours.mean() < most * best.min(), dict(zip(names, best, strict=True))


def test_flat_interfaces_between_samples_are_drawn_as_near_as_crisp_edges_can() -> None:
    """FlatFault_B: an interface lies flat anywhere in its cell, and a ramp has 2/3 of the error of the best edge.

    See benchmarks/resolution.py. An edge is nearest's; ours gains on it where interfaces slope, and along faults.
    """
    ours, theirs, names = drawn("FlatFault_B", 24)
    assert ours.mean() < theirs[:, names.index("NEAREST")].mean()


@pytest.mark.parametrize("family", ["FlatVel_A", "FlatVel_B"])
def test_interfaces_at_whole_cells_are_drawn_without_error(family: str) -> None:
    ours, theirs, names = drawn(family, 8)
    assert ours.max() == 0
    assert theirs[:, names.index("NEAREST")].max() == 0  # the only other that does
    assert theirs[:, 1:].min() > 0


def test_a_fault_is_drawn_as_a_line() -> None:
    """A steep fault through flat layers, seen as a staircase of cells, is drawn nearer to the line than these are."""

    def section(n: int) -> NDArray[np.float32]:
        at = (np.arange(n) + 0.5) * 70 / n
        z, x = at[:, None], at[None]
        shift = 7.0 * (x - 35 < 0.15 * (z - 35))
        return (1500 + 500 * np.floor((z + shift) / 14)).astype(np.float32)

    grid = make_grid((70, 70), (280, 280))
    found = layers.analyse(section(70))
    assert found is not None
    copy, truth = interfaces.draw_at(found, 70, grid.z, grid.x), section(280)
    steps = np.kron(section(70), np.ones((4, 4)))
    assert np.mean(copy != truth) < 0.5 * np.mean(steps != truth)


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 5), (4, 2), (3, 4)])
def test_layers_of_any_shape_are_drawn(shape: tuple[int, int]) -> None:
    m = np.arange(shape[0], dtype=np.float32)[:, None].repeat(shape[1], axis=1)
    found = layers.analyse(m)
    assert found is not None
    grid = make_grid(shape, (4 * shape[0], 4 * shape[1]))
    np.testing.assert_array_equal(
        interfaces.draw_at(found, shape[0], grid.z, grid.x), np.kron(m, np.ones((4, 4)))
    )


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.int64, SHAPES, elements=st.integers(-40, 40) | st.integers(-(1 << 35), 1 << 35)),
    st.integers(0, 255),
    st.sampled_from(["edges", "smooth", "edges-1", "smooth-1"]),
)
def test_any_integers_come_back(q: NDArray[np.int64], code: int, model: pixels.Model) -> None:
    maps = [Integers(q, code), Integers(q[::-1].copy(), 255 - code)]
    data, _ = pixels.encode(maps, model, 0)
    back = pixels.decode(data, [q.shape] * 2, [False] * 2, model, 0)
    for m, b in zip(maps, back, strict=True):
        np.testing.assert_array_equal(b.whole, m.whole)
        assert b.code == m.code


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda t: hnp.arrays(
            t,
            SHAPES,
            elements=st.floats(-4000, 4000, width=np.dtype(t).itemsize * 8).map(
                lambda v: t(t(round(v * 64) / 64))
            ),
        )
    ),
    st.sampled_from(["edges", "smooth", "edges-1", "smooth-1"]),
)
def test_any_binary_fractions_come_back(m: NDArray[Any], model: pixels.Model) -> None:
    m = m + m.dtype.type(0)  # no minus zero
    found = exact.to_integers(m)
    assert found is not None
    data, _ = pixels.encode([found], model, exact.mantissa(m.dtype))
    (back,) = pixels.decode(data, [m.shape], [True], model, exact.mantissa(m.dtype))
    assert exact.from_integers(back, m.dtype).tobytes() == m.tobytes()


def test_textures_take_fewer_bytes_than_before() -> None:
    maps = [Integers(np.rint(m / 30).astype(np.int64), 128) for m in synth.generate("Style_B", 30, seed=41)]
    before, now = (len(pixels.encode(maps, model, 0)[0]) for model in ("smooth-1", "smooth"))
    assert now < 0.985 * before


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.0, 1e30, 1e-30])
def test_what_has_no_integers_is_said_so(value: float) -> None:
    assert exact.to_integers(np.array([[value, 1.0]], np.float64)) is None


def test_integers_of_every_dtype() -> None:
    for code in ("u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8"):
        m = np.array([[0, 1], [100, 127]], code)
        found = exact.to_integers(m)
        assert found is not None
        assert exact.from_integers(found, m.dtype).tobytes() == m.tobytes()
    assert exact.to_integers(np.array([[1 << 60]])) is None


def test_damaged_streams_raise_or_give_other_maps() -> None:
    """Without a checksum a stream may decode to anything, but only to maps of the shapes stated, and never hang."""
    rng = np.random.default_rng(1)
    q = rng.integers(0, 4, (10, 10))
    good, _ = pixels.encode([Integers(q, 3)], "edges", 0)
    m = np.repeat(np.arange(5.0, dtype=np.float32), 4)[:, None].repeat(10, 1)
    found = layers.analyse(m)
    assert found is not None
    stack, _ = layers.encode([found], [20], 0.0, 5.0, 0.0)
    for _ in range(200):
        for data, read in (
            (good, lambda d: pixels.decode(d, [(10, 10)], [False], "edges", 0)[0].whole.shape),
            (
                stack,
                lambda d: (
                    layers.decode(d, [(20, 10)], [False], m.dtype, 0.0, 5.0, 0.0)[0].depths.shape[1:] + (10,)
                ),
            ),
        ):
            damaged = bytearray(data)
            damaged[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
            cut = bytes(damaged[: int(rng.integers(0, len(data) + 1))])
            for d in (bytes(damaged), cut):
                with contextlib.suppress(FormatError):
                    assert read(d) == (10, 10)


def test_streams_end_where_their_maps_do() -> None:
    q = np.arange(50).reshape(5, 10)
    data, _ = pixels.encode([Integers(q, 0)], "edges", 0)
    for wrong in (data + bytes(8), data[: len(data) // 2], b""):
        with pytest.raises(FormatError):
            pixels.decode(wrong, [q.shape], [False], "edges", 0)


def test_even_odds_cost_what_they_must() -> None:
    values = np.random.default_rng(0).integers(0, 3000, 500)

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        for v in values:
            adaptive.code_even(io, buffer, 3000, int(v))

    assert len(adaptive.write(code, 10)) == pytest.approx(500 * np.log2(3000) / 8, rel=0.01)

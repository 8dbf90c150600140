"""Interfaces read off maps as cosines: between the cells that show them, and no rougher than they must be."""

import numpy as np
import pytest
from numpy.typing import NDArray

from velcodec import curves
from velcodec.told import basis

WAVES = 40
SLACK = 0.05  # cells past a bound that the last of the passes may leave
SMOOTH = np.maximum(1.0, np.arange(1, WAVES) / curves.BENDS) ** -3


def folds(seed: int, count: int = 5, width: int = 70) -> NDArray[np.float64]:
    """Cosines (count, WAVES) of interfaces as these are: each near the one above it, ten cells deeper."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(count, WAVES))
    steps[:, 1:] *= SMOOTH * np.where(np.arange(count) > 0, curves.DRIFT, curves.FOLD)[:, None] / 3
    steps[:, 0] = 10 / basis(width, WAVES)[0, 0]
    return steps.cumsum(0)


def energy(cosines: NDArray[np.float64]) -> float:
    """How unlikely interfaces (n, K) are, the constants left out."""
    steps = np.diff(cosines, axis=0, prepend=0)[:, 1:]
    spread = SMOOTH * np.where(np.arange(len(cosines)) > 0, curves.DRIFT, curves.FOLD)[:, None]
    return float(((steps / spread) ** 2).sum())


@pytest.mark.parametrize("width", [70, 96])
def test_interfaces_go_between_the_cells_and_are_no_rougher_than_those_that_did(width: int) -> None:
    across = basis(width, WAVES)
    energies = []
    for seed in range(5):
        true = folds(seed, width=width)
        depths = np.rint(true @ across.T)
        found = curves.likeliest(depths - 0.5, depths + 0.5, across)
        assert np.abs(found @ across.T - depths).max() < 0.5 + SLACK
        assert np.abs((found - true) @ across.T).mean() < 0.25  # half of what rounding alone allows
        energies.append((energy(found), energy(true)))
    likely, as_made = np.sum(energies, axis=0)
    assert likely < 0.8 * as_made


def test_flat_interfaces_are_found_where_they_are() -> None:
    depths = np.array([[7.0], [19.0], [20.0]]).repeat(70, 1)
    found = curves.likeliest(depths - 0.4, depths + 0.4, basis(70, WAVES))
    np.testing.assert_allclose(found @ basis(70, WAVES).T, depths, atol=1e-9)
    np.testing.assert_allclose(found[:, 1:], 0, atol=1e-9)


def test_what_is_not_seen_follows_the_interface_above() -> None:
    across = basis(70, WAVES)
    depths = np.rint(folds(7, 2) @ across.T)
    low, high = depths - 0.5, depths + 0.5
    low[1], high[1] = -np.inf, np.inf
    first, second = curves.likeliest(low, high, across)
    np.testing.assert_allclose(second, first, atol=1e-6)
    low[1, :20], high[1, :20] = depths[1, :20] - 0.5, depths[1, :20] + 0.5
    low[1, 40:] = depths[0, 40:] + 30  # deeper than this, and no more is known
    second = curves.likeliest(low, high, across)[1]
    curve = second @ across.T
    assert np.abs(curve - depths[1])[:20].max() < 0.5 + SLACK
    assert (curve[40:] > low[1, 40:] - 0.1).all()


def test_interfaces_are_brought_within_bounds_and_those_within_stay() -> None:
    across = basis(70, WAVES)
    true = folds(3)
    depths = np.rint(true @ across.T)
    rough = true.copy()
    rough[:, 12:] = 0
    rough[0] = true[0]
    before = np.abs(rough @ across.T - depths) > 0.5
    own = rough.copy()
    curves.bring_within(own, depths - 0.5, depths + 0.5, across)
    after = np.abs(own @ across.T - depths) > 0.5 + 1e-3
    assert before.any() and after.sum() < before.sum() / 4
    np.testing.assert_array_equal(own[0], rough[0])


def test_bounds_that_cannot_be_met_leave_finite_interfaces() -> None:
    across = basis(70, WAVES)
    low = np.where(np.arange(70) % 2, 10.0, 60.0)[None]
    for found in (curves.likeliest(low, low + 1, across), np.zeros((1, WAVES))):
        curves.bring_within(found, low, low + 1, across)
        assert np.isfinite(found).all() and np.abs(found @ across.T).max() < 200

"""Metrics against hand-made figures and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest

from velcodec import metrics
from velcodec.errors import UsageError

FUNCTIONS = (metrics.psnr, metrics.ssim, metrics.mse, metrics.max_error)


def maps(n: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1500, 4500, (n, 12, 10)).astype(np.float32)


def test_known_figures():
    v = np.zeros((2, 4, 4), np.float32)
    v[:, 0, 0] = 1000
    r = v.copy()
    r[0] += 10
    r[1, 3, 3] += 40
    assert metrics.mse(v, r).tolist() == [100, 100]
    assert metrics.max_error(v, r).tolist() == [10, 40]
    assert metrics.psnr(v, r) == pytest.approx([40, 40], abs=1e-9)


def test_range_is_each_original_maps_own():
    v = maps()
    v[1] /= 100
    r = v + np.float32(1)
    span = np.ptp(v.astype(float), axis=(1, 2))
    wanted = 10 * np.log10(span**2 / metrics.mse(v, r))
    assert metrics.psnr(v, r) == pytest.approx(wanted, abs=1e-9)
    assert metrics.psnr(r * 3, v)[0] != metrics.psnr(v, r * 3)[0]


def test_ssim_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    v, r = maps(), maps() + np.random.default_rng(1).normal(0, 80, (3, 12, 10))
    wanted = [
        structural_similarity(a, b, data_range=np.ptp(a)) for a, b in zip(v.astype(float), r, strict=True)
    ]
    assert metrics.ssim(v, r) == pytest.approx(wanted, abs=1e-6)


def test_identical_maps():
    v = maps()
    v[0, 2, 3], v[1, 0, 0], v[2] = np.nan, np.inf, 2000
    assert metrics.psnr(v, v).tolist() == [np.inf] * 3
    assert metrics.ssim(v, v).tolist() == [1] * 3
    assert metrics.mse(v, v).tolist() == [0] * 3
    assert metrics.max_error(v, v).tolist() == [0] * 3


def test_constant_map_with_an_error():
    v = np.full((1, 8, 8), 2000.0)
    assert metrics.psnr(v, v + 1).tolist() == [0]
    assert metrics.ssim(v, v + 1).tolist() == [0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_against_a_number_is_an_infinite_error(bad):
    v, r = maps(1), maps(1)
    r[0, 0, 0] = bad
    for a, b in ((v, r), (r, v)):
        assert metrics.max_error(a, b).tolist() == [np.inf]
        assert metrics.mse(a, b).tolist() == [np.inf]
        assert metrics.psnr(a, b).tolist() == [-np.inf]
        assert np.isnan(metrics.ssim(a, b)).all()


def test_signs_of_infinity_differ():
    assert metrics.max_error(np.array([[np.inf, 1]]), np.array([[-np.inf, 1]])).tolist() == [np.inf]


@pytest.mark.parametrize("shape", [(12, 10), (3, 12, 10), (3, 1, 12, 10)])
def test_layouts(shape):
    v = maps(3)[: 1 if len(shape) == 2 else 3].reshape(shape)
    for function in FUNCTIONS:
        out = function(v, v + 1)
        assert out.shape == (1 if len(shape) == 2 else 3,)
        assert out.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
def test_integers_do_not_wrap(dtype):
    v, r = np.zeros((2, 2), dtype), np.zeros((2, 2), dtype)
    v[0, 0], r[0, 1] = 100, 100
    assert metrics.max_error(v, r).tolist() == [100]
    assert metrics.mse(v, r).tolist() == [5000]


def test_neighbouring_large_integers_differ():
    v = np.array([[2**62, 0]], np.int64)
    assert metrics.max_error(v, v + 1).tolist() == [1]
    assert np.isfinite(metrics.psnr(v, v + 1)).all()
    extremes = np.array([[np.iinfo(np.int64).min, np.iinfo(np.int64).max]])
    assert metrics.max_error(extremes, extremes[:, ::-1]).tolist() == [2.0**64]


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_tiny_and_huge_values_keep_their_psnr(scale):
    v = maps(1).astype(np.float64)
    assert metrics.psnr(v * scale, v * scale * 1.001) == pytest.approx(metrics.psnr(v, v * 1.001), abs=1e-6)


def test_small_maps_have_a_smaller_window_or_no_ssim():
    v = maps(1)[:, :4, :4]
    assert np.isfinite(metrics.ssim(v, v + 5)).all()
    assert np.isnan(metrics.ssim(v[:, :2], v[:, :2] + 5)).all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_wrong_shapes_are_refused(function):
    with pytest.raises(UsageError, match="differ in shape"):
        function(np.zeros((2, 3, 3)), np.zeros((1, 3, 3)))
    for shape in ((3,), (2, 2, 3, 3), (1, 0, 3)):
        with pytest.raises(UsageError, match="maps must be"):
            function(np.zeros(shape), np.zeros(shape))


def test_no_maps_have_no_figures():
    assert metrics.psnr(np.zeros((0, 3, 3)), np.zeros((0, 3, 3))).shape == (0,)

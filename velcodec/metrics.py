"""How far a restored map is from its original: PSNR, SSIM, mean square and maximum error, one figure a map.

PSNR and its range follow the SIREN auto-decoder paper (Liu et al. 2026): the range of a map is that of the
map itself, max V - min V, not of its data type. SSIM is that of Wang, Bovik, Sheikh and Simoncelli, "Image
quality assessment: from error visibility to structural similarity", IEEE Trans. Image Processing 13(4), 2004,
with the same range.

Every function takes maps (n, H, W), (n, 1, H, W) or (H, W), original first, and returns float64 (n,). Samples
that are equal count as no error, a NaN in both being equal; a NaN or an infinity that meets anything else is
an infinite error. Maps are taken one at a time, so memory stays at a few maps whatever n is.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UsageError

Map: TypeAlias = NDArray[Any]
Figures: TypeAlias = NDArray[np.float64]

WINDOW = 7  # cells: the side of SSIM's uniform window, scikit-image's default


def psnr(original: ArrayLike, restored: ArrayLike) -> Figures:
    """Peak signal-to-noise ratio of each map in dB: 10 log10((max V - min V)^2 / MSE).

    Infinite where a map is restored without error; 0 where a constant map is not, since its range is zero.
    The range is taken over the finite samples.
    """
    return _each(_psnr, original, restored)


def ssim(original: ArrayLike, restored: ArrayLike) -> Figures:
    """Mean structural similarity of each map, by scikit-image with data_range = max V - min V.

    1 where a map is restored without error; 0 where a constant map is not. NaN where it is not defined: maps
    with values that are not finite, or less than 3 cells on a side. The window shrinks on maps under 7 cells.
    """
    return _each(_ssim, original, restored)


def mse(original: ArrayLike, restored: ArrayLike) -> Figures:
    """Mean square error of each map, in the square of the maps' unit."""
    return _each(lambda v, r: float(np.mean(np.square(_errors(v, r)))), original, restored)


def max_error(original: ArrayLike, restored: ArrayLike) -> Figures:
    """Largest absolute error of each map, max |v - v'|, in the maps' unit."""
    return _each(lambda v, r: float(_errors(v, r).max()), original, restored)


def _each(figure: Callable[[Map, Map], float], original: ArrayLike, restored: ArrayLike) -> Figures:
    v, r = np.asarray(original), np.asarray(restored)
    if v.shape != r.shape:
        raise UsageError(
            f"original and restored maps differ in shape: {v.shape} and {r.shape}; give matching maps"
        )
    singleton = v.ndim == 4 and v.shape[1] == 1
    if not (v.ndim in (2, 3) or singleton) or 0 in v.shape[-2:]:
        raise UsageError(f"maps must be (H, W), (n, H, W) or (n, 1, H, W), not {v.shape}")
    pairs = zip(v.reshape(-1, *v.shape[-2:]), r.reshape(-1, *r.shape[-2:]), strict=True)
    return np.array([figure(a, b) for a, b in pairs], dtype=np.float64)


def _errors(v: Map, r: Map) -> Figures:
    """|v - r| of one map in float64, by the rules of the module."""
    if v.dtype.kind in "iu" and v.dtype == r.dtype:
        # Modulo 2^64 the difference of two 64-bit integers is exact; as floats, neighbours could seem equal.
        wide = np.uint64 if v.dtype.kind == "u" else np.int64
        high, low = np.maximum(v, r).astype(wide), np.minimum(v, r).astype(wide)
        return (high.view(np.uint64) - low.view(np.uint64)).astype(np.float64)
    a, b = v.astype(np.float64), r.astype(np.float64)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(a - b)
    error[np.isnan(error)] = np.inf
    error[equal] = 0.0
    return error


def _span(v: Map) -> float:
    """max V - min V over the finite samples; 0 where there is none."""
    values = v.astype(np.float64)
    finite = values[np.isfinite(values)]
    return float(finite.max() - finite.min()) if finite.size else 0.0


def _psnr(v: Map, r: Map) -> float:
    error, span = _errors(v, r), _span(v)
    if not error.any():
        return float("inf")
    if span == 0:
        return 0.0
    if not np.isfinite(error).all():
        return float("-inf")
    # Dividing before squaring keeps tiny and huge ranges clear of underflow and overflow.
    peak = float(error.max())
    return float(20 * np.log10(span / peak) - 10 * np.log10(np.mean(np.square(error / peak))))


def _ssim(v: Map, r: Map) -> float:
    if not _errors(v, r).any():
        return 1.0
    a, b, span = v.astype(np.float64), r.astype(np.float64), _span(v)
    side = min(WINDOW, (min(v.shape) - 1) // 2 * 2 + 1)
    if side < 3 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("nan")
    if span == 0:
        return 0.0
    from skimage.metrics import structural_similarity

    figure: Any = structural_similarity(a, b, win_size=side, data_range=span)
    return float(figure)

"""Measured quality <-> the codes of it in a footer or in blocks: PSNR rounds down, the maximum error up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .container import ERROR_MAX, ERROR_UNBOUNDED, FEATURE_SECOND, FEATURE_THIRD, PSNR_EXACT, PSNR_MAX


@dataclass(frozen=True)
class QualityScale:
    """What quality codes stand for: psnr_step in dB (codes round down), error_steps codes an octave (they round up).

    error_bias is the code of a maximum error of 1 in the file's units.
    """

    psnr_step: float
    error_steps: int
    error_bias: int


FINE = QualityScale(0.05, 32, 1024)
COARSE = QualityScale(0.25, 8, 256)  # of the second coder
COARSER = QualityScale(0.5, 8, 256)  # of the third


def quality_scale(features: int) -> QualityScale:
    """The scale of the quality codes of a file."""
    if features & FEATURE_THIRD:
        return COARSER
    return COARSE if features & FEATURE_SECOND else FINE


def quality_codes(
    psnr: NDArray[np.float64], error: NDArray[np.float64], scale: QualityScale
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """PSNR in dB (inf: exact) and maximum error (n,) to codes; PSNR rounds down, the error up."""
    p = np.full(len(psnr), PSNR_EXACT, np.uint16)
    finite = np.isfinite(psnr)
    p[finite] = np.clip(np.floor(psnr[finite] / scale.psnr_step + 1e-9), 0, PSNR_MAX)
    e = np.zeros(len(error), np.uint16)
    some = error > 0
    code = np.ceil(scale.error_steps * np.log2(error[some]) - 1e-9) + scale.error_bias
    e[some] = np.where(code > ERROR_MAX, ERROR_UNBOUNDED, np.clip(code, 1, ERROR_MAX))
    return p, e


def quality_values(
    psnr: NDArray[np.uint16], error: NDArray[np.uint16], scale: QualityScale
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Codes to PSNR in dB (inf: exact) and an upper bound of the maximum error, (n,) each."""
    p = np.where(psnr == PSNR_EXACT, np.inf, psnr * scale.psnr_step)
    with np.errstate(over="ignore"):
        e = np.exp2((error.astype(np.float64) - scale.error_bias) / scale.error_steps)
    return p, np.where(error == 0, 0.0, np.where(error == ERROR_UNBOUNDED, np.inf, e))

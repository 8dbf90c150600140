"""What a request asks of a map that reads back: how far off it may be, and the steps that may keep it so."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import residual
from ..header import Header
from ..request import Request

REACH = 12  # codes tried for a PSNR on either side of the one that noise would need
LATER_STEPS = 9  # codes tried for a bound: drift and the rounding of a dtype may ask for a finer step


def keeps(m: NDArray[Any], restored: NDArray[Any], span: float, request: Request, drift: float = 0.0) -> bool:
    """Whether a map reads back as asked, were every sample off by a drift as well."""
    off = np.abs(m.astype(np.float64) - restored.astype(np.float64))
    if request.max_error is not None:
        whole = m.dtype.kind in "iu"  # then a drift may take the next integer
        return float(off.max()) + drift <= (math.floor(request.max_error) if whole else request.max_error)
    rms = float(np.sqrt(np.mean(off**2))) + drift
    return rms <= allowed_rms(span, request)


def quality(m: NDArray[Any], restored: NDArray[Any], span: float) -> tuple[float, float]:
    """PSNR in dB by a given range, and the maximum error."""
    off = np.abs(m.astype(np.float64) - restored.astype(np.float64))
    mse = float(np.mean(off**2))
    if mse == 0:
        return np.inf, 0.0
    return 10 * float(np.log10(span**2 / mse)) if span > 0 else 0.0, float(off.max())


def allowed_rms(span: float, request: Request) -> float:
    """The root mean square error that gives the PSNR asked for."""
    return span * 10 ** (-request.least_psnr / 20)


def codes(span: float, header: Header, request: Request) -> Sequence[int]:
    """Codes of the steps to try, the coarsest first: for a PSNR about the one whose rounding noise would give it."""
    if request.max_error is not None:
        return range(residual.CODE_ZERO, residual.CODE_ZERO - LATER_STEPS, -1)
    if not header.unit or span <= 0:
        return ()
    ratio = allowed_rms(span, request) * math.sqrt(12) / header.unit
    if not ratio > 0:
        return ()
    middle = residual.CODE_ZERO + round(8 * math.log2(ratio))
    return [code for code in range(middle + REACH, middle - REACH, -1) if 0 <= code <= 255]

"""Any map <-> integers, exactly: whole numbers and binary fractions, for the models of pixels.py.

A map qualifies where all its values are multiples of 1/2^b for some b, below 2^36 and not too large for its dtype:
every integer map does, and every float32 map of velocities in m/s. Others (NaN, infinities, minus zero) are
stored as their bytes under zstd.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .border import LIMIT
from .parts import MAX_BITS
from .pixels import Integers


def to_integers(m: NDArray[Any]) -> Integers | None:
    """A map (H, W) of any dtype as integers, or None where it has no such form."""
    if m.dtype.kind in "iu":
        if m.dtype.itemsize == 8 and (m.max() >= LIMIT or m.min() <= -LIMIT):
            return None
        whole = m.astype(np.int64)
        return Integers(whole, 0, np.zeros_like(whole)) if np.abs(whole).max() < LIMIT else None
    with np.errstate(invalid="ignore"):  # a signalling NaN
        v = m.astype(np.float64)
    if not np.isfinite(v).all() or np.abs(v).max() >= LIMIT - 1 or np.signbit(v[v == 0]).any():
        return None
    for bits in range(MAX_BITS + 1):
        scaled = np.ldexp(v, bits)
        if (scaled == np.rint(scaled)).all():
            break
    else:
        return None
    units = scaled.astype(np.int64)
    whole = (units + ((1 << bits) >> 1)) >> bits
    return Integers(whole, bits, units - (whole << bits))


def from_integers(m: Integers, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The map (H, W) in its dtype, bit for bit."""
    if dtype.kind in "iu" or m.parts is None:
        return m.whole.astype(dtype)
    return (m.whole + np.ldexp(m.parts.astype(np.float64), -m.code)).astype(dtype)


def mantissa(dtype: np.dtype[Any]) -> int:
    """Bits of the mantissa of a dtype; 0 for integers."""
    return int(np.finfo(dtype).nmant) if dtype.kind == "f" else 0

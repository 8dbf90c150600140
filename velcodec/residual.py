"""The correction that makes a bound hold: values <-> multiples of a step, alone or upon a latent's map.

    value - base -> round(. / step) -> integers -> base + step x integer,   off by half a step at most

The base is 0, or what a latent decodes to. Steps are `unit` x 2^(k / 8), with k + 128 on the wire.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .border import LIMIT
from .compiled import compiled

CODE_ZERO = 128  # code of k = 0
ROOTS = (  # 2^(k / 8)
    1.0,
    1.0905077326652577,
    1.189207115002721,
    1.2968395546510096,
    1.4142135623730951,
    1.5422108254079407,
    1.681792830507429,
    1.8340080864093424,
)


def step(unit: float, code: int) -> float:
    """The step of a code 0..255."""
    octave, place = divmod(code - CODE_ZERO, 8)
    return float(np.ldexp(unit * ROOTS[place], octave))


def quantise(values: NDArray[np.float64], step: float) -> NDArray[np.int64] | None:
    """Values less their base, in steps, to the nearest integers; None where one is too large."""
    scaled = np.rint(values / step)
    return scaled.astype(np.int64) if np.abs(scaled).max() < LIMIT else None


@compiled
def within(values: Any, step: float, rms: float) -> bool:
    """Whether rounding values (H, W) to multiples of a step leaves at most this root mean square error."""
    most = rms * rms * values.size
    total = 0.0
    for v in values.ravel():
        off = v - step * np.rint(v / step)
        total += off * off
        if total > most:
            return False
    return True


def dequantise(
    integers: NDArray[np.int64], step: float, base: Any, low: float, high: float
) -> NDArray[np.float64]:
    """Integers in steps and their base to values in float64, clipped to the file's range."""
    return np.clip(base + integers * step, low, high)


def cast(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values in float64 to a dtype; integers are rounded, and kept within what the dtype has."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # The greatest of 64 bits is no float: the next below is.
    high = np.nextafter(float(limits.max), 0) if dtype.itemsize == 8 else float(limits.max)
    return np.clip(np.rint(values), float(limits.min), high).astype(dtype)

"""What was seen of latents -> integer tables: counts, blurred, with a logistic under them; rare ends left off."""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from . import prior
from .prior import Prior

TAIL_MASS = 1e-3  # of a logistic left off at each end of a table
MARGIN = 2  # integers beyond the smallest and largest seen, and a standard deviation
RARE = 8  # of 65536: integers at the ends of a table that are no likelier are left off, but for a margin
SURE = 65_500  # of 65536: an integer so likely stands alone; another would take 11 bits and come once in 1,800 maps
SEEN_WEIGHT = 0.8  # of the counts seen against the logistic fitted to them
BLUR = 0.2  # of a standard deviation: counts of wide tables are of few maps each

Mass: TypeAlias = tuple[int, NDArray[np.float64]]  # of integers from the first on


def logistic(mean: float, scale: float, low: int | None = None, high: int | None = None) -> Mass:
    """Mass of a logistic on the integers low .. high, by default all but its far tails: (low, mass)."""
    reach = scale * math.log(1 / TAIL_MASS)
    low = math.floor(mean - reach) - 1 if low is None else low
    high = math.ceil(mean + reach) + 1 if high is None else high
    half = (prior.MAX_SIZE - 1) // 2
    low, high = max(low, round(mean) - half), min(high, round(mean) + half)
    k = np.arange(low, high + 1)
    mass = 0.5 * (np.tanh((k + 0.5 - mean) / scale / 2) - np.tanh((k - 0.5 - mean) / scale / 2))
    return low, np.maximum(mass, 1e-12)


def always(k: int) -> Mass:
    """Mass of a number that is always k."""
    return k, np.array([1.0, 1e-9])


def smoothed(q: NDArray[np.float64]) -> Mass:
    """Mass on integers from the smallest to the largest seen and a margin: the counts, blurred, with a logistic."""
    mean, scale = float(q.mean()), max(float(q.std()), 0.12) * math.sqrt(3) / math.pi
    margin = MARGIN + round(float(q.std()))
    low, smooth = logistic(mean, scale, int(q.min()) - margin, int(q.max()) + margin)
    at = np.clip(q - low, 0, len(smooth) - 1).astype(int)
    counts = np.bincount(at, minlength=len(smooth)).astype(np.float64)
    if scale > 1:
        counts = gaussian_filter1d(counts, max(0.7, BLUR * float(q.std())), mode="constant")
    heavy = np.maximum(smooth / smooth.sum(), 1e-5)
    return low, SEEN_WEIGHT * counts / counts.sum() + (1 - SEEN_WEIGHT) * heavy / heavy.sum()


def trimmed(p: Prior, rare: int = RARE) -> Prior:
    """A prior without the rare integers at the ends of its tables, which would take a third of its bytes.

    Of a number that is hardly ever another than one integer, the table is that of `prior.CERTAIN`.
    """
    low, size, tables = p.low.copy(), p.size.copy(), []
    for t, d in np.ndindex(*p.size.shape):
        frequency = p.table(t, d)
        if frequency.max() >= SURE:
            low[t, d] += frequency.argmax()
            kept = prior.CERTAIN
        else:
            likely = np.flatnonzero(frequency > rare)
            first, last = max(likely[0] - 1, 0), min(likely[-1] + 2, len(frequency))
            kept = frequency[first:last].copy()
            kept[np.argmax(kept)] += int(frequency.sum()) - int(kept.sum())
            low[t, d] += first
        size[t, d] = len(kept)
        tables.append(kept)
    return Prior(p.step, low, size, np.concatenate(tables))

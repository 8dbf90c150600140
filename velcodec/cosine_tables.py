"""Waves and table sets for the cosines of a choice decoder, counted on smooth training maps.

maps -> products with the waves of most power -> classes of maps that share tables -> integers of each step
    -> tables -> integers cheap under those
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from . import prior
from .decoders.cosines import NATIVE, CosineDecoder
from .grid import centres
from .tables import Mass, always, smoothed

SPLIT = (0.3, 0.16)  # steps between which a kind's maps are told apart by class
PRICE = 0.2  # of a bit, in squared steps, at which table sets are filled
ROUNDS = 3  # of filling tables with integers that are cheap under the last ones
ASSIGNMENTS = 5  # of maps to the class whose tables take fewer bits
AT = 0.25  # step at which they are told apart
MAPS = 3000  # training maps of each kind
SEED = 1


def waves(kinds: Sequence[NDArray[np.float32]], count: int) -> NDArray[np.float32]:
    """The waves (count, 2) of most power, by the mean over kinds of maps (n, 70, 70) of each one's share."""
    whole = CosineDecoder(NATIVE * NATIVE)
    down, across = torch.meshgrid(torch.arange(NATIVE), torch.arange(NATIVE), indexing="ij")
    whole.waves.copy_(torch.stack([across.flatten(), down.flatten()], 1))
    power = np.zeros(NATIVE * NATIVE)
    for maps in kinds:
        mean_square = (products(whole, maps[:500]) ** 2).mean(0)
        power += np.log(mean_square + 1e-6 * mean_square.sum())
    found: NDArray[np.float32] = whole.waves.numpy()[np.argsort(-power, kind="stable")[:count]]
    return found


def products(cosines: CosineDecoder, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products (n, N) of native maps with the waves."""
    axis = torch.from_numpy(centres(NATIVE)).float()
    found: NDArray[np.float32] = cosines.project(torch.from_numpy(maps), axis, axis).numpy()
    return found


def table_sets(
    cosines: CosineDecoder, maps: NDArray[np.float32], numbers: int, steps: Sequence[float], classes: int = 1
) -> tuple[list[float], list[list[Mass]]]:
    """Steps (T) and tables of number 0 to the last of a latent, counted on a kind of normalised maps (n, 70, 70).

    Args:
        numbers: cosines that this kind has tables for; it has none of the others.
        classes: into which its maps are told apart at the steps of SPLIT.
    """
    c = products(cosines, maps[:MAPS])[:, :numbers]
    label = _classes(c, classes)
    rest = [always(0)] * (cosines.latent - numbers)
    out: list[float] = []
    sets: list[list[Mass]] = []
    for step in steps:
        split = SPLIT[1] < step < SPLIT[0]
        for own in range(classes if split else 1):
            out.append(step)
            sets.append([always(1), *_filled(c[label == own] if split else c, step), *rest])
    return out, sets


def _classes(c: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Which class each map's products (n, N) are of: by the bits that they take under the tables of each."""
    if count == 1:
        return np.zeros(len(c), dtype=np.int64)
    q = np.rint(c / AT)
    strength = np.log1p(np.abs(c[:, 1:]))
    around = np.stack([part.mean(1) for part in np.array_split(strength, 8, axis=1)], 1)
    label: NDArray[np.int64] = kmeans2(around - around.mean(0), count, seed=SEED, minit="++")[1].astype(
        np.int64
    )
    for _ in range(ASSIGNMENTS):
        bits = [_bits(q, [smoothed(column) for column in q[label == k].T]).sum(1) for k in range(count)]
        label = np.stack(bits, 1).argmin(1)
    return label


def _filled(c: NDArray[np.float32], step: float) -> list[Mass]:
    """Tables of the integers that products (n, N) become where a bit has its price."""
    near = np.rint(c / step)
    masses = [smoothed(column) for column in near.T]
    less = near - np.sign(near)
    for _ in range(ROUNDS):
        costs = [(c / step - q) ** 2 + PRICE * _bits(q, masses) for q in (near, less)]
        masses = [smoothed(column) for column in np.where(costs[1] < costs[0], less, near).T]
    return masses


def _bits(q: NDArray[np.float32], masses: Sequence[Mass]) -> NDArray[np.float32]:
    """Bits (n, N) of integers under tables, as Prior gives them."""
    own = prior.build(np.ones(1, np.float32), [list(masses)])
    bits: NDArray[np.float32] = own.integer_bits(torch.from_numpy(q), 0).numpy()
    return bits

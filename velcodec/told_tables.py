"""Table sets of maps told by numbers: counts of integers that a search finds cheap under the last ones."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from . import prior
from .aim import FLOOR
from .tables import Mass, always, smoothed
from .told import Told, tables_of

ROUNDS = 2  # of filling tables with integers that are cheap under the last ones
SWEEPS = 2  # of each


def filled(ways: Sequence[Told], scales: Sequence[float], step: float, rate: float) -> list[Mass]:
    """Tables (N) of the integers of some maps.

    Args:
        ways: the maps.
        scales: of each, its squared range times its samples.
        rate: nats of log NMSE that a bit must win.
    """
    q = np.stack([told.rounded(step) for told in ways])
    masses = [_mass(column) for column in q.T]
    for _ in range(ROUNDS):
        tables = tables_of(prior.build(np.array([step], np.float32), [masses]), 0, slice(None))

        def search(i: int, tables=tables) -> None:  # type: ignore[no-untyped-def]
            ways[i].searched(q[i], tables, SWEEPS, rate * FLOOR * scales[i], rate)

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(search, range(len(ways))))
        masses = [_mass(column) for column in q.T]
    return masses


def _mass(column: NDArray[np.int64]) -> Mass:
    return smoothed(column.astype(np.float64)) if column.any() else always(0)

"""Latents of maps that are told by numbers read off them: rounded, searched by rate and distortion, the cheapest kept.

map -> the ways to tell it (layered_fit.py, faulted_fit.py) -> integers, for each step size and several prices of a bit
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .aim import FLOOR, FORTUNE, Aim
from .codebook import Codebook
from .target import span_of
from .told import Tables, Told, tables_of

FIRST_SWEEPS = 2  # over the numbers of a map, that show which way to tell it is the best
DEAR = 3.0  # times the bits of the cheapest step size at which one is of another kind of maps
PRICES = (0.0005, 0.002, 0.006, 0.015, 0.04)  # of a bit, as shares of the squared error that a PSNR allows
PRICED_SWEEPS = 6  # at each
HOPE = 4.0  # times the squared error allowed, from which a search may come down to it
TRIES = 3  # times as many ways and step sizes are searched as are to reach a PSNR
AGAIN = 2  # times that a map is read anew after a search where no PSNR is asked for, at most; else once
SAFETY = 0.98  # of that error: edges are not quite crisp


@dataclass(frozen=True)
class Part:
    """A part of a choice decoder whose numbers, the first N after number 0, are read off maps.

    Args:
        numbers: N.
        tables: its table sets.
        ways: the ways to tell a normalised map (H, W), none where it cannot be told.
        looks: ways and step sizes that are searched where no PSNR is asked for, and that are to reach one that is.
        sweeps: over the numbers of a map, at most.
    """

    numbers: int
    tables: list[int]
    ways: Callable[[NDArray[np.float32]], Sequence[Told]]
    looks: tuple[int, int]
    sweeps: int


class Start(NamedTuple):
    """Integers (N,) of a map told in some way, what they cost, and the place of their table set."""

    cost: float
    q: NDArray[np.int64]
    which: int
    told: Told


def fit(v: Tensor, codebook: Codebook, part: Part, aim: Aim, search: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The cheapest latents of normalised maps (B, H, W) for a part, of those that it can tell.

    Args:
        search: move the integers, rather than round once.

    Returns:
        Which maps they are (n,), latents (n, D) at whole steps, and table sets (n,).
    """
    scale = (span_of(v).double() ** 2 * (v.shape[1] * v.shape[2])).tolist()
    goals = [None] * len(v) if aim.psnr is None else aim.nmse().tolist()
    own = slice(1, 1 + part.numbers)
    sets = [tables_of(codebook.prior, t, own) for t in part.tables]
    maps = v.cpu().numpy()

    def cheapest(i: int) -> tuple[int, NDArray[np.int64], int] | None:
        ways = part.ways(maps[i])
        if not ways:
            return None
        looks = part.looks[goals[i] is not None]
        made = _candidates(ways, sets, looks, part.sweeps if search else 0, aim.rate, scale[i], goals[i])
        best = min(made, key=lambda start: start.cost)
        return i, best.q, part.tables[best.which]

    if search:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # the search is compiled, and holds no lock
            tried = list(pool.map(cheapest, range(len(v))))
    else:  # little of this is: threads would wait for each other
        tried = list(map(cheapest, range(len(v))))
    made = [one for one in tried if one is not None]
    rows, table = (torch.tensor([one[k] for one in made], dtype=torch.long) for k in (0, 2))
    q = torch.zeros(len(made), codebook.latent)
    for i, (_, integers, t) in enumerate(made):
        q[i, 0] = float(codebook.prior.low[t, 0])
        q[i, own] = torch.from_numpy(integers).float()
    z = q * torch.from_numpy(codebook.prior.step)[table][:, None]
    return rows.to(v.device), z.to(v.device), table.to(v.device)


def _candidates(
    ways: Sequence[Told],
    sets: list[Tables],
    looks: int,
    sweeps: int,
    rate: float,
    scale: float,
    goal: float | None,
) -> Iterator[Start]:
    """Integers of a map, rounded or, with sweeps, searched, with what they cost."""
    hoped = HOPE * goal if sweeps and goal is not None else goal
    starts = sorted(_rounded(ways, sets, rate, scale, hoped), key=lambda start: start.cost)
    if not sweeps:
        yield from starts
    elif goal is None:
        price = rate * FLOOR * scale

        def moved(start: Start, sweeps: int) -> Start:
            error = start.told.searched(start.q, sets[start.which], sweeps, price, rate)
            return start._replace(cost=_cost(rate * sets[start.which].total(start.q), error / scale, None))

        best = min((moved(start, FIRST_SWEEPS) for start in starts[:looks]), key=lambda start: start.cost)
        best = moved(best, sweeps - FIRST_SWEEPS)
        for _ in range(AGAIN):
            anew = _again(best, sets[best.which])
            if anew is None or (anew := moved(anew, sweeps)).cost >= best.cost:
                break
            best = anew
        yield best
    else:
        limit, least, reached = goal * scale, min(sets[start.which].total(start.q) for start in starts), 0

        def cheaper_and_cheaper(start: Start) -> Iterator[Start]:
            tables = sets[start.which]
            for share in PRICES:
                error = start.told.searched(start.q, tables, PRICED_SWEEPS, share * limit, 0.0)
                yield start._replace(
                    cost=_cost(rate * tables.total(start.q), error / scale, goal), q=start.q.copy()
                )
                if error > limit:
                    break

        made: list[Start] = []
        for start in starts[: TRIES * looks]:
            if reached and sets[start.which].total(start.q) > DEAR * least:
                continue
            own = list(cheaper_and_cheaper(start))
            made += own
            reached += len(own) > 1
            if reached == looks:
                break
        yield from made
        best = min(made, key=lambda start: start.cost)
        if (anew := _again(best, sets[best.which])) is not None:
            yield from cheaper_and_cheaper(anew)


def _again(start: Start, tables: Tables) -> Start | None:
    """The map read anew as what was found of it says, to be searched from there; None where there is no such way."""
    q = start.told.again(start.q, tables.step)
    return None if q is None else start._replace(q=np.clip(q, tables.low, tables.high))


def _rounded(
    ways: Sequence[Told], sets: list[Tables], rate: float, scale: float, goal: float | None
) -> Iterator[Start]:
    """A map in each way and step size, rounded, with the table set that takes the fewest bits."""
    for told in ways:
        for step in sorted({tables.step for tables in sets}):
            first = told.rounded(step)
            of_step = [i for i, tables in enumerate(sets) if tables.step == step]
            which = min(of_step, key=lambda i: sets[i].total(first))
            q = np.clip(first, sets[which].low, sets[which].high)
            error = told.searched(q, sets[which], 0, 0.0, 0.0)
            yield Start(_cost(rate * sets[which].total(first), error / scale, goal), q, which, told)


def _cost(bits: float, nmse: float, goal: float | None) -> float:
    """What a latent costs, as Aim has it, in nats."""
    return bits - FORTUNE if goal is not None and nmse <= SAFETY * goal else bits + math.log(nmse + FLOOR)

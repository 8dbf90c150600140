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
NEAR = 0.006  # such a price, beside patches
# Where something else reaches a PSNR: times its bits past which the next price is not tried, and times the squared
# error allowed from which no search comes down to it, once rounded and after a sweep.
LEFT = (1.5, 1.3, 1.2, 1.1, 1.0)
FAR = (10.0, 2.0)
HOPE = 4.0  # times the squared error allowed, from which a search may come down to it
TRIES = 3  # times as many ways and step sizes are searched as are to reach a PSNR
AGAIN = 2  # times that a map is read anew after a search where no PSNR is asked for, at most; else once
SAFETY = 0.98  # of that error: edges are not quite crisp
MUCH = 0.3  # nats that patches must win for a search beside them, and for the next finer step to be tried
DEARER = 2.0  # what a bit of patches must win, where no PSNR is asked for: beyond that they cost many and win little
VAIN = 4  # patches one after the other that are not worth their bits, after which no more are looked for
BESIDE_SWEEPS, FINER_SWEEPS = 2, 4  # of those searches
# Of what a search for a PSNR made, that patches are tried on; one alone unless far below what something else takes.
PATCHED, CLEAR = 3, 0.5


@dataclass(frozen=True)
class Part:
    """A part of a choice decoder whose numbers, the first N after number 0, are read off maps.

    Args:
        numbers: N.
        tables: its table sets.
        ways: the ways to tell a normalised map (H, W), none where it cannot be told.
        looks: ways and step sizes that are searched where no PSNR is asked for, and that are to reach one that is.
        sweeps: over the numbers of a map, at most.
        rounds: searches beside patches and of patches anew, at most.
    """

    numbers: int
    tables: list[int]
    ways: Callable[[NDArray[np.float32]], Sequence[Told]]
    looks: tuple[int, int]
    sweeps: int
    rounds: int = 0


class Start(NamedTuple):
    """Integers (N,) of a map told in some way, what they cost, and the place of their table set."""

    cost: float
    q: NDArray[np.int64]
    which: int
    told: Told


class Patched(NamedTuple):
    """Integers with patches, and the map as if it were, where these cover it, what the rest of them tells."""

    start: Start
    beside: Told


class Scales(NamedTuple):
    """What the integers of a map are weighed by.

    Args:
        sets: their tables.
        rate: nats of log NMSE that a bit must win.
        whole: the squared error of an NMSE of 1.
        goal: the NMSE to reach, where there is one.
        most: bits in which something else reaches it.
    """

    sets: list[Tables]
    rate: float
    whole: float
    goal: float | None
    most: float

    def bits(self, start: Start) -> float:
        """What a start takes."""
        return self.sets[start.which].total(start.q)

    def cost(self, bits: float, nmse: float) -> float:
        """What a latent costs, in nats."""
        if self.goal is not None and nmse <= SAFETY * self.goal:
            return self.rate * bits - FORTUNE
        return self.rate * bits + math.log(nmse + FLOOR)

    def searched(self, start: Start, sweeps: int, price: float, gain: float = 0.0) -> tuple[Start, float]:
        """Where a search from a start comes to, and the squared error there."""
        q, tables = start.q.copy(), self.sets[start.which]
        error = start.told.searched(q, tables, sweeps, price, gain)
        return start._replace(q=q, cost=self.cost(tables.total(q), error / self.whole)), error


def fit(v: Tensor, codebook: Codebook, part: Part, aim: Aim, search: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The cheapest latents of normalised maps (B, H, W) for a part, of those that it can tell.

    Args:
        search: move the integers, rather than round once.

    Returns:
        Which maps they are (n,), latents (n, D) at whole steps, and table sets (n,).
    """
    scale = (span_of(v).double() ** 2 * (v.shape[1] * v.shape[2])).tolist()
    goals = [None] * len(v) if aim.psnr is None else aim.nmse().tolist()
    most = [math.inf] * len(v) if aim.most is None else aim.most.tolist()
    own = slice(1, 1 + part.numbers)
    sets = [tables_of(codebook.prior, t, own) for t in part.tables]
    maps = v.cpu().numpy()

    def cheapest(i: int) -> tuple[int, NDArray[np.int64], int] | None:
        ways = part.ways(maps[i])
        if not ways:
            return None
        scales = Scales(sets, aim.rate, scale[i], goals[i], most[i])
        best = _cheapest(_candidates(ways, scales, part, search))
        best.told.centre(best.q, sets[best.which])
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


def _candidates(ways: Sequence[Told], scales: Scales, part: Part, search: bool) -> Sequence[Start]:
    """Integers of a map, rounded or searched for."""
    if not search:
        return list(_rounded(ways, scales))
    if scales.goal is None:
        best = _weighed(sorted(_rounded(ways, scales), key=_by_cost), scales, part)
        return [best, *_with_patches(best, scales, part)]
    hoped = scales._replace(goal=HOPE * scales.goal)
    made = _reaching(sorted(_rounded(ways, hoped), key=_by_cost), scales, part.looks[1])
    return made + [
        patched for start in _worth_patches(made, scales) for patched in _with_patches(start, scales, part)
    ]


def _weighed(starts: list[Start], scales: Scales, part: Part) -> Start:
    """Searched from the best of some starts, by error against bits; read anew while that is better."""
    best = _cheapest([_searched_by_weight(start, scales, FIRST_SWEEPS) for start in starts[: part.looks[0]]])
    best = _searched_by_weight(best, scales, part.sweeps - FIRST_SWEEPS)
    for _ in range(AGAIN):
        anew = _again(best, scales)
        if anew is None or (anew := _searched_by_weight(anew, scales, part.sweeps)).cost >= best.cost:
            break
        best = anew
    return best


def _searched_by_weight(start: Start, scales: Scales, sweeps: int) -> Start:
    """Where a search by error against bits comes to, or one near the error that a PSNR allows."""
    if scales.goal is not None:
        return scales.searched(start, sweeps, NEAR * scales.goal * scales.whole)[0]
    return scales.searched(start, sweeps, scales.rate * FLOOR * scales.whole, scales.rate)[0]


def _reaching(starts: list[Start], scales: Scales, looks: int) -> list[Start]:
    """Searched from some starts for the fewest bits that keep what is to be reached, and from the best read anew."""
    least, made, reached = min(map(scales.bits, starts)), list[Start](), 0
    for start in starts[: TRIES * looks]:
        if reached and scales.bits(start) > DEAR * least:
            continue
        own = list(_cheaper_and_cheaper(start, scales))
        made += own
        if (found := _cheapest(own)).cost < -FORTUNE / 2:
            scales = scales._replace(most=min(scales.most, scales.bits(found)))
            reached += 1
        if reached == looks:
            break
    best = _cheapest(made)
    if scales.bits(best) <= LEFT[0] * scales.most and (anew := _again(best, scales)) is not None:
        made += _cheaper_and_cheaper(anew, scales)
    return made


def _cheaper_and_cheaper(start: Start, scales: Scales) -> Iterator[Start]:
    """A search at higher and higher prices of a bit, until too much is lost, or there is nothing to win."""
    assert scales.goal is not None
    limit = scales.goal * scales.whole
    for sweeps, far in enumerate(FAR if math.isfinite(scales.most) else ()):
        start, error = scales.searched(start, sweeps, PRICES[0] * limit)
        if error > far * limit:
            yield start
            return
    for share, left in zip(PRICES, LEFT, strict=True):
        start, error = scales.searched(start, PRICED_SWEEPS, share * limit)
        yield start
        if error > limit or scales.bits(start) > left * scales.most:
            return


def _again(start: Start, scales: Scales) -> Start | None:
    """The map read anew as what was found of it says, to be searched from there; None where there is no such way."""
    tables = scales.sets[start.which]
    q = start.told.again(start.q, tables.step)
    return None if q is None else start._replace(q=np.clip(q, tables.low, tables.high))


def _with_patches(start: Start, scales: Scales, part: Part) -> Iterator[Start]:
    """With patches, then searched again where these cover nothing.

    And at finer steps, while patches win much or the step has no tables for any, from what the coarser one tells; or,
    where a PSNR is asked for, from the map read anew, until it is reached.
    """
    while (patched := _patched(start, scales)) is not None:
        yield patched.start
        before, base = start.cost, start
        for _ in range(part.rounds if patched.start.cost < before - MUCH else 0):
            base = _searched_by_weight(base._replace(told=patched.beside), scales, BESIDE_SWEEPS)
            base = base._replace(told=start.told)
            anew = _patched(base, scales)
            if anew is None or anew.start.cost >= patched.start.cost:
                break
            patched = anew
            yield patched.start
        step = scales.sets[start.which].step / 2
        much = patched.start.cost < before - MUCH or patched.start.cost == math.inf
        short = patched.start.cost > -FORTUNE / 2 and scales.bits(patched.start) < scales.most
        if not (much if scales.goal is None else short) or all(tables.step != step for tables in scales.sets):
            return
        told = start.told
        first = told.halved(start.q, 2 * step) if scales.goal is None else told.rounded(step)
        start = _searched_by_weight(_of_step(told, first, step, scales), scales, FINER_SWEEPS)
        if scales.goal is None and start.cost > before + MUCH:
            return  # it cannot tell at this step what the coarser one does


def _worth_patches(made: list[Start], scales: Scales) -> list[Start]:
    """Of starts those to which patches may bring a PSNR in the fewest bits: the cheapest of each step and way."""
    best: dict[tuple[float, int], Start] = {}
    for start in sorted(made, key=_by_cost):
        best.setdefault((scales.sets[start.which].step, id(start.told)), start)
    able = [start for start in best.values() if scales.bits(start) < scales.most]
    return able[:PATCHED] if able and scales.bits(able[0]) < CLEAR * scales.most else able[:1]


def _patched(start: Start, scales: Scales) -> Patched | None:
    """The same with as many patches as cost least, under whichever tables take the fewest bits; None where none help.

    Where no tables of the step tell the first one, the start as it is, at an infinite cost.
    """
    step = scales.sets[start.which].step
    same = [i for i, tables in enumerate(scales.sets) if tables.step == step]
    best: Patched | None = None
    since = 0
    for q, error, beside in start.told.patched(start.q, step):
        able = [i for i in same if scales.sets[i].holds(q)]
        if not able:
            return Patched(start._replace(cost=math.inf), beside) if best is None else best
        bits, which = min((scales.sets[i].total(q), i) for i in able)
        dear = 0.0 if scales.goal is not None else (DEARER - 1) * (bits - scales.bits(start))
        cost, since = scales.cost(bits + dear, error / scales.whole), since + 1
        if best is None or cost < best.start.cost:
            best, since = Patched(Start(cost, q, which, start.told), beside), 0
        if cost < -FORTUNE / 2 or since == VAIN or bits > scales.most:
            return best
    return best


def _of_step(told: Told, first: NDArray[np.int64], step: float, scales: Scales) -> Start:
    """A map in a way and step size, as integers (N,), with the table set that takes the fewest bits."""
    sets = scales.sets
    which = min((i for i, t in enumerate(sets) if t.step == step), key=lambda i: sets[i].total(first))
    q = np.clip(first, sets[which].low, sets[which].high)
    error = told.searched(q, sets[which], 0, 0.0, 0.0)
    return Start(scales.cost(sets[which].total(first), error / scales.whole), q, which, told)


def _rounded(ways: Sequence[Told], scales: Scales) -> Iterator[Start]:
    """A map in each way and step size."""
    steps = sorted({tables.step for tables in scales.sets})
    return (_of_step(told, told.rounded(step), step, scales) for told in ways for step in steps)


def _by_cost(start: Start) -> float:
    return start.cost


def _cheapest(starts: Sequence[Start]) -> Start:
    return min(starts, key=_by_cost)

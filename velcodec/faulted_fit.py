"""Faulted maps as the numbers of the faulted decoder: faults and layers read off the map.

map -> plateaus (labels) -> faults (fault_growth.py) -> the stacks' interfaces, with what the faults did undone
    -> the likeliest cosines of each, and a fill -> numbers, which told_fit.py rounds and searches
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import fault_growth, faulted_search, patches, plateaus, slip_growth, slips, stacks
from .compiled import compiled
from .curves import bring_within
from .decoders import faulted
from .decoders.cosines import NATIVE
from .faulted_drawing import Target, target_of
from .faults import WALL, Faults, cells_beyond
from .grid import centres
from .plateaus import Plateaus
from .told import Tables, basis

FEWEST = 3  # cells of a layer
SOFT_EDGE = 0.175  # cells: the width of a sigmoid as soft as the edges of OpenFWI's smoothed faults
# NMSE of flat layers up to which folded ones are not looked for; of soft edges in haste.
ENOUGH, HASTY_ENOUGH = 3e-4, 1e-3
ROUGH, ROUGH_WAVES = 1.0, 24  # step from which on interfaces are told roughly, and by how many cosines
HELD = 0.25  # cells that fine interfaces are held off the centres of cells on their other side
SCORED_WAVES = 14  # of an interface, as faults are compared
WAYS = 3  # to see a map that are searched, at most
FINE = 0.25  # step at which faults are compared
CELL = 1.0  # cells that an integer of a patch is, at every step
FOLDS_COST = 1.5  # times the squared error at which flat layers are as good as folded ones, for their bits
FLAGS = [
    faulted.TWO,
    *(faulted.LINE + 4 * i + 3 for i in range(faulted.LINES - 1)),
]  # numbers whose sign says all


@dataclass(frozen=True)
class FaultedMap:
    """A map (70, 70) seen with some faults, as numbers (N,) of a latent in units. In haste soft ones are seen once."""

    seen: Plateaus
    faults: Faults
    decoder: faulted.FaultedDecoder
    hasty: bool

    @property
    def v(self) -> NDArray[np.float64]:
        """The map (70, 70)."""
        return self.seen.v

    @property
    def scale(self) -> float:
        return float(np.ptp(self.v)) ** 2 * self.v.size

    @cached_property
    def rough(self) -> NDArray[np.float64]:
        """The numbers for coarse steps, not rounded; of stacks each value is by itself."""
        return _numbers(self.seen, self.faults, self.decoder, min(ROUGH_WAVES, self.decoder.waves))

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """Those for fine steps."""
        if self.seen.soft or not self.faults.fold.any():
            return self.rough
        return _numbers(self.seen, self.faults, self.decoder, self.decoder.waves, True)

    def rounded(self, step: float) -> NDArray[np.int64]:
        """The integers (N,) nearest."""
        return _whole(self.rough if step >= ROUGH else self.numbers, step, self.decoder)

    def halved(self, q: NDArray[np.int64], step: float) -> NDArray[np.int64]:
        """The integers (N,) that tell the same as some at a step do, in steps half as large."""
        out, decoder = 2 * q, self.decoder
        out[FLAGS] = q[FLAGS]
        if slips.are_told(q, decoder):
            told, own = (of[decoder.slip :].reshape(-1, faulted.SLIP) for of in (out, q))
            told[:, faulted.S_ACROSS :] = own[:, faulted.S_ACROSS :]
            out[decoder.unit] = unit_of(step / 2)
        return out

    def searched(self, q: NDArray[np.int64], tables: Tables, sweeps: int, price: float, gain: float) -> float:
        """Move integers (N,) in place; the squared error that they leave. As faulted_search.searched."""
        across = basis(NATIVE, self.decoder.waves)
        if slips.are_told(q, self.decoder):
            return slips.searched(q, self.v, across, tables, self.decoder, sweeps, price, gain)
        target = target_of(self.v)
        return faulted_search.searched(q, target, across, tables, self.decoder.layers, sweeps, price, gain)

    def centre(self, q: NDArray[np.int64], tables: Tables) -> None:
        """Move interfaces of integers (N,), in place, to the middle of where no cell shows them."""
        target = _target((q * tables.step).astype(np.float64), self.v, self.decoder)
        across = basis(NATIVE, self.decoder.waves)
        faulted_search.centre(q, target, across, tables, self.decoder.layers)

    def patched(
        self, q: NDArray[np.int64], step: float
    ) -> Iterator[tuple[NDArray[np.int64], float, "FaultedMap"]]:
        """Integers (N,) with one patch, two, and so on, the squared error that each leave, and the map beside them."""
        decoder, own, rest = self.decoder, list[patches.Patch](), self.v
        if not decoder.patches:
            return
        drawn = self._drawn(q, step)
        for patch in self._over(drawn, q, step):
            patches.insert(own, patch)
            out = q.copy()
            out[decoder.unit] = unit_of(step)
            out[decoder.unit + 1 : decoder.slip] = patches.as_told(own, decoder.patches)
            rest = rest + patch.share * (drawn - rest)
            yield out, patch.error, replace(self, seen=replace(self.seen, v=rest))

    def over(self, q: NDArray[np.int64], step: float) -> Iterator[patches.Patch]:
        """Patches over what integers (N,) tell without any, each the one that takes most error off."""
        return self._over(self._drawn(q, step), q, step)

    def _over(self, drawn: NDArray[np.float64], q: NDArray[np.int64], step: float) -> Iterator[patches.Patch]:
        width = max(float(q[faulted.SOFT]) * step * faulted.SOFTNESS, faulted.WIDTH)
        return patches.found(self.v, drawn, width, CELL, self.decoder.patches)

    def _drawn(self, q: NDArray[np.int64], step: float) -> NDArray[np.float64]:
        """The map (70, 70) of integers (N,) without patches."""
        if slips.are_told(q, self.decoder):
            return slips.drawn_of(
                (q * step).astype(np.float64), basis(NATIVE, self.decoder.waves), self.decoder
            )
        y, axis = torch.from_numpy(q * step)[None], torch.from_numpy(centres(NATIVE))
        y[:, self.decoder.unit + 1 : self.decoder.slip] = 0
        drawn: NDArray[np.float64] = self.decoder.grid(y, axis, axis)[0].numpy()
        return drawn

    def error(self, q: NDArray[np.int64], step: float) -> float:
        """The squared error that integers (N,) leave, patches not drawn."""
        return _error(self.v, q, step, self.decoder)

    def again(self, q: NDArray[np.int64], step: float) -> NDArray[np.int64] | None:
        """The integers (N,) of the layers as they look with the lines and shifts that these tell, which stay."""
        if self.hasty and self.seen.soft:  # 0.02 to 0.04 nats for a quarter of the time
            return None
        y, f = q * step, self.faults.copied()
        for i in range(faulted.LINES):
            at = faulted.LINE + 4 * (i - 1) if i else faulted.ANGLE_0
            f.lines[i] = y[at] * faulted.ANGLE, y[at + 1] * faulted.DEPTH
            f.throws[i] = y[at + 2 if i else faulted.SHIFT] * faulted.DEPTH
        for j in range(len(f.slips)):
            at = self.decoder.slip + faulted.SLIP * j
            f.slips[j, :4] = *(y[at : at + 2] * (faulted.ANGLE, faulted.DEPTH)), *(q[at + 2 : at + 4] * CELL)
        out = FaultedMap(self.seen, f, self.decoder, self.hasty).rounded(step)
        out[: faulted.HEAD] = q[: faulted.HEAD]
        out[self.decoder.slip :] = q[self.decoder.slip :]
        return out


def faulted_maps(
    v: NDArray[np.float32], decoder: faulted.FaultedDecoder, hasty: bool = False
) -> list[FaultedMap]:
    """Ways to see a normalised map as layers and faults, the best first; none where it has no plateaus."""
    p = plateaus.seen(v) if v.shape == (NATIVE, NATIVE) else None
    if p is None:
        return []
    found: list[tuple[float, FaultedMap]] = []
    pains = slip_growth.HASTY if hasty else slip_growth.PATIENT
    for own in (p, *(plateaus.with_fills(p) if p.soft else ())):
        enough = (HASTY_ENOUGH if hasty and p.soft else ENOUGH) * float(np.ptp(p.v)) ** 2 * p.v.size
        score = partial(_score, own, decoder=decoder)
        traces = plateaus.traces(own) if p.soft else None
        for f in fault_growth.find(
            own.values[own.labels],
            own.labels,
            traces,
            score,
            enough,
            decoder.layers,
            pains if decoder.slips else None,
        ):
            told = FaultedMap(own, f, decoder, hasty)
            error = _fine_error(p.v, told.numbers, decoder)
            found.append((error * (FOLDS_COST if f.fold.any() else 1), told))
    return [told for _, told in sorted(found, key=lambda one: one[0])][:WAYS]


def _score(p: Plateaus, f: Faults, decoder: faulted.FaultedDecoder) -> float:
    """The squared error of a map drawn with some faults."""
    return _fine_error(p.v, _numbers(p, f, decoder, SCORED_WAVES), decoder)


def _fine_error(
    v: NDArray[np.float64], numbers: NDArray[np.float64], decoder: faulted.FaultedDecoder
) -> float:
    """The squared error of numbers (N,), in fine steps."""
    return _error(v, _whole(numbers, FINE, decoder), FINE, decoder)


def _error(
    v: NDArray[np.float64], q: NDArray[np.int64], step: float, decoder: faulted.FaultedDecoder
) -> float:
    """The squared error of integers (N,), patches not drawn."""
    y = (q * step).astype(np.float64)
    target, across = _target(y, v, decoder), basis(NATIVE, decoder.waves)
    return faulted_search.error_of(y, target, across, decoder.layers)


def _target(y: NDArray[np.float64], v: NDArray[np.float64], decoder: faulted.FaultedDecoder) -> Target:
    """A map (70, 70) to be drawn by a latent (N,) in units, led back where that tells slips."""
    return slips.target_of(y, v, decoder) if slips.are_told(y, decoder) else target_of(v)


def _whole(numbers: NDArray[np.float64], step: float, decoder: faulted.FaultedDecoder) -> NDArray[np.int64]:
    """The integers (N,) nearest to numbers, those of a stack told by their differences from the rounded ones above."""
    q = np.rint(numbers / step).astype(np.int64)
    for first in (faulted.HEAD, faulted.HEAD + decoder.stack):
        _told_by_differences(q, numbers, first, decoder.layers, decoder.waves)
    q[FLAGS] = np.sign(numbers[FLAGS])
    if slips.are_told(numbers, decoder):
        told, own = (
            of[decoder.slip :].reshape(-1, faulted.SLIP)[:, faulted.S_ACROSS :] for of in (q, numbers)
        )
        told[:] = np.rint(own / (CELL, CELL, 1))
        q[decoder.unit] = unit_of(step)
    return q


def unit_of(step: float) -> int:
    """The integer that tells what the integers of patches and slips are, at a step: CELL cells."""
    return round(CELL / (faulted.FINEST * step**2))


def _numbers(
    p: Plateaus, f: Faults, decoder: faulted.FaultedDecoder, waves: int, held: bool = False
) -> NDArray[np.float64]:
    """Numbers (N,) of a latent in units, not rounded, of a map with some faults.

    Args:
        held: interfaces go between the cells over and under them, where any do.
    """
    inside, shift = f.sides()
    y = np.zeros(decoder.latent)
    y[faulted.SOFT] = SOFT_EDGE / faulted.SOFTNESS if p.soft else 0
    y[faulted.TWO] = 1 if f.two else -1
    y[faulted.SHIFT] = f.throws[0] / faulted.DEPTH
    for i in range(faulted.LINES):
        at = faulted.ANGLE_0 if i == 0 else faulted.LINE + 4 * (i - 1)
        turn, offset = f.lines[i]
        y[at], y[at + 1] = math.remainder(turn, 2 * math.pi) / faulted.ANGLE, offset / faulted.DEPTH
        if i:
            y[at + 2], y[at + 3] = f.throws[i] / faulted.DEPTH, 1 if f.kinds[i] == WALL else -1
    depth = np.arange(NATIVE)[:, None] + 0.5 - shift
    for j, (turn, offset, across, down, whose) in enumerate(f.slips):
        at = decoder.slip + faulted.SLIP * j
        y[at : at + 2] = math.remainder(turn, 2 * math.pi) / faulted.ANGLE, offset / faulted.DEPTH
        y[at + 2 : at + 5] = across, down, whose
    for stack in range(2 if f.two else 1):
        own = inside == stack if f.two else np.ones_like(inside, dtype=bool)
        z, x = np.nonzero(own)
        labels, columns, down_to = p.labels[own], x, depth[z, x]
        unfolded = down_to - f.fold[stack][x]
        if len(f.slips):
            columns, down_to = slips.led_back(z, x, f.slips, 2.0 * stack - 1)
            unfolded = down_to
        order = _order(p, labels, unfolded, decoder.layers)
        rank = np.full(len(p.values), -1)
        rank[order] = np.arange(len(order))
        waves_of = min(waves if f.fold[stack].any() else 1, decoder.waves)
        cosines = _interfaces(rank[labels], columns, down_to, len(order) - 1, waves_of, held, f.parallel)
        _put(y, stack, p, order, cosines, decoder)
    if p.filled is not None and not f.two and f.kinds.any():
        _fill(y, p, p.filled, f)
    return y


def _order(p: Plateaus, labels: NDArray[np.int64], depth: NDArray[np.float64], most: int) -> list[int]:
    """The labels of some cells from top to bottom, at most so many."""
    count, mean = stacks.depths_of(labels, depth, len(p.values))
    often = set(np.argsort(-count)[:most].tolist())
    return [int(k) for k in np.argsort(mean) if count[k] >= FEWEST and k in often]


def _interfaces(
    places: NDArray[np.int64],
    columns: NDArray[np.int64],
    depths: NDArray[np.float64],
    n: int,
    waves: int,
    held: bool,
    parallel: bool,
) -> NDArray[np.float64]:
    """The cosines (n, K) between layers as cells (m,) at columns and depths show them, each of one, or -1 of none."""
    target, low, high = (np.empty((max(n, 0), NATIVE)) for _ in range(3))
    stacks.edges(places, columns, depths, target, low, high)
    if parallel:
        told: NDArray[np.float64] = stacks.parallel(
            target, low, high, basis(NATIVE, waves), stacks.fold_spread(waves)
        )
        return told
    cosines = stacks.likeliest(target, low, high, waves)
    if held:
        room = np.minimum(HELD, np.where(np.isfinite(high - low), (high - low) / 2, HELD))
        bring_within(cosines, low + room, high - room, basis(NATIVE, waves))
    return cosines


def _put(
    y: NDArray[np.float64],
    stack: int,
    p: Plateaus,
    order: list[int],
    cosines: NDArray[np.float64],
    decoder: faulted.FaultedDecoder,
) -> None:
    """Put a stack's numbers in their place: layers in an order, and the cosines (n, K) between them."""
    n, waves = cosines.shape
    first, layers = faulted.HEAD + stack * decoder.stack, decoder.layers
    values = p.values[order] if order else np.zeros(1)
    y[first : first + layers] = (
        np.append(values, np.full(layers - len(values), values[-1])) / faulted.VELOCITY
    )
    y[first + layers :][:n] = cosines[:, 0] / (faulted.DEPTH * NATIVE**0.5)
    shapes = y[first + 2 * layers - 1 :][: (layers - 1) * (decoder.waves - 1)].reshape(layers - 1, -1)
    shapes[:n, : waves - 1] = cosines[:, 1:] / faulted.WAVE


def _fill(y: NDArray[np.float64], p: Plateaus, cells: NDArray[np.bool_], f: Faults) -> None:
    """Put the fill's numbers in their place."""
    side = 1 if f.throws[0] >= 0 else -1
    far = [float(np.quantile(side * cells_beyond(line)[cells], 0.98)) for line in f.lines]
    beside = min(np.flatnonzero(f.kinds == WALL).tolist(), key=lambda i: abs(far[i]))
    if beside:  # line 0 is to be the wall that the fill is at
        at = faulted.LINE + 4 * (beside - 1)
        y[[faulted.ANGLE_0, faulted.ANGLE_0 + 1, at, at + 1]] = y[
            [at, at + 1, faulted.ANGLE_0, faulted.ANGLE_0 + 1]
        ]
    over, value, under = p.fill
    y[faulted.FILL_TOP] = np.quantile(np.nonzero(cells)[0], 0.02) / faulted.DEPTH
    y[faulted.FILL_VELOCITY] = (value - (over + under) / 2) / faulted.VELOCITY
    y[faulted.FILL_REACH] = (far[beside] + 0.5) / faulted.DEPTH


@compiled
def _told_by_differences(q: Any, numbers: Any, first: int, layers: int, waves: int) -> None:
    """A stack's integers, each by itself, to differences from those above; 0 past the layers that there are."""
    count = 1  # layers, the last of another velocity than the one over it
    for i in range(layers - 1):
        if numbers[first + i] != numbers[first + layers - 1]:
            count = i + 2
    depths, shapes = first + layers, first + 2 * layers - 1
    for i in range(layers - 1, -1, -1):
        if i >= count:
            q[first + i] = 0
        elif i:
            q[first + i] -= q[first + i - 1]
    for i in range(layers - 2, -1, -1):
        for k in range(waves):
            own = shapes + i * (waves - 1) + k - 1 if k else depths + i
            if i >= count - 1:
                q[own] = 0
            elif i:
                q[own] -= q[own - (waves - 1 if k else 1)]

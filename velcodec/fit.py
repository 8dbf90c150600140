"""Latents for a batch of maps: the amortised encoder's start, then a search with the decoder frozen.

    maps -> encoder network -> z -> Adam on  log NMSE(decoder(z)) + rate x bits(z)  -> step of each map -> integers
                                    first on continuous latents, then on rounded ones

The distortion is the logarithm of the MSE over the map's squared range, that is its PSNR, so that one rate weighs
alike on every map. Then the search goes on with the latents rounded and the gradient passed straight through, in
rounds, until rounding costs little; maps to which it still costs more get a finer step, where the codebook has one.
Adam moves each number by a share of its spread under the prior: numbers that a kind of map leaves alone cost no bits.

Where the codebook's decoder is a choice, a map may be layers (layered_fit.py), layers and faults (faulted_fit.py) or
cosines (cosine_fit.py) instead, whichever costs least; what is settled before the network's turn is left out of it.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from . import cosine_fit, faulted_fit, layered_fit, quantise, told_fit
from .aim import FLOOR, FORTUNE, Aim, Found
from .codebook import Codebook
from .decoders.choice import ChoiceDecoder
from .device import has_fast_bfloat16, keep_freed_memory, on_device, points_at_once
from .target import Target, measured

STEPS = (0, 4, 8, 16, 28, 44, 68, 120, 200, 340)  # of the search on continuous latents, by effort
ROUNDS = 4  # at most, of as many steps again on rounded latents
LEARNING_RATE = 0.04  # of a latent number's spread
TOLERANCE = 0.2  # dB that the rounding of a map's latent may cost; maps past it get another round
BATCH_POINTS = 64 * 4900  # samples of the maps fitted at a time
POINT_BYTES = 1 << 13  # that fitting a sample takes on a GPU, about
# What a search may win of log NMSE (5 dB; 2.6 dB in few steps), and the share of bits that it may leave.
HOPE, HASTY_HOPE = (1.2, 0.75), (0.85, 1.0)
HOPE_OVER_COSINES = 0.6  # in few steps: of those that start further above cosines none wins
ROUNDS_WIN = 0.06  # nats that a search on rounded latents may come below the one on continuous ones
ROUNDING_NATS = 0.5  # of log NMSE that a search on rounded latents may win back
LAYERED_LOOKS, FAULTED_LOOKS, PATIENT_LOOKS = (1, 99), (2, 2), (8, 6)  # as told_fit.Part has them
LAYERED_SWEEPS, FAULTED_SWEEPS = 4, (8, 12)  # of faults in haste and not
ROUNDS_BESIDE = 1, 2  # of searches beside patches, in haste and not
# NMSE (30 and 43 dB) of layers, and of layers and faults, to which no network comes as cheaply.
SETTLED, SETTLED_FAULTS = 1e-3, 5e-5
PATIENT = STEPS[5]  # steps from which on faults are looked at longer, and the network tried all the same
GLIMPSE = 3  # every so many rows and columns tell whether the network draws a map well
IN_SIGHT = 1.0  # of log NMSE (4 dB) past a PSNR, on those, where it certainly does not


@dataclass(frozen=True)
class Fit:
    """Latents (B, D) float32 in latent units, and the table set that codes each (B,)."""

    latents: NDArray[np.float32]
    table: NDArray[np.int64]

    def rounded(
        self, codebook: Codebook
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]]:
        """Integers (B, D), the latents (B, D) that they stand for, and the bytes of each in the range coder (B,)."""
        q = np.empty(self.latents.shape, dtype=np.int32)
        latents = np.empty_like(self.latents)
        for t in sorted(set(self.table.tolist())):
            own = self.table == t
            q[own] = quantise.to_integers(self.latents[own], codebook.prior, t)
            latents[own] = quantise.from_integers(q[own], codebook.prior, t)
        bits = codebook.prior.bits(torch.from_numpy(q).float(), torch.from_numpy(self.table)).sum(1)
        return q, latents, bits.double().numpy() / 8


def fit_latents(
    maps: NDArray[np.float32],
    codebook: Codebook,
    device: torch.device,
    effort: int,
    plain: int | None = None,
    psnr: NDArray[np.float64] | None = None,
    most: NDArray[np.float64] | None = None,
) -> Fit:
    """Fit latents to normalised maps.

    Args:
        maps: (B, H, W) float32, finite.
        effort: 0 (no search: the encoder network, cosines, rounded interfaces) to 9.
        plain: None where latents will be rounded and entropy-coded: their step is chosen, good integers are searched
            for, and they may be layers. Otherwise the numbers that will be kept as they are; the rest are 0.
        psnr: (B,) dB that will do, where latents reach it, in the fewest bits; None: error and bits as the codebook
            weighs them.
        most: (B,) bytes in which something else reaches that PSNR: in haste, latents that would take more are not
            searched for.
    """
    keep_freed_memory()
    codebook.to(device)
    points = points_at_once(device, BATCH_POINTS, POINT_BYTES)
    batch = max(1, points // (maps.shape[1] * maps.shape[2]))
    if psnr is None or STEPS[effort] >= PATIENT:
        most = None
    goals, limits = (None if own is None else torch.from_numpy(own).float() for own in (psnr, most))
    whole = Aim(
        codebook.rate,
        None if goals is None else goals.to(device),
        None if limits is None else 8 * limits.to(device),
    )
    parts = []
    for i in range(0, len(maps), batch):
        v = on_device(maps[i : i + batch], device)
        aim = whole.some(torch.arange(i, i + len(v), device=device))
        parts.append(
            _fit_batch(v, codebook, STEPS[effort], aim)
            if plain is None
            else _fit_unrounded(v, codebook, STEPS[effort], plain)
        )
    return Fit(*(torch.cat(p).cpu().numpy() for p in zip(*parts, strict=True)))


def table_groups(codebook: Codebook) -> list[list[int]]:
    """Table sets of the network's latents of equal step, from the coarsest step to the finest."""
    of_step: dict[float, list[int]] = {}
    for t in codebook.network_tables:
        of_step.setdefault(float(codebook.prior.step[t]), []).append(t)
    return [of_step[step] for step in sorted(of_step, reverse=True)]


def _fit_batch(v: Tensor, codebook: Codebook, steps: int, aim: Aim) -> tuple[Tensor, Tensor]:
    """Latents to be rounded (B, D), and their table sets (B,)."""
    if not codebook.is_choice:
        groups = _groups_for(codebook, aim)
        z = _start(v, codebook)
        table = _coarsest(v, z, codebook, groups, aim, torch.full((len(v),), math.inf, device=v.device))
        return _searched(v, z, table, codebook, groups, steps, aim) if steps else (z, table)
    found = Found.nothing(len(v), codebook.latent, v.device)
    left = torch.arange(len(v), device=v.device)
    for part in parts_read_off(codebook, steps):
        some, told, table = told_fit.fit(v[left], codebook, part, aim.some(left), search=steps > 0)
        rows = left[some]
        if len(rows):
            found.take(measured(v[rows], told, table, codebook), rows, aim)
        left = torch.nonzero(~_settled(found, aim, codebook, steps >= PATIENT))[:, 0]
    rows = left
    if len(rows):
        for other in _drawn_and_smooth(
            v[rows], codebook, steps, aim.some(rows), aim.rival(found.cost(aim))[rows]
        ):
            found.take(other, rows, aim)
    step = torch.from_numpy(codebook.prior.step).to(v.device)[found.table][:, None]
    return found.integers * step, found.table


def parts_read_off(codebook: Codebook, steps: int) -> list[told_fit.Part]:
    """The parts of a choice that tell maps by numbers read off them; without a search no faults: they take a while."""
    decoder, parts = codebook.decoder, []
    if not isinstance(decoder, ChoiceDecoder):
        return []
    if decoder.layered is not None and codebook.layered_tables:
        ways = partial(layered_fit.outlines, decoder=decoder.layered)
        parts.append(
            told_fit.Part(
                decoder.layered.latent, codebook.layered_tables, ways, LAYERED_LOOKS, LAYERED_SWEEPS
            )
        )
    if decoder.faulted is not None and codebook.faulted_tables and steps:
        patient = steps >= PATIENT
        told = partial(faulted_fit.faulted_maps, decoder=decoder.faulted, hasty=not patient)
        looks = PATIENT_LOOKS if patient else FAULTED_LOOKS
        parts.append(
            told_fit.Part(
                decoder.faulted.latent,
                codebook.faulted_tables,
                told,
                looks,
                FAULTED_SWEEPS[patient],
                ROUNDS_BESIDE[patient],
            )
        )
    return parts


def _settled(told: Found, aim: Aim, codebook: Codebook, patient: bool) -> Tensor:
    """Maps (B,) that are told by numbers read off them, and not worth a try as anything else."""
    cost = told.cost(aim)

    def of(tables: list[int]) -> Tensor:
        return torch.isin(told.table, torch.tensor(tables, dtype=torch.long, device=cost.device))

    if aim.psnr is not None:  # the network may take fewer bits than many patches
        return (cost < -FORTUNE / 2) & ~of(codebook.patched_tables)
    faults = of(codebook.faulted_tables)
    good = -math.inf if patient else math.log(SETTLED_FAULTS)
    return cost < torch.where(faults, good, math.log(SETTLED))


def _drawn_and_smooth(
    v: Tensor, codebook: Codebook, steps: int, aim: Aim, rival: Tensor
) -> tuple[Found, Found]:
    """Latents for the network and for the cosines; neither is looked for where it cannot win, over a rival's cost."""
    groups = _groups_for(codebook, aim)
    z = _start(v, codebook)
    most = torch.full_like(rival, math.inf) if steps or aim.psnr is None else aim.bits(rival)
    table = _coarsest(v, z, codebook, groups, aim, most)
    drawn, smooth = (Found.nothing(len(v), codebook.latent, v.device) for _ in range(2))
    rows = torch.nonzero(_bits(z, table, codebook) < most)[:, 0]
    if len(rows):
        every = 1 if steps or aim.psnr is not None else GLIMPSE
        drawn.take(measured(v[rows], z[rows], table[rows], codebook, every), rows, aim)
    if codebook.smooth_tables:
        least = torch.minimum(rival, drawn.cost(aim))
        rows = torch.nonzero(cosine_fit.least_cost(v, codebook, aim) < least)[:, 0]
        if len(rows):
            smooth.take(cosine_fit.fit(v[rows], codebook, aim.some(rows)), rows, aim)
    if steps:
        patient, cosines = steps >= PATIENT or aim.psnr is not None, smooth.cost(aim)
        nats, share = HOPE if patient else HASTY_HOPE
        over = nats if patient else HOPE_OVER_COSINES
        log_nmse = drawn.log_nmse - torch.where(cosines < rival, over, nats)
        hope = aim.cost(log_nmse, share * drawn.bits)
        rival = torch.minimum(rival, cosines)
        rows = torch.nonzero(hope < rival)[:, 0]
        if len(rows):
            own = v[rows], z[rows], table[rows]
            z, table = _searched(*own, codebook, groups, steps, aim.some(rows), rival[rows])
            drawn.take(measured(v[rows], z, table, codebook), rows, aim)
    return drawn, smooth


def _fit_unrounded(v: Tensor, codebook: Codebook, steps: int, plain: int) -> tuple[Tensor, Tensor]:
    """Latents (B, D) not to be rounded, 0 past the first few, and table sets (B,) that say nothing."""
    groups = _groups_for(codebook, Aim(codebook.rate))
    z = _start(v, codebook)
    table = _cheapest(z, codebook, groups[0])
    if steps:
        z = _search(Target(v, codebook), z, table, steps, rounded=False)
    if codebook.smooth_tables:
        products = cosine_fit.products(v, codebook)
        smooth = torch.cat([torch.ones_like(products[:, :1]), products], 1)
        smooth[:, plain:] = 0
        with torch.no_grad():
            target = Target(v, codebook)
            less = target.nmse(smooth) < target.nmse(z)
        z[less] = smooth[less]
    return z, table


def _groups_for(codebook: Codebook, aim: Aim) -> list[list[int]]:
    """The table groups to try, from the coarsest: the wide ones are for those who ask for less."""
    groups = table_groups(codebook)
    if aim.psnr is not None:
        return groups
    return [group for group in groups if codebook.prior.step[group[0]] <= codebook.usual_step]


def _coarsest(
    v: Tensor, z: Tensor, codebook: Codebook, groups: list[list[int]], aim: Aim, most: Tensor
) -> Tensor:
    """Table sets (B,) of the coarsest step that keeps a PSNR, or of the finest; of the first step without one.

    None that take `most` bits (B,) or more are drawn.
    """
    if aim.psnr is None:
        return _cheapest(z, codebook, groups[0])
    table = _cheapest(z, codebook, groups[-1])
    goal = torch.log(aim.nmse())
    glimpse = measured(v, z, table, codebook, GLIMPSE).log_nmse
    short = torch.nonzero(glimpse < goal + IN_SIGHT)[:, 0]  # for others no step is fine enough
    for group in groups[:-1]:
        if not len(short):
            break
        tables = _cheapest(z[short], codebook, group)
        few = _bits(z[short], tables, codebook) < most[short]
        short, tables = short[few], tables[few]
        reached = measured(v[short], z[short], tables, codebook).log_nmse <= goal[short]
        table[short[reached]] = tables[reached]
        short = short[~reached]
    return table


def _searched(
    v: Tensor,
    z: Tensor,
    table: Tensor,
    codebook: Codebook,
    groups: list[list[int]],
    steps: int,
    aim: Aim,
    rival: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Latents of the network (B, D) and their table sets (B,) after a search from a start.

    From the coarsest of some steps on, until a PSNR is reached or rounding costs no more than TOLERANCE. In haste only
    where continuous latents come near to what a rival costs (B,).
    """
    target = Target(v, codebook)
    hasty = aim.psnr is None and steps < PATIENT
    free = _search(target, z, table, steps, rounded=False, hasty=hasty)
    with torch.no_grad():
        reached = target.log_nmse(free)
    limit = reached + TOLERANCE * math.log(10) / 10
    if aim.psnr is not None:
        limit = torch.maximum(limit, torch.log(aim.nmse() + FLOOR))
    z, best = free.clone(), torch.full_like(limit, math.inf)
    left = torch.arange(len(v), device=v.device)
    if hasty and rival is not None:
        step, tables = float(codebook.prior.step[groups[0][0]]), _cheapest(free, codebook, groups[0])
        cost = reached + codebook.rate * codebook.prior.bits(free / step, tables).sum(1)
        left = torch.nonzero(cost < rival + ROUNDS_WIN)[:, 0]
    for group in groups if len(left) else ():
        some, tables = left, _cheapest(free[left], codebook, group)
        last = aim.psnr is None or group is groups[-1]
        if not last:
            log_nmse = measured(v[left], free[left], tables, codebook).log_nmse
            near = log_nmse < limit[left] + ROUNDING_NATS
            some, tables = left[near], tables[near]
        if len(some):
            rounds = ROUNDS if last else 1
            part = Target(v[some], codebook)
            found, off = _rounds(part, free[some], tables, steps, limit[some], rounds, hasty)
            less = off < best[some]
            better = some[less]
            z[better], table[better], best[better] = found[less], tables[less], off[less]
        left = left[best[left] > limit[left]]
        if not len(left):
            break
    return z, table


def _start(v: Tensor, codebook: Codebook) -> Tensor:
    """Latents (B, D) from the encoder network, which sees the map at its native 70 x 70; zero without a network."""
    if codebook.encoder is None:
        return torch.zeros(len(v), codebook.latent, device=v.device)
    native = v if v.shape[1:] == (70, 70) else F.interpolate(v[:, None], size=(70, 70), mode="bilinear")[:, 0]
    fast = has_fast_bfloat16(v.device)
    with torch.no_grad(), torch.autocast(v.device.type, torch.bfloat16, enabled=fast):
        z = codebook.encoder(native) * codebook.unit
    if z.shape[1] == codebook.latent:
        return z
    first = 1  # number 0 of a choice decoder is not the network's, nor are those past what it takes
    return F.pad(z, (first, codebook.latent - first - z.shape[1]))


def _bits(z: Tensor, table: Tensor, codebook: Codebook) -> Tensor:
    """Bits (B,) of latents (B, D) once rounded."""
    with torch.no_grad():
        step = torch.from_numpy(codebook.prior.step).to(z.device)[table][:, None]
        return codebook.prior.bits(torch.round(z / step), table).sum(1)


def _cheapest(z: Tensor, codebook: Codebook, tables: list[int]) -> Tensor:
    """The table set (B,), of some with one step, that takes the fewest bits for each latent once rounded."""
    with torch.no_grad():
        y = torch.round(z / float(codebook.prior.step[tables[0]]))
        bits = [codebook.prior.integer_bits(y, t).sum(1) for t in tables]
        return torch.tensor(tables, device=z.device)[torch.stack(bits).argmin(0)]


def _rounds(
    target: Target, z: Tensor, table: Tensor, steps: int, limit: Tensor, rounds: int, hasty: bool
) -> tuple[Tensor, Tensor]:
    """Rounded latents (B, D) searched for until their log NMSE (B,) is within a limit, and that."""
    z, off = z.clone(), torch.full_like(limit, math.inf)
    left = torch.arange(len(z), device=z.device)
    for _ in range(rounds):
        some = Target(target.v[left], target.codebook)
        z[left] = _search(some, z[left], table[left], steps, rounded=True, hasty=hasty)
        with torch.no_grad():
            off[left] = some.log_nmse(z[left])
        left = left[off[left] > limit[left]]
        if not len(left):
            break
    return z, off


def _search(
    target: Target, start: Tensor, table: Tensor, steps: int, rounded: bool, hasty: bool = False
) -> Tensor:
    """Adam on latents (B, D); returns the start for maps that it did not make better.

    Args:
        hasty: look at every other column in turn, which is quicker; to reach a PSNR it is not enough.
    """
    codebook, device = target.codebook, start.device
    step = torch.from_numpy(codebook.prior.step).to(device)[table][:, None]
    spread = torch.from_numpy(codebook.prior.spread).to(device)[table]
    if codebook.is_choice:
        spread[:, 0] = 0  # the choice stays made: past 0 the numbers would be read as others
    low, high = (t.to(device)[table] for t in codebook.prior.ends)

    def objective(y: Tensor, target: Target) -> Tensor:
        q = y + (torch.round(y) - y).detach() if rounded else y
        return target.log_nmse(q * step) + codebook.rate * codebook.prior.bits(q, table).sum(1)

    first = (start / step).clamp(low, high) if rounded else start / step  # tables end somewhere
    y = first.clone()
    m, s = torch.zeros_like(y), torch.zeros_like(y)
    parts = target.parts() if hasty else [target]
    fast = has_fast_bfloat16(device)
    for k in range(steps):
        q = y.detach().clone().requires_grad_(True)
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            loss = objective(q, parts[k % len(parts)]).sum()
        (gradient,) = torch.autograd.grad(loss, [q])
        m.mul_(0.9).add_(gradient, alpha=0.1)
        s.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        rate = LEARNING_RATE * spread * (0.5 * (1 + math.cos(math.pi * k / steps)) + 0.03)
        y -= rate * (m / (1 - 0.9 ** (k + 1))) / ((s / (1 - 0.99 ** (k + 1))).sqrt() + 1e-8)
        if rounded:
            y = y.clamp(low, high)
    with torch.no_grad():
        better = objective(y, target) < objective(first, target)
    end = torch.where(better[:, None], y, first)
    return (torch.round(end) if rounded else end) * step

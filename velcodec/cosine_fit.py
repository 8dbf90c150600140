"""Integers for the cosines of a choice decoder: closed form, by rate and distortion.

    maps -> products with the waves -> for each step size: integers that weigh error against bits -> the best step

The waves are orthonormal, so the error of a map is the sum of the squared errors of its numbers and of what the waves
leave over: no decoding, no search. An integer is the nearest or its neighbour towards zero, whichever costs less
("rate-distortion optimised quantisation", as video coders do; Sullivan, Wiegand, "Rate-distortion optimization for
video compression", 1998).
"""

import torch
from torch import Tensor

from .aim import FLOOR, Aim, Found
from .codebook import Codebook
from .decoders.choice import ChoiceDecoder
from .decoders.cosines import NATIVE
from .grid import centres
from .target import span_of

PASSES = 3  # of weighing error against bits: the worth of an error falls as the error grows
HALVINGS = 12  # of the interval of log prices searched for a PSNR
CHEAPEST, DEAREST = 1e-3, 10.0  # price of a bit, in squared steps, between which it is searched
SAFETY = 0.9995  # of the squared error that a PSNR allows: rounding in float32 stays within the rest
LOOKS = 3  # table sets looked at closely for a map
FINEST = 0.12  # step, but for those who ask for a PSNR: a finer one takes half as many bytes again for 1 dB
SAMPLES = NATIVE * NATIVE


def fit(v: Tensor, codebook: Codebook, aim: Aim) -> Found:
    """The cheapest cosines of normalised maps (B, H, W)."""
    c = products(v, codebook)
    span = span_of(v)
    left = ((v**2).mean((1, 2)) * SAMPLES - (c**2).sum(1)).clamp_min(0)
    scale = SAMPLES * span**2  # of a squared error, to NMSE
    found = Found.nothing(len(v), codebook.latent, v.device)
    promising = _promising(c, left, scale, codebook, aim)
    for i, t in enumerate(codebook.smooth_tables):
        rows = torch.nonzero(promising[:, i])[:, 0]
        if aim.psnr is None and codebook.prior.step[t] < FINEST:
            continue
        if len(rows):
            some = c[rows], left[rows], scale[rows]
            new = _weighed(*some, codebook, t)
            if aim.psnr is not None:
                new = _reaching(*some, codebook, t, SAFETY * aim.nmse()[rows], new)
            found.take(new, rows, aim)
    return found


def products(v: Tensor, codebook: Codebook) -> Tensor:
    """Products (B, D - 1) of normalised maps with the waves: the latents nearest to them, number 0 left out."""
    assert isinstance(codebook.decoder, ChoiceDecoder)
    z, x = (torch.from_numpy(centres(n)).float().to(v.device) for n in v.shape[1:])
    return codebook.decoder.cosines.project(v, z, x)


def least_cost(v: Tensor, codebook: Codebook, aim: Aim) -> Tensor:
    """What the cosines of normalised maps cannot cost less than (B,): no bits, and the error that the waves leave."""
    span = span_of(v)
    left = ((v**2).mean((1, 2)) - (products(v, codebook) ** 2).sum(1) / SAMPLES).clamp_min(1e-12)
    return aim.cost(torch.log(left / span**2), torch.zeros_like(span))


def _promising(c: Tensor, left: Tensor, scale: Tensor, codebook: Codebook, aim: Aim) -> Tensor:
    """Which of the smooth table sets (B, sets) are worth a closer look: the cheapest few by the nearest integers."""
    costs = []
    for t in codebook.smooth_tables:
        low, high = (end.to(c.device)[t, 1:] for end in codebook.prior.ends)
        q = torch.clamp(torch.round(c / float(codebook.prior.step[t])), low, high)
        costs.append(_measured(q, c, left, scale, codebook, t).cost(aim))
    table = torch.stack(costs, 1)
    few = table.argsort(1)[:, :LOOKS]
    return torch.zeros_like(table, dtype=torch.bool).scatter(1, few, True)


def _weighed(c: Tensor, left: Tensor, scale: Tensor, codebook: Codebook, t: int) -> Found:
    """Integers that minimise log NMSE + rate x bits, each on its own, given the error of the others."""
    step = float(codebook.prior.step[t])
    q = torch.round(c / step)
    for _ in range(PASSES):
        error = left + ((c - q * step) ** 2).sum(1)
        price = codebook.rate * (error + FLOOR * scale)
        q = integers(c, codebook, t, price)
    return _measured(q, c, left, scale, codebook, t)


def _reaching(
    c: Tensor, left: Tensor, scale: Tensor, codebook: Codebook, t: int, nmse: Tensor, other: Found
) -> Found:
    """Integers at the highest price of a bit that keeps an NMSE (B,); others for maps that none brings there."""
    step = float(codebook.prior.step[t])
    allowed = scale * nmse
    low, high = torch.full_like(left, CHEAPEST).log(), torch.full_like(left, DEAREST).log()
    q = integers(c, codebook, t, low.exp() * step**2)
    kept = left + ((c - q * step) ** 2).sum(1) <= allowed
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tried = integers(c, codebook, t, middle.exp() * step**2)
        enough = left + ((c - tried * step) ** 2).sum(1) <= allowed
        q = torch.where((enough & kept)[:, None], tried, q)
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return _measured(torch.where(kept[:, None], q, other.integers[:, 1:]), c, left, scale, codebook, t)


def integers(c: Tensor, codebook: Codebook, t: int, price: Tensor) -> Tensor:
    """The nearest integers (B, N), or one nearer to zero where that saves more bits, at a price (B,), than it errs."""
    step = float(codebook.prior.step[t])
    low, high = (end.to(c.device)[t, 1 : 1 + c.shape[1]] for end in codebook.prior.ends)
    near = torch.clamp(torch.round(c / step), low, high)
    less = torch.clamp(near - torch.sign(near), low, high)
    cost = [
        (c - q * step) ** 2 + price[:, None] * codebook.prior.integer_bits(_whole(q, codebook, t), t)[:, 1:]
        for q in (near, less)
    ]
    return torch.where(cost[1] < cost[0], less, near)


def _measured(q: Tensor, c: Tensor, left: Tensor, scale: Tensor, codebook: Codebook, t: int) -> Found:
    error = left + ((c - q * float(codebook.prior.step[t])) ** 2).sum(1)
    bits = codebook.prior.integer_bits(_whole(q, codebook, t), t).sum(1)
    table = torch.full((len(q),), t, dtype=torch.long, device=q.device)
    return Found(_whole(q, codebook, t), table, torch.log((error / scale).clamp_min(1e-12)), bits)


def _whole(q: Tensor, codebook: Codebook, t: int) -> Tensor:
    """Latents in steps: number 0 of the table set before its cosines."""
    return torch.cat([torch.full_like(q[:, :1], float(codebook.prior.low[t, 0])), q], 1)

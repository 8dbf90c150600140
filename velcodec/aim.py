"""What a latent is to reach, what it costs, and the best found so far: shared by all ways to fit one."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 1e-5  # NMSE (50 dB) below which, as in training, bits weigh more than what they still gain
FORTUNE = 1e3  # nats: more than any latent costs, and few enough for float32 to tell a bit from another


@dataclass(frozen=True)
class Aim:
    """Error against bits, or a PSNR in the fewest bits.

    Args:
        rate: nats of log NMSE that a bit must win.
        psnr: (B,) dB that each map should reach; None weighs error against bits. A map that cannot reach it is
            weighed so too.
        most: (B,) bits in which something else reaches that PSNR: a latent that takes more is of no use. None says
            nothing of that.
    """

    rate: float
    psnr: Tensor | None = None
    most: Tensor | None = None

    def some(self, rows: Tensor) -> "Aim":
        """That of some rows."""
        psnr, most = (None if own is None else own[rows] for own in (self.psnr, self.most))
        return Aim(self.rate, psnr, most)

    def nmse(self) -> Tensor:
        """The NMSE (B,) of the PSNR that is asked for."""
        assert self.psnr is not None
        return 10 ** (-self.psnr / 10)

    def cost(self, log_nmse: Tensor, bits: Tensor) -> Tensor:
        """What latents cost (B,) in nats: their bits alone, less a fortune, where they reach what is asked for."""
        weighed = torch.log(log_nmse.exp() + FLOOR) + self.rate * bits
        if self.psnr is None:
            return weighed
        return torch.where(-10 / math.log(10) * log_nmse >= self.psnr, self.rate * bits - FORTUNE, weighed)

    def rival(self, cost: Tensor) -> Tensor:
        """What the next latents are to cost less than (B,), where those so far cost that."""
        return cost if self.most is None else torch.minimum(cost, self.rate * self.most - FORTUNE)

    def bits(self, cost: Tensor) -> Tensor:
        """The bits (B,) of latents that reach the PSNR asked for and cost that; infinite where they do not."""
        return torch.where(cost < -FORTUNE / 2, (cost + FORTUNE) / self.rate, math.inf)


@dataclass(frozen=True)
class Found:
    """Latents of maps: integers in steps (B, D) float32, table sets (B,), log NMSE and bits (B,), inf where none."""

    integers: Tensor
    table: Tensor
    log_nmse: Tensor
    bits: Tensor

    @classmethod
    def nothing(cls, maps: int, latent: int, device: torch.device) -> "Found":
        """No latents yet."""
        none = torch.full((maps,), math.inf, device=device)
        table = torch.zeros(maps, dtype=torch.long, device=device)
        return cls(torch.zeros(maps, latent, device=device), table, none, none.clone())

    def cost(self, aim: Aim) -> Tensor:
        """What the latents cost (B,)."""
        return aim.cost(self.log_nmse, self.bits)

    def take(self, other: "Found", rows: Tensor, aim: Aim) -> None:
        """Put others, of some rows, in place of these where they cost less. The aim is of all rows."""
        mine, some = aim.cost(self.log_nmse, self.bits)[rows], aim.some(rows)
        less = other.cost(some) < mine
        rows = rows[less]
        for own, new in zip(vars(self).values(), vars(other).values(), strict=True):
            own[rows] = new[less]

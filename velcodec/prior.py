"""The latent prior: integer frequency tables, one set a kind of map and step size.

A table set t has a step (latent units a quantisation step) and, for each latent number d, consecutive integers
low[t, d] .. low[t, d] + size[t, d] - 1 with frequencies of at least 1 that sum to 2^16. Only these integers reach
the entropy coder (rule 1 of the design); the bits that the latent search weighs are read off the same tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import CodebookError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TABLE_BITS = 16  # the frequencies of a table sum to 2^16
MAX_SIZE = 4096  # integers in one table
CERTAIN = np.array(
    [(1 << TABLE_BITS) - 1, 1], np.uint16
)  # frequencies of a number that is hardly ever another
NAMES = ("step", "low", "size", "frequency")  # of the tensors, after "prior."


@dataclass(frozen=True)
class Prior:
    """Table sets of a codebook.

    Args:
        step: (T,) float32, latent units of one quantisation step of each table set.
        low: (T, D) int16, the smallest integer of each table.
        size: (T, D) uint16, the number of integers in each table, 2..4096.
        frequency: (sum of size,) uint16, the tables one after another, t-major.
    """

    step: NDArray[np.float32]
    low: NDArray[np.int16]
    size: NDArray[np.uint16]
    frequency: NDArray[np.uint16]

    def __post_init__(self) -> None:
        size = self.size.astype(np.int64)
        ok = (
            self.low.ndim == 2
            and self.low.shape == self.size.shape
            and self.step.shape == self.low.shape[:1]
            and 0 < len(self.step) <= 112
            and bool(((size >= 2) & (size <= MAX_SIZE)).all())
            and self.frequency.shape == (int(size.sum()),)
            and bool((self.frequency >= 1).all())
            and bool((np.isfinite(self.step) & (self.step > 0)).all())
        )
        if ok:
            sums = np.add.reduceat(self.frequency.astype(np.int64), self.starts.ravel())
            ok = bool((sums == 1 << TABLE_BITS).all())
        if not ok:
            raise CodebookError("the codebook's frequency tables are not valid")

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Prior:
        """The tables of a codebook. A size of 0 there stands for two integers, of CERTAIN's frequencies."""
        step, low, size, frequency = (tensors[f"prior.{name}"] for name in NAMES)
        certain = size.ravel() == 0
        if not certain.any():
            return cls(step, low, size, frequency)
        ends = np.cumsum(size.astype(np.int64).ravel())
        if len(frequency) != ends[-1]:
            raise CodebookError("the codebook's frequency tables are not valid")
        whole = np.insert(frequency, np.repeat(ends[certain], 2), np.tile(CERTAIN, int(certain.sum())))
        return cls(step, low, np.where(size == 0, 2, size).astype(np.uint16), whole)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The tables by their names in a codebook."""
        starts = self.starts.ravel()
        certain = (self.size.ravel() == 2) & (self.frequency[starts] == CERTAIN[0])
        size = np.where(certain.reshape(self.size.shape), 0, self.size).astype(np.uint16)
        frequency = np.delete(self.frequency, np.concatenate([starts[certain], starts[certain] + 1]))
        stored: tuple[NDArray[Any], ...] = (self.step, self.low, size, frequency)
        return {f"prior.{name}": tensor for name, tensor in zip(NAMES, stored, strict=True)}

    @property
    def tables(self) -> int:
        """Number of table sets."""
        return len(self.step)

    @property
    def latent(self) -> int:
        """Numbers in a latent."""
        return int(self.low.shape[1])

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        ends = np.cumsum(self.size.astype(np.int64).ravel())
        return (ends - self.size.ravel()).reshape(self.size.shape)

    def table(self, t: int, d: int) -> NDArray[np.uint16]:
        """Frequencies of latent number d in table set t, (size,)."""
        start = self.starts[t, d]
        return self.frequency[start : start + self.size[t, d]]

    def high(self, t: int) -> NDArray[np.int64]:
        """The largest integers of a table set, (D,)."""
        high: NDArray[np.int64] = self.low[t].astype(np.int64) + self.size[t] - 1
        return high

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest integers of each table, (T, D) float32 each."""
        return _float(self.low), _float(self.low) + _float(self.size) - 1

    @cached_property
    def spread(self) -> NDArray[np.float32]:
        """Standard deviation of each integer under its table, (T, D)."""
        out = np.empty(self.size.shape, dtype=np.float32)
        for t, d in np.ndindex(*self.size.shape):
            p = self.table(t, d) / (1 << TABLE_BITS)
            k = np.arange(len(p))
            out[t, d] = np.sqrt((p * k**2).sum() - (p * k).sum() ** 2)
        return out

    @cached_property
    def integers_bits(self) -> Tensor:
        """Bits of every integer of every table, in the order of `frequency`: (sum of size,) float32."""
        import torch

        return torch.from_numpy((TABLE_BITS - np.log2(self.frequency.astype(np.float64))).astype(np.float32))

    def bits(self, y: Tensor, table: Tensor) -> Tensor:
        """Bits (B, D) of latents y (B, D) in steps under the table set of each (B,): exact at the integers.

        Linear between them, growing by 4 bits a step outside the table. Differentiable in y.
        """
        import torch

        bits, start, low, last = self._numbers(y.device)
        at = y - low[table]
        inside = torch.minimum(at.clamp_min(0), last[table])
        i = torch.minimum(inside.detach().floor(), last[table] - 1)
        place = start[table] + i.long()
        left, right = bits[place], bits[place + 1]
        return left + (right - left) * (inside - i) + 4 * (at - inside).abs()

    def integer_bits(self, y: Tensor, table: int) -> Tensor:
        """Bits (B, D) of integers y (B, D) under one table set, as `bits` gives them."""
        import torch

        bits, start, low, last = self._numbers(y.device)
        at = y - low[table]
        inside = torch.minimum(at.clamp_min(0), last[table])
        return bits[start[table] + inside.long()] + 4 * (at - inside).abs()

    def _numbers(self, device: torch.device) -> tuple[Tensor, ...]:
        """On a device: integers_bits, where each table starts in it (T, D), low, size - 1."""
        import torch

        if device not in self._on_device:
            numbers = (
                self.integers_bits,
                torch.from_numpy(self.starts),
                _float(self.low),
                _float(self.size) - 1,
            )
            self._on_device[device] = tuple(t.to(device) for t in numbers)
        return self._on_device[device]

    @cached_property
    def _on_device(self) -> dict[torch.device, tuple[Tensor, ...]]:
        return {}


def _float(integers: NDArray[Any]) -> Tensor:
    import torch

    return torch.from_numpy(integers.astype(np.float32))


def integer_table(mass: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Probabilities (n,) to frequencies of at least 1 that sum to 2^16, the remainder on the likeliest."""
    total = 1 << TABLE_BITS
    free = total - len(mass)
    frequency = 1 + np.floor(free * mass / mass.sum()).astype(np.int64)
    frequency[np.argmax(mass)] += total - frequency.sum()
    return frequency.astype(np.uint16)


def build(step: NDArray[np.float32], masses: list[list[tuple[int, NDArray[np.float64]]]]) -> Prior:
    """A prior of table sets: masses[t][d] = (low, probabilities of low, low + 1, ...)."""
    low = np.array([[m[0] for m in row] for row in masses], dtype=np.int16)
    size = np.array([[len(m[1]) for m in row] for row in masses], dtype=np.uint16)
    frequency = np.concatenate([integer_table(m[1]) for row in masses for m in row])
    return Prior(step.astype(np.float32), low, size, frequency)


def some(p: Prior, tables: list[int]) -> Prior:
    """Some table sets of a prior."""
    frequency = [p.table(t, d) for t in tables for d in range(p.latent)]
    return Prior(p.step[tables], p.low[tables], p.size[tables], np.concatenate(frequency))


def joined(first: Prior, second: Prior) -> Prior:
    """The table sets of two priors of latents alike."""
    return Prior(
        *(
            np.concatenate([getattr(p, name) for p in (first, second)])
            for name in ("step", "low", "size", "frequency")
        )
    )

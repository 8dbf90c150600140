"""The latent prior: integer frequency tables, one set a kind of map and step size.

A table set t has a step (latent units a quantisation step) and, for each latent number d, consecutive integers
low[t, d] .. low[t, d] + size[t, d] - 1 with frequencies of at least 1 that sum to 2^16. Only these integers reach
the entropy coder (rule 1 of the design); the bits that the latent search weighs are read off the same tables.

Maps are not all like those that tables were counted on. Where an end of a table is a rare integer the end is open:
integers past it are coded as it is, and how far past in Elias's gamma code (Elias, "Universal codeword sets and
representations of the integers", 1975), from the seventh coder on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
OPEN = 64  # of 65536: the frequency up to which an end of a table is open
# Integers of a table; of larger ones the search goes past open ends, by their size or so many at least.
NARROW, ROOM = 2, 16
WIDE, FAR_ROOM = 64, 512  # of the wide ones of `Prior.far`
CERTAIN = np.array(
    [(1 << TABLE_BITS) - 1, 1], np.uint16
)  # frequencies of a number that is hardly ever another
NAMES = ("step", "low", "size", "frequency")  # of the tensors, after "prior."
WHICH = "prior.table"  # the tensor that says which table each number has, where tables that are alike are stored once
MAX_FREQUENCIES = 1 << 24  # of all table sets


@dataclass(frozen=True)
class Prior:
    """Table sets of a codebook.

    Args:
        step: (T,) float32, latent units of one quantisation step of each table set.
        low: (T, D) int16, the smallest integer of each table.
        size: (T, D) uint16, the number of integers in each table, 2..4096.
        frequency: (sum of size,) uint16, the tables one after another, t-major.
        escapes: integers past open ends may be told.
        far: table sets whose wide tables are of depths and shifts: other layers may be some times as thick as any that
            were counted, so that a search goes far past the open ends of these.
    """

    step: NDArray[np.float32]
    low: NDArray[np.int16]
    size: NDArray[np.uint16]
    frequency: NDArray[np.uint16]
    escapes: bool = True
    far: tuple[int, ...] = ()

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
        """The tables of a codebook, those that are alike stored once.

        Codebooks before openfwi-2d-v4 have each of them, and a size of 0 for two integers of CERTAIN's frequencies.
        """
        step, low, size, frequency = (tensors[f"prior.{name}"] for name in NAMES)
        if WHICH in tensors:
            return cls._of_distinct(step, low, size, frequency, tensors[WHICH])
        certain = size.ravel() == 0
        if not certain.any():
            return cls(step, low, size, frequency)
        ends = np.cumsum(size.astype(np.int64).ravel())
        if len(frequency) != ends[-1]:
            raise CodebookError("the codebook's frequency tables are not valid")
        whole = np.insert(frequency, np.repeat(ends[certain], 2), np.tile(CERTAIN, int(certain.sum())))
        return cls(step, low, np.where(size == 0, 2, size).astype(np.uint16), whole)

    @classmethod
    def _of_distinct(
        cls,
        step: NDArray[Any],
        low: NDArray[Any],
        size: NDArray[Any],
        frequency: NDArray[Any],
        which: NDArray[Any],
    ) -> Prior:
        """Of tables that stand once: low, size (U,), frequency, and which of them each number has (T, D)."""
        sizes = size.astype(np.int64)
        ok = (
            low.ndim == 1
            and low.shape == size.shape
            and which.dtype == np.uint16
            and which.ndim == 2
            and which.size > 0
            and int(which.max()) < len(low)
            and frequency.shape == (int(sizes.sum()),)
        )
        own = which.astype(np.int64).ravel()
        if not ok or int(sizes[own].sum()) > MAX_FREQUENCIES:
            raise CodebookError("the codebook's frequency tables are not valid")
        firsts, ends = (np.cumsum(sizes) - sizes)[own], np.cumsum(sizes[own])
        places = np.arange(ends[-1]) + np.repeat(firsts - ends + sizes[own], sizes[own])
        return cls(step, low[which], size[which], frequency[places])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The tables by their names in a codebook, those that are alike once."""
        found: dict[tuple[int, bytes], int] = {}
        which = np.array(
            [
                [
                    found.setdefault((int(self.low[t, d]), self.table(t, d).tobytes()), len(found))
                    for d in range(self.latent)
                ]
                for t in range(self.tables)
            ]
        )
        if len(found) > 1 << 16:
            raise CodebookError("a codebook holds 65536 different tables at most")
        low = np.array([first for first, _ in found], np.int16)
        own = [np.frombuffer(table, np.uint16) for _, table in found]
        size = np.array([len(table) for table in own], np.uint16)
        stored: tuple[NDArray[Any], ...] = (self.step, low, size, np.concatenate(own))
        tensors = {f"prior.{name}": tensor for name, tensor in zip(NAMES, stored, strict=True)}
        return {**tensors, WHICH: which.astype(np.uint16)}

    def closed(self) -> Prior:
        """The same without escapes, as coders before the seventh have it."""
        return replace(self, escapes=False)

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
    def open(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether the low and the high end of each table are open, (T, D) each."""
        last = self.starts + self.size.astype(np.int64) - 1
        low, high = (self.escapes & (self.frequency[at] <= OPEN) for at in (self.starts, last))
        return low, high

    @cached_property
    def _past(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Integers past the low and the high end of each table that a search may come to, (T, D) each."""
        size = self.size.astype(np.int64)
        room = np.where(size > NARROW, np.maximum(size, ROOM), 0)
        for t in self.far:
            room[t, size[t] > WIDE] = np.maximum(room[t, size[t] > WIDE], FAR_ROOM)
        low, high = self.open
        return room * low, room * high

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """The smallest integer that a search may tell each number by, (T, D)."""
        return self.low.astype(np.int64) - self._past[0]

    @cached_property
    def last(self) -> NDArray[np.int64]:
        """The largest, (T, D)."""
        return self.low.astype(np.int64) + self.size.astype(np.int64) - 1 + self._past[1]

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """`first` and `last` as float32."""
        return _float(self.first), _float(self.last)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Where the bits of each table's first integer stand in `integers_bits`, (T, D)."""
        count = (self.last - self.first + 1).ravel()
        return (np.cumsum(count) - count).reshape(self.size.shape)

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
        """Bits of every integer that a search may tell a number by, first .. last of each table: float32."""
        import torch

        return torch.from_numpy(np.concatenate([self._bits_of(t) for t in range(self.tables)]))

    def _bits_of(self, t: int) -> NDArray[np.float32]:
        """Those of one table set: all of them at once would pass through a gigabyte."""
        size = self.size[t].astype(np.int64)
        count, past = self.last[t] - self.first[t] + 1, self._past[0][t]
        table = np.repeat(np.arange(self.latent), count)
        own = np.cumsum(count) - count + past
        k = np.arange(len(table)) - own[table]  # 0 for the first of the table itself
        top = size[table] - 1
        inside = np.clip(k, 0, top)
        own_bits = TABLE_BITS - np.log2(self.frequency[self.starts[t, 0] :][: size.sum()].astype(np.float64))
        bits = own_bits[(self.starts[t] - self.starts[t, 0])[table] + inside]
        low, high = (end[t][table] for end in self.open)
        at_end = ((inside == 0) & low) | ((inside == top) & high)
        bits[at_end] += 1 + 2 * np.floor(np.log2(np.abs(k - inside)[at_end] + 1))
        return bits.astype(np.float32)

    def bits(self, y: Tensor, table: Tensor) -> Tensor:
        """Bits (B, D) of latents y (B, D) in steps under the table set of each (B,): exact at the integers.

        Linear between them, growing by 4 bits a step past what a search may come to. Differentiable in y.
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
        """On a device: integers_bits, where each table starts in it (T, D), first, last - first."""
        import torch

        if device not in self._on_device:
            numbers = (
                self.integers_bits,
                torch.from_numpy(self.places),
                self.ends[0],
                self.ends[1] - self.ends[0],
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
    step, low, size, frequency = (
        np.concatenate([getattr(p, name) for p in (first, second)]) for name in NAMES
    )
    return Prior(step, low, size, frequency)

"""What a mode offers for the maps of a block, and which offer is taken.

An offer of a mode has infinite bytes for the maps that it cannot store as asked. Bytes are those that a map took of a
stream that it shared with all the maps offered, so they are an estimate where other maps end up in the stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Maps:
    """Maps (or tiles) to store: samples in the array's dtype, and the range of the map that each is or belongs to."""

    samples: list[NDArray[Any]]
    spans: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.samples)

    def some(self, rows: Sequence[int]) -> "Maps":
        """Those of some rows."""
        return Maps([self.samples[row] for row in rows], self.spans[list(rows)])


@dataclass
class Offer:
    """A mode's offer for n maps: kinds, bytes, PSNR in dB (inf: exact) and maximum error, (n,) each.

    `streams` are those made on the way, each with what it holds and by its name: if just these maps end up in one, it
    need not be made again.
    """

    kinds: NDArray[np.uint8]
    bytes: NDArray[np.float64]
    psnr: NDArray[np.float64]
    error: NDArray[np.float64]
    stored: list[Any]
    streams: dict[tuple[int, ...], Any] = field(default_factory=dict)

    def cheaper(self, share: float) -> "Offer":
        """The same offer as if it took that share of its bytes."""
        return replace(self, bytes=share * self.bytes)


def of(stored: Sequence[Any]) -> tuple[int, ...]:
    """What names the stream of some stored objects."""
    return tuple(map(id, stored))


def nothing(n: int) -> Offer:
    """No offer."""
    return Offer(np.zeros(n, np.uint8), np.full(n, np.inf), np.full(n, np.inf), np.zeros(n), [None] * n)


def copied(offer: Offer) -> Offer:
    """The same offer, to go on from apart."""
    return Offer(
        offer.kinds.copy(),
        offer.bytes.copy(),
        offer.psnr.copy(),
        offer.error.copy(),
        list(offer.stored),
        dict(offer.streams),
    )


def take(best: Offer, offer: Offer, rows: Sequence[int], all_of_it: bool = False) -> None:
    """Put an offer for some rows in place of the best where it takes fewer bytes, or wherever there is one."""
    for i, row in enumerate(rows):
        if offer.bytes[i] < best.bytes[row] or (all_of_it and np.isfinite(offer.bytes[i])):
            best.kinds[row], best.bytes[row] = offer.kinds[i], offer.bytes[i]
            best.psnr[row], best.error[row] = offer.psnr[i], offer.error[i]
            best.stored[row] = offer.stored[i]
    best.streams |= offer.streams

"""Integers <-> bytes, by constriction's range coder and a prior's integer tables.

A block's latents are coded number by number: all maps of the block at d = 0, then all at d = 1, and so on, so
that one model serves a run of symbols. The coder works at 24 bits and constriction turns n probabilities p into the
cumulative counts i + floor(cumulative p x (2^24 - n) / sum p). Given 256 f - 1 as "probabilities" of a table f that
sums to 2^16, their sum is 2^24 - n exactly and the counts are 256 x the table's own: floats carry integers, and
every platform codes the same bytes.
"""

from collections.abc import Sequence
from functools import lru_cache

import constriction
import numpy as np
from numpy.typing import NDArray

from .errors import FormatError
from .prior import Prior

WORD = np.dtype("<u4")
LIFT = 256.0  # 2^24 of the coder over 2^16 of the tables


class TableModels:
    """The entropy models of a prior, built when first used."""

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        self._build = lru_cache(maxsize=None)(self._models)

    def _models(self, table: int) -> list["constriction.stream.model.Categorical"]:
        return [
            constriction.stream.model.Categorical(
                LIFT * self.prior.table(table, d).astype(np.float64) - 1, perfect=False
            )
            for d in range(self.prior.latent)
        ]

    def of(self, table: int) -> list["constriction.stream.model.Categorical"]:
        """One model a latent number."""
        return self._build(table)


def encode(groups: Sequence[tuple[int, NDArray[np.int32]]], models: TableModels) -> bytes:
    """Groups of (table set, integers (n, D) within its range) to bytes, one stream, group after group."""
    coder = constriction.stream.queue.RangeEncoder()
    for table, q in groups:
        symbols = np.ascontiguousarray((q - models.prior.low[table]).T, dtype=np.int32)
        for row, model in zip(symbols, models.of(table), strict=True):
            coder.encode(row, model)
    return coder.get_compressed().astype(WORD).tobytes()


def decode(data: bytes, groups: Sequence[tuple[int, int]], models: TableModels) -> list[NDArray[np.int32]]:
    """Bytes to the integers (n, D) of each group (table set, n). Raises FormatError where the bytes cannot be so."""
    if len(data) % WORD.itemsize:
        raise FormatError("latent stream is not a whole number of 32-bit words")
    coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, WORD).astype(np.uint32))
    out = []
    try:
        for table, n in groups:
            q = np.empty((models.prior.latent, n), dtype=np.int32)
            for d, model in enumerate(models.of(table)):
                q[d] = coder.decode(model, n)
            out.append(q.T + models.prior.low[table].astype(np.int32))
    except (AssertionError, ValueError) as error:
        raise FormatError("latent stream does not fit the codebook's tables") from error
    if not coder.maybe_exhausted():
        raise FormatError("latent stream has bytes left over")
    return out

"""Integers <-> bytes, by constriction's range coder and a prior's integer tables.

A block's latents are coded number by number: all maps of the block at d = 0, then all at d = 1, and so on, so
that one model serves a run of symbols. The coder works at 24 bits and constriction turns n probabilities p into the
cumulative counts i + floor(cumulative p x (2^24 - n) / sum p). Given 256 f - 1 as "probabilities" of a table f that
sums to 2^16, their sum is 2^24 - n exactly and the counts are 256 x the table's own: floats carry integers, and
every platform codes the same bytes.

Integers past an open end of their table (prior.py) are coded as that end. After all of them follows, for each that is
an open end, how far past it is, plus 1, in Elias's gamma code: as many zeros as the number has bits, less one, then
its bits. A bit is a symbol of two that are alike.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import constriction
import numpy as np
from numpy.typing import NDArray

from .errors import FormatError
from .prior import Prior

WORD = np.dtype("<u4")
LIFT = 256.0  # 2^24 of the coder over 2^16 of the tables
MOST_BITS = 16  # of a distance past an end, plus 1


class TableModels:
    """The entropy models of a prior, built when first used."""

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        self._build = lru_cache(maxsize=None)(self._models)

    def _models(self, table: int) -> list[tuple[int, "constriction.stream.model.Categorical"]]:
        tables = (self.prior.table(table, d).tobytes() for d in range(self.prior.latent))
        runs = ((len(list(alike)), np.frombuffer(own, np.uint16)) for own, alike in groupby(tables))
        model = constriction.stream.model.Categorical
        return [(run, model(LIFT * own.astype(np.float64) - 1, perfect=False)) for run, own in runs]

    def of(self, table: int) -> list[tuple[int, "constriction.stream.model.Categorical"]]:
        """A model for every run of latent numbers whose tables are alike, and how many they are."""
        return self._build(table)


def _bit() -> "constriction.stream.model.Categorical":
    return constriction.stream.model.Categorical(np.full(2, LIFT * (1 << 15) - 1), perfect=False)


def _ends(q: NDArray[np.int32], prior: Prior, table: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which integers (D, n), brought within a table set, are an open low and an open high end."""
    low, high = (own[table][:, None] for own in prior.open)
    return (q == prior.low[table][:, None]) & low, (q == prior.high(table)[:, None]) & high


def encode(groups: Sequence[tuple[int, NDArray[np.int32]]], models: TableModels) -> bytes:
    """Groups of (table set, integers (n, D) that it can tell) to bytes, one stream, group after group."""
    coder = constriction.stream.queue.RangeEncoder()
    prior, bits = models.prior, list[int]()
    for table, q in groups:
        low, high = (end[:, None] for end in (prior.low[table].astype(np.int32), prior.high(table)))
        inside = np.clip(q.T, low, high).astype(np.int32)
        d = 0
        for run, model in models.of(table):
            coder.encode((inside - low)[d : d + run].ravel(), model)
            d += run
        at_end = np.logical_or(*_ends(inside, prior, table))
        for past in (1 + np.abs(q.T - inside)[at_end]).tolist():
            bits += [0] * (past.bit_length() - 1) + [int(b) for b in f"{past:b}"]
    if bits:
        coder.encode(np.array(bits, np.int32), _bit())
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
            d = 0
            for run, model in models.of(table):
                q[d : d + run] = coder.decode(model, run * n).reshape(run, n)
                d += run
            out.append(q + models.prior.low[table].astype(np.int32)[:, None])
        _read_past(coder, groups, out, models.prior)
    except (AssertionError, ValueError) as error:
        raise FormatError("latent stream does not fit the codebook's tables") from error
    if not coder.maybe_exhausted():
        raise FormatError("latent stream has bytes left over")
    return [q.T for q in out]


def _read_past(
    coder: "constriction.stream.queue.RangeDecoder",
    groups: Sequence[tuple[int, int]],
    out: Sequence[NDArray[np.int32]],
    prior: Prior,
) -> None:
    """Move integers (D, n) that are open ends as far past these as the stream says."""
    bit = _bit()
    for (table, _), q in zip(groups, out, strict=True):
        low, high = _ends(q, prior, table)
        for d, i in np.argwhere(low | high).tolist():
            size = 1
            while not int(coder.decode(bit)):
                size += 1
                if size > MOST_BITS:
                    raise FormatError("a latent number lies further past its table than any may")
            past = 1
            for _ in range(size - 1):
                past = 2 * past + int(coder.decode(bit))
            q[d, i] += (1 - past) if low[d, i] else past - 1

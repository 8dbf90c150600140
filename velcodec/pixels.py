"""Maps of integers <-> bytes, exactly, by one of two adaptive models, each its own inverse.

    edges    plateaus (layers, faults, coarse steps), and edges between them that are smoothed
    smooth   textures

Both read a map row by row and see only what came before. Maps of a block share one model, which learns as it goes.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import adaptive, edges, parts, smooth
from .adaptive import BAD, byte_memory, code_byte, code_even, past_end
from .border import LIMIT
from .edges import code_edges
from .parts import MAX_BITS, code_parts
from .smooth import NEIGHBOURS, code_smooth, fit_weights

# The last two as files of the coder velcodec-1 have them, and of those before velcodec-6.
Model = Literal["edges", "smooth", "edges-1", "smooth-1"]


@dataclass(frozen=True)
class Integers:
    """A map as integers: whole (H, W) int64, a code 0..255, and parts (H, W) int64 in 1/2^code where it has some.

    Without parts the code says what a unit is worth (residual.py); with them a value is whole + part / 2^code.
    """

    whole: NDArray[np.int64]
    code: int
    parts: NDArray[np.int64] | None = None


def models(generation: int) -> tuple[Model, Model]:
    """The two models that files of a coder have, by its number."""
    return "edges-1" if generation == 1 else "edges", "smooth-1" if generation < 6 else "smooth"


def _fits(model: Model) -> bool:
    """Whether a stream under a model begins with weights that the encoder fits."""
    return model.startswith("smooth")


def encode(maps: list[Integers], model: Model, mantissa: int) -> tuple[bytes, NDArray[np.float64]]:
    """Maps of integers to a stream, and the bytes that each took of it (n,).

    Args:
        model: of the integers.
        mantissa: bits of the mantissa of the values that parts belong to.
    """
    weights = fit_weights([m.whole for m in maps]) if _fits(model) else np.zeros(0, np.int64)
    spent = np.zeros(len(maps) + 1)

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        coder = _Coder(io, buffer, model)
        coder.weights(weights)
        for i, m in enumerate(maps):
            coder.map(m.whole.copy(), m.code, None if m.parts is None else m.parts.copy(), mantissa)
            spent[i + 1] = adaptive.cost(io) / 8

    return adaptive.write(code, 256 + sum(m.whole.size for m in maps)), np.diff(spent)


def decode(
    data: bytes,
    shapes: list[tuple[int, int]],
    parted: list[bool],
    model: Model,
    mantissa: int,
    all_of_it: bool = True,
) -> list[Integers]:
    """A stream, all of it or not, to its first maps of integers, of some shapes (H, W).

    Raises FormatError where it does not hold them.
    """
    maps: list[Integers] = []

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        coder = _Coder(io, buffer, model)
        coder.weights(np.zeros(len(NEIGHBOURS) + 1 if _fits(model) else 0, np.int64))
        for shape, has_parts in zip(shapes, parted, strict=True):
            if io[BAD] or past_end(io, buffer):
                return
            whole = np.zeros(shape, np.int64)
            fractions = np.zeros(shape, np.int64) if has_parts else None
            maps.append(Integers(whole, coder.map(whole, 0, fractions, mantissa), fractions))

    adaptive.read(code, data, all_of_it)
    return maps


class _Coder:
    """The models of one stream, on their way through its maps; codes or fills in, as the registers say."""

    def __init__(self, io: NDArray[np.int64], buffer: NDArray[np.uint8], model: Model) -> None:
        self.io, self.buffer = io, buffer
        self.head = byte_memory()
        self.smooth, self.coder = _fits(model), 1 if model.endswith("-1") else 2
        self.model = (smooth if self.smooth else edges).fresh(self.coder)
        self.of_parts: tuple[NDArray[Any], ...] | None = None

    def weights(self, values: NDArray[np.int64]) -> None:
        self.of_neighbours = values
        for i in range(len(values)):
            values[i] = code_even(self.io, self.buffer, 1 << 16, int(values[i]) + (1 << 15)) - (1 << 15)

    def map(
        self, whole: NDArray[np.int64], code: int, fractions: NDArray[np.int64] | None, mantissa: int
    ) -> int:
        code = code_byte(self.io, self.buffer, self.head, code)
        if self.smooth:
            code_smooth(self.io, self.buffer, self.model, self.of_neighbours, whole, self.coder)
        else:
            code_edges(self.io, self.buffer, self.model, whole, self.coder)
        if np.abs(whole).max() >= LIMIT or (fractions is not None and code > MAX_BITS):
            self.io[BAD] = 1
        elif fractions is not None:
            self.of_parts = self.of_parts or parts.fresh()
            code_parts(self.io, self.buffer, self.of_parts, whole, fractions, code, mantissa)
        return code

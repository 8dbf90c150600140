"""The payload of a MAPS section <-> its streams: the kinds of its records, and what is stored of each.

Streams are kinds, entropy, int8, fp16, exact and, with the modes feature, layers, edges, smooth, residual, cosines;
each is {coding, stored length, bytes}. The quality that a payload of an archive begins with is container.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import adaptive
from .container import (
    CODING_ADAPTIVE,
    FEATURE_EIGHTH,
    FEATURE_FOURTH,
    FEATURE_MODES,
    FEATURE_SECOND,
    FEATURE_THIRD,
    KIND_COSINES,
    KIND_COSINES_RESIDUAL,
    KIND_ENTROPY,
    KIND_EXACT,
    KIND_FP16,
    KIND_INT8,
    KIND_LAYERED_STEPS,
    KIND_RESIDUAL,
    KIND_SMOOTH_EXACT,
    KIND_SOFT,
    MAX_TABLES,
    PARTS,
    PRESENT,
    STREAM,
    pack_stream,
    unpack_stream,
)
from .errors import FormatError


def pack_kinds(kinds: NDArray[np.uint8], features: int) -> bytes:
    """The stream of the kinds of a block."""
    plain = pack_stream(kinds.tobytes())
    if features & FEATURE_SECOND:
        packed = adaptive.pack_bytes([kinds.tobytes()], bool(features & FEATURE_THIRD))
        if STREAM.size + len(packed) < len(plain):
            return STREAM.pack(CODING_ADAPTIVE, len(packed)) + packed
    return plain


def unpack_kinds(payload: bytes, count: int, features: int) -> tuple[NDArray[np.uint8], int]:
    """The kinds (count,) that a MAPS payload begins with, and where the next stream begins."""
    if len(payload) >= STREAM.size and features & FEATURE_SECOND:
        coding, stored = STREAM.unpack_from(payload)
        at = STREAM.size + stored
        if coding == CODING_ADAPTIVE and at <= len(payload):
            counted = bool(features & FEATURE_THIRD)
            (data,) = adaptive.unpack_bytes(payload[STREAM.size : at], [count], counted)
            return np.frombuffer(data, np.uint8), at
    data, at = unpack_stream(payload, 0, count)
    return np.frombuffer(data, np.uint8), at


@dataclass(frozen=True)
class Block:
    """The streams of a MAPS section. `kinds` has one KIND a record; the others hold their records in order."""

    kinds: NDArray[np.uint8]
    entropy: bytes = b""
    int8: bytes = b""
    fp16: bytes = b""
    exact: bytes = b""
    layers: bytes = b""
    edges: bytes = b""
    smooth: bytes = b""
    residual: bytes = b""
    cosines: bytes = b""


def pack_block(block: Block, features: int) -> bytes:
    """The payload of a MAPS section."""
    first = [pack_kinds(block.kinds, features)]
    plain = [
        pack_stream(block.entropy, compress=False),
        *map(pack_stream, (block.int8, block.fp16, block.exact)),
    ]
    if not features & FEATURE_MODES:
        return b"".join(first + plain)
    adaptive = (block.layers, block.edges, block.smooth, block.residual, block.cosines)
    plain += [pack_stream(data, compress=False) for data in adaptive]
    present = [len(stream) > STREAM.size for stream in plain]
    mask = sum(1 << i for i, there in enumerate(present) if there)
    return b"".join(
        [*first, PRESENT.pack(mask), *(s for s, there in zip(plain, present, strict=True) if there)]
    )


def unpack_block(payload: bytes, features: int, plain: int, sizes: Sequence[int]) -> Block:
    """The streams of a MAPS section of records of some sizes in bytes, `plain` numbers a latent not coded."""
    kinds, at = unpack_kinds(payload, len(sizes), features)
    if not known_kinds(kinds, features).all():
        raise FormatError("a map's kind is not known")
    lengths: list[int | None] = [
        None,
        int((kinds == KIND_INT8).sum()) * (4 + plain),
        int((kinds == KIND_FP16).sum()) * 2 * plain,
        int(np.asarray(sizes)[kinds == KIND_EXACT].sum()),
    ]
    mask = 0b1111
    if features & FEATURE_MODES:
        lengths += [None] * (5 if features & FEATURE_EIGHTH else 4)
        if at + PRESENT.size > len(payload):
            raise FormatError("a stream is truncated")
        (mask,) = PRESENT.unpack_from(payload, at)
        at += PRESENT.size
    if mask >> len(lengths):
        raise FormatError("a block states streams that are not known")
    streams = []
    for i, length in enumerate(lengths):
        if mask >> i & 1:
            data, at = unpack_stream(payload, at, length)
        elif length:
            raise FormatError("a block lacks a stream that its maps need")
        else:
            data = b""
        streams.append(data)
    if at != len(payload):
        raise FormatError("a block has bytes left over")
    return Block(kinds, *streams)


def known_kinds(kinds: NDArray[np.uint8], features: int) -> NDArray[np.bool_]:
    """Which kinds (n,) a file with some features may hold."""
    plain = (kinds <= KIND_FP16) | ((kinds >= KIND_ENTROPY) & (kinds < KIND_ENTROPY + MAX_TABLES))
    if not features & FEATURE_MODES:
        return plain
    if features & FEATURE_SECOND:
        plain |= kinds == KIND_LAYERED_STEPS
    if features & FEATURE_FOURTH:
        plain |= (kinds >= KIND_SOFT) & (kinds < KIND_SOFT + len(PARTS))
    if features & FEATURE_EIGHTH:
        plain |= (kinds == KIND_COSINES) | (kinds == KIND_COSINES_RESIDUAL)
    late = (kinds >= KIND_RESIDUAL) & (kinds < KIND_RESIDUAL + MAX_TABLES)
    return plain | (kinds <= KIND_SMOOTH_EXACT) | late

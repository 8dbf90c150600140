"""Where the blocks of a file lie, and the quality of its maps: in FOOT, or of an archive beside the maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import adaptive
from .container import (
    CODING_ADAPTIVE,
    FEATURE_ARCHIVE,
    FEATURE_SECOND,
    FEATURE_THIRD,
    FOOTER,
    FOOTER_ARCHIVE,
    INDEX,
    MAX_BLOCK_MAPS,
    MAX_CODEBOOK,
    MAX_MAPS,
    MAX_SOURCES,
    PROLOGUE,
    SECTION,
    STREAM,
    pack_stream,
    unpack_stream,
)
from .errors import FormatError


@dataclass(frozen=True)
class Entry:
    """Where a MAPS section lies and which maps it holds."""

    offset: int
    length: int
    first: int
    count: int


@dataclass(frozen=True)
class Footer:
    """Index, and quality codes (n,) of all maps, or none where they are in MAPS sections.

    `book` is (offset, length) of an embedded codebook or (0, 0), `sources` that of SRCS.
    """

    entries: Sequence[Entry]
    book: tuple[int, int]
    psnr: NDArray[np.uint16]
    error: NDArray[np.uint16]
    sources: tuple[int, int] = (0, 0)


def quality_planes(psnr: NDArray[np.uint16], error: NDArray[np.uint16]) -> list[bytes]:
    """The four byte planes of quality codes (n,): each is smoother than the whole."""
    codes = np.stack([psnr, error]).astype("<u2")
    planes = codes.view(np.uint8).reshape(2, -1, 2).transpose(0, 2, 1).reshape(4, -1)
    return [plane.tobytes() for plane in planes]


def quality_of(planes: bytes) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Four byte planes, joined, to quality codes (n,)."""
    codes = np.frombuffer(planes, np.uint8).reshape(2, 2, -1).transpose(0, 2, 1).copy().view("<u2")[..., 0]
    return codes[0], codes[1]


def pack_footer(footer: Footer, features: int) -> bytes:
    """The payload of FOOT."""
    index = b"".join(INDEX.pack(e.offset, e.length, e.first, e.count) for e in footer.entries)
    if features & FEATURE_ARCHIVE:
        head = FOOTER_ARCHIVE.pack(*footer.book, *footer.sources, len(footer.entries))
        return adaptive.pack_bytes([head, _planes(index)], True)
    planes = quality_planes(footer.psnr, footer.error)
    head = FOOTER.pack(*footer.book, len(footer.entries))
    if features & FEATURE_THIRD:
        return adaptive.pack_bytes([head, _planes(index), *planes], True)
    if features & FEATURE_SECOND:
        return head + index + adaptive.pack_bytes(planes, False)
    return head + index + pack_stream(b"".join(planes))


def unpack_footer(payload: bytes, limit: int, features: int) -> Footer:
    """Check a footer: MAPS follow one another from map 0, and all lies before `limit`, where FOOT begins."""
    archive = bool(features & FEATURE_ARCHIVE)
    fields = FOOTER_ARCHIVE if archive else FOOTER
    reader = adaptive.ByteReader(payload, True) if features & FEATURE_THIRD else None
    head = reader.take(fields.size) if reader else payload[: fields.size]
    if len(head) < fields.size:
        raise FormatError("the footer is truncated")
    book_offset, book_length, *sources, blocks = fields.unpack(head)
    size = blocks * INDEX.size
    if size > limit or not (reader or fields.size + size <= len(payload)):
        raise FormatError("the footer states more blocks than it holds")
    at = fields.size + size
    index = _planes(reader.take(size), back=True) if reader else payload[fields.size : at]
    entries, end = _entries(index, limit)
    maps = sum(entry.count for entry in entries)
    if maps > MAX_MAPS:
        raise FormatError("the footer's index points outside the file")
    begin = entries[0].offset if entries else limit
    others = [(book_offset, book_length, end, limit, MAX_CODEBOOK)]
    if archive:  # before the maps: a file that loses its end still knows what it was made of
        others.append((sources[0], sources[1], PROLOGUE.size, begin, MAX_SOURCES))
    for offset, length, low, high, most in others:
        if (offset or length) and not low <= offset <= high - length:
            raise FormatError("the footer's index points outside the file")
        if length > most + SECTION.size:
            raise FormatError("the footer states a section larger than there can be")
    if archive:
        planes = b""
    elif reader:
        planes = b"".join(reader.take(maps) for _ in range(4))
    elif features & FEATURE_SECOND:
        planes = b"".join(adaptive.unpack_bytes(payload[at:], [maps] * 4, False))
    else:
        planes, at = unpack_stream(payload, at, 4 * maps)
        if at != len(payload):
            raise FormatError("the footer has bytes left over")
    if reader:
        reader.end()
    psnr, error = quality_of(planes)
    return Footer(
        entries, (book_offset, book_length), psnr, error, (sources[0], sources[1]) if archive else (0, 0)
    )


def _entries(index: bytes, limit: int) -> tuple[list[Entry], int]:
    """The entries of an index, checked, and where the last section ends."""
    entries, maps, end = [], 0, PROLOGUE.size
    for fields in INDEX.iter_unpack(index):
        entry = Entry(*fields)
        if entry.first != maps or not 0 < entry.count <= MAX_BLOCK_MAPS or entry.length < SECTION.size:
            raise FormatError("the footer's index is not in order")
        if entry.offset < end or entry.offset + entry.length > limit:
            raise FormatError("the footer's index points outside the file")
        entries.append(entry)
        maps, end = maps + entry.count, entry.offset + entry.length
    return entries, end


def _planes(index: bytes, back: bool = False) -> bytes:
    """Entries of an index with their first bytes together, then their second, and so on; or back from there."""
    rows = np.frombuffer(index, np.uint8).reshape((INDEX.size, -1) if back else (-1, INDEX.size))
    return rows.T.tobytes()


def pack_quality(psnr: NDArray[np.uint16], error: NDArray[np.uint16]) -> bytes:
    """The stream of quality codes (n,) that a MAPS payload of an archive begins with."""
    packed = adaptive.pack_bytes(quality_planes(psnr, error), True)
    return STREAM.pack(CODING_ADAPTIVE, len(packed)) + packed


def unpack_quality(payload: bytes, count: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16], bytes]:
    """The quality codes (count,) that a MAPS payload of an archive begins with, and the rest of it."""
    stream, rest = parted(payload)
    return *quality_of(b"".join(adaptive.unpack_bytes(stream, [count] * 4, True))), rest


def parted(payload: bytes) -> tuple[bytes, bytes]:
    """A MAPS payload of an archive: the stream of quality codes that it begins with, and the rest."""
    if len(payload) < STREAM.size:
        raise FormatError("a stream is truncated")
    coding, stored = STREAM.unpack_from(payload)
    at = STREAM.size + stored
    if coding != CODING_ADAPTIVE or at > len(payload):
        raise FormatError("a block does not begin with its quality")
    return payload[STREAM.size : at], payload[at:]

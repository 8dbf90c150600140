"""A damaged .vlz file -> a whole one of all the blocks that are good, and what was lost.

    sections whose checksums hold, wherever they lie -> the blocks in order, lost ones as maps of NaN -> a new index

Maps keep their numbers. The header must be whole: it says what the integers of the blocks mean.
"""

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import blocks, container, manifest
from .archive import Archive
from .codebook import Codebook, from_bytes, resolve
from .container import KIND_EXACT, SECTION, Section
from .encoder import Encoded
from .errors import FormatError, UsageError
from .header import Header, from_json
from .manifest import Source
from .writer import Codes, Writer, created

KEPT_BIT_FOR_BIT = (
    KIND_EXACT,
    container.KIND_EDGES_EXACT,
    container.KIND_SMOOTH_EXACT,
    container.KIND_LAYERED,
)
TAGS = (container.TAG_HEADER, container.TAG_SOURCES, container.TAG_MAPS, container.TAG_CODEBOOK)


@dataclass(frozen=True)
class Repaired:
    """What a repair has come to.

    Args:
        maps: of the file.
        lost: ranges (first, end) of maps that are NaN now, or 0 where their dtype has none.
        sources: the files that those are from, where the file still says so.
        quality: whether the quality of the maps that are left is still known.
    """

    maps: int
    lost: list[tuple[int, int]]
    sources: list[Source]
    quality: bool


def repair(
    path: str | os.PathLike[str], output: str | os.PathLike[str], *, overwrite: bool = False
) -> Repaired:
    """Write what is good of a damaged .vlz file as a whole one.

    Raises:
        FormatError: the first bytes or the header are damaged, or no block is good. UsageError: the file is not there,
            or the output exists. CodebookError: the codebook is not here.
    """
    if Path(path).resolve() == Path(output).resolve():
        raise UsageError("give another name for the repaired file: the damaged one is kept")
    try:
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise FormatError(f"{path} is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _repaired(data, Path(output), overwrite, _quality_of(path))
    except OSError as error:
        raise UsageError(f"cannot open {path}: {error.strerror}") from error


def _repaired(data: mmap.mmap, output: Path, overwrite: bool, quality: Codes | None) -> Repaired:
    features = container.unpack_prologue(data[: container.PROLOGUE.size])
    header: Header | None = None
    sources: tuple[Source, ...] = ()
    book: Codebook | None = None
    good: dict[int, slice] = {}  # where the block lies that begins with a record
    for place, section in _sections(data):
        if section.tag == container.TAG_HEADER and header is None:
            header = from_json(container.unpack_header(section.payload, features))
        elif section.tag == container.TAG_SOURCES and header is not None:
            sources = manifest.from_json(
                manifest.unpack_sources(section.payload), header.maps, header.map_shape
            )
        elif section.tag == container.TAG_CODEBOOK:
            book = from_bytes(section.payload)
        elif section.tag == container.TAG_MAPS:
            good.setdefault(section.first, place)
    if header is None or header.features != features:
        raise FormatError("the header is damaged: without it nothing of the file can be read")
    if not good:
        raise FormatError("no block of it is good: there is nothing to save")
    records = header.maps * len(header.layout)
    lost: list[tuple[int, int]] = []
    if book is not None and book.sha256 != header.codebook_sha256:
        book = None
    found = book or resolve(header.codebook_id, header.codebook_sha256)
    with created(output, overwrite) as file:
        writer, at = Writer(file, header, sources), 0
        while at < records:
            if at in good:
                section = container.unpack_section(data[good[at]], container.TAG_MAPS)
                if section.count and at + section.count <= records:
                    _copy(writer, section, header, quality)
                    at += section.count
                    continue
            end = min((first for first in good if first > at), default=records)
            tiles = len(header.layout)
            lost.append((at // tiles, -(-end // tiles)))
            while at < end:
                count = min(end - at, container.MAX_BLOCK_MAPS // 16)
                writer.write(_nothing(header, at, count))
                at += count
        writer.finish(found, "always" if book else "never")
    gone = [s for s in sources if any(first < s.first + s.maps and s.first < end for first, end in lost)]
    return Repaired(header.maps, lost, gone, header.archive or quality is not None)


def _sections(data: mmap.mmap) -> Iterator[tuple[slice, Section]]:
    """The sections of a file whose checksums hold, with where they lie, in that order."""
    at = container.PROLOGUE.size
    while at >= 0 and at + SECTION.size <= len(data):
        tag, _, _, length, _ = SECTION.unpack_from(data, at)
        end = at + SECTION.size + length
        if tag in TAGS and end <= len(data):
            try:
                yield slice(at, end), container.unpack_section(data[at:end], tag)
                at = end
                continue
            except FormatError:
                pass
        at = min((place for t in TAGS if (place := data.find(t, at + 1)) >= 0), default=-1)


def _quality_of(path: str | os.PathLike[str]) -> Codes | None:
    """The quality codes of a file's footer, where that is whole and has them."""
    try:
        with Archive(path) as archive:
            index = archive.stored.footer
            return (index.psnr, index.error) if not archive.header.archive else None
    except FormatError:
        return None


def _copy(writer: Writer, section: Section, header: Header, quality: Codes | None) -> None:
    """A good block, with its quality: where that is not known any more, none but of maps kept bit for bit."""
    codes = None
    if quality is not None:
        codes = quality[0][section.first :][: section.count], quality[1][section.first :][: section.count]
    elif not header.archive:
        kinds = blocks.unpack_kinds(section.payload, section.count, header.features)[0]
        kept = np.isin(kinds, KEPT_BIT_FOR_BIT)
        unbounded = np.where(kept, 0, container.ERROR_UNBOUNDED).astype(np.uint16)
        codes = np.where(kept, container.PSNR_EXACT, 0).astype(np.uint16), unbounded
    writer.copy(section.count, section.payload, codes)


def _nothing(header: Header, first: int, count: int) -> Encoded:
    """A block of lost records: NaN, or 0 of integers."""
    dtype = np.dtype(header.dtype)
    shapes = [header.layout.shape((first + i) % len(header.layout)) for i in range(count)]
    empty = b"".join(np.full(s, np.nan if dtype.kind == "f" else 0, dtype).tobytes() for s in shapes)
    block = blocks.Block(np.full(count, KIND_EXACT, np.uint8), exact=empty)
    return Encoded(blocks.pack_block(block, header.features), np.zeros(count), np.full(count, np.inf))

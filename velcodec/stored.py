"""The sections of a .vlz file, read where they lie and checked: its frame, its blocks, its codebook, its sources."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from . import blocks, container, footer, manifest
from .container import Section
from .errors import FormatError
from .footer import Entry, Footer
from .header import Header, from_json
from .manifest import Source
from .storage import Storage, naming


class Stored:
    """The frame of a .vlz file, read as it is opened, and its sections, each read when it is asked for.

    Raises FormatError: it is damaged. VersionError: it is of a later release.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        with self.naming():
            self.header, self.footer = self._frame()

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        return np.array([entry.first for entry in self.footer.entries], np.int64)

    def naming(self) -> AbstractContextManager[None]:
        """Errors of what the file holds name it."""
        return naming(self.storage.name)

    def _frame(self) -> tuple[Header, Footer]:
        features = container.unpack_prologue(self._upto(0, container.PROLOGUE.size))
        at = container.PROLOGUE.size
        length = container.section_length(
            self._upto(at, container.SECTION.size), container.TAG_HEADER, container.MAX_HEADER
        )
        first = at + container.SECTION.size + length
        section = container.unpack_section(self.storage.at(at, first - at), container.TAG_HEADER)
        header = from_json(container.unpack_header(section.payload, features))
        tail = max(first, self.storage.size - container.TAIL.size)
        offset, length = container.unpack_tail(self._upto(tail, container.TAIL.size), self.storage.size)
        if offset < first:
            raise FormatError("the file's tail does not point at its footer")
        section = container.unpack_section(self.storage.at(offset, length), container.TAG_FOOTER)
        index = footer.unpack_footer(section.payload, offset, features)
        if header.features != features:
            raise FormatError("the file's first bytes are damaged: they and its header disagree")
        records = sum(entry.count for entry in index.entries)
        if records != header.maps * len(header.layout) or (index.entries and index.entries[0].offset < first):
            raise FormatError("the footer does not fit the header")
        return header, index

    def _upto(self, offset: int, length: int) -> bytes:
        """As many bytes of those as the file has."""
        return self.storage.at(offset, max(0, min(length, self.storage.size - offset)))

    def book(self) -> bytes:
        """The codebook embedded; b"" where there is none."""
        return self._of_place(self.footer.book, container.TAG_CODEBOOK)

    def sources(self) -> tuple[Source, ...]:
        """The files that the maps are from, in the maps' order; none but of an archive of files."""
        packed = self._of_place(self.footer.sources, container.TAG_SOURCES)
        with self.naming():
            listed = manifest.unpack_sources(packed) if packed else []
            return manifest.from_json(listed, self.header.maps, self.header.map_shape)

    def _of_place(self, place: tuple[int, int], tag: bytes) -> bytes:
        offset, length = place
        with self.naming():
            return container.unpack_section(self.storage.at(offset, length), tag).payload if length else b""

    def section(self, entry: Entry) -> Section:
        """A block as stored."""
        with self.naming():
            section = container.unpack_section(
                self.storage.at(entry.offset, entry.length), container.TAG_MAPS
            )
            if (section.first, section.count) != (entry.first, entry.count):
                raise FormatError(f"the block at map {entry.first} is not the one that the index names")
            return section

    def payload(self, entry: Entry) -> bytes:
        """What a block holds of its maps, their quality left out."""
        payload = self.section(entry).payload
        with self.naming():
            return footer.parted(payload)[1] if self.header.archive else payload

    def kinds(self, payload: bytes, entry: Entry) -> NDArray[np.uint8]:
        """The kind of every record of a block, (count,)."""
        with self.naming():
            return blocks.unpack_kinds(payload, entry.count, self.header.features)[0]

    def blocks(self, first: int = 0, end: int | None = None) -> Iterator[Section]:
        """Every block, or those that hold some of the records from `first` to `end`."""
        for entry in self.footer.entries:
            if entry.first + entry.count > first and (end is None or entry.first < end):
                yield self.section(entry)

    def by_block(self, rows: list[int]) -> Iterator[tuple[Entry, list[int]]]:
        """Blocks that hold the records, with the places of those rows in the list, block by block."""
        places: dict[int, list[int]] = {}
        for place, block in enumerate((np.searchsorted(self._firsts, rows, side="right") - 1).tolist()):
            places.setdefault(block, []).append(place)
        for block in sorted(places):
            yield self.footer.entries[block], places[block]

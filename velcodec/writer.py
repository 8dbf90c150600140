"""Write .vlz files: blocks of records -> sections, one after another, and what says where they lie."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import container, footer, manifest, quality
from .codebook import Codebook, to_bytes
from .container import Section
from .encoder import Encoded
from .errors import UsageError
from .footer import Entry, Footer
from .header import Header
from .manifest import Source
from .replacing import check_place, replacing
from .sources import KINDS

EMBED_SHARE = 0.01  # of the file that an embedded codebook may take with "auto"
Codes: TypeAlias = tuple[NDArray[np.uint16], NDArray[np.uint16]]  # of PSNR and maximum error


class Writer:
    """Writes a .vlz file into an empty one."""

    def __init__(self, file: BinaryIO, header: Header, sources: Sequence[Source] = ()) -> None:
        self._file = file
        self._at = 0
        self._entries: list[Entry] = []
        self._codes: list[Codes] = []
        self._records = 0
        self._features, self._archive = header.features, header.archive
        self._put(container.pack_prologue(self._features))
        payload = container.pack_header(header.to_json(), self._features)
        self._section(container.TAG_HEADER, payload)
        self._sources = (0, 0)
        if sources:
            packed = manifest.pack_sources([source.to_json() for source in sources])
            self._sources = self._section(container.TAG_SOURCES, packed)

    def write(self, encoded: Encoded) -> None:
        """Add a block."""
        codes = quality.quality_codes(encoded.psnr, encoded.error, quality.quality_scale(self._features))
        if self._archive:
            self.copy(len(encoded.psnr), footer.pack_quality(*codes) + encoded.payload)
        else:
            self.copy(len(encoded.psnr), encoded.payload, codes)

    def copy(self, count: int, payload: bytes, codes: Codes | None = None) -> None:
        """Add a block as it stands in another file, with its quality codes where they are not in it."""
        section = container.pack_section(Section(container.TAG_MAPS, self._records, count, payload))
        offset, length = self._put(section)
        self._entries.append(Entry(offset, length, self._records, count))
        self._records += count
        if codes is not None:
            self._codes.append(codes)

    def finish(self, codebook: Codebook, embed: str) -> None:
        """Write codebook, footer and tail. Embed is "always", "never" or "auto": where it takes under EMBED_SHARE."""
        book = (0, 0)
        data = to_bytes(codebook) if embed != "never" else b""
        if embed == "always" or (embed == "auto" and len(data) < EMBED_SHARE * self._at):
            book = self._section(container.TAG_CODEBOOK, data)
        psnr, error = (
            np.concatenate(part) if part else np.empty(0, np.uint16)
            for part in ([codes[k] for codes in self._codes] for k in (0, 1))
        )
        index = Footer(self._entries, book, psnr, error, self._sources)
        place = self._section(container.TAG_FOOTER, footer.pack_footer(index, self._features))
        self._put(container.pack_tail(*place))

    def _section(self, tag: bytes, payload: bytes) -> tuple[int, int]:
        """Write a section that is of no maps; its offset and length."""
        return self._put(container.pack_section(Section(tag, 0, 0, payload)))

    def _put(self, data: bytes) -> tuple[int, int]:
        """Write bytes; their offset and length."""
        offset = self._at
        self._file.write(data)
        self._at += len(data)
        return offset, len(data)


def check_target(path: str | os.PathLike[str] | BinaryIO, overwrite: bool) -> None:
    """Raise UsageError where a file cannot be written; call it before long work."""
    if not isinstance(path, (str, os.PathLike)):
        if not (path.readable() and path.seekable()) or path.seek(0, os.SEEK_END):
            raise UsageError("an open file to write to must be empty, and open for reading too (w+b)")
        return
    target = Path(path)
    if target.suffix.lower() in KINDS:  # who forgets to name an output would lose the last input
        raise UsageError(f"{target} is named as files of arrays are; name a .vlz file to write to")
    check_place(target, overwrite)


@contextmanager
def created(path: str | os.PathLike[str] | BinaryIO, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A new file, open; it takes its name once the body is done. Raises UsageError as `check_target` does."""
    check_target(path, overwrite)
    if not isinstance(path, (str, os.PathLike)):
        yield path
        return
    with replacing(path) as draft:
        try:
            file = draft.open("wb")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        with file:
            yield file

"""Archives out of archives: blocks are copied as they stand, nothing is encoded anew.

archives whose headers agree -> their blocks one after another, renumbered, and their sources -> one archive
one archive                  -> the blocks of some of its sources -> an archive each
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from .archive import Archive
from .codebook import Codebook
from .errors import UsageError
from .header import Header
from .manifest import Source
from .writer import Writer, created

# Of the headers of archives that can be joined, all but the number of maps.
ALIKE = {
    "archive": "no list of the files that its maps are from, as those of velcodec archive have",
    "map_shape": "maps of another size",
    "dtype": "another dtype",
    "units": "other units",
    "spacing": "another spacing",
    "offset": "another normalisation",
    "scale": "another normalisation",
    "low": "another range of values",
    "high": "another range of values",
    "codebook_sha256": "another codebook",
    "unit": "another kind of request (lossless, latent-only, a bound or a PSNR)",
    "tile": "other tiles",
    "overlap": "other tiles",
    "bound": "another bound on errors",
    "coder": "the coder of an earlier or a later release",
}

Progress = Callable[[int, int], None]
Blocks = Iterator[tuple[int, bytes]]  # count of records, and the payload


def merge(
    paths: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Join archives of files into one, in the order given; one block is copied at a time.

    Args:
        progress: called with (maps done, maps in all).

    Returns:
        `Archive.info()` of the file written.

    Raises:
        UsageError: the archives differ in what one file has in common, or hold a source of the same name; or the file
            exists. FormatError: one is damaged.
    """
    if not paths:
        raise UsageError("there is nothing to merge; name at least one archive")
    headers: list[Header] = []
    sources: list[Source] = []
    for path in paths:
        with Archive(path) as archive:
            if not archive.header.archive:
                raise UsageError(f"{path} has {ALIKE['archive']}")
            check_alike(headers[0] if headers else archive.header, archive.header, f"{paths[0]} and {path}")
            headers.append(archive.header)
            sources += archive.sources
            book = archive.codebook
    header = joined(headers)
    return copied(blocks_in(paths), header, numbered(sources), book, Path(output), overwrite, progress)


def split(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    by: str = "family",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Write an archive of files as several: one a family, or one a file.

    Args:
        folder: that they are written to, FAMILY.vlz or the file's name with "-" for "/"; made where it is not there.
        by: "family" or "file"; maps of no family are in other.vlz.

    Returns:
        `Archive.info()` of every file written, by its name.

    Raises:
        UsageError: an archive without sources, or a file that exists. FormatError: it is damaged.
    """
    with Archive(path) as archive:
        groups: dict[str, list[Source]] = {}
        for source in archive.sources:
            name = (source.family or "other") if by == "family" else _file_name(source.name)
            groups.setdefault(name, []).append(source)
        if not groups:
            raise UsageError(f"{path} does not say what files its maps are from; it cannot be split by them")
        for name in groups:
            if (Path(folder) / f"{name}.vlz").exists() and not overwrite:
                raise UsageError(f"{Path(folder) / name}.vlz exists; allow overwriting (--overwrite)")
        Path(folder).mkdir(parents=True, exist_ok=True)
        made, done = {}, 0
        for name, sources in groups.items():
            maps = sum(source.maps for source in sources)
            header = replace(archive.header, shape=(maps, *archive.header.shape[1:]))
            target = Path(folder) / f"{name}.vlz"
            blocks = (block for source in sources for block in blocks_of(archive, source))
            made[target.name] = copied(
                blocks, header, numbered(sources), archive.codebook, target, overwrite, None
            )
            done += maps
            if progress is not None:
                progress(done, len(archive))
        return made


def copied(
    blocks: Blocks,
    header: Header,
    sources: Sequence[Source],
    book: Codebook,
    target: Path,
    overwrite: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    """Write an archive of blocks as they stand; `Archive.info()` of it.

    Raises UsageError for a name met twice, or sources that are not all the maps.
    """
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{twice[0]} would be in the archive twice; one holds each file once")
    if sources and sum(source.maps for source in sources) != header.maps:
        raise UsageError(
            "one of the archives does not say what files its maps are from (a repair may have lost it)"
        )
    with created(target, overwrite) as file:
        writer, done = Writer(file, header, sources), 0
        for count, payload in blocks:
            writer.copy(count, payload)
            done += count
            if progress is not None:
                progress(done // len(header.layout), header.maps)
        writer.finish(book, "auto")
    with Archive(target) as archive:
        return archive.info()


def blocks_in(paths: Sequence[str | os.PathLike[str]]) -> Blocks:
    """The blocks of archives, one archive after another."""
    for path in paths:
        with Archive(path) as archive:
            yield from ((block.count, block.payload) for block in archive.stored.blocks())


def blocks_of(archive: Archive, source: Source) -> Blocks:
    """The blocks of a source. Raises UsageError where one holds maps of another source too."""
    tiles = len(archive.header.layout)
    first, end = source.first * tiles, (source.first + source.maps) * tiles
    for block in archive.stored.blocks(first, end):
        if block.first < first or block.first + block.count > end:
            raise UsageError(f"{archive.name}: a block holds maps of {source.name} and of another file")
        yield block.count, block.payload


def joined(headers: Sequence[Header]) -> Header:
    """The header of archives joined: of maps with an axis between, (n, 1, H, W), where all have it."""
    first, maps = headers[0], sum(header.maps for header in headers)
    flat = all(len(header.shape) == 4 for header in headers)
    return replace(first, shape=(maps, 1, *first.map_shape) if flat else (maps, *first.map_shape))


def numbered(sources: Sequence[Source]) -> list[Source]:
    """Sources one after another, from map 0 on."""
    out, first = [], 0
    for source in sources:
        out.append(replace(source, first=first))
        first += source.maps
    return out


def check_alike(first: Header, other: Header, names: str) -> None:
    """Raises UsageError for headers that cannot be those of one archive."""
    for field, what in ALIKE.items():
        if getattr(first, field) != getattr(other, field) or (field == "archive" and not other.archive):
            raise UsageError(f"{names} cannot be one archive: the first has {what}")


def _file_name(name: str) -> str:
    """A file name out of a source's."""
    path = PurePosixPath(name.replace(":", "-").replace("\\", "-"))
    return "-".join(part for part in path.with_suffix("").parts if part not in ("/", "..", "."))

"""velcodec extract: an archive to the files that it was made of."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import device_option, lost_of, plural, progress, ranges, read_blocks, rescued, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from velcodec import Archive
    from velcodec.manifest import Source


@click.command("extract", no_args_is_help=False)
@click.argument("file", metavar="ARCHIVE.vlz")
@click.argument("folder", metavar="FOLDER")
@click.option(
    "--only",
    metavar="GLOB",
    help="Of the files, those whose names match, as in 'CurveVel_A/*' (info --sources).",
)
@device_option()
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def command(file: str, folder: str, only: str | None, device: str, overwrite: bool) -> None:
    """Restore the files of an archive, named and shaped as they were.

    ARCHIVE.vlz may be a URL, of which only the files wanted are fetched, or FILE.h5:/GROUP (see attach).

    \b
    velcodec extract openfwi.vlz restored/
    velcodec extract openfwi.vlz restored/ --only 'CurveVel_A/*'
    """
    import velcodec
    from velcodec.sources import check_output, split, write_array

    lost: dict[str, list[int]] = {}
    with rescued(file), velcodec.open(file, device=device) as archive:
        if not archive.sources:
            stop(f"{file} does not say what files its maps are from; use 'velcodec decompress'")
        chosen = [s for s in archive.sources if only is None or fnmatch(s.name, only)]
        if not chosen:
            stop(f"no file of {file} matches {only!r}; see 'velcodec info --sources'")
        targets = [_target(Path(folder), source.name) for source in chosen]
        for target in targets:
            split(target)[0].parent.mkdir(parents=True, exist_ok=True)
            check_output(target, overwrite)
        with progress(sum(source.maps for source in chosen), "extract") as bar:
            for source, target in zip(chosen, targets, strict=True):
                write_array(
                    target,
                    _maps(archive, source, bar, lost),
                    shape=source.shape,
                    dtype=archive.dtype,
                    overwrite=overwrite,
                )
    for name, rows in lost.items():
        click.echo(
            f"{name}: lost in a repair of the archive: {plural(len(rows), 'map')}, {ranges(rows)}", err=True
        )
    click.echo(f"{folder}: {plural(len(chosen), 'file')}, {plural(sum(s.maps for s in chosen), 'map')}")


def _maps(archive: Archive, source: Source, bar: Any, lost: dict[str, list[int]]) -> Iterator[Any]:
    """The maps of a source, block by block. Those of it that a repair has lost are noted."""
    for part, maps in read_blocks(archive, range(source.first, source.first + source.maps)):
        if gone := lost_of(archive, part, maps):
            lost.setdefault(source.name, []).extend(i - source.first for i in gone)
        yield maps
        bar.update(len(part))


def _target(folder: Path, name: str) -> Path:
    """Where a file of an archive goes. Ends the command for a name that leads out of the folder."""
    if name.startswith("/") or ".." in Path(name).parts or "\\" in name:
        stop(f"the archive names a file {name!r}, which is outside any folder; nothing was written")
    return folder / name

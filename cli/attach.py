"""velcodec attach: a .vlz file into an HDF5 file."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import click

from .common import plural, sized


@click.command("attach", no_args_is_help=False)
@click.argument("file", metavar="FILE.vlz")
@click.argument("group", metavar="FILE.h5:/GROUP")
@click.option(
    "--overwrite", is_flag=True, help="Put it into a group that exists; an archive in it is replaced."
)
def command(file: str, group: str, overwrite: bool) -> None:
    """Put a .vlz file into a group of an HDF5 file.

    The bytes are kept as they stand, with attributes that say what they are. Commands read it there as they read a
    .vlz file (info, verify, decompress, extract, plot ...): name FILE.h5:/GROUP. What else is in FILE.h5 stays; the
    file is copied beside and replaced in one step, so that nothing can be lost.

    \b
    velcodec attach models.vlz survey.h5:/velocity
    velcodec decompress survey.h5:/velocity models.npy
    velcodec extract survey.h5:/velocity restored/       # of an archive of files
    """
    import velcodec
    from velcodec.hdf5 import attach

    attach(file, group, overwrite)
    with velcodec.open(group) as archive:
        click.echo(f"{group}: {plural(len(archive), 'map')}, {sized(archive.bytes)}")

"""velcodec repair: what is good of a damaged .vlz file."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import click

from .common import overwrite_option, plural


@click.command("repair", no_args_is_help=False)
@click.argument("file", metavar="FILE.vlz")
@click.argument("output", metavar="OUTPUT.vlz")
@overwrite_option()
def command(file: str, output: str, overwrite: bool) -> None:
    """Write what is good of a damaged or truncated file as a whole one.

    The index is rebuilt from the blocks whose checksums hold. Maps keep their numbers: lost ones read as NaN (integers
    as 0), with a quality of 0 dB. FILE stays as it is.

    \b
    velcodec repair broken.vlz whole.vlz
    velcodec verify whole.vlz
    """
    from velcodec.repair import repair

    found = repair(file, output, overwrite=overwrite)
    gone = sum(end - first for first, end in found.lost)
    click.echo(f"{output}: {found.maps - gone:,} good of {plural(found.maps, 'map')}")
    for first, end in found.lost:
        click.echo(f"  lost: maps {first}:{end}")
    for source in found.sources:
        click.echo(f"  lost in part or whole: {source.name}")
    if not found.quality:
        click.echo("  the quality of the maps is not known any more: it was in the index")

"""velcodec split: an archive to several."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import click

from .common import counted, plural


@click.command("split", no_args_is_help=False)
@click.argument("archive", metavar="ARCHIVE.vlz")
@click.argument("folder", metavar="FOLDER")
@click.option(
    "--by",
    type=click.Choice(["family", "file"]),
    default="family",
    show_default=True,
    help="What gets an archive.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def command(archive: str, folder: str, by: str, overwrite: bool) -> None:
    """Write an archive as several: one a family, or one a file.

    Nothing is encoded anew: blocks are copied as they are.

    \b
    velcodec split openfwi.vlz families/               # families/CurveVel_A.vlz, ...
    velcodec split openfwi.vlz files/ --by file        # files/CurveVel_A-model-model1.vlz, ...
    """
    from velcodec.joining import split

    with counted("split") as advance:
        made = split(archive, folder, by=by, overwrite=overwrite, progress=advance)
    for name, info in made.items():
        click.echo(f"{folder}/{name}: {plural(info['maps'], 'map')}, {info['bytes_per_map']:.1f} bytes a map")

"""velcodec merge: archives to one."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import click

from .common import counted, overwrite_option, plural


@click.command("merge", no_args_is_help=False)
@click.argument("archives", metavar="ARCHIVES...", nargs=-1, required=True)
@click.argument("output", metavar="OUTPUT.vlz")
@overwrite_option()
def command(archives: tuple[str, ...], output: str, overwrite: bool) -> None:
    """Join archives into one, in the order given.

    Nothing is encoded anew: blocks are copied as they are. The archives must be of one kind: maps of one size and
    dtype, one codebook, one kind of request, as 'velcodec archive' writes them.

    \b
    velcodec merge flatvel.vlz curvevel.vlz openfwi.vlz
    velcodec merge node*.vlz all.vlz --overwrite                # what several machines have archived
    """
    from velcodec.joining import merge

    with counted("merge") as advance:
        info = merge(archives, output, overwrite=overwrite, progress=advance)
    size = f"{plural(info['maps'], 'map')}, {info['bytes_per_map']:.1f} bytes a map"
    click.echo(f"{output}: {plural(len(archives), 'archive')}, {size}")

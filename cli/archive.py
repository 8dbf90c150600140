"""velcodec archive: many files of maps to one .vlz file."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .asking import check_request, request_options, summary
from .common import (
    INTERRUPTED,
    Decorator,
    Stop,
    block_option,
    counted,
    device_option,
    overwrite_option,
    plural,
    sized,
)

if TYPE_CHECKING:
    from velcodec.archiving import Options
    from velcodec.shards import Shard


def workers_option() -> Decorator:
    """--workers, for commands that encode files side by side."""
    return click.option(
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        help="Processes.  [default: one a core, four a GPU]",
    )


def scheduler_option() -> Decorator:
    """--scheduler, for the same on a cluster."""
    return click.option(
        "--scheduler",
        metavar="ADDRESS|FILE.json",
        help="Encode on the workers of a Dask cluster; they must all see files and OUTPUT under the same paths.",
    )


def resume_option() -> Decorator:
    """--resume, for the same."""
    return click.option(
        "--resume", is_flag=True, help="Go on with an interrupted run: files that are done are not redone."
    )


def archived(label: str, found: list[Shard], output: str, options: Options, **how: Any) -> dict[str, Any]:
    """Archive shards with a bar, and notices on stderr; what is to be said of the result."""
    from velcodec.archiving import archive

    try:
        with counted(label, keep=True) as advance:
            return archive(found, output, options, progress=advance, notice=notice, **how)
    except KeyboardInterrupt:
        parts = Path(f"{output}.parts")
        if done := len(list(parts.glob("*.vlz"))):
            what = f"{done} of {plural(len(found), 'file')}"
            raise Stop(
                f"interrupted; {what} are kept in {parts}, and --resume goes on", INTERRUPTED
            ) from None
        raise


def notice(text: str) -> None:
    """Say on stderr what a user should know."""
    click.echo(f"velcodec: {text}", err=True)


@click.command("archive", no_args_is_help=False)
@click.argument("sources", metavar="SOURCES...", nargs=-1, required=True)
@click.argument("output", metavar="OUTPUT.vlz")
@request_options()
@block_option(25, "")
@device_option(several=True)
@workers_option()
@scheduler_option()
@resume_option()
@click.option("--dry-run", is_flag=True, help="Encode a sample, and say what size and time to expect.")
@overwrite_option()
def command(
    sources: tuple[str, ...],
    output: str,
    workers: int | None,
    scheduler: str | None,
    resume: bool,
    dry_run: bool,
    overwrite: bool,
    block: int,
    **asked: Any,
) -> None:
    """Write many files of velocity models to one archive.

    SOURCES are .npy, .npz or HDF5 files, globs or folders, of maps of one size and dtype. Each map keeps where it is
    from: the file, and the family and shard that OpenFWI's names say. In folders, seismic records (data*.npy,
    seis*.npy) are passed over.

    A file is encoded at a time by each worker, into OUTPUT.vlz.parts; the archive gets its name when all is done. An
    interrupted run goes on with --resume; a file that has changed in between is encoded anew.

    With --scheduler the workers of a Dask cluster do it, each file on one thread: SOURCES and OUTPUT.vlz.parts must be
    on storage that all its machines share. A worker that is lost costs the files that it was at, which others do.

    \b
    velcodec archive OpenFWI/ openfwi.vlz                        # every map at 35 dB or more
    velcodec archive 'CurveVel_A/model/*.npy' curvevel.vlz --lossless
    velcodec archive OpenFWI/ openfwi.vlz --dry-run              # what it would take
    velcodec archive OpenFWI/ openfwi.vlz --resume               # go on
    velcodec archive OpenFWI/ openfwi.vlz --scheduler tcp://10.0.0.1:8786
    velcodec info openfwi.vlz --sources                          # what is in it, with checksums
    velcodec extract openfwi.vlz restored/                       # the files again
    """
    check_request(asked)
    from velcodec import archiving, shards
    from velcodec.request import Request

    codebook, device = asked.pop("codebook"), asked.pop("device")
    options = archiving.Options(Request(**asked), codebook, device, block)
    found = shards.find_shards(sources)
    if dry_run:
        from velcodec.estimate import estimate

        click.echo(_expected(estimate(found, options, workers, scheduler, notice)))
        return
    how = {"workers": workers, "scheduler": scheduler, "resume": resume, "overwrite": overwrite}
    info = archived("archive", found, output, options, **how)
    click.echo(f"{output}: {plural(len(found), 'file')}, {summary(info)}")


def _expected(found: Any) -> str:
    size = f"{sized(found.archive_bytes)} of {sized(found.source_bytes)}"
    minutes, seconds = divmod(round(found.seconds), 60)
    what = f"{plural(found.shards, 'file')}, {plural(found.maps, 'map')}"
    return f"{what}: about {size}, in {minutes // 60}:{minutes % 60:02}:{seconds:02}"

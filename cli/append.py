"""velcodec append: more files to an archive."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import click

from .archive import archived, resume_option, scheduler_option, workers_option
from .asking import summary
from .common import device_option, plural, stop


@click.command("append", no_args_is_help=False)
@click.argument("archive", metavar="ARCHIVE.vlz")
@click.argument("sources", metavar="SOURCES...", nargs=-1, required=True)
@device_option(several=True)
@workers_option()
@scheduler_option()
@resume_option()
def command(
    archive: str,
    sources: tuple[str, ...],
    device: str,
    workers: int | None,
    scheduler: str | None,
    resume: bool,
) -> None:
    """Add files of velocity models to an archive, encoded as its last file was.

    What the archive holds is copied as it is, into a new file that takes its name when all is done: until then, and for
    those who have it open, the old one stays.

    \b
    velcodec append openfwi.vlz Style_A/
    velcodec append openfwi.vlz new/*.npy --resume               # go on after an interrupt
    """
    import velcodec
    from velcodec import archiving, shards
    from velcodec.request import Request

    with velcodec.open(archive) as before:
        if not before.sources:
            stop(
                f"{archive} does not say what files its maps are from; use 'velcodec archive' to make one that does"
            )
        block = max(entry.count for entry in before.stored.footer.entries)
        request = Request(**before.sources[-1].request)
        options = archiving.Options(request, before.codebook_sha256, device, block)
    found = shards.find_shards(sources)
    how = {"workers": workers, "scheduler": scheduler, "resume": resume}
    info = archived("append", found, archive, options, append=True, **how)
    click.echo(f"{archive}: {plural(len(found), 'file')} more, {summary(info)}")

"""Many files of maps -> one archive: a file is a task, each done by some worker into a part, the parts then joined.

Workers are processes of this machine, or those of a Dask cluster; then files and parts are where all its machines see
them under the same paths.

    files -> survey: checksum, shape, range (each by a worker)     -> one header for all
          -> parts: OUTPUT.parts/NUMBER-CHECKSUM.vlz (each by a worker, named once it is whole and on disk)
          -> merged into OUTPUT, which gets its name at the end, and the parts are removed

Whatever kills a run, the parts that have their names are whole: the next run takes them as they are, unless their file
has changed since.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from . import __version__, manifest
from .archive import Archive
from .cluster import cluster
from .codebook import load_codebook
from .compression import NORMAL_RANGE, check_block, checked, header_for, ranges_of, write_maps
from .errors import DataError, UsageError
from .header import WRITTEN, Header, from_json
from .joining import blocks_in, check_alike, copied, joined, numbered
from .manifest import Source
from .request import Request
from .shards import Shard, absolute, fingerprint
from .sources import layout, open_source
from .workers import Team, crew, own_device, team
from .writer import Writer, check_target, created

BLOCK = (
    25  # maps: a map at random takes a quarter of the time that it does in a block of 100, for 3 % more bytes
)


@dataclass(frozen=True)
class Surveyed:
    """What a look at a shard tells: its array's shape and dtype, its range of finite values, and its checksum.

    Without any finite value the range is (inf, -inf).
    """

    shard: Shard
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    sha256: str
    bytes: int

    @property
    def maps(self) -> int:
        """How many maps it has."""
        return layout(self.shape)[0]

    @property
    def stack(self) -> tuple[int, ...]:
        """Its shape as a stack of maps: (n, H, W) or (n, 1, H, W)."""
        return (1, *self.shape) if len(self.shape) == 2 else self.shape


@dataclass(frozen=True)
class Job:
    """A shard, and the file that it becomes a part in."""

    one: Surveyed
    part: Path


@dataclass(frozen=True)
class Options:
    """What every worker needs to know.

    Args:
        request: what every map must keep.
        codebook: id, SHA-256 or path; None means the default.
        device: "auto", "cpu", "cuda", or several as in "cuda:0,cuda:1", which workers take in turn.
        block: maps that are coded together.
    """

    request: Request
    codebook: str | None = None
    device: str = "auto"
    block: int = BLOCK


Notice = Callable[[str], None]
Progress = Callable[[int, int], None]


def archive(
    shards: Sequence[Shard],
    output: str | os.PathLike[str],
    options: Options,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    append: bool = False,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> dict[str, Any]:
    """Archive shards in one file, with where each map is from. Until it is whole, nothing has its name.

    Args:
        shards: in the order that their maps get, as `find_shards` gives them.
        workers: processes; None means as many as there are cores, or up to four for each GPU.
        scheduler: of a Dask cluster whose workers do it instead: its address, or the .json file that it has written.
            Shards and output must be where all workers see them, under the same paths.
        resume: take the parts that an interrupted run has left.
        append: to the archive that is there; what it holds is copied as it stands.
        progress: called with (maps done, maps in all).
        notice: called with what a user should know, a line each.

    Returns:
        `Archive.info()` of the file written.

    Raises:
        UsageError: the file exists, another run is writing it, or shards do not fit together. DataError: a file cannot
            be read. VelcodecError: a worker was killed, or a cluster is lost; what is done stays for `resume`. One
            worker that is lost of a cluster's several is no error.
    """
    check_block(options.block)
    target = Path(output)
    parts = target.with_name(target.name + ".parts")
    tell = notice or (lambda text: None)
    check_target(target, overwrite or append)
    if scheduler is not None:
        shards, parts = [absolute(shard) for shard in shards], parts.absolute()
        options = _absolute(options)
    with writing(parts):
        like = _header_of(target, shards) if append else None
        if any(parts.glob("*.vlz")) and not (resume or overwrite):
            anew = "remove it to begin anew" if append else "--overwrite begins anew"
            raise UsageError(f"{parts} is left of an interrupted run: --resume goes on, {anew}")
        for old in [] if resume else parts.glob("*.vlz"):
            old.unlink()
        with crew_of(workers, scheduler, options.device, tell, parts) as some:
            surveyed = survey(some, shards)
            header = common_header(surveyed, options, like)
            if like is not None:
                check_alike(like, header, f"{target} and {shards[0].path}")
            jobs = [
                Job(one, parts / f"{number:06d}-{_key(one, header, options)}.vlz")
                for number, one in enumerate(surveyed)
            ]
            _sweep(parts, {job.part for job in jobs}, tell)
            # Listed, since NFS remembers for a while of a name asked for that it is not there.
            there = set(parts.iterdir())
            left = [job for job in jobs if job.part not in there]
            if len(left) < len(jobs):
                tell(f"{len(jobs) - len(left)} of {len(jobs)} files are done already")
            total = sum(one.maps for one in surveyed)
            already = total - sum(job.one.maps for job in left)
            for done in encoded(some, left, header, options):
                if progress is not None:
                    progress(already + done, total)
        info = join_parts(jobs, header, options, target, target if append else None)
        shutil.rmtree(parts, ignore_errors=True)
    return info


def _absolute(options: Options) -> Options:
    """The same options for a process that has another working folder."""
    if options.codebook is None or not os.path.isfile(options.codebook):
        return options
    return replace(options, codebook=os.path.abspath(options.codebook))


def crew_of(
    workers: int | None, scheduler: str | None, device: str, tell: Notice, folder: Path | None = None
) -> AbstractContextManager[Team]:
    """Those who are to do it. Raises UsageError where both kinds are asked for."""
    if scheduler is None:
        return team(crew(workers, device))
    if workers is not None:
        raise UsageError("a scheduler and a number of workers exclude each other; give one")
    if "," in device:
        raise UsageError(
            "give each worker of a cluster a GPU of its own (CUDA_VISIBLE_DEVICES), and here one device"
        )
    return cluster(scheduler, tell, folder)


def _header_of(target: Path, shards: Sequence[Shard]) -> Header:
    """The header of an archive that is appended to. Raises UsageError where it holds one of the shards."""
    with Archive(target) as archive:
        present = {source.name for source in archive.sources}
        again = [shard.name for shard in shards if shard.name in present]
        if again:
            raise UsageError(f"{target} holds {again[0]} already; one archive holds each file once")
        return archive.header


@contextmanager
def writing(parts: Path) -> Iterator[None]:
    """The folder of parts, held by this run alone. Raises UsageError where another one has it."""
    try:
        parts.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {parts}: {error.strerror}") from error
    lock = FileLock(parts / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another run is writing to {parts}; wait for it, or end it first") from None
    try:
        yield
    finally:
        lock.release()
        if not any(parts.glob("*.vlz")):
            shutil.rmtree(parts, ignore_errors=True)


def _sweep(parts: Path, wanted: set[Path], tell: Notice) -> None:
    """Remove parts that are not of this run, and what a killed one had begun."""
    for path in parts.iterdir():
        if path.name == "lock" or path in wanted:
            continue
        path.unlink(missing_ok=True)
        if path.suffix == ".vlz":
            tell(f"{path.name} was made of a file that has changed since, or with other options: done anew")


def _key(one: Surveyed, header: Header, options: Options) -> str:
    """What a part is made of, and how: parts of the same key are the same."""
    facts = {
        "name": one.shard.name,
        "sha256": one.sha256,
        "header": replace(header, shape=(1, *header.map_shape)).to_json(),
        "request": asdict(options.request),
        "block": options.block,
        "velcodec": __version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


# What a run does, given workers


def survey(team: Team, shards: Sequence[Shard]) -> list[Surveyed]:
    """Look at every shard. Raises DataError or UsageError of one that cannot be read."""
    found = dict(team.map(_surveyed, [(shard,) for shard in shards]))
    return [found[number] for number in range(len(shards))]


def common_header(surveyed: Sequence[Surveyed], options: Options, like: Header | None = None) -> Header:
    """One header for all. Raises UsageError where shards are not of one size and dtype.

    Values within the codebook's usual range have that range in the header, whatever theirs: archives of the same kind
    can be merged and appended to.

    Args:
        like: a header whose range they have, if they are within it, and whose coder.
    """
    first = surveyed[0]
    for one in surveyed[1:]:
        if one.shape[-2:] != first.shape[-2:] or one.dtype != first.dtype:
            raise UsageError(
                f"{one.shard.path} has {one.dtype} maps of {one.shape[-2]} x {one.shape[-1]}, {first.shard.path} "
                f"{first.dtype} maps of {first.shape[-2]} x {first.shape[-1]}: one archive holds one kind"
            )
    low, high = min(one.low for one in surveyed), max(one.high for one in surveyed)
    usual = NORMAL_RANGE if like is None else (like.low, like.high)
    if low > high or usual[0] <= low <= high <= usual[1]:
        low, high = usual
    book = load_codebook(options.codebook)
    header = header_for((1, *first.shape[-2:]), np.dtype(first.dtype), (low, high), options.request, book)
    if like is not None and like.coder in WRITTEN:
        header = replace(header, coder=like.coder)
    header = replace(joined([replace(header, shape=one.stack) for one in surveyed]), archive=True)
    from_json(header.to_json())
    return header


def encoded(team: Team, jobs: Sequence[Job], header: Header, options: Options) -> Iterator[int]:
    """Encode shards into parts; the maps done so far, as they are."""
    done = 0
    for number, _ in team.map(_encode, [(job.one, header, options, job.part) for job in jobs]):
        done += jobs[number].one.maps
        yield done


def join_parts(
    jobs: Sequence[Job], header: Header, options: Options, target: Path, before: Path | None
) -> dict[str, Any]:
    """The parts, one after another, as one archive; perhaps with what another one has before them."""
    request = {k: v for k, v in asdict(options.request).items() if v is not None and v is not False}
    sources = [
        Source(one.shard.name, *manifest.named(one.shard.name), 0, one.shape, one.sha256, one.bytes, request)
        for one in (job.one for job in jobs)
    ]
    paths = [job.part for job in jobs]
    if before is not None:
        paths.insert(0, before)
        with Archive(before) as archive:
            sources = [*archive.sources, *sources]
            header = joined([archive.header, header])

    return copied(
        blocks_in(paths), header, numbered(sources), load_codebook(options.codebook), target, True, None
    )


# What workers do


def _surveyed(shard: Shard) -> Surveyed:
    array = open_source(shard.path)
    shape, dtype = checked(array)
    ranges = [r for r in ranges_of(array) if r]
    low, high = min((r[0] for r in ranges), default=math.inf), max((r[1] for r in ranges), default=-math.inf)
    sha256, size = fingerprint(shard)
    return Surveyed(shard, shape, dtype.newbyteorder("<").str, low, high, sha256, size)


def _encode(one: Surveyed, header: Header, options: Options, path: Path) -> None:
    """Encode a shard into a part; a part that is there is whole, by a worker that was lost before it could say so."""
    if path.exists():
        return
    array = open_source(one.shard.path)
    header = replace(header, shape=one.stack)
    book, device = load_codebook(options.codebook), own_device(options.device)
    with created(path, overwrite=True) as file:
        writer = Writer(file, header)
        write_maps(
            writer, array, ranges_of(array), header, options.request, book, device, block=options.block
        )
        if fingerprint(one.shard)[0] != one.sha256:
            raise DataError(f"{one.shard.path} changed while it was read; run again with --resume")
        writer.finish(book, "never")

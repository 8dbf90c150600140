"""What archiving would come to, by a sample of maps."""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .archiving import Notice, Options, crew_of
from .compression import compress
from .shards import Shard
from .sources import layout, open_source, split
from .workers import own_device

SAMPLE_SHARDS, SAMPLE_MAPS = 4, 50  # that are encoded


@dataclass(frozen=True)
class Estimate:
    """What a dry run says: shards and maps, bytes of the files and of the archive, seconds."""

    shards: int
    maps: int
    source_bytes: int
    archive_bytes: float
    seconds: float


def estimate(
    shards: Sequence[Shard],
    options: Options,
    workers: int | None = None,
    scheduler: str | None = None,
    notice: Notice | None = None,
) -> Estimate:
    """What archiving would come to, by a sample of maps encoded here: a few of some shards, spread over all.

    On a cluster it is as if each thread of its workers were as fast as this machine. Raises what `archive` does.
    """
    with crew_of(workers, scheduler, options.device, notice or (lambda text: None)) as some:
        at_once = some.size
    count = len(shards)
    chosen = sorted({round(k * (count - 1) / max(SAMPLE_SHARDS - 1, 1)) for k in range(SAMPLE_SHARDS)})
    sizes = [os.path.getsize(split(shard.path)[0]) for shard in shards]
    maps = [layout(tuple(open_source(shard.path).shape))[0] for shard in shards]
    spent, size, sampled = 0.0, 0.0, 0
    for k in chosen:
        seconds, made, tried = _sample(shards[k], options)
        spent, size, sampled = spent + seconds, size + made, sampled + tried
    share = sum(maps) / sampled
    return Estimate(count, sum(maps), sum(sizes), size * share, spent * share / at_once)


def _sample(shard: Shard, options: Options) -> tuple[float, int, int]:
    """Seconds and bytes of some maps of a shard, once what is loaded and compiled is; how many maps."""
    array = open_source(shard.path)
    count = min(SAMPLE_MAPS, layout(tuple(array.shape))[0])
    some = np.asarray(array[:count]) if len(array.shape) > 2 else np.asarray(array[:, :])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.vlz"
        for _ in range(2):
            begun = time.perf_counter()
            compress(
                some, path, codebook=options.codebook, device=str(own_device(options.device)), embed_codebook="never",
                overwrite=True, block=options.block, **asdict(options.request),
            )  # fmt: skip
            spent = time.perf_counter() - begun
        return spent, path.stat().st_size, count

"""How many maps of an archive to code together: bytes a map, and the time that one map takes to read cold.

    python benchmarks/blocks.py SHARDS [--blocks 25 12 6 3] [--reads 400]

The shards are those that `benchmarks/archives.py --keep FOLDER` has left in FOLDER/shards. Each archive is made at
effort 0; cold keeps nothing of what was read, the file itself is in the system's cache. The table is printed and kept
as results/blocks-VERSION.json.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, table, use_cores

CORES = use_cores()

import velcodec  # noqa: E402
from velcodec import archiving  # noqa: E402
from velcodec.request import Request  # noqa: E402
from velcodec.shards import find_shards  # noqa: E402

SEED = 7


def cold(path: Path, reads: int) -> tuple[float, float]:
    """Median and 99th percentile of the milliseconds that one map takes, after some others."""
    times = []
    with velcodec.open(path, keep=0) as archive:
        for i in np.random.default_rng(SEED).integers(0, len(archive), reads + 50).tolist():
            start = time.perf_counter()
            archive.read([i])
            times.append(1e3 * (time.perf_counter() - start))
    median, most = np.percentile(times[50:], (50, 99))
    return float(median), float(most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--blocks", type=int, nargs="+", default=[25, 12, 6, 3])
    parser.add_argument("--reads", type=int, default=400)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for block in args.blocks:
            path = Path(folder) / f"{block}.vlz"
            archiving.archive(
                find_shards([args.shards]), path, archiving.Options(Request(effort=0), block=block)
            )
            with velcodec.open(path) as archive:
                maps = len(archive)
            median, most = cold(path, args.reads)
            rows.append(
                {
                    "block": block,
                    "bytes_a_map": path.stat().st_size / maps,
                    "median_ms": median,
                    "p99_ms": most,
                }
            )
            print(rows[-1], flush=True)
    facts = {"machine": machine(), "cores": CORES, "maps": maps, "reads": args.reads, "runs": rows}
    (RESULTS / f"blocks-{velcodec.__version__}.json").write_text(json.dumps(facts, indent=2) + "\n")
    lines = [
        [r["block"], f"{r['bytes_a_map']:.1f}", f"{r['median_ms']:.2f}", f"{r['p99_ms']:.1f}"] for r in rows
    ]
    print(table(["maps a block", "bytes a map", "one map, median ms", "99 %"], lines))


if __name__ == "__main__":
    main()

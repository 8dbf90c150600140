"""Archiving many shards on two cores: throughput, peak memory, and how both scale.

    python benchmarks/archives.py [--shards 1 10 100] [--effort 0] [--keep FOLDER]

Shards are of 500 maps, of OpenFWI's ten families in turn: one of synth.py of each, and copies of these that are
mirrored and shifted in velocity, so that no two are alike. `velcodec archive` runs in a process of its own. Memory is
the most that it and its workers hold at a time (proportional set size, looked at every second: ten times a second took
a quarter of a core); cores busy are the processor time of all of them over the wall time. With --keep the largest
archive and its shards stay, for benchmarks/reading.py.

The table is printed and kept as results/archives-VERSION.json, with a projection to all of OpenFWI.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, table, use_cores

CORES = use_cores()

import velcodec  # noqa: E402
from velcodec import synth  # noqa: E402

MAPS = 500
OPENFWI = 470_000  # maps of the ten families
WORKERS = 32  # of the cluster that is projected to
SEED = 515_000
LOOK = 1.0  # seconds from one look at the memory to the next


def write_shards(folder: Path, count: int) -> int:
    """Shards as .npy files below FAMILY/model; their bytes."""
    size = 0
    base: dict[str, Any] = {}
    for k in range(count):
        family = synth.FAMILIES[k % len(synth.FAMILIES)]
        turn = k // len(synth.FAMILIES)
        if family not in base:
            base[family] = synth.generate(family, MAPS, 70, seed=SEED)[:, None]
        maps = base[family][..., ::-1] if turn % 2 else base[family]
        path = folder / family / "model" / f"model{turn + 1}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.clip(maps + np.float32(turn), 1500, 4500))
        size += path.stat().st_size
    return size


def held(root: int) -> int:
    """Bytes that a process and those below it hold, shared pages counted in parts."""
    total, left = 0, [root]
    while left:
        pid = left.pop()
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += (
                sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
            )
            for thread in Path(f"/proc/{pid}/task").iterdir():
                left += map(int, (thread / "children").read_text().split())
        except (OSError, ValueError):
            continue  # it has ended
    return total


def archived(shards: Path, output: Path, effort: int) -> dict[str, float]:
    """Seconds, processor seconds and the most memory of a run of the command."""
    command = [
        sys.executable,
        "-m",
        "velcodec_cli.main",
        "archive",
        str(shards),
        str(output),
        "--effort",
        str(effort),
    ]
    before, begun, most = os.times(), time.perf_counter(), 0
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while run.returncode is None:
        most = max(most, held(run.pid))
        with suppress(subprocess.TimeoutExpired):
            run.wait(LOOK)
    if run.returncode:
        raise SystemExit(f"velcodec archive ended with {run.returncode}")
    after = os.times()
    busy = sum(getattr(after, kind) - getattr(before, kind) for kind in ("children_user", "children_system"))
    return {"seconds": time.perf_counter() - begun, "processor_seconds": busy, "peak_bytes": most}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--effort", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, help="a new folder that the largest archive and its shards stay in"
    )
    args = parser.parse_args()
    if args.keep:
        args.keep.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=args.keep) as folder:
        for count in args.shards:
            shards = Path(folder) / f"shards{count}"
            raw = write_shards(shards, count)
            output = Path(folder) / f"{count}.vlz"
            row = {"shards": count, "maps": count * MAPS, **archived(shards, output, args.effort)}
            row |= {"raw_bytes": raw, "bytes": output.stat().st_size}
            rows.append(row)
            print(row, flush=True)
        if args.keep:
            shards.rename(args.keep / "shards")
            output.rename(args.keep / "archive.vlz")
    last = rows[-1]
    rate = last["maps"] / last["seconds"]
    hours = OPENFWI / rate / 3600
    facts = {
        "machine": machine(),
        "cores": CORES,
        "effort": args.effort,
        "runs": rows,
        "projected": {
            "maps": OPENFWI,
            "hours_on_these_cores": hours,
            "hours_on_32_workers": hours * CORES / WORKERS,
            "assumes": "families in equal parts, a worker a core like these, no time lost to reading or joining",
        },
    }
    (RESULTS / f"archives-{velcodec.__version__}.json").write_text(json.dumps(facts, indent=2) + "\n")
    head = ["shards", "maps", "seconds", "maps/s", "cores busy", "peak memory, MiB", "bytes a map"]
    print(
        table(
            head,
            [
                [
                    r["shards"],
                    f"{r['maps']:,}",
                    f"{r['seconds']:.0f}",
                    f"{r['maps'] / r['seconds']:.0f}",
                    f"{r['processor_seconds'] / r['seconds']:.2f}",
                    f"{r['peak_bytes'] / 2**20:.0f}",
                    f"{r['bytes'] / r['maps']:.1f}",
                ]
                for r in rows
            ],
        )
    )
    print(facts["projected"])


if __name__ == "__main__":
    main()

"""Speed and memory on two cores: decoding, compressing, the peak of `decompress --res 280`, and start-up.

    python benchmarks/speed.py [--family CurveVel_A] [--maps 500] [--maps-3 100] [--repeats 5]

Maps are real where at hand: CurveVel_A is told by its layers, FlatFault_A by its layers and faults or drawn by the
network. The table is printed and kept as results/speed-VERSION.json, of another family than CurveVel_A as
speed-FAMILY-VERSION.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import RESULTS, Maps, machine, maps_of, table, use_cores

CORES = use_cores()

import velcodec  # noqa: E402

FAMILY = "CurveVel_A"
COMMAND = str(Path(sys.executable).parent / "velcodec")

# Run in a process of its own: a child's peak starts at that of its parent, and this one has torch loaded.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(peak if sys.platform == "darwin" else 1024 * peak)
"""


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compress_rate(maps: Maps, folder: Path, **options: Any) -> float:
    """Maps a second of one velcodec.compress, file written and quality measured."""
    path = folder / "timed.vlz"
    velcodec.compress(maps[:8], path, overwrite=True, **options)  # what is compiled and loaded once
    return len(maps) / seconds(lambda: velcodec.compress(maps, path, overwrite=True, **options), 1)


def decode_rate(path: Path, maps: int, repeats: int) -> float:
    """Maps a second of opening a file and reading all of it at its native grid, after a first time."""
    velcodec.decompress(path)
    return maps / seconds(lambda: velcodec.decompress(path), repeats)


def peak_bytes(path: Path, output: Path) -> int:
    """Peak resident memory of `velcodec decompress --res 280`."""
    command = [sys.executable, "-c", PEAK, COMMAND, "decompress", str(path), str(output), "--res", "280"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default=FAMILY)
    parser.add_argument("--maps", type=int, default=500, help="maps decoded, and compressed at effort 0")
    parser.add_argument("--maps-3", type=int, default=100, help="maps compressed at effort 3")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(CORES)
    maps, source = maps_of(options.family, options.maps)
    some = maps[: options.maps_3]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = folder / "maps.vlz"
        figures["effort 0, latent only, maps/s"] = compress_rate(maps, folder, latent_only=True, effort=0)
        figures["effort 0, 35 dB, maps/s"] = compress_rate(maps, folder, effort=0)
        figures["effort 3, latent only, maps/s"] = compress_rate(some, folder, latent_only=True, effort=3)
        figures["effort 3, 35 dB, maps/s"] = compress_rate(some, folder, effort=3)
        velcodec.compress(some, path, latent_only=True, effort=3, overwrite=True)
        figures["decode 70 x 70, of effort 3, maps/s"] = decode_rate(path, len(some), options.repeats)
        velcodec.compress(maps, path, latent_only=True, effort=0, overwrite=True)
        figures["decode 70 x 70, maps/s"] = decode_rate(path, len(maps), options.repeats)
        peak = peak_bytes(path, folder / "fine.npy")
        figures[f"peak memory, {len(maps)} maps to 280 x 280, MiB"] = peak / 2**20
    help_call = [COMMAND, "--help"]
    figures["velcodec --help, s"] = seconds(
        lambda: subprocess.run(help_call, check=True, stdout=subprocess.DEVNULL), options.repeats
    )
    figures = {name: round(value, 3 if value < 10 else 1) for name, value in figures.items()}
    facts: dict[str, Any] = {
        "machine": {**machine(), "cores": CORES},
        "maps": f"{options.family}, {source}",
        "counts": {"effort 0 and decoding": len(maps), "effort 3": len(some)},
        "codebook": velcodec.load_codebook().id,
        "figures": figures,
    }
    print(table([f"{options.family}, {source}", f"{CORES} cores"], figures.items()))
    print("\n" + ", ".join(f"{name} {value}" for name, value in facts["machine"].items()))
    RESULTS.mkdir(exist_ok=True)
    of = "" if options.family == FAMILY else f"{options.family}-"
    kept = RESULTS / f"speed-{of}{velcodec.__version__}.json"
    kept.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Quality and size by family: latents alone at efforts 0, 3 and 9, as fp16, and a 256-component PCA beside them.

    python benchmarks/quality.py [--maps 100 | 500] [--maps-9 20] [--families CurveVel_A ...] [--efforts 0 3 9]

Every figure is measured from a written file: bytes a map = file size / maps, all headers and indexes in it, and PSNR
and SSIM of the maps as they read back. Bytes a map fall with the number of maps in a file. FlatVel_A, CurveVel_A and
FlatFault_A are real dev shards where they are at hand; the others are synthetic, with a seed held out of training. The
tables are printed and kept as results/quality-VERSION.csv.
"""

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from common import RESULTS, Maps, maps_of, shard, table, use_cores

use_cores()

import velcodec  # noqa: E402
from velcodec import metrics, synth  # noqa: E402

COMPONENTS = 256


@dataclass(frozen=True)
class Row:
    """The figures of one way to store the maps of one family."""

    family: str
    source: str
    method: str
    maps: int
    bytes_per_map: float
    psnr_mean: float
    psnr_min: float
    ssim_mean: float
    maps_per_second: float  # compressing; 0 for PCA


def measured(family: str, source: str, method: str, maps: Maps, copy: Maps, size: float, rate: float) -> Row:
    """A row, from the original and the restored maps."""
    psnr, ssim = metrics.psnr(maps, copy), metrics.ssim(maps, copy)
    return Row(
        family,
        source,
        method,
        len(maps),
        round(size / len(maps), 1),
        round(float(psnr.mean()), 2),
        round(float(psnr.min()), 2),
        round(float(ssim.mean()), 4),
        round(rate, 1),
    )


def coded(family: str, source: str, maps: Maps, effort: int, latent: str) -> Row:
    """Compress to a file, latents only, and measure what reads back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.vlz"
        start = time.perf_counter()
        velcodec.compress(maps, path, latent_only=True, latent=latent, effort=effort)
        rate = len(maps) / (time.perf_counter() - start)
        size = path.stat().st_size
        copy = np.asarray(velcodec.decompress(path)).reshape(maps.shape)
    return measured(family, source, f"{latent}, effort {effort}", maps, copy, size, rate)


def principal(family: str, maps: Maps) -> Row | None:
    """PCA with 256 components fitted on the family's training shards: 512 bytes a map as fp16, here unrounded."""
    train = shard(family, "train")
    if train is None:
        return None
    x = train.reshape(len(train), -1).astype(np.float64)
    mean = x.mean(0)
    x -= mean
    # The eigenvectors of the smaller Gram matrix give the components.
    if len(x) < x.shape[1]:
        values, vectors = np.linalg.eigh(x @ x.T)
        vectors = x.T @ vectors[:, ::-1][:, :COMPONENTS]
        kept = values[::-1][:COMPONENTS] > 1e-9 * values[-1]
        basis = vectors[:, kept] / np.linalg.norm(vectors[:, kept], axis=0)
    else:
        basis = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :COMPONENTS]
    y = maps.reshape(len(maps), -1).astype(np.float64) - mean
    copy = (mean + (y @ basis) @ basis.T).astype(np.float32).reshape(maps.shape)
    return measured(family, "real", "PCA-256", maps, copy, 2.0 * COMPONENTS * len(maps), 0.0)


def cell(row: Row | None, show: Callable[[Row], str]) -> str:
    return "-" if row is None else show(row)


def report(rows: Iterable[Row], methods: list[str]) -> str:
    """Four markdown tables, a family a row and a method a column."""
    found = {(row.family, row.method): row for row in rows}
    sources = {row.family: row.source for row in found.values()}
    shown: list[tuple[str, Callable[[Row], str]]] = [
        ("Bytes a map", lambda row: f"{row.bytes_per_map:.0f}"),
        ("Mean PSNR, dB", lambda row: f"{row.psnr_mean:.1f}" if row.psnr_mean < 100 else "> 100"),
        ("Least PSNR, dB", lambda row: f"{row.psnr_min:.1f}" if row.psnr_min < 100 else "> 100"),
        ("Mean SSIM", lambda row: f"{row.ssim_mean:.3f}"),
    ]
    parts = []
    for title, show in shown:
        lines = [
            [f"{family} ({source})", *(cell(found.get((family, method)), show) for method in methods)]
            for family, source in sources.items()
        ]
        parts.append(table([title, *methods], lines))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=100, help="maps of each family")
    parser.add_argument("--maps-9", type=int, default=20, help="maps of each family at effort 9")
    parser.add_argument("--efforts", type=int, nargs="+", default=[0, 3, 9])
    parser.add_argument("--families", nargs="+", default=list(synth.FAMILIES))
    parser.add_argument("--no-pca", action="store_true")
    parser.add_argument("--name", default="quality", help="of the results file")
    options = parser.parse_args()
    runs = [("entropy", effort) for effort in options.efforts] + [("fp16", 3)]
    methods = [f"{latent}, effort {effort}" for latent, effort in runs]
    rows: list[Row] = []
    for family in map(synth.canonical, options.families):
        maps, source = maps_of(family, options.maps)
        for latent, effort in runs:
            some = maps[: options.maps_9] if effort == 9 else maps
            rows.append(coded(family, source, some, effort, latent))
            print(rows[-1], file=sys.stderr, flush=True)
        if not options.no_pca and (row := principal(family, maps)):
            rows.append(row)
    if any(row.method == "PCA-256" for row in rows):
        methods.append("PCA-256")
    print(report(rows, methods))
    print(f"\nvelcodec {velcodec.__version__}, codebook {velcodec.load_codebook().id}.")
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{options.name}-{velcodec.__version__}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


if __name__ == "__main__":
    main()

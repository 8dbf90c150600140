"""Layered maps at four times their resolution: velcodec and four interpolations against the exact truth.

    python benchmarks/resolution.py [--maps 100] [--families CurveVel_A ...] [--latents] [--name resolution]

A synthetic map is a function of continuous position: the same map at 280 x 280 is the truth that a 70 x 70 one was
sampled from. Each map that is layered at 70 x 70 is compressed without loss and read back at 280 x 280:

    truth, 280 x 280 <------------------------------------------------ compared with all of these
    map, 70 x 70 --> .vlz --> layers with crisp interfaces, 280 x 280
                 --> nearest, bilinear, bicubic, Lanczos (Pillow's, cell-centred), 280 x 280

With --latents every map is compressed to a latent instead, at the default effort, and read back as that draws it.

`layered` counts the maps that are, and that the file keeps as layers: a few of many faults take fewer bytes as samples.
Mean square errors, (m/s)^2, are means over them. `ratio` is velcodec's over the least of the interpolations' means;
`wins` the share of maps where it is below all four. Depth errors are in native cells, over all interfaces and columns
where the truth, on a grid 16 times as fine in depth, has the interface within the map: of the 280 x 280 copy, whose
rows of a quarter cell are part of the error, and of a copy with rows of a sixteenth. Families with faults have none: a
depth in a column that a fault crosses says little.

What to expect. A drawing that has only layer velocities puts an edge somewhere; a flat interface may lie anywhere
within its cell, and the map does not say where. At a distance d from it, even on [-1/2, 1/2], the crisp edge costs |d|
times the squared step, 1/4 in the mean; a linear ramp across the cell costs 1/12 + d^2, 1/6 in the mean. So where
interfaces are flat and their depths not whole cells, a crisp drawing has 1.5 times the error of bilinear, and no
better one can be had from the map: FlatFault_B is mostly this. Where interfaces cross cells at a slope, neighbouring
columns say where they lie, and crisp wins. FlatVel has interfaces at whole cells, which velcodec and nearest both draw
without error.

Tables are printed and kept as results/resolution-VERSION.csv. All maps are synthetic, with a seed held out of training
and of the choice of settings.
"""

import argparse
import csv
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, SEED, Maps, table, use_cores
from numpy.typing import NDArray
from PIL import Image

use_cores()

import velcodec  # noqa: E402
from velcodec import layers, metrics, synth  # noqa: E402

FAMILIES = ("FlatVel_A", "FlatVel_B", "CurveVel_A", "CurveVel_B", "FlatFault_B", "CurveFault_B")
NATIVE, FINE, PARTS = 70, 280, 16  # cells, samples, and parts of a cell that depths are measured in
RIVALS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Row:
    """The figures of one family: maps, how many of them are layered, and of these the errors."""

    family: str
    maps: int
    layered: int
    velcodec: float
    nearest: float
    bilinear: float
    bicubic: float
    lanczos: float
    ratio: float | None  # None where both are 0
    wins: float
    depth_median: float | None  # of the 280 x 280 copy
    depth_95: float | None
    fine_depth_median: float | None  # of a copy with rows of a sixteenth of a cell
    fine_depth_95: float | None


def interpolated(m: NDArray[np.float32], how: Image.Resampling) -> NDArray[np.float32]:
    """A map (H, W) on the fine grid over the same extent."""
    return np.asarray(Image.fromarray(m).resize((FINE, FINE), how))


def depths_of(m: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """Depths (L - 1, w) of the interfaces between layers of values (L,), native cells, in a map (h, w).

    NaN in columns with another value: a layer so thin that no native sample met it.
    """
    order = np.argsort(values)
    at = np.minimum(np.searchsorted(values[order], m), len(values) - 1)
    layer = order[at]
    depths = np.array([(layer <= i).mean(axis=0) * NATIVE for i in range(len(values) - 1)])
    return np.where((values[layer] == m).all(axis=0), depths, np.nan)


def depth_errors(copy: NDArray[Any], truth: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
    """|depth - true depth| of interfaces, native cells, where they lie within the true map, (n,)."""
    ours, true = depths_of(copy, values), depths_of(truth, values)
    errors: NDArray[np.float64] = np.abs(ours - true)[(true > 0) & (true < NATIVE)]
    return errors


def restored(maps: Maps, path: Path, latents: bool) -> tuple[NDArray[np.bool_], Maps, Maps | None]:
    """Maps (n, 70, 70) through a file without loss: which are kept as layers, at 280 x 280, and at 1120 x 280.

    Of latents all are kept, and there is no copy of so many rows.
    """
    if latents:
        velcodec.compress(maps, path, latent_only=True, overwrite=True)
    else:
        velcodec.compress(maps, path, lossless=True, overwrite=True)
    with velcodec.open(path) as archive:
        kept = np.array([latents or mode == "layered" for mode in archive.quality.mode])
        deep = None if latents else archive.read(shape=(PARTS * NATIVE, FINE))
        return kept, archive.read(shape=(FINE, FINE)), deep


def percentiles(errors: list[NDArray[np.float64]]) -> tuple[float | None, float | None]:
    """The median and the 95th percentile of all, where there are any."""
    if not errors:
        return None, None
    middle, most = np.percentile(np.concatenate(errors), (50, 95))
    return round(float(middle), 3), round(float(most), 3)


def measured(family: str, count: int, folder: Path, latents: bool) -> Row:
    """A family's row."""
    coarse = synth.generate(family, count, NATIVE, seed=SEED)
    kept, copies, deep_copies = restored(coarse, folder / "maps.vlz", latents)
    errors: list[list[float]] = []
    depths: list[NDArray[np.float64]] = []
    fine_depths: list[NDArray[np.float64]] = []
    for i in np.flatnonzero(kept).tolist():
        truth = synth.generate(family, 1, FINE, seed=SEED, first=i)[0]
        ways = [copies[i], *(interpolated(coarse[i], how) for how in RIVALS.values())]
        errors.append([float(metrics.mse(truth, way)[0]) for way in ways])
        found = layers.analyse(coarse[i])
        if "Vel" in family and found is not None and deep_copies is not None:
            deep = synth.generate(family, 1, (PARTS * NATIVE, FINE), seed=SEED, first=i)[0]
            depths.append(depth_errors(copies[i], deep, found.values))
            fine_depths.append(depth_errors(deep_copies[i], deep, found.values))
    by_map = np.array(errors)
    mean = by_map.mean(axis=0)
    best = mean[1:].min()
    wins = np.mean(by_map[:, 0] < by_map[:, 1:].min(axis=1))
    return Row(
        family,
        count,
        len(errors),
        *(round(float(e), 1) for e in mean),
        round(float(mean[0] / best), 3) if best else None,
        round(float(wins), 3),
        *percentiles(depths),
        *percentiles(fine_depths),
    )


def report(rows: list[Row]) -> str:
    """Two markdown tables: errors, and depths."""
    names = ["velcodec", *RIVALS]
    errors = [
        [
            row.family,
            f"{row.layered} of {row.maps}",
            *(f"{getattr(row, name):,.0f}" for name in names),
            "both 0" if row.ratio is None else f"{row.ratio:.2f}",
            f"{row.wins:.0%}",
        ]
        for row in rows
    ]
    depths = [
        [row.family, row.depth_median, row.depth_95, row.fine_depth_median, row.fine_depth_95]
        for row in rows
        if row.depth_median is not None
    ]
    parts = [table(["MSE, (m/s)^2", "layered", *names, "ratio to best", "wins"], errors)]
    if depths:
        head = ["Depth error, cells", "median", "95 %", "median, 1120 rows", "95 %, 1120 rows"]
        parts.append(table(head, depths))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=100, help="maps made of each family, layered or not")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument(
        "--latents", action="store_true", help="of latents, rather than of layers kept exactly"
    )
    parser.add_argument("--name", default="resolution", help="of the results file")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for family in map(synth.canonical, options.families):
            rows.append(measured(family, options.maps, Path(folder), options.latents))
            print(rows[-1], file=sys.stderr, flush=True)
    print(report(rows))
    print(f"\nvelcodec {velcodec.__version__}, maps synthetic.")
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{options.name}-{velcodec.__version__}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


if __name__ == "__main__":
    main()

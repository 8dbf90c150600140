"""Bytes a map at a hard error bound: velcodec beside the peers of peers.py, by family and on two large models.

    python benchmarks/bounds.py [--maps 100] [--families CurveVel_A ...] [--bounds 0 0.5 1 5 10 25 50 100] [--models]
                                [--effort 3] [--peers-only] [--reuse [CSV]] [--name bounds]

A bound E says that no sample comes back more than E m/s off; 0 says that every bit comes back. velcodec's figure is
the size of the file that it writes with all the maps, the bound checked on what reads back. A peer's is that of its
best way; what it took at a smaller bound counts at a larger one too, where it is less. --models adds Marmousi2 and
Overthrust where they are at hand.

Rows are kept as they are measured, in results/NAME-VERSION.csv; beside it are a plot and a JSON with the machine and
the versions. --reuse takes the peers' rows from that CSV, or another, for the maps and the versions that are the same.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import matplotlib
import numpy as np
import peers
from common import RESULTS, ROOT, Maps, machine, maps_of, table, use_cores

use_cores()
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

import velcodec  # noqa: E402
from velcodec import synth  # noqa: E402

BOUNDS = (0.0, 0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0)
MODELS = {"Marmousi2": "marmousi2_351x1701.npz", "Overthrust": "overthrust_207x801.npz"}
OWN = "velcodec"


@dataclass(frozen=True)
class Row:
    """What one coder takes for the maps of one family, or for one model, at one bound."""

    model: str
    source: str
    maps: int
    checksum: str  # of the maps
    bound: float
    coder: str
    arrangement: str
    variant: str
    bytes_per_map: float
    max_error: float
    seconds: float  # coding and restoring; of a peer, its best way alone


@dataclass(frozen=True)
class Subject:
    """The maps of one family, or one model."""

    name: str
    source: str
    maps: Maps

    def row(
        self, bound: float, coder: str, way: tuple[str, str], size: int, error: float, seconds: float
    ) -> Row:
        count = self.maps.size // (self.maps.shape[-2] * self.maps.shape[-1])
        checksum = f"{zlib.crc32(self.maps.tobytes()):08x}"
        figures = round(size / count, 2), round(error, 4), round(seconds, 2)
        return Row(self.name, self.source, count, checksum, bound, coder, *way, *figures)


def large_model(name: str) -> Maps | None:
    """One of the two large models, (H, W) m/s; None where it is not at hand."""
    path = Path(os.environ.get("VELCODEC_DATA", ROOT.parent / "shared" / "data")) / MODELS[name]
    if not path.is_file():
        return None
    with np.load(path) as file:
        return file["v"]


def subjects(families: Sequence[str], count: int, models: bool) -> Iterator[Subject]:
    for family in map(synth.canonical, families):
        maps, source = maps_of(family, count)
        yield Subject(family, source, np.ascontiguousarray(maps, np.float32))
    for name in MODELS if models else ():
        if (model := large_model(name)) is not None:
            yield Subject(name, "real", np.ascontiguousarray(model, np.float32))


def own_row(subject: Subject, bound: float, effort: int) -> Row:
    """The size of velcodec's file, once what reads back has been found within the bound."""
    maps = subject.maps
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.vlz"
        start = time.perf_counter()
        if bound > 0:
            velcodec.compress(maps, path, max_error=bound, effort=effort, overwrite=True)
        else:
            velcodec.compress(maps, path, lossless=True)
        restored = np.asarray(velcodec.decompress(path)).reshape(maps.shape)
        seconds, size = time.perf_counter() - start, path.stat().st_size
    error = peers.error_of(maps, restored)
    if not error <= peers.allowed(bound):
        raise SystemExit(f"{subject.name}: velcodec is {error:g} m/s off where {bound:g} was asked for.")
    return subject.row(
        bound, OWN, ("one file", f"effort {effort}" if bound > 0 else "lossless"), size, error, seconds
    )


def peer_rows(subject: Subject, bounds: Sequence[float], keep: Callable[[list[Row]], None]) -> None:
    """Of every peer at every bound, from the smallest on, so that a smaller bound's result can stand in."""
    least: dict[str, Row] = {}
    for bound in bounds:
        start = time.perf_counter()
        for found in peers.best(subject.maps, bound):
            way = found.arrangement, found.variant
            row = subject.row(bound, found.peer, way, found.bytes, found.max_error, found.seconds)
            if found.peer not in least or row.bytes_per_map < least[found.peer].bytes_per_map:
                least[found.peer] = row
        said = {row.bound: f", as at {row.bound:g} m/s" for row in least.values() if row.bound < bound}
        keep(
            [
                replace(row, bound=bound, variant=row.variant + said.get(row.bound, ""))
                for row in least.values()
            ]
        )
        leader = min(least.values(), key=lambda row: row.bytes_per_map)
        took = f"{time.perf_counter() - start:.1f} s for all peers"
        say(f"{subject.name} {bound:g}: {leader.coder} {leader.bytes_per_map:.0f} ({leader.variant}), {took}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Results:
    """The rows so far, also in a CSV that is never behind."""

    def __init__(self, path: Path, facts: dict[str, object], reused: list[Row]):
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
        self.path, self.rows = path, []
        with open(path, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(field.name for field in fields(Row))
        self.keep(reused)

    def keep(self, rows: list[Row]) -> None:
        self.rows += rows
        with open(self.path, "a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(asdict(row).values() for row in rows)

    def of(self, subject: Subject, bound: float) -> dict[str, Row]:
        return {row.coder: row for row in self.rows if (row.model, row.bound) == (subject.name, bound)}


def reusable(path: Path, tested: list[Subject], bounds: Sequence[float]) -> list[Row]:
    """The peers' rows in a CSV, of the subjects for which it has the same maps at all the bounds."""
    if not path.is_file():
        return []
    then = json.loads(path.with_suffix(".json").read_text())["peers"]
    if then != peers.versions():
        raise SystemExit(f"The peers in {path} are of other versions: {then}.")
    with open(path, newline="") as file:
        kinds = {field.name: field.type for field in fields(Row)}
        rows = [
            Row(**{name: kinds[name](text) for name, text in line.items()}) for line in csv.DictReader(file)
        ]
    found = []
    for subject in tested:
        same = subject.row(0.0, "", ("", ""), 0, 0.0, 0.0).checksum
        mine = [row for row in rows if (row.model, row.checksum) == (subject.name, same) and row.coder != OWN]
        mine = [row for row in mine if row.bound in bounds]
        if {row.bound for row in mine} == set(bounds):
            found += mine
    return found


def report(results: Results, tested: list[Subject], bounds: Sequence[float]) -> str:
    """A markdown table, a family and bound a row."""
    lines = []
    for subject in tested:
        for bound in bounds:
            found = results.of(subject, bound)
            own = found.pop(OWN, None)
            if not found:
                continue
            peer = min(found.values(), key=lambda row: row.bytes_per_map)
            lines.append(
                [
                    f"{subject.name} ({subject.source})",
                    f"{bound:g}" if bound > 0 else "lossless",
                    f"{own.bytes_per_map:.0f}" if own else "-",
                    f"{peer.bytes_per_map:.0f}",
                    f"{peer.coder}: {peer.arrangement}, {peer.variant}",
                    f"{peer.bytes_per_map / own.bytes_per_map:.2f}" if own else "-",
                ]
            )
    return table(["maps", "E, m/s", "velcodec", "best peer", "which", "peer / velcodec"], lines)


def plot(results: Results, tested: list[Subject], bounds: Sequence[float], path: Path) -> None:
    """Bytes a map against the bound, a panel a family; lossless stands to the left of the smallest bound."""
    across = min(4, len(tested))
    down = -(-len(tested) // across)
    figure, panels = plt.subplots(
        down, across, figsize=(4 * across, 3.2 * down), squeeze=False, layout="constrained"
    )
    left = min([bound for bound in bounds if bound > 0], default=1.0) / 3
    names = [OWN, *peers.PEERS]
    for panel, subject in zip(panels.flat, tested, strict=False):
        for index, name in enumerate(names):
            rows = [row for bound in bounds if (row := results.of(subject, bound).get(name))]
            if rows:
                x, y = [row.bound or left for row in rows], [row.bytes_per_map for row in rows]
                style = (
                    {"color": "black", "linewidth": 2.2, "zorder": 3} if name == OWN else {"linewidth": 1.1}
                )
                style.setdefault("color", f"C{index - 1}")
                panel.plot(x, y, marker="o", markersize=3, label=name, **style)
        panel.set(xscale="log", yscale="log", title=f"{subject.name} ({subject.source})")
        panel.set_xticks([bound or left for bound in bounds], [f"{bound:g}" for bound in bounds])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    for panel in panels.flat[len(tested) :]:
        panel.set_axis_off()
    figure.supxlabel("largest error allowed, m/s (0: lossless)")
    figure.supylabel("bytes a map")
    lines = {line.get_label(): line for panel in panels.flat for line in panel.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=len(names), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=100, help="maps of each family")
    parser.add_argument("--families", nargs="*", default=list(synth.FAMILIES))
    parser.add_argument("--bounds", type=float, nargs="+", default=BOUNDS, help="m/s; 0 is lossless")
    parser.add_argument("--models", action="store_true", help="Marmousi2 and Overthrust too")
    parser.add_argument("--effort", type=int, default=3, help="of velcodec")
    parser.add_argument("--peers-only", action="store_true")
    parser.add_argument("--reuse", nargs="?", const="", metavar="CSV", help="take the peers' rows from there")
    parser.add_argument("--name", default="bounds", help="of the results files")
    options = parser.parse_args()
    bounds = sorted(set(options.bounds))
    tested = list(subjects(options.families, options.maps, options.models))
    path = RESULTS / f"{options.name}-{velcodec.__version__}.csv"
    reused = [] if options.reuse is None else reusable(Path(options.reuse or path), tested, bounds)
    facts: dict[str, object] = {
        "codebook": velcodec.load_codebook().id,
        "effort": options.effort,
        "machine": machine(),
        "peers": peers.versions(),
    }
    results = Results(path, facts, reused)
    for subject in tested:
        if not any(row.model == subject.name for row in reused):
            peer_rows(subject, bounds, results.keep)
        for bound in () if options.peers_only else bounds:
            row = own_row(subject, bound, options.effort)
            results.keep([row])
            say(f"{subject.name} {bound:g}: velcodec {row.bytes_per_map:.0f} in {row.seconds:.1f} s")
        plot(results, tested, bounds, path.with_suffix(".png"))
    print(report(results, tested, bounds))
    print(f"\nvelcodec {velcodec.__version__}, codebook {facts['codebook']}, effort {options.effort}.")


if __name__ == "__main__":
    main()

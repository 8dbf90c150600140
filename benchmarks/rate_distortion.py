"""Bytes a map against PSNR, SSIM and the largest error: velcodec's latents, its --psnr, and the lossy peers.

    python benchmarks/rate_distortion.py [--maps 100] [--families CurveVel_A ...] [--codebooks ID ...] [--efforts 0 3]
                                         [--no-peers] [--resume] [--name rate-distortion]

Latents alone are measured for every codebook and effort, and with the highest effort fitted for some PSNRs; `--psnr`
30, 35 and 40 with the first codebook and the highest effort: bytes a map = file size / maps, all headers in it, and
the figures of what reads back. The codebooks are the default one and `openfwi-2d-dev` unless named. The peers are
those of lossy_peers.py, which says how each is tuned, and JPEG XL, zstd and xz without loss; their bytes are those
of all their streams together.

PSNR is by each map's own range, and the mean over maps; a map counts as 60 dB at most, since an exact one has none.

At a PSNR, a coder takes the bytes of its front there: of what no other of its points beats in bytes and PSNR both,
whatever the arrangement and the setting, log-linear between two such points. Below its lowest point a coder takes the
bytes of that point. A coder that reaches a higher PSNR with fewer bytes, as a lossless one does on layered maps, thus
counts with those at the lower PSNR too.

Every point measured is kept, as a method is done, in results/NAME-VERSION.csv; those on the front of their method
are marked, and of the peers they alone have an SSIM. Beside it are a JSON with the machine and the versions, and a plot
a family. Two markdown tables are printed; in the first, the letter after a peer's bytes is the arrangement that took
them: Tall or Wide strip, Mosaic, Volume, One map a file. A family of 50 maps takes some minutes of one core.
--resume takes the methods that the CSV has, of the same maps, options, machine and versions, from there; the peers'
also where codebooks and efforts are others.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import lossy_peers
import matplotlib
import numpy as np
import peers
from common import RESULTS, Maps, machine, maps_of, table, use_cores
from lossy_peers import CAP, Point, capped, front, least

use_cores()
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

import velcodec  # noqa: E402
from velcodec import metrics, synth  # noqa: E402

OLDER = "openfwi-2d-dev"
TARGETS = (30.0, 35.0, 40.0)  # dB
GOALS = (
    27.0,
    29.0,
    32.0,
    34.0,
    37.0,
    39.0,
)  # dB that latents are fitted for: each passes it, so a little below
COLUMNS = ["family", "source", "maps", *(field.name for field in fields(Point)), "on_front"]  # of the CSV
LATENTS, PSNR = "latents", "velcodec --psnr"  # methods; the codebook follows the first


@dataclass
class Family:
    """The points of one family so far."""

    name: str
    source: str
    maps: int
    points: list[Point]

    @property
    def title(self) -> str:
        return f"{self.name} ({self.source})"

    def of(self, method: str) -> list[Point]:
        return [point for point in self.points if point.method == method]

    def methods(self) -> list[str]:
        return list(dict.fromkeys(point.method for point in self.points))

    def peers(self) -> list[str]:
        return [method for method in self.methods() if not own(method)]


def own(method: str) -> bool:
    return method.startswith(LATENTS) or method == PSNR


def exact(method: str) -> bool:
    return method.endswith("lossless")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def written(maps: Maps, method: str, setting: str, **how: Any) -> Point:
    """Compress to a file and measure what reads back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.vlz"
        start = time.perf_counter()
        velcodec.compress(maps, path, **how)
        copy = np.asarray(velcodec.decompress(path)).reshape(maps.shape)
        seconds, size = time.perf_counter() - start, path.stat().st_size
    psnr = metrics.psnr(maps, copy)
    return Point(
        method,
        "one file",
        setting,
        round(size / len(maps), 2),
        round(capped(psnr), 3),
        round(float(psnr.min()), 3),
        round(float(metrics.ssim(maps, copy).mean()), 4),
        round(peers.error_of(maps, copy), 3),
        round(seconds, 3),
    )


def latent_points(maps: Maps, method: str, codebook: str, efforts: Sequence[int]) -> list[Point]:
    how = {"latent_only": True, "latent": "entropy", "codebook": codebook}
    points = [written(maps, method, f"effort {effort}", effort=effort, **how) for effort in efforts]
    effort = max(efforts)
    return points + [
        written(maps, method, f"effort {effort}, {psnr:g} dB", effort=effort, psnr=psnr, **how)
        for psnr in GOALS
    ]


def psnr_points(maps: Maps, codebook: str, effort: int) -> list[Point]:
    return [
        written(maps, PSNR, f"{psnr:g} dB, effort {effort}", psnr=psnr, codebook=codebook, effort=effort)
        for psnr in TARGETS
    ]


def jobs(
    maps: Maps, codebooks: Sequence[str], efforts: Sequence[int], with_peers: bool
) -> Iterator[tuple[str, Callable[[], list[Point]]]]:
    """Every method, and what measures all its points."""
    for codebook in codebooks:
        method = f"{LATENTS}, {velcodec.load_codebook(codebook).id}"
        yield method, partial(latent_points, maps, method, codebook, efforts)
    yield PSNR, partial(psnr_points, maps, codebooks[0], max(efforts))
    if with_peers:
        for method in lossy_peers.METHODS:
            yield method, partial(lossy_peers.points, method, maps)
        for peer in lossy_peers.LOSSLESS:
            yield f"{peer} lossless", partial(lossy_peers.lossless, peer, maps)


# --- Results ---


class Results:
    """All points, also in a CSV that is never behind."""

    def __init__(self, path: Path, facts: dict[str, object]):
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
        self.path = path
        with open(path, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(COLUMNS)

    def keep(self, family: Family, points: list[Point]) -> None:
        """Of one method, all that there will be."""
        family.points += points
        best = set(front([point.spot for point in points]))
        rows = [
            (family.name, family.source, family.maps, *asdict(point).values(), point.spot in best)
            for point in points
        ]
        with open(self.path, "a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def measured(path: Path, facts: dict[str, object]) -> dict[str, Family]:
    """What a CSV has from the same machine and versions; of velcodec's own, only with the same options."""
    if not path.is_file():
        return {}
    before = json.loads(path.with_suffix(".json").read_text())
    if others(before) != others(facts):
        return {}
    found: dict[str, Family] = {}
    with open(path, newline="") as file:
        for line in csv.DictReader(file):
            if own(line["method"]) and before != facts:
                continue
            maps, source = int(line["maps"]), line["source"]
            family = found.setdefault(line["family"], Family(line["family"], source, maps, []))
            numbers = {name: float(line[name]) for name in ("bytes_per_map", "psnr_mean", "psnr_min")}
            family.points.append(
                Point(
                    line["method"],
                    line["arrangement"],
                    line["setting"],
                    **numbers,
                    ssim_mean=float(line["ssim_mean"]) if line["ssim_mean"] else None,
                    max_error=float(line["max_error"]),
                    seconds=float(line["seconds"]),
                )
            )
    return found


def others(facts: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """What the peers' points depend on."""
    return {name: text for name, text in facts["machine"].items() if name != "velcodec"}, facts["peers"]


def bytes_at(family: Family, method: str, psnr: float) -> float:
    return least([point.spot for point in family.of(method)], psnr)


def way_at(family: Family, method: str, psnr: float) -> Point:
    """The point on a method's front at a PSNR, or the next one above."""
    best = front([point.spot for point in family.of(method)])
    spot = next(spot for spot in best if spot[1] >= psnr)
    return next(point for point in family.of(method) if point.spot == spot)


def best_peer(family: Family, psnr: float) -> tuple[float, str]:
    """The fewest bytes of any peer at a PSNR, and which it is; infinite where none reaches it."""
    found = [(bytes_at(family, method, psnr), method) for method in family.peers()]
    return min(found, default=(float("inf"), ""))


def shown(size: float) -> str:
    return "-" if size == float("inf") else f"{size:.1f}" if size < 20 else f"{size:,.0f}"


def cell(family: Family, method: str, psnr: float) -> str:
    """Bytes a map, and the arrangement's initial."""
    size = bytes_at(family, method, psnr)
    if own(method) or size == float("inf"):
        return shown(size)
    return f"{shown(size)} {way_at(family, method, psnr).arrangement[0].upper()}"


def by_psnr(families: Sequence[Family]) -> str:
    """Bytes a map at each of TARGETS, a row a family and PSNR."""
    methods = list(dict.fromkeys(method for family in families for method in family.methods()))
    lossy = [method for method in methods if not exact(method)]
    lines = []
    for family in families:
        for psnr in TARGETS:
            cells = [cell(family, method, psnr) for method in lossy]
            lines.append([family.title, f"{psnr:g}", *cells, best_peer(family, psnr)[1] or "-"])
    return table(["maps", "dB", *lossy, "best peer"], lines)


def by_latent(families: Sequence[Family]) -> str:
    """Each point of the latents, and the best peer at its PSNR."""
    lines = []
    for family in families:
        for point in family.points:
            if not point.method.startswith(LATENTS):
                continue
            size, method = best_peer(family, point.psnr_mean)
            which = "-"
            if method:
                way = way_at(family, method, point.psnr_mean)
                which = f"{method}: {way.arrangement}, {way.setting}"
            lines.append(
                [
                    family.title,
                    f"{point.method.removeprefix(f'{LATENTS}, ')}, {point.setting}",
                    f"{point.bytes_per_map:.1f}",
                    f"{point.psnr_mean:.1f}",
                    f"{point.ssim_mean:.3f}",
                    f"{point.max_error:,.0f}",
                    shown(size),
                    which,
                    f"{size / point.bytes_per_map:.2f}" if method else "-",
                ]
            )
    head = ["maps", "latents", "bytes", "dB", "SSIM", "max error, m/s"]
    return table([*head, "best peer's bytes at that dB", "which", "peer / latents"], lines)


COLOURS = {"JPEG XL": "C0", "JPEG 2000": "C1", "HTJ2K": "C2", "SZ3": "C3", "ZFP": "C4", "SPERR": "C5"}
STEPPED = {"JPEG XL in steps": "C0", "zstd in steps": "C8", "xz in steps": "C9"}
LEFT, RIGHT = 24.0, 46.0  # dB


def plot(family: Family, path: Path) -> None:
    """The front of every method; the least lossless peer is a level line."""
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    codebooks = [method for method in family.methods() if method.startswith(LATENTS)]
    for method in family.methods():
        line = front([point.spot for point in family.of(method)])
        x, y = [psnr for _, psnr in line], [size for size, _ in line]
        if method in codebooks:
            colour = "black" if method == codebooks[0] else "0.55"
            spots = [point.spot for point in family.of(method)]
            axes.plot(x, y, color=colour, linewidth=2, zorder=4)
            axes.plot([p for _, p in spots], [b for b, _ in spots], "o", color=colour, label=method, zorder=5)
        elif method == PSNR:
            axes.plot(x, y, color="crimson", linewidth=2, marker="D", markersize=5, label=method, zorder=4)
        elif method in COLOURS:
            axes.plot(x, y, color=COLOURS[method], linewidth=1.3, label=method)
        elif method in STEPPED:
            axes.plot(x, y, color=STEPPED[method], linewidth=1.3, linestyle="--", label=method)
    reached = [point.psnr_mean for point in family.points if own(point.method)]
    right = max([RIGHT, *(psnr + 1 for psnr in reached)])
    left = min([LEFT, *(psnr - 1 for psnr in reached)])
    lossy = [point for point in family.points if not exact(point.method)]
    inside = [point.bytes_per_map for point in lossy if left <= point.psnr_mean <= right]
    lossless = [point for point in family.points if exact(point.method)]
    if lossless:
        leader = min(lossless, key=lambda point: point.bytes_per_map)
        if leader.bytes_per_map < max(inside):
            axes.axhline(leader.bytes_per_map, color="0.3", linewidth=1, linestyle=":", label=leader.method)
    axes.set(
        xlim=(left, right),
        ylim=(0.8 * min(inside), 1.25 * max(inside)),
        yscale="log",
        xlabel=f"mean PSNR, dB (a map counts as {CAP:g} at most)",
        ylabel="bytes a map",
        title=f"{family.title}, {family.maps} maps",
    )
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}")
    axes.grid(alpha=0.3, which="both", linewidth=0.5)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=100, help="maps of each family")
    parser.add_argument("--families", nargs="+", default=list(synth.FAMILIES))
    parser.add_argument(
        "--codebooks", nargs="+", metavar="ID", help="ids, SHA-256 or paths; the first is for --psnr"
    )
    parser.add_argument("--efforts", type=int, nargs="+", default=[0, 3], help="of velcodec")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--resume", action="store_true", help="go on from the CSV of the same name")
    parser.add_argument("--name", default="rate-distortion", help="of the results files")
    options = parser.parse_args()
    codebooks = list(dict.fromkeys(options.codebooks or (velcodec.load_codebook().id, OLDER)))
    books = [velcodec.load_codebook(codebook) for codebook in codebooks]
    facts: dict[str, object] = {
        "codebooks": {book.id: book.sha256 for book in books},
        "efforts": options.efforts,
        "machine": machine(),
        "peers": lossy_peers.versions(),
    }
    path = RESULTS / f"{options.name}-{velcodec.__version__}.csv"
    before = measured(path, facts) if options.resume else {}
    results, families = Results(path, facts), []
    work: list[tuple[Family, str, Callable[[], list[Point]]]] = []
    for name in map(synth.canonical, options.families):
        maps, source = maps_of(name, options.maps)
        family = Family(name, source, len(maps), [])
        families.append(family)
        same = before.get(name, family)
        for method, job in jobs(maps, codebooks, options.efforts, not options.no_peers):
            if (same.source, same.maps) == (source, len(maps)) and same.of(method):
                results.keep(family, same.of(method))
            else:
                work.append((family, method, job))
    for family in families:
        for method, job in [(method, job) for one, method, job in work if one is family]:
            start = time.perf_counter()
            results.keep(family, job())
            say(f"{family.name}: {method}, {time.perf_counter() - start:.0f} s")
        plot(family, path.with_name(f"{path.stem}-{family.name}.png"))
    print(by_psnr(families))
    print()
    print(by_latent(families))
    print(f"\nvelcodec {velcodec.__version__}, {options.maps} maps of each family at most.")


if __name__ == "__main__":
    main()

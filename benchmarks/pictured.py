"""Latents of real maps of all ten families, read off the picture that comes with the development data.

    python benchmarks/pictured.py [--families CurveFault_A ...] [--psnr 35] [--effort 3]

ten_families.png shows 80 OpenFWI maps, each scaled to its own range and drawn in 256 colours at 1.43 pixels a cell.
The colours of the cells come back by least squares: each pixel is a Hanning-weighted mean of the cells around it. Left
over is half a level of rounding, so that maps are known to some 1/500 of their range: plateaus of hard-edged maps and
of smoothed faults are set to one level each. The real ranges are not known: maps are taken to be 1500 to 4500 m/s.

Seven of the ten families can be had as arrays nowhere else. Beside them stand as many synthetic maps, in the same 256
levels. The table is kept as results/pictured-VERSION.csv; no map is.
"""

import argparse
import csv
import os
import sys
from pathlib import Path

import numpy as np
from common import RESULTS, ROOT, SEED, Maps, table, use_cores
from numpy.typing import NDArray
from PIL import Image

use_cores()

import matplotlib as mpl  # noqa: E402
import torch  # noqa: E402

import velcodec  # noqa: E402
from velcodec import fit, metrics, synth  # noqa: E402
from velcodec.grid import make_grid  # noqa: E402
from velcodec.synthesis import sample  # noqa: E402
from velcodec.training_data import CENTRE, SCALE  # noqa: E402

CELLS = 70
LEFT = (14, 133, 252, 371, 490, 609, 728, 847, 967, 1086)  # pixels of the picture where its columns begin,
TOP = (18, 137, 256, 375, 494, 613, 732, 851)  # and its rows
PIXELS = 100.4 / CELLS  # a cell
SHOWN = {  # in reading order
    "FlatVel_A": (2, 4, 15, 16, 72, 73),
    "FlatVel_B": (7, 9, 10, 24, 26, 29, 74, 75),
    "CurveVel_A": (19, 23, 64, 65),
    "CurveVel_B": (13, 28, 66, 67),
    "FlatFault_A": (8, 68, 69),
    "FlatFault_B": (1, 17, 25, 70, 71),
    "CurveFault_A": (3, *range(30, 62)),
    "CurveFault_B": (18, 22, 27, 62, 63),
    "Style_A": (5, 6, 20, 76, 77),
    "Style_B": (0, 11, 12, 14, 21, 78, 79),
}
NEAR = 3  # levels about a plateau's own that are rounding


def _weights(pixels: int, offset: float) -> NDArray[np.float64]:
    """The share (pixels, 70) that each cell has of each pixel along an axis."""
    at = np.clip((np.arange(pixels) + 0.5 - offset) / PIXELS - 0.5, 0, CELLS - 1)
    away = np.abs(at[:, None] - np.arange(CELLS))
    shares = np.where(away < 1, 0.5 + 0.5 * np.cos(np.pi * away), 0.0)
    return shares / shares.sum(axis=1, keepdims=True)


def _axis(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """What brings the pixels of an axis (n, k) back to cells, (70, n), at the offset that leaves least over."""
    best, found = np.inf, np.empty(0)
    for offset in np.arange(-1, 1.01, 0.05):
        shares = _weights(len(lines), float(offset))
        back = np.linalg.pinv(shares, rcond=0.01)
        left = float(((lines - shares @ (back @ lines))[2:-2] ** 2).mean())
        if left < best:
            best, found = left, back
    return found


def levels(picture: NDArray[np.float64], place: int) -> NDArray[np.int64]:
    """A map (70, 70) in levels 0 .. 255."""
    z, x = TOP[place // 10] - 3, LEFT[place % 10] - 4
    part = picture[z : z + 108, x : x + 110]
    drawn = (part < 250).any(axis=2)
    rows, columns = (np.flatnonzero(drawn.sum(axis=axis) > 80) for axis in (1, 0))
    box = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    down = _axis(box.reshape(len(box), -1))
    across = _axis(box.transpose(1, 0, 2).reshape(box.shape[1], -1))
    colours = np.einsum("zp,pqc,xq->zxc", down, box, across)
    palette = np.round(mpl.colormaps["viridis"](np.arange(256))[:, :3] * 255)
    found: NDArray[np.int64] = ((colours[:, :, None] - palette) ** 2).sum(axis=-1).argmin(axis=-1)
    return found


def flattened(k: NDArray[np.int64], hard: bool) -> NDArray[np.int64]:
    """Levels with each plateau at its own: all cells of a hard-edged map, of others those next to it in level."""
    count = np.bincount(k.ravel(), minlength=256)
    own: list[int] = []
    for level in np.argsort(-count, kind="stable"):
        if count[level] >= (6 if hard else 40) and all(abs(level - one) > NEAR for one in own):
            own.append(int(level))
    plateaus = np.array(own)
    nearest = plateaus[np.abs(k[..., None] - plateaus).argmin(axis=-1)]
    return nearest if hard else np.where(np.abs(k - nearest) < NEAR, nearest, k)


def pictured(path: Path, family: str) -> Maps:
    """The maps (n, 70, 70) of a family that the picture shows, m/s."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(np.float64)
    maps = []
    for place in SHOWN[family]:
        k = levels(picture, place)
        if not family.startswith("Style"):
            k = flattened(k, hard=not family.endswith("Fault_A"))
        maps.append(k)
    return _of_levels(np.array(maps))


def _of_levels(k: NDArray[np.int64]) -> Maps:
    return (1500 + 3000 * k / 255).round().astype(np.float32)


def _in_levels(maps: Maps) -> Maps:
    """Maps scaled to 256 levels each, as those of the picture are."""
    low, high = (end(axis=(1, 2), keepdims=True) for end in (maps.min, maps.max))
    return _of_levels(np.round((maps - low) / (high - low) * 255).astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", default=list(SHOWN))
    parser.add_argument("--psnr", type=float, nargs="*", default=[30.0, 35.0, 40.0])
    parser.add_argument("--effort", type=int, default=3)
    parser.add_argument("--codebook")
    args = parser.parse_args()
    path = Path(os.environ.get("VELCODEC_DATA", ROOT.parent / "shared" / "data")) / "ten_families.png"
    if not path.is_file():
        sys.exit(f"{path} is not at hand")
    codebook, cpu = velcodec.load_codebook(args.codebook), torch.device("cpu")
    rows = []
    for family in map(synth.canonical, args.families):
        real = pictured(path, family)
        made = _in_levels(synth.generate(family, max(20, len(real)), CELLS, seed=SEED))
        for source, maps in (("pictured", real), ("synthetic", made)):
            normal = ((maps - CENTRE) / SCALE).astype(np.float32)
            for psnr in (None, *args.psnr):
                goal = None if psnr is None else np.full(len(maps), psnr)
                found = fit.fit_latents(normal, codebook, cpu, args.effort, psnr=goal)
                _, latents, size = found.rounded(codebook)
                copy = sample(codebook, latents, make_grid((CELLS, CELLS)), cpu) * SCALE + CENTRE
                reached = metrics.psnr(maps, copy.astype(np.float32))
                rows.append(
                    [
                        family,
                        source,
                        len(maps),
                        "none" if psnr is None else f"{psnr:g}",
                        f"{size.mean():.1f}",
                        f"{reached.mean():.2f}",
                        f"{reached.min():.2f}",
                        f"{np.mean(reached >= (psnr or 0)):.2f}",
                    ]
                )
    head = ["family", "source", "maps", "asked, dB", "bytes a map", "PSNR, dB", "least PSNR, dB", "reached"]
    print(table(head, rows))
    print(
        f"\nvelcodec {velcodec.__version__}, codebook {codebook.id}, effort {args.effort}; latents' own bytes."
    )
    with (RESULTS / f"pictured-{velcodec.__version__}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([head, *rows])


if __name__ == "__main__":
    main()

"""The published SIREN auto-decoder, trained and measured: its Tables 6, 7 and 9 beside its figures.

    python benchmarks/paper.py train OUTPUT.safetensors --checkpoint C.pt [--width 512] [--side 70] [--steps 75000]
    python benchmarks/paper.py tables CODEBOOK.safetensors --checkpoint C.pt

Liu, Luo, Xiong, "High-fidelity compression of seismic velocity models via SIREN auto-decoders", arXiv 2603.14284,
2026: 1,000 maps of FlatVel, CurveVel, FlatFault, CurveFault and Style, 200 each, 800 for training and 200 for
validation. Here 160 and 40 of each of the A families: real maps from the training shards where they are at hand,
synthetic ones of seed 160000 otherwise. The tables are of these maps; none is of a dev shard.

`train` goes on from its checkpoint. The defaults are the paper's recipe (75,000 steps are its 3,000 epochs), but that
the learning rate falls by a cosine where the paper's falls at plateaus: an hour or so on a GPU, weeks on two cores.
What a smaller run leaves out stands in its codebook's card.

Latents of validation maps are fitted as the paper fits them, by Adam on the MSE from zero, on 20 x 20 of the samples a
step. All figures are of latents in float32, unrounded, as the paper's are.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, shard, table, use_cores
from numpy.typing import NDArray

use_cores()

import velcodec  # noqa: E402
from velcodec import codebook, decoders, metrics, release, synth, train, training_data  # noqa: E402
from velcodec.grid import centres  # noqa: E402

FAMILIES = ("FlatVel_A", "CurveVel_A", "FlatFault_A", "CurveFault_A", "Style_A")
TRAINING, VALIDATION = 160, 40  # maps of each family
SEED = 160_000
PUBLISHED = {  # PSNR in dB, SSIM, MSE of fields scaled to [0, 1]
    "FlatVel_A": (35.82, 0.978, 2.12e-4),
    "CurveVel_A": (33.45, 0.962, 3.45e-4),
    "FlatFault_A": (31.28, 0.948, 5.67e-4),
    "CurveFault_A": (30.56, 0.941, 6.89e-4),
    "Style_A": (31.24, 0.951, 5.02e-4),
    "all": (32.47, 0.956, 4.23e-4),
}
PUBLISHED_RESOLUTION = {70: (32.47, 0.956), 140: (31.82, 0.948), 280: (30.95, 0.937)}
FIT_STEPS, FIT_RATE, FIT_SIDE = 150, 1e-2, 20  # of latents of validation maps


def maps_of(family: str) -> NDArray[np.float32]:
    """The 200 maps of a family (200, 70, 70) m/s: 160 for training, then 40 for validation."""
    count = TRAINING + VALIDATION
    real = shard(family, "train")
    if real is None:
        return synth.generate(family, count, 70, seed=SEED)
    return real[:: len(real) // count][:count, 0]


def recipe(args: argparse.Namespace) -> training_data.Recipe:
    """The paper's recipe at the size asked for."""
    return training_data.Recipe(
        decoder="siren",
        options={"width": args.width, "depth": args.depth},
        steps=args.steps,
        batch=32,
        side=args.side,
        learning_rate=args.learning_rate,
        synthetic=0,
        seed=1,
    )


def run_training(args: argparse.Namespace) -> None:
    """Train, and write the codebook."""
    maps = {f: training_data.normalise(maps_of(f)) for f in FAMILIES}
    pool = training_data.Pool(tuple((f, v[:TRAINING]) for f, v in maps.items()))
    held_out = {f: v[TRAINING:] for f, v in maps.items()}
    size = recipe(args)
    nets = train.train(
        size,
        pool,
        held_out,
        args.checkpoint,
        train.Team(device=args.device),
        report=lambda row: print(row, flush=True),
        every=args.every,
    )
    epochs = size.steps * size.batch / (TRAINING * len(FAMILIES))
    release.release(
        nets,
        size,
        pool,
        {},  # a search from zero takes hundreds of steps: `tables` measures
        args.output,
        id="siren-openfwi-paper",
        training_data="800 maps: 160 each of FlatVel_A, CurveVel_A, FlatFault_A (OpenFWI), CurveFault_A and Style_A "
        "(synthetic)",
        licence="CC BY-NC-SA 4.0 (that of OpenFWI, on whose maps it was trained)",
        notes=f"The decoder of Liu, Luo, Xiong 2026 (arXiv 2603.14284), {args.width} units wide, {epochs:.0f} epochs "
        f"of {args.side} x {args.side} samples a map and step; the paper's is 512 wide, 3000 epochs of 70 x 70. "
        "Made by benchmarks/paper.py; its figures are in benchmarks/results/paper-table-*.csv.",
        device=args.device,
        overwrite=True,
        progress=lambda text: print(text, flush=True),
    )


def fitted(maps: torch.Tensor, decoder: torch.nn.Module) -> torch.Tensor:
    """Latents (n, 256) of maps (n, 70, 70), by Adam from zero."""
    axis = torch.from_numpy(centres(70)).float()
    generator = torch.Generator().manual_seed(1)
    z = torch.zeros(len(maps), 256, requires_grad=True)
    optimiser = torch.optim.Adam([z], lr=FIT_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, FIT_STEPS)
    for _ in range(FIT_STEPS):
        rows, columns = (torch.randperm(70, generator=generator)[:FIT_SIDE].sort()[0] for _ in range(2))
        restored = decoders.sample_grid(decoder, z, axis[rows], axis[columns])
        loss = ((restored - maps[:, rows][:, :, columns]) ** 2).mean((1, 2)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return z.detach()


def decoded(z: torch.Tensor, decoder: torch.nn.Module, side: int) -> NDArray[np.float32]:
    """Maps (n, side, side) in m/s of latents (n, 256)."""
    axis = torch.from_numpy(centres(side)).float()
    with torch.no_grad():
        parts = [decoders.sample_grid(decoder, some, axis, axis) for some in z.split(4)]
    return (torch.cat(parts).clamp(-1, 1).numpy() * training_data.SCALE + training_data.CENTRE).astype(
        np.float32
    )


def quality(maps: NDArray[np.float32], restored: NDArray[np.float32]) -> tuple[float, float, float]:
    """Mean PSNR in dB, SSIM, and MSE of fields scaled to [0, 1] by OpenFWI's range of 3000 m/s."""
    return (
        float(metrics.psnr(maps, restored).mean()),
        float(metrics.ssim(maps, restored).mean()),
        float(metrics.mse(maps, restored).mean()) / 3000**2,
    )


def tables_6_and_7(book: codebook.Codebook, own: torch.Tensor) -> list[list[object]]:
    """A row a family and part: figures, and those published."""
    rows: list[list[object]] = []
    parts: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {
        "trained on": [],
        "validation": [],
    }
    for i, family in enumerate(FAMILIES):
        maps = maps_of(family)
        latents = {
            "trained on": own[i * TRAINING : (i + 1) * TRAINING],
            "validation": fitted(training_data.normalise(maps[TRAINING:]), book.decoder),
        }
        for part, z in latents.items():
            some = maps[:TRAINING] if part == "trained on" else maps[TRAINING:]
            parts[part].append((some, decoded(z, book.decoder, 70)))
            rows.append(row(family, part, *parts[part][-1]))
            print(*rows[-1], flush=True)
    for part, pairs in parts.items():
        rows.append(row("all", part, *(np.concatenate(side) for side in zip(*pairs, strict=True))))
    return rows


def row(family: str, part: str, maps: NDArray[np.float32], restored: NDArray[np.float32]) -> list[object]:
    """A family's figures on a part of its maps, beside the published ones."""
    psnr, ssim, mse = quality(maps, restored)
    published = PUBLISHED[family]
    return [
        family, part, f"{psnr:.2f}", f"{ssim:.3f}", f"{mse:.2e}",
        f"{published[0]:.2f}", f"{published[1]:.3f}", f"{published[2]:.2e}",
    ]  # fmt: skip


def table_9(book: codebook.Codebook, count: int = 20) -> list[list[object]]:
    """PSNR and SSIM at 70, 140 and 280 against the exact truth, mean over synthetic maps of all five families."""
    latents = [
        fitted(training_data.normalise(synth.generate(f, count, 70, seed=SEED + 1)), book.decoder)
        for f in FAMILIES
    ]
    rows: list[list[object]] = []
    for side, published in PUBLISHED_RESOLUTION.items():
        truth = np.concatenate([synth.generate(f, count, side, seed=SEED + 1) for f in FAMILIES])
        psnr, ssim, _ = quality(truth, decoded(torch.cat(latents), book.decoder, side))
        rows.append([side, f"{psnr:.2f}", f"{ssim:.3f}", f"{published[0]:.2f}", f"{published[1]:.3f}"])
    return rows


def run_tables(args: argparse.Namespace) -> None:
    """Print the tables and keep them in results/."""
    book = codebook.load_codebook(args.codebook)
    own = torch.load(args.checkpoint, map_location="cpu", weights_only=True)["parts"]["latents"]["weight"]
    first = ["family", "maps", "PSNR dB", "SSIM", "MSE", "published PSNR", "SSIM", "MSE"]
    second = ["side", "PSNR dB", "SSIM", "published PSNR", "SSIM"]
    for name, head, rows in (
        ("6-7", first, tables_6_and_7(book, own)),
        ("9", second, table_9(book)),
    ):
        print(table(head, rows), flush=True)
        keep(RESULTS / f"paper-table-{name}-{velcodec.__version__}.csv", head, rows)


def keep(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table as CSV."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("output", type=Path)
    training.add_argument("--width", type=int, default=512)
    training.add_argument("--depth", type=int, default=4)
    training.add_argument("--side", type=int, default=70)
    training.add_argument("--steps", type=int, default=75_000)
    training.add_argument("--learning-rate", type=float, default=2e-4)
    training.add_argument("--every", type=int, default=5000, help="steps from one checkpoint to the next")
    training.add_argument("--device", default="cpu")
    training.set_defaults(run=run_training)
    tables = commands.add_parser("tables")
    tables.add_argument("codebook", type=str)
    tables.set_defaults(run=run_tables)
    for command in (training, tables):
        command.add_argument("--checkpoint", type=Path, required=True)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

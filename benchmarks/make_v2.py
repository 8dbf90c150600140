"""The codebook openfwi-2d-v2: openfwi-2d-v1 with the faulted decoder beside its other parts.

    python benchmarks/make_v2.py OUTPUT.safetensors

That codebook is of velcodec 0.7.0; later versions see and tell faults otherwise, and make another one of the same maps.

Nothing is trained: the tables of faulted maps are counts. Some ten minutes on two cores. The OpenFWI training shard of
FlatFault_A must be at hand (VELCODEC_DATA). The card's figures are of 64 held-out maps of each family.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from common import use_cores

use_cores()

from make_v1 import held_out, real_maps  # noqa: E402

from velcodec import __version__, choice_book, release, synth, training_data  # noqa: E402
from velcodec.codebook import Codebook, load_codebook, save  # noqa: E402

SEED = 5
MAPS = 200  # of each family
FAULTED = ("FlatFault_A", "FlatFault_B", "CurveFault_A", "CurveFault_B")
WITHOUT = (
    *range(5, 14),
)  # the network's table sets of CurveFault_A and of the B faults, which its new part draws
NOTES = (
    "openfwi-2d-v1 with the faulted decoder, made by benchmarks/make_v2.py: its tables are counts of {maps} maps of "
    "each of FlatFault_A (OpenFWI's training shard), FlatFault_B, CurveFault_A and CurveFault_B (synthetic, seed "
    "{seed}); the network's tables of the B faults are left out. Recipe and training of the rest "
    "are those of openfwi-2d-v1. The figures are of held-out maps, latents alone at the default effort: 64 real maps "
    "of the dev shards of FlatVel_A, CurveVel_A and FlatFault_A, 64 synthetic ones (seed 999999) of the others."
)


def faulted(count: int) -> np.ndarray:
    """Normalised training maps (n, 70, 70)."""
    real = real_maps("train")["FlatFault_A"][:count].reshape(-1, 70, 70)
    made = [synth.generate(family, count, 70, seed=SEED) for family in FAULTED[1:]]
    return np.concatenate([training_data.normalise(v).numpy() for v in (real, *made)])


def write(book: Codebook, maps: np.ndarray, output: Path, **card: object) -> None:
    """Write a codebook under a card of its own, with its drift over training maps and figures of held-out ones."""
    book.card.update(card, version=1, code_version=__version__)
    print("measuring the drift bound", flush=True)
    drift = release.measure_drift(book, maps[:: len(maps) // 64], 1)
    book.card["drift_bound"] = max(book.card["drift_bound"], drift)
    print("measuring held-out maps", flush=True)
    book.card["figures"] = {
        f: release.figures(book, v.numpy(), 3, torch.device("cpu")) for f, v in held_out().items()
    }
    book = Codebook(book.tensors, book.card)
    save(book, output, overwrite=True)
    for family, figures in book.card["figures"].items():
        print(family, figures)
    print(output, output.stat().st_size, "bytes", book.sha256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--maps", type=int, default=MAPS, help="of each family, for the tables")
    args = parser.parse_args()
    maps = faulted(args.maps)
    book = choice_book.with_faults(load_codebook("openfwi-2d-v1"), maps, WITHOUT, patches=0, slips=0)
    write(book, maps, args.output, id="openfwi-2d-v2", notes=NOTES.format(maps=args.maps, seed=SEED))


if __name__ == "__main__":
    main()

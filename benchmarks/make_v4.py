"""The codebook openfwi-2d-v4: openfwi-2d-v3 with patches over what layers and faults leave wrong.

    python benchmarks/make_v4.py OUTPUT.safetensors

Nothing is trained: the tables of faulted maps are counts, those of patches also on maps that are torn once or twice
more than synth.py does, as real maps of the B families are. Some ten minutes on two cores. The OpenFWI training shard
of FlatFault_A must be at hand (VELCODEC_DATA). The card's figures are of 64 held-out maps of each family.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import use_cores

use_cores()

from make_v2 import FAULTED as FAMILIES  # noqa: E402
from make_v2 import faulted, write  # noqa: E402

from velcodec import choice_book, synth, training_data  # noqa: E402
from velcodec.codebook import load_codebook  # noqa: E402
from velcodec.faults import cells_beyond  # noqa: E402

SEED = 6
FAULTED, TORN = 400, 150  # maps of each family
LAYERED = ("CurveVel_A", "CurveVel_B")
TEARS = (1, 2)  # of a torn map, at least and at most
ACROSS, DOWN = 12, 12  # cells that a part is moved, at most
NOTES = (
    "openfwi-2d-v3 with up to 24 patches over what layers and faults leave wrong, made by benchmarks/make_v4.py: the "
    "tables of faults are counts of {faulted} maps of each of FlatFault_A (OpenFWI's training shard), FlatFault_B, "
    "CurveFault_A and CurveFault_B (synthetic, seed 5) and of {torn} of each of CurveVel_A and CurveVel_B (synthetic, "
    "seed {seed}), torn, those of patches also of {torn} more of each of FlatFault_B, CurveFault_A and CurveFault_B "
    "(synthetic, seed {seed}), torn. Network, cosines and layers, their tables, recipe and training are those of "
    "openfwi-2d-v3. The figures are of held-out maps, latents alone at the default effort: 64 real maps of the dev "
    "shards of FlatVel_A, CurveVel_A and FlatFault_A, 64 synthetic ones (seed 999999) of the others."
)


def torn(v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A map (70, 70) with parts between two lines moved, what comes in from outside being like the border."""
    at = np.arange(70)
    for _ in range(rng.integers(TEARS[0], TEARS[1] + 1)):
        lines = [np.array([rng.uniform(-1.2, 1.2) + np.pi * side, rng.uniform(-20, 20)]) for side in (0, 1)]
        part = (cells_beyond(lines[0]) > 0) & (cells_beyond(lines[1]) > 0)
        across, down = rng.integers(-ACROSS, ACROSS + 1), rng.integers(-DOWN, DOWN + 1)
        moved = v[np.clip(at - down, 0, 69)][:, np.clip(at - across, 0, 69)]
        v = np.where(part, moved, v)
    return v


def torn_maps(count: int, families: Sequence[str]) -> np.ndarray:
    """Normalised training maps (n, 70, 70)."""
    rng = np.random.default_rng(SEED)
    made = np.concatenate([synth.generate(f, count, 70, seed=SEED) for f in families])
    return training_data.normalise(np.stack([torn(v, rng) for v in made])).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--faulted", type=int, default=FAULTED, help="maps of each faulted family")
    parser.add_argument("--torn", type=int, default=TORN, help="maps of each that are torn")
    args = parser.parse_args()
    book = choice_book.widened(load_codebook("openfwi-2d-v3"))
    print("counting faults and patches", flush=True)
    maps = np.concatenate([faulted(args.faulted), torn_maps(args.torn, LAYERED)])
    book = choice_book.with_faults(
        book, maps, book.faulted_tables, torn_maps(args.torn, FAMILIES[1:]), slips=0
    )
    notes = NOTES.format(faulted=args.faulted, torn=args.torn, seed=SEED)
    write(book, maps, args.output, id="openfwi-2d-v4", notes=notes)


if __name__ == "__main__":
    main()

"""The codebook openfwi-2d-v3: openfwi-2d-v2 with more cosines an interface, and finer tables of layers and faults.

    python benchmarks/make_v3.py OUTPUT.safetensors

That codebook is of velcodec 0.11.0; later versions have other kinds of faulted maps, and make another one.

Nothing is trained: the tables of layered and faulted maps are counts. Some eight minutes on two cores. The OpenFWI
training shards must be at hand (VELCODEC_DATA). The card's figures are of 64 held-out maps of each family.
"""

import argparse
from pathlib import Path

import numpy as np
from common import use_cores

use_cores()

from make_v1 import real_maps  # noqa: E402
from make_v2 import faulted, write  # noqa: E402

from velcodec import choice_book, synth, training_data  # noqa: E402
from velcodec.codebook import load_codebook  # noqa: E402

SEED = 5
LAYERED, FAULTED = 1500, 400  # maps of each family
NOTES = (
    "openfwi-2d-v2 with 40 cosines an interface (24) and finer steps, made by benchmarks/make_v3.py: the tables of "
    "layers are counts of {layered} maps of each of FlatVel_A and CurveVel_A (OpenFWI's training shards), FlatVel_B "
    "and CurveVel_B (synthetic, seed {seed}), those of faults of {faulted} maps of each of FlatFault_A (OpenFWI's "
    "training shard), FlatFault_B, CurveFault_A and CurveFault_B (synthetic, seed {seed}). Network and cosines, their "
    "tables, recipe and training are those of openfwi-2d-v2. The figures are of held-out maps, latents alone at the "
    "default effort: 64 real maps of the dev shards of FlatVel_A, CurveVel_A and FlatFault_A, 64 synthetic ones (seed "
    "999999) of the others."
)


def layered(count: int) -> np.ndarray:
    """Normalised training maps (n, 70, 70)."""
    real = real_maps("train")
    maps = [real[f][:count].reshape(-1, 70, 70) for f in ("FlatVel_A", "CurveVel_A")]
    maps += [synth.generate(f, count, 70, seed=SEED) for f in ("FlatVel_B", "CurveVel_B")]
    return np.concatenate([training_data.normalise(v).numpy() for v in maps])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--layered", type=int, default=LAYERED, help="maps of each layered family")
    parser.add_argument("--faulted", type=int, default=FAULTED, help="maps of each faulted family")
    args = parser.parse_args()
    book = load_codebook("openfwi-2d-v2")
    print("counting the layers of layered maps", flush=True)
    book = choice_book.with_layers(book, layered(args.layered), book.layered_tables)
    print("counting the faults of faulted maps", flush=True)
    maps = faulted(args.faulted)
    book = choice_book.with_faults(book, maps, book.faulted_tables, patches=0, slips=0)
    notes = NOTES.format(layered=args.layered, faulted=args.faulted, seed=SEED)
    write(book, maps, args.output, id="openfwi-2d-v3", notes=notes)


if __name__ == "__main__":
    main()

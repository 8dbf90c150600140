"""The codebook openfwi-2d-v5: openfwi-2d-v4 with slips, for maps of two stacks whose rock moved along faults.

    python benchmarks/make_v5.py OUTPUT.safetensors

Nothing is trained: the tables of faulted maps are counts, those of the B families on what synth.py has drawn of them
since 0.18.0. Some ten minutes on two cores. The OpenFWI training shard of FlatFault_A must be at hand (VELCODEC_DATA).
The card's figures are of 64 held-out maps of each family.

The released one was counted by the code of the commit that brought it, with one table set more, which was left out to
keep within 4 MB. The code of 0.18.0 makes the same tables but for some of their counts, and so another SHA-256.
"""

import argparse
from pathlib import Path

import numpy as np
from common import use_cores

use_cores()

from make_v2 import faulted, write  # noqa: E402
from make_v4 import LAYERED, SEED, torn_maps  # noqa: E402

from velcodec import choice_book  # noqa: E402
from velcodec.codebook import load_codebook  # noqa: E402

FAULTED, TORN = 400, 150  # maps of each family
NOTES = (
    "openfwi-2d-v4 with up to six slips of the stacks of B families, made by benchmarks/make_v5.py: the tables of "
    "faults are counts of {faulted} maps of each of FlatFault_A (OpenFWI's training shard), FlatFault_B, CurveFault_A "
    "and CurveFault_B (synthetic, seed 5) and of {torn} of each of CurveVel_A and CurveVel_B (synthetic, seed {seed}), "
    "torn, those of patches also of {torn} more of CurveFault_A (synthetic, seed {seed}), torn. Network, cosines and "
    "layers, their tables, recipe and training are those of openfwi-2d-v4. The figures are of held-out maps, latents "
    "alone at the default effort: 64 real maps of the dev shards of FlatVel_A, CurveVel_A and FlatFault_A, 64 "
    "synthetic ones (seed 999999) of the others."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--faulted", type=int, default=FAULTED, help="maps of each faulted family")
    parser.add_argument("--torn", type=int, default=TORN, help="maps of each that are torn")
    args = parser.parse_args()
    book = choice_book.widened(load_codebook("openfwi-2d-v4"))
    print("counting faults, slips and patches", flush=True)
    maps = np.concatenate([faulted(args.faulted), torn_maps(args.torn, LAYERED)])
    torn = torn_maps(args.torn, ("CurveFault_A",))
    book = choice_book.with_faults(book, maps, book.faulted_tables, torn)
    notes = NOTES.format(faulted=args.faulted, torn=args.torn, seed=SEED)
    write(book, maps, args.output, id="openfwi-2d-v5", notes=notes)


if __name__ == "__main__":
    main()

"""The typical layered maps that the third coder's models have seen, from synth.py: prints what they cost.

    python benchmarks/make_primer.py OUTPUT

The file in the package was made by this and is part of the format: another one would be another coder.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from velcodec import layer_models, layers, synth

SEED = 3  # neither of training nor of any benchmark
COUNTS = {"FlatVel_A": 400, "CurveVel_A": 120, "FlatFault_B": 30, "CurveFault_B": 30}


def strips(family: str) -> Iterator[NDArray[np.int64]]:
    """Depths of the left parts of the maps of a family that are layered there."""
    for i in itertools.count():
        m = synth.generate(family, 1, seed=SEED, first=i)[0]
        if layered := layers.analyse(m[:, : layer_models.PRIMER_WIDTH]):
            yield layered.depths


def main() -> None:
    maps = []
    for family, count in COUNTS.items():
        drawn = strips(family)
        maps += [next(drawn) for _ in range(count)]
    order = np.random.default_rng(SEED).permutation(len(maps))
    data = layer_models.write_primer([maps[i] for i in order])
    Path(sys.argv[1]).write_bytes(data)
    print(f"{len(maps)} maps, {len(data)} bytes")


if __name__ == "__main__":
    main()

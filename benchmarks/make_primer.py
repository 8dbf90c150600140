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

from velcodec import adaptive, layer_models, layers, synth

SEED = 3  # neither of training nor of any benchmark
COUNTS = {"FlatVel_A": 400, "CurveVel_A": 120, "FlatFault_B": 30, "CurveFault_B": 30}


def strips(family: str) -> Iterator[NDArray[np.int64]]:
    """Depths of the left parts of the maps of a family that are layered there."""
    for i in itertools.count():
        m = synth.generate(family, 1, seed=SEED, first=i)[0]
        if layered := layers.analyse(m[:, : layer_models.PRIMER_WIDTH]):
            yield layered.depths


def written(maps: list[NDArray[np.int64]]) -> bytes:
    """Depths (L - 1, PRIMER_WIDTH) of each map as layer_models.py reads them."""
    model = layer_models.fresh(2)

    def code(io: NDArray[np.int64], buffer: NDArray[np.uint8]) -> None:
        for depths in maps:
            layer_models.code_head(io, buffer, model, layer_models.SPEED, len(depths) + 1, 1)
            height = layer_models.PRIMER_HEIGHT
            layer_models.code_depths(io, buffer, model, layer_models.SPEED, depths.copy(), height, 3)

    return adaptive.write(code, 1 << 16)


def main() -> None:
    maps = []
    for family, count in COUNTS.items():
        drawn = strips(family)
        maps += [next(drawn) for _ in range(count)]
    order = np.random.default_rng(SEED).permutation(len(maps))
    data = written([maps[i] for i in order])
    Path(sys.argv[1]).write_bytes(data)
    print(f"{len(maps)} maps, {len(data)} bytes")


if __name__ == "__main__":
    main()

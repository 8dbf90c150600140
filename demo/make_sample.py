"""Make the sample shard of the demo, sample.npz: four synthetic maps of each family, (40, 1, 70, 70) float32, m/s.

python demo/make_sample.py            write demo/sample.npz
python demo/make_sample.py --check    say whether the file there is still what synth.py makes, bit for bit
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from velcodec import synth

SAMPLE = Path(__file__).with_name("sample.npz")
PER_FAMILY = 4
SEED = 2026


def sample(size: int = 70) -> NDArray[np.float32]:
    """The sample's geology on a grid of size x size: (40, 1, size, size) float32, m/s."""
    maps = [synth.generate(family, PER_FAMILY, size, seed=SEED) for family in synth.FAMILIES]
    return np.concatenate(maps)[:, None]


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        with np.load(SAMPLE) as there:
            same = np.array_equal(there["v"].view(np.uint32), sample().view(np.uint32))
        print(f"{SAMPLE.name}: {'as synth.py makes it' if same else 'differs from what synth.py makes'}")
        return 0 if same else 1
    np.savez_compressed(SAMPLE, v=sample())
    print(f"{SAMPLE.name}: {SAMPLE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

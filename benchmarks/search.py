"""What each effort of the search buys: dB and bytes of rounded latents, and processor time a map.

    python benchmarks/search.py [--families CurveVel_A FlatFault_A Style_A] [--maps 32] [--efforts 0 1 2 3 4 5 6]
                                [--learning-rate 0.04]

Bytes are what the range coder takes, without a file's frame; the time is that of all cores together, of the search
alone. On one machine and in one run, times compare; they do not from machine to machine.
"""

import argparse
import time

import numpy as np
from common import maps_of, table, use_cores

use_cores()

import torch  # noqa: E402

import velcodec  # noqa: E402
from velcodec import fit, metrics, synth  # noqa: E402
from velcodec.grid import make_grid  # noqa: E402
from velcodec.synthesis import sample  # noqa: E402
from velcodec.training_data import CENTRE, SCALE  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", default=["CurveVel_A", "FlatFault_A", "Style_A"])
    parser.add_argument("--maps", type=int, default=32)
    parser.add_argument("--efforts", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5, 6])
    parser.add_argument("--learning-rate", type=float, default=fit.LEARNING_RATE)
    options = parser.parse_args()
    fit.LEARNING_RATE = options.learning_rate
    codebook, cpu = velcodec.load_codebook(), torch.device("cpu")
    lines = []
    for family in map(synth.canonical, options.families):
        maps, source = maps_of(family, options.maps)
        maps = np.asarray(maps).reshape(-1, *np.shape(maps)[-2:])
        normal = ((maps - CENTRE) / SCALE).astype(np.float32)
        fit.fit_latents(normal[:1], codebook, cpu, 1)  # load what is loaded once
        for effort in options.efforts:
            start = time.process_time()
            found = fit.fit_latents(normal, codebook, cpu, effort)
            seconds = (time.process_time() - start) / len(maps)
            _, latents, size = found.rounded(codebook)
            restored = sample(codebook, latents, make_grid(maps.shape[1:]), cpu) * SCALE + CENTRE
            psnr = float(metrics.psnr(maps, restored.astype(np.float32)).mean())
            lines.append(
                [f"{family} ({source})", effort, f"{size.mean():.1f}", f"{psnr:.2f}", f"{1e3 * seconds:.0f}"]
            )
    print(table(["maps", "effort", "bytes a map", "PSNR, dB", "ms a map"], lines))
    print(f"\nvelcodec {velcodec.__version__}, codebook {codebook.id}, {len(maps)} maps of each.")


if __name__ == "__main__":
    main()

"""A coarser latent, a better one, or none, under an error bound: bytes of latent and residual by the weight of bits.

    python benchmarks/latent_rate.py [--family Style_A] [--maps 24]

The search weighs a latent's bits at the codebook's rate. Here that rate is multiplied: a coarser latent takes fewer
bytes and leaves more to the residual. Bytes are what the range coder takes, without a file's frame.
"""

import argparse

import numpy as np
from common import maps_of, table, use_cores

use_cores()

import torch  # noqa: E402

import velcodec  # noqa: E402
from velcodec import fit, pixels, residual  # noqa: E402
from velcodec.grid import make_grid  # noqa: E402
from velcodec.pixels import Integers  # noqa: E402
from velcodec.synthesis import sample  # noqa: E402
from velcodec.training_data import CENTRE, SCALE  # noqa: E402

BOUNDS = [10.0, 25.0, 50.0, 100.0]
RATES = [0.25, 1.0, 4.0, 16.0]


def residual_bytes(off: np.ndarray, bound: float) -> float:
    """Bytes a map of what is left (n, h, w), m/s, in steps of twice the bound."""
    steps = [np.rint(o / (2 * bound)).astype(np.int64) for o in off]
    return float(pixels.encode([Integers(q, residual.CODE_ZERO) for q in steps], "smooth", 0)[1].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="Style_A")
    parser.add_argument("--maps", type=int, default=24)
    parser.add_argument("--effort", type=int, default=3)
    options = parser.parse_args()
    maps, source = maps_of(options.family, options.maps)
    maps = np.asarray(maps, np.float64).reshape(-1, *np.shape(maps)[-2:])
    codebook, cpu = velcodec.load_codebook(), torch.device("cpu")
    own = codebook.rate
    lines: list[list[object]] = []
    for factor in RATES:
        codebook.rate = own * factor
        found = fit.fit_latents(((maps - CENTRE) / SCALE).astype(np.float32), codebook, cpu, options.effort)
        _, latents, sizes = found.rounded(codebook)
        size = float(sizes.mean())
        off = maps - (sample(codebook, latents, make_grid(maps.shape[1:]), cpu) * SCALE + CENTRE)
        span = maps.max((1, 2)) - maps.min((1, 2))
        psnr = float((10 * np.log10(span**2 / (off**2).mean((1, 2)))).mean())
        totals = [f"{size + residual_bytes(off, bound):.1f}" for bound in BOUNDS]
        lines.append([f"rate x {factor:g}", f"{size:.1f}", f"{psnr:.2f}", *totals])
    lines.append(["no latent", "0", "-", *(f"{residual_bytes(maps, bound):.1f}" for bound in BOUNDS)])
    heads = ["bytes a map", "latent", "its PSNR, dB", *(f"{bound:g} m/s" for bound in BOUNDS)]
    print(f"{options.family} ({source}), {len(maps)} maps, effort {options.effort}, codebook {codebook.id}\n")
    print(table(heads, lines))


if __name__ == "__main__":
    main()

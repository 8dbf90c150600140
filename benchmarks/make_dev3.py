"""openfwi-2d-dev-2 -> openfwi-2d-dev-3: tables for wider steps, cosines for smooth maps, figures. A quarter of an hour.

    python benchmarks/make_dev3.py OUTPUT.safetensors

Nothing is trained. Figures are of 64 held-out maps of each family: real dev shards where they are at hand, synthetic
maps of seed 999999 otherwise; the drift bound is measured on training maps.
"""

import argparse
from pathlib import Path

import torch
from common import shard, use_cores

use_cores()

from velcodec import __version__, codebook, release, smoothness, synth, train  # noqa: E402

KEEP, WIDEN = (0, 1, 2, 3, 4, 5, 8), (2, 3, 4, 5)  # table sets of dev-2: without Style; without FlatVel
TRAINING, HELD_OUT = 2, 999_999  # seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    smooth = [
        train.normalise(synth.generate(f, smoothness.MAPS, 70, seed=TRAINING)) for f in ("Style_A", "Style_B")
    ]
    book = smoothness.with_wider_steps(codebook.load_codebook("openfwi-2d-dev-2"), KEEP, WIDEN, release.TIMES)
    book = smoothness.with_cosines(book, [maps.numpy() for maps in smooth])
    pool = train.Pool(
        tuple((f, train.normalise(synth.generate(f, 8, 70, seed=TRAINING))) for f in synth.FAMILIES)
    )
    card = book.card
    card["id"], card["code_version"] = "openfwi-2d-dev-3", __version__
    card["notes"] = (
        "A development codebook: the networks of openfwi-2d-dev-2, less the latent numbers that carry next to nothing, "
        "with tables for steps of up to eight times the usual one, and cosines for smooth maps; made by "
        "benchmarks/make_dev3.py in a few minutes. The recipe is that of openfwi-2d-dev-2. " + card["notes"]
    )
    card["drift_bound"] = release.measure_drift(book, pool)
    book = codebook.Codebook(book.tensors, card)
    card["figures"] = {}
    for family in synth.FAMILIES:
        real = shard(family, "dev")
        maps = synth.generate(family, 64, 70, seed=HELD_OUT) if real is None else real[:64]
        card["figures"][family] = release.figures(book, train.normalise(maps).numpy(), 3, torch.device("cpu"))
        print(family, card["figures"][family], flush=True)
    codebook.save(codebook.Codebook(book.tensors, card), output)
    print(output, output.stat().st_size, "bytes", book.sha256)


if __name__ == "__main__":
    main()

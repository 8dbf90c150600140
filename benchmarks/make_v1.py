"""The codebook openfwi-2d-v1: the networks of openfwi-2d-dev-2 trained on, then released with cosines and layers.

    python benchmarks/make_v1.py train CHECKPOINT.pt
    python benchmarks/make_v1.py release CHECKPOINT.pt OUTPUT.safetensors

`train` is two runs, the second from where the first ended, its schedule anew: 8,000 steps with Style maps in the batch,
10,500 without, 64 maps a step; 165 minutes on one core. It goes on from its checkpoints, CHECKPOINT.first.pt and
CHECKPOINT.pt. `release` makes tables, cosines and layers, and measures; some twenty minutes on two cores.

The OpenFWI training shards must be at hand (VELCODEC_DATA). The card's figures are of 64 held-out maps of each family.
"""

import argparse
from pathlib import Path

import torch
from common import Maps, shard, use_cores

use_cores()

from velcodec import decoders, objectives, release, synth, train, training_data  # noqa: E402
from velcodec.amortised import AmortisedEncoder  # noqa: E402

REAL = ("FlatVel_A", "CurveVel_A", "FlatFault_A")
HELD_OUT = 999_999  # seed
FIRST = training_data.Recipe(
    steps=9000,
    learning_rate=2e-4,
    muon_rate=6e-4,
    start="openfwi-2d-dev-2",
    seed=2,
    weights={
        "FlatVel_A": 0.06, "FlatVel_B": 0.03, "CurveVel_A": 0.15, "CurveVel_B": 0.06, "FlatFault_A": 0.17,
        "FlatFault_B": 0.05, "CurveFault_A": 0.17, "CurveFault_B": 0.07, "Style_A": 0.12, "Style_B": 0.12,
    },
)  # fmt: skip
FIRST_STEPS = 8000  # of the 9000 that its schedule is laid for
SECOND = training_data.Recipe(
    steps=10_500,
    learning_rate=2.5e-4,
    muon_rate=8e-4,
    start="openfwi-2d-dev-2",
    seed=3,
    weights={
        "FlatVel_A": 0.05, "FlatVel_B": 0.03, "CurveVel_A": 0.2, "CurveVel_B": 0.08, "FlatFault_A": 0.22,
        "FlatFault_B": 0.1, "CurveFault_A": 0.22, "CurveFault_B": 0.1,
    },
)  # fmt: skip
RELEASE = training_data.Recipe(steps=0, start="openfwi-2d-dev-2", seed=1)  # whose maps make the tables
NOTES = (
    "The networks of openfwi-2d-dev-2 trained on for 18,500 steps of 64 maps, 165 minutes of one shared CPU "
    "core, by benchmarks/make_v1.py, which states both runs; the recipe beside is that of the maps whose latents, "
    "cosines and layers make the tables. Flat and folded layers are told by their interfaces, smooth maps by up to "
    "639 cosines, and the network is for faults and the rest. The figures are of held-out maps, latents alone at the "
    "default effort: 64 real maps of the dev shards of FlatVel_A, CurveVel_A and FlatFault_A, 64 synthetic ones "
    "(seed 999999) of the others."
)


def real_maps(part: str) -> dict[str, Maps]:
    """The real maps of a part by family. Raises SystemExit where they are not at hand."""
    found = {family: maps for family in REAL if (maps := shard(family, part)) is not None}
    if len(found) < len(REAL):
        raise SystemExit("the OpenFWI shards are not at hand; set VELCODEC_DATA")
    return found


def held_out() -> dict[str, torch.Tensor]:
    """64 normalised maps of each family that no training sees."""
    real = real_maps("dev")
    return {
        f: training_data.normalise(real[f][:64] if f in real else synth.generate(f, 64, 70, seed=HELD_OUT))
        for f in synth.FAMILIES
    }


class Enough(Exception):  # noqa: N818
    """The first run has reached its last step."""


def run_training(args: argparse.Namespace) -> None:
    """Both runs."""
    first = args.checkpoint.with_suffix(".first.pt")
    maps, real = held_out(), real_maps("train")

    def report(row: dict[str, object]) -> None:
        print(row, flush=True)
        if row["step"] == FIRST_STEPS:
            raise Enough

    if not args.checkpoint.exists():
        try:
            train.train(FIRST, training_data.build_pool(FIRST, real, print), maps, first, report=report)
        except Enough:
            state = torch.load(first, map_location="cpu", weights_only=True)
            state["step"] = 0
            for optimiser, peak in zip(
                state["optimisers"], (SECOND.muon_rate, SECOND.learning_rate), strict=True
            ):
                for group in optimiser["param_groups"]:
                    group["peak"] = group["lr"] = peak
            torch.save(state, args.checkpoint)
    train.train(SECOND, training_data.build_pool(SECOND, real, print), maps, args.checkpoint, report=print)


def run_release(args: argparse.Namespace) -> None:
    """The codebook of a checkpoint."""
    nets = objectives.Networks(
        decoders.build("warp", {}), AmortisedEncoder(), objectives.RateModel(len(synth.FAMILIES))
    )
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    for name, part in nets.parts().items():
        part.load_state_dict(state["parts"][name])
    book = release.release(
        nets,
        RELEASE,
        training_data.build_pool(RELEASE, real_maps("train"), print),
        held_out(),
        args.output,
        id="openfwi-2d-v1",
        training_data="OpenFWI FlatVel_A (5000 maps), CurveVel_A (5000), FlatFault_A (400), by way of public shards; "
        "and 4000 synthetic maps of each of the ten families made by velcodec's synth.py (seeds 2 to 4)",
        licence="CC BY-NC-SA 4.0 (that of OpenFWI, on whose maps it was trained)",
        notes=NOTES,
        overwrite=True,
        progress=lambda text: print(text, flush=True),
    )
    for family, figures in book.card["figures"].items():
        print(family, figures)
    print(args.output, args.output.stat().st_size, "bytes", book.sha256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, run in (("train", run_training), ("release", run_release)):
        command = commands.add_parser(name)
        command.add_argument("checkpoint", type=Path)
        if name == "release":
            command.add_argument("output", type=Path)
        command.set_defaults(run=run)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

"""velcodec train: maps to a codebook."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .common import INTERRUPTED, Stop, device_option, one_line, overwrite_option, progress, stop

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD_OUT = 64  # synthetic maps measured of each family where no real ones are given
HELD_OUT_SEED = 999_999  # a seed that no training pool has


class FamilyPath(click.ParamType):  # type: ignore[type-arg]
    """FAMILY=PATH."""

    name = "FAMILY=PATH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        family, found, path = value.partition("=")
        if not found or not family or not path:
            self.fail(f"{value!r} is not like CurveVel_A=maps.npy", param, ctx)
        return family, path


@click.command("train", no_args_is_help=False)
@click.argument("output", metavar="OUTPUT.safetensors")
@click.option("--data", type=FamilyPath(), multiple=True, help="Real maps to train on; may be given often.")
@click.option("--dev", type=FamilyPath(), multiple=True, help="Real maps to measure on, never trained on.")
@click.option(
    "--synthetic",
    type=click.IntRange(0),
    default=4000,
    show_default=True,
    metavar="N",
    help="Synthetic maps of every family.",
)
@click.option(
    "--decoder",
    type=click.Choice(["warp", "siren"]),
    default="warp",
    show_default=True,
    help="warp is velcodec's fast one, siren the published auto-decoder.",
)
@click.option(
    "--start",
    default="",
    metavar="ID|PATH",
    help="Fine-tune this codebook's networks instead of training new ones.",
)
@click.option(
    "--steps",
    type=click.IntRange(0),
    default=40_000,
    show_default=True,
    help="Training steps. 0, with --start: its networks as they are, and tables counted anew.",
)
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Maps in a step.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, maps and batches."
)
@click.option(
    "--recipe",
    "recipe_file",
    metavar="FILE.json",
    help="Take what a run depends on from a file, as codebooks' cards have it; options given here win.",
)
@device_option()
@click.option(
    "--checkpoint",
    metavar="PATH",
    help="Written as training runs, and resumed from.  [default: OUTPUT's name, .pt]",
)
@click.option(
    "--every",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Steps from checkpoint to checkpoint.",
)
@click.option(
    "--id", "id_", metavar="ID", help="The codebook's id.  [default: OUTPUT's name without its ending]"
)
@click.option(
    "--licence", default="not stated", show_default=True, help="Of the training data, for the card."
)
@overwrite_option()
def command(
    output: str,
    data: tuple[tuple[str, str], ...],
    dev: tuple[tuple[str, str], ...],
    checkpoint: str | None,
    every: int,
    device: str,
    id_: str | None,
    licence: str,
    overwrite: bool,
    recipe_file: str | None,
    **recipe: Any,
) -> None:
    """Train a codebook.

    Maps are 70 x 70 in m/s, as .npy, .npz or .h5. A checkpoint is written every --every steps, with the PSNR of
    each family's held-out maps; the same command goes on from it. Training takes hours on a CPU.

    \b
    velcodec train mine.safetensors --data CurveVel_A=curves.npy --dev CurveVel_A=others.npy
    velcodec train synthetic.safetensors --steps 20000 --device cuda      # synthetic maps alone
    velcodec train paper.safetensors --decoder siren --data FlatVel_A=flat.npy --synthetic 0
    velcodec train again.safetensors --recipe recipe.json --data CurveVel_A=curves.npy
    torchrun --nproc-per-node 4 --no-python velcodec train big.safetensors --batch 256   # on four GPUs
    """
    target = Path(output)
    _check_target(target, overwrite)
    real, held = _load(data), _load(dev)
    from velcodec import release, train, training_data
    from velcodec.parallel import team

    plan = _recipe(recipe_file, recipe)
    with team(device) as processes:
        if processes.leads:
            _say_what_counts_only(plan, real)
        pool = training_data.build_pool(plan, real, _say if processes.leads else _nothing)
        held_out = _held_out(plan, pool, held)
        resume = Path(checkpoint) if checkpoint else target.with_suffix(".pt")
        with progress(plan.steps, "train", "step", keep=True) if processes.leads else nullcontext() as bar:
            tick = bar.update if bar else _nothing
            try:
                networks = train.train(plan, pool, held_out, resume, processes, _reporter(bar), every, tick)
            except KeyboardInterrupt:
                raise Stop(f"interrupted; the same command goes on from {resume}", INTERRUPTED) from None
    if not processes.leads:
        return
    release.release(
        networks,
        plan,
        pool,
        held_out,
        target,
        id=id_ or target.stem,
        training_data=_describe(real, plan.synthetic),
        licence=licence,
        device=processes.device,
        overwrite=overwrite,
        progress=_say,
    )
    click.echo(f"{output}: codebook {id_ or target.stem}; keep it with 'velcodec codebook import {output}'")


def _say_what_counts_only(plan: Any, real: dict[str, NDArray[Any]]) -> None:
    """Maps that a user names and the network does not learn from: better said before hours of training."""
    idle = sorted(family for family in real if not plan.weights.get(family, 0))
    if idle and plan.steps and plan.decoder != "siren":
        _say(
            f"{', '.join(idle)}: of weight 0, so they fill tables and teach the network nothing; see --recipe"
        )


def _recipe(path: str | None, options: dict[str, Any]) -> Any:
    """The recipe of a file, with the options given on the command line in place of its fields; else all options."""
    from dataclasses import fields

    from velcodec import training_data

    if path is None:
        return training_data.Recipe(**options)
    try:
        read = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        stop(f"{path}: {one_line(error)}; give a JSON file with the fields of a recipe")
    usual = {
        field.name: getattr(training_data.Recipe(), field.name) for field in fields(training_data.Recipe)
    }
    if not isinstance(read, dict) or not set(read) <= set(usual):
        stop(f"{path}: not a recipe, whose fields are {', '.join(sorted(usual))}")
    for name, value in read.items():
        kinds = (int, float) if isinstance(usual[name], float) else type(usual[name])
        if not isinstance(value, kinds) or isinstance(value, bool):
            stop(f"{path}: {name} is like {json.dumps(usual[name])}, not {json.dumps(value)}")
    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if source(name) != ParameterSource.DEFAULT}
    return training_data.Recipe(**{**read, **given})


def _check_target(target: Path, overwrite: bool) -> None:
    """Hours of training must not end at a file that cannot be written."""
    if target.suffix != ".safetensors":
        stop(f"{target}: a codebook's name ends in .safetensors; choose such a name")
    if target.is_dir() or not target.parent.is_dir():
        stop(f"{target}: not a file in a directory that exists; make the directory first")
    if target.exists() and not overwrite:
        stop(f"{target} exists; choose another name or give --overwrite")


def _load(named: tuple[tuple[str, str], ...]) -> dict[str, NDArray[Any]]:
    """Maps (n, H, W) by family; several files of one family are joined."""
    import numpy as np

    from velcodec.sources import layout, open_source
    from velcodec.synth import canonical

    parts: dict[str, list[NDArray[Any]]] = {}
    for family, path in named:
        maps = open_source(path)
        parts.setdefault(canonical(family), []).append(
            np.asarray(maps[...]).reshape(layout(tuple(maps.shape)))
        )
    return {family: np.concatenate(arrays) for family, arrays in parts.items()}


def _held_out(plan: Any, pool: Any, real: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Normalised maps to measure on by family: real ones where given, else synthetic ones of another seed."""
    from velcodec import synth, training_data

    families = dict.fromkeys([*(family for family, _ in pool.sources), *real])
    count = min(HELD_OUT, plan.synthetic) or HELD_OUT  # a small trial is measured on few maps too
    made = {
        family: real[family] if family in real else synth.generate(family, count, 70, seed=HELD_OUT_SEED)
        for family in families
    }
    return {family: training_data.normalise(maps) for family, maps in made.items()}


def _describe(real: dict[str, NDArray[Any]], synthetic: int) -> str:
    """What the codebook was trained on, for its card."""
    parts = [f"{len(maps)} maps of {family}" for family, maps in real.items()]
    if synthetic:
        parts.append(f"{synthetic} synthetic maps of each family, made by velcodec's synth.py")
    return ", ".join(parts)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _nothing(*said: object) -> None:
    """What a process that does not lead says."""


def _reporter(bar: Any) -> Any:
    def report(row: dict[str, Any]) -> None:
        bar.n = max(bar.n, int(row["step"]))  # a run that resumes starts further on
        figures = [f"{name} {v[0]:.2f} dB {v[1]:.0f} B" for name, v in row.items() if isinstance(v, tuple)]
        bar.write(f"step {row['step']}, loss {row['loss']:.4f}: " + ", ".join(figures))
        sys.stdout.flush()  # a log that is redirected can be followed

    return report

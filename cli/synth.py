"""velcodec synth: synthetic velocity models in the manner of OpenFWI's families."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from .common import Grid, overwrite_option, plural, progress, res_option

AT_ONCE = 64
SAMPLES_AT_ONCE = 1 << 22


@click.command("synth", no_args_is_help=False)
@click.argument("family", metavar="FAMILY")
@click.argument("count", metavar="COUNT", type=click.IntRange(1))
@click.argument("output", metavar="OUTPUT.npy")
@res_option("Samples over the map.", default="70")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other maps."
)
@overwrite_option()
def command(family: str, count: int, output: str, res: Grid, seed: int, overwrite: bool) -> None:
    """Make synthetic velocity models.

    FAMILY is one of OpenFWI's, in any case: FlatVel_A, CurveVel_A, FlatFault_A, CurveFault_A, Style_A, and the
    same with _B. The array is (COUNT, 1, H, W) float32 in m/s. The same seed gives the same geology at every
    --res, exactly sampled.

    \b
    velcodec synth CurveVel_A 500 models.npy
    velcodec synth curvevel_a 500 fine.npy --res 280        # the same maps on a finer grid
    velcodec synth Style_B 100 other.h5 --seed 7
    """
    from velcodec.sources import check_output, write_array
    from velcodec.synth import canonical

    name = canonical(family)
    check_output(output, overwrite)
    with progress(count, name) as bar:
        write_array(output, _made(name, count, res, seed, bar), (count, 1, *res), "<f4", overwrite)
    click.echo(f"{output}: {plural(count, 'map')} of {name}, {res[0]} x {res[1]}, seed {seed}")


def _made(family: str, count: int, res: Grid, seed: int, bar: Any) -> Iterator[Any]:
    from velcodec.synth import generate

    size = max(1, min(AT_ONCE, SAMPLES_AT_ONCE // (res[0] * res[1])))
    for first in range(0, count, size):
        block = generate(family, min(size, count - first), res, seed=seed, first=first)
        yield block
        bar.update(len(block))

"""velcodec interpolate: the maps between two maps, through their latents."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Grid, device_option, overwrite_option, plural, res_option
from .picture import ENDINGS, check_picture, colour_bar, drawing, map_extent, panel, save, value_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from velcodec import Archive

WIDE = 1.7  # inches of a panel
ACROSS = 8  # panels in a row


class PlaceType(click.ParamType):  # type: ignore[type-arg]
    """A map of a file, as in models.vlz:3."""

    name = "FILE:MAP"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        file, colon, number = str(value).rpartition(":")
        try:
            return (file, int(number)) if colon and file else self.fail(self._said(value), param, ctx)
        except ValueError:
            self.fail(self._said(value), param, ctx)

    @staticmethod
    def _said(value: Any) -> str:
        return f"{value!r} is not a file and the number of a map in it, as in models.vlz:3"


@click.command("interpolate", no_args_is_help=False)
@click.argument("first", metavar="A.vlz:I", type=PlaceType())
@click.argument("second", metavar="B.vlz:J", type=PlaceType())
@click.option(
    "--steps", type=click.IntRange(2, 1000), default=7, show_default=True, help="Maps, both ends among them."
)
@click.option(
    "-o",
    "--output",
    metavar="OUTPUT",
    help="A picture (.png, .pdf ...), replaced if there, or an array (.npy, .npz, .h5) of the maps.",
)
@res_option("Samples over the map; by default the native grid.")
@device_option()
@overwrite_option()
def command(
    first: tuple[str, int],
    second: tuple[str, int],
    steps: int,
    output: str | None,
    res: Grid | None,
    device: str,
    overwrite: bool,
) -> None:
    """Draw the maps between two maps.

    Their latents are interpolated linearly and decoded, as z = (1 - a) z_A + a z_B. Both maps must have latents of
    one codebook: compress them with --latent-only. MSE is that of fields scaled to [0, 1] over the range of both
    ends, to each end as it is restored.

    \b
    velcodec compress models.npy latents.vlz --latent-only
    velcodec interpolate latents.vlz:0 latents.vlz:1 -o between.png
    velcodec interpolate latents.vlz:0 other.vlz:9 --steps 33 --res 280 -o between.npy
    """
    picture = output is not None and Path(output).suffix.lower() in ENDINGS
    if output is not None and picture:
        check_picture(Path(output))
    elif output is not None:
        from velcodec.sources import check_output

        check_output(output, overwrite)
    import velcodec

    with ExitStack() as files:
        a = files.enter_context(velcodec.open(first[0], device=device))
        b = a if first[0] == second[0] else files.enter_context(velcodec.open(second[0], device=device))
        weights, maps = velcodec.interpolate(a, first[1], b, second[1], steps, res, device)
        click.echo(_table(weights, maps))
        if output is not None and picture:
            save(_drawn(a, weights, maps), Path(output))
        elif output is not None:
            from velcodec.sources import write_array

            write_array(output, iter([maps]), maps.shape, maps.dtype, overwrite)
    if output is not None:
        click.echo(f"{output}: {plural(len(maps), 'map')}")


def _table(weights: NDArray[Any], maps: NDArray[Any]) -> str:
    """A line a map: its weight and its mean square distance from both ends."""
    import numpy as np

    low, high = value_range(maps[[0, -1]])
    fields = (maps.astype(np.float64) - low) / (high - low)
    lines = [f"{'a':>5}  {'MSE to A':>9}  {'MSE to B':>9}"]
    for weight, field in zip(weights, fields, strict=True):
        to_a, to_b = (float(((field - end) ** 2).mean()) for end in (fields[0], fields[-1]))
        lines.append(f"{weight:5.2f}  {to_a:9.2e}  {to_b:9.2e}")
    return "\n".join(lines)


def _drawn(archive: Archive, weights: NDArray[Any], maps: NDArray[Any]) -> Any:
    from matplotlib import pyplot

    extent, length = map_extent(archive.map_shape, archive.header.spacing)
    columns = min(ACROSS, len(maps))
    rows = -(-len(maps) // columns)
    with drawing():
        figure, axes = pyplot.subplots(
            rows,
            columns,
            figsize=(WIDE * columns + 0.9, (WIDE + 0.3) * rows + 0.4),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        low, high = value_range(maps)
        for axis, weight, field in zip(axes.flat, weights, maps, strict=False):
            image = panel(axis, field, extent, "viridis", low, high)
            axis.set_title(f"a = {weight:.2f}")
        for axis in axes.flat[len(maps) :]:
            axis.set_axis_off()
        for axis in axes[:, 0]:
            axis.set_ylabel(f"depth ({length})")
        for axis in axes[-1]:
            axis.set_xlabel(f"x ({length})")
        colour_bar(figure, image, axes.flat[len(maps) - 1], archive.header.units)
    return figure

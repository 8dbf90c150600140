"""velcodec plot: maps of a .vlz file as a picture, beside their originals and errors."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Grid, Maps, device_option, maps_option, pick, plural, res_option, stop
from .originals import open_original, read_maps
from .picture import (
    Extent,
    check_picture,
    colour_bar,
    drawing,
    error_panel,
    error_title,
    map_extent,
    panel,
    quality_title,
    save,
    value_range,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from velcodec import Archive

FIRST = 4  # maps drawn unless told which
MOST = 40  # maps in one picture
ACROSS = 4  # restored maps side by side where there is no original
PANEL = 2.9  # inches: the wider side of a map


@dataclass(frozen=True)
class Shown:
    """What is drawn: maps restored on the grid asked for, and native ones to compare."""

    numbers: Sequence[int]
    restored: NDArray[Any]  # (n, H', W')
    original: NDArray[Any] | None  # (n, H, W)
    native: NDArray[Any]  # (n, H, W) restored
    extent: Extent
    length: str  # unit of the axes
    units: str


@click.command("plot", no_args_is_help=False)
@click.argument("file", metavar="FILE")
@click.option(
    "-o", "--output", required=True, metavar="PICTURE.png", help="Written by its ending, replaced if there."
)
@maps_option(f"Which maps, as a Python slice or one index; by default the first {FIRST}.")
@res_option("Samples of the restored maps; by default the native grid.")
@click.option(
    "--against", metavar="ORIGINAL", help="Draw the originals and the errors too: .npy, .npz or .h5."
)
@device_option()
def command(
    file: str, output: str, maps: Maps | None, res: Grid | None, against: str | None, device: str
) -> None:
    """Draw maps of a .vlz file.

    With --against, each row is a map: original, restored, and their difference on the native grid. FILE may be a URL or
    FILE.h5:/GROUP (see attach).

    \b
    velcodec plot models.vlz -o models.png
    velcodec plot models.vlz -o errors.png --against models.npy --maps 10:14
    velcodec plot models.vlz -o fine.pdf --res 280 --maps 7
    """
    check_picture(Path(output))
    import velcodec

    with velcodec.open(file, device=device) as archive:
        chosen = pick(maps if maps is not None else slice(0, FIRST), len(archive))
        if len(chosen) > MOST:
            stop(f"{len(chosen)} maps are too many for a picture; choose up to {MOST} with --maps")
        shown = _collect(archive, chosen, res, against)
    save(_draw(shown), Path(output))
    click.echo(f"{output}: {plural(len(chosen), 'map')}")


def _collect(archive: Archive, chosen: Sequence[int], res: Grid | None, against: str | None) -> Shown:
    rows = list(chosen)
    native = archive.read(rows)
    restored = native if res in (None, archive.map_shape) else archive.read(rows, res)
    extent, length = map_extent(archive.map_shape, archive.header.spacing)
    return Shown(
        numbers=rows,
        restored=restored,
        original=read_maps(open_original(archive, against), rows) if against else None,
        native=native,
        extent=extent,
        length=length,
        units=archive.header.units,
    )


# Drawing


def _draw(shown: Shown) -> Figure:
    with drawing():
        return _draw_alone(shown) if shown.original is None else _draw_compared(shown, shown.original)


def _panels(rows: int, columns: int, shown: Shown) -> tuple[Figure, Any]:
    """A figure whose panels have the shape of the maps, with room for colour bars."""
    from matplotlib import pyplot
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    _, right, bottom, _ = shown.extent
    wide = min(max(right / bottom, 0.4), 4.0)
    side = PANEL if wide < 2 else 1.6 * PANEL
    width, height = (side, side / wide) if wide > 1 else (side * wide, side)
    size = (columns * (width + 0.75) + 0.3, rows * (height + 0.32) + 0.4)
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.05, wspace=0.02, hspace=0.02)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout=layout
    )
    for axis in axes[-1]:
        axis.set_xlabel(f"x ({shown.length})")
    for axis in axes[:, 0]:
        axis.set_ylabel(f"depth ({shown.length})")
    return figure, axes


def _draw_alone(shown: Shown) -> Figure:
    count = len(shown.restored)
    columns = min(ACROSS, count)
    figure, axes = _panels(-(-count // columns), columns, shown)
    for axis, number, maps in zip(axes.flat, shown.numbers, shown.restored, strict=False):
        image = panel(axis, maps, shown.extent, "viridis", *value_range(maps))
        axis.set_title(f"map {number}")
        colour_bar(figure, image, axis, shown.units)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    if count > columns and count % columns:
        _label_above(axes, count % columns)
    return figure


def _label_above(axes: Any, filled: int) -> None:
    """Panels above an empty place carry the labels that it would have had."""
    for axis in axes[-2, filled:]:
        axis.xaxis.set_tick_params(labelbottom=True)
        axis.set_xlabel(axes[-1, 0].get_xlabel())


def _draw_compared(shown: Shown, original: NDArray[Any]) -> Figure:
    from velcodec import metrics

    figure, axes = _panels(len(original), 3, shown)
    psnr, ssim = metrics.psnr(original, shown.native), metrics.ssim(original, shown.native)
    for i, (row, number) in enumerate(zip(axes, shown.numbers, strict=True)):
        low, high = value_range(original[i])
        panel(row[0], original[i], shown.extent, "viridis", low, high)
        image = panel(row[1], shown.restored[i], shown.extent, "viridis", low, high)
        colour_bar(figure, image, row[1], shown.units)
        height, width = shown.restored.shape[1:]
        row[0].set_title(f"map {number}, original")
        grid = f", {height} x {width}" if shown.restored is not shown.native else ""
        row[1].set_title(f"restored{grid}: {quality_title(psnr[i], ssim[i])}")
        top = error_panel(figure, row[2], original[i], shown.native[i], shown.extent, shown.units)
        row[2].set_title(error_title(top, shown.units))
    return figure

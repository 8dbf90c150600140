"""velcodec plot: maps of a .vlz file as a picture, beside their originals and errors."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .common import Grid, Maps, device_option, maps_option, pick, plural, res_option, stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from velcodec import Archive

FIRST = 4  # maps drawn unless told which
MOST = 40  # maps in one picture
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".pdf", ".svg")
ACROSS = 4  # restored maps side by side where there is no original
PANEL = 2.9  # inches: the wider side of a map
GREY = "#555555"


@dataclass(frozen=True)
class Shown:
    """What is drawn: maps restored on the grid asked for, and native ones to compare."""

    numbers: Sequence[int]
    restored: NDArray[Any]  # (n, H', W')
    original: NDArray[Any] | None  # (n, H, W)
    native: NDArray[Any]  # (n, H, W) restored
    extent: tuple[float, float, float, float]  # of the axes: left, right, bottom, top
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

    With --against, each row is a map: original, restored, and their difference on the native grid.

    \b
    velcodec plot models.vlz -o models.png
    velcodec plot models.vlz -o errors.png --against models.npy --maps 10:14
    velcodec plot models.vlz -o fine.pdf --res 280 --maps 7
    """
    _check_picture(Path(output))
    import velcodec

    with velcodec.open(file, device=device) as archive:
        chosen = pick(maps if maps is not None else slice(0, FIRST), len(archive))
        if len(chosen) > MOST:
            stop(f"{len(chosen)} maps are too many for a picture; choose up to {MOST} with --maps")
        shown = _collect(archive, chosen, res, against)
    _save(_draw(shown), Path(output))
    click.echo(f"{output}: {plural(len(chosen), 'map')}")


def _check_picture(output: Path) -> None:
    if output.suffix.lower() not in ENDINGS:
        stop(f"{output}: not the name of a picture; end it in {', '.join(ENDINGS)}")
    if output.is_dir() or not output.parent.is_dir():
        stop(f"{output}: not a file in a directory that exists; make the directory first")


def _collect(archive: Archive, chosen: Sequence[int], res: Grid | None, against: str | None) -> Shown:
    rows = list(chosen)
    native = archive.read(rows)
    restored = native if res in (None, archive.map_shape) else archive.read(rows, res)
    depth, width = (n * d for n, d in zip(archive.map_shape, archive.header.spacing, strict=True))
    per, length = (1000.0, "km") if max(depth, width) >= 5000 else (1.0, "m")
    return Shown(
        numbers=rows,
        restored=restored,
        original=_originals(archive, rows, against) if against else None,
        native=native,
        extent=(0, width / per, depth / per, 0),
        length=length,
        units=archive.header.units,
    )


def _originals(archive: Archive, rows: list[int], against: str) -> NDArray[Any]:
    import numpy as np

    from velcodec.sources import layout, open_source

    source = open_source(against)
    if layout(tuple(source.shape)) != (len(archive), *archive.map_shape):
        stop(f"{against} has shape {tuple(source.shape)} and the file {archive.shape}; name its original")
    if len(source.shape) == 2:
        return np.asarray(source[:, :])[None]
    return np.stack([np.asarray(source[i]).reshape(archive.map_shape) for i in rows])


# Drawing


def _draw(shown: Shown) -> Figure:
    import matplotlib as mpl

    mpl.use("Agg")
    style: Any = {
        "font.size": 8,
        "axes.titlesize": 8.5,
        "axes.edgecolor": GREY,
        "axes.linewidth": 0.6,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "axes.labelcolor": GREY,
    }
    with mpl.rc_context(style):
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
        low, high = _range(maps)
        image = _image(axis, maps, shown, "viridis", low, high)
        axis.set_title(f"map {number}")
        _bar(figure, image, axis, shown.units)
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
        low, high = _range(original[i])
        _image(row[0], original[i], shown, "viridis", low, high)
        image = _image(row[1], shown.restored[i], shown, "viridis", low, high)
        _bar(figure, image, row[1], shown.units)
        height, width = shown.restored.shape[1:]
        row[0].set_title(f"map {number}, original")
        quality = "exact" if psnr[i] == float("inf") else f"{psnr[i]:.1f} dB, SSIM {ssim[i]:.3f}"
        grid = f", {height} x {width}" if shown.restored is not shown.native else ""
        row[1].set_title(f"restored{grid}: {quality}")
        _draw_error(figure, row[2], original[i], shown.native[i], shown)
    return figure


def _draw_error(
    figure: Figure, axis: Axes, original: NDArray[Any], restored: NDArray[Any], shown: Shown
) -> None:
    import numpy as np

    from velcodec import metrics

    with np.errstate(invalid="ignore"):
        error = restored.astype(np.float64) - original.astype(np.float64)
    finite = np.abs(error[np.isfinite(error)])
    top = float(metrics.max_error(original, restored)[0])
    # A few samples at edges are far off; a scale that ends at 99.5 % of them leaves the rest visible.
    limit = float(np.quantile(finite, 0.995)) if finite.size else 0.0
    limit = limit or (top if np.isfinite(top) else 0.0) or 1.0
    image = _image(axis, error, shown, "RdBu_r", -limit, limit)
    _bar(figure, image, axis, shown.units, extend="both" if top > limit else "neither")
    axis.set_title("error: none" if top == 0 else f"error: up to {_figure(top)} {shown.units}")


def _figure(value: float) -> str:
    """Three digits or more, without an exponent where numbers are of a usual size."""
    return f"{value:,.0f}" if 100 <= value < 1e7 else f"{value:.3g}"


def _range(values: NDArray[Any]) -> tuple[float, float]:
    import numpy as np

    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 1, high + 1)


def _image(axis: Axes, values: NDArray[Any], shown: Shown, colours: str, low: float, high: float) -> Any:
    import numpy as np

    axis.set_facecolor("#cccccc")  # NaN shows as grey
    masked = np.ma.masked_invalid(values.astype(np.float64))
    aspect: Literal["equal", "auto"] = "equal" if 0.4 <= shown.extent[1] / shown.extent[2] <= 4 else "auto"
    image = axis.imshow(
        masked,
        cmap=colours,
        vmin=low,
        vmax=high,
        extent=shown.extent,
        aspect=aspect,
        interpolation="nearest",
    )
    axis.locator_params(nbins=4)
    axis.tick_params(length=2.5, width=0.6)
    return image


def _bar(figure: Figure, image: Any, axis: Axes, label: str, extend: str = "neither") -> None:
    from matplotlib.ticker import MaxNLocator

    place = axis.inset_axes((1.03, 0, 0.045, 1))  # as high as the map, whatever its shape
    bar = figure.colorbar(image, cax=place, extend=extend, extendfrac=0.03)
    bar.set_label(label, color=GREY, labelpad=2)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, width=0.5)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()


def _save(figure: Figure, output: Path) -> None:
    """Rendered in memory first: a picture that fails leaves the old one."""
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure.savefig(buffer, format=output.suffix[1:].lower(), dpi=160, facecolor="white")
    pyplot.close(figure)
    output.write_bytes(buffer.getvalue())

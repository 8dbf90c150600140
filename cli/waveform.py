"""What verify --waveform does: shots over original and restored maps, their misfit, and a picture of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Maps, one_line, pick, plural, progress, read_blocks, stop
from .originals import open_original, read_maps
from .picture import (
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
    from velcodec.header import Header

FIRST = 4  # maps that waves are modelled over unless told which
MOST = 12  # maps in one picture
SHOWN = 10  # maps with a line each
SHOT = 2  # the shot that is drawn, from the middle of the map
PANEL = 2.3  # inches


@dataclass(frozen=True)
class Compared:
    """One map, and one of its shots, beside what was restored."""

    number: int
    misfit: float  # over all shots
    original: NDArray[Any]  # (H, W)
    restored: NDArray[Any]
    shot: NDArray[Any]  # (steps, receivers), over the original
    restored_shot: NDArray[Any]


def check_options(waveform: bool, against: str | None, picture: str | None, maps: Maps | None) -> None:
    """Refuse options that do not go together, and say at once where deepwave or a folder is missing."""
    if not waveform:
        if picture is not None or maps is not None:
            stop("--waveform-picture and --waveform-maps go with --waveform; add it")
        return
    if against is None:
        stop("--waveform compares with the original; name it with --against")
    if picture is not None:
        check_picture(Path(picture))
    from velcodec.waveform import backend

    backend()


def choose(archive: Archive, maps: Maps | None, picture: str | None) -> range:
    """The maps to model waves over. Ends the command where the archive holds no speeds in m/s."""
    if archive.header.units != "m/s":
        stop(f"--waveform needs speeds in m/s, and the file holds values in {archive.header.units!r}")
    chosen = pick(maps if maps is not None else slice(0, FIRST), len(archive), "--waveform-maps")
    if picture is not None and len(chosen) > MOST:
        stop(f"{len(chosen)} maps are too many for a picture; choose up to {MOST} with --waveform-maps")
    return chosen


def compare(archive: Archive, against: str, chosen: Sequence[int], device: str) -> list[Compared]:
    """Model every shot over the maps chosen, original and restored."""
    from velcodec.device import resolve_device

    source, where = open_original(archive, against), str(resolve_device(device))
    compared = []
    with progress(len(chosen), "waveforms") as bar:
        for numbers, restored in read_blocks(archive, chosen):
            originals = read_maps(source, numbers)
            for number, v, r in zip(numbers, originals, restored, strict=True):
                compared.append(_compare(number, v, r, archive.header.spacing, where))
                bar.update(1)
    return compared


def _compare(
    number: int, v: NDArray[Any], r: NDArray[Any], spacing: tuple[float, float], device: str
) -> Compared:
    from velcodec import DataError
    from velcodec.waveform import misfit, shots

    top = float(max(v.max(), r.max()))  # one time step for both, or its own error would count
    try:
        d, other = (shots(a, spacing, top_speed=top, device=device) for a in (v, r))
    except DataError as error:
        stop(f"map {number}: {one_line(error)}")
    return Compared(number, float(misfit(d, other)[0]), v, r, d[0, SHOT], other[0, SHOT])


def report(compared: list[Compared], psnr: list[float], ssim: list[float]) -> None:
    """Print the misfits, beside PSNR and SSIM of the same maps; those are of every map of the file."""
    misfits = [c.misfit for c in compared]
    worst = max(compared, key=lambda c: c.misfit)
    mean = sum(misfits) / len(misfits)
    click.echo(
        f"  waveforms of {plural(len(compared), 'map')}: relative misfit mean {mean:.4f},"
        f" worst {worst.misfit:.4f} (map {worst.number})"
    )
    for c in compared[:SHOWN]:
        quality = quality_title(psnr[c.number], ssim[c.number])
        click.echo(f"    map {c.number}: misfit {c.misfit:.4f}, {quality}")
    if len(compared) > SHOWN:
        click.echo(f"    and {len(compared) - SHOWN} more")


def write_picture(compared: list[Compared], header: Header, picture: str) -> None:
    """A row for each map: map, restored and error, then one shot over both and the difference."""
    with drawing():
        figure = _draw(compared, header)
    save(figure, Path(picture))
    click.echo(f"  {picture}: {plural(len(compared), 'map')}")


def _draw(compared: list[Compared], header: Header) -> Figure:
    from matplotlib import pyplot
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from velcodec.waveform import STEP

    maps, length = map_extent(header.map_shape, header.spacing)
    gathers = (0.0, maps[1], len(compared[0].shot) * STEP, 0.0)
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.05, wspace=0.02, hspace=0.02)
    size = (6 * (PANEL + 0.75) + 0.3, len(compared) * (PANEL + 0.32) + 0.4)
    figure, axes = pyplot.subplots(len(compared), 6, figsize=size, squeeze=False, layout=layout)
    for row, c in zip(axes, compared, strict=True):
        _draw_maps(figure, row[:3], c, maps, header.units)
        _draw_shots(figure, row[3:], c, gathers)
        row[0].set_ylabel(f"depth ({length})")
        row[3].set_ylabel("time (s)")
    for axis in axes[:-1].flat:
        axis.tick_params(labelbottom=False)
    for axis in axes[:, [1, 2, 4, 5]].flat:
        axis.tick_params(labelleft=False)
    for axis in axes[-1]:
        axis.set_xlabel(f"x ({length})")
    return figure


def _draw_maps(figure: Figure, row: Any, c: Compared, extent: Any, units: str) -> None:
    from velcodec import metrics

    low, high = value_range(c.original)
    panel(row[0], c.original, extent, "viridis", low, high)
    image = panel(row[1], c.restored, extent, "viridis", low, high)
    colour_bar(figure, image, row[1], units)
    top = error_panel(figure, row[2], c.original, c.restored, extent, units)
    psnr, ssim = (f(c.original, c.restored)[0] for f in (metrics.psnr, metrics.ssim))
    row[0].set_title(f"map {c.number}, original")
    row[1].set_title(f"restored: {quality_title(psnr, ssim)}")
    row[2].set_title(error_title(top, units))


def _draw_shots(figure: Figure, row: Any, c: Compared, extent: Any) -> None:
    import numpy as np

    from velcodec.waveform import SOURCES

    # The direct wave is far stronger than the reflections: a scale that ends at 93 % of the samples shows both.
    limit = float(np.quantile(np.abs(c.shot), 0.93)) or 1.0
    panel(row[0], c.shot, extent, "RdBu_r", -limit, limit)
    image = panel(row[1], c.restored_shot, extent, "RdBu_r", -limit, limit)
    colour_bar(figure, image, row[1], "pressure", extend="both")
    error_panel(figure, row[2], c.shot, c.restored_shot, extent, "pressure")
    row[0].set_title(f"shot {SHOT + 1} of {SOURCES}, original map")
    row[1].set_title("restored map")
    row[2].set_title(
        "difference: none" if c.misfit == 0 else f"difference: misfit {c.misfit:.4f} of all shots"
    )

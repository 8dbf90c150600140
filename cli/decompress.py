"""velcodec decompress: maps of a .vlz file to an array on disk."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .common import (
    Grid,
    Maps,
    Window,
    WindowType,
    device_option,
    maps_option,
    overwrite_option,
    pick,
    plural,
    progress,
    read_blocks,
    res_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from velcodec import Archive

STRIP_FROM = 1 << 22  # samples of a map beyond which it is written strip by strip
PART_BYTES = 1 << 28  # of a volume held at a time


@click.command("decompress", no_args_is_help=False)
@click.argument("source", metavar="INPUT.vlz")
@click.argument("output", metavar="OUTPUT")
@res_option("Samples over the map, or over the window; by default the native grid.")
@maps_option("Which maps, as a Python slice or one index; by default all.")
@click.option("--window", type=WindowType(), help="Part of the map, in native cells: depths, then positions.")
@device_option()
@overwrite_option()
def command(
    source: str,
    output: str,
    res: Grid | None,
    maps: Maps | None,
    window: Window | None,
    device: str,
    overwrite: bool,
) -> None:
    """Restore maps from a .vlz file, on any grid.

    OUTPUT is written by its ending, .npy, .npz or .h5 (file.h5:/name names the dataset, else it is v; what else the
    file holds stays), in the shape and type of the array that was compressed. Memory stays small whatever the number of
    maps; only slices of a volume (compress --axis) with --res are held whole. INPUT.vlz may be a URL (https://, s3://
    ...), of which only the maps wanted are fetched, or FILE.h5:/GROUP (see attach).

    \b
    velcodec decompress models.vlz models.npy               # as they were given
    velcodec decompress models.vlz fine.h5 --res 280        # (n, 1, 280, 280)
    velcodec decompress models.vlz some.npy --maps 0:10 --window 0:35,20:50 --res 140x120
    velcodec decompress https://host/models.vlz some.npy --maps 0:10
    """
    from velcodec.sources import check_output, write_array

    check_output(output, overwrite)
    import velcodec
    from velcodec.grid import make_grid

    with velcodec.open(source, device=device) as archive:
        chosen = pick(maps, len(archive))
        grid = make_grid(archive.map_shape, res, window).shape
        shape = _output_shape(archive.shape, len(chosen), grid)
        with progress(len(chosen), "decompress") as bar:
            if archive.header.axis:
                shape = (*shape[1 : archive.header.axis + 1], len(chosen), *shape[archive.header.axis + 1 :])
                blocks = _advancing(_of_volume(archive, chosen, res, window), bar)
            elif res is None and grid[0] * grid[1] > STRIP_FROM:
                blocks = _advancing(_strips(archive, chosen, window), bar)
            else:
                blocks = _advancing(read_blocks(archive, chosen, res, window), bar)
            write_array(output, blocks, shape, archive.dtype, overwrite)
        click.echo(f"{output}: {plural(len(chosen), 'map')}, shape {shape}, {archive.dtype}")


def _output_shape(given: tuple[int, ...], count: int, grid: Grid) -> tuple[int, ...]:
    """Laid out as the array given: one map alone, a stack, or a stack with a channel."""
    if len(given) == 2:
        return grid
    return (count, 1, *grid) if len(given) == 4 else (count, *grid)


def _strips(
    archive: Archive, chosen: Sequence[int], window: Window | None
) -> Iterator[tuple[Sequence[int], Any]]:
    """Large maps in strips of a tile's height, so that memory stays at a strip."""
    (top, bottom), across = window or ((0, archive.map_shape[0]), (0, archive.map_shape[1]))
    step = archive.header.tile[0] if archive.header.tile else bottom - top
    for number in chosen:
        for z in range(top - top % step, bottom, step):
            strip = (max(z, top), min(z + step, bottom))
            yield [number] if strip[1] == bottom else [], archive.read([number], None, (strip, across))


def _of_volume(
    archive: Archive, chosen: Sequence[int], res: Grid | None, window: Window | None
) -> Iterator[tuple[Sequence[int], Any]]:
    """A volume whose maps are slices along its second or third axis, in parts along the first one.

    A part is a strip of all slices, read anew: there is one unless that takes too much memory. On another grid there is
    always one.
    """
    import numpy as np

    (top, bottom), across = window or ((0, archive.map_shape[0]), (0, archive.map_shape[1]))
    row = max(1, len(chosen) * (across[1] - across[0]) * archive.dtype.itemsize)
    step = bottom - top if res else max(1, PART_BYTES // row)
    for z in range(top, bottom, step):
        strip = (z, min(z + step, bottom))
        here = window if res else (strip, across)
        part = np.concatenate([b for _, b in read_blocks(archive, chosen, res, here)])
        yield chosen if strip[1] == bottom else [], np.moveaxis(part, 0, archive.header.axis)


def _advancing(parts: Any, bar: Any) -> Any:
    for numbers, block in parts:
        yield block
        bar.update(len(numbers))

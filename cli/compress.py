"""velcodec compress: maps to a .vlz file."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

from typing import Any

import click

from .asking import check_request, request_options, summary
from .common import block_option, counted, device_option, overwrite_option, plural


@click.command("compress", no_args_is_help=False)
@click.argument("source", metavar="INPUT")
@click.argument("output", metavar="OUTPUT.vlz")
@request_options()
@click.option(
    "--axis",
    type=click.IntRange(0, 2),
    default=0,
    show_default=True,
    help="Of a 3-D volume: the axis along which its slices are the maps.",
)
@block_option(None, "  [default: 100, or 250 latents]")
@device_option()
@click.option(
    "--embed-codebook",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Put the codebook into the file; auto does so where it costs under 1 % of it.",
)
@overwrite_option()
def command(
    source: str,
    output: str,
    axis: int,
    overwrite: bool,
    **options: Any,
) -> None:
    """Write velocity models to a .vlz file.

    INPUT is a .npy file, a .npz file (file.npz:name where it holds several arrays) or an HDF5 dataset
    (file.h5:/name), of shape (H, W), (n, H, W) or (n, 1, H, W), in floats or integers.

    \b
    velcodec compress models.npy models.vlz                  # every map at 35 dB or more
    velcodec compress data.h5:/train/v models.vlz --psnr 40  # nearer to the original
    velcodec compress models.npy models.vlz --max-error 10   # no sample off by more than 10 m/s
    velcodec compress models.npy best.vlz --latent-only --effort 9
    velcodec compress models.npy small.vlz --latent-only --psnr 33   # the fewest bytes for a latent of 33 dB
    velcodec compress models.npy exact.vlz --lossless        # every bit
    velcodec compress volume.npy volume.vlz --axis 1         # slices along the second axis of a volume
    """
    check_request(options)
    from velcodec.sources import Slices, open_source

    maps = open_source(source)
    if axis:
        maps = Slices(maps, axis)
    import velcodec

    with counted("compress") as advance:
        info = velcodec.compress(
            maps,
            output,
            overwrite=overwrite,
            progress=advance,
            **options,
        )
    click.echo(f"{output}: {summary(info)}")
    odd = _not_finite(maps)
    if odd:
        click.echo(f"{plural(odd, 'map')} with NaN or infinite values: stored exactly")


def _not_finite(maps: Any) -> int:
    """How many maps hold a NaN or an infinity; users should know that those cost more."""
    if maps.dtype.kind != "f":
        return 0
    import numpy as np

    from velcodec.sources import blocks

    return sum(int((~np.isfinite(block)).any((1, 2)).sum()) for block in blocks(maps))

"""velcodec compress: maps to a .vlz file."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

from typing import Any

import click

from .common import device_option, modes_line, overwrite_option, plural, progress, psnr_line

DEFAULT_PSNR = 35.0  # as velcodec.request has it


@click.command("compress", no_args_is_help=False)
@click.argument("source", metavar="INPUT")
@click.argument("output", metavar="OUTPUT.vlz")
@click.option(
    "--psnr",
    type=float,
    metavar="DB",
    help=f"Least PSNR of every single map.  [default: {DEFAULT_PSNR:g}; with --latent-only none]",
)
@click.option(
    "--max-error",
    type=float,
    metavar="E",
    help="No sample is off by more than E (in the maps' units, m/s), on any device that decodes.",
)
@click.option(
    "--latent-only", is_flag=True, help="Store every map as a latent, even where none reaches the PSNR."
)
@click.option("--lossless", is_flag=True, help="Store every map exactly.")
@click.option(
    "--latent",
    type=click.Choice(["entropy", "int8", "fp16"]),
    default="entropy",
    show_default=True,
    help="How latents are stored.",
)
@click.option(
    "--codebook", metavar="ID|PATH", help="Codebook to use; by default the one that comes with velcodec."
)
@click.option(
    "--axis",
    type=click.IntRange(0, 2),
    default=0,
    show_default=True,
    help="Of a 3-D volume: the axis along which its slices are the maps.",
)
@click.option(
    "--effort",
    type=click.IntRange(0, 9),
    default=3,
    show_default=True,
    help="0 searches nothing: networks and closed forms; 9 searches thoroughly for every map.",
)
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
    psnr: float | None,
    max_error: float | None,
    latent_only: bool,
    lossless: bool,
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
    named = [
        ("--psnr", psnr is not None),
        ("--max-error", max_error is not None),
        ("--latent-only", latent_only),
        ("--lossless", lossless),
    ]
    given = [name for name, used in named if used]
    if len(given) > 1 and given != ["--psnr", "--latent-only"]:
        raise click.UsageError(f"{' and '.join(given)} exclude each other; give one")
    from velcodec.sources import Slices, layout, open_source

    maps = open_source(source)
    if axis:
        maps = Slices(maps, axis)
    import velcodec

    with progress(layout(maps.shape)[0], "compress") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        info = velcodec.compress(
            maps,
            output,
            psnr=psnr,
            max_error=max_error,
            latent_only=latent_only,
            lossless=lossless,
            overwrite=overwrite,
            progress=advance,
            **options,
        )
    click.echo(f"{output}: {_summary(info)}")
    odd = _not_finite(maps)
    if odd:
        click.echo(f"{plural(odd, 'map')} with NaN or infinite values: stored exactly")


def _summary(info: dict[str, Any]) -> str:
    size = (
        f"{plural(info['maps'], 'map')}, {info['bytes_per_map']:.1f} bytes a map, ratio {info['ratio']:.1f}"
    )
    return f"{size}, {psnr_line(info['psnr'])}, {modes_line(info['modes'])}"


def _not_finite(maps: Any) -> int:
    """How many maps hold a NaN or an infinity; users should know that those cost more."""
    if maps.dtype.kind != "f":
        return 0
    import numpy as np

    from velcodec.sources import blocks

    return sum(int((~np.isfinite(block)).any((1, 2)).sum()) for block in blocks(maps))

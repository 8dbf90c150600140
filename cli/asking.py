"""What commands that encode ask for: a PSNR, a bound, a latent or every bit, and what they say of the result."""

from __future__ import annotations

from functools import reduce
from typing import Any

import click

from .common import Decorator, modes_line, plural, psnr_line

DEFAULT_PSNR = 35.0  # as velcodec.request has it
OPTIONS = [
    click.option(
        "--psnr",
        type=float,
        metavar="DB",
        help=f"Least PSNR of every single map.  [default: {DEFAULT_PSNR:g}; with --latent-only none]",
    ),
    click.option(
        "--max-error",
        type=float,
        metavar="E",
        help="No sample is off by more than E (in the maps' units, m/s), on any device that decodes.",
    ),
    click.option(
        "--latent-only", is_flag=True, help="Store every map as a latent, even where none reaches the PSNR."
    ),
    click.option("--lossless", is_flag=True, help="Store every map exactly."),
    click.option(
        "--latent",
        type=click.Choice(["entropy", "int8", "fp16"]),
        default="entropy",
        show_default=True,
        help="How latents are stored.",
    ),
    click.option(
        "--codebook", metavar="ID|PATH", help="Codebook to use; by default the one that comes with velcodec."
    ),
    click.option(
        "--effort",
        type=click.IntRange(0, 9),
        default=3,
        show_default=True,
        help="0 searches nothing: networks and closed forms; 9 searches thoroughly for every map.",
    ),
]


def request_options() -> Decorator:
    """The options that say what every map must keep."""
    return lambda command: reduce(lambda inner, option: option(inner), reversed(OPTIONS), command)


def check_request(asked: dict[str, Any]) -> None:
    """Ends the command for options that exclude each other."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("psnr", "max_error", "latent_only", "lossless")
        if asked[name] is not None and asked[name] is not False
    ]
    if len(given) > 1 and given != ["--psnr", "--latent-only"]:
        raise click.UsageError(f"{' and '.join(given)} exclude each other; give one")


def summary(info: dict[str, Any]) -> str:
    """Maps, bytes, quality and modes of a file, in a line."""
    size = (
        f"{plural(info['maps'], 'map')}, {info['bytes_per_map']:.1f} bytes a map, ratio {info['ratio']:.1f}"
    )
    return f"{size}, {psnr_line(info['psnr'])}, {modes_line(info['modes'])}"

"""velcodec info: what a .vlz file holds, as a table or as JSON."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from .common import modes_line, plural, psnr_line

if TYPE_CHECKING:
    from velcodec import Archive


@click.command("info", no_args_is_help=False)
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; figures that are not finite are null.")
@click.option(
    "--sources", is_flag=True, help="Add the files that an archive's maps are from, with checksums."
)
@click.option("--maps", "each", is_flag=True, help="Add every map: its mode, PSNR and maximum error.")
def command(file: str, as_json: bool, sources: bool, each: bool) -> None:
    """Show what a .vlz file holds.

    Figures of quality are those measured when the file was written; 'velcodec verify --against' measures them
    again. The mean and the least PSNR are over the maps that are not exact. FILE may be a URL (https://, s3:// ...) or
    FILE.h5:/GROUP (see attach).

    \b
    velcodec info models.vlz
    velcodec info models.vlz --maps                        # every map
    velcodec info openfwi.vlz --sources                    # what an archive was made of
    velcodec info models.vlz --json | jq .bytes_per_map
    """
    import velcodec

    with velcodec.open(file) as archive:
        facts = archive.info()
        rows = _each_map(archive) if each else []
        files = [source.to_json() for source in archive.sources]
    if as_json:
        if sources:
            facts["sources"] = files
        if each:
            facts["per_map"] = rows
        click.echo(json.dumps(_plain(facts), indent=2, allow_nan=False))
        return
    click.echo(file)
    for name, text in _table(facts):
        click.echo(f"  {name:<10} {text}")
    if files:
        click.echo(f"  {'sources':<10} {_families(files)}")
    if sources:
        _print_sources(files)
    if each:
        _print_maps(rows, facts["units"])


def _each_map(archive: Archive) -> list[dict[str, Any]]:
    quality = archive.quality
    columns = zip(quality.mode, quality.psnr.tolist(), quality.max_error.tolist(), strict=True)
    return [
        {"map": i, "mode": mode, "psnr": psnr, "max_error": error}
        for i, (mode, psnr, error) in enumerate(columns)
    ]


def _table(facts: dict[str, Any]) -> list[tuple[str, str]]:
    import numpy as np

    height, width = facts["shape"][-2:]
    spacing = " x ".join(f"{d:g}" for d in facts["spacing"])
    book = facts["codebook"]
    inside = "embedded" if book["embedded"] else "not embedded"
    size = (
        f"{facts['bytes']:,} bytes, {facts['bytes_per_map']:.1f} a map, ratio {facts['ratio']:.1f} to float32"
    )
    return [
        ("format", f"version {facts['format_version']}"),
        ("maps", f"{facts['maps']:,} of {height} x {width} cells of {spacing} m"),
        ("array", f"shape {tuple(facts['shape'])}, {np.dtype(facts['dtype'])}, {facts['units']}"),
        ("codebook", f"{book['id']}, SHA-256 {book['sha256'][:16]}..., {inside}"),
        ("size", size),
        ("modes", modes_line(facts["modes"])),
        ("quality", psnr_line(facts["psnr"])),
        ("max error", f"{facts['max_error']:.4g} {facts['units']}"),
    ]


def _families(files: list[dict[str, Any]]) -> str:
    """How many files of what families."""
    counts = Counter(source["family"] or "other" for source in files)
    return f"{plural(len(files), 'file')}: " + ", ".join(f"{name} {n:,}" for name, n in counts.items())


def _print_sources(files: list[dict[str, Any]]) -> None:
    click.echo(f"\n  {'maps':>13}  {'SHA-256':<16}  file")
    for source in files:
        maps = source["shape"][0] if len(source["shape"]) > 2 else 1
        rows = f"{source['first']}:{source['first'] + maps}"
        click.echo(f"  {rows:>13}  {source['sha256'][:16]}  {source['name']}")


def _print_maps(rows: list[dict[str, Any]], units: str) -> None:
    click.echo(f"\n  {'map':>6}  {'mode':<14}  {'PSNR, dB':>8}  max error, {units}")
    for row in rows:
        psnr = f"{row['psnr']:.2f}" if math.isfinite(row["psnr"]) else "exact"
        click.echo(f"  {row['map']:>6}  {row['mode']:<14}  {psnr:>8}  {row['max_error']:.4g}")


def _plain(value: Any) -> Any:
    """JSON knows neither infinity nor NaN: null stands for them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""velcodec codebook: list, show, export and import codebooks."""

# ruff: noqa: D301  (click looks for a real \b, which keeps the examples' lines)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .common import overwrite_option


@click.group("codebook", no_args_is_help=False)
def command() -> None:
    """List, show, export and import codebooks.

    A codebook is the decoder, prior and encoder network that a .vlz file needs. Files name theirs by id and
    SHA-256; one that is not built in is imported once, or found in VELCODEC_CODEBOOK_PATH.

    \b
    velcodec codebook list
    velcodec codebook show openfwi-2d-v5
    velcodec codebook export openfwi-2d-v5 book.safetensors     # to give it away
    velcodec codebook import book.safetensors                    # at the other end
    """


@command.command("list")
def list_() -> None:
    """List the codebooks found: built in, imported, and in VELCODEC_CODEBOOK_PATH.

    \b
    velcodec codebook list
    VELCODEC_CODEBOOK_PATH=/data/codebooks velcodec codebook list
    """
    from velcodec.codebook import list_codebooks

    rows = [(id_, sha256[:16], where, str(path)) for id_, sha256, path, where in list_codebooks()]
    if not rows:
        click.echo("no codebooks found; import one with 'velcodec codebook import FILE'")
        return
    rows.insert(0, ("id", "SHA-256", "where", "path"))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        click.echo(
            "  ".join([*(text.ljust(width) for text, width in zip(row[:3], widths, strict=True)), row[3]])
        )


@command.command("show", no_args_is_help=False)
@click.argument("name", metavar="ID|SHA256|PATH", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the whole card as JSON.")
def show(name: str | None, as_json: bool) -> None:
    """Show a codebook's card: its data and licence, recipe, drift bound and figures.

    \b
    velcodec codebook show                          # the default codebook
    velcodec codebook show book.safetensors --json
    """
    from velcodec import load_codebook

    book = load_codebook(name)
    facts = {**book.card, "id": book.id, "sha256": book.sha256}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    _print("id", facts.pop("id"), 0)
    _print("sha256", facts.pop("sha256"), 0)
    for key, value in facts.items():
        _print(key, value, 0)


@command.command("export", no_args_is_help=False)
@click.argument("name", metavar="ID|SHA256")
@click.argument("output", metavar="OUTPUT.safetensors")
@overwrite_option()
def export(name: str, output: str, overwrite: bool) -> None:
    """Copy a codebook to a file, to give it away with .vlz files.

    \b
    velcodec codebook export openfwi-2d-v5 book.safetensors
    """
    from velcodec import codebook

    codebook.export(name, Path(output), overwrite)
    click.echo(f"{output}: codebook {name}")


@command.command("import", no_args_is_help=False)
@click.argument("file", metavar="FILE.safetensors")
def import_(file: str) -> None:
    """Check a codebook file and keep a copy where .vlz files that name it find it.

    \b
    velcodec codebook import book.safetensors
    """
    from velcodec import codebook

    click.echo(f"kept as {codebook.install(Path(file))}")


def _print(key: str, value: Any, depth: int) -> None:
    """One entry of a card, nested ones indented."""
    if isinstance(value, dict) and value:
        click.echo(f"{'  ' * depth}{key}:")
        for inner, item in value.items():
            _print(str(inner), item, depth + 1)
    else:
        click.echo(f"{'  ' * depth}{key}: {value if isinstance(value, str) else json.dumps(value)}")

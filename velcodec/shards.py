"""Which files to archive: files, globs and folders -> shards of maps, each with the name it gets in the archive."""

import glob
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import manifest
from .errors import UsageError
from .sources import KINDS, split

SEISMIC = re.compile(
    r"(?:data|seis)[\d_]*$", re.IGNORECASE
)  # OpenFWI keeps records beside its velocity models
CHUNK = 1 << 20


@dataclass(frozen=True)
class Shard:
    """A file of maps to archive: its path, with `:/dataset` where it holds several, and its name in the archive."""

    path: str
    name: str


def find_shards(given: Sequence[str | os.PathLike[str]]) -> list[Shard]:
    """The shards of files, globs and folders, in the order given, those of a folder by their names and numbers.

    A name is the path below the folder that all of them lie in; a folder that says the family stays part of it. In
    folders, seismic records as OpenFWI names them (data*.npy, seis*.npy) are passed over.

    Raises:
        UsageError: a path that is not there, nothing to archive, a file given twice, or a name that cannot be kept.
    """
    paths = [path for one in given for path in _expanded(os.fspath(one))]
    if not paths:
        raise UsageError("there is nothing to archive: no .npy, .npz or .h5 file in what was given")
    files = [Path(os.path.abspath(split(path)[0])) for path in paths]
    root = Path(os.path.commonpath([file.parent for file in files]))
    while any(manifest.named(part)[0] for part in root.parts):
        root = root.parent
    shards = []
    for path, file in zip(paths, files, strict=True):
        inside = split(path)[1]
        name = file.relative_to(root).as_posix() + (f":{inside}" if inside else "")
        manifest.check_name(name)
        shards.append(Shard(path, name))
    names = [shard.name for shard in shards]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{twice[0]} is given twice; give each file once")
    return shards


def _expanded(path: str) -> Iterator[str]:
    """The files of a path: itself, those that a glob matches, or those below a folder."""
    if os.path.isdir(path):
        below = (p for p in _below(path) if p.suffix.lower() in KINDS and p.is_file())
        yield from sorted((str(p) for p in below if not SEISMIC.match(p.stem)), key=_natural)
    elif not os.path.exists(split(path)[0]) and glob.has_magic(path):
        found = sorted(glob.glob(path, recursive=True), key=_natural)
        if not found:
            raise UsageError(f"{path}: no file matches")
        for one in found:
            yield from _expanded(one)
    else:
        yield path  # what is wrong with it, opening it will say


def _below(folder: str) -> Iterator[Path]:
    """What lies below a folder, through links too; no folder within itself, by whatever way."""
    for here, folders, files in os.walk(folder, followlinks=True):
        way = Path(os.path.abspath(here))
        around = {os.path.realpath(one) for one in (way, *way.parents)}
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(here, name)) not in around]
        yield from (Path(here, name) for name in files)


def _natural(path: str) -> list[Any]:
    """A key that has model2 before model10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path)]


def absolute(shard: Shard) -> Shard:
    """The same shard for a process that has another working folder."""
    file, inside = split(shard.path)
    return replace(shard, path=os.path.abspath(file) + (f":{inside}" if inside else ""))


def fingerprint(shard: Shard) -> tuple[str, int]:
    """SHA-256 in hex of a shard's file, and its bytes."""
    digest, size = hashlib.sha256(), 0
    with open(split(shard.path)[0], "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size

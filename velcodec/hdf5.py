"""A .vlz file inside an HDF5 file: a group carries its bytes, and says to a stranger what they are.

    GROUP          attributes: format, velcodec, codebook, codebook_sha256, shape, dtype, units, spacing, maps ...
    GROUP/vlz      the bytes of the file as they stand, (size,) uint8, in one piece

`velcodec.open("FILE.h5:/GROUP")` reads it where it lies.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from . import __version__
from .carried import CARRIED, opened_hdf5
from .container import FORMAT_VERSION
from .errors import UsageError
from .places import Place, stored_at
from .replacing import replacing
from .sources import KINDS, split
from .stored import Stored

FORMAT = "vlz"
PIECE = 1 << 22  # bytes copied at a time
ABOUT = "Velocity models compressed by velcodec: the bytes of a .vlz file, in the dataset vlz."


def attach(path: Place, target: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Put a .vlz file into a group of an HDF5 file, which is made where it is not there.

    HDF5 cannot change a file in one step: what kills a program that writes may leave no object readable. So the file is
    copied beside, the copy is changed and takes its name at the end: there must be room for both.

    Args:
        path: of the .vlz file, or whatever else `velcodec.open` takes.
        target: as in "models.h5:/velcodec".
        overwrite: put it into a group that is there. Only an archive that it carries is replaced; all else stays. (HDF5
            does not give back the room of what is replaced; h5repack does.)

    Raises:
        UsageError: the group is there, or a dataset or a link to another file is in its place; or a file cannot be
            opened or written. FormatError: what is given is no .vlz file, or the target no HDF5 file.
    """
    file, group = split(target)
    if KINDS.get(file.suffix.lower()) != "hdf5" or not (group or "").strip("/"):
        raise UsageError(f"{target}: name an HDF5 file and a group in it, as in models.h5:/velcodec")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: there is no directory {file.parent}; make it first")
    storage = stored_at(path)
    try:
        stored = Stored(storage)
        with _changed(file, str(group), overwrite) as store:
            carrier = store.require_group(str(group))
            if CARRIED in carrier:
                del carrier[CARRIED]
            data = carrier.create_dataset(CARRIED, (storage.size,), "u1")
            for begin in range(0, storage.size, PIECE):
                piece = storage.at(begin, min(PIECE, storage.size - begin))
                data[begin : begin + len(piece)] = np.frombuffer(piece, np.uint8)
            carrier.attrs.update(_attributes(stored))
    finally:
        storage.close()


def _attributes(stored: Stored) -> dict[str, Any]:
    """What a stranger would like to know of the bytes."""
    header = stored.header
    return {
        "about": ABOUT,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "velcodec": __version__,
        "maps": header.maps,
        "shape": np.array(header.shape, np.int64),
        "dtype": header.dtype,
        "units": header.units,
        "spacing": np.array(header.spacing, np.float64),
        "codebook": header.codebook_id,
        "codebook_sha256": header.codebook_sha256,
        "codebook_embedded": bool(stored.footer.book[1]),
    }


@contextmanager
def _changed(file: Path, group: str, overwrite: bool) -> Iterator[Any]:
    """A copy of an HDF5 file, or a new one, open to be changed: it takes the file's name once it is whole and on disk.

    Raises UsageError where the group is in the way, or the copy cannot be written.
    """
    with ExitStack() as files:
        there = file.exists()
        if there:
            # Open until it is replaced: HDF5 lets nobody write to it meanwhile.
            _check(files.enter_context(opened_hdf5(file)), file, group, overwrite)
        draft = files.enter_context(replacing(file))
        try:
            if there:
                shutil.copy2(file, draft)
            with h5py.File(draft, "r+" if there else "x") as store:
                yield store
        except (OSError, RuntimeError) as error:  # h5py has both for a disk that is full
            raise UsageError(f"cannot write {file}: {_reason(error)}") from error


def _check(store: Any, file: Path, group: str, overwrite: bool) -> None:
    """Raises UsageError where a group is in the way of another, or something else of the group."""
    names = [name for name in group.split("/") if name]
    for end in range(1, len(names) + 1):
        place = "/" + "/".join(names[:end])
        found = store.get(place)
        if found is None:
            if store.get(place, getlink=True) is not None:
                raise UsageError(f"{file}:{place} is a link that leads nowhere; choose another name")
            return
        if found.file.filename != store.filename:
            raise UsageError(f"{file}:{place} is a link to another file; name that one")
        if not isinstance(found, h5py.Group):
            raise UsageError(f"{file}:{place} is a dataset; name a group")
    if not overwrite:
        raise UsageError(f"{file}:{group} exists; choose another name or allow overwriting (--overwrite)")
    if CARRIED in found and found.attrs.get("format") != FORMAT:
        raise UsageError(
            f"{file}:{group} has a {CARRIED} that velcodec has not put there; choose another name"
        )


def _reason(error: Exception) -> str:
    """The system's words in a message of HDF5's."""
    found = re.search(r"error message = '([^']*)'", str(error))
    plain = getattr(error, "strerror", None) or str(error)
    return found[1] if found else " ".join(plain.split())[:200]

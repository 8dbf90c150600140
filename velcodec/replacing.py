"""New files that take their names once they are whole and on disk."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UsageError


def check_place(path: Path, overwrite: bool) -> None:
    """Raise UsageError where a new file cannot take a name, or may not."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a device or a pipe, which a file would replace; choose another name")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; choose another name or allow overwriting (--overwrite)")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside another, for a file that takes its name once the body has written it; else it is removed.

    Raises UsageError where the name is that of a folder, a device or a pipe.
    """
    target = Path(os.path.realpath(path))  # through a link, so that the link stays one
    check_place(target, overwrite=True)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield draft
        with open(draft, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(draft, target)
    finally:
        with suppress(OSError):  # where it is not there, or its folder is none: what went wrong says so
            draft.unlink()

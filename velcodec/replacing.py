"""New files that take their names once they are whole and on disk."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside another, for a file that takes its name once the body has written it; else it is removed."""
    target = Path(os.path.realpath(path))  # through a link, so that the link stays one
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield draft
        with open(draft, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(draft, target)
    finally:
        with suppress(OSError):  # where it is not there, or its folder is none: what went wrong says so
            draft.unlink()

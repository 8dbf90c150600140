"""What a .vlz file is opened by -> where its bytes lie."""

import os
from typing import BinaryIO, TypeAlias

from .carried import CarriedFile
from .remote import RemoteFile, is_url
from .sources import KINDS, split
from .storage import FileObject, LocalFile, Storage

# A path, a URL as fsspec knows them, file.h5:/group, or an open binary file.
Place: TypeAlias = str | os.PathLike[str] | BinaryIO


def stored_at(place: Place) -> Storage:
    """The bytes of a path, a URL, a group of an HDF5 file or an open file. Raises UsageError if they cannot be read."""
    if not isinstance(place, (str, os.PathLike)):
        return FileObject(place)
    if is_url(place):
        return RemoteFile(str(place))
    file, group = split(place)
    if group is not None and KINDS[file.suffix.lower()] == "hdf5":
        return CarriedFile(file, group)
    return LocalFile(place)

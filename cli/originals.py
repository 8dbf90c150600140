"""The array that a .vlz file was made from, read map by map to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .common import stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from velcodec import Archive


def open_original(archive: Archive, against: str) -> Any:
    """The array at a path, for `read_maps`. Ends the command where its shape is not the file's."""
    from velcodec.sources import Slices, layout, open_source

    source = open_source(against)
    if archive.header.axis and len(source.shape) == 3:
        source = Slices(source, archive.header.axis)
    if layout(tuple(source.shape)) != (len(archive), *archive.map_shape):
        stop(f"{against} has shape {tuple(source.shape)} and the file {archive.shape}; name its original")
    return source


def read_maps(source: Any, numbers: Sequence[int]) -> NDArray[Any]:
    """Maps of an array by their numbers, (n, H, W) in its own dtype."""
    import numpy as np

    rows = list(numbers)
    if len(source.shape) == 2:
        maps = source[:, :]
    elif rows == list(range(rows[0], rows[-1] + 1)):
        maps = source[rows[0] : rows[-1] + 1]
    else:
        maps = np.stack([source[i] for i in rows])
    return np.asarray(maps).reshape(len(rows), *source.shape[-2:])

"""Maps of an archive decoded once, by whichever process wants them first, for all processes that a fork makes."""

import mmap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .archive import Archive
from .device import cores


class SharedMaps:
    """Maps of an archive on a grid, float32: a block is decoded when a map of it is first wanted.

    The memory is anonymous and shared: processes forked from this one find in it what each of them has decoded. One
    that it is sent to begins with none of it.

    Args:
        shape: (H', W'); None means native.
    """

    def __init__(self, archive: Archive, shape: tuple[int, int] | None) -> None:
        self._archive, self._shape = archive, shape
        entries = archive.stored.footer.entries
        whole = len(archive.header.layout) == 1  # of maps in tiles each is by itself
        self._firsts = np.array([entry.first for entry in entries] if whole else range(len(archive)))
        self._maps = _memory((len(archive), *(shape or archive.map_shape)), np.float32)
        # Set once the maps are there. Two who decode the same block at once write the same.
        self._there = _memory((len(self._firsts),), np.uint8)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Maps (n, H', W') of the archive, by their numbers."""
        blocks = np.searchsorted(self._firsts, rows, side="right") - 1
        for block in np.unique(blocks[self._there[blocks] == 0]).tolist():
            self._decode(block)
        return self._maps[rows]

    def read_all(self, rows: NDArray[np.int64], progress: Any) -> None:
        """Decode what these maps are in, on all cores; `progress` is called with the number of blocks done."""
        blocks = np.unique(np.searchsorted(self._firsts, rows, side="right") - 1).tolist()
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(self._decode, blocks):
                progress(1)

    def _decode(self, block: int) -> None:
        end = self._firsts[block + 1] if block + 1 < len(self._firsts) else len(self._maps)
        own = slice(int(self._firsts[block]), int(end))
        self._maps[own] = self._archive.read(own, self._shape)
        self._there[block] = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedMaps, (self._archive, self._shape)


def _memory(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros that processes made by a fork share. Not torch's shared memory, of which containers have little."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(1, size)), dtype, int(np.prod(shape))).reshape(shape)

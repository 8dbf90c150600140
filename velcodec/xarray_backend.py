"""Archives as xarray datasets: xr.open_dataset("a.vlz"). Needs xarray, and is found by it as the engine "velcodec"."""

import operator
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from .errors import UsageError

if TYPE_CHECKING:
    from .archive import Archive

# a.vlz, https://host/a.vlz?key, zip://a.vlz::https://host/all.zip
_NAMED = re.compile(r"\.vlz($|[?#]|::)", re.IGNORECASE)

DIMS = ("map", "z", "x")


class VelcodecBackend(BackendEntrypoint):
    """Opens .vlz files, at paths and URLs, as datasets of one variable, `velocity` (map, z, x), in the file's dtype.

    Maps are read as they are indexed, and of them, on the native grid, the window that is. Slices of a volume lie along
    `map`, whichever axis they were taken along. `z` and `x` are in metres: native sample i lies at i times the spacing;
    on n other samples over the same extent of N native cells, sample i is at ((i + 1/2) N / n - 1/2) times the spacing,
    so that the first of a finer grid lies up to half a spacing before 0. Maps of an archive of files have `family`,
    `shard` and `source` (text), and `row`, the map's place in that file. The order of maps is the file's.
    """

    description = "Open .vlz archives of seismic velocity models with velcodec"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "res", "codebook", "device", "keep")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        named = isinstance(filename_or_obj, (str, os.PathLike))
        return named and _NAMED.search(os.fspath(filename_or_obj)) is not None

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        res: int | tuple[int, int] | None = None,
        codebook: str | None = None,
        device: str = "auto",
        keep: int | None = None,
    ) -> xr.Dataset:
        """A dataset of an archive; no block of it is read yet.

        Args:
            filename_or_obj: path, URL as fsspec has them, or an open binary file, which stays open.
            drop_variables: names of what is not wanted.
            res: samples over the map, one number or (H, W); None means native.
            codebook: as `velcodec.open` has it.
            device: as `velcodec.open` has it.
            keep: as `velcodec.open` has it; None means its default.

        Raises:
            UsageError: the file cannot be read, or `res` is no size. FormatError, on reading too: it is damaged.
            CodebookError, on reading: the codebook is not here.
        """
        from .archive import KEPT_BYTES, Archive  # not above: xarray loads this module whatever it is to open

        shape = None if res is None else _size(res)
        archive = Archive(filename_or_obj, codebook, device, KEPT_BYTES if keep is None else keep)
        try:
            data = _dataset(archive, shape or archive.map_shape)
        except BaseException:
            archive.close()
            raise
        if drop_variables is not None:
            data = data.drop_vars(drop_variables, errors="ignore")
        data.set_close(archive.close)
        return data


class _Maps(BackendArray):
    """The maps of an archive on a grid (H', W'): read by position."""

    def __init__(self, archive: "Archive", size: tuple[int, int]) -> None:
        self._archive = archive
        self.shape = (len(archive), *size)
        self.dtype = archive.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Samples at an index of each axis: a number, which drops the axis, numbers, or a slice."""
        at = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        shape = [a.size for a in at if a.ndim]
        if 0 in shape:
            return np.empty(shape, dtype=self.dtype)
        rows, z, x = (np.atleast_1d(a) for a in at)
        if self.shape[1:] == self._archive.map_shape:
            window = (int(z.min()), int(z.max()) + 1), (int(x.min()), int(x.max()) + 1)
            maps = self._archive.read(rows, window=window)
            z, x = z - window[0][0], x - window[1][0]
        else:
            maps = self._archive.read(rows, self.shape[1:])
        if not all(np.array_equal(a, np.arange(n)) for a, n in zip((z, x), maps.shape[1:], strict=True)):
            maps = maps[:, z[:, None], x]
        return maps.reshape(shape)


def _dataset(archive: "Archive", size: tuple[int, int]) -> xr.Dataset:
    header = archive.header
    attributes: dict[str, Any] = {"long_name": "seismic velocity", "units": header.units}
    if header.bound is not None:
        attributes["max_error"] = header.bound
    maps = indexing.LazilyIndexedArray(_Maps(archive, size))
    velocity = xr.Variable(DIMS, maps, attributes, {"preferred_chunks": _chunks(archive, size)})
    places = {
        name: (name, _metres(n, native, spacing), {"long_name": long, "units": "m"})
        for name, long, n, native, spacing in zip(
            DIMS[1:], ("depth", "position"), size, archive.map_shape, header.spacing, strict=True
        )
    }
    about = {"codebook": header.codebook_id, "codebook_sha256": header.codebook_sha256, "coder": header.coder}
    return xr.Dataset({"velocity": velocity}, {**places, **_sources(archive)}, about)


def _sources(archive: "Archive") -> dict[str, tuple[str, NDArray[Any]]]:
    """Coordinates along the maps that say which files they are from; none but of an archive of files."""
    if not archive.sources:
        return {}
    counts = [source.maps for source in archive.sources]
    texts = {
        "family": [source.family for source in archive.sources],
        "shard": [source.shard for source in archive.sources],
        "source": [source.name for source in archive.sources],
    }
    along = {name: ("map", np.repeat(np.array(text, dtype=object), counts)) for name, text in texts.items()}
    return {**along, "row": ("map", np.concatenate([np.arange(n) for n in counts]))}


def _metres(n: int, native: int, spacing: float) -> NDArray[np.float64]:
    """Where n cell-centred samples over `native` cells lie, (n,) metres from the first native sample."""
    return np.asarray(((np.arange(n) + 0.5) * (native / n) - 0.5) * spacing, dtype=np.float64)


def _chunks(archive: "Archive", size: tuple[int, int]) -> dict[str, Any]:
    """Chunks that are read without decoding a block, or a tile, twice."""
    layout = archive.header.layout
    if len(layout) == 1:
        return {"map": tuple(e.count for e in archive.stored.footer.entries), "z": size[0], "x": size[1]}
    apart = size == archive.map_shape and not layout.overlap
    return {"map": 1, **dict(zip(DIMS[1:], layout.tile if apart else size, strict=True))}


def _size(res: Any) -> tuple[int, int]:
    """(H, W) of `res`. Raises UsageError where it is none."""
    try:
        height, width = (operator.index(n) for n in (res if isinstance(res, (tuple, list)) else (res, res)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"res must be a number of samples or (H, W), not {res!r}") from error
    if min(height, width) < 1:
        raise UsageError(f"a grid of {height} x {width} samples cannot be; give 1 or more each way")
    return height, width

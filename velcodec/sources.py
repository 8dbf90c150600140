"""Arrays of velocity maps on disk: `.npy`, `.npz` and HDF5, read lazily and written block by block.

    models.npy              memory-mapped
    models.npz[:key]        the array named, or the only one; read whole, since it is compressed as one
    models.h5[:/dataset]    the dataset named, or the only one; left on disk, read as it is sliced

Maps are (H, W), (n, H, W) or (n, 1, H, W), of float16, float32, float64 or an integer type in either byte
order. Nothing here unpickles: arrays of Python objects are refused.
"""

import math
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .errors import DataError, UsageError
from .replacing import check_place, replacing

Source: TypeAlias = Any  # an ndarray, a memmap or an h5py Dataset: .shape, .dtype and slicing
Write: TypeAlias = Callable[[NDArray[Any]], None]  # takes the next maps of an output

KINDS = {".npy": "npy", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5", ".hdf": "hdf5"}
NAME = "v"  # of the array in an .npz or HDF5 file, where the caller names none
LISTED = 8  # names at most in a message

_INSIDE = re.compile(r"(?P<file>.+\.(?:npz|h5|hdf5|hdf)):(?P<name>.*)", re.IGNORECASE | re.DOTALL)
_BROKEN = (
    ValueError,
    TypeError,
    SyntaxError,
    KeyError,
    EOFError,
    MemoryError,
    OverflowError,
    NotImplementedError,
)


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open the maps at a path for reading: an array-like with `.shape`, `.dtype` and slicing.

    Raises:
        UsageError: no such file, an ending that is not known, or several arrays and no name.
        DataError: the file is damaged, or what it holds is not velocity maps.
    """
    file, name = split(path)
    if not file.exists():
        raise UsageError(f"{file}: no such file; check the path")
    if not file.is_file():
        raise UsageError(f"{file} is not a file; name one .npy, .npz or .h5 file")
    kind = _kind(file, "read")
    with open(file, "rb"):  # a file that may not be read says so here, in the system's words
        pass
    source = {"npy": _open_npy, "npz": _open_npz, "hdf5": _open_hdf5}[kind](file, name)
    _check_maps(source.shape, source.dtype, str(path))
    return source


def split(path: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """A path as users write it to the file and the name inside it: `a.h5:/v` to (a.h5, "/v")."""
    text = os.fspath(path)
    inside = None if os.path.exists(text) else _INSIDE.fullmatch(text)
    return (Path(inside["file"]), inside["name"] or None) if inside else (Path(text), None)


def layout(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape of an array of maps to (n, H, W). Raises DataError where it is none."""
    if len(shape) == 2:
        shape = (1, *shape)
    elif len(shape) == 4 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    if len(shape) != 3:
        raise DataError(f"shape {shape} is not that of maps; reshape to (H, W), (n, H, W) or (n, 1, H, W)")
    return shape[0], shape[1], shape[2]


class Slices:
    """A 3-D source read as a stack of its slices along an axis, (n, H, W), without a copy of the whole.

    Takes the indices that a stack is read with: a map, a range of maps, or a map and two ranges of cells.
    """

    def __init__(self, source: Source, axis: int) -> None:
        shape = tuple(int(n) for n in source.shape)
        if len(shape) != 3 or not -3 <= axis < 3:
            raise UsageError(
                f"axis {axis} of shape {shape}: slices are taken along axis 0, 1 or 2 of a 3-D array"
            )
        self._source, self.axis = source, axis % 3
        self.shape = (shape[self.axis], *(n for i, n in enumerate(shape) if i != self.axis))
        self.dtype = source.dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        first, *cells = index if isinstance(index, tuple) else (index,)
        where: list[Any] = [*cells, slice(None), slice(None)][:2]
        where.insert(self.axis, first)
        part = np.asarray(self._source[tuple(where)])
        return np.moveaxis(part, self.axis, 0) if isinstance(first, slice) else part


def blocks(source: Source, size: int = 64) -> Iterator[NDArray[Any]]:
    """The maps of a source, in order, as arrays (up to size, H, W)."""
    n, height, width = layout(tuple(source.shape))
    if len(source.shape) == 2:
        yield np.asarray(source[:, :]).reshape(1, height, width)
        return
    for start in range(0, n, size):
        yield np.asarray(source[start : start + size]).reshape(-1, height, width)


def _kind(file: Path, verb: str) -> str:
    try:
        return KINDS[file.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"{file}: cannot {verb} {file.suffix or 'a name without ending'}; use .npy, .npz or .h5"
        ) from None


def _check_maps(shape: tuple[int, ...], dtype: np.dtype[Any], label: str) -> None:
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        wanted = "float16, float32, float64 or an integer type"
        raise DataError(f"{label}: values of type {dtype} are not velocities; convert them to {wanted}")
    try:
        n, height, width = layout(shape)
    except DataError as error:
        raise DataError(f"{label}: {error}") from None
    if n == 0 or height == 0 or width == 0:
        raise DataError(f"{label}: shape {shape} holds no samples; give at least one map")


# Reading


def _open_npy(file: Path, name: str | None) -> NDArray[Any]:
    try:
        with open(file, "rb") as stream:
            shape, dtype = _npy_header(stream)
        if dtype.hasobject:
            raise DataError(
                f"{file}: holds Python objects, which are not read; save it as a plain float32 array"
            )
        _check_maps(shape, dtype, str(file))
        return np.lib.format.open_memmap(file, mode="r")
    except _BROKEN as error:
        raise DataError(
            f"{file}: not a whole .npy file ({_line(error)}); write it again with numpy.save"
        ) from error


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"format version {version[0]}.{version[1]}")
    shape, _, dtype = readers[version](stream)
    return shape, dtype


def _open_npz(file: Path, name: str | None) -> NDArray[Any]:
    if not zipfile.is_zipfile(file):
        raise DataError(f"{file}: not a whole .npz file; write it again with numpy.savez")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            key = _pick(file, name, sorted(arrays.files))
            array = arrays[key]
    except (*_BROKEN, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{file}: not a plain .npz file, or of Python objects; save plain float32 arrays"
            ) from error
        raise DataError(
            f"{file}: not a whole .npz file ({_line(error)}); write it again with numpy.savez"
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{file}: {key} is not an array; write the file again with numpy.savez")
    return array


def _open_hdf5(file: Path, name: str | None) -> Source:
    h5py = _h5py()
    try:
        store = h5py.File(file, "r")
    except OSError as error:
        raise DataError(f"{file}: not a whole HDF5 file ({_line(error)}); write it again") from error
    try:
        names: list[str] = []
        if name is None:
            store.visititems(
                lambda key, item: names.append("/" + key) if isinstance(item, h5py.Dataset) else None
            )
        found = store.get(name if name is not None else _pick(file, None, sorted(names)))
        if found is None:
            raise UsageError(f"{file}: no dataset {name}; it holds {_listed(sorted(store))}")
        if not isinstance(found, h5py.Dataset):
            raise UsageError(f"{file}: {name} is a group; name a dataset in it, as in {file.name}:{name}/v")
        if found.shape is None:
            raise DataError(f"{file}: dataset {found.name} is empty; name one that holds maps")
        return found
    except (*_BROKEN, OSError, RuntimeError) as error:
        store.close()
        raise DataError(f"{file}: cannot read its datasets ({_line(error)}); write it again") from error
    except BaseException:
        store.close()
        raise


def _pick(file: Path, name: str | None, names: list[str]) -> str:
    """The array wanted in a file of several."""
    if name is None and len(names) == 1:
        return names[0]
    if name in names:
        return str(name)
    if not names:
        raise DataError(f"{file}: holds no array; write the maps into it")
    if name is None:
        raise UsageError(f"{file}: holds {_listed(names)}; name one, as in {file.name}:{names[0]}")
    raise UsageError(f"{file}: no array {name}; it holds {_listed(names)}")


def _listed(names: list[str]) -> str:
    return (
        ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
        or "none"
    )


def _line(error: BaseException) -> str:
    """An error of another library as part of one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UsageError("HDF5 needs h5py; install it with: pip install h5py") from error
    return h5py


# Writing


def write_array(
    path: str | os.PathLike[str],
    maps: NDArray[Any] | Iterable[NDArray[Any]],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
    overwrite: bool = False,
) -> None:
    """Write maps to `.npy`, `.npz` or HDF5 by the ending of the path, complete or not at all.

    Args:
        path: as for reading; `file.h5:/name` and `file.npz:name` name the array, else it is `v`.
        maps: an array, or blocks of maps in order; then memory stays at one block.
        shape, dtype: of the whole array. An array brings its own.
        overwrite: replace a file that is there; of an HDF5 file the dataset alone. (HDF5 does not give back the room of
            what is replaced; h5repack does.)

    Raises:
        UsageError: an ending that is not known, or a file or dataset that is there and may not be replaced.
    """
    if isinstance(maps, np.ndarray):
        shape, dtype, maps = shape or maps.shape, dtype or maps.dtype, [maps]
    if shape is None or dtype is None:
        raise UsageError("blocks of maps need the shape and dtype of the whole array")
    check_output(path, overwrite)
    file, name = split(path)
    kind, wanted = _kind(file, "write"), np.dtype(dtype)
    done = 0
    with replacing(file) as draft:
        if _is_hdf5(file) and _holds_more(file, name or NAME):
            shutil.copy2(file, draft)
        with _WRITERS[kind](draft, name or NAME, shape, wanted) as write:
            for block in maps:
                done += block.size
                if done > math.prod(shape):
                    break
                write(np.ascontiguousarray(block, dtype=wanted))
        if done != math.prod(shape):
            raise UsageError(f"{file}: blocks of {done} samples or more given for shape {shape}")


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Raise UsageError if an array cannot be written to the path; call it before long work."""
    file, name = split(path)
    _kind(file, "write")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: there is no directory {file.parent}; make it first")
    added = _is_hdf5(file)
    check_place(file, overwrite or added)
    if added:
        _check_dataset(file, name or NAME, overwrite)


def _is_hdf5(file: Path) -> bool:
    """Whether a file is there that a dataset is added to."""
    return KINDS[file.suffix.lower()] == "hdf5" and file.is_file() and bool(_h5py().is_hdf5(file))


def _check_dataset(file: Path, name: str, overwrite: bool) -> None:
    """Raise UsageError where a dataset cannot be written into an HDF5 file that is there, or may not."""
    h5py = _h5py()
    try:
        with h5py.File(file, "r") as store:
            parts = [part for part in name.split("/") if part]
            for end in range(1, len(parts) + 1):
                place = "/" + "/".join(parts[:end])
                link = store.get(place, getlink=True)
                if link is None:
                    return
                if not isinstance(link, h5py.HardLink):
                    raise UsageError(f"{file}:{place} is a link; name what it leads to")
                if (end < len(parts)) != isinstance(store[place], h5py.Group):
                    what = "a dataset" if end < len(parts) else "a group"
                    raise UsageError(f"{file}:{place} is {what}; choose another name")
    except OSError as error:
        raise UsageError(f"{file} exists and cannot be added to: {_line(error)}") from error
    if not overwrite:
        raise UsageError(f"{file}:{name} exists; choose another name or allow overwriting (--overwrite)")


def _holds_more(file: Path, name: str) -> bool:
    """Whether an HDF5 file has anything but a dataset, which is to stay where that is written."""
    with _h5py().File(file, "r") as store:
        return set(store) != {name.strip("/")} or bool(store.attrs)


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Any]:
    return {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}


@contextmanager
def _write_npy(draft: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Write]:
    with open(draft, "xb") as stream:
        np.lib.format.write_array_header_1_0(stream, _header(shape, dtype))
        yield lambda block: _put(stream, block)


@contextmanager
def _write_npz(draft: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Write]:
    # As numpy.savez_compressed does, but a block at a time.
    with (
        zipfile.ZipFile(draft, "x", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{name}.npy", "w", force_zip64=True) as stream,
    ):
        np.lib.format.write_array_header_1_0(stream, _header(shape, dtype))
        yield lambda block: _put(stream, block)


@contextmanager
def _write_hdf5(draft: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Write]:
    with _h5py().File(draft, "a") as store:
        if name in store:
            del store[name]
        dataset = store.create_dataset(name, shape=shape, dtype=dtype)
        done = 0

        def write(block: NDArray[Any]) -> None:
            nonlocal done
            if len(shape) == 2:
                dataset[...] = block.reshape(shape)
                return
            maps = block.reshape(-1, *shape[1:])
            dataset[done : done + len(maps)] = maps
            done += len(maps)

        yield write


def _put(stream: IO[bytes], block: NDArray[Any]) -> None:
    stream.write(block.data.cast("B") if block.dtype.isnative else block.tobytes())


_WRITERS = {"npy": _write_npy, "npz": _write_npz, "hdf5": _write_hdf5}

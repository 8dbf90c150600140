"""Arrays on disk: what is read, what is refused and how, and that writing is all or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from velcodec import compress
from velcodec.errors import DataError, UsageError, VelcodecError
from velcodec.sources import blocks, check_output, layout, open_source, split, write_array

SHAPES = [(6, 5), (4, 6, 5), (4, 1, 6, 5)]
DTYPES = ["<f2", "<f4", ">f4", "<f8", ">f8", "|i1", "|u1", "<i2", ">i2", "<i4", "<u4", "<i8", "<u8"]
ENDINGS = [".npy", ".npz", ".h5", ".hdf5", ".NPY"]


def array(shape: tuple[int, ...] = (4, 1, 6, 5), dtype: str = "<f4") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(tmp_path, ending, shape, dtype):
    path, wanted = tmp_path / f"a{ending}", array(shape, dtype)
    write_array(path, wanted)
    source = open_source(path)
    assert source.shape == shape
    assert source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(source[...], wanted)
    assert files(tmp_path) == [path.name]


def test_npy_is_memory_mapped_and_hdf5_is_left_on_disk(tmp_path):
    write_array(tmp_path / "a.npy", array())
    write_array(tmp_path / "a.h5", array())
    assert isinstance(open_source(tmp_path / "a.npy"), np.memmap)
    assert isinstance(open_source(tmp_path / "a.h5"), h5py.Dataset)


def test_what_numpy_and_h5py_write_is_read(tmp_path):
    v = array()
    np.save(tmp_path / "a.npy", np.asfortranarray(v))
    np.savez(tmp_path / "a.npz", v)
    np.savez_compressed(tmp_path / "b.npz", velocity=v)
    with h5py.File(tmp_path / "a.h5", "w") as store:
        store.create_dataset("train/v", data=v, chunks=True, compression="gzip")
    for name in ("a.npy", "a.npz", "b.npz", "a.h5"):
        np.testing.assert_array_equal(open_source(tmp_path / name)[...], v)


def test_what_is_written_is_read_by_numpy_and_h5py(tmp_path):
    v = array()
    for name in ("a.npy", "a.npz", "a.h5:/train/v"):
        write_array(tmp_path / name, v)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), v)
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["v"], v)
    with h5py.File(tmp_path / "a.h5") as store:
        np.testing.assert_array_equal(store["train/v"], v)


def test_names_inside_a_file(tmp_path):
    v = array()
    np.savez(tmp_path / "two.npz", a=v, b=v + 1)
    with h5py.File(tmp_path / "two.h5", "w") as store:
        store["g/a"], store["b"] = v, v + 1
    np.testing.assert_array_equal(open_source(f"{tmp_path}/two.npz:b")[...], v + 1)
    np.testing.assert_array_equal(open_source(f"{tmp_path}/two.h5:/g/a")[...], v)
    np.testing.assert_array_equal(open_source(f"{tmp_path}/two.h5:b")[...], v + 1)
    for name, message in (
        ("two.npz", "holds a, b; name one, as in two.npz:a"),
        ("two.npz:c", "no array c; it holds a, b"),
        ("two.h5", "holds /b, /g/a; name one"),
        ("two.h5:/c", "no dataset /c; it holds b, g"),
        ("two.h5:/g", "/g is a group"),
    ):
        with pytest.raises(UsageError, match=message):
            open_source(tmp_path / name)


def test_a_colon_in_the_name_of_a_file(tmp_path):
    path = tmp_path / "a.npz:b.npz"
    write_array(tmp_path / "x.npz", array())
    os.rename(tmp_path / "x.npz", path)
    assert split(path) == (path, None)
    np.testing.assert_array_equal(open_source(path)[...], array())


@pytest.mark.parametrize("ending", [".npy", ".npz", ".h5"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((2, 3, 3), complex), "not velocities"),
        (np.zeros((2, 3, 3), bool), "not velocities"),
        (np.zeros((0, 3, 3)), "holds no samples"),
        (np.zeros((2, 0, 3)), "holds no samples"),
        (np.zeros(3), "is not that of maps"),
        (np.zeros(()), "is not that of maps"),
        (np.zeros((2, 2, 3, 3)), "is not that of maps"),
        (np.zeros((1, 1, 1, 3, 3)), "is not that of maps"),
    ],
)
def test_arrays_that_are_no_maps_are_refused(tmp_path, ending, bad, message):
    path = tmp_path / f"a{ending}"
    if ending == ".h5":
        with h5py.File(path, "w") as store:
            store["v"] = bad
    else:
        (np.save if ending == ".npy" else np.savez)(path, bad)
    with pytest.raises(DataError, match=message):
        open_source(path)


def test_python_objects_are_never_unpickled(tmp_path):
    objects = np.array([[{}]], dtype=object)
    np.save(tmp_path / "a.npy", objects)
    np.savez(tmp_path / "a.npz", objects)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="Python objects"):
            open_source(tmp_path / name)


def test_wrong_paths(tmp_path):
    (tmp_path / "d.npy").mkdir()
    (tmp_path / "a.txt").touch()
    (tmp_path / "a").touch()
    for name, message in (
        ("missing.npy", "no such file"),
        ("missing.npz:v", "no such file"),
        ("d.npy", "is not a file"),
        ("a.txt", "cannot read .txt; use .npy, .npz or .h5"),
        ("a", "without ending"),
    ):
        with pytest.raises(UsageError, match=message):
            open_source(tmp_path / name)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".h5"])
def test_every_truncation_is_an_error_of_one_line(tmp_path, ending):
    whole = tmp_path / f"a{ending}"
    write_array(whole, array())
    data = whole.read_bytes()
    cut = tmp_path / f"cut{ending}"
    for length in range(0, len(data), max(1, len(data) // 60)):
        cut.write_bytes(data[:length])
        with pytest.raises(VelcodecError) as caught:
            open_source(cut)
        assert "\n" not in str(caught.value)


def test_a_damaged_npz_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_array(path, array())
    data = bytearray(path.read_bytes())
    data[120] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="not a whole"):
        open_source(path)


def test_another_kind_of_file_under_a_known_ending(tmp_path):
    for name in ("a.npy", "a.npz", "a.h5"):
        (tmp_path / name).write_bytes(b"a text\n" * 40)
        with pytest.raises(DataError, match="not a whole"):
            open_source(tmp_path / name)


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_are_the_maps_in_order(shape):
    v = array(shape)
    parts = list(blocks(v, 3))
    assert all(part.shape[1:] == (6, 5) and len(part) <= 3 for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts), v.reshape(-1, 6, 5))


def test_layout():
    assert layout((6, 5)) == (1, 6, 5)
    assert layout((4, 6, 5)) == layout((4, 1, 6, 5)) == (4, 6, 5)
    with pytest.raises(DataError):
        layout((4, 2, 6, 5))


# Writing


@pytest.mark.parametrize("ending", [".npy", ".npz", ".h5"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i2"])
def test_blocks_make_the_array(tmp_path, ending, dtype):
    v = array(dtype=dtype)
    parts = (part.astype(np.float64) for part in (v[:3, 0], v[3:, 0]))
    write_array(tmp_path / f"a{ending}", parts, v.shape, dtype)
    source = open_source(tmp_path / f"a{ending}")
    assert source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(source[...], v)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".h5"])
def test_a_failure_leaves_nothing_and_keeps_the_old_file(tmp_path, ending):
    path = tmp_path / f"a{ending}"

    def failing():
        yield array()[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_array(path, failing(), (4, 1, 6, 5), "<f4")
    assert files(tmp_path) == []
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_array(path, failing(), (4, 1, 6, 5), "<f4", overwrite=True)
    assert files(tmp_path) == [path.name]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("ending", [".npy", ".npz", ".h5"])
@pytest.mark.parametrize("count", [3, 5])
def test_too_few_or_too_many_maps_leave_nothing(tmp_path, ending, count):
    with pytest.raises(UsageError, match="samples"):
        write_array(tmp_path / f"a{ending}", iter([array((count, 6, 5))]), (4, 6, 5), "<f4")
    assert files(tmp_path) == []


def test_overwriting_is_refused_unless_told(tmp_path):
    path = tmp_path / "a.npy"
    write_array(path, array())
    with pytest.raises(UsageError, match="exists"):
        write_array(path, array() + 1)
    np.testing.assert_array_equal(np.load(path), array())
    write_array(path, array() + 1, overwrite=True)
    np.testing.assert_array_equal(np.load(path), array() + 1)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.npy").touch()
    (tmp_path / "link.npy").symlink_to("real.npy")
    write_array(tmp_path / "link.npy", array(), overwrite=True)
    assert (tmp_path / "link.npy").is_symlink()
    np.testing.assert_array_equal(np.load(tmp_path / "real.npy"), array())


def test_a_dataset_is_written_beside_the_others(tmp_path):
    path = tmp_path / "survey.h5"
    with h5py.File(path, "w") as store:
        store.create_dataset("seismic", data=np.arange(9))
        store.create_dataset("models/old", data=np.arange(4))
        store["elsewhere"] = h5py.SoftLink("/seismic")
    before = path.read_bytes()
    write_array(f"{path}:/models/new", array())
    for name, overwrite, message in (
        ("models/old", False, "exists"),
        ("models", True, "is a group"),
        ("seismic/v", True, "is a dataset"),
        ("elsewhere", True, "is a link"),
    ):
        with pytest.raises(UsageError, match=message):
            write_array(f"{path}:/{name}", array(), overwrite=overwrite)
    write_array(f"{path}:/models/old", array() + 1, overwrite=True)
    with h5py.File(path, "r") as store:
        np.testing.assert_array_equal(store["seismic"], np.arange(9))
        np.testing.assert_array_equal(store["models/new"], array())
        np.testing.assert_array_equal(store["models/old"], array() + 1)
    path.write_bytes(before[:1000])  # HDF5 still, and cannot be read
    with pytest.raises(UsageError, match="cannot be added to"):
        write_array(f"{path}:/v", array(), overwrite=True)
    assert path.read_bytes() == before[:1000]
    path.write_text("no HDF5 at all")
    with pytest.raises(UsageError, match="exists"):
        write_array(path, array())
    write_array(path, array(), overwrite=True)
    with h5py.File(path, "r") as store:
        np.testing.assert_array_equal(store["v"], array())


def test_a_dataset_alone_in_its_file_is_written_anew(tmp_path):
    write_array(tmp_path / "a.h5", array())
    size = (tmp_path / "a.h5").stat().st_size
    for _ in range(3):
        write_array(tmp_path / "a.h5", array(), overwrite=True)
    assert (tmp_path / "a.h5").stat().st_size == size


def test_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "link.npy").symlink_to("pipe.npy")
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe.npy", "link.npy"):
        with pytest.raises(UsageError, match="device or a pipe"):
            write_array(tmp_path / name, array(), overwrite=True)
    with pytest.raises(UsageError, match="device or a pipe"):
        compress(array(), tmp_path / "pipe", overwrite=True)
    assert all((tmp_path / name).is_fifo() for name in ("pipe.npy", "link.npy", "pipe"))


def test_wrong_outputs(tmp_path):
    (tmp_path / "d.npy").mkdir()
    for name, message in (
        ("a.txt", "cannot write .txt"),
        ("d.npy", "is a folder"),
        ("nowhere/a.npy", "there is no directory"),
    ):
        with pytest.raises(UsageError, match=message):
            check_output(tmp_path / name)
    with pytest.raises(UsageError, match="shape and dtype"):
        write_array(tmp_path / "a.npy", iter([array()]))

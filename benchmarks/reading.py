"""Reading maps at random from a large archive, beside HDF5 with gzip, Zarr with zstd and Blosc2 of the same maps.

    python benchmarks/reading.py ARCHIVE.vlz SHARDS [--reads 300]

The archive is one that `benchmarks/archives.py --keep FOLDER` has left, the shards those that it is of. The others
store the maps as they are, lossless float32, each twice: with a chunk a map, and with a chunk of as many maps as a
block of the archive has. All files are read from the system's cache.

- One map, 64 random maps in one call, and a whole block: median and 99th percentile, in milliseconds. "cold" keeps
  nothing of what was read, "warm" has read all of the archive, with memory for it.
- By URL: the bytes that opening the archive takes, and one map.
- A training loop: DataLoader, batches of 64, shuffled, two workers, maps a second in the first epoch and in two more.

The tables are printed and kept as results/reading-VERSION.json.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, table, use_cores
from numpy.typing import NDArray

CORES = use_cores()

import blosc2  # noqa: E402
import h5py  # noqa: E402
import torch  # noqa: E402
import zarr  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

import velcodec  # noqa: E402
from velcodec.remote import RemoteFile  # noqa: E402

BATCH, WORKERS, EPOCHS = 64, 2, 3
MEMORY = 1 << 31  # bytes that a warm reader may keep: the maps, and while they are read their records
Rows = NDArray[np.int64]
Reader = Callable[[Rows], Any]


def sources(archive: velcodec.Archive, folder: Path) -> list[NDArray[np.float32]]:
    """The shards that an archive is of, in its order, (500, 1, 70, 70) each, mapped."""
    return [np.load(folder / source.name, mmap_mode="r") for source in archive.sources]


def disk(path: Path) -> int:
    """Bytes of a file or a folder of files."""
    return (
        sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        if path.is_dir()
        else path.stat().st_size
    )


def stored(shards: Sequence[NDArray[np.float32]], folder: Path, chunk: int) -> dict[str, Path]:
    """The maps in each other format, so many to a chunk: where each lies."""
    count, side = sum(map(len, shards)), shards[0].shape[-2:]
    paths = {name: folder / f"{chunk}.{name}" for name in ("h5", "zarr", "b2nd")}
    with h5py.File(paths["h5"], "w") as file:
        h5 = file.create_dataset(
            "v", (count, *side), "f4", chunks=(chunk, *side), compression="gzip", shuffle=True
        )
        zstd = zarr.codecs.BloscCodec(cname="zstd", clevel=5, shuffle="shuffle")
        za = zarr.create_array(
            paths["zarr"], shape=(count, *side), dtype="f4", chunks=(chunk, *side),
            shards=(5000, *side), compressors=zstd,
        )  # fmt: skip
        b2 = blosc2.empty(
            (count, *side), np.float32, urlpath=str(paths["b2nd"]), mode="w",
            chunks=(max(chunk, 100), *side), blocks=(chunk, *side), cparams={"codec": blosc2.Codec.ZSTD, "clevel": 5},
        )  # fmt: skip
        for first in range(0, count, 5000):
            part = np.concatenate([np.asarray(s[:, 0]) for s in shards[first // 500 :][:10]])
            for out in (h5, za, b2):
                out[first : first + len(part)] = part
    return paths


def opened(kind: str, path: Path) -> tuple[Reader, Any]:
    """A function of sorted map numbers that reads them, of a file opened anew, and what is to be kept open for it."""
    if kind == "h5":
        file = h5py.File(path)
        return lambda rows: file["v"][rows], file
    if kind == "zarr":
        z = zarr.open_array(path, mode="r")
        return lambda rows: z.get_orthogonal_selection((rows,)), z
    if kind == "b2nd":
        b = blosc2.open(str(path), mode="r")
        return lambda rows: b[int(rows[0]) : int(rows[-1]) + 1] if dense(rows) else b.take(rows, axis=0), b
    archive = velcodec.open(path, keep=0 if kind == "cold" else MEMORY)
    for first in 2 * list(range(0, len(archive), 5000)) if kind == "warm" else ():
        archive[first : first + 5000]  # a block that is wanted again is kept decoded
    return lambda rows: archive[rows], archive


def dense(rows: Rows) -> bool:
    """Whether rows follow one another."""
    return bool(rows[-1] - rows[0] + 1 == len(rows))


def timed(read: Reader, count: int, block: int, reads: int) -> dict[str, float]:
    """Milliseconds of each kind of reading."""
    rng = np.random.default_rng(5)
    kinds: dict[str, tuple[int, Callable[[], Rows]]] = {
        "one": (reads, lambda: rng.integers(0, count, 1)),
        "random_64": (max(10, reads // 10), lambda: np.sort(rng.choice(count, 64, replace=False))),
        "block": (max(10, reads // 3), lambda: block * rng.integers(count // block) + np.arange(block)),
    }
    out = {}
    for name, (times, rows) in kinds.items():
        took = []
        for _ in range(times):
            own = rows()
            begun = time.perf_counter()
            read(own)
            took.append(1000 * (time.perf_counter() - begun))
        out[f"{name}_median"] = float(np.median(took))
        out[f"{name}_p99"] = float(np.percentile(took, 99))
    return out


class Raw(Dataset[torch.Tensor]):
    """The raw shards, as a training loop without an archive reads them."""

    def __init__(self, shards: Sequence[NDArray[np.float32]]) -> None:
        self._shards = shards

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self._shards[index // 500][index % 500]))


class Chunked(Dataset[torch.Tensor]):
    """Maps of an HDF5 file, a batch in one call; each worker opens it for itself."""

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count
        self._read: Reader | None = None

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
        if self._read is None:
            self._read, self._open = opened("h5", self._path)
        order = np.argsort(indices)
        maps = np.empty((len(indices), 1, 70, 70), np.float32)
        maps[order, 0] = self._read(np.asarray(indices)[order])
        return list(torch.from_numpy(maps))


class Preloaded(Dataset[torch.Tensor]):
    """An archive whose maps are all decoded when the first is asked for, so that this counts for the first epoch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with velcodec.open(path) as archive:
            self._count = len(archive)
        self._data: velcodec.VelocityDataset | None = None

    def __len__(self) -> int:
        return self._count

    def load(self) -> None:
        self._data = velcodec.VelocityDataset(self._path, preload=True)

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
        assert self._data is not None
        return self._data.__getitems__(indices)


def far(path: Path) -> dict[str, float]:
    """Bytes and requests to open an archive by URL, and bytes to read one map, each in a request of its own."""
    fetched: list[int] = []
    plain = RemoteFile._fetched

    def counted(self: RemoteFile, offset: int, length: int) -> bytes:
        fetched.append(length)
        return plain(self, offset, length)

    RemoteFile._fetched = counted  # type: ignore[method-assign]
    try:
        with velcodec.open(path.resolve().as_uri(), keep=0) as archive:
            opening = list(fetched)
            fetched.clear()
            for row in np.random.default_rng(6).permutation(len(archive))[:100]:
                archive[int(row)]
    finally:
        RemoteFile._fetched = plain  # type: ignore[method-assign]
    return {
        "opening_bytes": sum(opening),
        "opening_requests": len(opening),
        "map_bytes_mean": float(np.mean(fetched)),
        "map_bytes_most": max(fetched),
    }


def loading(data: Dataset[torch.Tensor]) -> dict[str, float]:
    """Maps a second through a DataLoader: in the first epoch, and in the others."""
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    spent = []
    for epoch in range(EPOCHS):
        begun = time.perf_counter()
        if epoch == 0 and isinstance(data, Preloaded):
            data.load()
        maps = sum(len(batch) for batch in loader)
        spent.append(time.perf_counter() - begun)
    return {
        "first_epoch": maps / spent[0],
        "later_epochs": (EPOCHS - 1) * maps / sum(spent[1:]),
        "all_epochs": EPOCHS * maps / sum(spent),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--reads", type=int, default=300)
    args = parser.parse_args()
    with velcodec.open(args.archive) as archive:
        shards, count = sources(archive, args.shards), len(archive)
        block = archive.stored.footer.entries[0].count
    times, sizes, loops = {}, {}, {}
    with tempfile.TemporaryDirectory(dir=args.archive.parent) as folder:
        sizes["raw shards"] = disk(args.shards)
        kinds = {"velcodec, cold": ("cold", args.archive), "velcodec, warm": ("warm", args.archive)}
        for chunk in (1, block):
            for kind, path in stored(shards, Path(folder), chunk).items():
                name = {"h5": "HDF5 gzip", "zarr": "Zarr zstd", "b2nd": "Blosc2 zstd"}[kind]
                kinds[f"{name}, chunks of {chunk}"] = kind, path
        for name, (kind, path) in kinds.items():
            read, held = opened(kind, path)
            read(np.arange(2))
            times[name], sizes[name] = timed(read, count, block, args.reads), disk(path)
            del read, held
            print(name, sizes[name], times[name], flush=True)
        data = {
            "velcodec": velcodec.VelocityDataset(args.archive),
            "velcodec, preload": Preloaded(args.archive),
            **{name: Chunked(path, count) for name, (kind, path) in kinds.items() if kind == "h5"},
            "raw shards": Raw(shards),
        }
        for name, own in data.items():
            loops[name] = loading(own)
            print(name, loops[name], flush=True)
    facts = {
        "machine": machine(),
        "cores": CORES,
        "maps": count,
        "block": block,
        "versions": {m.__name__: m.__version__ for m in (h5py, zarr, blosc2)},
        "bytes": sizes,
        "milliseconds": times,
        "loader_maps_per_second": loops,
        "by_url": far(args.archive),
    }
    (RESULTS / f"reading-{velcodec.__version__}.json").write_text(json.dumps(facts, indent=2) + "\n")
    head = ["", "MB", "one map, ms", "99 %", "64 maps", "99 %", f"block of {block}", "99 %"]
    print(
        table(
            head,
            [[n, f"{sizes[n] / 1e6:,.1f}", *(f"{ms:.2f}" for ms in t.values())] for n, t in times.items()],
        )
    )
    raw = loops["raw shards"]
    head = ["DataLoader, maps/s", "first epoch", "later", "of raw", "times smaller"]
    rows = []
    for name, own in loops.items():
        size = sizes["velcodec, cold" if name.startswith("velcodec") else name]
        share = own["later_epochs"] / raw["later_epochs"]
        smaller = sizes["raw shards"] / size
        rows.append(
            [
                name,
                f"{own['first_epoch']:,.0f}",
                f"{own['later_epochs']:,.0f}",
                f"{share:.2f}",
                f"{smaller:.1f}",
            ]
        )
    print(table(head, rows))
    print(facts["by_url"])


if __name__ == "__main__":
    main()

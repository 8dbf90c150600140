"""An archive as a map-style dataset of PyTorch's, for training loops."""

import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from .archive import Archive
from .errors import UsageError
from .manifest import Source
from .places import Place
from .shared import SharedMaps


class VelocityDataset(Dataset[Tensor]):
    """Maps of a .vlz file as float32 tensors (1, H, W) in the file's units, as OpenFWI's own dataset gives its labels.

    A `torch.utils.data.DataLoader` takes a batch in one call, so that latents are decoded together; its workers open
    the file anew. Arguments that OpenFWI's dataset has too are named as there.

    Args:
        path: of the .vlz file, or a URL.
        anno: OpenFWI's list of files, a line each, "data<TAB>model" or the model alone: the maps of those that it
            names, in its order. Paths may begin elsewhere than those in the archive.
        preload: decode all maps now, on all cores, and keep them on `output`, whatever they take.
        transform_label: what is done with each tensor.
        families: of OpenFWI's, that maps are wanted of, as in ("FlatVel_A", "CurveVel_A"); None means all maps.
        shape: (H', W'), to read maps on another grid; None means native.
        device: where latents are decoded: "auto", "cpu" or "cuda"; with a GPU, load without workers.
        output: the device that tensors are on, as in "cuda:0"; the CPU unless said.
        keep: bytes of memory for maps that have been read. Where it holds all of the archive's, each is decoded once,
            by whichever worker wants it first (with workers that are not forked, by each); else every worker keeps the
            blocks that it used last.

    Raises:
        UsageError: no maps of these families, or a file of the list that the archive does not hold. FormatError,
            CodebookError: as `velcodec.open` and `Archive.read`.
    """

    def __init__(
        self,
        path: Place,
        anno: str | os.PathLike[str] | None = None,
        preload: bool = False,
        transform_label: Callable[[Tensor], Tensor] | None = None,
        *,
        families: Sequence[str] | None = None,
        shape: tuple[int, int] | None = None,
        device: str = "cpu",
        output: str = "cpu",
        keep: int = 1 << 30,
    ) -> None:
        self._archive = Archive(path, device=device, keep=keep)
        height, width = shape or self._archive.map_shape
        fits = preload or 4 * len(self._archive) * height * width <= keep
        self._shared = SharedMaps(self._archive, shape) if fits else None
        if fits:
            self._archive.keep = 0  # each block is decoded once
        self._transform, self._shape, self._output = transform_label, shape, torch.device(output)
        sources = list(self._archive.sources)
        if anno is not None:
            sources = _listed(anno, sources)
        if families is not None:
            has = sorted({s.family for s in sources if s.family})
            sources = [s for s in sources if s.family in families]
            if not sources:
                raise UsageError(
                    f"{path} has no maps of {', '.join(families)}; it has {', '.join(has) or 'no families'}"
                )
        self.rows = np.arange(len(self._archive))
        if anno is not None or families is not None:
            self.rows = np.concatenate([np.arange(s.first, s.first + s.maps) for s in sources])
        self._maps: Tensor | None = None
        if preload and self._shared is not None:
            with tqdm(desc="decode", unit=" block", disable=None, leave=False) as bar:
                self._shared.read_all(self.rows, bar.update)
            if self._output.type != "cpu":
                self._maps = self._read(self.rows).to(self._output)
                self._shared = None

    def _read(self, rows: NDArray[np.int64]) -> Tensor:
        """Maps of the archive, (n, 1, H, W) float32, on the CPU."""
        if self._shared is not None:
            return torch.from_numpy(self._shared.read(rows))[:, None]
        maps = self._archive.read(rows, self._shape)
        return torch.from_numpy(maps.astype(np.float32, copy=False))[:, None]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        try:
            index = operator.index(index)
        except TypeError as error:
            raise UsageError(
                f"a dataset is indexed by one whole number, not {index!r}; batches are a DataLoader's"
            ) from error
        if not -len(self) <= index < len(self):
            raise IndexError(f"map {index} is not within the dataset's {len(self)}")
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """Maps (1, H, W), decoded together."""
        if self._maps is not None:
            batch = self._maps[torch.as_tensor(list(indices), device=self._output)]
        else:
            batch = self._read(self.rows[list(indices)]).to(self._output)
        return [own if self._transform is None else self._transform(own) for own in batch]


def _listed(anno: str | os.PathLike[str], sources: Sequence[Source]) -> list[Source]:
    """The sources that a list of OpenFWI's names. Raises UsageError for one that is not there, or there twice."""
    try:
        lines = [line.split("\t")[-1].strip() for line in Path(anno).read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {anno}: {error}") from error
    if not lines:
        raise UsageError(f"{anno} names no files")
    found = []
    for line in lines:
        same = [
            source for source in sources if _ends_alike(PurePath(line).parts, PurePath(source.name).parts)
        ]
        if len(same) != 1:
            what = "several files that end like" if same else "no file"
            raise UsageError(f"the archive has {what} {line}, which {anno} names")
        found.append(same[0])
    return found


def _ends_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the shorter of two paths is the end of the other."""
    count = min(len(one), len(other))
    return one[-count:] == other[-count:]

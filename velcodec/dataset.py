"""An archive as a map-style dataset of PyTorch's, for training loops."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .archive import Archive
from .errors import UsageError
from .places import Place


class VelocityDataset(Dataset[Tensor]):
    """Maps of a .vlz file as float32 tensors (1, H, W) in the file's units, as OpenFWI's own dataset gives its labels.

    A `torch.utils.data.DataLoader` takes a batch in one call, so that latents are decoded together; its workers open
    the file anew.

    Args:
        path: of the .vlz file.
        families: of OpenFWI's, that maps are wanted of, as in ("FlatVel_A", "CurveVel_A"); None means all maps.
        transform: what is done with each tensor, as OpenFWI's `transform_label`.
        shape: (H', W'), to read maps on another grid; None means native.
        device: where latents are decoded: "auto", "cpu" or "cuda"; with a GPU, load without workers.
        output: the device that tensors are on, as in "cuda:0"; the CPU unless said.
        keep: bytes of memory for maps that have been read, those of the last blocks used; each worker has its own.
            Where it holds all maps, each is decoded once.

    Raises:
        UsageError: no maps of these families. FormatError, CodebookError: as `velcodec.open` and `Archive.read`.
    """

    def __init__(
        self,
        path: Place,
        families: Sequence[str] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        shape: tuple[int, int] | None = None,
        device: str = "cpu",
        output: str = "cpu",
        keep: int = 1 << 30,
    ) -> None:
        self._archive = Archive(path, device=device, keep=keep)
        height, width = self._archive.map_shape
        self._archive.whole = len(self._archive) * height * width * self._archive.dtype.itemsize <= keep
        self._transform, self._shape, self._output = transform, shape, torch.device(output)
        self.rows = np.arange(len(self._archive))
        if families is not None:
            own = [s for s in self._archive.sources if s.family in families]
            if not own:
                has = sorted({s.family for s in self._archive.sources if s.family})
                raise UsageError(
                    f"{path} has no maps of {', '.join(families)}; it has {', '.join(has) or 'no families'}"
                )
            self.rows = np.concatenate([np.arange(s.first, s.first + s.maps) for s in own])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        if not -len(self) <= index < len(self):
            raise IndexError(f"map {index} is not within the dataset's {len(self)}")
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """Maps (1, H, W), decoded together."""
        maps = self._archive.read(self.rows[list(indices)], self._shape)
        batch = torch.from_numpy(maps.astype(np.float32, copy=False))[:, None].to(self._output)
        return [own if self._transform is None else self._transform(own) for own in batch]

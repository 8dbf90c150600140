"""Chunks of arrays <-> .vlz files in memory, as the codecs for Zarr and numcodecs store them."""

import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .archive import Archive
from .compression import compress
from .errors import DataError, FormatError, UsageError
from .header import DTYPES
from .request import Request

Self = TypeVar("Self", bound="ChunkRequest")


@dataclass(frozen=True)
class ChunkRequest(Request):
    """What the maps of every chunk must keep, as `velcodec.compress` has it, and the codebook that they name.

    The last two axes of a chunk are those of its maps, (H, W). What is asked holds each time a chunk is written: of a
    chunk written in parts all that is there is read and encoded anew, within the bound of what was read. Maps at the
    array's edge are filled up to the chunk's size, and a PSNR is by the range of what is filled too.

    Args:
        codebook: id or SHA-256; None means the default. A path is kept as it is, and is wanted there for reading too.

    Raises:
        UsageError: requests that exclude each other, or out of range.
    """

    codebook: str | None = None

    def to_json(self) -> dict[str, Any]:
        """What was asked for, as in {"psnr": 35, "latent": "entropy", "effort": 3}; numpy's numbers as Python's."""
        asked = {k: v for k, v in asdict(self).items() if v is not None and v is not False}
        return {k: v.item() if isinstance(v, np.generic) else v for k, v in asked.items()}

    @classmethod
    def from_json(cls: type[Self], fields: Mapping[str, Any]) -> Self:
        """A request from `to_json`. Raises UsageError for what this release does not know."""
        try:
            return cls(**fields)
        except (TypeError, UsageError) as error:
            raise UsageError(
                f"the codec velcodec does not know the configuration {dict(fields)} ({error}); "
                "if a newer release wrote it, upgrade velcodec"
            ) from error

    def encoded(self, chunk: NDArray[Any]) -> bytes:
        """A chunk (..., H, W) as the bytes of a .vlz file, which never embeds the codebook.

        Raises:
            DataError: it cannot be encoded as asked. CodebookError: the codebook is not here.
        """
        check(chunk.ndim, chunk.dtype)
        file = io.BytesIO()
        maps = chunk if chunk.ndim < 4 else chunk.reshape(-1, *chunk.shape[-2:])
        compress(maps, file, embed_codebook="never", **asdict(self))
        return file.getvalue()

    def decoded(
        self, data: bytes, expected: tuple[tuple[int, ...], np.dtype[Any]] | None = None
    ) -> NDArray[Any]:
        """A chunk from its bytes: (n, H, W), or (H, W) where it was given so, in the dtype given.

        Args:
            data: the bytes.
            expected: shape (..., H, W) and dtype of the chunk, which is then given in these.

        Raises:
            FormatError: the bytes are damaged, or of another chunk. CodebookError: the codebook is not here.
        """
        with Archive(io.BytesIO(data), self.codebook) as archive:
            if expected is None:
                return archive.read().reshape(archive.shape)
            shape, dtype = expected
            # Before anything is decoded: a hostile chunk may claim any size.
            same = archive.map_shape == shape[-2:] and math.prod(archive.shape) == math.prod(shape)
            if not same or archive.dtype.newbyteorder("<") != dtype.newbyteorder("<"):
                raise FormatError(
                    f"a chunk holds {archive.dtype} of shape {archive.shape}, not {dtype} of {shape}"
                )
            return archive.read().reshape(shape).astype(dtype, copy=False)


def check(axes: int, dtype: np.dtype[Any]) -> None:
    """Raise DataError for chunks that hold no maps: of too few axes, or of values that cannot be encoded."""
    if axes < 2:
        raise DataError(f"chunks of {axes} axes hold no maps (H, W); velcodec needs two axes or more")
    if dtype.kind not in "fiu" or dtype.newbyteorder("<").str not in DTYPES:
        raise DataError(f"values of dtype {dtype} cannot be encoded; use float16/32/64 or integers")

"""A numcodecs codec, as Zarr format 2 has them: chunks as .vlz files. Found by numcodecs under the id "velcodec"."""

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ndarray_copy
from numpy.typing import NDArray

from .chunks import ChunkRequest, Self
from .errors import DataError


class Velcodec(ChunkRequest, Codec):
    """The compressor of an array of maps, (..., H, W), of Zarr format 2: every chunk is a .vlz file.

    zarr.create_array(store, data=maps, chunks=(100, 70, 70), zarr_format=2, compressors=Velcodec(psnr=35))

    Takes psnr, max_error, latent_only, lossless, latent and effort as `velcodec.compress`, and codebook; `ChunkRequest`
    says what they mean of chunks.

    Raises:
        UsageError: requests that exclude each other.
    """

    codec_id = "velcodec"

    def encode(self, buf: Any) -> bytes:
        """A chunk (..., H, W), an array in C order, as the bytes of a .vlz file.

        Raises:
            DataError: a buffer without a shape, an array in another order, or one that cannot be encoded as asked.
        """
        if not isinstance(buf, np.ndarray):
            raise DataError(f"velcodec encodes numpy arrays (..., H, W), not {type(buf).__name__}")
        if not buf.flags.c_contiguous:
            # Zarr takes what decode() gives for the chunk in the order that it was given in, whatever that was.
            raise DataError("velcodec encodes arrays in C order; make the array with order='C'")
        return self.encoded(buf)

    def decode(self, buf: Any, out: Any = None) -> NDArray[Any]:
        """A chunk from its bytes: (n, H, W), or (H, W) where it was given so, in the dtype given; or `out`, filled.

        Raises:
            FormatError: the bytes are damaged. CodebookError: the codebook is not here.
        """
        return ndarray_copy(self.decoded(ensure_bytes(buf)), out)

    def get_config(self) -> dict[str, Any]:
        return {"id": self.codec_id, **self.to_json()}

    @classmethod
    def from_config(cls: type[Self], config: dict[str, Any]) -> Self:
        return cls.from_json(config)

"""A codec for Zarr format 3: chunks as .vlz files. Needs zarr, and is found by it under the name "velcodec"."""

import asyncio
from typing import TYPE_CHECKING

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.common import JSON, parse_named_configuration

from .chunks import ChunkRequest, Self, check

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

NAME = "velcodec"


class VelcodecSerializer(ChunkRequest, ArrayBytesCodec):
    """The serializer of an array of maps, (..., H, W): every chunk is a .vlz file.

    zarr.create_array(store, data=maps, chunks=(100, 70, 70), serializer=VelcodecSerializer(psnr=35), compressors=None)

    Takes psnr, max_error, latent_only, lossless, latent and effort as `velcodec.compress`, and codebook; `ChunkRequest`
    says what they mean of chunks.

    Raises:
        UsageError: requests that exclude each other.
        DataError: the array made with it holds no maps, or has values that cannot be encoded.
        FormatError: on reading, a chunk is damaged. CodebookError: the codebook is not here.
    """

    is_fixed_size = False

    def to_dict(self) -> dict[str, JSON]:
        return {"name": NAME, "configuration": self.to_json()}

    @classmethod
    def from_dict(cls: type[Self], data: dict[str, JSON]) -> Self:
        _, fields = parse_named_configuration(data, NAME, require_configuration=False)
        return cls.from_json(fields or {})

    def evolve_from_array_spec(self: Self, array_spec: "ArraySpec") -> Self:
        # Not validate(): a shard does not call it of the codecs within, but all are evolved as an array is made.
        check(array_spec.ndim, array_spec.dtype.to_native_dtype())
        return self

    def _encode_sync(self, chunk: "NDBuffer", spec: "ArraySpec") -> "Buffer":
        return spec.prototype.buffer.from_bytes(self.encoded(chunk.as_numpy_array()))

    def _decode_sync(self, data: "Buffer", spec: "ArraySpec") -> "NDBuffer":
        chunk = self.decoded(data.to_bytes(), (spec.shape, np.dtype(spec.dtype.to_native_dtype())))
        return spec.prototype.nd_buffer.from_numpy_array(chunk)

    async def _encode_single(self, chunk_data: "NDBuffer", chunk_spec: "ArraySpec") -> "Buffer":
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    async def _decode_single(self, chunk_data: "Buffer", chunk_spec: "ArraySpec") -> "NDBuffer":
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: "ArraySpec") -> int:
        raise NotImplementedError  # as Zarr has it of codecs whose sizes vary

"""Bytes <-> sections, checksums, streams. Every constant is named as in format_spec.md. Knows no torch.

    prologue | HEAD | [SRCS] | MAPS ... MAPS | [BOOK] | FOOT | tail
    prologue = signature, version, features        section = tag, first, count, length, CRC32C, payload
    FOOT     = where MAPS and BOOK lie, quality of every map          tail = where FOOT is

With the archive feature the quality of maps is in their MAPS, so that FOOT stays small, and SRCS says which files they
are from. What FOOT holds is footer.py's, a MAPS payload blocks.py's, SRCS manifest.py's; what quality codes stand for
quality.py's.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import google_crc32c
import zstandard

from .errors import FormatError, VersionError

SIGNATURE = bytes.fromhex("89564c5a0d0a1a0a")
END_SIGNATURE = bytes.fromhex("89564c5a454e440a")
FORMAT_VERSION = 1

PROLOGUE = struct.Struct("<8sHHHH")  # signature, format version, required features, optional features, zero
SECTION = struct.Struct("<4sIIII")  # tag, first map, count of maps, payload length, CRC32C
TAIL = struct.Struct("<QII8s")  # offset of FOOT, length of FOOT with its header, CRC32C, end signature
STREAM = struct.Struct("<BI")  # coding, stored length
PRESENT = struct.Struct("<H")  # bit i: stream i after the kinds is there
INDEX = struct.Struct("<QIII")  # offset, length with header, first map, count of maps
FOOTER = struct.Struct(
    "<QII"
)  # offset and length of BOOK with its header (0, 0: none), number of MAPS sections
FOOTER_ARCHIVE = struct.Struct("<QIQII")  # the same, with offset and length of SRCS before the number

TAG_HEADER = b"HEAD"
TAG_CODEBOOK = b"BOOK"
TAG_MAPS = b"MAPS"
TAG_SOURCES = b"SRCS"
TAG_FOOTER = b"FOOT"

FEATURE_MODES = 1  # MAPS sections have the adaptive streams
FEATURE_TILES = 2  # records are tiles of maps
FEATURE_SECOND = 4  # the second coder: HEAD is deflated, edges has other contexts, layers may be in steps
FEATURE_THIRD = 8  # beside it, the third: layers know typical ones, FOOT is one stream
FEATURE_FOURTH = 16  # beside it, the fourth: layers may have smoothed edges
FEATURE_FIFTH = 32  # beside it, the fifth: latents that are not coded are cut to PLAIN numbers
FEATURE_ARCHIVE = 64  # quality is in MAPS sections, and SRCS says where maps are from
FEATURE_SIXTH = 128  # beside the fifth, the sixth: smooth has another prediction and other contexts
FEATURE_SEVENTH = 256  # beside it, the seventh: integers of latents may lie past the tables' open ends
FEATURE_EIGHTH = 512  # beside it, the eighth: maps may be cosines, with a residual or not
FEATURE_NINTH = 1024  # beside it, the ninth: the dictionary of HEAD knows openfwi-2d-v4
FEATURE_TENTH = 2048  # beside it, the tenth: the dictionary of HEAD knows openfwi-2d-v5
KNOWN_REQUIRED_FEATURES = 4095  # bits of the required-features field that this release understands

CODING_RAW = 0
CODING_ZSTD = 1
CODING_ADAPTIVE = 2  # of kinds, from the second coder on

KIND_EXACT = 0
KIND_INT8 = 1
KIND_FP16 = 2
KIND_LAYERED = 3
KIND_EDGES = 4
KIND_SMOOTH = 5
KIND_EDGES_EXACT = 6
KIND_SMOOTH_EXACT = 7
KIND_LAYERED_STEPS = 8
KIND_SOFT = 9  # 9 + p: layers with smoothed edges, depths in PARTS[p] of a cell
PARTS = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 2), (8, 2))  # of a cell, down and across
KIND_COSINES = 15
KIND_ENTROPY = 16  # 16 + t: latent entropy-coded with table set t
KIND_RESIDUAL = 128  # 128 + t: such a latent, and the integers of what it misses
MAX_TABLES = 112
KIND_COSINES_RESIDUAL = 240  # cosines, and the integers of what they miss
PLAIN = 256  # numbers of a latent that an int8 or fp16 record holds, at most, from the fifth coder on


def _dictionary_of(coder: str, book: str, latent: int, sha256: str) -> bytes:
    """What most headers hold, for deflating them: of files of a coder and a codebook."""
    return (
        '"axis":1,"axis":2,"bound":0.5,"bound":1,"bound":5,"bound":10,"bound":25,"bound":50,"bound":100,'
        '"dtype":"<f8","dtype":"<i2","shape":[351,1701],"tile":[256,256,0],"unit":0.0,"units":"km/s"'
        f'{{"codebook":{{"id":"{book}","latent":{latent},"sha256":"{sha256}"}},"coder":"{coder}",'
        '"dtype":"<f4","normalisation":[3000.0,1500.0],"range":[1500.0,4500.0],"shape":[500,1,70,70],'
        '"spacing":[10.0,10.0],"unit":0.0,"units":"m/s"}'
    ).encode()


_DEV_2 = "openfwi-2d-dev-2", 256, "7578584b1b984750eae173c4b8b5e9523ae2ac2c5358e28edf27a988b359dccf"
_DEV_3 = "openfwi-2d-dev-3", 256, "8f8454b1cf8739b23de447e7ec8ba72c0d2bc93776b165c71b08aaf25963db63"
_V1 = "openfwi-2d-v1", 640, "f4dcac5c68b2df5b112cca51708fe859fdd52c9ff210d68c17d2dccef6bea86d"
_V3 = "openfwi-2d-v3", 640, "7ba6a3ec25f1b7897f1e1d62099ae68d786da9671d750b2719d2c2cb3817dc9e"
_V4 = "openfwi-2d-v4", 768, "ffb583f560d704e9ea1d97cc6d9e889e4b214f14e67ecd9683529657492045b2"
_V5 = "openfwi-2d-v5", 800, "f918b0a59aba91fcfc4a508254699b4030054d08da8ad18ec048f46243fc41ac"
# By the last feature of a coder. With the wrong one the coder's name says so, or else the codebook's, or all is askew.
HEADER_DICTIONARIES = {
    FEATURE_SECOND: _dictionary_of("velcodec-2", *_DEV_2),
    FEATURE_THIRD: _dictionary_of("velcodec-3", *_DEV_2),
    FEATURE_FOURTH: _dictionary_of("velcodec-3", *_DEV_3),
    FEATURE_FIFTH: _dictionary_of("velcodec-3", *_V1),
    FEATURE_SIXTH: _dictionary_of("velcodec-6", *_V3),
    FEATURE_SEVENTH: _dictionary_of("velcodec-7", *_V3) + b'{"archive":true,',
    FEATURE_EIGHTH: _dictionary_of("velcodec-8", *_V3) + b'{"archive":true,"shape":[1000,70,70],',
    FEATURE_NINTH: _dictionary_of("velcodec-9", *_V4)
    + b'{"archive":true,"shape":[1000,70,70],"shape":[100,70,70],',
    FEATURE_TENTH: _dictionary_of("velcodec-10", *_V5)
    + b'{"archive":true,"shape":[1000,70,70],"shape":[100,70,70],"shape":[50,70,70],',
}

MAX_HEADER = 1 << 16
MAX_CODEBOOK = 1 << 28
MAX_SOURCES = 1 << 28  # bytes of SRCS, packed or not
MAX_PAYLOAD = (1 << 31) - 1
MAX_BLOCK_MAPS = 4096
MAX_MAPS = 1 << 31

PSNR_EXACT = 0xFFFF
PSNR_MAX = 0xFFFE
ERROR_MAX = 0xFFFE
ERROR_UNBOUNDED = 0xFFFF


def crc32c(*parts: bytes) -> int:
    """CRC32C (Castagnoli) of the parts one after another."""
    value = 0
    for part in parts:
        value = google_crc32c.extend(value, part)
    return int(value)


def readable(version: int, required: int) -> str:
    """Whether this release can read a file: 'yes', 'no', or 'damaged' for a version that never was."""
    if version == 0:
        return "damaged"
    return "yes" if version == FORMAT_VERSION and not required & ~KNOWN_REQUIRED_FEATURES else "no"


# Prologue and tail


def pack_prologue(required: int = 0) -> bytes:
    """The first 16 bytes of a file that needs some features."""
    return PROLOGUE.pack(SIGNATURE, FORMAT_VERSION, required, 0, 0)


NO_VLZ = "not a .vlz file"


def unpack_prologue(data: bytes) -> int:
    """The required features that the first 16 bytes state.

    Raises FormatError, or VersionError for a file of a later release.
    """
    if len(data) < PROLOGUE.size or data[:8] != SIGNATURE:
        damaged = data[:4] == SIGNATURE[:4]
        raise FormatError("the file's first bytes are damaged (a text-mode transfer?)" if damaged else NO_VLZ)
    _, version, required, optional, zero = PROLOGUE.unpack_from(data)
    if readable(version, required) == "no":
        raise VersionError(
            f"format version {version} (features {required:#x}) is newer than this release; upgrade velcodec"
        )
    if version != FORMAT_VERSION or optional or zero:
        raise FormatError("the file's first bytes are damaged")
    return int(required)


def pack_tail(offset: int, length: int) -> bytes:
    """The last 24 bytes of a file."""
    body = struct.pack("<QI", offset, length)
    return TAIL.pack(offset, length, crc32c(body), END_SIGNATURE)


def unpack_tail(data: bytes, file_size: int) -> tuple[int, int]:
    """Offset and length of the footer section, checked against the size of the file."""
    if len(data) != TAIL.size or data[-8:] != END_SIGNATURE:
        raise FormatError("the file is truncated: its end is missing")
    offset, length, crc, _ = TAIL.unpack(data)
    if crc != crc32c(data[:12]):
        raise FormatError("the file's tail is damaged (checksum)")
    if length < SECTION.size or offset + length != file_size - TAIL.size:
        raise FormatError("the file's tail does not point at its footer")
    return offset, length


# Sections


@dataclass(frozen=True)
class Section:
    """A self-framed piece of a file: `first` and `count` say which maps a MAPS section holds, else they are 0."""

    tag: bytes
    first: int
    count: int
    payload: bytes


def pack_section(section: Section) -> bytes:
    """A section with its header and checksum."""
    if len(section.payload) > MAX_PAYLOAD:
        raise FormatError("a section of over 2 GiB cannot be written; make the blocks smaller")
    head = struct.pack("<4sIII", section.tag, section.first, section.count, len(section.payload))
    return head + struct.pack("<I", crc32c(head, section.payload)) + section.payload


def section_length(header: bytes, tag: bytes, limit: int) -> int:
    """Payload length stated by a section header, checked before anything is read or allocated."""
    if len(header) != SECTION.size:
        raise FormatError("the file is truncated")
    found, _, _, length, _ = SECTION.unpack(header)
    if found != tag:
        raise FormatError(f"expected a {tag.decode()} section; the file is damaged")
    if length > limit:
        raise FormatError(f"the {tag.decode()} section states {length} bytes, more than there can be")
    return int(length)


def unpack_section(data: bytes, tag: bytes) -> Section:
    """A whole section, its tag, length and checksum verified."""
    length = section_length(data[: SECTION.size], tag, len(data) - SECTION.size)
    if length != len(data) - SECTION.size:
        raise FormatError(f"the {tag.decode()} section is not as long as the index says")
    found, first, count, _, crc = SECTION.unpack_from(data)
    payload = data[SECTION.size :]
    if crc != crc32c(data[:16], payload):
        raise FormatError(f"the {tag.decode()} section at map {first} is damaged (checksum)")
    return Section(found, first, count, payload)


def read_section(file: BinaryIO, tag: bytes, limit: int) -> Section:
    """The section at the file's position, `limit` bytes of payload at most."""
    header = file.read(SECTION.size)
    length = section_length(header, tag, limit)
    payload = file.read(length)
    if len(payload) != length:
        raise FormatError("the file is truncated")
    return unpack_section(header + payload, tag)


# Header


def pack_header(header: dict[str, Any], features: int) -> bytes:
    """Header fields as compact JSON, deflated (RFC 1951) from the second coder on."""
    data = json.dumps(header, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    if len(data) > MAX_HEADER:
        raise FormatError("the header would be larger than 64 KiB; shorten its text")
    if not features & FEATURE_SECOND:
        return data
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=_dictionary(features))
    return packer.compress(data) + packer.flush()


def unpack_header(payload: bytes, features: int) -> dict[str, Any]:
    """JSON to header fields; their meaning is checked by header.py."""
    if features & FEATURE_SECOND:
        unpacker = zlib.decompressobj(-15, zdict=_dictionary(features))
        try:
            data = unpacker.decompress(payload, MAX_HEADER)
        except zlib.error as error:
            raise FormatError("the header is damaged") from error
        if not unpacker.eof or unpacker.unused_data:
            raise FormatError("the header is not as long as it says")
        payload = data
    try:
        header = json.loads(payload.decode())
    except (ValueError, RecursionError) as error:
        raise FormatError("the header is not JSON") from error
    if not isinstance(header, dict):
        raise FormatError("the header is not a JSON object")
    return header


def _dictionary(features: int) -> bytes:
    return HEADER_DICTIONARIES[max(bit for bit in HEADER_DICTIONARIES if features & bit)]


# Streams


def pack_stream(data: bytes, compress: bool = True) -> bytes:
    """A stream, zstd-compressed where that is shorter."""
    if compress and data:
        packed = zstandard.ZstdCompressor(level=19, write_content_size=True).compress(data)
        if len(packed) < len(data):
            return STREAM.pack(CODING_ZSTD, len(packed)) + packed
    return STREAM.pack(CODING_RAW, len(data)) + data


def unpack_stream(payload: bytes, at: int, length: int | None) -> tuple[bytes, int]:
    """The stream at `at`, which must hold `length` bytes (None: any number, raw), and where the next begins."""
    if at + STREAM.size > len(payload):
        raise FormatError("a stream is truncated")
    coding, stored = STREAM.unpack_from(payload, at)
    at += STREAM.size
    if stored > len(payload) - at:
        raise FormatError("a stream is truncated")
    data = payload[at : at + stored]
    if coding == CODING_ZSTD and length is not None:
        data = decompress(data, length)
    elif coding != CODING_RAW:
        raise FormatError(f"stream coding {coding} is not known")
    if length is not None and len(data) != length:
        raise FormatError("a stream does not hold what its block states")
    return data, at + stored


def decompress(data: bytes, length: int) -> bytes:
    """A zstd frame of a known content size; the size is checked before anything is allocated."""
    try:
        if zstandard.frame_content_size(data) != length:
            raise FormatError("a stream does not hold what its block states")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=length)
    except zstandard.ZstdError as error:
        raise FormatError("a zstd stream is damaged") from error

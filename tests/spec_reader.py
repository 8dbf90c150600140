"""A reader of .vlz files written from format_spec.md alone: it imports nothing of velcodec.

Plain and slow, with the decoder in numpy and float64 and the adaptive coder in Python. The numbers of the parts are
those of the page's sections.
"""

import bisect
import hashlib
import json
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache, reduce
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import zstandard
from numpy.typing import NDArray
from safetensors.numpy import load

Array = NDArray[Any]
SIGNATURE, END_SIGNATURE = bytes.fromhex("89564C5A0D0A1A0A"), bytes.fromhex("89564C5A454E440A")
EXACT, INT8, FP16, LAYERED, EDGES, SMOOTH, EDGES_EXACT, SMOOTH_EXACT, LAYERED_STEPS = range(9)
SOFT, COSINES, ENTROPY, RESIDUAL, MOST_TABLES, COSINES_RESIDUAL = 9, 15, 16, 128, 112, 240
PLAIN = 256  # numbers of a latent that kinds 1 and 2 hold at most, from coder 5 on
MODES, TILES, SECOND, THIRD, FOURTH, FIFTH, ARCHIVE, SIXTH, SEVENTH, EIGHTH, NINTH, TENTH = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
    128,
    256,
    512,
    1024,
    2048,
)  # features
MOST_SOURCES = 268435456  # bytes of SRCS, and of what it holds
CODER_BITS = (
    SECOND,
    THIRD,
    FOURTH,
    FIFTH,
    SIXTH,
    SEVENTH,
    EIGHTH,
    NINTH,
    TENTH,
)  # each needs those before it
WIDE = ("f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8")
DTYPES = {order + code for order in "<>" for code in WIDE} | {"|i1", "|u1"}
MOST_HEADERS = (
    '"axis":1,"axis":2,"bound":0.5,"bound":1,"bound":5,"bound":10,"bound":25,"bound":50,"bound":100,"dtype":"<f8",'
    '"dtype":"<i2","shape":[351,1701],"tile":[256,256,0],"unit":0.0,"units":"km/s"'
    '{"codebook":{"id":"openfwi-2d-%s","latent":%s,"sha256":"%s"},"coder":"velcodec-%s",'
    '"dtype":"<f4","normalisation":[3000.0,1500.0],"range":[1500.0,4500.0],"shape":[500,1,70,70],'
    '"spacing":[10.0,10.0],"unit":0.0,"units":"m/s"}'
)
WORDS = {  # by coder
    2: "dev-2 256 7578584b1b984750eae173c4b8b5e9523ae2ac2c5358e28edf27a988b359dccf 2",
    3: "dev-2 256 7578584b1b984750eae173c4b8b5e9523ae2ac2c5358e28edf27a988b359dccf 3",
    4: "dev-3 256 8f8454b1cf8739b23de447e7ec8ba72c0d2bc93776b165c71b08aaf25963db63 3",
    5: "v1 640 f4dcac5c68b2df5b112cca51708fe859fdd52c9ff210d68c17d2dccef6bea86d 3",
    6: "v3 640 7ba6a3ec25f1b7897f1e1d62099ae68d786da9671d750b2719d2c2cb3817dc9e 6",
    7: "v3 640 7ba6a3ec25f1b7897f1e1d62099ae68d786da9671d750b2719d2c2cb3817dc9e 7",
    8: "v3 640 7ba6a3ec25f1b7897f1e1d62099ae68d786da9671d750b2719d2c2cb3817dc9e 8",
    9: "v4 768 ffb583f560d704e9ea1d97cc6d9e889e4b214f14e67ecd9683529657492045b2 9",
    10: "v5 800 f918b0a59aba91fcfc4a508254699b4030054d08da8ad18ec048f46243fc41ac 10",
}
DICTIONARIES = {coder: (MOST_HEADERS % tuple(words.split())).encode() for coder, words in WORDS.items()}
DICTIONARIES[7] += b'{"archive":true,'
DICTIONARIES[8] += b'{"archive":true,"shape":[1000,70,70],'
DICTIONARIES[9] += b'{"archive":true,"shape":[1000,70,70],"shape":[100,70,70],'
DICTIONARIES[10] += b'{"archive":true,"shape":[1000,70,70],"shape":[100,70,70],"shape":[50,70,70],'
PRIMER = Path(__file__).parents[1] / "velcodec" / "primer.bin"
PRIMER_BYTES, PRIMER_MAPS, PRIMER_SHAPE = 6436, 580, (70, 32)
PRIMER_SHA256 = "7a33398b02a1ca4b5b3e9a803e3c5e1b59373a77d97106c37559caea8e3675a9"


class SpecError(Exception):
    """The file is not as the page says."""


def need(condition: bool, what: str) -> None:
    if not condition:
        raise SpecError(what)


# 1, 2, 3, 4, 6: the frame of a file


class File(NamedTuple):
    data: bytes
    features: int
    head: dict[str, Any]
    tiles: list[tuple[range, range]]  # rows and columns of each tile of a map
    blocks: list[tuple[int, int, int, int]]  # offset, length, first, count of each MAPS section
    book: bytes | None
    quality: bytes  # all of it, but of an archive
    sources: Sequence[dict[str, Any]] = ()  # of an archive: what SRCS says of each file

    @property
    def coder(self) -> int:
        return coder_of(self.features)


def coder_of(features: int) -> int:
    for before, bit in pairwise(CODER_BITS):
        need(not features & bit or bool(features & before), f"feature {bit} without {before}")
    need(not features & ARCHIVE or bool(features & FIFTH), "feature 64 without 32")
    return 1 + sum(bool(features & bit) for bit in CODER_BITS)


def unpack(layout: str, data: bytes, at: int) -> tuple[Any, ...]:
    need(0 <= at <= len(data) - struct.calcsize(layout), "a field passes the end")
    return struct.unpack_from(layout, data, at)


def section(data: bytes, at: int, tag: bytes, size: int | None = None) -> tuple[int, int, bytes]:
    """(first, count, payload) of the section at an offset; `size` is its length with its header."""
    found, first, count, length, crc = unpack("<4sIIII", data, at)
    need(found == tag and size in (None, 20 + length) and length <= 2147483647, f"{tag!r} is not there")
    need(length <= len(data) - at - 20, "a section passes the end")
    payload = data[at + 20 : at + 20 + length]
    need(crc == google_crc32c.value(data[at : at + 16] + payload), f"checksum of {tag!r}")
    return first, count, payload


def stream(data: bytes, at: int, size: int | None) -> tuple[bytes, int]:
    """What a stream holds, `size` bytes (None: any, stored raw), and where the next begins."""
    coding, length = unpack("<BI", data, at)
    need(coding in (0, 1) and length <= len(data) - at - 5, "a stream passes the end")
    held = data[at + 5 : at + 5 + length]
    if coding == 1:
        need(size is not None and zstandard.frame_content_size(held) == size, "size of a zstd frame")
        held = zstandard.ZstdDecompressor().decompress(held)
    need(size in (None, len(held)), "size of a stream")
    return held, at + 5 + length


def header_of(payload: bytes, features: int) -> dict[str, Any]:
    need(len(payload) <= 65536, "size of HEAD")
    coder = coder_of(features)
    if coder > 1:
        inflate = zlib.decompressobj(-15, zdict=DICTIONARIES[coder])
        try:
            payload, rest = inflate.decompress(payload, 65537), inflate.unused_data
        except zlib.error as error:
            raise SpecError("HEAD is not deflated") from error
        need(inflate.eof and not rest and len(payload) <= 65536, "size of HEAD")
    head: dict[str, Any] = json.loads(payload)
    need(head["coder"] == f"velcodec-{coder}", "coder")
    return head


def parse(path: str | Path) -> File:
    data = Path(path).read_bytes()
    signature, version, required, optional, zero = unpack("<8sHHHH", data, 0)
    need(signature == SIGNATURE and (version, required & ~4095, optional, zero) == (1, 0, 0, 0), "prologue")
    _, _, payload = section(data, 16, b"HEAD")
    head, after = header_of(payload, required), 36 + len(payload)
    shape = head["shape"]
    need(2 <= len(shape) <= 4 and min(shape) >= 1 and shape[-2] * shape[-1] <= 268435456, "shape")
    need(len(shape) < 4 or shape[1] == 1, "shape")
    need(head["dtype"] in DTYPES and head["range"][0] <= head["range"][1], "dtype or range")
    need(len(head["units"]) <= 256 and 1 <= head["codebook"]["latent"] <= 4096, "units or latent")
    need(("unit" in head, "tile" in head) == (bool(required & MODES), bool(required & TILES)), "features")
    need(head.get("archive") is (True if required & ARCHIVE else None), "archive")
    need(not required & ARCHIVE or len(shape) > 2, "shape of an archive")
    need(head.get("axis", 0) == 0 or (head["axis"] in (1, 2) and len(shape) == 3), "axis")
    need(0 < head.get("bound", 1) < math.inf, "bound")
    need(math.isfinite(head.get("unit", 0)) and head.get("unit", 0) >= 0, "unit")
    h, w, overlap = head.get("tile", [*shape[-2:], 0])
    need(min(h, w) >= 1 and 0 <= overlap <= min(h, w) / 2, "tile")
    rows, columns = cut(shape[-2], h, overlap), cut(shape[-1], w, overlap)
    tiles = [(z, x) for z in rows for x in columns]
    maps = shape[0] if len(shape) > 2 else 1
    tail = len(data) - 24
    foot_at, length, crc, signature = unpack("<QII8s", data, tail)
    need(signature == END_SIGNATURE and crc == google_crc32c.value(data[tail : tail + 12]), "tail")
    need(foot_at + length == tail, "place of FOOT")
    _, _, payload = section(data, foot_at, b"FOOT", length)
    foot = foot_of(payload, required, len(tiles) * maps, after, foot_at)
    book = section(data, foot.book_at, b"BOOK", foot.book_length)[2] if foot.book_at else None
    sources: list[dict[str, Any]] = []
    if foot.sources_at:
        payload = section(data, foot.sources_at, b"SRCS", foot.sources_length)[2]
        sources = sources_of(payload, maps, shape[-2:])
    return File(data, required, head, tiles, foot.blocks, book, foot.quality, sources)


class Foot(NamedTuple):
    book_at: int
    book_length: int
    sources_at: int
    sources_length: int
    blocks: list[tuple[int, int, int, int]]
    quality: bytes


def foot_of(payload: bytes, features: int, records: int, at: int, foot_at: int) -> Foot:
    """FOOT, which begins at `foot_at`, of a file whose HEAD ends at `at`."""
    coder, codes = coder_of(features), b""
    before = 28 if features & ARCHIVE else 16  # the index
    if coder >= 3:
        payload, codes = counted_foot(payload, records, bool(features & ARCHIVE))
    sources_at = sources_length = 0
    if features & ARCHIVE:
        book_at, book_length, sources_at, sources_length, blocks = unpack("<QIQII", payload, 0)
    else:
        book_at, book_length, blocks = unpack("<QII", payload, 0)
    need(sources_at == (at if sources_length else 0), "place of SRCS")
    at += sources_length
    done, index = 0, []
    for i in range(blocks):
        offset, length, first, count = unpack("<QIII", payload, before + 20 * i)
        need((offset, first) == (at, done) and 1 <= count <= 4096, "index")
        index.append((offset, length, first, count))
        at, done = at + length, done + count
    need(done == records <= 2147483647, "number of records")
    need(book_at == (at if book_length else 0), "place of BOOK")
    need(at + book_length == foot_at, "the sections do not follow one another")
    if coder == 2:
        codes = adaptive_bytes(payload[16 + 20 * blocks :], [records] * 4, "code")
    elif coder == 1:
        codes, end = stream(payload, 16 + 20 * blocks, 4 * records)
        need(end == len(payload), "FOOT has bytes left over")
    return Foot(book_at, book_length, sources_at, sources_length, index, codes)


def counted_foot(payload: bytes, records: int, archive: bool) -> tuple[bytes, bytes]:
    """The fields of FOOT and its index as without feature 8, and the quality."""
    coder, before = Coder(payload), 28 if archive else 16
    fields = lot(coder, before, "counted")
    (blocks,) = unpack("<I", fields, before - 4)
    need(blocks <= records, "number of MAPS sections")
    planes = lot(coder, 20 * blocks, "counted")
    codes = b"" if archive else b"".join(lot(coder, records, "counted") for _ in range(4))
    coder.end()
    return fields + bytes(planes[i * blocks + k] for k in range(blocks) for i in range(20)), codes


def no_json(name: str) -> None:
    raise SpecError(f"{name} is no JSON")


def sources_of(payload: bytes, maps: int, map_shape: list[int]) -> list[dict[str, Any]]:
    """What SRCS says of each file."""
    need(len(payload) <= MOST_SOURCES, "size of SRCS")
    try:
        need(0 <= zstandard.frame_content_size(payload) <= MOST_SOURCES, "size of SRCS")
        found = json.loads(zstandard.ZstdDecompressor().decompress(payload), parse_constant=no_json)
    except (zstandard.ZstdError, ValueError) as error:
        raise SpecError("SRCS is no JSON in a zstd frame") from error
    need(isinstance(found, list), "SRCS is no array")
    first = 0
    for one in found:
        need(isinstance(one, dict) and one.keys() >= SOURCE_KEYS.keys(), "keys of a source")
        need(all(type(one[key]) is kind for key, kind in SOURCE_KEYS.items()), "types of a source")
        need(re.fullmatch("[0-9a-f]{64}", one["sha256"]) is not None, "SHA-256 of a source")
        texts = (one[key] for key, kind in SOURCE_KEYS.items() if kind is str)
        need(all(len(text) <= 1024 and text.isprintable() for text in texts), "a text of a source")
        shape = one["shape"]
        need(all(type(n) is int and n >= 1 for n in shape) and 2 <= len(shape) <= 4, "shape of a source")
        need(shape[-2:] == map_shape and (len(shape) < 4 or shape[1] == 1), "shape of a source")
        need(one["first"] == first and one["bytes"] >= 0 and len(one["request"]) <= 16, "a source")
        first += shape[0] if len(shape) > 2 else 1
    need(not found or first == maps, "maps of the sources")
    return [{key: one[key] for key in SOURCE_KEYS} for one in found]


SOURCE_KEYS: dict[str, type] = dict.fromkeys(("name", "family", "shard", "sha256"), str)
SOURCE_KEYS |= {"first": int, "bytes": int, "shape": list, "request": dict}


def maps_of(file: File) -> Iterator[tuple[int, int, bytes]]:
    """(first, count, payload) of each MAPS section."""
    for at, length, first, count in file.blocks:
        *place, payload = section(file.data, at, b"MAPS", length)
        need(place == [first, count], "a MAPS section of other records")
        yield first, count, payload


def quality_stream(payload: bytes, count: int) -> tuple[bytes, int]:
    """The quality of a block of an archive, and where the kinds begin."""
    coding, length = unpack("<BI", payload, 0)
    need(coding == 2 and length <= len(payload) - 5, "a block does not begin with its quality")
    return adaptive_bytes(payload[5 : 5 + length], [count] * 4, "counted"), 5 + length


def quality(path: str | Path) -> tuple[Array, Array]:
    """PSNR in dB (inf: exact) and maximum error (inf: not bounded) of each record, (r,) each."""
    file = parse(path)
    held = [file.quality]
    if file.features & ARCHIVE:
        held = [quality_stream(payload, count)[0] for _, count, payload in maps_of(file)]
    planes = np.hstack([np.frombuffer(codes, np.uint8).reshape(4, -1) for codes in held]).astype(float)
    psnr, error = planes[0] + 256 * planes[1], planes[2] + 256 * planes[3]
    step = {1: 0.05, 2: 0.25}.get(file.coder, 0.5)
    bias, octave = (1024, 32) if file.coder == 1 else (256, 8)
    with np.errstate(over="ignore"):
        bound = np.where(error == 65535, np.inf, 2 ** ((error - bias) / octave))
    bound = np.where(error == 65535, bound, np.minimum(bound, file.head.get("bound", np.inf)))
    return np.where(psnr == 65535, np.inf, step * psnr), np.where(error == 0, 0, bound)


# 7: entropy-coded latents


class Message:
    """A message of the range coder: the integer k of one symbol after another."""

    def __init__(self, data: bytes) -> None:
        need(len(data) % 4 == 0, "the entropy stream is not a number of words")
        self.words = [*struct.unpack(f"<{len(data) // 4}I", data), 0, 0]
        self.lower, self.span, self.after = 0, 2**64 - 1, 2
        self.point = (self.words[0] << 32) + self.words[1]

    def next(self, f: list[int], c: list[int]) -> int:
        """A symbol of some frequencies and, in parts of 2^24, their sums."""
        scale = self.span >> 24
        u = (self.point - self.lower) % 2**64 // scale
        need(u < c[-1] == 2**24, "the entropy stream does not fit the tables")
        k = bisect.bisect_right(c, u) - 1
        self.lower, self.span = (self.lower + scale * c[k]) % 2**64, scale * 256 * f[k]
        if self.span < 2**32:
            word = self.words[self.after] if self.after < len(self.words) else 0
            self.lower, self.span = (self.lower << 32) % 2**64, self.span << 32
            self.point = (self.point << 32) % 2**64 + word
            self.after += 1
        return k

    def bit(self) -> int:
        return self.next([32768, 32768], [0, 2**23, 2**24])

    def end(self) -> None:
        rest = (self.point - self.lower) % 2**64
        need(self.after >= len(self.words) - 2 and rest < 2**33 - 1, "the entropy stream holds more")


def entropy_latents(data: bytes, kinds: Array, prior: dict[str, Array], coder: int = 7) -> dict[int, Array]:
    """Latents of the entropy-coded records of a block."""
    table = np.where(kinds >= RESIDUAL, kinds.astype(int) - RESIDUAL, kinds.astype(int) - ENTROPY)
    groups = [(int(t), np.flatnonzero(table == t)) for t in np.unique(table) if 0 <= t < MOST_TABLES]
    low, size, step = prior["prior.low"].astype(int), prior["prior.size"].astype(int), prior["prior.step"]
    need(all(t < len(step) for t, _ in groups), "a table set that the codebook has not")
    ends = np.cumsum(size).reshape(size.shape)
    if "prior.table" in prior:
        which = prior["prior.table"]
        low, size, ends = low[which], size[which], ends[which]
    frequency = prior["prior.frequency"].tolist()
    message = Message(data)
    q = {int(row): np.empty(low.shape[1], int) for _, rows in groups for row in rows}
    past = []  # of each integer at an open end: row, number, and which way
    for t, rows in groups:
        for d in range(low.shape[1]):
            f = frequency[ends[t, d] - size[t, d] : ends[t, d]] or [65535, 1]
            c = [0, *accumulate(256 * n for n in f)]
            for row in rows.tolist():
                k = message.next(f, c)
                q[row][d] = low[t, d] + k
                if coder >= 7 and k in (0, len(f) - 1) and f[k] <= 64:
                    past.append((row, d, 1 if k else -1))
    for row, d, way in past:
        bits = 1
        while not message.bit():
            bits += 1
            need(bits <= 16, "an integer lies too far past its table")
        e = 1
        for _ in range(bits - 1):
            e = 2 * e + message.bit()
        q[row][d] += way * (e - 1)
    message.end()
    return {row: step[table[row]] * numbers.astype(np.float32) for row, numbers in q.items()}


# 8: codebooks


class Book(NamedTuple):
    family: str
    tensors: dict[str, Array]
    sha256: str
    options: dict[str, Any]

    @property
    def numbers(self) -> int:
        """D."""
        return int(self.tensors["prior.table" if "prior.table" in self.tensors else "prior.low"].shape[1])


def parse_book(data: bytes) -> Book:
    tensors = load(data)
    (length,) = struct.unpack_from("<Q", data)
    decoding = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["card"])["decoding"]
    sha256 = hashlib.sha256(json.dumps(decoding, sort_keys=True, separators=(",", ":")).encode())
    for name, t in sorted(tensors.items()):
        little = t.astype(t.dtype.newbyteorder("<"))
        sha256.update(f"\n{name} {little.dtype.str} {list(t.shape)}\n".encode() + little.tobytes())
    return Book(decoding["decoder"], tensors, sha256.hexdigest(), decoding["options"])


def codebook_sha256(path: str | Path) -> str:
    """SHA-256 of a codebook file, over what the page names."""
    return parse_book(Path(path).read_bytes()).sha256


def centres(n: int) -> Array:
    return (2 * np.arange(n) + 1) / n - 1


def linear(values: Array, at: Array, axis: int) -> Array:
    """Values (..., n, ...) sampled along an axis at places in [-1, 1], clamped."""
    n = values.shape[axis]
    place = np.clip((at + 1) * n / 2 - 0.5, 0, n - 1)
    low = np.floor(place).astype(int)
    part = (place - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    return values.take(low, axis) * (1 - part) + values.take(np.minimum(low + 1, n - 1), axis) * part


def bilinear(values: Array, x: Array, z: Array) -> Array:
    return linear(linear(values, z, 1), x, 2)


def gelu(v: Array) -> Array:
    return np.asarray(v * (1 + np.vectorize(math.erf)(v / math.sqrt(2))) / 2)


def shuffle(v: Array) -> Array:
    c, n = len(v) // 4, v.shape[1]
    return v.reshape(c, 2, 2, n, n).transpose(0, 3, 1, 4, 2).reshape(c, 2 * n, 2 * n)


class Decoder:
    """The three families of decoders; `output` is (H, W)."""

    def __init__(self, book: Book, prefix: str = "decoder.") -> None:
        self.family = book.family
        self.w = {
            k.removeprefix(prefix): t.astype(float) for k, t in book.tensors.items() if k.startswith(prefix)
        }
        if book.family == "choice" and prefix == "decoder.":
            self.under = Decoder(book, "decoder.warp.")
        self.layers: dict[str, int] | None = book.options.get("layered")
        self.faults: dict[str, int] | None = book.options.get("faulted")

    def layer(self, name: str, v: Array) -> Array:
        """A linear layer over the first axis, or a convolution."""
        weight, n = self.w[f"{name}.weight"], v.shape[-1]
        if weight.ndim == 4:
            around = np.pad(v, ((0, 0), (1, 1), (1, 1)))
            v = np.stack([around[:, a : a + n, b : b + n] for a in range(3) for b in range(3)], 1)
            y = np.tensordot(weight.reshape(*weight.shape[:2], 9), v, 2)
        else:
            y = np.tensordot(weight, v, 1)
        return y + self.w.get(f"{name}.bias", np.zeros(1)).reshape(-1, *[1] * (y.ndim - 1))

    def output(self, y: Array, height: int, width: int) -> Array:
        z, x = np.meshgrid(centres(height), centres(width), indexing="ij")
        families = {"warp": self.warp, "siren": self.siren, "choice": self.choice}
        return families[self.family](y.astype(float), x, z)

    def warp(self, y: Array, x: Array, z: Array) -> Array:
        h = gelu(self.layer("seed", y)).reshape(64, 5, 5)
        h = gelu(self.layer("grow9", bilinear(h, centres(9), centres(9))))
        h = gelu(self.layer("grow18", bilinear(h, centres(18), centres(18))))
        h = gelu(shuffle(self.layer("grow36", h)))
        features = shuffle(self.layer("grow72", h))
        rows = self.w["skip.weight"].shape[1] - (len(features) - 1)
        g = self.layer("profile2", gelu(self.layer("profile1", y))).reshape(rows, -1)
        f = bilinear(features, 70 * x[0] / 72, 70 * z[:, 0] / 72)
        warped = linear(g, ((z + f[0]) / 1.28).ravel(), 1).reshape(rows, *x.shape)
        u = np.concatenate([f[1:], warped])
        h = np.sin(self.layer("sine2", np.sin(self.layer("sine1", np.concatenate([u, [x, z]])))))
        return np.asarray((self.layer("out", h) + self.layer("skip", u))[0])

    def siren(self, y: Array, x: Array, z: Array) -> Array:
        h = np.concatenate([[x, z], np.broadcast_to(y[:, None, None], (len(y), *x.shape))])
        for name in ["first", *(f"hidden.{i}" for i in range(sum("hidden" in k for k in self.w) // 2))]:
            h = np.sin(30 * self.layer(name, h))
        return np.asarray(self.layer("out", h)[0])

    def choice(self, y: Array, x: Array, z: Array) -> Array:
        if not y[0] > 0:
            numbers = self.under.w["seed.weight"].shape[1]
            return self.under.warp(y[1 : 1 + numbers], x, z)
        for past, options, at in ((30, self.faults, faults_at), (10, self.layers, layers_at)):
            if y[0] > past and options is not None:
                more = {k: options[k] for k in ("patches", "slips") if at is faults_at and k in options}
                return at(y, options.get("layers", 8), options.get("waves", 24), x, z, **more)
        out = np.zeros(x.shape)
        for number, (k, down) in zip(y[1:], self.w["cosines.waves"], strict=True):
            out += number * wave(k, x) * wave(down, z)
        return out


def wave(k: float, at: Array) -> Array:
    return np.asarray(math.sqrt((2 if k else 1) / 70) * np.cos(math.pi * k * (at + 1) / 2))


def sigmoid(u: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-u)))


def waves_of(numbers: Array, ks: range, x: Array) -> Array:
    """Of each row of numbers, the sum of its waves."""
    return np.tensordot(numbers, np.stack([wave(k, x) for k in ks]), 1)


def stack_at(steps: Array, curves: Array, depth: Array, width: float) -> Array:
    """Layers under interfaces, none of them above the one over it: a velocity, and the steps below each."""
    out = np.full(depth.shape, steps[0])
    for step, deepest in zip(steps[1:], np.maximum.accumulate(curves), strict=True):
        out += step * sigmoid((depth - deepest) / width)
    return out


def layers_at(y: Array, layers: int, waves: int, x: Array, z: Array) -> Array:
    """Of the layered decoder, from the latent with its number 0."""
    size = layers + (layers - 1) * waves
    need(1 <= layers <= 64 and 1 <= waves <= 70 and size < len(y), "layered")
    told = y[layers + 1 : size + 1].reshape(layers - 1, waves)
    curves = np.cumsum(waves_of(told, range(waves), x), 0)
    return stack_at(0.05 * y[1 : layers + 1], curves, 35 * (z + 1), 0.02)


def faults_at(
    y: Array, layers: int, waves: int, x: Array, z: Array, patches: int = 0, slips: int = 0
) -> Array:
    """Of the faulted decoder, from the latent with its number 0."""
    size = layers + (layers - 1) * waves
    need(2 <= layers <= 16 and 2 <= waves <= 70 and 0 <= patches <= 64 and 0 <= slips <= 8, "faulted")
    need(16 + 2 * size + (1 + 7 * patches + 5 * slips if patches or slips else 0) < len(y), "faulted")
    width, d = max(0.05 * y[1], 0.02), 35 * (z + 1)
    s = [
        35 * x * math.cos(0.0075 * y[n]) + 35 * z * math.sin(0.0075 * y[n]) - 0.15 * y[n + 1]
        for n in (7, 9, 13)
    ]
    m, shift = sigmoid(s[0] / width), np.zeros(x.shape)
    for beyond, n in zip(s[1:], (9, 13), strict=True):
        if y[n + 3] > 0:
            m = m * sigmoid(beyond / width)
        else:
            shift = shift + 0.15 * y[n + 2] * sigmoid(beyond / width)

    def part(e: Array, q: int, x: Array = x) -> tuple[Array, Array]:
        """Layers of the rest or of the block, and the fill that would be there."""
        steps, heights, told = np.split(y[q : q + size], [layers, 2 * layers - 1])
        told = waves_of(told.reshape(layers - 1, waves - 1), range(1, waves), x)
        curves = np.cumsum(0.15 * heights[:, None, None] + told, 0)
        fill = 0.02 * (steps[1] / 2 + y[5]) * sigmoid((d - 0.15 * y[4]) / width)
        return stack_at(0.02 * steps, curves, e, width), fill * sigmoid((curves[0] - e) / width)

    rest, of_rest = part(d - shift, 17)
    block, of_block = part(d - shift - 0.15 * y[3], 17 + size if y[2] > 0 else 17)
    out = np.asarray((1 - m) * rest + m * block)
    if y[4] > 0:
        fill, away = (m * of_block, s[0]) if y[3] >= 0 else ((1 - m) * of_rest, -s[0])
        out = out + fill * (sigmoid((0.15 * y[6] - away) / width) if y[6] > 0 else 1)
    first, corner = 16 + 2 * size + 1, 0.0
    told = y[first + 7 * patches + 1 :][: 5 * slips].reshape(slips, 5)
    if y[2] > 0 and told[:, 4].any():
        stacks = []
        for whose, q in ((-1, 17), (1, 17 + size)):
            u, e = 35 * x, d
            for angle, offset, across, down, side in told:
                turn = 0.0075 * angle
                there = (u * math.cos(turn) + (e - 35) * math.sin(turn) - 0.15 * offset > 0) & (
                    side * whose > 0
                )
                u = np.where(there, np.clip(u - y[first] / 16 * across, -34.5, 34.5), u)
                e = np.where(there, e - y[first] / 16 * down, e)
            stacks.append(part(e, q, u / 35)[0])
        m = sigmoid(s[0] / width)
        out = (1 - m) * stacks[0] + m * stacks[1]
    for p in range(patches):
        told = y[first] / 16 * y[first + 7 * p + 1 :][:7]
        length, across, down, height, other, tilt, value = told.tolist()
        corner += across
        if length:
            a, b = 35 * (x + 1) - corner, d - down
            if length < 0:
                a, b, length = d - down, 35 * (x + 1) - corner, -length
            e = a / length
            sides = (a, length - a, b - tilt * e, tilt * e + height + (other - height) * e - b)
            inside = np.prod([sigmoid(side / width) for side in sides], axis=0)
            out = out + inside * (0.02 * value - out)
    return np.asarray(out)


# 9: the adaptive coder

KNOTS = [1, 1, 3, 8, 22, 60, 162, 439, 1179, 3108, 7812, 17625, 32768, 47911, 57724, 62428, 64357, 65097]
KNOTS += [65374, 65476, 65514, 65528, 65533, 65535, 65535]


def clip(v: int, most: int) -> int:
    return min(max(v, -most), most)


@cache
def squash(s: int) -> int:
    k, f = (s + 3072) >> 8, (s + 3072) % 256
    return max(1, (KNOTS[k] * (256 - f) + KNOTS[k + 1] * f) // 256)


@cache
def stretch(sixteenth: int) -> int:
    """Of p // 16: the least s whose squash comes to the middle of this sixteenth."""
    domain = range(-3071, 3072)  # squash never falls
    return min(bisect.bisect_left(domain, 16 * sixteenth + 8, key=squash) - 3071, 3071)


@cache
def confidence(n: int) -> int:
    return sum(n >= least for least in (1, 2, 4, 8, 32))


@cache
def rate(n: int) -> int:
    return 131072 // (2 * n + 3)


class Coder:
    """The range coder of decisions."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 4
        self.low, self.high, self.code = 0, 2**32 - 1, int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def decide(self, p: int) -> int:
        r = self.high - self.low
        middle = self.low + (r >> 16) * p + ((r % 2**16 * p) >> 16)
        bit = int(self.code <= middle)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while self.low >> 24 == self.high >> 24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.low, self.high = 256 * self.low % 2**32, 256 * self.high % 2**32 + 255
            self.code = 256 * self.code % 2**32 + byte
            self.at += 1
        return bit

    def even(self, count: int) -> int:
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            if self.decide(min(max((high - middle) * 65536 // (high - low), 1), 65535)):
                low = middle
            else:
                high = middle
        return low

    def end(self) -> None:
        need(len(self.data) <= self.at <= len(self.data) + 3, "an adaptive stream ends elsewhere")


class Model:
    """Slots and weights of one model, and the numbers that are read with it."""

    def __init__(
        self, coder: Coder, inputs: int, slots: int, selectors: int, speed: int, limit: int = 255
    ) -> None:
        self.coder, self.slots, self.speed, self.limit = coder, slots, speed, limit
        self.second: int | None = None  # selector besides that of each decision
        self.seen: list[dict[int, tuple[int, int]]] = [{} for _ in range(inputs)]  # p, n of slots used
        first = 131072 // (inputs + 2)
        start = [0, first // 3, first // 2, 3 * first // 4, first, first]
        self.w = [[list(start) for _ in range(inputs)] for _ in range(selectors)]

    def copied(self, coder: Coder) -> "Model":
        """A model as this one is now, for another stream."""
        twin = copy(self)
        twin.coder = coder
        twin.seen = [dict(slots) for slots in self.seen]
        twin.w = [[list(w) for w in inputs] for inputs in self.w]
        return twin

    def mixed(self, j: int, slots: Sequence[int]) -> int:
        selectors = [self.w[k] for k in ([j] if self.second is None else [j, self.second])]
        used = []
        for seen, s in zip(self.seen, slots, strict=True):
            p, n = seen.get(s, (32768, 0))
            used.append((seen, s, p, n, confidence(n), stretch(p >> 4)))
        sums = []
        for w in selectors:
            total = sum([own[c] * x for own, (_, _, _, _, c, x) in zip(w, used, strict=True)])
            sums.append(clip(total >> 16, 3071))
        m = min(max(squash(sum(sums) >> (len(sums) - 1)), 24), 65512)
        bit = self.coder.decide(m)
        target = 65535 * bit
        for w, total in zip(selectors, sums, strict=True):
            e = (target - (m if self.second is None else squash(total))) * self.speed
            for own, (_, _, _, _, c, x) in zip(w, used, strict=True):
                own[c] = (own[c] + ((x * e + 2**17) >> 18) + 2**31) % 2**32 - 2**31
        for seen, s, p, n, _, _ in used:
            seen[s] = p + (((target - p) * rate(n)) >> 16), min(n + 1, self.limit)
        return bit

    def flag(self, h: Sequence[int], node: int, j: int) -> int:
        return self.mixed(j, [blend(one, node) % self.slots for one in h])

    def signed(self, h: Sequence[int], j: int, ways: int) -> int:
        if not self.flag(h, 0, j):
            return 0
        negative, digits, v = self.flag(h, 1, j + ways), 0, 1
        while digits < 40 and self.flag(h, 2 + 2 * digits + negative, j + 2 * ways):
            digits += 1
        for k in range(digits - 1, -1, -1):
            node = 96 + 8 * digits + v
            v = 2 * v + (self.flag(h, node, j + 2 * ways) if k >= digits - 3 else self.coder.decide(32768))
        return -v if negative else v

    def tree(self, h: Sequence[int], count: int) -> int:
        """A number of `count` binary digits, with a one before them."""
        node = 1
        for _ in range(count):
            node = 2 * node + self.flag(h, node, 0)
        return node

    def byte(self) -> int:
        """Of the models `code` and `counted`."""
        node = 1
        for _ in range(8):
            node = 2 * node + self.mixed(0, [node])
        return node - 256


def code_model(coder: Coder) -> Model:
    return Model(coder, 1, 256, 1, 2, limit=30)


def counted_model(coder: Coder) -> Model:
    model = Model(coder, 1, 256, 1, 0, limit=30)
    model.w = [[[65536] * 6]]
    return model


def lot(coder: Coder, count: int, model: str) -> bytes:
    """Bytes under a fresh model, "code" or "counted"."""
    fresh = counted_model(coder) if model == "counted" else code_model(coder)
    return bytes(fresh.byte() for _ in range(count))


def adaptive_bytes(data: bytes, counts: list[int], model: str) -> bytes:
    """Lots of bytes, each under a fresh model."""
    coder = Coder(data)
    found = b"".join(lot(coder, count, model) for count in counts)
    coder.end()
    return found


def blend(h: int, v: int) -> int:
    t = ((h ^ (v % 2**24)) * 2654435761) % 2**32
    return t ^ (t >> 15)


def mix(*numbers: int) -> int:
    """The page's hash."""
    return reduce(blend, numbers)


# 10.1: layers


def layered(
    data: bytes,
    shapes: list[tuple[int, int]],
    stepped: list[bool],
    dtype: np.dtype[Any],
    bounds: tuple[float, float],
    unit: float,
    version: int,
    soft: Sequence[int | None] | None = None,
) -> list[Array]:
    """Maps in the dtype; those in steps in float64, not yet clipped. `soft` has p of kinds 9 + p, None of others."""
    coder = Coder(data)
    models, codes = dict[int | None, Model](), code_model(coder)
    maps, room = [], 268435456
    for shape, in_steps, p in zip(shapes, stepped, soft or [None] * len(shapes), strict=True):
        down, across = (1, 1) if p is None else PARTS_OF_CELLS[p]
        rows, columns = shape[0] * down, shape[1] * across
        need(p is None or rows * columns <= 67108864, "too large a record with smoothed edges")
        model = models[p] if p in models else models.setdefault(p, layers_model(coder, version))
        worth = step(unit, codes.byte()) if in_steps else None
        base, span = span_of(bounds, worth)
        whole, count = whole_and_count(model)
        room -= (count - 1) * columns
        need(not (whole and span == 0) and room >= 0, "head of layers")
        kind = dtype if worth is None else np.dtype("<i8")
        if whole:
            values = np.array([base + v for v in layer_values(model, count, span, version)]).astype(kind)
        else:
            values = patterns(coder, count, kind)
        if worth is not None:
            values = worth * values.astype(float)
        if p is not None:
            values = converted(np.clip(values, *bounds), dtype).astype(float)
        depths = layer_depths(model, count - 1, rows, columns, version)
        place = sum(
            (np.arange(rows)[:, None] >= np.array(d)[None] for d in depths), np.zeros((rows, columns), int)
        )
        drawn = values[place]
        maps.append(drawn if p is None else native(native(drawn, down).T, across).T)
    coder.end()
    return maps


def layers_model(coder: Coder, version: int) -> Model:
    """The model `layers` at the start of a stream."""
    if version >= 3:
        return primed().copied(coder)
    return Model(coder, 8, 65536, 15, 6 if version == 1 else 12)


@cache
def primed() -> Model:
    """The model as decoding the primer leaves it."""
    data = PRIMER.read_bytes()
    need((len(data), hashlib.sha256(data).hexdigest()) == (PRIMER_BYTES, PRIMER_SHA256), "another primer")
    coder = Coder(data)
    model = layers_model(coder, 2)
    for _ in range(PRIMER_MAPS):
        whole, count = whole_and_count(model)
        need(whole == 1, "the primer is not of whole numbers")
        layer_depths(model, count - 1, *PRIMER_SHAPE, 3)
    coder.end()
    return model


def whole_and_count(model: Model) -> tuple[int, int]:
    """`whole`, and the number of layers L."""
    h = [mix(1, 0)] * 8
    whole = model.flag(h, 0, 0)
    return whole, model.tree(h, 6) - 63


def span_of(bounds: tuple[float, float], worth: float | None) -> tuple[int, int]:
    """F and S."""
    if worth is None:
        base, top = math.floor(bounds[0]), math.ceil(bounds[1])
    elif worth == 0 or not math.isfinite(bounds[0] / worth) or not math.isfinite(bounds[1] / worth):
        return 0, 0
    else:
        base, top = round(bounds[0] / worth), round(bounds[1] / worth)
    span = top - base + 1
    return base, 0 if span > 2**24 or max(abs(base), abs(top)) >= 2**52 else span


def patterns(coder: Coder, count: int, dtype: np.dtype[Any]) -> Array:
    data = bytes(coder.even(256) for _ in range(count * dtype.itemsize))
    return np.frombuffer(data, dtype.newbyteorder(">"))


def layer_values(model: Model, count: int, span: int, version: int) -> list[int]:
    rising = model.flag([mix(2, 0)] * 8, 0, 0)
    if version > 1:
        return drawn_values(model.coder, count, span) if rising else unsorted_values(model.coder, count, span)
    floor, found = 0, list[int]()
    for i in range(count):
        left, k = span - floor, count - i
        need(left >= 1, "values of layers")
        f = 16 * left // span
        before = 0 if rising or i == 0 else 1 + 8 * found[-1] // span
        h = [mix(3, rising), mix(4, rising, k), mix(5, rising, k, i), mix(6, rising, i), mix(7, rising, f)]
        h += [mix(8, rising, f, k), mix(9, before), mix(10, rising, min(i, 1))]
        part = model.tree(h, 4) - 16
        first, last = -(-part * left // 16), -(-(part + 1) * left // 16)
        need(last > first, "values of layers")
        found.append(floor + first + model.coder.even(last - first))
        if rising:
            floor = found[-1] + 1
    return found


def unsorted_values(coder: Coder, count: int, span: int) -> list[int]:
    need(span >= 2, "values of layers")
    found = [coder.even(span)]
    for _ in range(1, count):
        place = coder.even(span - 1)
        found.append(place + (place >= found[-1]))
    return found


def drawn_values(coder: Coder, count: int, span: int) -> list[int]:
    base, found = 0, list[int]()
    for k in range(count, 0, -1):
        left = span - base
        need(left >= k, "values of layers")
        first, last, of_first, of_last = 0, left - k + 1, 2**36, 0
        while last - first > 1:
            middle = (first + last) // 2
            m = reduce(lambda m, j: m * (left - middle - j) // (left - j), range(k), 2**36)
            p = (m - of_last) * 65536 // max(of_first - of_last, 1)
            if coder.decide(min(max(p, 1), 65535)):
                first, of_first = middle, m
            else:
                last, of_last = middle, m
        found.append(base + first)
        base = found[-1] + 1
    return found


def first_column(d: list[list[int]], i: int, c: int, rows: int, version: int) -> tuple[int, list[int]]:
    """What a depth there is coded from, and its hashes."""
    tops = [line[0] for line in d[:i]]
    above = tops[i - 1] if i else 0
    before = above - tops[i - 2] if i > 1 else above
    k, room = c - i, rows - above - before
    h = [mix(11, i, c), mix(12, before), mix(13, before, c)]
    if version == 1:
        h += [mix(14, above), mix(15, i, k), mix(16, rows - above), mix(17, room, k), mix(18, k)]
    else:
        thick = [b - a for a, b in pairwise(tops)]
        among = 1 + min(before - min(thick), 3) + 4 * min(max(thick) - before, 3) if i > 1 else 0
        fits, few = min(max(room, 0), 4), min(i, 2)
        h += [mix(14, few, fits), mix(15, among, few, c), mix(16, among, fits), mix(17, room, k)]
        h += [mix(18, among, before, few)]
    return above + before, h


def layer_depths(model: Model, interfaces: int, rows: int, columns: int, version: int) -> list[list[int]]:
    d: list[list[int]] = []
    none = [0] * columns
    for i in range(interfaces):
        over_line, line = d[i - 1] if i else none, list[int]()
        gap = seen = 0
        for x in range(columns):
            above = over_line[x]
            if above == rows:
                line.append(rows)
                continue
            if x == 0:
                guess, h = first_column(d, i, interfaces, rows, version)
                depth = guess + model.signed(h, 0, 5)
            else:
                y1, y2, y3, y4, y5 = (line[max(x - n, 0)] for n in range(1, 6))
                e1, e2, e3 = y1 - y2, y2 - y3, y3 - y4
                g = g1 = ahead = ahead2 = away = last = wide = 0
                if i:
                    over, after = over_line[x - 1], over_line[min(x + 1, columns - 1)]
                    g, g1 = above - over, over - over_line[max(x - 2, 0)]
                    ahead, ahead2 = after - above, over_line[min(x + 2, columns - 1)] - after
                    if y1 < rows and over < rows:
                        gap, seen = gap + y1 - over, seen + 1
                    away = clip(8 * (y1 - over) - 8 * gap // max(seen, 1), 40)
                    last, wide = int(after == rows), y1 - over
                edge = (i > 0) + 2 * (y1 == rows) + 4 * last
                near = [clip(v, 3) for v in (g, g1, ahead, ahead2)]
                h = [mix(21, e1, e2, edge), mix(22, e1, e2, e3, g, edge), mix(23, g, g1, ahead, e1)]
                h += [mix(24, away // 4, e1 - g1, edge), mix(25, away // 2, e1 - g1, g, ahead)]
                h += [mix(26, *near, e1, e2), mix(27, y1 - y5, e1, g + ahead, edge)]
                h += [mix(28, wide, e1, e2, g, min(x, 3))]
                depth = y1 + (g if i else e1) + model.signed(h, 1 + edge % 4, 5)
            need(above <= depth <= rows, "depths of layers")
            line.append(depth)
        d.append(line)
    return d


# 10.2 to 10.5: integers

Grid = list[list[int]]
WIDE_UP = [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (2, -1), (2, 1), (1, -2), (1, 2), (0, 3), (3, 0)]


class Whole(NamedTuple):
    q: Grid
    code: int
    parts: Grid | None


def integers(
    data: bytes, shapes: list[tuple[int, int]], parted: list[bool], model: str, mantissa: int
) -> list[Whole]:
    """The records of a stream: edges ("edges-1" in coder 1), or smooth or residual ("smooth-1" up to coder 5)."""
    coder, smooth = Coder(data), model.startswith("smooth")
    codes, calm = code_model(coder), Model(coder, 3, 65536, 1, 6)
    near = Model(coder, 13, 262144, 56, 14) if model == "edges-1" else Model(coder, 16, 262144, 264, 10)
    texture = Model(coder, 10, 262144, 96, 5) if model == "smooth-1" else Model(coder, 11, 262144, 608, 8)
    of_parts, share = Model(coder, 5, 65536, 6, 6), None if model == "smooth-1" else [16384]
    weights = [coder.even(65536) - 32768 for _ in range(13)] if smooth else []
    found = []
    for shape, has_parts in zip(shapes, parted, strict=True):
        code, q, off = codes.byte(), Seen(*shape), Seen(*shape)
        missed = [Seen(*shape) for _ in range(6)]
        for z in range(shape[0]):
            for x in range(shape[1]):
                where = (q, z, x)
                value = (
                    smooth_sample(texture, weights, off, missed, share, *where)
                    if smooth
                    else edges_sample(near, calm, None if model == "edges-1" else missed, *where)
                )
                need(abs(value) < 2**36, "an integer is too large")
                q.rows[z][x] = value
        need(not has_parts or code <= 24, "digits of parts")
        parts = parts_of(of_parts, q.rows, code, mantissa) if has_parts else None
        found.append(Whole(q.rows, code, parts))
    coder.end()
    return found


class Seen:
    """A map of integers as a model sees it."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.rows: Grid = [[0] * width for _ in range(height)]

    def around(self, z: int, x: int, row: int, column: int) -> int:
        """The sample at (row, column) as (z, x) sees it."""
        if row >= 0 and 0 <= column < self.width:
            return self.rows[row][column]
        if z == 0:
            return self.rows[0][x - 1] if x else 0
        if row < 0:
            return self.rows[0][min(max(column, 0), self.width - 1)]
        if column >= self.width:
            return self.rows[row][-1]
        if row:
            return self.rows[row - 1][0]
        need(column >= -2, "no model looks there")
        if column == -1:
            return 0 if self.width == 1 else self.rows[0][1 if self.width >= 3 else 0]
        return self.rows[0][0] if self.width >= 2 else 0

    def or_zero(self, row: int, column: int) -> int:
        return self.rows[row][column] if row >= 0 and 0 <= column < self.width else 0


def edges_sample(near: Model, calm: Model, missed: list[Seen] | None, q: Seen, z: int, x: int) -> int:
    """The next sample; `missed`, of coder 2, is kept up."""
    left, left2, left3 = (q.around(z, x, z, x - k) for k in (1, 2, 3))
    up_left2, up_left, up, up_right, up_right2, up_right3 = (
        q.around(z, x, z - 1, x + k) for k in range(-2, 4)
    )
    up2_left, up2, up2_right = (q.around(z, x, z - 2, x + k) for k in (-1, 0, 1))
    up3 = q.around(z, x, z - 3, x)
    around = {left, left2, up_left, up_left2, up_right, up_right2, up2, up2_left, up2_right}
    known = around == {up}
    around |= {left3, up}
    if known:
        far = (up3 == up) + 2 * (left3 == up) + 4 * (up_right3 == up)
        if calm.flag([mix(1, far), mix(2, min(z, 255) // 2, far), mix(3, up, far)], 0, 0):
            return up  # and nothing is missed by
    like = digits_of(
        left == up, up_left == up, up_right == up, up_left == left, left2 == left, up2 == up,
        up_right2 == up_right, up2_right == up_right, up_left2 == up_left, up2_left == up_left, up_right == left,
    )  # fmt: skip
    like2 = digits_of(
        up3 == up2, left3 == left2, up_right3 == up_right2, up2 == up_right, left2 == up_left2, up2_right == up2,
        up2_left == up2, left2 == up_left,
    )  # fmt: skip
    median = min(max(left + up - up_left, min(left, up)), max(left, up))
    if missed is None:
        base, g = median, []
        h = [mix(1, like), mix(2, like, like2), mix(3, up - up_left, left - up_left)]
        h += [mix(4, up - up_left, left - up_left, up_right - up), mix(5, up, left, up_right)]
        h += [mix(6, like % 128, min(z, 63) // 2)]
        h += [mix(7, up - up2, up_right - up2_right, up_left - up2_left, left - up_left)]
        h += [mix(8, left - left2, up_left - up_left2, up - up_left)]
        h += [mix(9, left - up, up_left - up, up_right - up, up2 - up, left2 - up)]
        h += [mix(10, like, like2 % 8, up_right - up, left - up, up_right2 - up), mix(11, up, up2, up3)]
        h += [mix(12, up, up_right, up_right2, up_right3), mix(13, left, left2, left3)]
    else:
        least, most = min(around), max(around)
        g = [2 * left - left2, 2 * up - up2, left + up_right - up, up + up_right - up2_right]
        g = [median, *(min(max(v, least), most) for v in g), (left + up_right) >> 1]
        miss = [
            2 * m.or_zero(z, x - 1) + 2 * m.or_zero(z - 1, x) + m.or_zero(z - 1, x + 1)
            + m.or_zero(z - 1, x - 1) + m.or_zero(z, x - 2)
            for m in missed
        ]  # fmt: skip
        best = miss.index(min(miss))
        base, size, off = g[best], (most - least).bit_length(), miss[best].bit_length()

        def share(v: int, n: int) -> int:
            return 0 if v <= least else n + 1 if v >= most else 1 + (v - least) * n // (most - least)

        h = [mix(1, like), mix(2, like, like2), mix(3, up, left, up_right)]
        h += [mix(4, like % 128, min(z, 63) // 2)]
        h += [mix(5, like, like2 % 8, up_right - up, left - up, up_right2 - up)]
        h += [mix(6, up, up2, up3), mix(7, up, up_right, up_right2, up_right3)]
        h += [mix(8, *(share(v, 12) for v in (left, up, up_left)), best)]
        h += [mix(9, *(share(v, 6) for v in (up, up_right, left, up_left)), share(left2, 4))]
        h += [mix(10, halves(left - base), halves(up - base), size)]
        h += [mix(11, halves(up_right - base), halves(up_left - base), octaves(up2 - base))]
        h += [mix(12, off, best, size), mix(13, share(base, 24), size, best)]
        h += [mix(14, *(halves(g[k] - base) for k in (1, 3, 2)))]
        steps = (up - up2, up_left - up2_left, up_right - up2_right, left - up_left)
        h += [mix(15, *(octaves(v) for v in steps))]
        h += [mix(16, *(octaves(v) for v in (left - left2, up_left - up_left2, up_right - up)))]
        near.second = 56 + min(size, 12) + 13 * min(off, 15)
    way = (left == up) + 2 * (up_right == up) + 4 * (up_left == up)
    value, tried = None, list[int]()
    for k, candidate in enumerate((up, left, up_right, up_left)):
        if candidate not in tried and not (k == 0 and known) and near.flag(h, 200 + k, 8 * k + way):
            value = candidate
            break
        tried.append(candidate)
    if value is None:
        value = base + near.signed(h, 32 + way, 8)
    for m, guess in zip(missed or [], g, strict=True):
        m.rows[z][x] = abs(value - guess)
    return value


def octaves(v: int) -> int:
    return -v.bit_length() if v < 0 else v.bit_length()


def halves(v: int) -> int:
    if abs(v) < 4:
        return v
    k = v.bit_length()
    size = 2 * k - 2 + (abs(v) >> (k - 2)) % 2
    return -size if v < 0 else size


def digits_of(*bits: bool) -> int:
    return sum(bit << j for j, bit in enumerate(bits))


def level(v: int) -> int:
    k = v.bit_length() - 3
    return v if v < 8 else 4 + 4 * k + (v >> k) % 4


def smooth_sample(
    model: Model,
    weights: list[int],
    off: Seen,
    missed: list[Seen],
    share: list[int] | None,
    q: Seen,
    z: int,
    x: int,
) -> int:
    """The next sample; `off` and, of coder 6, `missed` and `share` are kept up."""
    linear = weights[12]
    for weight, (up, to_left) in zip(weights[:12], WIDE_UP, strict=True):
        linear += weight * q.around(z, x, z - up, x - to_left)
    linear >>= 8
    left, up, up2 = q.around(z, x, z, x - 1), q.around(z, x, z - 1, x), q.around(z, x, z - 2, x)
    up_left, up_right = q.around(z, x, z - 1, x - 1), q.around(z, x, z - 1, x + 1)
    guess, turn, g = linear, 0, list[int]()
    if share is not None:
        g = [linear, 16 * (left + up_right - up), 16 * (left + up - up_left), 16 * (2 * up - up2)]
        g += [16 * (2 * left - q.around(z, x, z, x - 2)), 8 * (left + up_right)]
        near = [
            2 * m.or_zero(z, x - 1) + 2 * m.or_zero(z - 1, x) + m.or_zero(z - 1, x + 1)
            + m.or_zero(z - 1, x - 1) + m.or_zero(z, x - 2)
            for m in missed
        ]  # fmt: skip
        w = [2**33 // (min(n, 65000) + 100) ** 2 for n in near]
        turn = sum(v * clip(one - linear, 2**24) for v, one in zip(w, g, strict=True)) // sum(w)
        guess = linear + turn * (share[0] // 256) // 256
    base, part = (guess + 8) >> 4, (guess + 8) % 16
    o_left, o_up, o_up_right = off.or_zero(z, x - 1), off.or_zero(z - 1, x), off.or_zero(z - 1, x + 1)
    total = 4 * abs(o_left) + 4 * abs(o_up) + 2 * abs(off.or_zero(z - 1, x - 1)) + 2 * abs(o_up_right)
    rough = level((total + abs(off.or_zero(z, x - 2)) + abs(off.or_zero(z - 2, x)) + 8) // 7)
    steep = level(abs(left - up_left) + abs(up - up_left) + abs(up - up_right))

    def by(v: int) -> int:
        return clip((16 * v - guess) // 8, 20)

    h = [mix(1, rough), mix(2, rough, steep), mix(3, part, rough // 2)]
    h += [mix(4, level(abs(o_left)), level(abs(o_up)), level(abs(o_up_right)) // 2)]
    h += [mix(5, by(left), by(up), rough // 3)]
    h += [mix(6, clip(o_left, 3), clip(o_up, 3), part // 4, rough // 3), mix(7, steep, min(z, 31) // 4)]
    h += [mix(8, clip(o_left, 2), clip(o_up, 2), clip(o_up_right, 2), part // 2)]
    h += [mix(9, by(up_right), by(left)), mix(10, by(up_left), by(up2))]
    if share is not None:
        spread, across = sum(abs(v - guess) for v in g), [clip((v - guess) // 8, 20) for v in g]
        h = [*h[3:], mix(12, clip((linear + turn - guess) // 4, 24) // 2, part // 4, clip(o_left, 2))]
        h += [mix(13, level(spread // 16), rough // 2)]
        h += [mix(14, across[1], across[2]), mix(15, across[3], across[4])]
        model.second = 96 + 16 * min(steep, 31) + part
    value = base + model.signed(h, min(rough, 31), 32)
    off.rows[z][x] = (16 * value - guess) // 8
    if share is not None:
        share[0] += clip(turn, 64) * clip(16 * value - guess, 64) // 16
        share[0] = min(max(share[0], 0), 65536)
        for m, one in zip(missed, g, strict=True):
            m.rows[z][x] = min(abs(16 * value - one), 65000)
    return value


def parts_of(model: Model, q: Grid, b: int, mantissa: int) -> Grid:
    height, width = len(q), len(q[0])
    parts = [[0] * width for _ in q]
    memory: dict[int, tuple[int, int]] = {}

    def at(z: int, x: int) -> int:
        return q[min(max(z, 0), height - 1)][min(max(x, 0), width - 1)]

    for z in range(height):
        for x in range(width):
            v = q[z][x]
            lefts = [parts[z][x - 1]] if x and q[z][x - 1] == v else []
            ups = [parts[z - 1][x]] if z and q[z - 1][x] == v else []
            key, kept = memory.get(v % 4096, (None, 0))
            lasts = [kept] if key == v else []
            asked = [lefts, [n for n in ups if n not in lefts]]
            asked.append([n for n in lasts if n not in asked[0] + asked[1]])
            tried = digits_of(*(bool(candidates) for candidates in asked))
            left, up, last = sum(lefts), sum(ups), sum(lasts)
            edges = 0
            for k in range(-2, 2):
                edges = 2 * edges + (at(z, x + k) != at(z, x + k + 1))
                edges = 2 * edges + (at(z + k, x) != at(z + k + 1, x))
            state = tried + 8 * (left != 0) + 16 * (up != 0) + 32 * (last != 0)
            h = [mix(1, state), mix(2, state, edges), mix(3, edges, tried), mix(4, v, state)]
            h += [mix(5, left, up, tried)]
            for k, candidates in enumerate(asked):
                if candidates and model.flag(h, 200 + k, k):
                    part = candidates[0]
                    break
            else:
                exponent = max((abs(v) - 1).bit_length() - 1, 0) if v else 0
                part = model.signed(h, 3, 1) << min(max(b - max(mantissa - exponent, 0), 0), b)
                need(abs(part) <= (1 << b) // 2, "a part")
            parts[z][x] = part
            memory[v % 4096] = v, part
    return parts


# 10.6: values

ROOTS = [1.0, 1.0905077326652577, 1.189207115002721, 1.2968395546510096]
ROOTS += [1.4142135623730951, 1.5422108254079407, 1.681792830507429, 1.8340080864093424]


def step(unit: float, code: int) -> float:
    octave, i = divmod(code - 128, 8)
    return math.ldexp(unit * ROOTS[i], octave)


def converted(values: Array, dtype: np.dtype[Any]) -> Array:
    return (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


# 10.7: smoothed edges

PARTS_OF_CELLS = [(1, 1), (2, 1), (4, 1), (2, 2), (4, 2), (8, 2)]  # down and across, by p
TAPS = [0.00026386508273735414, 0.10645077197359151, 0.7865707258873422]
TAPS += TAPS[1::-1]


def native(v: Array, parts: int) -> Array:
    """Lines (n x parts, m), each a part of a row, to rows (n, m)."""
    n = len(v) // parts
    if parts == 1:
        u = [v[j // 2] for j in range(2 * n)]
    else:
        each = parts // 2
        u = [reduce(np.add, v[each * j : each * (j + 1)]) / each for j in range(2 * n)]
    around = [u[1], u[0], *u, u[-1], u[-2]]
    b = [reduce(np.add, [t * around[j + k] for k, t in enumerate(TAPS)]) for j in range(2 * n)]
    return np.stack([(b[2 * i] + b[2 * i + 1]) / 2 for i in range(n)])


# 10.8: cosines

FALLS = [math.floor(65536 * 2 ** (-i / 32) + 0.5) for i in range(32)]


def cosines(data: bytes, shapes: list[tuple[int, int]]) -> list[tuple[int, Array]]:
    """The code and the integers (h, w) of each record of a stream."""
    coder, found = Coder(data), list[tuple[int, Array]]()
    codes, waves = code_model(coder), Model(coder, 9, 32768, 136, 6)
    of_shape: dict[tuple[int, int], tuple[Array, int]] = {}
    for shape in shapes:
        code = 8 * codes.byte() + coder.even(8)
        need(code < 1024, "code of cosines")
        seen, before = of_shape.get(shape, (np.zeros(shape, int), code))
        e, i = divmod(code - before, 32)
        seen = seen * FALLS[i] // 65536
        seen = seen // 2**e if e >= 0 else np.minimum(seen, 2**40 // 2**-e) * 2**-e
        q = np.array(waves_of_record(waves, shape, seen.tolist()))
        of_shape[shape] = seen + 14 * (32 * abs(q) - seen) // 64, code
        found.append((code, q))
    coder.end()
    return found


def waves_of_record(waves: Model, shape: tuple[int, int], seen: list[list[int]]) -> list[list[int]]:
    """The integers of a record, given what was seen of its waves."""
    q = [[0] * shape[1] for _ in range(shape[0])]

    def of(values: list[list[int]], row: int, k: int) -> int:
        return abs(values[row][k]) if 0 <= row < shape[0] and 0 <= k < shape[1] else 0

    for row, k in np.ndindex(shape):
        left, left2, up, up2, up_left, up_right = (
            of(q, row - j, k - i) for j, i in ((0, 1), (0, 2), (1, 0), (2, 0), (1, 1), (1, -1))
        )
        about = ((0, 0), (0, 0), (0, -1), (-1, 0), (0, 1), (1, 0), (0, 2), (2, 0), (1, 1), (1, -1))
        own, around = of(seen, row, k), sum(of(seen, row + j, k + i) for j, i in about) // 10
        near, length = 2 * (left + up) + up_left + up_right + left2 + up2, level(k * k + row * row)
        of_near, of_own, of_around = rough(near), rough(own), rough(around)
        six = [left, left2, up, up2, up_left, up_right]
        a, a2, b, b2, c, c2 = (min(size, 3) for size in six)
        h = [
            mix(1, of_near, length // 2),
            mix(2, of_own, of_near // 2),
            mix(3, k, row),
            mix(4, min(left, 7), min(up, 7), of_around // 2),
            mix(5, length, 4 * k // max(k + row, 1)),
            mix(6, rough(6 * near + around)),
            mix(7, 4 * a + a2, 4 * b + b2, 4 * c + c2),
            mix(8, of_around, length // 2),
            mix(9, rough(left + left2), rough(up + up2), of_own // 2),
        ]
        waves.second = 72 + min(length, 63)
        q[row][k] = waves.signed(h, min(of_near, 23), 24)
        need(abs(q[row][k]) < 2**36, "too large an integer of a wave")
    return q


def rough(v: int) -> int:
    i = v.bit_length() - 2
    return v if v < 6 else 3 + 2 * i + (v >> i) % 2


def of_waves(q: Array, step: float, offset: float) -> Array:
    """The samples of a record (h, w)."""

    def waves(n: int) -> Array:
        number = np.arange(n)
        gain = np.where(number == 0, 1, 2) / n
        return np.asarray(np.sqrt(gain) * np.cos(np.pi * number * (centres(n)[:, None] + 1) / 2))

    return np.asarray(offset + step * (waves(len(q)) @ q @ waves(q.shape[1]).T))


# 11: tiles


def cut(n: int, t: int, overlap: int) -> list[range]:
    """The cells of each tile of an axis."""
    if n <= t:
        return [range(n)]
    if not overlap:
        return [range(a, min(a + t, n)) for a in range(0, n, t)]
    starts = [min(i * (t - overlap), n - t) for i in range(math.ceil((n - overlap) / (t - overlap)))]
    return [range(a, a + t) for a in starts]


def ramps(axis: list[range]) -> dict[range, Array]:
    """The weight of each tile's cells along an axis."""
    raw = []
    for i, tile in enumerate(axis):
        ramp = np.ones(len(tile))
        c = np.array(tile) + 0.5
        if i and axis[i - 1].stop > tile.start:
            ramp = np.minimum(ramp, (c - tile.start) / (axis[i - 1].stop - tile.start))
        if i + 1 < len(axis) and axis[i + 1].start < tile.stop:
            ramp = np.minimum(ramp, (tile.stop - c) / (tile.stop - axis[i + 1].start))
        raw.append(np.maximum(ramp, 1e-9))
    total = np.zeros(axis[-1].stop)
    for tile, ramp in zip(axis, raw, strict=True):
        total[tile.start : tile.stop] += ramp
    return {tile: ramp / total[tile.start : tile.stop] for tile, ramp in zip(axis, raw, strict=True)}


def assembled(file: File, records: list[Array], dtype: np.dtype[Any]) -> Array:
    """One map of its tiles."""
    overlap = file.head["tile"][2] if file.features & TILES else 0
    out = np.zeros(file.head["shape"][-2:], float if overlap else dtype)
    down, across = (ramps(sorted({tile[k] for tile in file.tiles}, key=lambda r: r.start)) for k in (0, 1))
    for (z, x), values in zip(file.tiles, records, strict=True):
        part = np.s_[z.start : z.stop, x.start : x.stop]
        if overlap:
            out[part] += down[z][:, None] * across[x] * values
        else:
            out[part] = values
    return converted(out, dtype) if overlap else out


# 5: blocks and maps


def known(kind: int, features: int) -> bool:
    plain = kind <= FP16 or ENTROPY <= kind < ENTROPY + MOST_TABLES
    late = kind <= SMOOTH_EXACT or RESIDUAL <= kind < RESIDUAL + MOST_TABLES
    late = late or (kind == LAYERED_STEPS and bool(features & SECOND))
    late = late or (SOFT <= kind < SOFT + len(PARTS_OF_CELLS) and bool(features & FOURTH))
    late = late or (kind in (COSINES, COSINES_RESIDUAL) and bool(features & EIGHTH))
    return plain or (late and bool(features & MODES))


def kinds_of(payload: bytes, count: int, features: int) -> tuple[bytes, int]:
    """The kinds of a block, and where the next stream begins."""
    if features & SECOND and payload[:1] == b"\x02":
        _, length = unpack("<BI", payload, 0)
        need(length <= len(payload) - 5, "a stream passes the end")
        model = "counted" if features & THIRD else "code"
        return adaptive_bytes(payload[5 : 5 + length], [count], model), 5 + length
    return stream(payload, 0, count)


def streams(payload: bytes, features: int, sizes: list[int | None], end: int) -> list[bytes]:
    """What the streams after the kinds hold."""
    mask = 0b1111
    if features & MODES:
        (mask,) = unpack("<H", payload, end)
        end += 2
    else:
        sizes = sizes[:4]
    need(mask >> len(sizes) == 0, "a stream that is not known")
    held = []
    for i, size in enumerate(sizes):
        data = b""
        if mask >> i & 1:
            data, end = stream(payload, end, size)
        need(size in (None, len(data)), "a stream is missing")
        held.append(data)
    need(end == len(payload), "MAPS has bytes left over")
    return held


def block(file: File, payload: bytes, shapes: list[tuple[int, int]], books: list[Book]) -> list[Array]:
    """The records of a MAPS section."""
    head, dtype = file.head, np.dtype(file.head["dtype"])
    d, unit = head["codebook"]["latent"], float(head.get("unit", 0))
    plain = d if file.coder < 5 else min(d, PLAIN)
    (offset, scale), (low, high) = head["normalisation"], head["range"]
    if file.features & ARCHIVE:
        payload = payload[quality_stream(payload, len(shapes))[1] :]
    data, end = kinds_of(payload, len(shapes), file.features)
    kind = np.frombuffer(data, np.uint8)
    need(all(known(k, file.features) for k in data), "a kind that is not known")

    def of(*kinds: int) -> list[int]:
        return [i for i, k in enumerate(data) if k in kinds]

    has_entropy = [ENTROPY <= k < COSINES_RESIDUAL for k in data]
    raw = [shapes[i][0] * shapes[i][1] * dtype.itemsize for i in of(EXACT)]
    own = [
        of(LAYERED, LAYERED_STEPS, *range(SOFT, SOFT + len(PARTS_OF_CELLS))),
        of(EDGES, EDGES_EXACT),
        of(SMOOTH, SMOOTH_EXACT),
        of(*range(RESIDUAL, 256)),
        of(COSINES, COSINES_RESIDUAL),
    ]
    sizes: list[int | None] = [None if any(has_entropy) else 0, len(of(INT8)) * (4 + plain)]
    sizes += [len(of(FP16)) * 2 * plain, sum(raw), *(None if rows else 0 for rows in own)]
    sizes = sizes if file.features & EIGHTH else sizes[:8]
    held = [*streams(payload, file.features, sizes, end), b"", b"", b"", b"", b""]
    found: dict[int, Array] = {}
    at = 0
    for i, size in zip(of(EXACT), raw, strict=True):
        found[i] = np.frombuffer(held[3][at : at + size], dtype).reshape(shapes[i])
        at += size
    if own[0]:
        stepped = [data[i] != LAYERED for i in own[0]]
        soft = [data[i] - SOFT if data[i] >= SOFT else None for i in own[0]]
        sides = [shapes[i] for i in own[0]]
        drawn = layered(held[4], sides, stepped, dtype, (low, high), unit, file.coder, soft)
        for i, m, in_steps in zip(own[0], drawn, stepped, strict=True):
            found[i] = converted(np.clip(m, low, high), dtype) if in_steps else m.astype(dtype)
    corrections: dict[int, Array] = {}
    mantissa = np.finfo(dtype).nmant if dtype.kind == "f" else 0
    edges, smooth = "edges-1" if file.coder == 1 else "edges", "smooth-1" if file.coder < 6 else "smooth"
    for rows, message, model in zip(own[1:4], held[5:8], (edges, smooth, smooth), strict=True):
        parted = [data[i] in (EDGES_EXACT, SMOOTH_EXACT) for i in rows]
        if not rows:
            continue
        for i, w in zip(
            rows, integers(message, [shapes[i] for i in rows], parted, model, mantissa), strict=True
        ):
            q = np.array(w.q)
            if w.parts is None:
                corrections[i] = q * step(unit, w.code)
            elif dtype.kind in "iu":
                found[i] = q.astype(dtype)
            else:
                found[i] = (q + np.array(w.parts) / 2**w.code).astype(dtype)
    for i in of(EDGES, SMOOTH):
        found[i] = converted(np.clip(corrections[i], low, high), dtype)
    if own[4]:
        for i, (code, q) in zip(own[4], cosines(held[8], [shapes[i] for i in own[4]]), strict=True):
            value = of_waves(q, unit * 2 ** ((code - 512) / 32), offset) + corrections.get(i, 0)
            found[i] = converted(np.clip(value, low, high), dtype)
    if len(found) < len(shapes):
        need(bool(books) and books[0].numbers == d, "a codebook is needed")
        decoder = Decoder(books[0])
        latents = entropy_latents(held[0], kind, books[0].tensors, file.coder) if any(has_entropy) else {}
        eight = np.frombuffer(held[1], [("s", "<f4"), ("q", "i1", (plain,))])
        latents |= zip(of(INT8), eight["s"][:, None] * eight["q"].astype(np.float32), strict=True)
        latents |= zip(of(FP16), np.frombuffer(held[2], "<f2").reshape(-1, plain), strict=True)
        for i, y in latents.items():
            y = np.pad(y, (0, d - len(y)))
            value = offset + scale * decoder.output(y, *shapes[i]) + corrections.get(i, 0)
            found[i] = converted(np.clip(value, low, high), dtype)
    return [found[i] for i in range(len(shapes))]


def read(path: str | Path, codebook_path: str | Path | None = None) -> list[Array]:
    """All maps, (H, W) each, in the file's dtype; the codebook is the one named, else the embedded one."""
    file = parse(path)
    given = Path(codebook_path).read_bytes() if codebook_path is not None else None
    books = [parse_book(data) for data in (given, file.book) if data is not None]
    need(all(book.sha256 == file.head["codebook"]["sha256"] for book in books), "another codebook")
    shapes = [(len(z), len(x)) for z, x in file.tiles]
    records: list[Array] = []
    for first, count, payload in maps_of(file):
        records += block(file, payload, [shapes[i % len(shapes)] for i in range(first, first + count)], books)
    dtype, tiles = np.dtype(file.head["dtype"]), len(file.tiles)
    return [assembled(file, records[i : i + tiles], dtype) for i in range(0, len(records), tiles)]

"""A reader of .vlz files written from format_spec.md alone: it imports nothing of velcodec.

Plain and slow, with the decoder in numpy and float64. The numbers of the parts are those of the page's sections.
"""

import bisect
import hashlib
import json
import math
import struct
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import zstandard
from numpy.typing import NDArray
from safetensors.numpy import load

Array = NDArray[Any]
SIGNATURE, END_SIGNATURE = bytes.fromhex("89564C5A0D0A1A0A"), bytes.fromhex("89564C5A454E440A")
KINDS = EXACT, INT8, FP16, ENTROPY = 0, 1, 2, 16
WIDE = ("f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8")
DTYPES = {order + code for order in "<>" for code in WIDE} | {"|i1", "|u1"}


class SpecError(Exception):
    """The file is not as the page says."""


def need(condition: bool, what: str) -> None:
    if not condition:
        raise SpecError(what)


# 1, 2, 3, 4, 6: the frame of a file


class File(NamedTuple):
    data: bytes
    head: dict[str, Any]
    blocks: list[tuple[int, int, int, int]]  # offset, length, first, count of each MAPS section
    book: bytes | None
    quality: bytes


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


def parse(path: str | Path) -> File:
    data = Path(path).read_bytes()
    signature, version, required, optional, zero = unpack("<8sHHHH", data, 0)
    need(signature == SIGNATURE and (version, required, optional, zero) == (1, 0, 0, 0), "prologue")
    _, _, payload = section(data, 16, b"HEAD")
    need(len(payload) <= 65536, "size of HEAD")
    head = json.loads(payload)
    shape = head["shape"]
    need(2 <= len(shape) <= 4 and min(shape) >= 1 and shape[-2] * shape[-1] <= 268435456, "shape")
    need(len(shape) < 4 or shape[1] == 1, "shape")
    need(head["dtype"] in DTYPES and head["coder"] == "velcodec-1", "dtype or coder")
    need(len(head["units"]) <= 256 and 1 <= head["codebook"]["latent"] <= 4096, "units or latent")
    tail = len(data) - 24
    foot_at, length, crc, signature = unpack("<QII8s", data, tail)
    need(signature == END_SIGNATURE and crc == google_crc32c.value(data[tail : tail + 12]), "tail")
    need(foot_at + length == tail, "place of FOOT")
    _, _, foot = section(data, foot_at, b"FOOT", length)
    book_at, book_length, blocks = unpack("<QII", foot, 0)
    at, maps, index = 36 + len(payload), 0, []
    for i in range(blocks):
        offset, length, first, count = unpack("<QIII", foot, 16 + 20 * i)
        need((offset, first) == (at, maps) and 1 <= count <= 4096, "index")
        index.append((offset, length, first, count))
        at, maps = at + length, maps + count
    need(maps == (shape[0] if len(shape) > 2 else 1), "number of maps")
    need(book_at in (0, at) and at + book_length == foot_at, "the sections do not follow one another")
    book = section(data, book_at, b"BOOK", book_length)[2] if book_at else None
    codes, end = stream(foot, 16 + 20 * blocks, 4 * maps)
    need(end == len(foot), "FOOT has bytes left over")
    return File(data, head, index, book, codes)


def quality(path: str | Path) -> tuple[Array, Array]:
    """PSNR in dB (inf: exact) and maximum error (inf: not bounded) of each map, (n,) each."""
    planes = np.frombuffer(parse(path).quality, np.uint8).reshape(4, -1).astype(float)
    psnr, error = planes[0] + 256 * planes[1], planes[2] + 256 * planes[3]
    with np.errstate(over="ignore"):
        bound = np.where(error == 65535, np.inf, 2 ** ((error - 1024) / 32))
    return np.where(psnr == 65535, np.inf, 0.05 * psnr), np.where(error == 0, 0, bound)


# 7: entropy-coded latents


def symbols(data: bytes, tables: Iterator[tuple[list[int], int]]) -> Iterator[list[int]]:
    """The integers k that a message holds, list by list of (frequencies, how many)."""
    need(len(data) % 4 == 0, "the entropy stream is not a number of words")
    words = [*struct.unpack(f"<{len(data) // 4}I", data), 0, 0]
    lower, span, point, after = 0, 2**64 - 1, (words[0] << 32) + words[1], 2
    for f, count in tables:
        c = [0, *accumulate(256 * n for n in f)]
        found = []
        for _ in range(count):
            scale = span >> 24
            u = (point - lower) % 2**64 // scale
            need(u < c[-1] == 2**24, "the entropy stream does not fit the tables")
            k = bisect.bisect_right(c, u) - 1
            lower, span = (lower + scale * c[k]) % 2**64, scale * 256 * f[k]
            if span < 2**32:
                word = words[after] if after < len(words) else 0
                lower, span, point = (lower << 32) % 2**64, span << 32, (point << 32) % 2**64 + word
                after += 1
            found.append(k)
        yield found
    need(after >= len(words) - 2 and (point - lower) % 2**64 < 2**33 - 1, "the entropy stream holds more")


def entropy_latents(data: bytes, kinds: Array, prior: dict[str, Array]) -> dict[int, Array]:
    """Latents of the entropy-coded maps of a block."""
    groups = [(int(k) - ENTROPY, np.flatnonzero(kinds == k)) for k in np.unique(kinds) if k >= ENTROPY]
    low, size, step = prior["prior.low"].astype(int), prior["prior.size"].astype(int), prior["prior.step"]
    need(all(t < len(step) for t, _ in groups), "a table set that the codebook has not")
    ends = np.cumsum(size).reshape(size.shape)
    cut = [(t, d, rows) for t, rows in groups for d in range(low.shape[1])]
    tables = (
        (prior["prior.frequency"][ends[t, d] - size[t, d] : ends[t, d]].tolist(), len(r)) for t, d, r in cut
    )
    latents = {int(row): np.empty(low.shape[1], np.float32) for _, rows in groups for row in rows}
    for (t, d, rows), found in zip(cut, symbols(data, tables), strict=True):
        for row, k in zip(rows, found, strict=True):
            latents[int(row)][d] = step[t] * np.float32(low[t, d] + k)
    return latents


# 8: codebooks


class Book(NamedTuple):
    family: str
    tensors: dict[str, Array]
    sha256: str


def parse_book(data: bytes) -> Book:
    tensors = load(data)
    (length,) = struct.unpack_from("<Q", data)
    decoding = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["card"])["decoding"]
    sha256 = hashlib.sha256(json.dumps(decoding, sort_keys=True, separators=(",", ":")).encode())
    for name, t in sorted(tensors.items()):
        little = t.astype(t.dtype.newbyteorder("<"))
        sha256.update(f"\n{name} {little.dtype.str} {list(t.shape)}\n".encode() + little.tobytes())
    return Book(decoding["decoder"], tensors, sha256.hexdigest())


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
    """The two families of decoders; `output` is (H, W)."""

    def __init__(self, book: Book) -> None:
        self.family = book.family
        self.w = {k[8:]: t.astype(float) for k, t in book.tensors.items() if k.startswith("decoder.")}

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
        return {"warp": self.warp, "siren": self.siren}[self.family](y.astype(float), x, z)

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


# 4, 5: maps


def read(path: str | Path, codebook_path: str | Path | None = None) -> list[Array]:
    """All maps, (H, W) each, in the file's dtype; the codebook is the one named, else the embedded one."""
    file = parse(path)
    dtype, d = np.dtype(file.head["dtype"]), file.head["codebook"]["latent"]
    height, width = file.head["shape"][-2:]
    (offset, scale), (low, high) = file.head["normalisation"], file.head["range"]
    given = Path(codebook_path).read_bytes() if codebook_path is not None else None
    books = [parse_book(data) for data in (given, file.book) if data is not None]
    need(all(book.sha256 == file.head["codebook"]["sha256"] for book in books), "another codebook")
    maps: list[Array] = []
    for at, length, first, count in file.blocks:
        *place, payload = section(file.data, at, b"MAPS", length)
        need(place == [first, count], "a MAPS section of other maps")
        kinds, end = stream(payload, 0, count)
        kind = np.frombuffer(kinds, np.uint8)
        need(all(k in KINDS or k > ENTROPY for k in kinds), "a kind that is not known")
        entropy, end = stream(payload, end, None if max(kinds) >= ENTROPY else 0)
        eight, end = stream(payload, end, kinds.count(INT8) * (4 + d))
        half, end = stream(payload, end, kinds.count(FP16) * 2 * d)
        exact, end = stream(payload, end, kinds.count(EXACT) * height * width * dtype.itemsize)
        need(end == len(payload), "MAPS has bytes left over")
        stored = np.frombuffer(exact, dtype).reshape(-1, height, width)
        block = dict(zip(np.flatnonzero(kind == EXACT), stored, strict=True))
        if len(block) < count:
            need(bool(books) and books[0].tensors["prior.low"].shape[1] == d, "a codebook is needed")
            decoder = Decoder(books[0])
            latents = entropy_latents(entropy, kind, books[0].tensors) if max(kinds) >= ENTROPY else {}
            records = np.frombuffer(eight, [("s", "<f4"), ("q", "i1", (d,))])
            scaled = records["s"][:, None] * records["q"].astype(np.float32)
            latents |= dict(zip(np.flatnonzero(kind == INT8), scaled, strict=True))
            halves = np.frombuffer(half, "<f2").reshape(-1, d)
            latents |= dict(zip(np.flatnonzero(kind == FP16), halves, strict=True))
            for row, y in latents.items():
                value = np.clip(offset + scale * decoder.output(y, height, width), low, high)
                block[row] = (np.rint(value) if dtype.kind in "iu" else value).astype(dtype)
        maps += [block[row] for row in range(count)]
    return maps

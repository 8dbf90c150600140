"""format_spec.md: a reader written from it reads what velcodec writes, and its tables are the program's constants."""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import velcodec
from velcodec import codebook, container, decoders, entropy, header, prior, synth
from velcodec.decoders import siren, warp

from . import spec_reader

Compressed = Callable[..., Path]
GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*/*.vlz"))


@pytest.fixture(scope="module")
def book_path() -> Path:
    """The file of the default codebook, whichever it is."""
    sha256 = velcodec.load_codebook().sha256
    return next(path for _, found, path, _ in codebook.list_codebooks() if found == sha256)


# A reader written from the page


def maps_of(*families: str, dtype: str = "<f4") -> NDArray[Any]:
    return np.concatenate([synth.generate(family, 1, seed=7) for family in families]).astype(dtype)


def noisy() -> NDArray[Any]:
    """Maps that a latent keeps well, one that it cannot keep and one with a NaN that it must not."""
    maps = maps_of("FlatFault_A", "CurveFault_A", "Style_A", "FlatVel_B", "FlatFault_A")
    maps[3] = np.random.default_rng(0).uniform(1500, 4500, maps[3].shape)
    maps[4, 5, 6] = np.nan
    return maps


LATENT: dict[str, Any] = {"latent_only": True}
CASES: dict[str, tuple[Callable[[], NDArray[Any]], dict[str, Any]]] = {
    "entropy": (lambda: maps_of("FlatVel_A", "CurveVel_B", "FlatFault_A", "Style_B"), LATENT),
    "int8": (lambda: maps_of("CurveVel_A", "FlatFault_B"), {**LATENT, "latent": "int8"}),
    "fp16": (lambda: maps_of("CurveFault_B", "Style_A"), {**LATENT, "latent": "fp16"}),
    "mixed": (noisy, {"psnr": 25}),
    "lossless": (lambda: maps_of("CurveFault_A", "FlatVel_B"), {"lossless": True}),
    "lossless blocks": (
        lambda: np.random.default_rng(1).integers(-9, 9, (300, 5, 4), np.int8),
        {"lossless": True},
    ),
    "<f2": (lambda: maps_of("Style_A", "FlatVel_A", dtype="<f2"), LATENT),
    ">f4": (lambda: maps_of("CurveVel_A", "FlatVel_A", dtype=">f4"), {**LATENT, "embed_codebook": "always"}),
    "<i2": (lambda: maps_of("FlatFault_A", "CurveVel_B", dtype="<i2"), LATENT),
    ">f4 lossless": (lambda: maps_of("FlatFault_A", dtype=">f4"), {"lossless": True}),
    "other side and units": (
        lambda: maps_of("FlatFault_A", "FlatVel_A")[:, :47, :31] / 1000,
        {**LATENT, "units": "km/s"},
    ),
    "one map": (lambda: maps_of("FlatFault_A")[0], LATENT),
    "with channel": (lambda: maps_of("FlatVel_A", "CurveVel_A")[:, None], LATENT),
}


def last_place(values: NDArray[Any]) -> NDArray[Any]:
    """One unit in the last place of each value."""
    return np.ones(values.shape) if values.dtype.kind in "iu" else np.spacing(np.abs(values)).astype(float)


@pytest.mark.parametrize("case", CASES)
def test_the_reader_of_the_page_reads_what_velcodec_writes(
    case: str, compressed: Compressed, book_path: Path
) -> None:
    make, options = CASES[case]
    array = make()
    path = compressed(array, **options)
    embedded = options.get("embed_codebook") == "always"
    read = spec_reader.read(path, None if embedded or options.get("lossless") else book_path)
    restored = velcodec.decompress(path)
    assert restored.shape == array.shape
    restored = restored.reshape(-1, *array.shape[-2:])
    with velcodec.open(path) as archive:
        quality, scale = archive.quality, archive.header.scale
    if case == "mixed":
        assert {"exact", "latent-entropy"} <= set(quality.mode)
        assert quality.mode[3:] == ("exact", "exact")
    assert len(read) == len(restored)
    drift = velcodec.load_codebook().drift * scale
    for mine, theirs, mode in zip(read, restored, quality.mode, strict=True):
        assert mine.dtype == theirs.dtype == array.dtype
        assert mine.shape == theirs.shape
        if mode == "exact":
            assert mine.tobytes() == theirs.tobytes()
        else:
            difference = np.abs(mine.astype(float) - theirs.astype(float))
            assert (difference <= drift + last_place(theirs)).all()
    psnr, error = spec_reader.quality(path)
    np.testing.assert_allclose(psnr, quality.psnr, rtol=1e-14)
    np.testing.assert_allclose(error, quality.max_error, rtol=1e-14)


def test_the_reader_of_the_page_counts_the_same_codebook_hash(book_path: Path) -> None:
    assert spec_reader.codebook_sha256(book_path) == velcodec.load_codebook().sha256


def test_both_readers_refuse_the_same_entropy_streams() -> None:
    rng, book = np.random.default_rng(3), velcodec.load_codebook()
    groups = [(t, 2) for t in (0, len(book.prior.step) - 1)]
    kinds = np.repeat([container.KIND_ENTROPY + t for t, _ in groups], 2)
    high = [book.prior.high(t) + 1 for t, _ in groups]
    q = [rng.integers(book.prior.low[t], h, (n, book.latent)) for (t, n), h in zip(groups, high, strict=True)]
    message = entropy.encode(
        [(t, v.astype(np.int32)) for (t, _), v in zip(groups, q, strict=True)], book.models
    )

    def theirs(data: bytes) -> NDArray[Any] | None:
        try:
            found = entropy.decode(data, groups, book.models)
        except velcodec.FormatError:
            return None
        steps = [book.prior.step[t] * v.astype("f4") for (t, _), v in zip(groups, found, strict=True)]
        return np.concatenate(steps)

    def mine(data: bytes) -> NDArray[Any] | None:
        try:
            found = spec_reader.entropy_latents(data, kinds, book.tensors)
        except spec_reader.SpecError:
            return None
        return np.stack([found[row] for row in range(len(kinds))])

    damaged = [message[: len(message) // 8 * 4], message[:4], b"", message[:-4], message[:-1]]
    damaged += [message + bytes(4), message + bytes(8), message + b"\xff" * 8, b"\xff" * len(message)]
    for _ in range(10):
        at = int(rng.integers(len(message)))
        damaged.append(message[:at] + bytes([message[at] ^ int(rng.integers(1, 256))]) + message[at + 1 :])
    for data in [message, *damaged]:
        a, b = theirs(data), mine(data)
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_the_reader_of_the_page_reads_golden_files(path: Path) -> None:
    """Among them those of both decoders."""
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as expected:
        read = np.stack(spec_reader.read(path))
        native, exact = expected["native"].reshape(read.shape), expected["mode"] == "exact"
        np.testing.assert_array_equal(read[exact], native[exact])
        np.testing.assert_allclose(read[~exact], native[~exact], rtol=0, atol=0.5)
        np.testing.assert_allclose(
            spec_reader.quality(path), [expected["psnr"], expected["max_error"]], rtol=1e-14
        )


def test_the_reader_of_the_page_checks_every_checksum(compressed: Compressed, tmp_path: Path) -> None:
    path = compressed(maps_of("FlatVel_A")[0, ::7, ::7], **LATENT, embed_codebook="always")
    data = path.read_bytes()
    spec_reader.read(path)
    places = {tag: data.index(tag) + 30 for tag in (b"HEAD", b"MAPS", b"BOOK")}
    places |= {b"FOOT": data.rindex(b"FOOT") + 30, b"tail": len(data) - 20}
    damaged = tmp_path / "damaged.vlz"
    for place in places.values():
        damaged.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(spec_reader.SpecError, match=r"checksum|tail"):
            spec_reader.read(damaged)


def test_a_reader_of_another_codebook_refuses(compressed: Compressed, tmp_path: Path) -> None:
    path = compressed(maps_of("FlatVel_A"), **LATENT)
    book = velcodec.load_codebook()
    card = {**book.card, "decoding": {**book.card["decoding"], "normalisation": [0.0, 1.0]}}
    other = tmp_path / "other.safetensors"
    codebook.save(codebook.Codebook(book.tensors, card), other)
    with pytest.raises(spec_reader.SpecError, match="another codebook"):
        spec_reader.read(path, other)
    with pytest.raises(spec_reader.SpecError, match="needed"):
        spec_reader.read(path)


# The page's tables and the program's constants

Table = list[list[str]]
TYPES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "f32": "f"}
PAGE = (Path(__file__).parents[1] / "format_spec.md").read_text()


def section(title: str) -> str:
    """The text of the section of that title, subsections included."""
    found = re.search(rf"^(#+) [\d.]+ {re.escape(title)}[^\n]*$", PAGE, re.MULTILINE)
    assert found, f"no section {title}"
    rest = PAGE[found.end() :]
    end = re.search(rf"^#{{2,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def tables(title: str) -> list[Table]:
    """The rows of each table of a section, without their headings and with code marks taken off."""
    found: list[Table] = []
    for block in re.findall(r"(?:^\|.*\n)+", section(title), re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
        found.append([[cell.strip().replace("`", "") for cell in row] for row in rows[2:]])
    return found


def says(title: str, words: str) -> bool:
    """Whether a section says this, however its lines are broken."""
    return words in " ".join(section(title).replace("`", "").split())


def layout(types: list[str]) -> str:
    """Types of a table to the format of a struct."""
    return "<" + "".join(TYPES.get(t) or f"{int(t.removesuffix(' bytes'))}s" for t in types)


def check_fields(rows: Table, expected: struct.Struct) -> None:
    """Offsets and types of a table against a struct."""
    types = [row[1] for row in rows]
    assert layout(types) == expected.format
    assert [int(row[0]) for row in rows] == [
        struct.calcsize(layout(types[:i]) if i else "") for i in range(len(types))
    ]


def test_prologue() -> None:
    (rows,) = tables("Prologue")
    check_fields(rows, container.PROLOGUE)
    assert f"## 2. Prologue: {container.PROLOGUE.size} bytes\n" in PAGE
    assert bytes.fromhex(rows[0][3]) == container.SIGNATURE
    assert int(rows[1][3]) == container.FORMAT_VERSION
    assert rows[2][3].endswith(f"none is defined, {container.KNOWN_REQUIRED_FEATURES}")
    assert rows[3][3].endswith("none is defined, 0")
    assert struct.unpack(layout([row[1] for row in rows]), container.pack_prologue())[3:] == (
        0,
        int(rows[4][3]),
    )
    assert PAGE.startswith(f"# The .vlz file format, version {container.FORMAT_VERSION}\n")
    assert says("Layout", f"HEAD starts at {container.PROLOGUE.size}.")


@pytest.mark.parametrize("field", [12, 14])
def test_bits_kept_for_later_are_refused(field: int) -> None:
    data = bytearray(container.pack_prologue())
    data[field] = 1
    with pytest.raises(velcodec.FormatError):
        container.unpack_prologue(bytes(data))


def test_sections() -> None:
    (rows,) = tables("Sections")
    check_fields(rows, container.SECTION)
    assert says("Sections", f"a header of {container.SECTION.size} bytes")
    tags = {container.TAG_HEADER, container.TAG_MAPS, container.TAG_CODEBOOK, container.TAG_FOOTER}
    assert set(re.findall(r"\b[A-Z]{4}\b", rows[0][2])) - {"ASCII"} == {tag.decode() for tag in tags}
    assert rows[3][2] == f"length of the payload in bytes, at most {container.MAX_PAYLOAD}"
    made = container.pack_section(container.Section(b"MAPS", 3, 5, b"payload"))
    assert rows[4][2] == "CRC32C of the 16 bytes before this field, then the payload"
    assert made[16:20] == struct.pack("<I", container.crc32c(made[:16], b"payload"))


def a_header(**changes: Any) -> dict[str, Any]:
    fields = header.Header((3, 70, 70), "<f4", "m/s", (10.0, 10.0), 0.0, 1.0, 0.0, 1.0, "id", "0" * 64, 256)
    return {**fields.to_json(), **changes}


def test_head() -> None:
    (rows,) = tables("HEAD")
    keys = {row[0]: row[1] for row in rows}
    assert set(keys) == set(a_header())
    assert says("HEAD", f"at most {container.MAX_HEADER} bytes")
    assert f'"{header.CODER}"' in keys["coder"]
    assert f"Entropy-coded latents (coder `{header.CODER}`)" in PAGE
    codes = re.search(r"then ([a-z0-9 ]+)$", keys["dtype"])
    assert codes
    named = {np.dtype(order + code).str for order in "<>" for code in codes[1].split()}
    assert named == header.DTYPES
    assert f"H x W at most {header.MAX_SAMPLES}" in keys["shape"]


def test_limits_of_head() -> None:
    """What header.py has no names for is found by asking it."""
    (rows,) = tables("HEAD")
    keys = {row[0]: row[1] for row in rows}
    limits = {
        name: int(re.findall(pattern, keys[key])[0])
        for name, key, pattern in (
            ("n", "shape", r"n at most (\d+)"),
            ("samples", "shape", r"H x W at most (\d+)"),
            ("units", "units", r"at most (\d+) "),
            ("latent", "codebook", r"1\.\.(\d+)"),
            ("digits", "codebook", r"(\d+) hex digits"),
        )
    }

    def accepts(**changes: Any) -> bool:
        try:
            header.from_json(a_header(**changes))
        except velcodec.FormatError:
            return False
        return True

    def book(latent: int, digits: int = limits["digits"]) -> dict[str, Any]:
        return {"id": "id", "sha256": "0" * digits, "latent": latent}

    for more in (0, 1):
        within = not more
        assert accepts(shape=[limits["n"] + more, 1, 1]) == within
        assert accepts(shape=[1, limits["samples"] + more]) == within
        assert accepts(units="m" * (limits["units"] + more)) == within
        assert accepts(codebook=book(limits["latent"] + more)) == within
        assert accepts(codebook=book(1, limits["digits"] + more)) == within
        assert accepts(codebook=book(1 - more)) == within
    assert not accepts(shape=[1, 2, 3, 4])
    assert not accepts(shape=[0, 3, 4])
    assert not accepts(units="m\n")
    assert not accepts(spacing=[1.0, float("inf")])


def test_maps() -> None:
    streams, kinds = tables("MAPS")
    check_fields(streams[:2], container.STREAM)
    assert int(streams[2][0]) == container.STREAM.size
    assert streams[0][2] == f"coding: {container.CODING_RAW} raw, {container.CODING_ZSTD} zstd"
    assert {name: kind for kind, name, _ in kinds} == {
        "exact": str(container.KIND_EXACT),
        "int8": str(container.KIND_INT8),
        "fp16": str(container.KIND_FP16),
        "entropy": f"{container.KIND_ENTROPY} + t",
    }
    order = ", ".join(container.Block.__dataclass_fields__)
    assert says("MAPS", f"five streams one after another: {order}.")
    assert says("MAPS", f"stored in blocks of 1 to {container.MAX_BLOCK_MAPS}, one MAPS section each")
    assert says("MAPS", f"**entropy**: coding {container.CODING_RAW};")


def test_foot_and_tail() -> None:
    foot, codes, tail = tables("FOOT and tail")
    check_fields(foot[:3], container.FOOTER)
    start, entry = container.FOOTER.size, container.INDEX.size
    assert foot[3] == [str(start), f"b x {entry} bytes", "index"]
    assert foot[4] == [f"{start} + {entry} b", "stream", "quality"]
    described = re.search(r"An index entry is \{(.*?)\}", " ".join(section("FOOT and tail").split()))
    assert described
    assert layout([field.split()[0] for field in described[1].split(", ")]) == container.INDEX.format
    check_fields(tail, container.TAIL)
    assert bytes.fromhex(tail[3][2].removeprefix("end signature ")) == container.END_SIGNATURE
    assert says("FOOT and tail", f"The file ends with {container.TAIL.size} bytes:")
    assert says("FOOT and tail", f"Offset + length + {container.TAIL.size} is the size of the file.")
    assert tail[2][2] == "CRC32C of the 12 bytes before"
    made = container.pack_tail(100, 50)
    assert made[12:16] == struct.pack("<I", container.crc32c(made[:12]))
    assert [row[0] for row in codes] == [
        f"PSNR {container.PSNR_EXACT}",
        "PSNR p",
        "error 0",
        f"error {container.ERROR_UNBOUNDED}",
        "error e",
    ]
    assert (container.PSNR_MAX, container.ERROR_MAX) == (
        container.PSNR_EXACT - 1,
        container.ERROR_UNBOUNDED - 1,
    )
    assert codes[1][1].startswith(f"PSNR = {container.PSNR_STEP} p dB, rounded down")
    assert f"2^((e - {container.ERROR_BIAS}) / {container.ERROR_STEPS})" in codes[4][1]


def test_entropy_coder() -> None:
    assert says("Entropy-coded latents", f"that sum to {1 << prior.TABLE_BITS}.")
    assert says("Entropy-coded latents", f"F[k] = {entropy.LIFT:g} x f[k];")
    assert entropy.LIFT * (1 << prior.TABLE_BITS) == 1 << 24
    assert says("Entropy-coded latents", "scale = floor(range / 2^24)")


def test_codebooks() -> None:
    tensors, *_ = tables("Codebooks")
    book = velcodec.load_codebook()
    sizes = re.findall(r"number m of frequencies, (\d+)\.\.(\d+)", section("Codebooks"))
    assert sizes == [("2", str(prior.MAX_SIZE))]
    assert says("Codebooks", f"at most {codebook.MAX_BYTES} bytes")
    most = int(re.findall(r"T at most (\d+)", section("Codebooks"))[0])
    assert most == 256 - container.KIND_ENTROPY
    uniform = [(0, np.ones(2))]
    prior.build(np.ones(most, np.float32), [uniform] * most)
    with pytest.raises(velcodec.CodebookError):
        prior.build(np.ones(most + 1, np.float32), [uniform] * (most + 1))
    types = {"f32": "f4", "f16": "f2", "i16": "i2", "u16": "u2"}
    for name, kind, _ in tensors:
        found = {k: t for k, t in book.tensors.items() if re.fullmatch(name.replace("*", ".*"), k)}
        assert found
        assert {t.dtype.str[1:] for t in found.values()} == {types[kind.split()[0]]}
        if "(T, D)" in kind:
            assert found[name].shape == (len(book.prior.step), book.latent)
    assert {k.split(".")[0] for k in book.tensors} == {row[0].split(".")[0] for row in tensors}
    named = re.search(r"family, (.*?)\)", section("Codebooks").replace("`", ""))
    assert named
    assert set(named[1].split(" or ")) == set(decoders.FAMILIES)


def test_decoder_warp() -> None:
    (layers,) = tables("Decoder `warp`")
    latent, c, r, samples, width = 7, 4, 3, 24, 5
    built = warp.WarpDecoder(latent, features=c, channels=r, samples=samples, width=width)
    shapes = {k: list(v.shape) for k, v in built.state_dict().items()}
    values = {"4 C": 4 * c, "D": latent, "R x samples": r * samples, "width": width}
    values |= {"C - 1 + R": c - 1 + r, "C - 1 + R + 2": c - 1 + r + 2}
    for name, shape in layers:
        stated = [values[n] if n in values else int(n) for n in shape.split(", ")]
        assert shapes.pop(f"{name}.weight") == stated
        assert shapes.pop(f"{name}.bias", None) == (None if name == "skip" else stated[:1])
    assert not shapes
    native, side, span = warp.NATIVE, warp.SIDE, warp.PROFILE_SPAN
    assert says("Decoder `warp`", f"({native} x / {side}, {native} z / {side})")
    assert says("Decoder `warp`", f"C channels of {side} x {side}")
    assert says("Decoder `warp`", f"(z + s) / {span}")


def test_decoder_siren() -> None:
    assert says("Decoder `siren`", f"h = sin({siren.W0:g} (first [x, z, y]))")
    assert says("Decoder `siren`", f"h = sin({siren.W0:g} (hidden.i h))")

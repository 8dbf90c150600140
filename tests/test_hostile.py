"""Hostile and damaged files: every prefix and every flipped bit raises, nothing crashes, nothing is lost."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import velcodec
from velcodec import blocks, container, footer, synth
from velcodec.archive import Archive
from velcodec.container import Section

Compressed = Callable[..., Path]


def read_all(path: Path) -> None:
    with Archive(path) as archive:
        archive.verify()
        archive.latents()


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive with a layered, a quantised and an exact map, under 2 KB."""
    maps = synth.generate("CurveFault_A", 3, (20, 20), seed=1)
    maps[1] = synth.generate("CurveVel_A", 1, (20, 20), seed=1)[0]
    maps[2, :8, :8] = np.nan
    maps[2, 8:] = 2000.0
    maps[2, 12:15] = np.random.default_rng(1).normal(2000, 300, (3, 20))  # no layers
    path = tmp_path_factory.mktemp("hostile") / "small.vlz"
    velcodec.compress(maps, path, psnr=45, effort=0)
    with velcodec.open(path) as archive:
        assert archive.quality.mode == ("quantised", "layered", "exact")
    data = path.read_bytes()
    assert len(data) < 2000
    return data


@pytest.fixture(scope="module")
def small_latents(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive of two latents, under 1 KB."""
    path = tmp_path_factory.mktemp("hostile") / "latents.vlz"
    velcodec.compress(synth.generate("FlatFault_A", 2, (24, 24), seed=1), path, latent_only=True, effort=0)
    data = path.read_bytes()
    assert len(data) < 1000
    return data


@pytest.fixture(scope="module")
def small_waves(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive of two maps of cosines with a residual, under 1 KB."""
    path = tmp_path_factory.mktemp("hostile") / "waves.vlz"
    velcodec.compress(synth.generate("Style_A", 2, (40, 40), seed=1), path, max_error=150, effort=0)
    with velcodec.open(path) as archive:
        assert set(archive.quality.mode) == {"cosines+residual"}
    data = path.read_bytes()
    assert len(data) < 1000
    return data


MADE = ["small_file", "small_latents", "small_waves"]


@pytest.mark.parametrize("made", MADE)
def test_every_prefix_raises(made: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    small_file = request.getfixturevalue(made)
    path = tmp_path / "cut.vlz"
    for n in range(len(small_file)):
        path.write_bytes(small_file[:n])
        with pytest.raises(velcodec.FormatError):
            read_all(path)


@pytest.mark.parametrize("made", MADE)
def test_every_flipped_bit_raises(made: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    small_file = request.getfixturevalue(made)
    path = tmp_path / "flipped.vlz"
    path.write_bytes(small_file)
    read_all(path)
    for i in range(len(small_file)):
        for bit in range(8):
            data = bytearray(small_file)
            data[i] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(velcodec.VelcodecError):
                read_all(path)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes, signed: bool) -> None:
    path = tmp_path_factory.mktemp("random") / "r.vlz"
    path.write_bytes(container.pack_prologue() + data if signed else data)
    with pytest.raises(velcodec.FormatError):
        read_all(path)


def test_bytes_appended_raise(small_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "more.vlz"
    path.write_bytes(small_file + b"\n")
    with pytest.raises(velcodec.FormatError):
        read_all(path)


def test_text_mode_transfer_is_named(small_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.vlz"
    path.write_bytes(small_file.replace(b"\r\n", b"\n"))
    with pytest.raises(velcodec.FormatError, match="text-mode"):
        read_all(path)


def test_later_versions_are_refused_as_such(small_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "later.vlz"
    for offset, value in ((8, 2), (10, 4096 + 61)):
        data = bytearray(small_file)
        struct.pack_into("<H", data, offset, value)
        path.write_bytes(data)
        with pytest.raises(velcodec.VersionError, match="upgrade"):
            read_all(path)
    assert [container.readable(v, f) for v, f in ((0, 0), (1, 4095), (1, 4096), (2, 0))] == [
        "damaged",
        "yes",
        "no",
        "no",
    ]


def rebuilt(data: bytes, change: Callable[[dict[str, object]], None]) -> bytes:
    """The file with another header, all checksums and offsets right."""
    start = container.PROLOGUE.size
    length = container.section_length(data[start : start + 20], container.TAG_HEADER, 1 << 16)
    features = container.unpack_prologue(data[:start])
    fields = container.unpack_header(data[start + 20 : start + 20 + length], features)
    change(fields)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=container._dictionary(features))
    payload = (
        packer.compress(json.dumps(fields).encode()) + packer.flush()
    )  # what pack_header refuses as well
    section = container.pack_section(Section(container.TAG_HEADER, 0, 0, payload))
    shift = len(section) - 20 - length
    offset, _ = container.unpack_tail(data[-24:], len(data))
    foot = footer.unpack_footer(container.unpack_section(data[offset:-24], b"FOOT").payload, offset, features)
    entries = [footer.Entry(e.offset + shift, e.length, e.first, e.count) for e in foot.entries]
    payload = footer.pack_footer(footer.Footer(entries, foot.book, foot.psnr, foot.error), features)
    end = container.pack_section(Section(container.TAG_FOOTER, 0, 0, payload))
    body = data[start + 20 + length : offset]
    return data[:start] + section + body + end + container.pack_tail(offset + shift, len(end))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [2, 10]),
        ("shape", [1 << 40, 10, 10]),
        ("shape", [2, 1 << 20, 1 << 20]),
        ("shape", [2, -10, -10]),
        ("shape", [2, 10.0, 10]),
        ("shape", "big"),
        ("shape", [2, 40, 40]),
        ("dtype", "|O8"),
        ("dtype", "<f4,<f4"),
        ("dtype", 4),
        ("units", "m\n" * 9),
        ("units", "m" * 1000),
        ("spacing", [1]),
        ("normalisation", [1e999, 1]),
        ("range", None),
        ("range", [2.0, 1.0]),
        ("codebook", {"id": "x", "sha256": "ab", "latent": 256}),
        ("codebook", {"id": "x", "sha256": "0" * 64, "latent": 1 << 30}),
        ("coder", "velcodec-11"),
        ("coder", "velcodec-1"),
        ("more", "x" * (1 << 16)),
    ],
)
def test_hostile_headers(small_file: bytes, tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "h.vlz"
    path.write_bytes(rebuilt(small_file, lambda fields: None))
    read_all(path)
    path.write_bytes(rebuilt(small_file, lambda fields: fields.update({key: value})))
    with pytest.raises(velcodec.VelcodecError):
        read_all(path)


def test_stated_sizes_are_checked_before_allocating() -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 24))
    stream = container.STREAM.pack(container.CODING_ZSTD, len(bomb)) + bomb
    with pytest.raises(velcodec.FormatError, match="does not hold"):
        container.unpack_stream(stream, 0, 100)
    with pytest.raises(velcodec.FormatError, match="truncated"):
        container.unpack_stream(container.STREAM.pack(0, 1 << 31), 0, 1 << 31)
    with pytest.raises(velcodec.FormatError, match="more than there can be"):
        container.section_length(container.SECTION.pack(b"HEAD", 0, 0, 1 << 30, 0), b"HEAD", 1 << 16)


def test_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(velcodec.UsageError, match="cannot open"):
        velcodec.open(tmp_path / "none.vlz")
    with pytest.raises(velcodec.VelcodecError):
        velcodec.open(tmp_path)


# Interrupted and failed writing


def test_interrupted_writing_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = synth.generate("FlatVel_A", 4)
    monkeypatch.setattr("velcodec.compression.BLOCK_MAPS", 2)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        velcodec.compress(maps, tmp_path / "a.vlz", lossless=True, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_interrupted_overwriting_keeps_the_old_file(tmp_path: Path) -> None:
    maps = synth.generate("FlatVel_A", 2)
    path = tmp_path / "a.vlz"
    velcodec.compress(maps, path, lossless=True)
    before = path.read_bytes()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        velcodec.compress(maps + 1, path, lossless=True, overwrite=True, progress=interrupt)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.vlz"]


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full fails every write as a full disk does."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    opened = Path.open

    def on_full_disk(path: Path, mode: str = "r") -> Any:
        if path.suffix == ".part":
            path.touch()
        return opened(full if path.suffix == ".part" else path, mode)

    monkeypatch.setattr(Path, "open", on_full_disk)
    with pytest.raises(OSError, match="No space"):
        velcodec.compress(synth.generate("Style_A", 20), tmp_path / "a.vlz", lossless=True)
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept(tmp_path: Path) -> None:
    maps = synth.generate("FlatVel_A", 1)
    path = tmp_path / "a.vlz"
    path.write_text("mine")
    with pytest.raises(velcodec.UsageError, match="exists"):
        velcodec.compress(maps, path)
    assert path.read_text() == "mine"
    with pytest.raises(velcodec.UsageError, match="folder"):
        velcodec.compress(maps, tmp_path, overwrite=True)
    with pytest.raises(velcodec.UsageError, match="cannot write"):
        velcodec.compress(maps, tmp_path / "no" / "a.vlz")


def test_layers_of_a_range_without_integers_are_refused() -> None:
    """A stream may say that its values are integers where the file's range has none."""
    from velcodec import layers

    m = np.repeat(np.arange(4.0), 5)[:, None].repeat(6, 1)
    found = layers.analyse(m)
    assert found is not None
    data, _ = layers.encode([found], [20], 0.0, 4.0, 0.0)
    with pytest.raises(velcodec.FormatError):
        layers.decode(data, [(20, 6)], [False], np.dtype("i4"), -1e300, 1e300, 0.0)
    steps = layers.Layered(found.values.astype(np.int64), found.depths, 128)
    data, _ = layers.encode([steps], [20], 0.0, 4.0, 1.0)
    given = data, [(20, 6)], [True], np.dtype("f4")
    np.testing.assert_array_equal(layers.decode(*given, 0.0, 4.0, 1.0)[0].values, steps.values)
    for low, high, unit in ((0.0, 4.0, 0.0), (0.0, 4.0, 1e-320), (0.0, 4.0, 1e-9), (-1e300, 1e300, 1.0)):
        with pytest.raises(velcodec.FormatError):
            layers.decode(*given, low, high, unit)
    with pytest.raises(velcodec.FormatError):
        layers.decode(*given, 4.0, 0.0, 1.0)


def test_counting_tiles_allocates_none() -> None:
    from velcodec.tiles import Layout

    layout = Layout((1 << 14, 1 << 14), (1, 1))
    assert len(layout) == 1 << 28
    assert "axes" not in layout.__dict__


def test_streams_that_no_map_uses_are_refused() -> None:
    from velcodec.decoder import read_records
    from velcodec.header import Header

    header = Header((1, 2, 2), "<f4", "m/s", (1, 1), 0, 1, 0, 1, "x", "0" * 64, 256, unit=1.0)
    for name in ("layers", "edges", "smooth", "residual", "entropy"):
        block = blocks.Block(np.zeros(1, np.uint8), exact=bytes(16), **{name: b"1234"})
        with pytest.raises(velcodec.FormatError, match="no map uses"):
            read_records(blocks.pack_block(block, header.features), [(2, 2)], header, None)


def test_blocks_of_endless_maps_are_refused() -> None:
    from velcodec.decoder import read_records
    from velcodec.header import Header

    header = Header((9, 1 << 14, 1 << 14), "<f4", "m/s", (1, 1), 0, 1, 0, 1, "x", "0" * 64, 256, unit=1.0)
    block = blocks.Block(np.full(9, container.KIND_EDGES, np.uint8), edges=b"1234")
    with pytest.raises(velcodec.FormatError, match="more samples"):
        read_records(blocks.pack_block(block, header.features), [(1 << 14, 1 << 14)] * 9, header, None)

"""format_spec.md: a reader written from it reads what velcodec writes, and its tables are the program's constants."""

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from numpy.typing import NDArray

import velcodec
from velcodec import (
    adaptive,
    blocks,
    border,
    codebook,
    compression,
    container,
    decoder,
    decoders,
    edges,
    entropy,
    exact,
    footer,
    header,
    layer_models,
    layers,
    manifest,
    modes,
    parts,
    pixels,
    prior,
    quality,
    residual,
    smooth,
    soft,
    spectrum,
    spectrum_coder,
    synth,
    tiles,
    writer,
)
from velcodec.decoders import choice, cosines, faulted, layered, siren, trapezia, warp
from velcodec.grid import make_grid
from velcodec.layers import Layered
from velcodec.manifest import Source
from velcodec.modes import Offer
from velcodec.pixels import Integers, Model
from velcodec.repair import repair
from velcodec.request import Request
from velcodec.soft import Soft
from velcodec.spectrum import Spectrum

from . import spec_reader

Compressed = Callable[..., Path]
SECOND, THIRD = container.FEATURE_SECOND, container.FEATURE_SECOND | container.FEATURE_THIRD
FOURTH, FIFTH = THIRD | container.FEATURE_FOURTH, THIRD | container.FEATURE_FOURTH | container.FEATURE_FIFTH
SIXTH = FIFTH | container.FEATURE_SIXTH
SEVENTH = SIXTH | container.FEATURE_SEVENTH
EIGHTH = SEVENTH | container.FEATURE_EIGHTH
NINTH = EIGHTH | container.FEATURE_NINTH
TENTH = NINTH | container.FEATURE_TENTH
ARCHIVE = TENTH | container.FEATURE_ARCHIVE
CODERS = dict(
    zip((0, SECOND, THIRD, FOURTH, FIFTH, SIXTH, SEVENTH, EIGHTH, NINTH, TENTH), header.CODERS, strict=True)
)  # by the features of each
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
    mode = same_maps_and_quality(path, array, read)
    if case == "mixed":
        assert {"exact", "latent-entropy"} <= set(mode)
        assert mode[4] == "exact"


def same_maps_and_quality(path: Path, array: NDArray[Any], read: list[NDArray[Any]]) -> tuple[str, ...]:
    """Check what the page's reader gives of a file of an array against velcodec's; the mode of each map."""
    restored = velcodec.decompress(path)
    assert restored.shape == array.shape
    restored = restored.reshape(-1, *array.shape[-2:])
    with velcodec.open(path) as archive:
        quality, scale = archive.quality, archive.header.scale
    assert len(read) == len(restored)
    drift = velcodec.load_codebook().drift * scale
    for mine, theirs, mode in zip(read, restored, quality.mode, strict=True):
        assert mine.dtype == theirs.dtype == array.dtype
        assert mine.shape == theirs.shape
        if not mode.startswith("latent"):
            assert mine.tobytes() == theirs.tobytes()
        else:
            difference = np.abs(mine.astype(float) - theirs.astype(float))
            assert (difference <= drift + last_place(theirs)).all()
    psnr, error = spec_reader.quality(path)
    np.testing.assert_allclose(psnr, quality.psnr, rtol=1e-14)
    np.testing.assert_allclose(error, quality.max_error, rtol=1e-14)
    return quality.mode


# The adaptive modes, on small maps: the page's reader is slow


def small(family: str, side: tuple[int, int] = (20, 16), dtype: str = "<f4") -> NDArray[Any]:
    """Two maps cut out of two of a family."""
    return synth.generate(family, 2, seed=3)[:, 30 : 30 + side[0], 20 : 20 + side[1]].astype(dtype)


def torn() -> NDArray[Any]:
    """Maps with NaN, infinity and minus zero, which no integers are."""
    maps = small("Style_A", (6, 5))
    maps[0, 1, 2], maps[0, 3, 3], maps[1, 4, 4] = np.nan, np.inf, -0.0
    return maps


def plateaus(dtype: str, count: int = 2) -> NDArray[Any]:
    """Maps of few values that lie in no order from top to bottom."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 5, (count, 4, 4)).repeat(5, 1).repeat(4, 2)
    return coarse.astype(dtype)


def layered_at(names: NDArray[Any]) -> Callable[[], NDArray[Any]]:
    """Layers of named values, each with a flat interface."""
    return lambda: names.repeat(3)[None, :, None].repeat(7, 2)


def sheared(dtype: str, off: float = 0.01) -> NDArray[Any]:
    """Layers whose values vary by more than nothing and less than a bound."""
    maps = synth.generate("CurveVel_A", 3, seed=3)[:, 20:50, 30:48].astype("<f8")
    return (maps + np.random.default_rng(6).uniform(-off, off, maps.shape[:2])[..., None]).astype(dtype)


Kinds = Callable[[int], bool]


def only(monkeypatch: pytest.MonkeyPatch, wanted: Kinds) -> None:
    """Leave the encoder no choice: of all offers those of wanted kinds count, and zstd where there is none."""

    def held_to(offer: Callable[..., Offer]) -> Callable[..., Offer]:
        def made(*given: Any, **options: Any) -> Offer:
            found = offer(*given, **options)
            for i, kind in enumerate(found.kinds.tolist()):
                if not wanted(kind):
                    found.bytes[i] = np.inf if offer is not zstd else 1e12
            return found

        return made

    zstd = modes.as_zstd
    layered = ("as_layers", "as_layers_in_steps", "as_soft")
    for name in (*layered, "as_exact", "as_quantised", "as_cosines", "as_latents", "as_corrected", "as_zstd"):
        monkeypatch.setattr(modes, name, held_to(getattr(modes, name)))


def kinds_in(path: Path) -> set[int]:
    with velcodec.open(path) as archive:
        entries = archive.stored.footer.entries
        return {int(k) for e in entries for k in archive.stored.kinds(archive.stored.payload(e), e)}


LOSSLESS: dict[str, Any] = {"lossless": True}
KINDS: dict[str, tuple[int, Callable[[], NDArray[Any]], dict[str, Any]]] = {
    "layers of 70 x 70": (3, lambda: maps_of("CurveVel_A", "FlatVel_B", "CurveVel_B"), LOSSLESS),
    "layers under a bound": (3, lambda: maps_of("FlatVel_A")[0, :30, :9], {"max_error": 1.0}),
    "layers of fractions": (3, layered_at(np.array([1.5, np.pi, -0.0, np.nan, np.inf])), LOSSLESS),
    "layers out of order": (3, layered_at(np.array([9, 2, 40, -7], "<i2")), LOSSLESS),
    "layers >f4": (3, layered_at(np.array([2000, 1500.5, 4000], ">f4")), LOSSLESS),
    "layers <u8": (3, layered_at(np.array([1 << 63, 3, (1 << 64) - 1], "<u8")), LOSSLESS),
    "layers in steps": (8, lambda: sheared("<f4"), {"max_error": 7.0}),
    "layers in steps <f8": (8, lambda: sheared("<f8") * np.pi, {"max_error": 9.1}),
    "layers in steps >i2": (8, lambda: sheared(">i2"), {"max_error": 25.0}),
    "layers in steps past 2^24": (8, lambda: sheared("<f8", 0.0) * np.pi, {"max_error": 1e-5}),
    "edges exact": (6, lambda: small("FlatFault_A"), LOSSLESS),
    "edges exact of one map": (6, lambda: small("CurveFault_A")[1], LOSSLESS),
    "edges exact u1": (6, lambda: plateaus("u1"), LOSSLESS),
    "edges exact >i4": (6, lambda: -30000 * plateaus(">i4"), LOSSLESS),
    "edges exact <f8": (6, lambda: plateaus("<f8") / 8 + 1500, LOSSLESS),
    "edges psnr": (4, lambda: small("CurveFault_A"), {"psnr": 35.0}),
    "edges bound": (4, lambda: plateaus("<f4") + small("Style_B") / 1000, {"max_error": 2.0}),
    "edges bound >u2": (4, lambda: small("FlatFault_A", dtype=">u2"), {"max_error": 10.0}),
    "smooth exact <f4": (7, lambda: small("Style_A", (14, 12)), LOSSLESS),
    "smooth exact <f2": (7, lambda: small("Style_B", dtype="<f2"), LOSSLESS),
    "smooth exact >f4": (7, lambda: small("Style_B", (9, 8), dtype=">f4"), LOSSLESS),
    "smooth exact <f8": (7, lambda: np.floor(small("Style_A") * 64).astype("<f8") / 64, LOSSLESS),
    "smooth exact >i2": (7, lambda: np.rint(small("Style_A")).astype(">i2"), LOSSLESS),
    "smooth psnr": (5, lambda: small("Style_A", dtype="<f8"), {"psnr": 45.0}),
    "smooth bound": (5, lambda: small("Style_B"), {"max_error": 0.3}),
    "smooth bound <i2": (5, lambda: small("Style_A", dtype="<i2"), {"max_error": 4.0}),
    "exact": (0, torn, LOSSLESS),
    "exact under a bound": (0, torn, {"max_error": 3.0}),
    "with channel": (5, lambda: small("Style_A", (9, 8))[:, None], {"max_error": 1.0}),
}


@pytest.mark.parametrize("case", KINDS)
def test_the_reader_of_the_page_reads_every_kind_without_a_latent(
    case: str, compressed: Compressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, make, options = KINDS[case]
    only(monkeypatch, lambda k: k == kind)
    array = make()
    path = compressed(array, **options)
    assert kinds_in(path) == {kind}
    restored, read = velcodec.decompress(path), spec_reader.read(path)
    assert restored.shape == array.shape
    restored = restored.reshape(-1, *array.shape[-2:])
    assert len(read) == len(restored)
    for mine, theirs in zip(read, restored, strict=True):
        assert mine.dtype == theirs.dtype == array.dtype
        assert mine.tobytes() == theirs.tobytes()
    if options is LOSSLESS:
        assert b"".join(m.tobytes() for m in read) == np.ascontiguousarray(array).tobytes()
    with velcodec.open(path) as archive:
        codes = [archive.quality.psnr, archive.quality.max_error]
        np.testing.assert_allclose(spec_reader.quality(path), codes, rtol=1e-14)


SOFT_CASES: dict[str, tuple[str, str, dict[str, Any], set[int]]] = {  # family, dtype, options, some p in them
    "coarse": ("FlatFault_A", "<f4", {"psnr": 32.0}, {0}),
    "curved": ("CurveFault_A", ">f4", {"psnr": 32.0}, {0, 1}),
    "curved <i2": ("CurveFault_A", "<i2", {"psnr": 36.0}, {1, 2}),
    "fine <f8": ("FlatFault_A", "<f8", {"psnr": 46.0, "effort": 3, "codebook": "openfwi-2d-v1"}, {3, 4, 5}),
}


@pytest.mark.parametrize("case", SOFT_CASES)
def test_the_reader_of_the_page_reads_smoothed_edges(case: str, compressed: Compressed) -> None:
    family, dtype, options, among = SOFT_CASES[case]
    array = synth.generate(family, 6, seed=7).astype(dtype)
    path = compressed(array, **options)
    assert container.unpack_prologue(path.read_bytes()[:16]) == container.FEATURE_MODES | TENTH
    assert {container.KIND_SOFT + p for p in among} <= kinds_in(path)
    for mine, theirs in zip(spec_reader.read(path), velcodec.decompress(path), strict=True):
        assert mine.dtype == theirs.dtype == array.dtype
        assert mine.tobytes() == theirs.tobytes()
    with velcodec.open(path) as archive:
        assert "layered-soft" in archive.quality.mode
        codes = [archive.quality.psnr, archive.quality.max_error]
        np.testing.assert_allclose(spec_reader.quality(path), codes, rtol=1e-14)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_volume_lie_along_the_axis_of_the_head(axis: int, compressed: Compressed) -> None:
    volume = np.arange(5 * 6 * 7, dtype="<i2").reshape(5, 6, 7) // 40
    path = compressed(volume, lossless=True, axis=axis)
    assert spec_reader.parse(path).head.get("axis", 0) == axis
    np.testing.assert_array_equal(np.moveaxis(np.stack(spec_reader.read(path)), 0, axis), volume)


@pytest.mark.parametrize("options", [{"max_error": 20.0}, {"psnr": 40.0}], ids=str)
def test_the_reader_of_the_page_reads_a_residual(
    options: dict[str, Any], compressed: Compressed, book_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, lambda k: container.KIND_RESIDUAL <= k < container.KIND_COSINES_RESIDUAL)
    array = maps_of("Style_A", "FlatFault_A", "Style_B")[:, 10:28, 20:36]
    path = compressed(array, **options)
    assert min(kinds_in(path)) >= container.KIND_RESIDUAL
    restored, read = velcodec.decompress(path), spec_reader.read(path, book_path)
    with velcodec.open(path) as archive:
        drift = velcodec.load_codebook().drift * archive.header.scale
    np.testing.assert_allclose(read, restored, rtol=0, atol=drift + 1e-3)
    if "max_error" in options:
        assert np.abs(np.stack(read) - array).max() <= options["max_error"]


@pytest.mark.parametrize("coder", CODERS.values())
def test_latents_alone_and_below_a_residual_share_the_entropy_stream(coder: str, book_path: Path) -> None:
    book, rng = velcodec.load_codebook(), np.random.default_rng(4)
    t = len(book.prior.step) - 1
    kinds = [
        container.KIND_RESIDUAL + t,
        container.KIND_ENTROPY,
        container.KIND_ENTROPY + t,
        container.KIND_EXACT,
    ]
    low, high = book.prior.low, [book.prior.high(k) + 1 for k in range(t + 1)]
    q = {k: rng.integers(low[k], high[k], (n, book.latent)).astype(np.int32) for k, n in ((0, 1), (t, 2))}
    correction = Integers(of_values(rng, (5, 6), 30), 131)
    head = a_header(
        shape=[4, 5, 6], range=[0.0, 9000.0], normalisation=[3000.0, 1500.0], unit=1.5, coder=coder
    )
    head["codebook"] = {"id": book.id, "sha256": book.sha256, "latent": book.latent}
    made = blocks.Block(
        kinds=np.array(kinds, np.uint8),
        entropy=entropy.encode(list(q.items()), book.of(header.from_json(head).escapes).models),
        exact=np.ones((5, 6), "<f4").tobytes(),
        residual=pixels.encode([correction], pixels.models(header.from_json(head).generation)[1], 0)[0],
    )
    fields = header.from_json(head)
    features = fields.features
    payload = blocks.pack_block(made, features)
    records = decoder.read_records(payload, [(5, 6)] * 4, fields, book)
    grid = make_grid((5, 6))
    theirs = decoder.decode_records(records, [(i, grid) for i in range(4)], fields, book, torch.device("cpu"))
    file = spec_reader.File(b"", features, head, [(range(5), range(6))], [], None, b"")
    mine = spec_reader.block(file, payload, [(5, 6)] * 4, [spec_reader.parse_book(book_path.read_bytes())])
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=0.5)


CHOICE: dict[str, Any] = {
    "latent": 12,
    "warp": {"latent": 8, "features": 3, "channels": 2, "samples": 24, "width": 8},
}


def choice_codebook() -> codebook.Codebook:
    """A small one of random weights: two table sets, of layers and of cosines, one number's as large as may be."""
    torch.manual_seed(3)
    built = decoders.build("choice", CHOICE)
    assert isinstance(built, choice.ChoiceDecoder)
    corners = torch.tensor([[0, 0], [0, 69], [69, 0], [69, 69]])
    built.cosines.waves.copy_(torch.cat([corners, torch.tensor([[k % 5 + 1, 7 - k] for k in range(7)])]))
    tensors = {f"decoder.{k}": v.numpy().astype(np.float16) for k, v in built.state_dict().items()}
    k = np.arange(-30, 31)
    numbers = [(-30, np.exp(-np.abs(k) / 9.0))] * 10
    wide = [(-2000, np.ones(prior.MAX_SIZE))]
    made = prior.build(
        np.array([0.2, 1.5], np.float32), [[(low, np.ones(2)), *wide, *numbers] for low in (-1, 1)]
    )
    decoding = {"decoder": "choice", "options": CHOICE, "normalisation": [3000.0, 1500.0]}
    card = {"id": "choice", "version": 1, "decoding": decoding, "encoder": None, "rate": 1e-3}
    return codebook.Codebook({**tensors, **made.tensors()}, {**card, "drift_bound": 1e-3})


def test_the_reader_of_the_page_reads_latents_of_a_choice() -> None:
    """Of all sorts of latents, of layers and of cosines, a residual below some of each; y_0 = 0 is of layers."""
    book, rng = choice_codebook(), np.random.default_rng(24)
    d, low, high = book.latent, book.prior.low, [book.prior.high(t) + 1 for t in (0, 1)]
    starts = [container.KIND_ENTROPY, container.KIND_RESIDUAL]
    kinds = [start + t for start in starts for t in (0, 1, 1, 0)]
    kinds += [container.KIND_INT8] * 3 + [container.KIND_FP16] * 3
    shapes = [(70, 70)] * 4 + [(5, 6), (3, 9), (6, 2), (4, 4)] + [(20, 31)] * 6
    q = {t: rng.integers(low[t], high[t], (4, d)).astype(np.int32) for t in (0, 1)}
    for t in (0, 1):
        q[t][:, 1] = rng.integers(-40, 40, 4)
    q[0][:, 0] = (0, -1, 0, -1)
    eight = rng.integers(-90, 90, (3, d)).astype(np.int8)
    half = rng.normal(0, 5, (3, d)).astype("<f2")
    eight[:, 0], half[:, 0] = (-3, 0, 5), (0.01, 0, -0.01)
    first, read = read_by_both(kinds, shapes, q, book, eight, 0.1, half, rng)
    assert {bool(y > 0) for y in first[:8]} == {True, False}
    assert min(np.ptp(one) for one in read) > 1


def read_by_both(
    kinds: list[int],
    shapes: list[tuple[int, int]],
    q: Mapping[int, np.ndarray],
    book: codebook.Codebook,
    eight: np.ndarray,
    scale: float,
    half: np.ndarray,
    rng: np.random.Generator,
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Number 0 of each latent of a block, and the records, which both readers must read the same.

    Args:
        q, eight, scale, half: as of block_of_latents.
    """
    head = a_header(shape=[len(kinds), 70, 70], range=[-1e5, 1e5], normalisation=[3000.0, 1500.0], unit=1.5)
    if book.latent > container.PLAIN:
        head["coder"] = "velcodec-4"  # the last that keeps all numbers of those that are not coded
    head["codebook"] = {"id": book.id, "sha256": book.sha256, "latent": book.latent}
    fields = header.from_json(head)
    residuals = [s for k, s in zip(kinds, shapes, strict=True) if k >= container.KIND_RESIDUAL]
    corrections = [Integers(of_values(rng, shape, 30), 131) for shape in residuals]
    made = block_of_latents(kinds, q, book, eight, scale, half, corrections, fields.generation)
    payload = blocks.pack_block(made, fields.features)
    records = decoder.read_records(payload, shapes, fields, book)
    wanted = [(i, make_grid(shape)) for i, shape in enumerate(shapes)]
    theirs = decoder.decode_records(records, wanted, fields, book, torch.device("cpu"))
    read = spec_reader.parse_book(codebook.to_bytes(book))
    assert read.sha256 == book.sha256
    mine = spec_reader.block(a_file(head), payload, shapes, [read])
    for one, other, shape in zip(mine, theirs, shapes, strict=True):
        assert one.shape == other.shape == shape
        np.testing.assert_allclose(one, other, rtol=0, atol=0.5)
    return records.latents[:, 0], mine


LAYERED: dict[str, tuple[int, dict[str, int]]] = {  # numbers of a latent, options of the layered decoder
    "usual": (200, {}),
    "few": (24, {"layers": 4, "waves": 5}),
    "as many as there are": (12, {"layers": 6, "waves": 1}),
    "one": (3, {"layers": 1}),
}
FLAT: tuple[int, NDArray[np.float64]] = (-1, prior.CERTAIN.astype(float))  # a table of -1, hardly ever 0


def codebook_of(latent: int, **options: dict[str, int]) -> codebook.Codebook:
    """A small one of random weights: table sets of the network, of cosines, of layers from y_0 = 10, of faults from 30.

    Every third number, the last one too, is hardly ever another than one.

    Args:
        options: of the layered decoder and of the faulted one, where there are these.
    """
    torch.manual_seed(5)
    under = {**CHOICE["warp"], "latent": min(latent - 1, 8)}
    choices = {"latent": latent, "warp": under, **options}
    built = decoders.build("choice", choices)
    assert isinstance(built, choice.ChoiceDecoder)
    built.cosines.waves.copy_(torch.tensor([[i % 23, i // 23] for i in range(latent - 1)]))
    tensors = {f"decoder.{k}": v.numpy().astype(np.float16) for k, v in built.state_dict().items()}
    numbers = (-30, np.exp(-np.abs(np.arange(-30, 31)) / 9.0))
    others = [FLAT if (latent - 1 - d) % 3 == 0 else numbers for d in range(1, latent)]
    past = {"layered": choice.FROM_LAYERS, "faulted": choice.FROM_FAULTS}
    from_ = [1, *(round(past[k] / 0.5) for k in options)]
    firsts = [(0, prior.CERTAIN.astype(float)), *((low, np.ones(2)) for low in from_)]
    steps = np.array([0.3, 1.5, *(0.5 for _ in options)], np.float32)
    made = prior.build(steps, [[mass, *others] for mass in firsts])
    decoding = {"decoder": "choice", "options": choices, "normalisation": [3000.0, 1500.0]}
    card = {"id": "parts", "version": 1, "decoding": decoding, "encoder": None, "rate": 1e-3}
    return codebook.Codebook({**tensors, **made.tensors()}, {**card, "drift_bound": 1e-3})


def parts_read_by_both(
    book: codebook.Codebook,
    rng: np.random.Generator,
    firsts: Mapping[int, Sequence[int]],
    eight: np.ndarray,
    half: np.ndarray,
) -> NDArray[Any]:
    """Number 0 of latents that both readers read the same: four of each table set, some rarer numbers; int8 and fp16.

    Args:
        firsts: integers of number 0, of some table sets; of all sets two are below a residual.
        eight: in steps of a half.
    """
    d = book.latent
    sizes = np.where(book.prior.size == 2, 0, book.prior.size)  # 0: hardly ever another integer
    sizes[1:, 0] = 2
    flat = [(d - 1 - i) % 3 == 0 for i in range(1, d)]
    assert (sizes[:, 1:] == np.where(flat, 0, 61)).all()
    assert sizes[:, 0].tolist() == [0, *[2] * (len(sizes) - 1)]
    q = {}
    for t in range(len(sizes)):
        q[t] = rng.integers(book.prior.low[t], book.prior.high(t) + 1, (4, d)).astype(np.int32)
        q[t][:2, sizes[t] == 0] = book.prior.low[t, sizes[t] == 0]
    for t, first in firsts.items():
        q[t][:, 0] = first
    twice = [*q, *reversed(q)]
    kinds = [start + t for start in (container.KIND_ENTROPY, container.KIND_RESIDUAL) for t in twice]
    kinds += [container.KIND_INT8] * len(eight) + [container.KIND_FP16] * len(half)
    sides = [(70, 70), (20, 31), (1, 9), (70, 70), (41, 27), (33, 8), (13, 90), (2100, 1), (140, 35)]
    shapes = [(6, 5) if k >= container.KIND_RESIDUAL else sides[i % 9] for i, k in enumerate(kinds)]
    return read_by_both(kinds, shapes, q, book, eight, 0.5, half, rng)[0]


def interfaces_of(rng: np.random.Generator, count: int, latent: int, options: dict[str, int]) -> NDArray[Any]:
    """Latents (count, D) of layers as maps have them: most interfaces within the map, some that would cross."""
    n, waves = (options.get(k, usual) for k, usual in (("layers", 8), ("waves", 24)))
    y = rng.normal(0, 4, (count, latent))
    y[:, 0], y[:, 1] = rng.uniform(10.1, 30, count), rng.uniform(-20, 20, count)
    t = rng.normal(0, 8, (count, n - 1, waves)) / (1 + np.arange(waves))
    t[..., 0] = rng.uniform(-20, 120, (count, n - 1))  # 8.4 of them are a cell
    y[:, n + 1 : n + 1 + (n - 1) * waves] = t.reshape(count, -1)
    return y


@pytest.mark.parametrize("case", LAYERED)
def test_both_readers_read_the_same_latents_of_layers(case: str) -> None:
    """On the native grid and on others; entropy-coded with tables of size 0, of which some records take the rarer."""
    latent, options = LAYERED[case]
    book, rng = codebook_of(latent, layered=options), np.random.default_rng(27)
    half = interfaces_of(rng, 5, latent, options).astype("<f2")
    half[3:, 0] = np.nextafter(np.float16(10), np.float16(11)), 10  # the last is of cosines still
    if latent > 3:
        half[2, options.get("layers", 8) + 1] = -50  # six cells above the top
    eight = np.clip(interfaces_of(rng, 3, latent, options) / 0.5, -127, 127).astype(np.int8)
    eight[:, 0] = (21, 40, 20)  # the last, 10.0, of cosines
    firsts = {0: (0, 0, 0, 1), 2: (21, 20, 20, 21)}  # 1: of cosines; so is 20, 10.0
    first = parts_read_by_both(book, rng, firsts, eight, half)
    assert np.histogram(first, [-np.inf, 1e-9, 10.001, np.inf])[0].tolist() == [3, 9, 8]


FAULTED: dict[str, tuple[int, dict[str, dict[str, int]]]] = {  # numbers of a latent, options of the decoders
    "usual": (400, {"layered": {}, "faulted": {}}),
    "few": (90, {"layered": {"layers": 3, "waves": 9}, "faulted": {"layers": 4, "waves": 5}}),
    "without layers": (80, {"faulted": {"layers": 5, "waves": 3}}),
    "as many as there are": (25, {"faulted": {"layers": 2, "waves": 2}}),
}


def faulted_of(rng: np.random.Generator, latent: int, options: dict[str, int]) -> NDArray[Any]:
    """Latents (96, D) of faulted maps: of all sorts of edges, stacks, lines and fills, each with each."""
    n, waves = (options.get(k, usual) for k, usual in (("layers", 8), ("waves", 24)))
    sorts = list(product((0, 5), (-1, 1), (-1, 1), (-1, 1), (0, 1, -1), (-1, 1)))
    soft, two, one_wall, other_wall, fill, reach = np.array(sorts).T
    count, stack = len(sorts), n + (n - 1) * waves
    y = rng.uniform(-20, 20, (count, latent))
    y[:, 0] = rng.uniform(30.1, 50, count)
    y[:, 1], y[:, 2] = np.where(soft, soft, rng.uniform(-3, 0.3, count)), two * rng.uniform(0.3, 2, count)
    y[:, 3] = np.where(fill < 0, -1, 1) * rng.uniform(20, 60, count)
    y[:, 4] = np.where(fill, rng.uniform(10, 60, count), -rng.uniform(0, 60, count))
    y[:, 5], y[:, 6] = rng.uniform(-40, 40, count), reach * rng.uniform(30, 150, count)
    for f, line in enumerate((7, 9, 13)):
        y[:, line], y[:, line + 1] = rng.uniform(-120, 120, count), rng.uniform(-100, 60, count)
        if f:
            y[:, line + 2] = rng.uniform(-90, 90, count)
            y[:, line + 3] = (one_wall, other_wall)[f - 1] * rng.uniform(0.3, 2, count)
    for start in (17, 17 + stack):
        at = start + n
        y[:, at : at + n - 1] = rng.uniform(-30, 120, (count, n - 1))  # some above the interface over them
        y[:, at] = rng.uniform(100, 250, count)
        t = rng.normal(0, 12, (count, n - 1, waves - 1)) / np.arange(1, waves)
        y[:, at + n - 1 : start + stack] = t.reshape(count, -1)
    for i, number in enumerate((2, 3, 4, 6, 12, 16)):  # what 0 is the bound of
        y[3 * i :: 19, number] = 0
    return y


@pytest.mark.parametrize("case", FAULTED)
def test_both_readers_read_the_same_latents_of_faults(case: str) -> None:
    """As those of layers; where there are no layers, cosines have y_0 up to 30."""
    latent, options = FAULTED[case]
    book, rng = codebook_of(latent, **options), np.random.default_rng(29)
    half = faulted_of(rng, latent, options["faulted"]).astype("<f2")
    # As layers, numbers of faults would have edges so steep that rounding shows: the others' are smaller.
    half = np.concatenate([half, half[:4] / 8])
    half[-4::2, 0] = 30, 10  # of layers, of cosines; both of cosines where there are no layers
    half[-3::2, 0] = np.nextafter(half[-4::2, 0], np.float16(99))
    eight = np.clip(faulted_of(rng, latent, options["faulted"])[7::30] / 0.5, -127, 127).astype(np.int8)
    eight[-1] //= 8
    eight[:, 0] = (61, 127, 60)  # the last, 30.0, not of faults
    firsts = {0: (0, 0, 0, 1), 2: (21, 20, 20, 21), len(options) + 1: (61, 60, 60, 61)}
    first = parts_read_by_both(book, rng, firsts, eight, half)
    ends = [-np.inf, 1e-9, 10.001, 30.001, np.inf]
    expected = [3, 8, 7, 101] if "layered" in options else [3, 6, 5, 101]
    assert np.histogram(first, ends)[0].tolist() == expected


@pytest.mark.parametrize("coder", CODERS.values())
def test_both_readers_read_the_first_numbers_of_latents_that_are_not_coded(coder: str) -> None:
    latent, rng = 300, np.random.default_rng(28)
    book = codebook_of(latent, layered={"layers": 12, "waves": 25})  # 287 numbers, past 256 some interfaces
    kept = container.PLAIN if header.CODERS.index(coder) >= 4 else latent
    eight = rng.integers(-90, 91, (3, latent)).astype(np.int8)
    half = rng.normal(0, 5, (3, latent)).astype("<f2")
    eight[:, 0], half[:, 0] = (-3, 9, 90), (-1, 5, 11)
    kinds = np.array([container.KIND_INT8, container.KIND_FP16] * 3, np.uint8)
    shapes = [(5, 6), (20, 31), (9, 8), (3, 4), (12, 12), (70, 35)]
    head = a_header(shape=[6, 5, 6], range=[-1e5, 1e5], normalisation=[3000.0, 1500.0], coder=coder)
    head["codebook"] = {"id": book.id, "sha256": book.sha256, "latent": latent}
    fields, scale = header.from_json(head), np.float32(0.25)

    def holding(count: int) -> bytes:
        plain = b"".join(scale.tobytes() + row[:count].tobytes() for row in eight)
        rows = blocks.Block(kinds, int8=plain, fp16=half[:, :count].tobytes())
        return blocks.pack_block(rows, fields.features)

    records = decoder.read_records(holding(kept), shapes, fields, book)
    expected = np.stack([eight * scale, half.astype("f4")], 1).reshape(6, latent)
    expected[:, kept:] = 0
    np.testing.assert_array_equal(records.latents, expected)
    wanted = [(i, make_grid(shape)) for i, shape in enumerate(shapes)]
    theirs = decoder.decode_records(records, wanted, fields, book, torch.device("cpu"))
    read = spec_reader.parse_book(codebook.to_bytes(book))
    mine = spec_reader.block(a_file(head), holding(kept), shapes, [read])
    for y, one, other, shape in zip(expected, mine, theirs, shapes, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=0.5)
        whole = 3000 + 1500 * spec_reader.Decoder(read).output(y, *shape)
        np.testing.assert_allclose(one, whole, rtol=1e-6, atol=0)
    for count in {latent, container.PLAIN, kept - 1} - {kept}:
        with pytest.raises(velcodec.FormatError):
            decoder.read_records(holding(count), shapes, fields, book)
        with pytest.raises(spec_reader.SpecError):
            spec_reader.block(a_file(head), holding(count), shapes, [read])


def test_the_reader_of_the_page_reads_files_of_a_choice(compressed: Compressed, tmp_path: Path) -> None:
    """Found by path or within the file; cosines are what maps take where the network is of random weights."""
    book = tmp_path / "choice.safetensors"
    codebook.save(choice_codebook(), book)
    array = maps_of("Style_A", "Style_B", "FlatVel_A")
    options = {**LATENT, "codebook": str(book), "effort": 2}
    for embed in ("never", "always"):
        path = compressed(array, **options, embed_codebook=embed)
        read = np.stack(spec_reader.read(path, None if embed == "always" else book))
        with velcodec.open(path, codebook=str(book)) as archive:
            theirs = archive.read()
        np.testing.assert_allclose(read, theirs, rtol=0, atol=1.5)


@pytest.mark.parametrize("options", [LOSSLESS, {"max_error": 5.0}, {"psnr": 40.0}], ids=str)
def test_the_reader_of_the_page_puts_tiles_side_by_side(
    options: dict[str, Any], compressed: Compressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "TILE", 9)
    monkeypatch.setattr(compression, "TILE_FROM", 100)
    array = np.stack([maps_of("Style_A")[0, :21, :13], maps_of("FlatFault_A")[0, :21, :13]])
    array[1, 20, 12] = np.nan
    path = compressed(array, **options)
    file = spec_reader.parse(path)
    assert file.features == container.FEATURE_MODES | container.FEATURE_TILES | TENTH
    assert file.head["tile"] == [9, 9, 0]
    assert file.tiles == [
        (z, x) for z in (range(9), range(9, 18), range(18, 21)) for x in (range(9), range(9, 13))
    ]
    restored, read = velcodec.decompress(path), spec_reader.read(path)
    assert np.stack(read).tobytes() == restored.tobytes()
    assert len(spec_reader.quality(path)[0]) == 12


@pytest.mark.parametrize("dtype", ["<f4", "<i2"])
def test_the_reader_of_the_page_blends_tiles(
    dtype: str, compressed: Compressed, book_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tiles of the longer axis overlap, for the last is moved back."""
    monkeypatch.setattr(compression, "LATENT_TILE", 16)
    monkeypatch.setattr(compression, "LATENT_TILE_FROM", 30)
    monkeypatch.setattr(compression, "OVERLAP", 7)
    array = maps_of("CurveFault_A", "Style_B")[:, :15, :35].astype(dtype)
    path = compressed(array, latent_only=True)
    file = spec_reader.parse(path)
    assert file.features == container.FEATURE_TILES | TENTH
    assert file.tiles == [(range(15), range(a, a + 16)) for a in (0, 9, 18, 19)]
    restored, read = velcodec.decompress(path), spec_reader.read(path, book_path)
    assert {m.dtype for m in read} == {restored.dtype}
    np.testing.assert_allclose(read, restored, rtol=0, atol=0.5 if dtype == "<f4" else 1)


def test_tiles_lie_where_the_page_says() -> None:
    for n in range(1, 60):
        for size, overlap in ((1, 0), (7, 0), (7, 3), (8, 4), (20, 10), (64, 5)):
            layout = tiles.Layout((n, 3), (size, size), overlap)
            windows = [(range(*layout.window(i)[0]), range(*layout.window(i)[1])) for i in range(len(layout))]
            rows, columns = spec_reader.cut(n, size, overlap), spec_reader.cut(3, size, overlap)
            assert windows == [(z, x) for z in rows for x in columns]


# Archives


def archived(
    path: Path,
    array: NDArray[Any],
    sources: Sequence[Source],
    embed: str = "never",
    tile: tuple[int, int] | None = None,
    **asked: Any,
) -> Path:
    """Write an archive of the maps of some files."""
    request, book, ranges = Request(effort=0, **asked), velcodec.load_codebook(), compression.ranges_of(array)
    span = float(array.min()), float(array.max())
    head = compression.header_for(array.shape, array.dtype, span, request, book)
    head = replace(head, archive=True, tile=tile or head.tile)
    with writer.created(path) as file:
        made = writer.Writer(file, head, sources)
        compression.write_maps(made, array, ranges, head, request, book, torch.device("cpu"))
        made.finish(book, embed)
    return path


def sources_of(shapes: Sequence[tuple[int, ...]]) -> list[Source]:
    """Files of some shapes, one after another."""
    found, first = [], 0
    for i, shape in enumerate(shapes):
        name = f"FlatVel_A/mod\u00e8le/model{i}.npy" if i else "more maps.h5:/a/v"
        family, shard = manifest.named(name)
        found.append(
            Source(name, family, shard, first, shape, f"{i:064x}", 10**10 * i, {"psnr": 35.0, "more": [i]})
        )
        first += found[-1].maps
    return found


@pytest.mark.parametrize("asked", [LOSSLESS, {"psnr": 35.0}, {"psnr": 60.0}, LATENT], ids=str)
def test_the_reader_of_the_page_reads_archives(
    asked: dict[str, Any], tmp_path: Path, book_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three files, in three blocks; without an axis between, and with one."""
    monkeypatch.setattr(compression, "BLOCK_MAPS", 5)
    monkeypatch.setattr(compression, "LATENT_BLOCK_MAPS", 5)
    array, sources = (
        synth.generate("CurveVel_A", 12, 70, seed=1),
        sources_of([(7, 70, 70), (70, 70), (4, 1, 70, 70)]),
    )
    if asked is LATENT or asked is LOSSLESS:
        array = array[:, None]
    path = archived(tmp_path / "a.vlz", array, sources, **asked)
    file = spec_reader.parse(path)
    assert file.features == ARCHIVE | (0 if asked is LATENT else container.FEATURE_MODES)
    assert [count for *_, count in file.blocks] == [5, 5, 2]
    assert list(file.sources) == [source.to_json() for source in sources]
    with velcodec.open(path) as archive:
        assert archive.sources == tuple(sources)
    read = spec_reader.read(path, None if asked is LOSSLESS else book_path)
    same_maps_and_quality(path, array, read)
    if asked is LOSSLESS:
        assert np.stack(read).tobytes() == array.tobytes()


@pytest.mark.parametrize("asked", [LOSSLESS, {"psnr": 40.0}], ids=str)
def test_the_reader_of_the_page_reads_archives_of_tiles(asked: dict[str, Any], tmp_path: Path) -> None:
    """Quality is of each tile; sources count maps."""
    array = maps_of("Style_A", "FlatFault_A")[:, :21, :13]
    sources = sources_of([(21, 13), (1, 21, 13)])
    path = archived(tmp_path / "a.vlz", array, sources, tile=(9, 9), **asked)
    file = spec_reader.parse(path)
    assert file.features == ARCHIVE | container.FEATURE_MODES | container.FEATURE_TILES
    assert [count for *_, count in file.blocks] == [1] * 12
    assert list(file.sources) == [source.to_json() for source in sources]
    assert np.stack(spec_reader.read(path)).tobytes() == velcodec.decompress(path).tobytes()
    psnr, error = spec_reader.quality(path)
    with velcodec.open(path) as archive:
        assert archive.sources == tuple(sources)
        assert error.reshape(2, 6).max(1).tolist() == archive.quality.max_error.tolist()
        assert (psnr.reshape(2, 6).min(1) <= archive.quality.psnr).all()


@pytest.mark.parametrize("embed", ["never", "always"])
def test_the_reader_of_the_page_reads_archives_with_and_without_sources(embed: str, tmp_path: Path) -> None:
    array = synth.generate("CurveVel_A", 2, seed=5)[:, :20, :20]
    for name, sources in (("with", sources_of([(2, 20, 20)])), ("without", [])):
        path = archived(tmp_path / name, array, sources, embed, **LOSSLESS)
        data, file = path.read_bytes(), spec_reader.parse(path)
        assert (file.book is None) == (embed == "never")
        assert list(file.sources) == [source.to_json() for source in sources]
        assert np.stack(spec_reader.read(path)).tobytes() == array.tobytes()
        with velcodec.open(path) as archive:
            assert archive.sources == tuple(sources)
            offset, length = archive.stored.footer.sources
        assert (offset > 0) == (length > 0) == bool(sources)
        if not sources:
            continue
        changed = tmp_path / "changed"
        changed.write_bytes(data[: offset + 30] + bytes([data[offset + 30] ^ 1]) + data[offset + 31 :])
        with velcodec.open(changed) as archive, pytest.raises(velcodec.FormatError, match="checksum"):
            _ = archive.sources
        with pytest.raises(spec_reader.SpecError, match="checksum"):
            spec_reader.parse(changed)


@pytest.mark.parametrize("archive", [True, False])
def test_of_what_a_repair_has_lost_no_bound_is_known(
    archive: bool, compressed: Compressed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "BLOCK_MAPS", 2)
    array, asked, sources = sheared("<f4").repeat(2, 0), {"max_error": 7.0}, sources_of([(6, 30, 18)])
    path = archived(tmp_path / "a.vlz", array, sources, **asked) if archive else compressed(array, **asked)
    data, (at, length, *_) = bytearray(path.read_bytes()), spec_reader.parse(path).blocks[1]
    data[at + length // 2] ^= 1
    path.write_bytes(data)
    repaired = tmp_path / "repaired.vlz"
    repair(path, repaired)
    same_maps_and_quality(repaired, array, read := spec_reader.read(repaired))
    psnr, error = spec_reader.quality(repaired)
    assert psnr[2:4].tolist() == [0, 0]
    assert np.isinf(error).tolist() == [False, False, True, True, False, False]
    assert [bool(np.isnan(m).all()) for m in read] == np.isinf(error).tolist()
    assert error[[0, 1, 4, 5]].max() <= asked["max_error"]
    assert list(spec_reader.parse(repaired).sources) == ([s.to_json() for s in sources] if archive else [])


def both_read_sources(payload: bytes, maps: int, side: tuple[int, int]) -> bool:
    """Whether both readers take a payload of SRCS, and the same of it, or neither does."""
    try:
        theirs = manifest.from_json(manifest.unpack_sources(payload), maps, side)
    except velcodec.FormatError:
        with pytest.raises(spec_reader.SpecError):
            spec_reader.sources_of(payload, maps, list(side))
        return False
    assert spec_reader.sources_of(payload, maps, list(side)) == [source.to_json() for source in theirs]
    return True


def test_both_readers_take_the_same_sources() -> None:
    maps, side, packed = 8, (5, 6), manifest.pack_sources
    one, two, three = (s.to_json() for s in sources_of([(5, 5, 6), (5, 6), (2, 1, 5, 6)]))
    most = {str(i): None for i in range(manifest.MAX_REQUEST)}
    taken: list[dict[str, Any]] = [{}, {"family": "", "shard": "", "bytes": 0}, {"request": most}]
    for more in (*taken, {"request": {}}, {"name": "m" * manifest.MAX_NAME}, {"more": 1}):
        assert both_read_sources(packed([one, {**two, **more}, three]), maps, side)
    assert both_read_sources(packed([]), maps, side)
    refused: list[Any] = [
        [one, two],
        [two, one, three],
        [one, three, two],
        [one, two, three, {**two, "first": 8}],
    ]
    refused += [one, [[one]], [one, None, three], [one, "two", three]]
    refused += [[one, {k: v for k, v in two.items() if k != key}, three] for key in two]
    wrong: dict[str, list[Any]] = {
        **dict.fromkeys(("name", "family", "shard", "sha256"), [7, None, ["a"], "a\n", "\ud800"]),
        "first": [4, 6, 5.0, True, "5", None],
        "bytes": [-1, 1.0, "1", None],
        "shape": [
            [],
            [6],
            [6, 5],
            [5, 6.0],
            [1, 2, 5, 6],
            [0, 5, 6],
            [True, 5, 6],
            [1, 1, 1, 5, 6],
            5,
            "56",
            None,
        ],
        "request": [[], None, "psnr", {**most, "more": 1}],
    }
    wrong["name"] = [*wrong["name"], "m" * (manifest.MAX_NAME + 1)]
    assert wrong.keys() == two.keys()
    refused += [[one, {**two, key: value}, three] for key, values in wrong.items() for value in values]
    for found in refused:
        assert not both_read_sources(packed(found), maps, side)
    for counted in (maps - 1, maps + 1):
        assert not both_read_sources(packed([one, two, three]), counted, side)
    assert not both_read_sources(packed([one, two, three]), maps, side[::-1])
    whole, text = packed([one, two, three]), json.dumps([one, two, three]).encode()
    larger = whole[:4] + b"\xe0" + struct.pack("<Q", container.MAX_SOURCES + 1) + whole[-20:]
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(text)
    assert both_read_sources(zstandard.ZstdCompressor().compress(text), maps, side)
    for payload in (b"", whole[:3], whole[:-1], whole[: len(whole) // 2], larger, unsized, text):
        assert not both_read_sources(payload, maps, side)
    for data in (b"", text[:-1], b"[", b"[NaN]", b"\xff", text.replace(b"FlatVel_A", b"FlatVel\xff")):
        assert not both_read_sources(zstandard.ZstdCompressor().compress(data), maps, side)


@pytest.mark.parametrize("count", [1, 3, 100])
def test_both_readers_read_the_same_quality_of_a_block(count: int) -> None:
    rng = np.random.default_rng(count)
    codes = rng.choice([0, 70, 255, 256, 65535], (2, count)).astype(np.uint16)
    payload = footer.pack_quality(*codes)
    planes, at = spec_reader.quality_stream(payload + b"more", count)
    *theirs, rest = footer.unpack_quality(payload + b"more", count)
    np.testing.assert_array_equal(theirs, codes)
    assert (at, rest) == (len(payload), b"more")
    assert planes == b"".join(((c >> s) & 255).astype(np.uint8).tobytes() for c in codes for s in (0, 8))
    size = len(payload) - container.STREAM.size
    for damaged in (
        b"",
        payload[:4],
        payload[:-1],
        b"\1" + payload[1:],
        container.pack_stream(planes),
        container.STREAM.pack(container.CODING_ADAPTIVE, size - 1) + payload[5:],
        container.STREAM.pack(container.CODING_ADAPTIVE, size + 4) + payload[5:] + bytes(4),
    ):
        try:
            *theirs, rest = footer.unpack_quality(damaged, count)
        except velcodec.FormatError:
            with pytest.raises(spec_reader.SpecError):
                spec_reader.quality_stream(damaged, count)
        else:  # the last byte may not matter
            planes, at = spec_reader.quality_stream(damaged, count)
            assert planes == b"".join(footer.quality_planes(*theirs))
            assert rest == damaged[at:]


# Streams by themselves: places that no file above may come to


def of_values(rng: np.random.Generator, shape: tuple[int, int], size: int) -> NDArray[np.int64]:
    """A map of integers below a size, in parts the same as above or to the left."""
    q = rng.integers(-size, size + 1, shape)
    q[:, 1:] = np.where(rng.random(q[:, 1:].shape) < 0.5, q[:, :-1], q[:, 1:])
    q[1:] = np.where(rng.random(q[1:].shape) < 0.5, q[:-1], q[1:])
    return q.astype(np.int64)


MODELS: tuple[Model, ...] = ("edges", "smooth", "edges-1", "smooth-1")


@pytest.mark.parametrize("model", MODELS)
def test_both_readers_read_the_same_integers(model: Model) -> None:
    """Narrow maps and low ones, whose borders are all that a model sees, and sizes up to the greatest."""
    rng = np.random.default_rng(11)
    shapes = [(1, 1), (1, 6), (6, 1), (2, 2), (5, 2), (2, 3), (3, 3), (6, 4), (9, 8)]
    for size, mantissa in ((1, 23), (40, 10), (9000, 52), (edges.LIMIT - 1, 0)):
        maps = []
        for i, shape in enumerate(shapes):
            whole, bits = of_values(rng, shape, size), int(rng.integers(parts.MAX_BITS + 1))
            coarse = np.array([max(bits - max(mantissa - max(int(abs(v) - 1).bit_length() - 1, 0), 0), 0)
                               if v else max(bits - mantissa, 0) for v in whole.flat]).reshape(shape)  # fmt: skip
            half = (1 << bits) >> 1
            rest = of_values(rng, shape, 3) if i % 4 else rng.integers(-half, half + 1, shape)
            rest = np.sign(rest) * ((np.minimum(np.abs(rest), half) >> coarse) << coarse)
            maps.append(Integers(whole, bits if i % 2 else 255 - i, rest if i % 2 else None))
        data, _ = pixels.encode(maps, model, mantissa)
        parted = [m.parts is not None for m in maps]
        theirs = pixels.decode(data, shapes, parted, model, mantissa)
        mine = spec_reader.integers(data, shapes, parted, model, mantissa)
        for m, other, one in zip(maps, theirs, mine, strict=True):
            assert one.code == other.code == m.code
            np.testing.assert_array_equal(one.q, m.whole)
            np.testing.assert_array_equal(other.whole, m.whole)
            if m.parts is not None:
                np.testing.assert_array_equal(one.parts, m.parts)
                np.testing.assert_array_equal(other.parts, m.parts)


@pytest.mark.parametrize("model", ["edges", "edges-1"])
def test_both_readers_read_the_same_edges(model: Model) -> None:
    """Plateaus with slanted edges between them, smoothed or not, from calm maps to noise."""
    rng = np.random.default_rng(14)
    maps = []
    for scale, blur, noise in ((3, 0, 0), (40, 2, 0), (5000, 5, 0), (700, 3, 9), (1 << 30, 4, 1 << 12)):
        z, x = np.mgrid[:24, :19]
        q = sum(
            rng.integers(-scale, scale + 1) * np.clip((z - a - b * x) / (blur + 1e-9), 0, 1)
            for a, b in zip(rng.uniform(0, 24, 4), rng.uniform(-2, 2, 4), strict=True)
        )
        whole = np.rint(q).astype(np.int64) + rng.integers(-noise, noise + 1, q.shape)
        maps.append(Integers(whole, int(rng.integers(256))))
    data, _ = pixels.encode(maps, model, 0)
    mine = spec_reader.integers(data, [(24, 19)] * len(maps), [False] * len(maps), model, 0)
    for m, one in zip(maps, mine, strict=True):
        assert one.code == m.code
        np.testing.assert_array_equal(one.q, m.whole)


UNIT = 1.37


def layers_of_all_sorts() -> tuple[list[Layered], list[tuple[int, int]]]:
    """Steep interfaces, some at the top or the bottom, in one column to nine; values that rise or not, or fractions.

    Every other map is in steps, of some code; one of these has values past the range.
    """
    rng = np.random.default_rng(12)
    shapes = [(1, 1), (1, 5), (4, 1), (9, 2), (7, 3), (12, 9), (30, 9), (8, 8)] * 2
    maps = []
    for i, (height, width) in enumerate(shapes):
        count = (1, 2, 3, 64, 5, 7, 4, 64)[i % 8]
        depths = np.sort(rng.integers(-2, height + 3, (count - 1, width)), 0).clip(0, height)
        if i < 8:
            values = rng.permutation(3000)[:count].astype("<f4") - (20 if i != 6 else 0.25)
            maps.append(Layered(np.sort(values) if i % 2 else values, depths.astype(np.int64)))
        else:
            code = int(rng.integers(100, 160))
            most = int(3000 / residual.step(UNIT, code)) + (0 if i != 14 else 1 << 40)
            steps = (
                np.sort(rng.choice(max(most, 200), count, replace=False)) if most < 1 << 40 else [most] * 4
            )
            steps = np.array(steps, np.int64)[:: 1 if i % 2 else -1]
            maps.append(Layered(steps, depths.astype(np.int64), code))
    order = rng.permutation(len(maps)).tolist()
    return [maps[i] for i in order], [shapes[i] for i in order]


def as_page_reads(m: Layered, height: int, bounds: tuple[float, float], dtype: str) -> NDArray[Any]:
    """A layered map of velcodec's as a record."""
    fields = header.from_json(a_header(range=list(bounds), unit=UNIT, dtype=dtype))
    if m.code is not None:
        m = Layered(decoder._in_units(m.values, m.code, fields), m.depths)
    return layers.draw(m, height)


def clipped(maps: list[NDArray[Any]], stepped: list[bool], bounds: tuple[float, float]) -> list[NDArray[Any]]:
    """What the page's reader makes of a stream, in the dtype."""
    return [
        np.clip(m, *bounds).astype("<f4") if own else m.astype("<f4")
        for m, own in zip(maps, stepped, strict=True)
    ]


def begin_as(coder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have layers written of a coder from 2 on: these differ in where the models begin."""
    fresh = layer_models.fresh
    monkeypatch.setattr(layer_models, "fresh", lambda asked: fresh(coder if asked == 3 else asked))


def test_the_primer_leaves_the_same_model() -> None:
    mine, (seen, w) = spec_reader.primed(), layer_models.fresh(3)
    for slots, own_p, own_n in zip(mine.seen, seen >> 8, seen & 255, strict=True):
        assert sorted(slots) == np.flatnonzero(own_n).tolist()
        assert all((own_p[s], own_n[s]) == found for s, found in slots.items())
        assert (np.delete(own_p, list(slots)) == adaptive.ONE // 2).all()
    np.testing.assert_array_equal(w, mine.w)


@pytest.mark.parametrize("coder", [2, 3])
def test_both_readers_read_the_same_layers(coder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, shapes = layers_of_all_sorts()
    bounds, dtype = (-20.5, 3000.2), np.dtype("<f4")
    stepped = [m.code is not None for m in maps]
    with monkeypatch.context() as patch:
        begin_as(coder, patch)
        data, _ = layers.encode(maps, [h for h, _ in shapes], *bounds, UNIT)
    theirs = layers.decode(data, shapes, stepped, dtype, *bounds, UNIT, True, coder)
    mine = clipped(spec_reader.layered(data, shapes, stepped, dtype, bounds, UNIT, coder), stepped, bounds)
    for m, other, one, (height, _) in zip(maps, theirs, mine, shapes, strict=True):
        np.testing.assert_array_equal(as_page_reads(m, height, bounds, "<f4"), one)
        np.testing.assert_array_equal(as_page_reads(other, height, bounds, "<f4"), one)


def block_of_latents(
    kinds: Sequence[int],
    q: Mapping[int, np.ndarray],
    book: codebook.Codebook,
    eight: np.ndarray,
    scale: float,
    half: np.ndarray,
    corrections: list[Integers],
    generation: int = len(header.CODERS),
) -> blocks.Block:
    """Latents of table sets, int8 ones of a scale, fp16 ones, and the residuals of some of the first."""
    return blocks.Block(
        kinds=np.array(kinds, np.uint8),
        entropy=entropy.encode(list(q.items()), book.of(generation >= 7).models),
        int8=b"".join(np.float32(scale).tobytes() + row.tobytes() for row in eight),
        fp16=half.tobytes(),
        residual=pixels.encode(corrections, pixels.models(generation)[1], 0)[0],
    )


def a_file(head: dict[str, Any], features: int | None = None) -> spec_reader.File:
    """What the page's reader knows of a file before it reads blocks; features are the header's, or others."""
    made = header.from_json(head).features if features is None else features
    return spec_reader.File(b"", made, head, [], [], None, b"")


def soft_block(rng: np.random.Generator, head: dict[str, Any]) -> tuple[blocks.Block, list[tuple[int, int]]]:
    """Records of some shapes with smoothed edges, two of each p, among layered ones."""
    plain = [container.KIND_LAYERED, container.KIND_LAYERED_STEPS]
    kinds = rng.permutation([*plain, *plain, *decoder.SOFT_KINDS, *decoder.SOFT_KINDS]).tolist()
    sides = [(1, 1), (1, 4), (5, 1), (2, 3), (7, 6), (16, 9), (12, 12)]
    shapes = [sides[i % len(sides)] for i in range(len(kinds))]
    stored: list[Any] = []
    for kind, (h, w) in zip(kinds, shapes, strict=True):
        parts = container.PARTS[kind - container.KIND_SOFT] if kind in decoder.SOFT_KINDS else (1, 1)
        rows, columns, count = h * parts[0], w * parts[1], int(rng.integers(1, 7))
        depths = np.sort(rng.integers(-2, rows + 3, (count - 1, columns)), 0).clip(0, rows).astype(np.int64)
        if kind == container.KIND_LAYERED:
            stored.append(Layered(rng.permutation(2900)[:count].astype(head["dtype"]), depths))
            continue
        code = int(rng.integers(118, 150))
        values = rng.permutation(int(3000 / residual.step(UNIT, code)))[:count].astype(np.int64)
        if count > 4:
            values[-1] = values[0]  # a value twice
        layered = Layered(values, depths, code)
        stored.append(Soft(layered, parts) if kind in decoder.SOFT_KINDS else layered)
    heights = [h for h, _ in shapes]
    data, _ = modes.encode_layers(stored, heights, header.from_json(head))
    return blocks.Block(np.array(kinds, np.uint8), layers=data), shapes


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", ">i2", "|u1"])
def test_both_readers_read_the_same_smoothed_edges(dtype: str) -> None:
    """Records of one row or column too, in any order, values past the range and values that come twice."""
    rng = np.random.default_rng(21)
    most = 200.25 if dtype == "|u1" else 2999.5
    head = a_header(shape=[16, 4, 4], range=[-3.5, most], dtype=dtype, unit=UNIT)
    block, shapes = soft_block(rng, head)
    fields = header.from_json(head)
    payload = blocks.pack_block(block, fields.features)
    records = decoder.read_records(payload, shapes, fields, None)
    mine = spec_reader.block(a_file(head), payload, shapes, [])
    for i, (shape, one) in enumerate(zip(shapes, mine, strict=True)):
        theirs = decoder.as_samples(records.stored[i], shape, fields)
        assert one.shape == theirs.shape == shape
        assert one.dtype == theirs.dtype == np.dtype(dtype)
        assert one.tobytes() == theirs.tobytes()
    for damaged in (b"", block.layers[: len(block.layers) // 2], block.layers + b"abcd"):
        wrong = blocks.pack_block(blocks.Block(block.kinds, layers=damaged), fields.features)
        with pytest.raises(velcodec.FormatError):
            decoder.read_records(wrong, shapes, fields, None)
        with pytest.raises(spec_reader.SpecError):
            spec_reader.block(a_file(head), wrong, shapes, [])


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", ">i2", "|u1"])
def test_both_readers_read_the_same_cosines(dtype: str) -> None:
    """With a residual and without, steps that grow and shrink, shapes that come again, and values past the range."""
    rng = np.random.default_rng(31)
    most = 200.25 if dtype == "|u1" else 2999.5
    head = a_header(
        shape=[12, 4, 4], range=[0.0, most], dtype=dtype, unit=UNIT, normalisation=[most / 2, 1.0]
    )
    kinds = rng.permutation([*decoder.COSINE_KINDS] * 6).tolist()
    shapes = [((1, 1), (6, 9), (1, 7), (13, 12), (6, 9))[i % 5] for i in range(len(kinds))]
    codes = [512, 430, 700, 512, 380, 511, 513, 512, 544, 300, 512, 900]
    spectra = [
        Spectrum((rng.standard_normal(shape) * rng.random(shape) ** 6 * size).astype(np.int64), code)
        for shape, size, code in zip(shapes, 2.0 ** rng.integers(0, 20, len(kinds)), codes, strict=True)
    ]
    corrected = [i for i, kind in enumerate(kinds) if kind == container.KIND_COSINES_RESIDUAL]
    corrections = [Integers(of_values(rng, shapes[i], 30), 131) for i in corrected]
    made = blocks.Block(
        np.array(kinds, np.uint8),
        residual=pixels.encode(corrections, "smooth", 0)[0],
        cosines=spectrum_coder.encode(spectra)[0],
    )
    fields = header.from_json(head)
    payload = blocks.pack_block(made, fields.features)
    records = decoder.read_records(payload, shapes, fields, None)
    mine = spec_reader.block(a_file(head), payload, shapes, [])
    for i, (shape, one) in enumerate(zip(shapes, mine, strict=True)):
        own = records.stored[i]
        base = own.base if isinstance(own, decoder.Corrected) else own
        assert isinstance(base, Spectrum) and (i in corrected) == isinstance(own, decoder.Corrected)
        np.testing.assert_array_equal(base.whole, spectra[i].whole)
        theirs = decoder.as_samples(own, shape, fields)
        assert one.dtype == theirs.dtype == np.dtype(dtype)
        whole = np.dtype(dtype).kind in "iu"
        np.testing.assert_allclose(
            one.astype(float),
            theirs.astype(float),
            rtol=1e-3 if dtype == "<f2" else 1e-6,
            atol=1 if whole else 1e-6,
        )
    for damaged in (b"", made.cosines[: len(made.cosines) // 2], made.cosines + b"abcd"):
        wrong = blocks.pack_block(replace(made, cosines=damaged), fields.features)
        with pytest.raises(velcodec.FormatError):
            decoder.read_records(wrong, shapes, fields, None)
        with pytest.raises(spec_reader.SpecError):
            spec_reader.block(a_file(head), wrong, shapes, [])
    before = a_header(shape=[12, 4, 4], unit=UNIT, coder="velcodec-7")
    with pytest.raises(velcodec.FormatError):
        decoder.read_records(payload, shapes, header.from_json(before), None)
    with pytest.raises(spec_reader.SpecError):
        spec_reader.block(a_file(before), payload, shapes, [])


def test_cosines_of_the_page() -> None:
    title = "Cosines"
    assert says(title, f"step = unit x 2^((code - {spectrum.CODE_ZERO}) / {spectrum.PER_OCTAVE})")
    assert says(title, f"(refuse {spectrum.CODES} and more)")
    assert spectrum_coder.FALLS.tolist() == spec_reader.FALLS
    assert spectrum_coder.MOST_SEEN == 2**40 and border.LIMIT == 2**36
    assert says(title, f"floor({spectrum_coder.LEARNED} ({spectrum_coder.SEEN} |q[l, k]| - S[l, k]) / 64)")
    ways, lengths = spectrum_coder.WAYS, spectrum_coder.LENGTHS
    assert says(title, f"signed(waves, h, min(rough(near), {ways - 1}), {ways})")
    assert says(title, f"j2 = {3 * ways} + min(length, {lengths - 1})")
    stated = {row[0]: row[1:] for row in tables("Adaptive streams")[0]}["waves"]
    inputs, slots = spectrum_coder.INPUTS, 1 << spectrum_coder.SLOT_BITS
    assert [int(n) for n in stated] == [inputs, slots, 3 * ways + lengths, spectrum_coder.SPEED]


def test_smoothed_edges_of_another_coder_are_refused() -> None:
    rng = np.random.default_rng(22)
    block, shapes = soft_block(rng, a_header(unit=UNIT, range=[0.0, 3000.0]))
    one = int(np.flatnonzero(block.kinds >= container.KIND_SOFT)[0])
    for made, own in (
        (block, shapes),
        (blocks.Block(block.kinds[one : one + 1], layers=b"abcd"), shapes[:1]),
    ):
        for coder in header.CODERS[:3]:
            head = a_header(unit=UNIT, range=[0.0, 3000.0], coder=coder)
            fields = header.from_json(head)
            payload = blocks.pack_block(made, fields.features)
            with pytest.raises(velcodec.FormatError, match="kind is not known"):
                decoder.read_records(payload, own, fields, None)
            with pytest.raises(spec_reader.SpecError, match="kind that is not known"):
                spec_reader.block(a_file(head), payload, own, [])


@pytest.mark.parametrize("p", range(len(container.PARTS)))
def test_too_large_records_with_smoothed_edges_are_refused(p: int) -> None:
    """Those as large as they may be are refused for the step of 0, under which whole values are none."""
    down, across = container.PARTS[p]
    head = a_header(unit=0.0, range=[0.0, 3000.0])
    fields = header.from_json(head)
    made = blocks.Block(np.array([container.KIND_SOFT + p], np.uint8), layers=b"\0")
    payload = blocks.pack_block(made, fields.features)
    for more in (0, 1):
        shape = ((1 << 13) // down, (1 << 13) // across + more)
        with pytest.raises(velcodec.FormatError) as theirs:
            decoder.read_records(payload, [shape], fields, None)
        with pytest.raises(spec_reader.SpecError) as mine:
            spec_reader.block(a_file(head), payload, [shape], [])
        assert ("larger than it may be" in str(theirs.value)) == bool(more)
        assert ("too large" in str(mine.value)) == bool(more)


def test_the_integers_of_a_range_are_those_of_the_page() -> None:
    """Ties to even, steps of 0, and ranges that have too many, none or endless ones."""
    rng = np.random.default_rng(15)
    bounds = [(-0.5, 2.5), (0.5, 1.5), (0.0, 0.0), (-1e300, 1e300), (5.0, -5.0), (2.0**51, 2.0**51 + 9)]
    bounds += [(2.0**52 - 3, 2.0**52 - 1), (1e-300, 1e300), (0.0, 2.0**24), (0.0, 2.0**24 - 1)]
    bounds += [tuple(np.sort(rng.normal(0, 10.0**k, 2)).tolist()) for k in range(10)]
    for low, high in bounds:
        for unit in (0.0, 1.0, 1e-320, 1e30, 2 / 3):
            for code in (0, 120, 128, 129, 255):
                worth = spec_reader.step(unit, code)
                mine, theirs = spec_reader.span_of((low, high), worth), layers._range(low, high, unit, code)
                assert mine[1] == theirs[1]
                assert mine == theirs or not mine[1]
        mine, theirs = spec_reader.span_of((low, high), None), layers._range(low, high, 1.0, None)
        assert mine == theirs


@pytest.mark.parametrize("model", ["code", "counted"])
@pytest.mark.parametrize("count", [1, 2, 5, 40, 300])
def test_both_readers_read_the_same_bytes(count: int, model: str) -> None:
    rng, counted = np.random.default_rng(count), model == "counted"
    for data in (bytes(count), rng.bytes(count), rng.choice([3, 4, 8], count).astype(np.uint8).tobytes()):
        lots = [data, b"", rng.bytes(3), data[::-1]]
        packed, sizes = adaptive.pack_bytes(lots, counted), list(map(len, lots))
        assert spec_reader.adaptive_bytes(packed, sizes, model) == b"".join(lots)
        for damaged in (packed[:-1], packed + bytes(4), packed[: len(packed) // 2], b"\xff" * len(packed)):
            try:
                theirs = b"".join(adaptive.unpack_bytes(damaged, sizes, counted))
            except velcodec.FormatError:
                with pytest.raises(spec_reader.SpecError):
                    spec_reader.adaptive_bytes(damaged, sizes, model)
            else:
                assert spec_reader.adaptive_bytes(damaged, sizes, model) == theirs


@pytest.mark.parametrize("features", [f | modes for f in CODERS for modes in (0, container.FEATURE_MODES)])
def test_both_readers_read_the_same_kinds(features: int) -> None:
    rng = np.random.default_rng(17)
    for kinds in (np.full(100, 4), rng.choice([0, 3, 16], 30), rng.integers(0, 256, 200), np.array([1])):
        data = kinds.astype(np.uint8).tobytes()
        coded = adaptive.pack_bytes([data], bool(features & container.FEATURE_THIRD))
        second = bool(features & container.FEATURE_SECOND)
        packed = [blocks.pack_kinds(kinds.astype(np.uint8), features), container.pack_stream(data)]
        packed += [container.STREAM.pack(container.CODING_ADAPTIVE, len(coded)) + coded] if second else []
        for payload in packed:
            assert spec_reader.kinds_of(payload + b"more", len(data), features) == (data, len(payload))
            theirs, end = blocks.unpack_kinds(payload + b"more", len(data), features)
            assert (theirs.tobytes(), end) == (data, len(payload))
    adaptive_kinds = container.STREAM.pack(container.CODING_ADAPTIVE, len(coded)) + coded
    for payload in (adaptive_kinds[:-1], adaptive_kinds[:3], b"\x03" + adaptive_kinds[1:], adaptive_kinds):
        if payload is adaptive_kinds and second:
            continue
        with pytest.raises(velcodec.FormatError):
            blocks.unpack_kinds(payload, 1, features)
        with pytest.raises(spec_reader.SpecError):
            spec_reader.kinds_of(payload, 1, features)
    with pytest.raises(velcodec.FormatError):  # of kinds alone
        container.unpack_stream(adaptive_kinds, 0, 1)
    with pytest.raises(spec_reader.SpecError):
        spec_reader.stream(adaptive_kinds, 0, 1)


@pytest.mark.parametrize("features", CODERS)
def test_both_readers_read_the_same_headers(features: int) -> None:
    coder = CODERS[features]
    longest = a_header(coder=coder, more="")
    room = container.MAX_HEADER - len(json.dumps(longest, separators=(",", ":")))
    text = "".join(np.random.default_rng(18).choice(list("abcdefgh"), room).tolist())
    names = " ".join(header.CODERS)  # one of which is in the dictionary
    for head in (a_header(coder=coder), *({**longest, "more": m} for m in (names, "x" * room, text))):
        packed = container.pack_header(head, features)
        assert spec_reader.header_of(packed, features) == container.unpack_header(packed, features) == head
        if features:
            stored = zlib.compressobj(0, zlib.DEFLATED, -15)  # needs no dictionary
            plain = stored.compress(json.dumps(head).encode()[: container.MAX_HEADER]) + stored.flush()
            others = [packed[:-1], packed + b"\0", packed[:9], b"", zlib.compress(packed), b"\xff" * 9]
            if len(json.dumps(head)) <= container.MAX_HEADER:
                found = container.unpack_header(plain, features)
                assert spec_reader.header_of(plain, features) == found == head
        else:
            others = [packed[:-1], packed[:9], b""]
        for other in others:
            with pytest.raises(velcodec.FormatError):
                container.unpack_header(other, features)
            with pytest.raises((spec_reader.SpecError, ValueError)):
                spec_reader.header_of(other, features)
    if features:
        words = container._dictionary(features)
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=words)
        data = json.dumps({**longest, "more": "x" * (room + 1)}, separators=(",", ":")).encode()
        over = packer.compress(data) + packer.flush()
        with pytest.raises(velcodec.FormatError):
            container.unpack_header(over, features)
        with pytest.raises(spec_reader.SpecError):
            spec_reader.header_of(over, features)


@pytest.mark.parametrize("features", CODERS)
def test_both_readers_read_the_same_quality(
    features: int, compressed: Compressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes of all sizes, put into the footer of a file of each coder."""
    rng = np.random.default_rng(19)
    psnr = np.array([0, 1, 65534, 65535, *rng.integers(0, 65536, 20)], np.uint16)
    error = np.array([65535, 65534, 0, 1, *rng.integers(0, 65536, 20)], np.uint16)
    monkeypatch.setattr(quality, "quality_codes", lambda *given: (psnr, error))
    monkeypatch.setattr(compression, "Header", partial(header.Header, coder=CODERS[features]))
    path = compressed(np.arange(24 * 6).reshape(24, 2, 3).astype("<f4"), lossless=True)
    assert container.unpack_prologue(path.read_bytes()[:16]) == container.FEATURE_MODES | features
    with velcodec.open(path) as archive:
        np.testing.assert_allclose(
            spec_reader.quality(path), [archive.quality.psnr, archive.quality.max_error], rtol=1e-14
        )


def some_footers(rng: np.random.Generator, features: int) -> Iterator[footer.Footer]:
    """Of one block and of more, with a codebook and without; of an archive, with sources and without."""
    archive = bool(features & container.FEATURE_ARCHIVE)
    sizes = [([1], 0, 0), ([7, 1, 30], 5000, 0), (rng.integers(1, 5, 20).tolist(), 0, 0)]
    sizes += [([3, 4], 5000, 700), ([2], 0, 1 << 20)] if archive else []
    for counts, book, sources in sizes:
        lengths = rng.integers(20, 1 << 20, len(counts)).tolist()
        ends, firsts = np.cumsum([300 + sources, *lengths]).tolist(), np.cumsum([0, *counts]).tolist()
        entries = [footer.Entry(*e) for e in zip(ends[:-1], lengths, firsts[:-1], counts, strict=True)]
        psnr = rng.integers(0, 900, firsts[-1]).astype(np.uint16)
        error = rng.choice([0, 300, 65535], firsts[-1]).astype(np.uint16)
        if archive:
            psnr = error = np.empty(0, np.uint16)
        places = [(at if size else 0, size) for at, size in ((ends[-1], book), (300, sources))]
        yield footer.Footer(entries, places[0], psnr, error, places[1])


@pytest.mark.parametrize("features", [*CODERS, ARCHIVE])
def test_both_readers_read_the_same_footers(features: int) -> None:
    rng = np.random.default_rng(20)

    def mine(data: bytes, records: int, end: int) -> spec_reader.Foot | None:
        try:
            return spec_reader.foot_of(data, features, records, 300, end)
        except (spec_reader.SpecError, zstandard.ZstdError):
            return None

    def theirs(data: bytes, end: int) -> spec_reader.Foot | None:
        try:
            found = footer.unpack_footer(data, end, features)
        except velcodec.FormatError:
            return None
        index = [(e.offset, e.length, e.first, e.count) for e in found.entries]
        codes = np.stack([found.psnr, found.error]).astype("<u2").view(np.uint8).reshape(2, -1, 2)
        return spec_reader.Foot(*found.book, *found.sources, index, codes.transpose(0, 2, 1).tobytes())

    changed = 0
    for foot in some_footers(rng, features):
        packed, records = footer.pack_footer(foot, features), sum(e.count for e in foot.entries)
        end = foot.entries[-1].offset + foot.entries[-1].length + foot.book[1]
        begin = foot.entries[0].offset
        found = mine(packed, records, end)
        assert found is not None
        assert found == theirs(packed, end)
        assert found.blocks == [(e.offset, e.length, e.first, e.count) for e in foot.entries]
        assert (found.book_at, found.book_length) == foot.book
        assert (found.sources_at, found.sources_length) == foot.sources
        assert mine(packed, records + 1, end) is mine(packed, records - 1, end) is None
        half = packed[: len(packed) // 2]
        for damaged in (half, packed + bytes(4), half + packed, b"", b"\xff" * len(packed)):
            assert mine(damaged, records, end) is theirs(damaged, end) is None
        for at in (*rng.integers(len(packed), size=8).tolist(), *range(-6, 0)):
            at %= len(packed)
            damaged = packed[:at] + bytes([packed[at] ^ int(rng.integers(1, 256))]) + packed[at + 1 :]
            found = mine(damaged, records, end)  # wants no gaps, which a reader need not
            assert found is None or found == theirs(damaged, end)
            changed += found is not None
        for place in ((end, 20), (begin - 10, 20), (0, 20), (1 << 63, 20)) if features == ARCHIVE else ():
            wrong = footer.pack_footer(replace(foot, sources=place), features)
            assert mine(wrong, records, end) is theirs(wrong, end) is None
    assert changed > 0 or features == ARCHIVE  # with no codes in it, no byte of it can be another


@pytest.mark.parametrize("name", ["v0.1.0/lossless-i2", "v0.3.0/layered", "", "archive"])
def test_both_readers_refuse_features_that_the_file_has_not(
    name: str, compressed: Compressed, tmp_path: Path
) -> None:
    """No checksum covers these bits; among others are 8 without 4, 16 without 8, 256 without 128."""
    array = synth.generate("CurveVel_A", 1, seed=5)[0, :20, :20]
    if name == "archive":
        path = archived(tmp_path / "a.vlz", array[None], sources_of([(20, 20)]), lossless=True)
    else:
        path = GOLDEN[0].parents[1] / f"{name}.vlz" if name else compressed(array, lossless=True)
    data, changed = path.read_bytes(), tmp_path / "changed.vlz"
    own = container.unpack_prologue(data[:16])
    for features in range(2 * (container.KNOWN_REQUIRED_FEATURES + 1)):
        changed.write_bytes(data[:10] + struct.pack("<H", features) + data[12:])
        if features == own:
            restored = velcodec.decompress(changed)
            np.testing.assert_array_equal(
                np.stack(spec_reader.read(changed)), restored.reshape(-1, *restored.shape[-2:])
            )
            continue
        with pytest.raises((velcodec.FormatError, velcodec.VersionError)):
            velcodec.open(changed)
        with pytest.raises((spec_reader.SpecError, ValueError)):
            spec_reader.parse(changed)


def test_both_readers_refuse_the_same_adaptive_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(13)
    shape = (6, 7)
    whole = of_values(rng, shape, 5)
    layered = Layered(np.array([1, 2, 3], "<i2"), np.sort(rng.integers(0, 7, (2, 7)), 0).astype(np.int64))
    bounds, dtype = (1.0, 3.0), np.dtype("<i2")
    streams: list[tuple[bytes, Callable[[bytes], Any], Callable[[bytes], Any]]] = []
    for code, coder in ((None, 3), (131, 3), (None, 2), (131, 2), (None, 1)):
        m = Layered(layered.values.astype(np.int64) if code else layered.values, layered.depths, code)
        given: tuple[Any, ...] = ([shape], [code is not None], dtype)
        with monkeypatch.context() as patch:
            begin_as(max(coder, 2), patch)
            message = layers.encode([m], [6], *bounds, UNIT)[0]
        streams.append(
            (
                message,
                lambda data, given=given, coder=coder: as_page_reads(
                    layers.decode(data, *given, *bounds, UNIT, True, coder)[0], 6, bounds, "<i2"
                ),
                lambda data, given=given, coder=coder: (
                    spec_reader.converted(
                        np.clip(spec_reader.layered(data, *given, bounds, UNIT, coder)[0], *bounds), dtype
                    )
                    if given[1][0]
                    else spec_reader.layered(data, *given, bounds, UNIT, coder)[0]
                ),
            )
        )
    for model in MODELS:
        streams.append(
            (
                pixels.encode([Integers(whole, 128)], model, 0)[0],
                lambda data, model=model: pixels.decode(data, [shape], [False], model, 0)[0].whole,
                lambda data, model=model: spec_reader.integers(data, [shape], [False], model, 0)[0].q,
            )
        )

    def tried(read: Callable[[bytes], Any], data: bytes) -> Any:
        try:
            return read(data)
        except (velcodec.FormatError, spec_reader.SpecError):
            return None

    refused = 0
    for message, theirs, mine in streams:
        damaged = [b"", message[:-1], message[: len(message) // 2], message + bytes(1), message + b"abcd"]
        damaged += [b"\0" * len(message), b"\xff" * len(message)]
        for _ in range(8):
            at = int(rng.integers(len(message)))
            damaged.append(
                message[:at] + bytes([message[at] ^ int(rng.integers(1, 256))]) + message[at + 1 :]
            )
        for data in [message, *damaged]:
            a, b = tried(theirs, data), tried(mine, data)
            assert (a is None) == (b is None)
            refused += a is None
            if a is not None:
                np.testing.assert_array_equal(a, b)
    assert refused > 30


def test_the_reader_of_the_page_counts_the_same_codebook_hash(book_path: Path) -> None:
    assert spec_reader.codebook_sha256(book_path) == velcodec.load_codebook().sha256


def test_both_readers_refuse_the_same_entropy_streams() -> None:
    rng, book = np.random.default_rng(3), velcodec.load_codebook()
    groups = [(t, 2) for t in (0, len(book.prior.step) - 1)]
    kinds = np.repeat([container.KIND_ENTROPY + t for t, _ in groups], 2)
    ends = [(book.prior.first[t], book.prior.last[t] + 1) for t, _ in groups]
    q = [rng.integers(*own, (n, book.latent)) for (_, n), own in zip(groups, ends, strict=True)]
    q[1][0, 9], q[1][1, 7] = (
        int(book.prior.low[groups[1][0], 9]) - 40_000,
        book.prior.high(groups[1][0])[7] + 65_534,
    )
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
        with velcodec.open(path) as archive:
            id_ = archive.header.codebook_id
            shipped = codebook.BUILT_IN / f"{id_}{codebook.SUFFIX}" if id_ in codebook.builtin_ids() else None
            read = np.stack(spec_reader.read(path, shipped))
            native = np.moveaxis(expected["native"], archive.header.axis, 0).reshape(read.shape)
            tiles = archive.info()["tiles"]
        drifts = any("latent" in mode for mode in expected["mode"])
        np.testing.assert_allclose(read, native, rtol=0, atol=0.5 if drifts else 0)
        psnr, error = spec_reader.quality(path)
        if tiles == 1:
            np.testing.assert_allclose(psnr, expected["psnr"], rtol=1e-14)
        assert (error.reshape(-1, tiles).max(1) >= expected["max_error"] - 1e-9).all()


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
    rows, features = tables("Prologue")
    check_fields(rows, container.PROLOGUE)
    assert f"## 2. Prologue: {container.PROLOGUE.size} bytes\n" in PAGE
    assert bytes.fromhex(rows[0][3]) == container.SIGNATURE
    assert int(rows[1][3]) == container.FORMAT_VERSION
    named = [
        (container.FEATURE_MODES, "modes"),
        (container.FEATURE_TILES, "tiles"),
        (container.FEATURE_SECOND, "second"),
        (container.FEATURE_THIRD, "third"),
        (container.FEATURE_FOURTH, "fourth"),
        (container.FEATURE_FIFTH, "fifth"),
        (container.FEATURE_ARCHIVE, "archive"),
        (container.FEATURE_SIXTH, "sixth"),
        (container.FEATURE_SEVENTH, "seventh"),
        (container.FEATURE_EIGHTH, "eighth"),
        (container.FEATURE_NINTH, "ninth"),
        (container.FEATURE_TENTH, "tenth"),
    ]
    assert rows[2][3].endswith(": " + ", ".join(f"{bit} {name}" for bit, name in named))
    assert [(int(row[0]), row[1]) for row in features] == named
    assert sum(bit for bit, _ in named) == container.KNOWN_REQUIRED_FEATURES
    second, third, fourth, fifth, archive, sixth, seventh, eighth, ninth, tenth = (
        bit for bit, _ in named[2:]
    )
    stated = (
        f"**coder 10** with features {second}, {third}, {fourth}, {fifth}, {sixth}, {seventh}, {eighth}, {ninth} and "
        f"{tenth}, of "
        f"**coder 9** with {second}, {third}, {fourth}, {fifth}, {sixth}, {seventh}, {eighth} and {ninth}, of "
        f"**coder 8** with {second}, {third}, {fourth}, {fifth}, {sixth}, {seventh} and {eighth}, of "
        f"**coder 7** with {second}, {third}, {fourth}, {fifth}, {sixth} and {seventh}, of **coder 6** with "
        f"{second}, {third}, {fourth}, {fifth} and {sixth}, of **coder 5** with {second}, "
        f"{third}, {fourth} and {fifth}, of **coder 4** with {second}, {third} and {fourth}, of **coder 3** with "
        f"{second} and {third}, of **coder 2** with {second} alone, of **coder 1** with none of them; {third} without "
        f"{second}, {fourth} without {third}, {fifth} without {fourth}, {archive} and {sixth} without {fifth}, "
        f"{seventh} without {sixth}, {eighth} without {seventh}, {ninth} without {eighth}, and {tenth} without "
        f"{ninth} are refused."
    )
    assert stated in " ".join(PAGE.split())
    each = (second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth)
    assert [sum(each[:k]) for k in range(len(header.CODERS))] == list(CODERS)
    soft_kinds = f"{container.KIND_SOFT} to {container.KIND_SOFT + len(container.PARTS) - 1}"
    assert f"there may be kinds {soft_kinds}, layers" in features[4][2]
    assert features[5][2].startswith("coder 5 on: records of kinds 1 and 2 hold at most 256 numbers")
    assert (container.KIND_INT8, container.KIND_FP16, container.PLAIN) == (1, 2, 256)
    assert f"An **archive** is a file with feature {archive}." in " ".join(PAGE.split())
    assert archive == spec_reader.ARCHIVE
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
    tags = {tag for name, tag in vars(container).items() if name.startswith("TAG_")}
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
    optional = {"unit": 0.5, "tile": [20, 30, 10], "axis": 1, "bound": 2.5, "archive": True}
    assert set(keys) == set(a_header()) | set(optional)
    made = header.from_json(a_header(**optional))
    assert made.to_json() == a_header(**optional)
    assert made.features == container.KNOWN_REQUIRED_FEATURES
    assert a_header()["coder"] == header.CODERS[-1]
    for features, coder in CODERS.items():
        assert header.from_json(a_header(coder=coder)).features == features
    assert says("HEAD", f"at most {container.MAX_HEADER} bytes")
    named = ", ".join(f'"{coder}" in coder {k}' for k, coder in enumerate(header.CODERS, 1))
    assert keys["coder"].startswith(f"{named};")
    lines = re.search(r"are the dictionary, (\d+) bytes:\n\n((?:    .*\n)+)", section("HEAD"))
    assert lines
    dictionary = "".join(line.strip() for line in lines[2].splitlines()).encode()
    assert dictionary == container.HEADER_DICTIONARIES[container.FEATURE_SECOND]
    assert len(dictionary) == int(lines[1])
    assert says("HEAD", f"In coder 3 the dictionary has {header.CODERS[2]} for {header.CODERS[1]}.")
    assert dictionary.count(header.CODERS[1].encode()) == 1
    third = dictionary.replace(header.CODERS[1].encode(), header.CODERS[2].encode())
    older, *books, v4, v5 = named_in_dictionaries(dictionary)
    v3 = books[-1]
    made_of = [third]
    for book in books:
        words = third
        for was, now in zip(older, book, strict=True):
            assert words.count(was.encode()) == 1
            words = words.replace(was.encode(), now.encode())
        made_of.append(words)
    assert says("HEAD", f"In coder 6 it is that of coder 5 with {header.CODERS[5]} for {header.CODERS[2]},")
    assert made_of[-1].count(header.CODERS[2].encode()) == 1
    made_of[-1] = made_of[-1].replace(header.CODERS[2].encode(), header.CODERS[5].encode())
    more = '{"archive":true,'
    was, now = header.CODERS[5:7]
    assert says("HEAD", f"In coder 7 it is that of coder 6 with {now} for {was}, and after it {more}.")
    made_of.append(made_of[-1].replace(was.encode(), now.encode()) + more.encode())
    last, (was, now) = '"shape":[1000,70,70],', header.CODERS[6:8]
    assert says("HEAD", f"In coder 8 it is that of coder 7 with {now} for {was}, and after it {last}.")
    made_of.append(made_of[-1].replace(was.encode(), now.encode()) + last.encode())
    ninth = made_of[-1]
    for was, now in zip((*header.CODERS[7:8], *v3), (*header.CODERS[8:9], *v4), strict=True):
        assert ninth.count(was.encode()) == 1
        ninth = ninth.replace(was.encode(), now.encode())
    latest = '"shape":[100,70,70],'
    assert says("HEAD", f"and for the SHA-256 beside these {v4[2]}, and after it {latest}.")
    made_of.append(ninth + latest.encode())
    tenth = made_of[-1]
    for was, now in zip((*header.CODERS[8:9], *v4), (*header.CODERS[9:10], *v5), strict=True):
        assert tenth.count(was.encode()) == 1
        tenth = tenth.replace(was.encode(), now.encode())
    latest = '"shape":[50,70,70],'
    assert says("HEAD", f"and for the SHA-256 beside these {v5[2]}, and after it {latest}.")
    made_of.append(tenth + latest.encode())
    coders = (SECOND, THIRD, FOURTH, FIFTH, SIXTH, SEVENTH, EIGHTH, NINTH, TENTH)
    by_coder = dict(zip(coders, (dictionary, *made_of), strict=True))
    assert {features: container._dictionary(features) for features in by_coder} == by_coder
    assert [*by_coder.values()] == [*container.HEADER_DICTIONARIES.values()]
    assert [*by_coder.values()] == [*spec_reader.DICTIONARIES.values()]
    codes = re.search(r"then ([a-z0-9 ]+)$", keys["dtype"])
    assert codes
    dtypes = {np.dtype(order + code).str for order in "<>" for code in codes[1].split()}
    assert dtypes == header.DTYPES
    assert f"H x W at most {header.MAX_SAMPLES}" in keys["shape"]


def named_in_dictionaries(first: bytes) -> list[tuple[str, str, str]]:
    """The codebook in the dictionary of coder 2, and those that the page puts in its place in coders 4 to 6, 9 and 10.

    Of each: its id, `"latent":` with its numbers, its SHA-256.
    """
    found = re.search(rb'"id":"([^"]+)",("latent":\d+),"sha256":"([0-9a-f]{64})"', first)
    assert found
    older = found[1].decode(), found[2].decode(), found[3].decode()
    text = " ".join(section("HEAD").replace("`", "").split())
    fourth = re.search(
        rf"In coder 4 it also has (\S+) for {older[0]}, and for the SHA-256 beside that ([0-9a-f]{{64}})\.",
        text,
    )
    fifth = re.search(
        rf"In coder 5 it is that of coder 3 with (\S+) for {older[0]}, (\S+) for {older[1]}, "
        r"and for the SHA-256 beside these ([0-9a-f]{64})\.",
        text,
    )
    assert fourth and fifth
    sixth = re.search(
        rf"coder 5 with \S+ for \S+, (\S+) for {fifth[1]}, and for the SHA-256 beside that ([0-9a-f]{{64}})\.",
        text,
    )
    assert sixth
    ninth = re.search(
        rf"In coder 9 it is that of coder 8 with velcodec-9 for velcodec-8, (\S+) for {sixth[1]}, "
        rf"(\S+) for {fifth[2]}, and for the SHA-256 beside these ([0-9a-f]{{64}}),",
        text,
    )
    assert ninth
    tenth = re.search(
        rf"In coder 10 it is that of coder 9 with velcodec-10 for velcodec-9, (\S+) for {ninth[1]}, "
        rf"(\S+) for {ninth[2]}, and for the SHA-256 beside these ([0-9a-f]{{64}}),",
        text,
    )
    assert tenth
    v3 = sixth[1], fifth[2], sixth[2]
    return [older, (fourth[1], older[1], fourth[2]), fifth.groups(), v3, ninth.groups(), tenth.groups()]


@pytest.mark.parametrize("coder", [4, 5, 6, 9, 10])
def test_the_dictionary_of_head_names_a_codebook_that_is_there(coder: int) -> None:
    """The default one of its time: one released since takes some 55 bytes more a file."""
    named = named_in_dictionaries(container.HEADER_DICTIONARIES[container.FEATURE_SECOND])
    id_, latent, sha256 = named[coder - 11 if coder > 8 else coder - 3]
    book = velcodec.load_codebook(id_)
    assert (book.id, f'"latent":{book.latent}', book.sha256) == (id_, latent, sha256)
    assert id_ in codebook.builtin_ids()


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
    assert accepts(unit=0)
    assert not accepts(unit=-1.0)
    assert not accepts(unit=float("inf"))
    assert accepts(bound=1e-9)
    assert not accepts(bound=0.0)
    assert not accepts(bound=float("inf"))
    assert accepts(axis=2)
    assert not accepts(axis=3)
    assert not accepts(axis=1, shape=[4, 1, 3, 4])
    assert accepts(tile=[21, 20, 10])
    assert not accepts(tile=[21, 20, 11])
    assert not accepts(tile=[0, 20, 0])
    assert accepts(archive=True)
    assert accepts(archive=True, shape=[4, 1, 3, 4])
    assert not accepts(archive=True, shape=[3, 4])
    assert not accepts(archive=1)
    for coder in header.CODERS[:4]:
        assert not accepts(archive=True, coder=coder)
    records = int(re.findall(r"n x tiles at most (\d+)", keys["tile"])[0])
    for more in (0, 1):
        assert accepts(shape=[records // 2 + more, 1, 2], tile=[1, 1, 0]) == (not more)


def test_maps() -> None:
    streams, kinds = tables("MAPS")
    check_fields(streams[:2], container.STREAM)
    assert int(streams[2][0]) == container.STREAM.size
    assert streams[0][2] == (
        f"coding: {container.CODING_RAW} raw, {container.CODING_ZSTD} zstd, "
        f"{container.CODING_ADAPTIVE} adaptive bytes (section 9.4), of quality, and of kinds from coder 2 on"
    )
    numbers = {
        name.removeprefix("KIND_").lower().replace("_", " "): number
        for name, number in vars(container).items()
        if name.startswith("KIND_")
    }
    starts = {"soft": " + p", "entropy": " + t", "residual": " + t"}
    assert {name: kind for kind, name, *_ in kinds} == {
        name: f"{number}{starts.get(name, '')}" for name, number in numbers.items()
    }
    counts = {"p": len(container.PARTS), "t": container.MAX_TABLES}
    for kind, _, needed, _ in kinds:
        first, _, letter = kind.partition(" + ")
        number = np.arange(int(first), int(first) + counts.get(letter, 1), dtype=np.uint8)
        bits = sum(int(bit) for bit in needed.split(", "))
        for features in range(container.KNOWN_REQUIRED_FEATURES + 1):
            assert (blocks.known_kinds(number, features) == (bits & ~features == 0)).all()
    assert says("MAPS", f"p is at most {counts['p'] - 1}, t at most {counts['t'] - 1}.")
    for features in range(container.KNOWN_REQUIRED_FEATURES + 1):
        found = [spec_reader.known(kind, features) for kind in range(256)]
        np.testing.assert_array_equal(found, blocks.known_kinds(np.arange(256, dtype=np.uint8), features))
    order = list(blocks.Block.__dataclass_fields__)
    assert says("MAPS", f"the five streams {', '.join(order[:5])}.")
    assert says(
        "MAPS",
        f"those of the streams {', '.join(order[1:-1])} and, with feature {container.FEATURE_EIGHTH}, {order[-1]} "
        "whose bit is in the mask, in this order: bit 0 is entropy, bit 7 residual, bit 8 cosines.",
    )
    assert container.PRESENT.format == "<H"
    assert says("MAPS", f"stored in blocks of 1 to {container.MAX_BLOCK_MAPS}, one MAPS section each")
    assert says(
        "MAPS",
        f"before the kinds, and all else follows as it would without. Its coding is {container.CODING_ADAPTIVE};",
    )
    assert says("MAPS", f"**entropy**: coding {container.CODING_RAW};")
    assert says(
        "MAPS", f"With D numbers a latent, and P = D, but from coder 5 on P = min(D, {container.PLAIN}):"
    )
    assert spec_reader.PLAIN == container.PLAIN
    for features, coder in CODERS.items():
        for d in (1, container.PLAIN, container.PLAIN + 1):
            head = header.from_json(a_header(coder=coder, codebook={**a_header()["codebook"], "latent": d}))
            assert head.plain == (d if features & FIFTH != FIFTH else min(d, container.PLAIN))


def test_foot_and_tail() -> None:
    foot, archive, codes, tail, _ = tables("FOOT and tail")
    check_fields(foot[:3], container.FOOTER)
    check_fields(archive[:5], container.FOOTER_ARCHIVE)
    assert archive[5] == [str(container.FOOTER_ARCHIVE.size), f"b x {container.INDEX.size} bytes", "index"]
    assert says("FOOT and tail", f"there are {container.FOOTER_ARCHIVE.size} bytes before the index.")
    assert [row[2] for row in archive] == [
        *(row[2] for row in foot[:2]),
        *(row[2].replace("BOOK", "SRCS") for row in foot[:2]),
        *(row[2] for row in foot[2:4]),
    ]
    start, entry = container.FOOTER.size, container.INDEX.size
    assert foot[3] == [str(start), f"b x {entry} bytes", "index"]
    assert foot[4] == [f"{start} + {entry} b", "to the end", "quality"]
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
    scales = [quality.quality_scale(features | 3) for features in CODERS]
    assert scales == [quality.FINE, quality.COARSE, *[quality.COARSER] * 8]
    steps = ", ".join(f"{s.psnr_step} p dB in coder {k}" for k, s in enumerate(scales[:3], 1))
    assert codes[1][1].startswith(f"PSNR = {steps}, rounded down")
    errors = [f"2^((e - {s.error_bias}) / {s.error_steps}) in coder" for s in scales]
    assert set(errors[1:]) == {errors[1]}  # what is said of coder 2 holds for the later ones
    assert says(
        "FOOT and tail", f"those of the {start} bytes before the index, of the index, and of the quality"
    )
    assert says("FOOT and tail", "then their second bytes, and so on to their twentieth.")
    assert entry == 20
    assert says("FOOT and tail", f"it holds as well, but for records with error {container.ERROR_UNBOUNDED}:")
    assert codes[4][1].startswith(f"the maximum error is at most {errors[0]} 1, {errors[1]} 2, in the")


def test_sources() -> None:
    title = container.TAG_SOURCES.decode()
    (keys,) = tables(title)
    made = sources_of([(2, 5, 6)])[0].to_json()
    assert {row[0] for row in keys} == made.keys() == spec_reader.SOURCE_KEYS.keys()
    assert all(type(made[key]) is kind for key, kind in spec_reader.SOURCE_KEYS.items())
    texts = [row[0] for row in keys if isinstance(made[row[0]], str)]
    stated = f"{', '.join(texts[:-1])} and {texts[-1]} are texts of at most {manifest.MAX_NAME} printable characters"
    assert says(title, stated)
    assert f"an object of at most {manifest.MAX_REQUEST} keys:" in dict(keys)["request"]
    most = container.MAX_SOURCES
    assert says(
        title, f"payload, at most {most} bytes, is a zstd frame, of at most {most} bytes as well, of a JSON"
    )
    assert most == spec_reader.MOST_SOURCES
    assert manifest.named("CurveVel_A/vel7_1_3.npy") == ("CurveVel_A", "7_1_3")


def test_entropy_coder() -> None:
    assert says("Entropy-coded latents", f"that sum to {1 << prior.TABLE_BITS}.")
    assert says("Entropy-coded latents", f"F[k] = {entropy.LIFT:g} x f[k];")
    assert entropy.LIFT * (1 << prior.TABLE_BITS) == 1 << 24
    assert says("Entropy-coded latents", "scale = floor(range / 2^24)")


def spread(cell: str) -> range:
    """`a..b` of a table, or a number alone."""
    first, _, last = cell.partition("..")
    return range(int(first), int(last or first) + 1)


def test_adaptive_coder() -> None:
    confidences, knots = tables("The adaptive coder")
    title = "The adaptive coder"
    for row in confidences:
        assert {int(adaptive.CONFIDENCE[n]) for n in spread(row[0])} == {int(row[1])}
    assert [n for row in confidences for n in spread(row[0])] == list(range(adaptive.LIMIT + 1))
    assert len(confidences) == adaptive.CONFIDENCES
    for inputs in (1, 3, 13, 16):
        first = 131072 // (inputs + 2)
        shares = {"0": 0, "floor(first / 3)": first // 3, "floor(first / 2)": first // 2, "first": first}
        shares["floor(3 first / 4)"] = 3 * first // 4
        seen, w = adaptive.memory(inputs, 4, 2)
        np.testing.assert_array_equal(w, np.broadcast_to([shares[row[2]] for row in confidences], w.shape))
        assert (seen == 32768 << 8).all()
    assert says(title, f"p[i, s] starts at {adaptive.ONE // 2}")
    found = [int(k) for row in knots for k in row[1].split(", ")]
    assert found == adaptive.KNOTS.tolist() == spec_reader.KNOTS
    assert [n for row in knots for n in spread(row[0])] == list(range(len(found)))
    limit = adaptive.STRETCH_LIMIT
    assert says(title, f"for s = -{limit} .. {limit}, is linear between knots at every {adaptive.KNOT}")
    assert says(
        title, f"squash(clip(total >> 16, {limit})), brought within {adaptive.LEAST} .. {adaptive.MOST}"
    )
    assert [spec_reader.squash(s) for s in range(-limit, limit + 1)] == adaptive.SQUASH.tolist()
    assert [spec_reader.stretch(p) for p in range(len(adaptive.STRETCH))] == adaptive.STRETCH.tolist()
    assert [spec_reader.confidence(n) for n in range(256)] == adaptive.CONFIDENCE.tolist()
    assert says(title, "rate(n) = floor(131072 / (2 n + 3)). The limit is 255 but for")
    assert says(title, "but for the models code and counted, where it is 30.")
    assert says(
        title, f"speed is 0, its limit 30 as well, and all its weights w[j, i, c] are {adaptive.ONE}."
    )
    assert (adaptive.byte_memory(counted=True)[1] == adaptive.ONE).all()
    assert [131072 // (2 * n + 3) for n in range(256)] == adaptive.RATE.tolist()
    rng = np.random.default_rng(2)
    for h, v in rng.integers(-(1 << 40), 1 << 40, (50, 2)).tolist():
        assert adaptive.blend(h % 2**32, v) == spec_reader.blend(h % 2**32, v)


def test_adaptive_streams() -> None:
    models, integers_of, neighbours_seen, candidates, weights, roots, values, *_ = tables("Adaptive streams")
    near, calm = edges.fresh(2)
    memories = {
        "layers, coder 1": (layer_models.fresh(1), layer_models.SPEED_1),
        "layers, coder 2": (layer_models.fresh(2), layer_models.SPEED),
        "code": (adaptive.byte_memory(), 2),
        "counted": (adaptive.byte_memory(counted=True), 0),
        "near, coder 1": (edges.fresh(1)[0], edges.SPEED_1),
        "near, coder 2": (near, edges.SPEED),
        "calm": (calm, edges.CALM_SPEED),
        "smooth, coder 1": (smooth.fresh(1)[0], smooth.SPEED_1),
        "smooth, coder 6": (smooth.fresh(2)[0], smooth.SPEED),
        "parts": (parts.fresh(), parts.SPEED),
        "waves": (spectrum_coder.fresh(), spectrum_coder.SPEED),
    }
    assert {row[0]: [int(n) for n in row[1:]] for row in models} == {
        name: [*seen.shape, len(w), speed] for name, ((seen, w), speed) in memories.items()
    }
    shape = (layer_models.INPUTS, 1 << layer_models.SLOT_BITS, 3 * layer_models.WAYS)
    for coder in (1, 2, 3):
        seen, w = layer_models.fresh(coder)
        assert (*seen.shape, len(w)) == shape
    assert [row[0] for row in integers_of] == ["3", "8, 9 + p"]
    assert len(neighbours_seen) == 7
    assert [row[2] for row in candidates] == ["way", *(f"{k * edges.WAYS} + way" for k in (1, 2, 3))]
    assert says("Edges", f"signed(h, {4 * edges.WAYS} + way, {edges.WAYS})")
    spreads, misses = edges.SPREADS, edges.MISSES
    assert says(
        "Edges", f"j2 = {edges.SELECTORS} + min(size, {spreads - 1}) + {spreads} min(off, {misses - 1})"
    )
    assert says("Smooth", f"min(rough, {smooth.WAYS - 1}), {smooth.WAYS})")
    pairs = re.findall(r"\((\d), (-?\d)\)", " ".join(row[1] for row in weights))
    assert [(int(up), int(left)) for up, left in pairs] == [tuple(n) for n in smooth.NEIGHBOURS.tolist()]
    assert [tuple(n) for n in smooth.NEIGHBOURS.tolist()] == spec_reader.WIDE_UP
    assert says("Smooth", f"x q(z - up_k, x - left_k)) >> {smooth.WEIGHT_BITS - 4} guess = linear;")
    for words in (
        f"min(|16 q(z, x) - g_k|, {smooth.LOST}), g_k being",
        f"w_k = floor(2^33 / (min(near_k, {smooth.LOST}) + {smooth.WELL})^2)",
        f"w_k clip(g_k - linear, 2^{smooth.FAR.bit_length() - 1})) / (sum of w_k))",
        f"share is {int(smooth.fresh(2)[1][0])} at the start",
        f"brought within 0 .. {smooth.ONE}",
        f"is j2 = {3 * smooth.WAYS} + {smooth.PARTS} min(steep, {smooth.STEEPS - 1}) + part.",
    ):
        assert says("Smooth", words), words
    assert [len(smooth.fresh(coder)[0][0]) for coder in (1, 2)] == [smooth.INPUTS_1, smooth.INPUTS]
    assert [(int(i), float(root)) for i, root in roots] == list(enumerate(residual.ROOTS))
    assert [root for _, root in roots] == [repr(root) for root in residual.ROOTS]
    assert list(residual.ROOTS) == spec_reader.ROOTS
    assert says("Values", f"k = code - {residual.CODE_ZERO};")
    assert [row[0] for row in values] == ["4, 5, 8", "6, 7", "9 + p", "15", "240", "128 + t"]
    for code in range(256):
        assert residual.step(1.37, code) == spec_reader.step(1.37, code)
    assert says("Layers", f"L values, 1 to {layer_models.MAX_LAYERS},")
    assert says("Layers", f"L = node - {layer_models.MAX_LAYERS - 1};")
    assert says("Layers", f"(L - 1) x columns, summed over the block so far, is above {layers.MAX_DEPTHS}")
    assert says("Layers", f"of_from = 2^{layer_models.ALL.bit_length() - 1}; of_to = 0")
    assert says("Layers", f"m = 2^{layer_models.ALL.bit_length() - 1} for j")
    assert says("Layers", f"part = node - {layer_models.VALUE_PARTS};")
    assert says("Integers", f"refuse where a |q| is 2^{edges.LIMIT.bit_length() - 1} or more")
    assert says("Integers", f"refuse there a code b above {parts.MAX_BITS}")
    assert says("Parts", f"of {parts.MEMORY} places: place q mod {parts.MEMORY} holds")
    mantissas = [exact.mantissa(np.dtype(t)) for t in ("<f2", "<f4", "<f8", "<i4")]
    assert says("Parts", "{} for f2, {} for f4, {} for f8, {} for integers".format(*mantissas))


def test_primer() -> None:
    primer = resources.files("velcodec").joinpath(layer_models.PRIMER).read_bytes()
    stated = re.search(
        r"the file `velcodec/(\S+)`, which belongs to this page: (\d+) bytes with the SHA-256\n\n    (\w{64})\n\n",
        section("Layers"),
    )
    assert stated
    size, sha256 = len(primer), hashlib.sha256(primer).hexdigest()
    assert stated.groups() == (layer_models.PRIMER, str(size), sha256)
    assert (size, sha256) == (spec_reader.PRIMER_BYTES, spec_reader.PRIMER_SHA256)
    assert spec_reader.PRIMER.read_bytes() == primer
    maps, rows, columns = (
        layer_models.PRIMER_MAPS,
        layer_models.PRIMER_HEIGHT,
        layer_models.PRIMER_WIDTH,
    )
    assert says(
        "Layers", f"one stream (section 9.1) of {maps} records with rows = {rows} and columns = {columns}."
    )
    assert (maps, (rows, columns)) == (spec_reader.PRIMER_MAPS, spec_reader.PRIMER_SHAPE)


def test_smoothed_edges() -> None:
    title = "Smoothed edges"
    sides, taps = tables(title)
    assert [[int(n) for n in row] for row in sides] == [[p, *own] for p, own in enumerate(container.PARTS)]
    assert list(container.PARTS) == spec_reader.PARTS_OF_CELLS
    assert says(title, f"where (h x down) x (w x across) is above {decoder.MAX_FINE}.")
    stated = {int(k): row[1] for row in taps for k in row[0].split(", ")}
    assert [stated[k] for k in range(5)] == [repr(tap) for tap in soft.TAPS.tolist()]
    assert soft.TAPS.tolist() == spec_reader.TAPS
    assert says(title, "t[k] are exp(-2 (k - 2)^2) over the sum of these five:")
    assert says("Other grids", f"a Gaussian with a standard deviation of {soft.BROAD} whole cells")


def test_what_a_decode_may_differ_by() -> None:
    """Every kind of the page is either the same everywhere or has a latent."""
    (rows,) = tables("What a decode may differ by")
    stated = {kind.strip(): row[1] for row in rows for kind in row[0].split(", ")}
    assert set(stated) == {row[0] for row in tables("MAPS")[1]}
    for kind, same in stated.items():
        number = int(kind.split()[0])
        differs = decoder.has_latent(number) or number in decoder.COSINE_KINDS
        assert differs != same.startswith("yes")


def test_codebooks() -> None:
    tensors, *_ = tables("Codebooks")
    book = velcodec.load_codebook()
    sizes = re.findall(r"number m of frequencies, (\d+)\.\.(\d+)", section("Codebooks"))
    assert sizes == [("2", str(prior.MAX_SIZE))]
    certain = "There a size may be 0, for a table of two, {} and {}, that are not in".format(*prior.CERTAIN)
    assert says("Codebooks", f"{certain} prior.frequency.")
    assert tensors[4][2].endswith(f"counted for each t and d they are at most {prior.MAX_FREQUENCIES}")
    assert says("Codebooks", f"at most {codebook.MAX_BYTES} bytes")
    most = int(re.findall(r"T at most (\d+)", section("Codebooks"))[0])
    assert most == container.MAX_TABLES
    uniform = [(0, np.ones(2))]
    prior.build(np.ones(most, np.float32), [uniform] * most)
    with pytest.raises(velcodec.CodebookError):
        prior.build(np.ones(most + 1, np.float32), [uniform] * (most + 1))
    types = {"f32": "f4", "f16": "f2", "i16": "i2", "u16": "u2", "i8": "i1"}
    for name, kind, _ in tensors:
        found = {k: t for k, t in book.tensors.items() if re.fullmatch(name.replace("*", ".*"), k)}
        assert found
        assert {t.dtype.str[1:] for t in found.values()} == {
            types[own] for own in re.findall(r"\b[fiu]\d+\b", kind)
        }
        if "(T, D)" in kind:
            assert found[name].shape == (len(book.prior.step), book.latent)
        if "(U,)" in kind:
            assert found[name].shape == (int(book.tensors["prior.table"].max()) + 1,)
    assert {k.split(".")[0] for k in book.tensors} == {row[0].split(".")[0] for row in tensors}
    named = re.search(r"family, (.*?)\)", section("Codebooks").replace("`", ""))
    assert named
    assert set(re.split(" or |, ", named[1])) == set(decoders.FAMILIES)


def test_decoder_warp() -> None:
    latent, c, r, samples, width = 7, 4, 3, 24, 5
    built = warp.WarpDecoder(latent, features=c, channels=r, samples=samples, width=width)
    check_layers_of_warp(built, latent, c, r, samples, width)
    native, side, span = warp.NATIVE, warp.SIDE, warp.PROFILE_SPAN
    assert says("Decoder `warp`", f"({native} x / {side}, {native} z / {side})")
    assert says("Decoder `warp`", f"C channels of {side} x {side}")
    assert says("Decoder `warp`", f"(z + s) / {span}")


def check_layers_of_warp(
    built: warp.WarpDecoder, latent: int, c: int, r: int, samples: int, width: int
) -> None:
    """The page's table of layers against a decoder."""
    (layers,) = tables("Decoder `warp`")
    shapes = {k: list(v.shape) for k, v in built.state_dict().items()}
    values = {"4 C": 4 * c, "D": latent, "R x samples": r * samples, "width": width}
    values |= {"C - 1 + R": c - 1 + r, "C - 1 + R + 2": c - 1 + r + 2}
    for name, shape in layers:
        stated = [values[n] if n in values else int(n) for n in shape.split(", ")]
        assert shapes.pop(f"{name}.weight") == stated
        assert shapes.pop(f"{name}.bias", None) == (None if name == "skip" else stated[:1])
    assert not shapes


def test_decoder_siren() -> None:
    assert says("Decoder `siren`", f"h = sin({siren.W0:g} (first [x, z, y]))")
    assert says("Decoder `siren`", f"h = sin({siren.W0:g} (hidden.i h))")


def test_decoder_choice() -> None:
    title, d, n = "Decoder `choice`", 12, 7
    built = choice.ChoiceDecoder(d, {"latent": n, "features": 4, "channels": 3, "samples": 24, "width": 5})
    check_layers_of_warp(built.warp, n, 4, 3, 24, 5)
    names = set(built.state_dict())
    assert {name for name in names if not name.startswith("warp.")} == {"cosines.waves"}
    assert says(title, "decoder.warp.seed.weight")
    assert "warp.seed.weight" in names
    assert built.cosines.waves.shape == (d - 1, 2)
    assert says(title, "decoder.cosines.waves, f16 (D - 1, 2), holds a wave a row")
    native = cosines.NATIVE
    assert says(title, f"a(0) = sqrt(1 / {native}); a(j) = sqrt(2 / {native}) for j > 0")
    assert says(title, f"integers from 0 to {native - 1}.")


SMALL_WARP: dict[str, Any] = {"latent": 1, "features": 2, "channels": 2, "samples": 8, "width": 2}


def check_options(
    name: str,
    drawn: Callable[..., Any],
    at: Callable[..., Any],
    head: int,
    stacks: int,
    least: int,
    most: int,
) -> None:
    """The page's options of a decoder of layers: its numbers are a head and so many stacks; both readers refuse others.

    Args:
        drawn, at: the decoder, and the page's reader of it.
        least, most: layers of a stack; `least` is the fewest waves too.
    """
    defaults = drawn()
    assert not defaults.state_dict()
    usual = f"else it is {defaults.layers}, and waves, K, {least}..70, else it is {defaults.waves}."
    assert says("Decoder `choice`", f"{name} may have layers, L, {least}..{most}, {usual}")
    nowhere = np.zeros((1, 1))
    for layers_, waves in ((least, least), (most, 70), (5, 3)):
        count = head + stacks * (layers_ + (layers_ - 1) * waves)
        assert drawn(layers_, waves).latent == count
        options: dict[str, Any] = {name: {"layers": layers_, "waves": waves}}
        at(np.ones(count + 1), layers_, waves, nowhere, nowhere)
        if count < 100:
            assert choice.ChoiceDecoder(count + 1, SMALL_WARP, **options)
        with pytest.raises(ValueError, match=f"of {count} numbers needs a latent of more"):
            choice.ChoiceDecoder(count, SMALL_WARP, **options)
        with pytest.raises(spec_reader.SpecError):
            at(np.ones(count), layers_, waves, nowhere, nowhere)
    for layers_, waves in ((least - 1, 2), (most + 1, 2), (2, least - 1), (2, 71)):
        with pytest.raises(ValueError, match="cannot be"):
            drawn(layers_, waves)
        with pytest.raises(spec_reader.SpecError):
            at(np.ones(20000), layers_, waves, nowhere, nowhere)


def test_layers_of_a_choice() -> None:
    title = "Decoder `choice`"
    check_options("layered", layered.LayeredDecoder, spec_reader.layers_at, 0, 1, 1, 64)
    assert says(title, "L + (L - 1) K is at most D - 1;")
    assert says(title, f"y_0 > {choice.FROM_LAYERS:g}, if there are layers:")
    assert says(title, f"d = {cosines.NATIVE // 2} (z + 1)")
    velocity, width = layered.VELOCITY, layered.WIDTH
    assert says(
        title, f"output = {velocity} y_1 + the sum over i = 1 .. L - 1 of {velocity} y_(i + 1) sigmoid("
    )
    assert says(title, f"sigmoid((d - c[i]) / {width})")


def test_faults_of_a_choice() -> None:
    title, head = "Decoder `choice`", faulted.HEAD
    check_options("faulted", faulted.FaultedDecoder, spec_reader.faults_at, head, 2, 2, 16)
    assert says(title, "It may have patches, P, 0..64, and slips, R, 0..8, else they are 0.")
    per, slip = trapezia.PATCH, faulted.SLIP
    counted = f"Q = 1 + {per} P + {slip} R, or Q = 0 where P and R are 0, {head} + 2 M + Q is at most D"
    assert says(title, f"With M = L + (L - 1) K and {counted}")
    nowhere = np.zeros((1, 1))
    for patches, slips in ((1, 0), (3, 2), (64, 8), (0, 1)):
        count = head + 2 * (2 + 2) + 1 + per * patches + slip * slips
        assert faulted.FaultedDecoder(2, 2, patches, slips).latent == count
        spec_reader.faults_at(np.ones(count + 1), 2, 2, nowhere, nowhere, patches, slips)
        with pytest.raises(spec_reader.SpecError):
            spec_reader.faults_at(np.ones(count), 2, 2, nowhere, nowhere, patches, slips)
    for more in ((-1, 0), (65, 0), (1, -1), (1, 9)):
        with pytest.raises(ValueError, match="cannot be"):
            faulted.FaultedDecoder(2, 2, *more)
        with pytest.raises(spec_reader.SpecError):
            spec_reader.faults_at(np.ones(20000), 2, 2, nowhere, nowhere, *more)
    finest = round(1 / faulted.FINEST)
    order = ["length", "across", "down", "height", "other", "tilt", "value"]
    places = (
        trapezia.LENGTH, trapezia.ACROSS, trapezia.DOWN, trapezia.HEIGHT, trapezia.OTHER_HEIGHT, trapezia.TILT,
        trapezia.VALUE,
    )  # fmt: skip
    assert places == tuple(range(per))
    assert says(title, f"o = {head} + 2 M + 1; corner = 0")
    told = f"y_o / {finest} times y_(o + {per} p + 1) .. y_(o + {per} p + {per})"
    assert says(title, f"[{', '.join(order)}] = {told}")
    assert says(title, f"output = output + inside ({faulted.VELOCITY} value - output)")
    assert says(
        title,
        f"y_0 > {choice.FROM_FAULTS:g}, if there are faults: output = that of the faults below else, y_0",
    )
    assert says(title, f"y_1 .. y_{head} tell all this, y_{head + 1} .. y_({head} + M) a stack")
    velocity, depth, angle = faulted.VELOCITY, faulted.DEPTH, faulted.ANGLE
    assert says(
        title, f"w = max({faulted.SOFTNESS} y_{1 + faulted.SOFT}, {faulted.WIDTH}); S(u) = sigmoid(u / w)"
    )
    lines = [faulted.ANGLE_0, *range(faulted.LINE, head, 4)]
    assert len(lines) == faulted.LINES
    first, *others = (str(1 + n) for n in lines)
    assert faulted.OFFSET_0 == faulted.ANGLE_0 + 1
    assert says(title, f"line f = 0, 1, 2, with n = {first}, {', '.join(others)}:")
    half = cosines.NATIVE // 2
    distance = f"{half} x cos({angle} y_n) + {half} z sin({angle} y_n) - {depth} y_(n + 1)"
    assert says(
        title, f"s[f] = {distance} m = S(s[0]); shift = 0 for lines f = 1, 2, with n = {', '.join(others)}:"
    )
    assert says(title, f"else: shift = shift + {depth} y_(n + 2) S(s[f])")
    two, shift = 1 + faulted.TWO, f"{depth} y_{1 + faulted.SHIFT}"
    assert says(title, f"of the rest: e = d - shift; q = {head + 1}")
    assert says(title, f"e = d - shift - {shift}; q = {head + 1} + M if y_{two} > 0, else {head + 1}")
    assert says(
        title, f"b[i] = b[i - 1] + {depth} y_(q + L + i - 1) + the sum over k = 1 .. K - 1 of y_j a(k) cos("
    )
    assert faulted.WAVE == 1
    assert says(
        title, f"v = {velocity} y_q + the sum over i = 1 .. L - 1 of {velocity} y_(q + i) S(e - c[i])"
    )
    top, more, reach = (1 + n for n in (faulted.FILL_TOP, faulted.FILL_VELOCITY, faulted.FILL_REACH))
    assert says(title, f"g = {velocity} (y_(q + 1) / 2 + y_{more}) S(d - {depth} y_{top}) S(c[1] - e)")
    assert says(
        title, f"if y_{top} > 0 and y_{1 + faulted.SHIFT} >= 0: fill = m g near, with g of the block;"
    )
    assert says(title, f"else, if y_{top} > 0: fill = (1 - m) g near, with g of the rest;")
    assert [says(title, f"near = S({depth} y_{reach} {sign} s[0])") for sign in "-+"] == [True, True]
    assert says(title, f"near = 1 instead if y_{reach} <= 0")
    slips = faulted.S_ANGLE, faulted.S_OFFSET, faulted.S_ACROSS, faulted.S_DOWN, faulted.S_WHOSE
    assert slips == tuple(range(slip))
    assert says(title, f"Where y_{two} > 0 and any y_(t + {slip}) of a slip is not 0,")
    assert says(title, f"for r = 0 .. R - 1, with t = o + {per} P + {slip} r:")
    line = f"u cos({angle} y_(t + 1)) + (e - {half}) sin({angle} y_(t + 1)) - {depth} y_(t + 2) > 0:"
    assert says(title, f"if y_(t + {slip}) < 0 for the rest, > 0 for the block, and {line}")
    outermost = (cosines.NATIVE - 1) / 2
    by = [f"y_o / {finest} times y_(t + {3 + i})" for i in range(2)]
    assert says(
        title, f"u = u - {by[0]}, brought within -{outermost} .. {outermost}; e = e - {by[1]} v = that"
    )


def test_slips_are_drawn_as_the_page_says() -> None:
    """Of both stacks, one after the other, some of none; with patches over them; and by points."""
    rng = np.random.default_rng(4)
    decoder = faulted.FaultedDecoder(3, 4, 2, 5)
    axis = (2 * np.arange(35) + 1) / 35 - 1
    x, z = np.meshgrid(axis, axis)
    for kind in range(4):
        y = np.zeros(decoder.latent)
        y[: faulted.HEAD] = rng.normal(0, 20, faulted.HEAD)
        y[faulted.SOFT], y[faulted.TWO] = 0, 1 if kind else -1
        y[faulted.FILL_TOP] = 90.0
        y[faulted.HEAD : decoder.unit] = rng.normal(0, 10, decoder.unit - faulted.HEAD)
        y[decoder.unit] = 8
        y[decoder.unit + 1 : decoder.slip] = rng.integers(-40, 90, decoder.slip - decoder.unit - 1)
        told = rng.integers(-40, 40, (5, faulted.SLIP))
        told[:, faulted.S_ANGLE] *= 10
        told[:, faulted.S_OFFSET] *= 3
        told[:, faulted.S_WHOSE] = [(-1, 1, 0, 1, -1), (-1, -1, 2, 0, -3), (0, 0, 0, 0, 0)][kind % 3]
        y[decoder.slip :] = told.ravel()
        latent, at = torch.from_numpy(y.astype(np.float32))[None], torch.from_numpy(axis)
        drawn = decoder.grid(latent, at, at)[0].numpy()
        page = spec_reader.faults_at(np.concatenate([[40.0], latent[0].double().numpy()]), 3, 4, x, z, 2, 5)
        np.testing.assert_allclose(drawn, page, atol=2e-4)
        latent[:, decoder.slip + faulted.S_WHOSE :: faulted.SLIP] = 0
        without = decoder.grid(latent, at, at)[0].numpy()
        assert (np.abs(drawn - without) > 0.1).any() == (kind in (1, 3))


def test_patches_are_drawn_as_the_page_says() -> None:
    """Upright and turned ones, over one another, partly off the map, none; crisp and soft."""
    rng = np.random.default_rng(3)
    decoder = faulted.FaultedDecoder(3, 4, 6)
    axis = (2 * np.arange(35) + 1) / 35 - 1
    x, z = np.meshgrid(axis, axis)
    for softness in (0.0, 4.0):
        y = np.zeros(decoder.latent)
        y[: faulted.HEAD] = rng.normal(0, 20, faulted.HEAD)
        y[faulted.SOFT] = softness
        y[faulted.HEAD : decoder.unit] = rng.normal(0, 10, decoder.unit - faulted.HEAD)
        y[decoder.unit] = 8
        y[decoder.unit + 1 :] = rng.integers(-40, 90, decoder.latent - decoder.unit - 1)
        y[decoder.unit + 1 + 2 * trapezia.PATCH] = 0
        latent, at = torch.from_numpy(y.astype(np.float32))[None], torch.from_numpy(axis)
        drawn = decoder.grid(latent, at, at)[0].numpy()
        without = decoder.grid(latent * (torch.arange(decoder.latent) <= decoder.unit), at, at)[0].numpy()
        assert 0.05 < (np.abs(drawn - without) > 0.1).mean() < 0.95
        page = spec_reader.faults_at(np.concatenate([[40.0], latent[0].double().numpy()]), 3, 4, x, z, 6)
        np.testing.assert_allclose(drawn, page, atol=2e-4)

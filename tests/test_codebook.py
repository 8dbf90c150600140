"""Codebooks: identity, resolution, and refusal of any that is not the one a file names."""

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import velcodec
from velcodec import codebook as cb
from velcodec import synth
from velcodec.codebook import Codebook
from velcodec.grid import make_grid
from velcodec.synthesis import sample

Compressed = Callable[..., Path]


@pytest.fixture
def book() -> Codebook:
    return velcodec.load_codebook()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No codebook is built in or cached; returns a folder on the search path."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setattr(cb, "BUILT_IN", tmp_path / "nothing")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(cb.PATH_VARIABLE, str(folder))
    return folder


RELEASED = {
    "openfwi-2d-v5": "f918b0a59aba91fcfc4a508254699b4030054d08da8ad18ec048f46243fc41ac",
    "openfwi-2d-v4": "ffb583f560d704e9ea1d97cc6d9e889e4b214f14e67ecd9683529657492045b2",
    "openfwi-2d-v1": "f4dcac5c68b2df5b112cca51708fe859fdd52c9ff210d68c17d2dccef6bea86d",
    "openfwi-2d-v3": "7ba6a3ec25f1b7897f1e1d62099ae68d786da9671d750b2719d2c2cb3817dc9e",
    "openfwi-2d-v2": "26e2de730f72a506e69790b306ad8179a7a67988b4d806f558da5036a5452150",
}


def altered(book: Codebook, **changes: Any) -> Codebook:
    """The codebook with one prior step changed, or with other fields of its card."""
    tensors = dict(book.tensors)
    if not changes:
        tensors["prior.step"] = tensors["prior.step"] * np.float32(1.01)
    return Codebook(tensors, {**book.card, **changes})


def test_the_built_in_one(book: Codebook) -> None:
    assert book.id == cb.DEFAULT_ID
    assert cb.DEFAULT_ID in cb.builtin_ids()
    for key in ("version", "training_data", "licence", "recipe", "drift_bound", "figures"):
        assert key in book.card
    size = next(path for id_, _, path, _ in cb.list_codebooks() if id_ == book.id).stat().st_size
    assert size <= 4_000_000, "decoder, prior and encoder together"


def test_found_by_id_hash_and_path(book: Codebook, tmp_path: Path) -> None:
    path = tmp_path / "copy.safetensors"
    cb.export(book.id, path)
    for name in (book.id, book.sha256, book.sha256[:12], str(path), path):
        assert velcodec.load_codebook(name).sha256 == book.sha256


def test_hash_covers_decoding_not_prose(book: Codebook) -> None:
    assert altered(book, note="prose").sha256 == book.sha256
    assert altered(book).sha256 != book.sha256
    other = {**book.card["decoding"], "normalisation": [0.0, 1.0]}
    assert altered(book, decoding=other).sha256 != book.sha256


def test_missing_says_what_and_how(book: Codebook, elsewhere: Path) -> None:
    path = elsewhere / "a.vlz"
    source = elsewhere / "b.safetensors"
    cb.save(book, source)
    velcodec.compress(
        synth.generate("FlatFault_A", 1), path, effort=0, latent_only=True, codebook=str(source)
    )
    source.unlink()
    with velcodec.open(path) as archive:
        assert archive.info()["codebook"]["id"] == book.id  # info needs no codebook
        with pytest.raises(velcodec.CodebookError) as error:
            archive[0]
    for part in (book.id, book.sha256, "codebook import"):
        assert part in str(error.value)


def test_altered_is_refused(compressed: Compressed, book: Codebook, elsewhere: Path) -> None:
    original = elsewhere / "b.safetensors"
    cb.save(book, original)
    path = compressed(synth.generate("FlatFault_A", 1), latent_only=True)
    cb.save(altered(book), original, overwrite=True)
    with velcodec.open(path) as archive, pytest.raises(velcodec.CodebookError, match="differs"):
        archive[0]
    with (
        velcodec.open(path, codebook=str(original)) as archive,
        pytest.raises(velcodec.CodebookError, match="not"),
    ):
        archive[0]


def test_lossless_needs_no_codebook(tmp_path: Path, book: Codebook, elsewhere: Path) -> None:
    source = elsewhere / "b.safetensors"
    cb.save(book, source)
    maps = synth.generate("FlatVel_A", 2)
    velcodec.compress(maps, tmp_path / "a.vlz", lossless=True)
    source.unlink()
    np.testing.assert_array_equal(velcodec.decompress(tmp_path / "a.vlz"), maps)


def test_import_puts_it_in_the_cache(book: Codebook, elsewhere: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.safetensors"
    cb.save(book, file)
    installed = cb.install(file)
    assert installed.parent == cb.cache_folder()
    assert cb.install(file) == installed
    assert cb.resolve(book.id, book.sha256).sha256 == book.sha256


def test_embedded_stands_alone(compressed: Compressed, book: Codebook, elsewhere: Path) -> None:
    source = elsewhere / "b.safetensors"
    cb.save(book, source)
    path = compressed(synth.generate("FlatFault_A", 2), latent_only=True, embed_codebook="always")
    expected = velcodec.decompress(path)
    source.unlink()
    np.testing.assert_allclose(velcodec.decompress(path), expected, atol=0.2)
    with velcodec.open(path) as archive:
        assert archive.info()["codebook"]["embedded"]


def test_embed_auto_leaves_a_small_file_small(compressed: Compressed) -> None:
    path = compressed(synth.generate("FlatFault_A", 2), latent_only=True)
    assert path.stat().st_size < 10_000


@pytest.mark.parametrize(
    "damage", ["truncated", "text", "no card", "card", "tables", "missing tensor", "shape"]
)
def test_damaged_files_are_refused(book: Codebook, tmp_path: Path, damage: str) -> None:
    import safetensors.numpy

    path = tmp_path / "b.safetensors"
    cb.save(book, path)
    tensors, card = dict(book.tensors), json.dumps(book.card)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("not a codebook")
    elif damage == "no card":
        safetensors.numpy.save_file(tensors, path)
    elif damage == "card":
        safetensors.numpy.save_file(tensors, path, metadata={"card": "{" * 5000})
    else:
        if damage == "tables":
            tensors["prior.frequency"] = tensors["prior.frequency"][:-1]
        elif damage == "missing tensor":
            del tensors["decoder.warp.out.weight"]
        else:
            tensors["decoder.warp.out.weight"] = np.zeros((3, 3), np.float16)
        safetensors.numpy.save_file(tensors, path, metadata={"card": card})
    with pytest.raises(velcodec.CodebookError):
        velcodec.load_codebook(path)


def test_unknown_decoder_asks_for_an_upgrade(book: Codebook) -> None:
    with pytest.raises(velcodec.VersionError, match="upgrade"):
        altered(book, decoding={**book.card["decoding"], "decoder": "later"})


def test_drift_is_within_the_card(book: Codebook) -> None:
    """Batch sizes 1, 7 and 40, one and two threads, regular grid and scattered points."""
    from velcodec.fit import fit_latents
    from velcodec.grid import make_grid
    from velcodec.synthesis import sample

    cpu = torch.device("cpu")
    maps = np.concatenate([synth.generate(family, 4, seed=11) for family in synth.FAMILIES])
    latents = fit_latents((maps - book.offset) / book.scale, book, cpu, 0).latents
    grid = make_grid((70, 70))
    whole = sample(book, latents, grid, cpu)
    threads = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            for batch in (1, 7):
                parts = [
                    sample(book, latents[i : i + batch], grid, cpu) for i in range(0, len(latents), batch)
                ]
                assert np.abs(np.concatenate(parts) - whole).max() <= book.drift
    finally:
        torch.set_num_threads(threads)
    points = np.stack(np.meshgrid(grid.x, grid.z), -1).reshape(-1, 2)
    with torch.no_grad():
        scattered = book.decoder(torch.from_numpy(latents), torch.from_numpy(points).float()).numpy()
    assert np.abs(scattered.reshape(whole.shape) - whole).max() <= book.drift


def test_weights_in_bytes_are_near_those_they_were(book: Codebook) -> None:
    """Of the encoder network alone, and the heavy ones of it."""
    floats = {
        k: v.astype(np.float16) if v.dtype == np.int8 else v
        for k, v in book.tensors.items()
        if not k.endswith(cb.SCALES)
    }
    rng = np.random.default_rng(1)
    for name, value in book.tensors.items():
        if value.dtype == np.int8:
            floats[name] = rng.normal(size=value.shape).astype(np.float16)
    whole = Codebook(floats, book.card)
    small = Codebook(cb.in_bytes(floats, "encoder.", 50_000), book.card)
    assert whole.encoder is not None and small.encoder is not None
    told = {k for k, v in small.tensors.items() if v.dtype == np.int8}
    assert told and all(k.startswith("encoder.") and k + cb.SCALES in small.tensors for k in told)
    assert cb.from_bytes(cb.to_bytes(small)).sha256 == small.sha256 != whole.sha256
    for (name, a), b in zip(
        whole.encoder.state_dict().items(), small.encoder.state_dict().values(), strict=True
    ):
        most = float(a.abs().max())
        assert float((a - b).abs().max()) <= (most / 127 if f"encoder.{name}" in told else 0)
    assert cb.in_bytes(small.tensors, "encoder.", 50_000).keys() == small.tensors.keys()


def test_released_codebooks_are_what_they_were() -> None:
    for id_, sha256 in RELEASED.items():
        assert velcodec.load_codebook(id_).sha256 == sha256


def test_the_drift_bound_holds_of_numbers_past_their_tables() -> None:
    """It was measured on training maps; what lies further out may not drift further."""
    book, rng = velcodec.load_codebook(), np.random.default_rng(2)
    prior, grid = book.prior, make_grid((70, 70))
    exact = copy.deepcopy(book.decoder).double()
    for t in (book.network_tables[0], book.network_tables[-1], book.smooth_tables[0], book.smooth_tables[-1]):
        q = np.stack(
            [prior.low[t] + [f.argmax() for f in map(partial(prior.table, t), range(prior.latent))]] * 6
        )
        outer = np.flatnonzero(prior.last[t] > prior.high(t))
        for row in q:
            some = rng.choice(outer, 4, replace=False)
            row[some] = prior.last[t][some]
        latents = (q * prior.step[t]).astype(np.float32)
        with torch.no_grad():
            axes = torch.from_numpy(grid.z), torch.from_numpy(grid.x)
            wanted = exact.grid(torch.from_numpy(latents).double(), *axes).numpy()
        assert np.abs(sample(book, latents, grid, torch.device("cpu")) - wanted).max() < book.drift / 4

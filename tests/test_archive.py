"""The archive as a sequence of arrays, on other grids, and as continuous fields."""

import io
import multiprocessing
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import velcodec
from velcodec import decoder, synth
from velcodec.archive import Archive
from velcodec.storage import LocalFile

Compressed = Callable[..., Path]


@pytest.fixture
def archive(compressed: Compressed) -> Archive:
    """Six maps: FlatFault_A as latents, in blocks of two."""
    import velcodec.compression as writer

    before, writer.LATENT_BLOCK_MAPS = writer.LATENT_BLOCK_MAPS, 2
    try:
        path = compressed(synth.generate("FlatFault_A", 6, seed=2)[:, None], latent_only=True)
    finally:
        writer.LATENT_BLOCK_MAPS = before
    opened = velcodec.open(path)
    yield opened
    opened.close()


def test_a_sequence_of_maps(archive: Archive) -> None:
    assert len(archive) == 6
    assert archive.shape == (6, 1, 70, 70)
    assert archive.map_shape == (70, 70)
    assert archive[0].shape == (70, 70)
    assert archive[1:3].shape == (2, 70, 70)
    assert archive[4:100].shape == (2, 70, 70)
    assert archive[3:3].shape == (0, 70, 70)
    np.testing.assert_allclose(archive[-1], archive[5], atol=0.2)
    assert len(list(archive)) == 6
    for index in (6, -7):
        with pytest.raises(velcodec.UsageError, match="within"):
            archive[index]


def test_masks_choose_maps_and_what_says_nothing_is_refused(archive: Archive) -> None:
    mask = np.zeros(len(archive), bool)
    mask[[1, len(archive) - 1]] = True
    for chosen in (mask, mask.tolist()):
        np.testing.assert_allclose(archive[chosen], archive[[1, len(archive) - 1]], rtol=0, atol=0.1)
    assert archive[~mask].shape == (len(archive) - 2, *archive.map_shape)
    assert len(archive[[]]) == len(archive[np.zeros(len(archive), bool)]) == 0
    for wrong in (mask[:-1], True, 2.7, "3", [[0, 1]], np.array([1.0]), ...):
        with pytest.raises(velcodec.UsageError, match="a slice, by integers or by a mask"):
            archive[wrong]  # type: ignore[index]
    for wrong in ((3, 10), (0, slice(2))):
        with pytest.raises(velcodec.UsageError, match="by its maps alone"):
            archive[wrong]  # type: ignore[index]


def test_blocks_are_kept_up_to_a_size(archive: Archive) -> None:
    """Those used last, and the one in use whatever it takes."""
    size = archive._records(archive.stored.footer.entries[0], [1]).nbytes
    with velcodec.open(archive.name, keep=2 * size) as few, velcodec.open(archive.name, keep=0) as one:
        for row in (0, 2, 4):
            few[row], one[row]
        assert list(few._kept) == [2, 4]
        assert few._kept.bytes == sum(few._kept.get(first).nbytes for first in (2, 4)) <= 2 * size
        assert list(one._kept) == [4]


def test_a_block_wanted_again_is_decoded_whole_and_kept(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = archive[:]
    read: list[int] = []
    original = decoder.sample
    monkeypatch.setattr(
        decoder, "sample", lambda book, z, *rest: read.append(len(z)) or original(book, z, *rest)
    )
    with velcodec.open(archive.name) as opened:
        for _ in range(3):
            np.testing.assert_allclose(opened[3], maps[3], atol=0.2)
        np.testing.assert_allclose(opened[2:4], maps[2:4], atol=0.2)
        assert read == [1, 2]
        opened[2][:] = 0  # what is given is the reader's own
        np.testing.assert_allclose(opened[2], maps[2], atol=0.2)
        opened.read([2], shape=(20, 20))
        opened.keep = 0
        opened[0]
        assert len(list(opened._kept)) == 1
        read.clear()
        for _ in range(3):
            opened[5]
        assert read == [1, 1, 1], "a block that memory does not hold is not decoded whole"


def test_forked_and_other_processes_read_too(archive: Archive) -> None:
    """All at once, from one file: with a place in it of their own."""
    maps = archive[:]
    with archive._lock:
        workers = [
            multiprocessing.get_context("fork").Process(target=_reads, args=(archive, maps)) for _ in range(4)
        ]
        for worker in workers:
            worker.start()
    _reads(archive, maps)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    with pickle.loads(pickle.dumps(archive)) as again:
        np.testing.assert_array_equal(again[:], maps)


def _reads(archive: Archive, maps: np.ndarray) -> None:
    archive._kept.clear()
    for _ in range(20):
        for row in range(6):
            np.testing.assert_allclose(archive[row], maps[row], atol=0.2)
            archive._kept.clear()


def test_iteration_protocols_end(archive: Archive) -> None:
    assert sum(1 for _ in archive) == 6
    assert sum(1 for _ in reversed(archive)) == 6


def test_one_map_reads_its_own_block_alone(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = LocalFile.at

    def counted(self: LocalFile, offset: int, length: int) -> bytes:
        read.append(offset)
        return original(self, offset, length)

    monkeypatch.setattr(LocalFile, "at", counted)
    archive[3]
    assert read == [archive.stored.footer.entries[1].offset]
    archive[2]
    assert len(read) == 1, "the block was kept"


def test_a_number_alone_is_a_square_grid(archive: Archive) -> None:
    np.testing.assert_array_equal(archive.read([0], 33), archive.read([0], (33, 33)))


def test_other_grids_and_windows_agree(archive: Archive) -> None:
    native = archive.read([1])
    thrice = archive.read([1], shape=(210, 210))
    np.testing.assert_allclose(thrice[:, 1::3, 1::3], native, atol=0.5)  # cell centres coincide
    window = ((10, 40), (5, 70))
    np.testing.assert_allclose(archive.read([1], window=window), native[:, 10:40, 5:70], atol=0.2)
    part = archive.read([1], shape=(90, 195), window=window)
    np.testing.assert_allclose(part, thrice[:, 30:120, 15:210], atol=0.5)
    for bad in ({"window": ((0, 71), (0, 70))}, {"shape": (0, 5)}):
        with pytest.raises(velcodec.UsageError):
            archive.read([1], **bad)


def test_decompress_keeps_the_layout(archive: Archive) -> None:
    assert velcodec.decompress(archive.name, shape=(12, 14)).shape == (6, 1, 12, 14)
    assert velcodec.decompress(archive.name, maps=slice(2, 4)).shape == (2, 1, 70, 70)


def test_exact_maps_at_other_resolutions(compressed: Compressed) -> None:
    maps = synth.generate("FlatVel_A", 2)
    path = compressed(maps, lossless=True)
    fine = velcodec.decompress(path, shape=(210, 210))
    np.testing.assert_array_equal(fine[:, 1::3, 1::3], maps)
    whole = velcodec.decompress(compressed(maps.astype(np.int16), lossless=True), shape=(33, 33))
    assert whole.dtype == np.int16


def test_latents(archive: Archive, compressed: Compressed) -> None:
    latents = archive.latents()
    assert latents.shape == (6, archive.codebook.latent)
    assert latents.dtype == np.float32
    np.testing.assert_array_equal(archive.latents(slice(4, 6)), latents[4:])
    with velcodec.open(compressed(synth.generate("FlatVel_A", 2), lossless=True)) as exact:
        assert np.isnan(exact.latents()).all()


def test_fields(archive: Archive) -> None:
    field = archive.field(2)
    native = archive[2]
    centres = (2 * np.arange(70) + 1) / 70 - 1
    points = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)  # (x, z)
    np.testing.assert_allclose(field(points).reshape(70, 70), native, atol=0.2)
    metres = (points + 1) * 350  # 70 cells of 10 m
    np.testing.assert_allclose(field(metres, unit="metres"), field(points), atol=0.2)
    with pytest.raises(velcodec.UsageError):
        field(points[:, :1])
    with pytest.raises(velcodec.UsageError, match="metres"):
        field(points, unit="feet")


def test_field_gradients_are_slopes(archive: Archive) -> None:
    field = archive.field(2)
    points = np.random.default_rng(0).uniform(50, 650, (300, 2))
    values, slopes = field(points, unit="metres", gradient=True)
    h = 0.02
    for axis in range(2):
        step = np.eye(2)[axis] * h
        ends = [field(points + s * step, unit="metres") for s in (-1, 1)]
        numeric = (ends[1] - ends[0]) / (2 * h)
        # Between samples the field has corners and float32 noise: most points must agree, not each.
        close = np.abs(numeric - slopes[:, axis]) < 0.25 + 0.1 * np.abs(slopes[:, axis])
        assert close.mean() > 0.9


def test_fields_of_maps_without_a_latent(compressed: Compressed) -> None:
    """They pass through the samples and are straight between them, and level beyond the outermost."""
    maps = synth.generate("CurveFault_A", 1)
    with velcodec.open(compressed(maps, lossless=True)) as archive:
        field = archive.field(0)
        at = (2 * np.arange(70) + 1) / 70 - 1
        points = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)
        np.testing.assert_allclose(field(points).reshape(70, 70), maps[0], rtol=1e-9)
        between = np.random.default_rng(0).uniform(-0.98, 0.98, (200, 2))
        values, slopes = field(between, unit="unit", gradient=True)
        for axis in (0, 1):
            step = np.zeros(2)
            step[axis] = 1e-7
            np.testing.assert_allclose((field(between + step) - values) / 1e-7, slopes[:, axis], atol=0.1)
        edge = field(np.array([[-1.0, -1.0], [1.0, 1.0]]), gradient=True)
        np.testing.assert_allclose(edge[0], maps[0][[0, -1], [0, -1]])
        np.testing.assert_array_equal(edge[1], 0)


def test_info(archive: Archive) -> None:
    info = archive.info()
    size = archive.bytes
    assert info["maps"] == 6
    assert info["bytes"] == size
    assert info["bytes_per_map"] == size / 6
    assert info["ratio"] == pytest.approx(6 * 4900 * 4 / size)
    assert info["modes"] == {"latent-entropy": 6}
    assert info["psnr"]["min"] <= info["psnr"]["mean"]
    assert info["codebook"]["sha256"] == velcodec.load_codebook().sha256


def test_threads_read_the_same(archive: Archive) -> None:
    expected = velcodec.decompress(archive.name)[:, 0]
    failed: list[BaseException] = []

    def read(seed: int) -> None:
        try:
            for i in np.random.default_rng(seed).integers(0, 6, 8):
                np.testing.assert_allclose(archive[int(i)], expected[i], atol=0.2)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read, args=(s,)) for s in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_overhead_is_small(compressed: Compressed) -> None:
    """Of a shard of 500 maps: 4 bytes a map beside the coded latents, 24 beside 512 of fp16."""
    maps = np.tile(synth.generate("FlatFault_A", 25), (20, 1, 1))
    path = compressed(maps[:, None], latent_only=True)
    with velcodec.open(path) as archive:
        latents = 0
        for entry in archive.stored.footer.entries:
            from velcodec import blocks

            block = blocks.unpack_block(
                archive.stored.payload(entry), archive.header.features, 256, [19600] * entry.count
            )
            latents += len(block.entropy)
        assert path.stat().st_size - latents <= 4 * 500
    assert compressed(maps[:, None], latent_only=True, latent="fp16").stat().st_size <= (512 + 24) * 500


@pytest.mark.parametrize(
    "request_",
    [{"psnr": 35.0, "effort": 1}, {"max_error": 20.0, "effort": 1}, {"lossless": True}],
    ids=["psnr", "bound", "lossless"],
)
def test_maps_of_a_mixed_block_are_read_by_themselves_as_they_are_together(
    request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    families = ("CurveVel_A", "Style_A", "FlatFault_B", "CurveFault_A", "Style_B")
    maps = np.concatenate([synth.generate(family, 2, 70, seed=91) for family in families])
    maps = maps[np.random.default_rng(0).permutation(len(maps))]
    if "psnr" not in request_:
        maps[4, 3, 3] = np.nan
    file = io.BytesIO()
    velcodec.compress(maps, file, **request_)
    with velcodec.open(io.BytesIO(file.getvalue())) as archive:
        together, modes = archive.read(), np.array(archive.quality.mode)
    assert len(set(modes.tolist())) > 1
    drift = 0.0 if "lossless" in request_ else 0.2  # of latents, by how many are drawn at a time
    calls: list[int] = []
    real = decoder.pixels.decode
    monkeypatch.setattr(decoder.pixels, "decode", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    for rows in [[i] for i in range(len(maps))] + [[0, 7], [9, 2], [5, 5]]:
        with velcodec.open(io.BytesIO(file.getvalue()), keep=0) as archive:
            np.testing.assert_allclose(archive.read(rows), together[rows], rtol=0, atol=drift)
    with velcodec.open(io.BytesIO(file.getvalue())) as archive:
        for row in (3, 9, 0, 3, 5):  # kept in part, then whole
            np.testing.assert_allclose(archive[row], together[row], rtol=0, atol=drift)
    if (layered := np.flatnonzero(modes == "layered")).size:
        with velcodec.open(io.BytesIO(file.getvalue()), keep=0) as archive:
            calls.clear()
            archive.read([int(layered[-1])])
            assert not calls

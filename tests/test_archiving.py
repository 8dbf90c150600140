"""Archives of many files: what goes in comes out, and what an interruption, a change or a second run does."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

import velcodec
from velcodec import archiving, manifest, metrics, synth
from velcodec.archiving import Options
from velcodec.joining import merge
from velcodec.manifest import Source
from velcodec.request import Request
from velcodec.shards import find_shards
from velcodec.writer import Writer, created

from . import spec_reader
from .test_cli import bad, good, run

EXACT = Options(Request(lossless=True, effort=0), device="cpu")
KILLS = 20


def shards_of(folder: Path, shards: int, maps: int = 5) -> Path:
    """A folder of shards of FlatVel_A and CurveVel_A, laid out as OpenFWI's, with seismic records beside them."""
    for family in ("FlatVel_A", "CurveVel_A"):
        place = folder / family / "model"
        place.mkdir(parents=True)
        for i in range(shards):
            np.save(place / f"model{i + 1}.npy", synth.generate(family, maps + i, seed=i)[:, None])
        np.save(place.parent / "data1.npy", np.zeros((2, 5, 10, 10), np.float32))
    return folder


def archived(folder: Path, output: Path, **more: object) -> None:
    archiving.archive(find_shards([folder]), output, EXACT, workers=1, **more)  # type: ignore[arg-type]


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("model*.npy"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards, and an archive of them, a.vlz."""
    folder = tmp_path_factory.mktemp("made")
    shards_of(folder / "maps", 2)
    text = good("archive", folder / "maps", folder / "a.vlz", "--lossless", "--effort", 0)
    assert "4 files, 22 maps" in text
    return folder


def test_an_archive_gives_back_its_files(made: Path, tmp_path: Path) -> None:
    good("extract", made / "a.vlz", tmp_path / "back")
    assert files_of(tmp_path / "back") == files_of(made / "maps")
    good("extract", made / "a.vlz", tmp_path / "some", "--only", "FlatVel_A/*")
    assert len(files_of(tmp_path / "some")) == 2
    assert "exists" in bad("extract", made / "a.vlz", tmp_path / "some")
    assert "no file" in bad("extract", made / "a.vlz", tmp_path / "none", "--only", "Style*")
    good("verify", made / "a.vlz")


def test_an_archive_says_where_its_maps_are_from(made: Path) -> None:
    with velcodec.open(made / "a.vlz") as archive:
        assert archive.shape == (22, 1, 70, 70)
        assert [(s.family, s.shard, s.first, s.maps) for s in archive.sources] == [
            ("CurveVel_A", "1", 0, 5), ("CurveVel_A", "2", 5, 6), ("FlatVel_A", "1", 11, 5), ("FlatVel_A", "2", 16, 6),
        ]  # fmt: skip
        for source in archive.sources:
            maps = np.load(made / "maps" / source.name)
            np.testing.assert_array_equal(archive[source.first : source.first + source.maps], maps[:, 0])
            assert source.bytes == (made / "maps" / source.name).stat().st_size
        assert np.isinf(archive.quality.psnr).all()
    text = good("info", made / "a.vlz", "--sources")
    assert "CurveVel_A 2, FlatVel_A 2" in text
    assert archive.sources[3].sha256[:16] in text


def test_one_map_is_read_without_the_others(made: Path) -> None:
    """A footer of an archive has no quality in it, which would grow by the map."""
    with velcodec.open(made / "a.vlz") as archive:
        assert archive.stored.footer.psnr.size == 0
        got: list[tuple[int, int]] = []
        plain = archive.stored.storage.at
        archive.stored.storage.at = lambda offset, length: (
            got.append((offset, length)) or plain(offset, length)
        )  # type: ignore[method-assign, func-returns-value]
        archive[21]
        assert got == [(archive.stored.footer.entries[-1].offset, archive.stored.footer.entries[-1].length)]


def test_archives_merge_without_encoding(made: Path, tmp_path: Path) -> None:
    for family in ("FlatVel_A", "CurveVel_A"):
        archived(made / "maps" / family, tmp_path / f"{family}.vlz")
    merge([tmp_path / "CurveVel_A.vlz", tmp_path / "FlatVel_A.vlz"], tmp_path / "both.vlz")
    assert (tmp_path / "both.vlz").read_bytes() == (made / "a.vlz").read_bytes()
    assert "twice" in bad("merge", made / "a.vlz", tmp_path / "FlatVel_A.vlz", tmp_path / "c.vlz")
    velcodec.compress(np.load(made / "maps/FlatVel_A/model/model1.npy"), tmp_path / "plain.vlz", effort=0)
    assert "velcodec archive" in bad("merge", tmp_path / "plain.vlz", made / "a.vlz", tmp_path / "c.vlz")
    shard = find_shards([made / "maps/FlatVel_A/model/model1.npy"])
    archiving.archive(shard, tmp_path / "other.vlz", Options(Request(effort=0), device="cpu"), workers=1)
    assert "another kind" in bad("merge", made / "a.vlz", tmp_path / "other.vlz", tmp_path / "c.vlz")
    assert not (tmp_path / "c.vlz").exists()


def test_files_are_appended(made: Path, tmp_path: Path) -> None:
    """With what there is already copied, and the result that archiving all at once gives."""
    output = tmp_path / "a.vlz"
    archived(made / "maps/CurveVel_A", output)
    with velcodec.open(output) as before:
        good("append", output, made / "maps/FlatVel_A", "--workers", 1, "--device", "cpu")
        np.testing.assert_array_equal(before[0], np.load(made / "maps/CurveVel_A/model/model1.npy")[0, 0])
    assert output.read_bytes() == (made / "a.vlz").read_bytes()
    assert "already" in bad("append", output, made / "maps/FlatVel_A")
    np.save(tmp_path / "wide.npy", np.full((2, 70, 70), 9000, np.float32))
    assert "another normalisation" in bad("append", output, tmp_path / "wide.npy", "--workers", 1)
    assert output.read_bytes() == (made / "a.vlz").read_bytes()


def test_files_are_appended_to_an_archive_of_the_coder_before(tmp_path: Path) -> None:
    """It keeps its coder, so that who reads it with the release before still can."""
    old, output = Path(__file__).parent / "golden/v0.13.0/archive.vlz", tmp_path / "archive.vlz"
    output.write_bytes(old.read_bytes())
    with velcodec.open(old) as archive:
        before, shape = archive[:], archive.map_shape
        assert archive.header.coder == "velcodec-5"
    more = synth.generate("Style_B", 3, shape, seed=8)
    (tmp_path / "Style_B").mkdir()
    np.save(tmp_path / "Style_B/model1.npy", more)
    good("append", output, tmp_path / "Style_B", "--workers", 1, "--device", "cpu")
    with velcodec.open(output) as archive:
        assert archive.header.coder == "velcodec-5"
        np.testing.assert_array_equal(archive[: len(before)], before)
        after = archive[len(before) :]
        assert "quantised" in archive.quality.mode[len(before) :]
    assert (metrics.psnr(more, after) >= 35).all()
    book = Path(velcodec.__file__).parent / "codebooks/openfwi-2d-v3.safetensors"
    np.testing.assert_allclose(spec_reader.read(output, book)[len(before) :], after, rtol=0, atol=0.5)
    options = Options(Request(effort=1), device="cpu", codebook="openfwi-2d-v3")
    archiving.archive(find_shards([tmp_path / "Style_B"]), tmp_path / "new.vlz", options, workers=1)
    said = bad("merge", output, tmp_path / "new.vlz", tmp_path / "both.vlz")
    assert "the coder of an earlier or a later release" in said


def test_linked_folders_are_followed_and_no_circle(made: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/FlatVel_A").symlink_to(made / "maps/FlatVel_A")
    (tmp_path / "maps/round").symlink_to(tmp_path / "maps")
    for one, other in (("one", "other"), ("other", "one")):  # neither lies in the other but by the links
        (tmp_path / "maps" / one).mkdir()
        for k in range(4):
            (tmp_path / "maps" / one / f"to{k}").symlink_to(tmp_path / "maps" / other)
    (tmp_path / "maps/model9.npy").symlink_to(made / "maps/CurveVel_A/model/model1.npy")
    names = [shard.name for shard in find_shards([tmp_path / "maps"])]
    family = [shard.name for shard in find_shards([made / "maps/FlatVel_A"])]
    assert family and sorted(names) == sorted(["model9.npy", *family])


def test_an_output_named_as_arrays_are_is_refused(made: Path, tmp_path: Path) -> None:
    """Who forgets to name one would lose the last file of maps."""
    for name in ("model1.npy", "model2.npy"):
        np.save(tmp_path / name, synth.generate("FlatVel_A", 2))
    before = files_of(tmp_path)
    for command in ("archive", "compress"):
        said = bad(command, tmp_path / "model1.npy", tmp_path / "model2.npy", "--overwrite")
        assert "name a .vlz file" in said
    assert files_of(tmp_path) == before


def test_archives_split(made: Path, tmp_path: Path) -> None:
    good("split", made / "a.vlz", tmp_path / "families")
    archived(made / "maps/FlatVel_A", tmp_path / "FlatVel_A.vlz")
    assert (tmp_path / "families/FlatVel_A.vlz").read_bytes() == (tmp_path / "FlatVel_A.vlz").read_bytes()
    assert "exists" in bad("split", made / "a.vlz", tmp_path / "families")
    good("split", made / "a.vlz", tmp_path / "files", "--by", "file")
    assert len(list((tmp_path / "files").iterdir())) == 4
    good("merge", *sorted((tmp_path / "files").iterdir()), tmp_path / "again.vlz")
    assert (tmp_path / "again.vlz").read_bytes() == (made / "a.vlz").read_bytes()


def damaged_at(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


@pytest.mark.parametrize("damage", ["tail", "footer", "block", "two blocks", "sources"])
def test_repair_keeps_what_is_good(made: Path, tmp_path: Path, damage: str) -> None:
    data = (made / "a.vlz").read_bytes()
    with velcodec.open(made / "a.vlz") as whole:
        entries, maps, psnr = whole.stored.footer.entries, whole[:], whole.quality.psnr
        sources, places = whole.sources, whole.stored.footer.sources
    lost: list[int] = []
    if damage == "tail":  # cut within the last block
        data, lost = data[: entries[-1].offset + 30], list(range(entries[-1].first, 22))
    elif damage == "footer":
        data = data[: entries[-1].offset + entries[-1].length]
    elif damage == "sources":
        data = damaged_at(data, places[0] + 40)
    else:
        for entry in entries[1:3] if damage == "two blocks" else entries[1:2]:
            data = damaged_at(data, entry.offset + entry.length // 2)
            lost += range(entry.first, entry.first + entry.count)
    (tmp_path / "broken.vlz").write_bytes(data)
    text = good("repair", tmp_path / "broken.vlz", tmp_path / "whole.vlz")
    assert f"{22 - len(lost)} good of 22 maps" in text
    assert (f"lost: maps {lost[0]}:{lost[-1] + 1}" in text) if lost else ("lost" not in text)
    kept = [i for i in range(22) if i not in lost]
    with velcodec.open(tmp_path / "whole.vlz") as archive:
        archive.verify()
        np.testing.assert_array_equal(archive.read(kept), maps[kept])
        np.testing.assert_array_equal(archive.quality.psnr[kept], psnr[kept])
        if lost:
            assert np.isnan(archive.read(lost)).all()
            assert (archive.quality.psnr[lost] == 0).all()
            assert {archive.quality.mode[i] for i in lost} == {"lost"}
            assert archive.info()["modes"]["lost"] == len(lost)
            assert np.isfinite(archive.info()["max_error"]) and archive.info()["psnr"]["min"] != 0
            assert np.isinf(archive.quality.max_error[lost]).all()
        assert "lost" not in [archive.quality.mode[i] for i in kept]
        assert archive.sources == (() if damage == "sources" else sources)
    said = good("verify", tmp_path / "whole.vlz")
    assert ("lost in a repair" in said) == bool(lost)
    if lost:
        assert f"{len(lost)} map" in said and f"{lost[0]}:{lost[-1] + 1}" in said
        result = run("extract", tmp_path / "whole.vlz", tmp_path / "out")
        assert result.exit_code == 0
        named = [s for s in sources if any(s.first <= i < s.first + s.maps for i in lost)]
        lines = result.stderr.strip().splitlines()
        assert [line.split(":")[0] for line in lines] == [s.name for s in named]
        assert all("lost in a repair of the archive" in line for line in lines)
    if damage == "sources":
        assert "damaged" in bad("verify", tmp_path / "broken.vlz", code=1)
        assert "does not say what files" in bad(
            "merge", tmp_path / "whole.vlz", made / "a.vlz", tmp_path / "b.vlz"
        )
        assert "does not say what files" in bad("append", tmp_path / "whole.vlz", made / "maps")
    if "block" in damage or damage == "footer":
        assert "velcodec repair" in bad("extract", tmp_path / "broken.vlz", tmp_path / "not")
    assert (tmp_path / "broken.vlz").read_bytes() == data


def test_exact_maps_are_not_taken_for_lost(tmp_path: Path) -> None:
    """In a file whose quality went with its index, and against the original."""
    maps = np.random.default_rng(3).normal(size=(3, 9, 9))
    maps[1] = np.nan
    np.save(tmp_path / "a.npy", maps)
    velcodec.compress(maps, tmp_path / "a.vlz", lossless=True, block=1)
    data = (tmp_path / "a.vlz").read_bytes()
    with velcodec.open(tmp_path / "a.vlz") as archive:
        entry = archive.stored.footer.entries[2]
    (tmp_path / "cut.vlz").write_bytes(damaged_at(data, entry.offset + 40)[:-30])
    good("repair", tmp_path / "cut.vlz", tmp_path / "b.vlz")
    with velcodec.open(tmp_path / "b.vlz") as archive:
        assert archive.quality.mode == ("exact", "layered", "lost")
        assert np.isinf(archive.quality.psnr[:2]).all()
    said = run("verify", tmp_path / "b.vlz", "--against", tmp_path / "a.npy")
    assert said.exit_code == 1 and "map 2 was lost in a repair" in said.output


def test_repair_of_files_without_sources(tmp_path: Path) -> None:
    """Their quality is in the footer: without it there is none. Lost integers are 0."""
    maps = synth.generate("FlatVel_A", 250, seed=3).astype(np.int16)
    velcodec.compress(maps, tmp_path / "a.vlz", max_error=50, effort=0)
    data = (tmp_path / "a.vlz").read_bytes()
    with velcodec.open(tmp_path / "a.vlz") as archive:
        entries, quality = archive.stored.footer.entries, archive.quality
    (tmp_path / "cut.vlz").write_bytes(data[:-30])
    assert "not known any more" in good("repair", tmp_path / "cut.vlz", tmp_path / "b.vlz")
    (tmp_path / "block.vlz").write_bytes(damaged_at(data, entries[1].offset + 50))
    good("repair", tmp_path / "block.vlz", tmp_path / "c.vlz")
    with velcodec.open(tmp_path / "b.vlz") as archive:
        np.testing.assert_allclose(archive[:], maps, rtol=0, atol=50)
        assert np.isinf(archive.quality.max_error).all()
    with velcodec.open(tmp_path / "c.vlz") as archive:
        assert (archive[100:200] == 0).all()
        np.testing.assert_allclose(archive[200:], maps[200:], rtol=0, atol=50)
        np.testing.assert_array_equal(archive.quality.max_error[:100], quality.max_error[:100])
        assert np.isinf(archive.quality.max_error[100:200]).all()


def test_what_cannot_be_repaired_says_so(made: Path, tmp_path: Path) -> None:
    data = (made / "a.vlz").read_bytes()
    for name, content in (
        ("empty", b""),
        ("other", b"no vlz file at all"),
        ("header", damaged_at(data, 40)),
        ("short", data[:500]),
    ):
        (tmp_path / f"{name}.vlz").write_bytes(content)
        bad("repair", tmp_path / f"{name}.vlz", tmp_path / "out.vlz")
    bad("repair", tmp_path / "none.vlz", tmp_path / "out.vlz")
    assert "another name" in bad("repair", made / "a.vlz", made / "a.vlz", "--overwrite")
    assert not (tmp_path / "out.vlz").exists()
    assert (made / "a.vlz").read_bytes() == data


def test_kinds_of_files_and_single_maps(tmp_path: Path) -> None:
    maps = synth.generate("FlatVel_A", 3, seed=5)
    np.save(tmp_path / "one.npy", maps[0])
    np.savez(tmp_path / "some.npz", v=maps[1:])
    with h5py.File(tmp_path / "more.h5", "w") as file:
        file["group/v"] = maps
    np.save(tmp_path / "none.npy", np.full((2, 70, 70), np.nan, np.float32))
    archived(tmp_path, tmp_path / "a.vlz")
    good("extract", tmp_path / "a.vlz", tmp_path / "back")
    assert np.isnan(np.load(tmp_path / "back/none.npy")).all()
    with velcodec.open(tmp_path / "a.vlz") as archive:
        assert (archive.header.low, archive.header.high) == (1000, 5000)
    np.testing.assert_array_equal(np.load(tmp_path / "back/one.npy"), maps[0])
    with np.load(tmp_path / "back/some.npz") as back:
        np.testing.assert_array_equal(back["v"], maps[1:])
    with h5py.File(tmp_path / "back/more.h5") as file:
        np.testing.assert_array_equal(file["v"], maps)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """Killed at one random moment after another, the last run ends with what one run gives."""
    shards_of(tmp_path / "maps", 4, 30)
    output = tmp_path / "a.vlz"
    command = [
        sys.executable, "-m", "velcodec_cli.main", "archive", str(tmp_path / "maps"), str(output), "--lossless",
        "--effort", "0", "--workers", "2", "--resume",
    ]  # fmt: skip
    moments = random.Random(5)
    finished = 0
    for _ in range(KILLS):
        if output.exists():  # a run that got through: begin anew
            finished += 1
            output.unlink()
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.3, 3.5))
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        if not output.exists():
            parts = list((tmp_path / "a.vlz.parts").glob("*.vlz"))
            for part in parts:  # what has its name is whole
                with velcodec.open(part) as archive:
                    archive.verify()
    assert finished < KILLS
    if output.exists():
        output.unlink()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    good("extract", output, tmp_path / "back")
    assert files_of(tmp_path / "back") == files_of(tmp_path / "maps")
    assert not (tmp_path / "a.vlz.parts").exists()


def test_a_changed_file_is_done_anew(tmp_path: Path) -> None:
    shards_of(tmp_path / "maps", 2)
    output, parts = tmp_path / "a.vlz", tmp_path / "a.vlz.parts"
    damaged = tmp_path / "maps/FlatVel_A/model/model2.npy"
    whole = damaged.read_bytes()
    shards = find_shards([tmp_path / "maps"])
    with archiving.writing(parts), archiving.team(1) as team:
        surveyed = archiving.survey(team, shards)
        header = archiving.common_header(surveyed, EXACT)
        jobs = [
            archiving.Job(one, parts / f"{i:06d}-{archiving._key(one, header, EXACT)}.vlz")
            for i, one in enumerate(surveyed)
        ]
        assert list(archiving.encoded(team, jobs[:3], header, EXACT)) == [5, 11, 16]
    assert "--resume goes on" in bad("archive", tmp_path / "maps", output, "--lossless", "--effort", 0)
    maps = np.load(tmp_path / "maps/CurveVel_A/model/model1.npy")
    maps[0] += 1
    np.save(tmp_path / "maps/CurveVel_A/model/model1.npy", maps)
    said: list[str] = []
    archived(tmp_path / "maps", output, resume=True, notice=said.append)
    assert sum("has changed" in text for text in said) == 1
    assert "2 of 4 files are done already" in said
    assert damaged.read_bytes() == whole
    with velcodec.open(output) as archive:
        np.testing.assert_array_equal(archive[:5], maps[:, 0])


def test_a_second_writer_is_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "a.vlz.parts").mkdir()
    with FileLock(tmp_path / "a.vlz.parts" / "lock"):
        assert "another run is writing" in bad("archive", made / "maps", tmp_path / "a.vlz")
    archived(made / "maps", tmp_path / "a.vlz")


def test_a_full_disk_leaves_the_old_archive(made: Path, tmp_path: Path) -> None:
    old = (made / "a.vlz").read_bytes()
    output = tmp_path / "a.vlz"
    output.write_bytes(old)
    np.save(
        tmp_path / "noise.npy", np.random.default_rng(1).normal(3000, 500, (10, 70, 70)).astype(np.float32)
    )
    done = subprocess.run(
        [sys.executable, "-m", "velcodec_cli.main", "archive", str(tmp_path / "noise.npy"), str(output), "--lossless",
         "--effort", "0", "--overwrite", "--workers", "1"],
        capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("velcodec: error: ")
    assert output.read_bytes() == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.vlz", "noise.npy"]


def test_what_cannot_be_archived_says_so(made: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((2, 70, 70), 2000, np.float32))
    np.save(tmp_path / "b.npy", np.full((2, 60, 70), 2000, np.float32))
    (tmp_path / "c.npy").write_bytes(b"no array")
    assert "one kind" in bad("archive", tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "o.vlz")
    assert "c.npy" in bad("archive", tmp_path / "c.npy", tmp_path / "o.vlz")
    assert "twice" in bad("archive", tmp_path / "a.npy", tmp_path / "a.npy", tmp_path / "o.vlz")
    assert "no file matches" in bad("archive", tmp_path / "*.h5", tmp_path / "o.vlz")
    assert "no such file" in bad("archive", tmp_path / "d.npy", tmp_path / "o.vlz")
    assert "exclude each other" in bad(
        "archive", tmp_path / "a.npy", tmp_path / "o.vlz", "--lossless", "--psnr", 30
    )
    assert "exists" in bad("archive", made / "maps", made / "a.vlz")
    np.save(tmp_path / "a\nb.npy", np.full((2, 70, 70), 2000, np.float32))
    assert "rename the file" in bad("archive", tmp_path / "a\nb.npy", tmp_path / "o.vlz")
    (tmp_path / "a\nb.npy").unlink()
    (tmp_path / "empty").mkdir()
    assert "nothing to archive" in bad("archive", tmp_path / "empty", tmp_path / "o.vlz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "b.npy", "c.npy", "empty"]


def test_a_dry_run_writes_nothing(made: Path, tmp_path: Path) -> None:
    text = good("archive", made / "maps", tmp_path / "o.vlz", "--effort", 0, "--dry-run", "--workers", 1)
    assert text.startswith("4 files, 22 maps: about ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../out.npy", "/etc/out.npy", "a/../../out.npy", "a\\b.npy"])
def test_names_that_lead_out_of_the_folder(made: Path, tmp_path: Path, name: str) -> None:
    with velcodec.open(made / "a.vlz") as archive:
        sources = [replace(archive.sources[0], name=name), *archive.sources[1:]]
        with created(tmp_path / "hostile.vlz") as file:
            writer = Writer(file, archive.header, sources)
            for block in archive.stored.blocks():
                writer.copy(block.count, block.payload)
            writer.finish(archive.codebook, "never")
    assert "outside any folder" in bad("extract", tmp_path / "hostile.vlz", tmp_path / "back")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hostile.vlz"]


SOURCE = Source("FlatVel_A/model1.npy", "FlatVel_A", "1", 0, (5, 1, 70, 70), "0" * 64, 10, {"effort": 3})


@pytest.mark.parametrize(
    "change",
    [
        {"first": 1}, {"first": "0"}, {"shape": [4, 1, 70, 70]}, {"shape": [5, 2, 70, 70]}, {"shape": [5, 1, 70, 71]},
        {"shape": 5}, {"name": 3}, {"name": "a" * 2000}, {"name": "a\nb"}, {"bytes": -1}, {"bytes": True},
        {"request": []}, {"sha256": "0" * 63}, {"sha256": "A" * 64},
    ],
)  # fmt: skip
def test_lists_of_sources_that_are_wrong(change: dict[str, object]) -> None:
    assert manifest.from_json([SOURCE.to_json()], 5, (70, 70)) == (SOURCE,)
    assert manifest.from_json([{**SOURCE.to_json(), "more": 1}], 5, (70, 70)) == (SOURCE,)
    with pytest.raises(velcodec.FormatError):
        manifest.from_json([{**SOURCE.to_json(), **change}], 5, (70, 70))


@pytest.mark.parametrize(
    ("name", "family", "shard"),
    [
        ("FlatVel_A/model/model12.npy", "FlatVel_A", "12"),
        ("CurveFault_B/vel7_1_3.npy", "CurveFault_B", "7_1_3"),
        ("openfwi/style-a/model3.npz:v", "Style_A", "3"),
        ("marmousi2.npy", "", ""),
        ("curvevel_b_vel2_1_0.npy", "CurveVel_B", "2_1_0"),
    ],
)
def test_names_of_openfwi(name: str, family: str, shard: str) -> None:
    assert manifest.named(name) == (family, shard)


@given(st.text(max_size=40))
def test_any_name_has_some_family_and_shard(name: str) -> None:
    family, shard = manifest.named(name)
    assert family in ("", *synth.FAMILIES)
    assert shard.replace("_", "").isdigit() or not shard

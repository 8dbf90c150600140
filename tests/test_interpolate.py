"""Maps between two maps: the ends are the maps themselves, the middle is between, and what cannot be is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from velcodec_cli.main import main

import velcodec
from velcodec import synth

Compressed = Callable[..., Path]
DRIFT = 0.2  # m/s, of decoding in batches of another size


@pytest.fixture
def latents(compressed: Compressed) -> Path:
    return compressed(synth.generate("FlatFault_A", 3, seed=2), latent_only=True)


def test_the_ends_are_the_maps(latents: Path) -> None:
    with velcodec.open(latents) as archive:
        weights, maps = velcodec.interpolate(archive, 0, archive, 2, steps=5)
        np.testing.assert_allclose(weights, [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(maps[[0, -1]], archive[[0, 2]], rtol=0, atol=DRIFT)
        distance = [((m - maps[0]) ** 2).mean() for m in maps.astype(np.float64)]
        assert distance == sorted(distance) and distance[1] > 0
        latent = archive.latents([0, 2]).mean(0)
        assert (maps[2] >= archive.header.low).all() and (maps[2] <= archive.header.high).all()
        centre = velcodec.field.of_latent(latent, archive.codebook, archive.header, torch.device("cpu"))
        points = np.zeros((1, 2))
        fine = velcodec.interpolate(archive, 0, archive, 2, steps=3, shape=(3, 5))[1]
        assert fine.shape == (3, 3, 5)
        value = velcodec.Field(centre, archive.header)(points)
        np.testing.assert_allclose(fine[1, 1, 2], value, rtol=0, atol=DRIFT)


def test_two_files_of_other_ranges(latents: Path, compressed: Compressed) -> None:
    other = compressed(synth.generate("CurveFault_A", 1, seed=3) * np.float32(0.8), latent_only=True)
    with velcodec.open(latents) as a, velcodec.open(other) as b:
        maps = velcodec.interpolate(a, 1, b, 0)[1]
        np.testing.assert_allclose(maps[0], a[1], rtol=0, atol=DRIFT)
        np.testing.assert_allclose(maps[-1], b[0], rtol=0, atol=DRIFT)


def test_what_cannot_be_is_refused(latents: Path, compressed: Compressed) -> None:
    exact = compressed(synth.generate("CurveVel_A", 1), lossless=True)
    metres = compressed(synth.generate("FlatFault_A", 1, seed=2), latent_only=True, units="feet/s")
    older = compressed(synth.generate("FlatFault_A", 1), latent_only=True, codebook="openfwi-2d-dev")
    with velcodec.open(latents) as a:
        with pytest.raises(velcodec.UsageError, match="at least 2"):
            velcodec.interpolate(a, 0, a, 1, steps=1)
        with pytest.raises(velcodec.UsageError, match="within"):
            velcodec.interpolate(a, 0, a, 3)
        for path, error, said in (
            (exact, velcodec.DataError, "has no latent"),
            (metres, velcodec.UsageError, "feet/s"),
            (older, velcodec.UsageError, "different codebooks"),
        ):
            with velcodec.open(path) as b, pytest.raises(error, match=said):
                velcodec.interpolate(a, 0, b, 0)


def test_the_command_prints_draws_and_writes(latents: Path, tmp_path: Path) -> None:
    def run(*options: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["interpolate", *map(str, options)])
        return result.exit_code, result.output

    first, second = f"{latents}:0", f"{latents}:1"
    code, said = run(first, second)
    lines = said.splitlines()
    assert code == 0 and len(lines) == 8
    assert lines[1].split() == ["0.00", "0.00e+00", lines[-1].split()[1]]
    assert lines[-1].split()[2] == "0.00e+00"
    picture, array = tmp_path / "between.png", tmp_path / "between.npy"
    assert run(first, second, "--steps", 3, "-o", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run(first, second, "--steps", 3, "--res", 20, "-o", array)[0] == 0
    assert np.load(array).shape == (3, 20, 20)
    assert run(first, second, "-o", array)[0] == 2, "an array is not replaced unasked"
    half = tmp_path / "half.vlz"
    half.write_bytes(latents.read_bytes()[:-100])
    assert "half.vlz: the file is truncated" in run(first, f"{half}:0")[1]
    for wrong in (latents, f"{latents}:x", ":3", f"{latents}:9"):
        assert run(first, wrong)[0] == 2

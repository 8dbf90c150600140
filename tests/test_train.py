"""Training: it learns, resumes to the same weights, and releases a codebook that works."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import velcodec
from velcodec import objectives, release, synth, train, training_data
from velcodec.codebook import load_codebook
from velcodec.errors import UsageError
from velcodec.objectives import RateModel
from velcodec.optim import orthogonalise
from velcodec.parallel import Team
from velcodec.training_data import Pool, Recipe

SCRIPT = """
import sys
from pathlib import Path
from velcodec import objectives, synth, train, training_data
from velcodec.parallel import team
from velcodec.training_data import Recipe

objectives.has_fast_bfloat16 = lambda device: False
recipe = {recipe!r}
maps = synth.generate("FlatVel_A", 5, seed=8)[:, None]
with team("cpu") as processes:
    assert processes.size == 2
    pool = training_data.build_pool(recipe, {{"FlatVel_A": maps}}, lambda text: None)
    train.train(recipe, pool, {{}}, Path(sys.argv[1]), processes, every=4)
"""
WEIGHTS = {"FlatVel_A": 0.5, "FlatFault_A": 0.5}
JOINT = Recipe(steps=6, batch=8, side=12, synthetic=6, weights=WEIGHTS, warmup=2)
SIREN = replace(
    JOINT, decoder="siren", options={"width": 32, "depth": 1, "split_init": True}, learning_rate=1e-3
)
HELD_OUT = {"FlatVel_A": training_data.normalise(synth.generate("FlatVel_A", 3, seed=9))}


def pool(recipe: Recipe) -> Pool:
    return training_data.build_pool(
        recipe, {"FlatVel_A": synth.generate("FlatVel_A", 5, seed=8)[:, None]}, lambda text: None
    )


@pytest.mark.parametrize("recipe", [JOINT, SIREN], ids=["joint", "siren"])
def test_an_interrupted_run_goes_on_to_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    whole = train.train(recipe, pool(recipe), HELD_OUT, tmp_path / "a.pt", every=4)
    ticks = 0

    def interrupt() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 5:
            raise KeyboardInterrupt

    rows: list[dict[str, object]] = []
    with pytest.raises(KeyboardInterrupt):
        train.train(recipe, pool(recipe), HELD_OUT, tmp_path / "b.pt", every=4, tick=interrupt)
    resumed = train.train(recipe, pool(recipe), HELD_OUT, tmp_path / "b.pt", report=rows.append, every=4)
    assert [row["step"] for row in rows] == [6]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("recipe", [JOINT, SIREN], ids=["joint", "siren"])
def test_two_processes_train_as_one(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under torchrun, with gloo: two processes with half a batch each give the weights of one with the whole.

    In float32: where a processor has bfloat16, its rounding is of the size of what is looked for.
    """
    monkeypatch.setattr(objectives, "has_fast_bfloat16", lambda device: False)
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(recipe=recipe))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(script), str(tmp_path / "two.pt")], check=True, env=environment, timeout=240
    )
    still = replace(recipe, steps=1, learning_rate=0, muon_rate=0)
    start = train.train(still, pool(recipe), {}, tmp_path / "start.pt").parts()
    one = train.train(recipe, pool(recipe), {}, tmp_path / "one.pt").parts()
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    assert two["step"] == recipe.steps
    for name, part in one.items():
        begun, ended, own = start[name].state_dict(), part.state_dict(), two["parts"][name]
        # In norm: where a gradient is all but zero its sign, and so Adam's step, is that of rounding.
        moved = sum(float((ended[key] - begun[key]).norm()) ** 2 for key in begun) ** 0.5
        apart = sum(float((ended[key] - own[key]).norm()) ** 2 for key in begun) ** 0.5
        assert moved > 0
        assert apart < 0.01 * moved, name


def test_a_batch_that_does_not_part_evenly_is_refused(tmp_path: Path) -> None:
    with pytest.raises(velcodec.UsageError, match="evenly among 3"):
        train.train(JOINT, pool(JOINT), {}, tmp_path / "f.pt", Team(0, 3))


def test_training_learns_and_reports(tmp_path: Path) -> None:
    recipe = replace(JOINT, steps=40, batch=16, muon_rate=0.02)
    rows: list[dict[str, object]] = []
    train.train(recipe, pool(recipe), HELD_OUT, tmp_path / "c.pt", report=rows.append, every=10)
    assert [row["step"] for row in rows] == [10, 20, 30, 40]
    psnr, size = rows[-1]["FlatVel_A"]
    assert psnr > rows[0]["FlatVel_A"][0] + 1
    assert size > 0


def test_training_goes_on_from_a_codebook(tmp_path: Path) -> None:
    """Two gentle steps leave a trained codebook's networks as good as they were, far above new ones."""
    gentle = replace(JOINT, steps=2, muon_rate=1e-5, learning_rate=1e-6)
    found = {}
    for start in ("openfwi-2d-dev", ""):
        rows: list[dict[str, object]] = []
        recipe = replace(gentle, start=start)
        train.train(recipe, pool(recipe), HELD_OUT, tmp_path / f"{start}.pt", report=rows.append)
        found[start] = rows[-1]["FlatVel_A"][0]
    assert found["openfwi-2d-dev"] > max(25, found[""] + 10)
    with pytest.raises(velcodec.CodebookError):
        train.train(replace(gentle, start="nowhere"), pool(JOINT), HELD_OUT, tmp_path / "n.pt")


def test_a_checkpoint_of_another_decoder_is_refused(tmp_path: Path) -> None:
    train.train(JOINT, pool(JOINT), {}, tmp_path / "d.pt", every=6)
    with pytest.raises(velcodec.UsageError, match="another decoder"):
        train.train(SIREN, pool(SIREN), {}, tmp_path / "d.pt")


@pytest.mark.parametrize("recipe", [JOINT, SIREN], ids=["joint", "siren"])
def test_a_released_codebook_compresses(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "SAMPLE_MAPS", 4)
    maps = pool(recipe)
    nets = train.train(recipe, maps, {}, tmp_path / "e.pt")
    path = tmp_path / "tiny.safetensors"
    book = release.release(
        nets, recipe, maps, HELD_OUT, path, id="tiny", training_data="synthetic", licence="none", effort=1
    )
    assert book.card["figures"]["FlatVel_A"]["maps"] == 3
    assert 0 < book.drift < 0.01
    shard = synth.generate("FlatVel_A", 3)
    info = velcodec.compress(
        shard, tmp_path / "t.vlz", latent_only=True, codebook=str(path), effort=1, embed_codebook="always"
    )
    assert info["codebook"]["id"] == "tiny"
    assert velcodec.decompress(tmp_path / "t.vlz").shape == shard.shape


def test_pools_draw_by_weight_and_family() -> None:
    ones, twos = torch.ones(3, 70, 70), torch.full((3, 70, 70), 2.0)
    sources = Pool((("FlatVel_A", ones), ("FlatVel_A", ones), ("Style_A", twos)))
    recipe = Recipe(batch=4000, weights={"FlatVel_A": 0.75, "Style_A": 0.25})
    maps, family = sources.draw(recipe, torch.Generator().manual_seed(0))
    assert (maps[:, 0, 0] == 2).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert set(family[maps[:, 0, 0] == 2].tolist()) == {synth.FAMILIES.index("Style_A")}


@pytest.mark.parametrize("shape", [(2, 60, 70), (2, 1, 70, 71)])
def test_maps_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(velcodec.DataError, match="70 x 70"):
        training_data.normalise(np.zeros(shape, np.float32))


def test_rates_are_those_of_the_logistic_even_far_out() -> None:
    rates = RateModel(1, 2)
    y = torch.arange(-400.0, 401)[:, None].expand(-1, 2).clone().requires_grad_()
    bits = rates(y, torch.zeros(801, dtype=torch.long))
    assert torch.exp2(-bits.detach()).sum(0).allclose(torch.ones(2), atol=1e-4)
    bits.sum().backward()
    assert y.grad[0, 0].item() < -0.1  # the pull towards the table lives in the tails


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4)])
def test_orthogonalise(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    singular = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert singular.max() < 1.3
    assert singular.median() > 0.6


def test_no_steps_leave_the_networks_as_they_are(tmp_path: Path) -> None:
    maps = training_data.normalise(synth.generate("CurveVel_A", 4, 70, seed=1))
    recipe = training_data.Recipe(steps=0, start="openfwi-2d-dev-2")
    nets = train.train(recipe, training_data.Pool((("CurveVel_A", maps),)), {}, tmp_path / "c.pt")
    start = load_codebook("openfwi-2d-dev-2").decoder.state_dict()
    assert all(torch.equal(value, start[name]) for name, value in nets.decoder.state_dict().items())
    assert not (tmp_path / "c.pt").exists()
    with pytest.raises(UsageError, match="start from"):
        train.train(
            training_data.Recipe(steps=0), training_data.Pool((("CurveVel_A", maps),)), {}, tmp_path / "c.pt"
        )


def test_families_of_weight_0_alone_teach_nothing(tmp_path: Path) -> None:
    pool = training_data.Pool((("Style_A", torch.zeros(2, 70, 70)),))
    with pytest.raises(velcodec.UsageError, match="weight above 0"):
        train.train(training_data.Recipe(steps=1), pool, {}, tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()

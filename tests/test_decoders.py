"""The decoders' one interface, the published initialisation, and the default's budget."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from velcodec import decoders
from velcodec.decoders.choice import ChoiceDecoder
from velcodec.decoders.cosines import CosineDecoder
from velcodec.decoders.siren import SirenDecoder
from velcodec.decoders.warp import WarpDecoder
from velcodec.errors import VersionError
from velcodec.grid import centres

FAMILIES: dict[str, dict[str, Any]] = {
    "siren": {"width": 64, "depth": 2},
    "warp": {},
    "choice": {"warp": {"latent": 200}},
}


@pytest.fixture(params=FAMILIES)
def decoder(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    built = decoders.build(request.param, FAMILIES[request.param])
    if isinstance(built, ChoiceDecoder):
        built.cosines.waves.copy_(torch.randperm(40 * 40)[:255, None] // torch.tensor([40, 1]) % 40)
    return built


def test_points_shared_or_of_each_map(decoder: nn.Module) -> None:
    z, p = torch.randn(3, 256), torch.rand(5, 2) * 2 - 1
    shared = decoder(z, p)
    assert shared.shape == (3, 5)
    assert shared.dtype == torch.float32
    torch.testing.assert_close(decoder(z, p.expand(3, 5, 2)), shared)
    each = torch.rand(3, 4, 2) * 2 - 1
    torch.testing.assert_close(decoder(z, each)[1:2], decoder(z[1:2], each[1]))


def test_grid_is_the_same_function(decoder: nn.Module) -> None:
    z = torch.randn(2, 256)
    for height, width in ((70, 70), (33, 140)):
        depth, across = (torch.from_numpy(centres(n)).float() for n in (height, width))
        points = torch.stack(torch.meshgrid(across, depth, indexing="xy"), -1).view(-1, 2)
        grid = decoders.sample_grid(decoder, z, depth, across)
        assert grid.shape == (2, height, width)
        torch.testing.assert_close(grid.flatten(1), decoder(z, points), atol=2e-4, rtol=1e-4)


def test_differentiable_in_latents_and_points(decoder: nn.Module) -> None:
    decoder.double()
    torch.manual_seed(1)
    z = (torch.randn(2, 256).double() * 0.1).requires_grad_()
    p = (torch.rand(2, 3, 2).double() * 1.8 - 0.9).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: decoder(a, b), (z, p), eps=1e-7, atol=1e-4, fast_mode=True)


def test_continuous_in_position(decoder: nn.Module) -> None:
    """Steps a hundred times smaller move the values about a hundred times less, across cell borders as well."""
    torch.manual_seed(2)
    z, start = torch.randn(4, 256).double(), torch.rand(200, 2).double() * 1.8 - 0.9
    decoder.double()
    with torch.no_grad():
        moved = [(decoder(z, start + h) - decoder(z, start)).abs().max() for h in (1e-4, 1e-6)]
    assert moved[1] <= moved[0] / 20


def test_siren_is_the_published_one() -> None:
    torch.manual_seed(0)
    siren = SirenDecoder()
    assert sum(p.numel() for p in siren.parameters()) == 1_183_745
    shapes = [tuple(p.shape) for n, p in siren.named_parameters() if n.endswith("weight")]
    assert shapes == [(512, 258), *[(512, 512)] * 4, (1, 512)]
    for layer, bound in (
        (siren.first, 1 / 258),
        (siren.hidden[2], math.sqrt(6 / 512) / 30),
        (siren.out, math.sqrt(6 / 512) / 30),
    ):
        weight = layer.weight.detach()
        assert weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_siren_layers_are_sines_of_w0() -> None:
    siren = SirenDecoder(latent=3, width=4, depth=1)
    z, p = torch.randn(1, 3), torch.rand(1, 2)
    h = torch.sin(30 * siren.first(torch.cat([p, z], 1)))
    h = torch.sin(30 * siren.hidden[0](h))
    torch.testing.assert_close(siren(z, p), siren.out(h))


def test_siren_split_initialisation() -> None:
    torch.manual_seed(0)
    weight = SirenDecoder(split_init=True).first.weight.detach()
    assert weight[:, :2].abs().max().item() == pytest.approx(1 / 2, rel=0.05)
    assert weight[:, 2:].abs().max().item() == pytest.approx(1 / 256, rel=0.05)


def test_the_default_costs_at_most_60_mflop_a_map() -> None:
    axis = torch.from_numpy(centres(70)).float()
    decoder = WarpDecoder()
    with FlopCounterMode(display=False) as counter:
        decoder.grid(torch.zeros(1, 256), axis, axis)
    # The counter sees matrix products and convolutions. The rest, counted by hand for each of 4900 samples: two
    # interpolations of 10 features, one of 33 channels (3 each), 64 sines; for each grid cell a resize or gelu.
    rest = 4900 * (2 * 3 * 10 + 3 * 33 + 2 * 33 + 64) + 8 * (64 * 81 + 48 * 324 + 48 * 324 + 16 * 1296)
    assert 30e6 < counter.get_total_flops() + rest <= 60e6


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", [{}, {"features": 2, "channels": 1, "samples": 2, "width": 3}], ids=str)
def test_the_compiled_layers_are_those_of_torch(options: dict[str, int], threads: int) -> None:
    torch.manual_seed(5)
    decoder = WarpDecoder(latent=20, **options)
    latents = 4 * torch.randn(7, 20)  # warps past both ends of the profile
    z, x = (torch.from_numpy(centres(n)).float() for n in (41, 30))
    with torch.enable_grad():
        by_torch = decoder.grid(latents, z, x)
    assert by_torch.requires_grad
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.no_grad():
            torch.testing.assert_close(decoder.grid(latents, z, x), by_torch.detach(), rtol=0, atol=2e-5)
            assert decoder.grid(latents[:0], z, x).shape == (0, 41, 30)
    finally:
        torch.set_num_threads(before)


def test_latents_that_are_no_numbers_read_no_other_memory() -> None:
    decoder = WarpDecoder(latent=3)
    axis = torch.from_numpy(centres(9)).float()
    hostile = torch.tensor([[float("nan")] * 3, [float("inf")] * 3, [-3e38] * 3, [0.0] * 3])
    with torch.no_grad():
        values = decoder.grid(hostile, axis, axis)
    assert values.isfinite().flatten(1).all(1).tolist() == [False, False, False, True]


def test_unknown_families_and_options_ask_for_an_upgrade() -> None:
    for family, options in (("later", {}), ("warp", {"later": 1})):
        with pytest.raises(VersionError, match="upgrade"):
            decoders.build(family, options)


def test_cosines_are_orthonormal_on_the_native_grid() -> None:
    waves = CosineDecoder(4)
    waves.waves.copy_(torch.tensor([[0, 0], [3, 0], [0, 69], [12, 7]]))
    axis = torch.from_numpy(centres(70)).double()
    drawn = waves.double().grid(torch.eye(4).double(), axis, axis)
    torch.testing.assert_close(torch.einsum("ahw,bhw->ab", drawn, drawn), torch.eye(4).double())
    torch.testing.assert_close(waves.project(drawn, axis, axis), torch.eye(4).double())
    assert drawn[0].std() < 1e-12 and drawn[0].mean().item() == pytest.approx(1 / 70)
    assert drawn[1].std(0).max() < 1e-12 and drawn[2].std(1).max() < 1e-12  # k is across, l is down


def test_cosines_of_another_grid_leave_out_what_it_cannot_hold() -> None:
    waves = CosineDecoder(3)
    waves.waves.copy_(torch.tensor([[0, 0], [3, 2], [0, 69]]))
    z, x = (torch.from_numpy(centres(n)).double() for n in (33, 140))
    latents = torch.tensor([[1.0, -2.0, 0.0]]).double()
    torch.testing.assert_close(waves.double().project(waves.grid(latents, z, x), z, x), latents)
    assert waves.project(torch.randn(1, 33, 140).double(), z, x)[0, 2] == 0


def test_the_first_number_chooses() -> None:
    torch.manual_seed(3)
    choice = ChoiceDecoder(warp={"latent": 200})
    choice.cosines.waves.copy_(torch.arange(255)[:, None] // torch.tensor([16, 1]) % 16)
    axis = torch.from_numpy(centres(70)).float()
    z = torch.randn(3, 256)
    z[:, 0] = torch.tensor([1.0, -1.0, 0.0])
    both = choice.grid(z, axis, axis)
    torch.testing.assert_close(both[:1], choice.cosines.grid(z[:1, 1:], axis, axis))
    torch.testing.assert_close(both[1:], choice.warp.grid(z[1:, 1:201], axis, axis))
    with pytest.raises(VersionError, match="needs a latent of more"):
        decoders.build("choice", {"latent": 100, "warp": {"latent": 100}})

"""Coordinate networks. Each maps latents (B, L) and points (P, 2) or (B, P, 2) in [-1, 1]^2 to values (B, P)."""

from typing import Any

from torch import Tensor, nn

from ..errors import VersionError
from .choice import ChoiceDecoder
from .siren import SirenDecoder
from .warp import WarpDecoder

FAMILIES: dict[str, type[nn.Module]] = {"choice": ChoiceDecoder, "siren": SirenDecoder, "warp": WarpDecoder}


def build(family: str, options: dict[str, Any]) -> nn.Module:
    """A decoder of a named family, untrained. Raises VersionError for a family this release does not know."""
    if family not in FAMILIES:
        raise VersionError(f"decoder family {family!r} is not known to this release; upgrade velcodec")
    try:
        return FAMILIES[family](**options)
    except (TypeError, ValueError) as error:
        raise VersionError(f"decoder {family!r}: {error}; upgrade velcodec") from error


def check(decoder: nn.Module) -> None:
    """What shapes do not say of a decoder's tensors. Raises ValueError."""
    if isinstance(decoder, ChoiceDecoder):
        decoder.cosines.check()


def sample_grid(decoder: nn.Module, latents: Tensor, z: Tensor, x: Tensor) -> Tensor:
    """Values (B, H, W) on the regular grid of depths z (H,) and positions x (W,)."""
    values: Tensor = decoder.grid(latents, z, x)  # type: ignore[operator]
    return values

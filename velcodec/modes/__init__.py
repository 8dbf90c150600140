"""What each mode offers for the maps of a block: how many bytes it takes, what quality it gives, what is stored."""

from .asked import keeps
from .cosines import as_cosines
from .latents import Latents, as_corrected, as_latents, fitted
from .layered import as_layers, as_layers_in_steps, as_soft, encode_layers
from .offer import Maps, Offer, copied, nothing, of, take
from .samples import as_exact, as_quantised, as_zstd, textured

__all__ = [
    "Latents",
    "Maps",
    "Offer",
    "as_corrected",
    "as_cosines",
    "as_exact",
    "as_latents",
    "as_layers",
    "as_layers_in_steps",
    "as_quantised",
    "as_soft",
    "as_zstd",
    "copied",
    "encode_layers",
    "fitted",
    "keeps",
    "nothing",
    "of",
    "take",
    "textured",
]

"""velcodec: a learned codec for 2-D seismic velocity models.

import velcodec
velcodec.compress(maps, "models.vlz")          # maps (n, 70, 70) float32, m/s
with velcodec.open("models.vlz") as archive:
    archive[3]                                 # (70, 70)
    archive.read([3], shape=(280, 280))        # (1, 280, 280)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CodebookError, DataError, FormatError, UsageError, VelcodecError, VersionError

if TYPE_CHECKING:
    from .archive import Archive, decompress
    from .archive import Archive as open  # noqa: A004
    from .codebook import Codebook, load_codebook
    from .compression import compress
    from .dataset import VelocityDataset
    from .field import Field
    from .latent_path import interpolate

__version__ = "0.19.0"
__all__ = [
    "Archive", "Codebook", "CodebookError", "DataError", "Field", "FormatError", "UsageError", "VelcodecError",
    "VelocityDataset", "VersionError", "compress", "decompress", "interpolate", "load_codebook", "open",
]  # fmt: skip

# Torch takes a second to import: these names load it when they are first used.
_LAZY = {
    "Archive": ("archive", "Archive"),
    "open": ("archive", "Archive"),
    "compress": ("compression", "compress"),
    "decompress": ("archive", "decompress"),
    "Codebook": ("codebook", "Codebook"),
    "load_codebook": ("codebook", "load_codebook"),
    "Field": ("field", "Field"),
    "VelocityDataset": ("dataset", "VelocityDataset"),
    "interpolate": ("latent_path", "interpolate"),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(f".{module}", __name__), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

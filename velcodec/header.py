"""The header of a .vlz file: what was given, and what is needed to read it back. JSON on the wire."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import container
from .errors import FormatError, VersionError
from .tiles import Layout

CODERS = tuple(f"velcodec-{k}" for k in range(1, 11))  # oldest first
WRITTEN = CODERS[-6:]  # the older ones in what is appended to archives that have them
# What each adds to the features of the one before it.
ADDED = (
    0,
    container.FEATURE_SECOND,
    container.FEATURE_THIRD,
    container.FEATURE_FOURTH,
    container.FEATURE_FIFTH,
    container.FEATURE_SIXTH,
    container.FEATURE_SEVENTH,
    container.FEATURE_EIGHTH,
    container.FEATURE_NINTH,
    container.FEATURE_TENTH,
)
MAX_SAMPLES = 1 << 28  # of one map
MAX_UNIT = 1e30
DTYPES = frozenset(
    np.dtype(order + code).str
    for order in "<>"
    for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
)


@dataclass(frozen=True)
class Header:
    """Fields of the header.

    shape and dtype are those of the array given; a latent decodes to offset + scale x (decoder's value), clipped
    to [low, high], the range of the array's finite values or, in an archive of files, a wider one. Units are the
    user's; spacing is (dz, dx) in metres.
    unit is the quantisation step of code 128 in a file of the adaptive modes, else None; tile (h, w) and overlap say
    how maps are cut. axis is the one of a 3-D array that its slices were taken along; shape has it first.
    bound is the error that no sample passes, where one was asked for. coder names the models of the records. An archive
    says of its maps which files they are from, and keeps their quality beside them.
    """

    shape: tuple[int, ...]
    dtype: str
    units: str
    spacing: tuple[float, float]
    offset: float
    scale: float
    low: float
    high: float
    codebook_id: str
    codebook_sha256: str
    latent: int
    unit: float | None = None
    tile: tuple[int, int] | None = None
    overlap: int = 0
    axis: int = 0
    bound: float | None = None
    coder: str = CODERS[-1]
    archive: bool = False

    @property
    def features(self) -> int:
        """The required features that a file with this header states."""
        modes = container.FEATURE_MODES if self.unit is not None else 0
        tiles = container.FEATURE_TILES if self.tile is not None else 0
        archive = container.FEATURE_ARCHIVE if self.archive else 0
        return modes | tiles | archive | sum(ADDED[: self.generation])

    @property
    def generation(self) -> int:
        """The coder's number, 1 for velcodec-1."""
        return 1 + CODERS.index(self.coder)

    @property
    def escapes(self) -> bool:
        """Whether integers of latents may lie past the open ends of their tables."""
        return bool(self.features & container.FEATURE_SEVENTH)

    @property
    def cosines(self) -> bool:
        """Whether maps may be cosines."""
        return bool(self.features & container.FEATURE_EIGHTH)

    @property
    def plain(self) -> int:
        """The numbers that an int8 or fp16 record holds of a latent."""
        return min(self.latent, container.PLAIN) if self.features & container.FEATURE_FIFTH else self.latent

    @property
    def layout(self) -> Layout:
        """How maps are cut into records."""
        return Layout(self.map_shape, self.tile or self.map_shape, self.overlap)

    @property
    def map_shape(self) -> tuple[int, int]:
        """(H, W) of one map."""
        return self.shape[-2], self.shape[-1]

    @property
    def maps(self) -> int:
        """Number of maps."""
        return self.shape[0] if len(self.shape) > 2 else 1

    def to_json(self) -> dict[str, Any]:
        """The fields as format_spec.md names them."""
        fields: dict[str, Any] = {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "units": self.units,
            "spacing": list(self.spacing),
            "normalisation": [self.offset, self.scale],
            "range": [self.low, self.high],
            "codebook": {"id": self.codebook_id, "sha256": self.codebook_sha256, "latent": self.latent},
            "coder": self.coder,
        }
        if self.unit is not None:
            fields["unit"] = self.unit
        if self.tile is not None:
            fields["tile"] = [*self.tile, self.overlap]
        if self.axis:
            fields["axis"] = self.axis
        if self.bound is not None:
            fields["bound"] = self.bound
        if self.archive:
            fields["archive"] = True
        return fields


def from_json(fields: dict[str, Any]) -> Header:
    """Check every field of a header. Raises FormatError, or VersionError for a coder of a later release."""
    if fields.get("coder") not in CODERS:
        raise VersionError(
            f"coder {str(fields.get('coder'))[:40]!r} is not known to this release; upgrade velcodec"
        )
    try:
        book = fields["codebook"]
        header = Header(
            shape=tuple(_integer(n) for n in fields["shape"]),
            dtype=fields["dtype"],
            units=_text(fields["units"]),
            spacing=_pair(fields["spacing"]),
            offset=_pair(fields["normalisation"])[0],
            scale=_pair(fields["normalisation"])[1],
            low=_pair(fields["range"])[0],
            high=_pair(fields["range"])[1],
            codebook_id=_text(book["id"]),
            codebook_sha256=_text(book["sha256"]),
            latent=_integer(book["latent"]),
            unit=_pair([fields["unit"], 0.0])[0] if "unit" in fields else None,
            tile=tuple(_integer(n) for n in fields["tile"][:2]) if "tile" in fields else None,  # type: ignore[arg-type]
            overlap=_integer(fields["tile"][2]) if "tile" in fields else 0,
            axis=_integer(fields.get("axis", 0)),
            bound=_pair([fields["bound"], 0.0])[0] if "bound" in fields else None,
            coder=fields["coder"],
            archive="archive" in fields,
        )
        ok = header.dtype in DTYPES and 2 <= len(header.shape) <= 4 and min(header.shape) >= 1
        ok = ok and (len(header.shape) < 4 or header.shape[1] == 1)
        ok = ok and header.map_shape[0] * header.map_shape[1] <= MAX_SAMPLES and header.maps < 1 << 31
        ok = ok and (header.axis == 0 or (header.axis in (1, 2) and len(header.shape) == 3))
        ok = ok and header.low <= header.high
        if header.archive:
            ok = ok and fields["archive"] is True and len(header.shape) > 2
            ok = ok and bool(header.features & container.FEATURE_FIFTH)
        ok = ok and (header.bound is None or header.bound > 0)
        ok = ok and (header.unit is None or 0 <= header.unit <= MAX_UNIT)
        if header.tile is not None:
            ok = ok and len(fields["tile"]) == 3 and min(header.tile) >= 1
            ok = ok and 0 <= header.overlap <= min(header.tile) // 2
            ok = ok and header.maps * len(header.layout) < 1 << 31
        ok = ok and len(header.codebook_sha256) == 64 and 1 <= header.latent <= 4096
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        raise FormatError("the header lacks a field or holds a wrong one") from error
    if not ok:
        raise FormatError("the header's shape, dtype or codebook cannot be")
    return header


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("not an integer")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 256 or not value.isprintable():
        raise ValueError("not a short text")
    return value


def _pair(value: Any) -> tuple[float, float]:
    a, b = (float(v) for v in value)
    if not (math.isfinite(a) and math.isfinite(b)):
        raise ValueError("not finite")
    return a, b

"""Which files the maps of an archive are from: names, families and shards as OpenFWI's, and checksums."""

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import zstandard

from .container import MAX_SOURCES, decompress
from .errors import FormatError, UsageError

MAX_NAME = 1024
MAX_REQUEST = 16  # fields of a request

# FlatVel_A/model/model12.npy, CurveFault_B/vel7_1_3.npy, Style_A/model3.npy; hyphens and lower case are met as well.
_FAMILY = re.compile(r"(flatvel|curvevel|flatfault|curvefault|style)[-_ ]?([ab])(?![a-z])", re.IGNORECASE)
_SHARD = re.compile(r"(?:model|vel|data|seis)_?(\d+(?:_\d+)*)$", re.IGNORECASE)
_CASES = {name.lower(): name for name in ("FlatVel", "CurveVel", "FlatFault", "CurveFault", "Style")}


@dataclass(frozen=True)
class Source:
    """A file whose maps an archive holds.

    Args:
        name: its path below the folder that was archived, with "/", and the array within it as in `a.h5:/v`.
        family: of OpenFWI's ten, as in "CurveVel_A"; "" where the name says none.
        shard: as OpenFWI numbers it, as in "12" or "7_1_3"; "" where the name says none.
        first: the archive's map that its first map is.
        shape: of its array: (H, W), (n, H, W) or (n, 1, H, W).
        sha256: of the file, in hex.
        bytes: of the file.
        request: what was asked for as it was archived, as in {"psnr": 35, "effort": 3}.
    """

    name: str
    family: str
    shard: str
    first: int
    shape: tuple[int, ...]
    sha256: str
    bytes: int
    request: dict[str, Any]

    @property
    def maps(self) -> int:
        """How many maps it has."""
        return self.shape[0] if len(self.shape) > 2 else 1

    def to_json(self) -> dict[str, Any]:
        """The fields as format_spec.md names them."""
        return {**asdict(self), "shape": list(self.shape)}


def named(name: str) -> tuple[str, str]:
    """The family and the shard that a path names, "" for what it does not."""
    family = _FAMILY.findall(name)
    shard = _SHARD.search(PurePosixPath(name.split(":")[0]).stem)
    return (
        f"{_CASES[family[-1][0].lower()]}_{family[-1][1].upper()}" if family else "",
        shard[1] if shard else "",
    )


def check_name(name: str) -> None:
    """Raises UsageError for a name that a list of sources cannot hold."""
    if len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(
            f"the name {name!r} is too long, or has a character that cannot be printed; rename the file"
        )


def from_json(listed: Sequence[Any], maps: int, map_shape: tuple[int, int]) -> tuple[Source, ...]:
    """Check the sources of an archive: together they are all its maps, in order. Raises FormatError.

    Fields that are not known are passed over.
    """
    sources, first = [], 0
    known = {field.name for field in dataclasses.fields(Source)}
    for given in listed:
        try:
            own = {name: value for name, value in given.items() if name in known}
            source = Source(**{**own, "shape": tuple(given["shape"])})
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise FormatError("the list of sources lacks a field or has a wrong one") from error
        texts = (source.name, source.family, source.shard, source.sha256)
        ok = all(isinstance(t, str) and len(t) <= MAX_NAME and t.isprintable() for t in texts)
        ok = ok and re.fullmatch("[0-9a-f]{64}", source.sha256) is not None
        ok = ok and all(type(n) is int and n > 0 for n in source.shape) and type(source.first) is int
        ok = ok and 2 <= len(source.shape) <= 4 and source.shape[-2:] == map_shape
        ok = ok and (len(source.shape) < 4 or source.shape[1] == 1)
        ok = ok and source.first == first and type(source.bytes) is int and source.bytes >= 0
        ok = ok and isinstance(source.request, dict) and len(source.request) <= MAX_REQUEST
        if not ok:
            raise FormatError(f"the list of sources is wrong at map {first}")
        sources.append(source)
        first += source.maps
    if sources and first != maps:
        raise FormatError("the list of sources does not make up the archive's maps")
    return tuple(sources)


def pack_sources(sources: Sequence[dict[str, Any]]) -> bytes:
    """The payload of SRCS: a JSON array as a zstd frame."""
    data = json.dumps(sources, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    return zstandard.ZstdCompressor(level=19, write_content_size=True).compress(data)


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def unpack_sources(payload: bytes) -> list[Any]:
    """The payload of SRCS to what it lists; what that means is checked by manifest.py."""
    try:
        size = zstandard.frame_content_size(payload)
        if not 0 <= size <= MAX_SOURCES:
            raise FormatError("the list of sources is larger than there can be")
        found = json.loads(decompress(payload, size).decode(), parse_constant=_refused)
    except (zstandard.ZstdError, ValueError, RecursionError) as error:
        raise FormatError("the list of sources is damaged") from error
    if not isinstance(found, list):
        raise FormatError("the list of sources is none")
    return found

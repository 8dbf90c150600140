"""Codebooks: decoder + prior + amortised encoder + card; load, save, hash, resolve, cache.

A codebook is one safetensors file. Its tensors are named decoder.*, encoder.* and prior.*; its card is JSON in the
file's metadata. The SHA-256 that .vlz files carry covers the tensors and card["decoding"] alone, so that a card's
prose may grow without making a new codebook.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from .entropy import TableModels
from .errors import CodebookError, UsageError
from .prior import Prior
from .replacing import replacing

if TYPE_CHECKING:
    import torch
    from torch import nn

DEFAULT_ID = "openfwi-2d-v5"
SUFFIX = ".safetensors"
SCALES = ".scale"  # after the name of a tensor of int8: what its values are multiples of, by output
BUILT_IN = Path(__file__).parent / "codebooks"
MAX_BYTES = 1 << 28
PATH_VARIABLE = "VELCODEC_CODEBOOK_PATH"


class Codebook:
    """A decoder, its latent prior and its amortised encoder, immutable.

    Attributes:
        id, sha256: its names.
        card: family, version, training data and licence, recipe, drift bound, figures.
        decoder: float32 coordinate network (decoders/).
        encoder: amortised encoder, or None.
        prior: integer frequency tables.
        unit: latent units of one unit of the encoder network's output.
        rate: what the search pays for a bit, in natural logarithms of the MSE.
        drift: bound on the difference of two decodes, in normalised units.
        models: the prior's entropy models.
        usual_step: of the coarsest table sets of the network that are tried unless a PSNR is asked for.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], card: dict[str, Any]) -> None:
        from . import decoders  # torch takes seconds to import: only where networks are built
        from .amortised import AmortisedEncoder

        self.card = card
        self.tensors = dict(tensors)
        self.sha256 = digest(tensors, card)
        try:
            self.id = str(card["id"])
            decoding = card["decoding"]
            self.offset, self.scale = (float(v) for v in decoding["normalisation"])
            self.drift = float(card["drift_bound"])
            self.rate = float(card["rate"])
            self.unit = float(card.get("encoder_unit", 1.0))
            self.usual_step = np.float32(card.get("usual_step", math.inf))
            self.decoder = decoders.build(str(decoding["decoder"]), dict(decoding["options"]))
            self.prior = Prior.of_tensors(tensors)
            self.encoder = AmortisedEncoder(**card["encoder"]) if card.get("encoder") is not None else None
            _fill(self.decoder, tensors, "decoder.")
            decoders.check(self.decoder)
            self.prior = replace(self.prior, far=tuple(self.layered_tables + self.faulted_tables))
            if self.encoder is not None:
                _fill(self.encoder, tensors, "encoder.")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CodebookError(f"not a valid codebook: {type(error).__name__} {error}") from error

    @cached_property
    def models(self) -> TableModels:
        """Entropy models of the prior's tables."""
        return TableModels(self.prior)

    @cached_property
    def closed(self) -> Codebook:
        """The same, of whose tables no integer lies past the ends: as coders before the seventh have them."""
        same = copy.copy(self)
        same.prior = self.prior.closed()
        same.__dict__.pop("models", None)
        return same

    def of(self, escapes: bool) -> Codebook:
        """This one, or `closed`."""
        return self if escapes else self.closed

    @cached_property
    def smooth_tables(self) -> list[int]:
        """Table sets of the cosines of a choice decoder; none of other decoders."""
        return [t for t, part in enumerate(self._parts) if part == "cosines"]

    @cached_property
    def layered_tables(self) -> list[int]:
        """Table sets of the layered decoder of a choice; none of other decoders."""
        return [t for t, part in enumerate(self._parts) if part == "layered"]

    @cached_property
    def faulted_tables(self) -> list[int]:
        """Table sets of the faulted decoder of a choice; none of other decoders."""
        return [t for t, part in enumerate(self._parts) if part == "faulted"]

    @cached_property
    def patched_tables(self) -> list[int]:
        """Those of them that tell patches."""
        from .decoders.choice import ChoiceDecoder

        part = self.decoder.faulted if isinstance(self.decoder, ChoiceDecoder) else None
        if part is None or not part.patches:
            return []
        length = 1 + part.unit + 1  # of the first patch; hardly ever but 0 where there are none
        return [t for t in self.faulted_tables if self.prior.size[t, length] > 2]

    @cached_property
    def network_tables(self) -> list[int]:
        """The other table sets: latents for a network."""
        return [t for t, part in enumerate(self._parts) if part == "network"]

    @property
    def is_choice(self) -> bool:
        """Whether latents may be for something else than a network."""
        return len(self.network_tables) < self.prior.tables

    @cached_property
    def _parts(self) -> list[str]:
        """Which decoder of a choice each table set is for, by the likeliest number 0."""
        import torch

        from .decoders.choice import ChoiceDecoder

        if not isinstance(self.decoder, ChoiceDecoder):
            return ["network"] * self.prior.tables
        likeliest = [self.prior.low[t, 0] + self.prior.table(t, 0).argmax() for t in range(self.prior.tables)]
        first = np.array(likeliest, dtype=np.float32) * self.prior.step
        names = ("network", "cosines", "layered", "faulted")
        return [names[sort] for sort in self.decoder.sorts(torch.from_numpy(first)[:, None]).tolist()]

    @property
    def latent(self) -> int:
        """Numbers in a latent."""
        return self.prior.latent

    def to(self, device: torch.device) -> Codebook:
        """Move the networks to a device, in place."""
        for network in (self.decoder, self.encoder):
            # torch looks at every tensor of a network that is there already, which takes as long as a map.
            if network is not None and next(network.parameters()).device != device:
                network.to(device)
        return self


def digest(tensors: Mapping[str, NDArray[Any]], card: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over card["decoding"] as compact sorted JSON, then name, dtype, shape and bytes of each tensor."""
    h = hashlib.sha256(json.dumps(card.get("decoding"), sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(tensors):
        t = np.asarray(tensors[name])
        t = t.astype(t.dtype.newbyteorder("<"))
        h.update(f"\n{name} {t.dtype.str} {list(t.shape)}\n".encode() + np.ascontiguousarray(t).tobytes())
    return h.hexdigest()


def to_bytes(codebook: Codebook) -> bytes:
    """A codebook as the bytes of its file."""
    return bytes(
        safetensors.numpy.save(codebook.tensors, metadata={"card": json.dumps(codebook.card, indent=1)})
    )


def from_file(path: Path) -> Codebook:
    """Read a codebook file. Raises CodebookError where it is not one."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CodebookError(f"{path} is too large to be a codebook")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        card = json.loads(metadata.get("card", "null"))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise CodebookError(f"{path} cannot be read as a codebook: {error}") from error
    if not isinstance(card, dict):
        raise CodebookError(f"{path} is a safetensors file but has no codebook card")
    return Codebook(tensors, card)


def from_bytes(data: bytes) -> Codebook:
    """A codebook from the bytes of its file, as embedded in an archive."""
    try:
        header = int.from_bytes(data[:8], "little")
        if len(data) < 8 or header > len(data) - 8:
            raise CodebookError("the embedded codebook is damaged")
        fields = json.loads(data[8 : 8 + header])
        card = json.loads(fields["__metadata__"]["card"])
        tensors = safetensors.numpy.load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CodebookError("the embedded codebook is damaged") from error
    if not isinstance(card, dict):
        raise CodebookError("the embedded codebook has no card")
    return Codebook(tensors, card)


def cache_folder() -> Path:
    """Where imported codebooks are kept: $XDG_CACHE_HOME/velcodec/codebooks or ~/.cache/velcodec/codebooks."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "velcodec" / "codebooks"


def search_path() -> list[tuple[str, Path]]:
    """Folders and files searched for codebooks, first to last: built in, cache, VELCODEC_CODEBOOK_PATH."""
    extra = [Path(p) for p in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if p]
    return [("built in", BUILT_IN), ("cache", cache_folder()), *((PATH_VARIABLE, p) for p in extra)]


def _candidates() -> Iterable[tuple[str, Path]]:
    for where, place in search_path():
        if place.is_dir():
            yield from ((where, path) for path in sorted(place.glob("*" + SUFFIX)))
        elif place.is_file():
            yield where, place


def list_codebooks() -> list[tuple[str, str, Path, str]]:
    """(id, sha256, path, where) of every codebook found; unreadable files are left out."""
    found = []
    for where, path in _candidates():
        try:
            book = _cached(path, path.stat().st_mtime_ns)
        except (CodebookError, OSError):
            continue
        found.append((book.id, book.sha256, path, where))
    return found


def builtin_ids() -> list[str]:
    """Ids of the codebooks that come with this release."""
    return [id_ for id_, _, _, where in list_codebooks() if where == "built in"]


@lru_cache(maxsize=8)
def _cached(path: Path, modified: int) -> Codebook:
    return from_file(path)


def load_codebook(name: str | Path | None = None) -> Codebook:
    """A codebook by id, SHA-256 (8 hex digits or more) or path; None means the default.

    Raises:
        CodebookError: none of that name is found, or its file is damaged.
    """
    wanted = str(name or DEFAULT_ID)
    path = Path(wanted)
    if wanted.endswith(SUFFIX) or path.is_file():
        if not path.is_file():
            raise CodebookError(f"codebook file {wanted} does not exist")
        return _cached(path, path.stat().st_mtime_ns)
    for id_, sha256, place, _ in list_codebooks():
        if id_ == wanted or (len(wanted) >= 8 and sha256.startswith(wanted.lower())):
            return _cached(place, place.stat().st_mtime_ns)
    raise CodebookError(
        f"codebook {wanted!r} is not here; 'velcodec codebook list' shows those that are, "
        f"'velcodec codebook import FILE' adds one, and {PATH_VARIABLE} names more folders"
    )


def resolve(id_: str, sha256: str) -> Codebook:
    """The codebook that a file names, by its hash; the id only helps to say what is missing or altered."""
    same_id = None
    for found_id, found_sha256, path, _ in list_codebooks():
        if found_sha256 == sha256:
            return _cached(path, path.stat().st_mtime_ns)
        same_id = path if found_id == id_ else same_id
    if same_id is not None:
        raise CodebookError(
            f"the file needs codebook {id_} with SHA-256 {sha256}, but {same_id} differs from it: "
            "get the original and run 'velcodec codebook import FILE'"
        )
    raise CodebookError(
        f"the file needs codebook {id_} with SHA-256 {sha256}, which is not here: get its {id_}{SUFFIX} "
        f"from whoever made the file and run 'velcodec codebook import {id_}{SUFFIX}', or upgrade velcodec"
    )


def save(codebook: Codebook, path: Path, overwrite: bool = False) -> None:
    """Write a codebook file beside its target and rename it."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; choose another name or allow overwriting")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_bytes(to_bytes(codebook))


def export(name: str, path: Path, overwrite: bool = False) -> None:
    """Copy a codebook found by id or hash to a file."""
    save(load_codebook(name), Path(path), overwrite)


def install(path: Path) -> Path:
    """Check a codebook file and copy it into the cache folder, where files that name it find it."""
    book = from_file(Path(path))
    target = cache_folder() / f"{book.id}-{book.sha256[:8]}{SUFFIX}"
    if not target.exists():
        save(book, target)
    return target


def _fill(module: nn.Module, tensors: Mapping[str, NDArray[Any]], prefix: str) -> None:
    import torch

    state = {}
    for name, value in tensors.items():
        if name.startswith(prefix) and not name.endswith(SCALES):
            weight = value.astype(np.float32)
            if value.dtype == np.int8:
                scale = tensors[name + SCALES].astype(np.float32)
                weight *= scale.reshape(-1, *[1] * (weight.ndim - 1))
            state[name[len(prefix) :]] = torch.from_numpy(weight)
    module.load_state_dict(state)
    module.requires_grad_(False).eval()


def in_bytes(tensors: Mapping[str, NDArray[Any]], prefix: str, least: int) -> dict[str, NDArray[Any]]:
    """Tensors of which those of a prefix, from a size on, are int8, with a float16 scale (outputs,) beside each."""
    out = dict(tensors)
    for name, value in tensors.items():
        if name.startswith(prefix) and value.size >= least and value.dtype != np.int8:
            most = np.abs(value.astype(np.float32)).reshape(len(value), -1).max(1)
            scale = (np.maximum(most, 1e-4) / 127).astype(np.float16)
            wide = scale.astype(np.float32).reshape(-1, *[1] * (value.ndim - 1))
            out[name] = np.clip(np.rint(value.astype(np.float32) / wide), -127, 127).astype(np.int8)
            out[name + SCALES] = scale
    return out

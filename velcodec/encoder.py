"""Maps -> records: the cheapest mode that meets the request, map by map.

    block of maps -> what each mode offers (modes/) -> the cheapest kind of each map -> MAPS payload

What decides is what a reader would see: every offer is decoded from what would be stored, and what must hold of a
latent is computed with the codebook's drift bound added to its errors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import blocks, container, entropy, exact, modes, pixels, spectrum_coder
from .codebook import Codebook
from .decoder import COSINE_KINDS, LAYERED_KINDS, SOFT_KINDS, Corrected
from .errors import DataError
from .header import Header
from .modes import Maps, Offer
from .plateaus import may_be_told
from .request import Request

CHEAP = 0.004  # bytes a sample of a map that is layered as it is, below which nothing else is tried
QUICK = 2  # effort up to which time counts more than some bytes, and layers, soft ones too, are not tried as latents
CHEAP_QUICK = 0.015  # CHEAP at those efforts
SMOOTH_LEEWAY = 0.985  # there, of the bytes of "smooth", which is read in half the time that "edges" takes
TEXTURED = 0.05  # bytes a sample beyond which a map may be a texture
SURE = 0.72  # of what a texture takes as samples, by its residuals' histograms, that cosines take less than
HASTY = 3  # effort up to which textures that cosines surely tell in fewer bytes are not tried as samples
LATENT_BYTES = 9.0  # about what the cheapest latent takes
WORTH = 0.7  # of the best offer's bytes that a latent may take for its residual to be worth a try
IN_REACH = 6.0  # dB that a search may win over the network alone
CREST = 6.0  # dB from the range over a bound to the PSNR of errors that just keep it: they seldom pass twice their RMS

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Encoded:
    """A MAPS payload and the measured quality of its maps: PSNR in dB (inf: exact), maximum error, (n,) each."""

    payload: bytes
    psnr: NDArray[np.float64]
    error: NDArray[np.float64]


def encode_block(
    maps: Maps, header: Header, request: Request, codebook: Codebook, device: torch.device
) -> Encoded:
    """Encode maps, or tiles of maps, as given.

    Raises:
        DataError: a lossy request for finite values past float32, or latent-only for NaN or infinity.
    """
    codebook = codebook.of(header.escapes)
    best = modes.nothing(len(maps))
    finite = np.array([bool(np.isfinite(m).all()) for m in maps.samples])
    if not request.lossless:
        _check_float32(maps)
    if request.latent_only:
        return _latents_alone(maps, finite, header, request, codebook, device)
    _try(best, maps, np.isinf(best.bytes), lambda some: modes.as_layers(some, header))
    if request.lossless:
        ways = [best, *_try_exact(best, maps, header, request)]
    else:
        ways = [best, *_try_lossy(best, maps, finite, header, request, codebook, device)]
    for way in ways:
        modes.take(way, modes.as_zstd(maps, way.bytes), range(len(maps)))
    # A stream that loses some of its maps to others has less to learn from: so all ways are tried.
    made = [
        Encoded(_pack(maps, way, header, codebook), way.psnr, way.error)
        for way in ways
        if np.isfinite(way.bytes).all()
    ]
    return min(made, key=lambda encoded: len(encoded.payload))


def _latents_alone(
    maps: Maps,
    finite: NDArray[np.bool_],
    header: Header,
    request: Request,
    codebook: Codebook,
    device: torch.device,
) -> Encoded:
    """Latents of all maps, whatever they keep. Raises DataError for those that are not finite (n,)."""
    if not finite.all():
        raise DataError(
            f"map {int(np.argmin(finite))} of a block holds NaN or infinity, which a latent cannot keep; leave "
            "out latent-only, and such maps are stored exactly"
        )
    best, drift = modes.nothing(len(maps)), codebook.drift * abs(header.scale)
    for rows in _by_shape(maps, list(range(len(maps)))):
        own = maps.some(rows)
        latents = modes.fitted(own, header, request, codebook, device, request.effort)
        modes.take(best, modes.as_latents(own, latents, header, request, drift), rows)
    return Encoded(_pack(maps, best, header, codebook), best.psnr, best.error)


def _dear(best: Offer, maps: Maps, request: Request) -> NDArray[np.bool_]:
    """Maps (n,) that take so many bytes as layers that something else is tried."""
    return best.bytes > (CHEAP_QUICK if request.effort <= QUICK else CHEAP) * _areas(maps)


def _areas(maps: Maps) -> NDArray[np.int64]:
    return np.array([m.size for m in maps.samples])


def _try_exact(best: Offer, maps: Maps, header: Header, request: Request) -> list[Offer]:
    """Samples bit for bit, for maps that take more bytes as layers; and other ways to share the streams."""
    _try(best, maps, _dear(best, maps, request), lambda some: modes.as_exact(some, header, smooth=False))
    rough = best.bytes > 10 * TEXTURED * _areas(maps)
    return _try_shared(best, maps, rough, lambda some: modes.as_exact(some, header, smooth=True))


def _try_lossy(
    best: Offer,
    maps: Maps,
    finite: NDArray[np.bool_],
    header: Header,
    request: Request,
    codebook: Codebook,
    device: torch.device,
) -> list[Offer]:
    """All that keeps a PSNR or a bound, for finite maps (n,): layers in steps, and what else there is.

    Maps that are layered as they are, and cheap so, are not tried as anything else. Those that are layered after coarse
    steps alone may well be cheaper so. Returns other ways to share the streams.
    """
    layered = np.isfinite(best.bytes)
    _try(best, maps, finite, lambda some: modes.as_layers_in_steps(some, header, request))
    left = finite & (_dear(best, maps, request) | ~layered)
    samples = left.copy()  # maps that are tried as samples, and as what is drawn from them
    if header.cosines and request.max_error is None and request.effort <= HASTY:
        samples &= ~_take_textures(best, maps, left, header, request)
    _try(best, maps, samples, lambda some: modes.as_quantised(some, header, request, smooth=False))
    if request.max_error is None and header.tile is None:
        _try(best, maps, samples & ~layered, lambda some: modes.as_soft(some, header, request))
    rough = finite & (best.bytes > TEXTURED * _areas(maps)) & ~np.isin(best.kinds, COSINE_KINDS)
    leeway = SMOOTH_LEEWAY if request.effort <= QUICK else 1.0
    ways = _try_shared(
        best, maps, rough, lambda some: modes.as_quantised(some, header, request, smooth=True).cheaper(leeway)
    )
    if header.tile is None:
        if request.effort <= QUICK:
            left &= ~(layered | np.isin(best.kinds, SOFT_KINDS))
        ways.append(modes.copied(best))
        ways += _try_latents(best, maps, left, header, request, codebook, device)
    if header.cosines:
        textured = samples & np.isin(best.kinds, _textures(codebook))
        than = best.bytes[textured]
        ways += _try_shared(best, maps, textured, lambda some: modes.as_cosines(some, header, request, than))
    return ways


def _check_float32(maps: Maps) -> None:
    """Finite values past float32 cannot be kept by a lossy mode. Raises DataError."""
    limit = float(np.finfo(np.float32).max)
    for m in maps.samples:
        v = m[np.isfinite(m)] if m.dtype.kind == "f" else m
        if v.size and m.dtype.itemsize == 8 and max(abs(float(v.min())), abs(float(v.max()))) > limit:
            raise DataError("values past the range of float32 can only be kept exactly; give --lossless")


def _try(best: Offer, maps: Maps, where: NDArray[np.bool_], offer: Callable[[Maps], Offer]) -> None:
    """Take a mode's offer for some of the maps where it is the cheapest."""
    rows = np.flatnonzero(where).tolist()
    if rows:
        modes.take(best, offer(maps.some(rows)), rows)


def _try_shared(
    best: Offer, maps: Maps, where: NDArray[np.bool_], offer: Callable[[Maps], Offer]
) -> list[Offer]:
    """As `_try`. Where it is the cheapest for some of the maps alone, also the better of all of them or none."""
    rows = np.flatnonzero(where).tolist()
    if not rows:
        return []
    before, made = modes.copied(best), offer(maps.some(rows))
    modes.take(best, made, rows)
    taken = made.bytes < before.bytes[rows]
    if taken.all() or not taken.any():
        return []
    if made.bytes.sum() < before.bytes[rows].sum():
        modes.take(before, made, rows, all_of_it=True)
    return [before]


def _take_textures(
    best: Offer, maps: Maps, where: NDArray[np.bool_], header: Header, request: Request
) -> NDArray[np.bool_]:
    """Take cosines for maps (n,) that seem to take so many more bytes as samples that those need not be tried."""
    rows = np.flatnonzero(where).tolist()
    if not rows:
        return where
    most = SURE * modes.textured(maps.some(rows), header, request)
    rows, most = [row for row, of_row in zip(rows, most, strict=True) if of_row], most[most > 0]
    sure = np.zeros(len(maps), bool)
    if rows:
        offer = modes.as_cosines(maps.some(rows), header, request, most)
        offer.bytes[offer.bytes >= most] = np.inf
        modes.take(best, offer, rows)
        sure[rows] = np.isfinite(offer.bytes)
    return sure


def _try_latents(
    best: Offer,
    maps: Maps,
    where: NDArray[np.bool_],
    header: Header,
    request: Request,
    codebook: Codebook,
    device: torch.device,
) -> list[Offer]:
    """Latents, alone or with a residual, for maps that take more bytes without: searched for where it may pay.

    Where cosines stay the cheapest for some maps that latents keep, also latents for all of those.
    """
    alone = modes.nothing(len(maps))
    drift = codebook.drift * abs(header.scale)
    settled = _textures(codebook)  # a search changes nothing of cosines
    for rows in _by_shape(maps, np.flatnonzero(where & (best.bytes > LATENT_BYTES)).tolist()):
        own = maps.some(rows)
        most = None if request.effort else best.bytes[rows]  # a search may come down from more
        latents = modes.fitted(own, header, request, codebook, device, 0, most)
        for effort in dict.fromkeys((0, request.effort)):
            if effort:
                latents = modes.fitted(own, header, request, codebook, device, effort, best.bytes[rows])
            offer = modes.as_latents(own, latents, header, request, drift)
            modes.take(best, offer, rows)
            modes.take(alone, offer, rows)
            samples = ~np.isin(best.kinds[rows], COSINE_KINDS)  # a residual does not win over cosines
            left = np.flatnonzero(samples & (latents.bytes < WORTH * best.bytes[rows])).tolist()
            if request.latent == "entropy" and left:
                part = modes.as_corrected(own.some(left), latents.some(left), header, request, drift)
                modes.take(best, part, [rows[i] for i in left])
            keep = _promising(offer, own, best.bytes[rows], latents, request)
            if codebook.faulted_tables and request.max_error is None:
                keep[:] = True  # what the network comes to says nothing of faults
            smooth = np.isin(latents.kinds, settled)
            keep &= ~smooth | np.array(
                [bool(s) and may_be_told(m) for s, m in zip(smooth, own.samples, strict=True)]
            )
            rows = [row for row, k in zip(rows, keep, strict=True) if k]
            if not rows:
                break
            own = maps.some(rows)
    alone.bytes[~np.isin(best.kinds, COSINE_KINDS)] = np.inf
    if not np.isfinite(alone.bytes).any():
        return []
    every = modes.copied(best)
    modes.take(every, alone, range(len(maps)), all_of_it=True)
    return [every]


def _textures(codebook: Codebook) -> list[int]:
    """Kinds of maps that are taken for textures: latents of cosines, corrected or not, and integers."""
    firsts = (container.KIND_ENTROPY, container.KIND_RESIDUAL)
    cosines = [first + t for first in firsts for t in codebook.smooth_tables]
    return [*cosines, container.KIND_EDGES, container.KIND_SMOOTH]


def _promising(
    offer: Offer, maps: Maps, best: NDArray[np.float64], latents: modes.Latents, request: Request
) -> NDArray[np.bool_]:
    """Maps (n,) whose latents, searched for, may come to what is asked in fewer bytes than the best so far."""
    wanted = [
        request.least_psnr
        if request.max_error is None
        else 20 * float(np.log10(max(span, 1e-30) / request.max_error)) + CREST
        for span in maps.spans
    ]
    return (offer.psnr + IN_REACH >= np.array(wanted)) & (latents.bytes < best)


def _by_shape(maps: Maps, rows: Sequence[int]) -> list[list[int]]:
    """Rows of one shape together."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for row in rows:
        shapes.setdefault(maps.samples[row].shape, []).append(row)
    return list(shapes.values())


def _pack(maps: Maps, best: Offer, header: Header, codebook: Codebook) -> bytes:
    """The payload of a MAPS section of what was taken."""
    kinds, stored = best.kinds, best.stored

    def held(*wanted: int) -> list[Any]:
        return [stored[row] for row in np.flatnonzero(np.isin(kinds, wanted)).tolist()]

    def made(own: list[Any], encode: Callable[[list[Any]], bytes]) -> bytes:
        if not own:
            return b""
        found = best.streams.get(modes.of(own))
        return encode(own) if found is None else bytes(found[1])

    coded = (kinds >= container.KIND_ENTROPY) & (kinds < container.KIND_COSINES_RESIDUAL)
    tables = np.where(coded, (kinds - container.KIND_ENTROPY) % container.MAX_TABLES, 255)
    groups = []
    for t in sorted({int(t) for t in tables[coded]}):
        rows = np.flatnonzero(tables == t).tolist()
        integers = [stored[r][0] if kinds[r] >= container.KIND_RESIDUAL else stored[r] for r in rows]
        groups.append((t, np.stack(integers)))
    mantissa = exact.mantissa(np.dtype(header.dtype))
    of_edges, of_smooth = pixels.models(header.generation)
    heights = [len(maps.samples[row]) for row in np.flatnonzero(np.isin(kinds, LAYERED_KINDS)).tolist()]
    layered = held(*LAYERED_KINDS)
    edges = held(container.KIND_EDGES, container.KIND_EDGES_EXACT)
    smooth = held(container.KIND_SMOOTH, container.KIND_SMOOTH_EXACT)
    cosines = [s.base if isinstance(s, Corrected) else s for s in held(*COSINE_KINDS)]
    corrections = [
        s.correction if isinstance(s, Corrected) else s[1] for s in held(*range(container.KIND_RESIDUAL, 256))
    ]
    return blocks.pack_block(
        blocks.Block(
            kinds=kinds,
            entropy=entropy.encode(groups, codebook.models) if groups else b"",
            int8=b"".join(
                np.float32(scale).astype("<f4").tobytes() + q.tobytes()
                for scale, q in held(container.KIND_INT8)
            ),
            fp16=b"".join(q.tobytes() for q in held(container.KIND_FP16)),
            exact=b"".join(m.tobytes() for m in held(container.KIND_EXACT)),
            layers=made(layered, lambda m: modes.encode_layers(m, heights, header)[0]),
            edges=made(edges, lambda m: pixels.encode(m, of_edges, mantissa)[0]),
            smooth=made(smooth, lambda m: pixels.encode(m, of_smooth, mantissa)[0]),
            residual=made(corrections, lambda m: pixels.encode(m, of_smooth, 0)[0]),
            cosines=made(cosines, lambda m: spectrum_coder.encode(m)[0]),
        ),
        header.features,
    )

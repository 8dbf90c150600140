"""Latents <-> integers."""

import numpy as np
from numpy.typing import NDArray

from .prior import Prior

INT8_MAX = 127


def to_integers(latents: NDArray[np.float32], prior: Prior, table: int) -> NDArray[np.int32]:
    """Latents (B, D) in latent units to integers (B, D) that a table set can tell: rounded, then clipped to those."""
    q = np.rint(latents / prior.step[table])
    return np.clip(q, prior.first[table], prior.last[table]).astype(np.int32)


def from_integers(q: NDArray[np.int32], prior: Prior, table: int) -> NDArray[np.float32]:
    """Integers (B, D) to latents (B, D), float32 in latent units."""
    return q.astype(np.float32) * prior.step[table]


def to_int8(latents: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Latents (B, D) to a scale (B,) and int8 (B, D): latent = scale x integer, each map by its own largest number."""
    scale = (np.abs(latents).max(axis=1) / INT8_MAX).astype(np.float32)
    q = np.rint(latents / np.maximum(scale, np.finfo(np.float32).tiny)[:, None])
    return scale, np.clip(q, -INT8_MAX, INT8_MAX).astype(np.int8)


def from_int8(scale: NDArray[np.float32], q: NDArray[np.int8]) -> NDArray[np.float32]:
    """A scale (B,) and int8 (B, D) to latents (B, D), float32."""
    return q.astype(np.float32) * scale[:, None]


def to_fp16(latents: NDArray[np.float32]) -> NDArray[np.float16]:
    """Latents (B, D) to little-endian float16, clipped to its range."""
    limit = np.finfo(np.float16).max
    return np.clip(latents, -limit, limit).astype("<f2")


def from_fp16(q: NDArray[np.float16]) -> NDArray[np.float32]:
    """Float16 (B, D) to latents (B, D), float32."""
    return q.astype(np.float32)


def whole(plain: NDArray[np.float32], latent: int) -> NDArray[np.float32]:
    """Latents (n, latent) whose first numbers are kept (n, P): the others are 0."""
    return np.pad(plain, ((0, 0), (0, latent - plain.shape[1])))

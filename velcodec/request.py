"""What is asked of an encoding."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from .errors import UsageError

LATENT_KINDS = ("entropy", "int8", "fp16")
EFFORTS = 10
USUAL_PSNR = 35.0


@dataclass(frozen=True)
class Request:
    """What every map must keep: a PSNR in dB, a bound on the error of every sample, every bit, or nothing.

    At most one of `latent_only`, `lossless` and `max_error` (in the array's units) is given; without any, `psnr` holds,
    35 dB unless said. With `latent_only` it is what latents are fitted for, where they reach it.
    """

    psnr: float | None = None
    max_error: float | None = None
    latent_only: bool = False
    lossless: bool = False
    latent: str = "entropy"
    effort: int = 3

    def __post_init__(self) -> None:
        numbers: list[tuple[str, Any, type]] = [
            ("a PSNR is a number", self.psnr, Real),
            ("max-error is a number", self.max_error, Real),
            ("effort is a whole number", self.effort, Integral),
        ]
        for what, given, kind in numbers:
            if given is not None and not isinstance(given, kind):
                raise UsageError(f"{what}, not {given!r}")
        if self.latent_only + self.lossless + (self.max_error is not None) > 1:
            raise UsageError("latent-only, lossless and max-error exclude each other")
        if self.latent not in LATENT_KINDS:
            raise UsageError(f"latent kind {self.latent!r} is not known; use {', '.join(LATENT_KINDS)}")
        if not 0 <= self.effort < EFFORTS:
            raise UsageError(f"effort must be 0 to {EFFORTS - 1}, not {self.effort}")
        if self.psnr is not None and (self.lossless or self.max_error is not None):
            raise UsageError("a PSNR is not for lossless files, nor beside max-error")
        if self.psnr is not None and not 0 < self.psnr <= 200:
            raise UsageError(f"PSNR must be above 0 and at most 200 dB, not {self.psnr:g}")
        if self.max_error is not None and not 0 < self.max_error < float("inf"):
            raise UsageError(f"max-error must be above 0 and finite, not {self.max_error:g}; 0 is lossless")

    @property
    def least_psnr(self) -> float:
        """The PSNR that every map keeps, where that is what is asked."""
        return USUAL_PSNR if self.psnr is None else self.psnr

    @property
    def goal(self) -> float | None:
        """The PSNR that latents are fitted for; None for what weighs least."""
        if self.lossless or self.max_error is not None or (self.latent_only and self.psnr is None):
            return None
        return self.least_psnr

    @property
    def adaptive(self) -> bool:
        """Whether records may be of the modes beside latents."""
        return not self.latent_only

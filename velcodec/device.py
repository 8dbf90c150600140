"""Which device to compute on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import UsageError

if TYPE_CHECKING:
    import torch


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is faster than float32 there; on a CPU without it, it is emulated and slower."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch has no public name for it
    return bool(supported and supported())


def resolve_device(name: str = "auto") -> torch.device:
    """'auto' (a GPU where there is one), 'cpu', 'cuda' or 'cuda:N'. Raises UsageError where it is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is not known; use auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported; use auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available here; use --device cpu")
    return device


def check_device(name: str) -> None:
    """Raises UsageError for a device that is not there. The usual ones always are, and torch need not be imported."""
    if name not in ("auto", "cpu"):
        resolve_device(name)

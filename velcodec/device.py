"""Which device to compute on, memory for it, and cores."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from .errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


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


def resolve_devices(names: str) -> list[torch.device]:
    """Several devices, as in 'cuda:0,cuda:1', or one. Raises UsageError where one is not there."""
    return [resolve_device(name.strip()) for name in names.split(",")]


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(work: Callable[..., None], tasks: Sequence[tuple[Any, ...]]) -> None:
    """Do tasks in threads: one a core, or as many as torch is to use. A DataLoader's worker has one, as others have.

    Each has torch compute by itself: threads of threads would wait for each other.
    """
    torch = sys.modules.get("torch")
    usual = torch.get_num_threads() if torch else cores()
    threads = min(len(tasks), cores(), usual)
    if threads < 2:
        for task in tasks:
            work(*task)
        return
    alone = partial(torch.set_num_threads, 1) if torch else None
    with ThreadPoolExecutor(threads, initializer=alone) as pool:
        try:
            for _ in pool.map(lambda task: work(*task), tasks):
                pass
        finally:
            if torch:
                torch.set_num_threads(usual)  # threads to come begin with what was said last


def points_at_once(device: torch.device, usual: int, size: int) -> int:
    """Samples to work on at a time, each of so many bytes: the usual number on a CPU, on a GPU what its memory holds.

    That is a quarter of what is free: others may be at work there too.
    """
    if device.type != "cuda":
        return usual
    import torch

    return max(usual, torch.cuda.mem_get_info(device)[0] // 4 // size)


def on_device(values: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    """An array on a device; to a GPU it goes from pinned memory, while the host goes on."""
    import torch

    host = torch.from_numpy(values)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


def check_device(name: str) -> None:
    """Raises UsageError for a device that is not there. The usual ones always are, and torch need not be imported."""
    if name not in ("auto", "cpu"):
        resolve_device(name)


@cache
def keep_freed_memory() -> None:
    """Have the C library keep up to 256 MiB that tensors free, for the next ones.

    glibc gives a large tensor's memory back to the system at once, and faults it in anew for the next: with batch
    after batch of equal tensors that is up to half the time on a CPU. Who sets the allocator in the environment keeps
    that setting; elsewhere than on glibc nothing changes.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 25)
        mallopt(M_TRIM_THRESHOLD, 1 << 28)

"""One training run in several processes, as torchrun starts them: each takes its share of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from .device import resolve_device
from .errors import UsageError


@dataclass(frozen=True)
class Team:
    """The processes of a run, and which of them this one is. Number 0 measures, reports and writes."""

    number: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this process measures, reports and writes for all."""
        return self.number == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch (B, ...), which all draw alike."""
        return batch[self.number :: self.size].to(self.device)

    def wrapped(self, objective: nn.Module) -> nn.Module:
        """An objective whose gradients are the mean over all processes."""
        return objective if self.size == 1 else DistributedDataParallel(objective, broadcast_buffers=False)

    def check(self, batch: int) -> None:
        """Raises UsageError for a batch that does not part evenly: gradients would weigh its maps differently."""
        if batch % self.size:
            raise UsageError(f"a batch of {batch} maps does not part evenly among {self.size} processes")


@contextmanager
def team(device: str) -> Iterator[Team]:
    """The team that torchrun's environment names, or this process alone.

    Args:
        device: "auto", "cpu" or "cuda"; on GPUs every process takes the one of its local number.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    where = resolve_device(device)
    if size == 1:
        yield Team(device=str(where))
        return
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(where)
    distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), size, str(where))
    finally:
        distributed.destroy_process_group()

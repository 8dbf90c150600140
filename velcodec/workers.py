"""Workers that tasks are given to: processes, or this one alone; and what they do where something dies.

Those of other machines are in `cluster`.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from multiprocessing.queues import SimpleQueue
from typing import Any, Protocol, TypeVar

import torch

from .device import cores, resolve_devices
from .errors import VelcodecError

Result = TypeVar("Result")
AHEAD = 2  # tasks a worker, given out before they are needed
# What numpy's and torch's libraries take their number of threads from. Idle ones of OpenBLAS keep a core busy.
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
PER_GPU = 4  # workers: while one computes there, others read, code and write


class Team(Protocol):
    """Workers that tasks are given to: processes of this machine, or a cluster's."""

    @property
    def size(self) -> int:
        """How many tasks are done at once."""

    def map(
        self, work: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Result]]:
        """(number of a task, its result), in the order that they end. Raises what a task raises, VelcodecError."""


class Processes:
    """Processes as a team, given tasks a few ahead; without a pool this process does them."""

    def __init__(self, pool: ProcessPoolExecutor | None, workers: int) -> None:
        self._pool, self.size = pool, workers

    def map(
        self, work: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Result]]:
        if self._pool is None:
            yield from ((number, work(*task)) for number, task in enumerate(tasks))
            return
        waiting = iter(enumerate(tasks))
        running: dict[Future[Result], int] = {}
        try:
            while True:
                for number, task in waiting:
                    running[self._pool.submit(work, *task)] = number
                    if len(running) >= AHEAD * self.size:
                        break
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            raise VelcodecError(
                "a worker was killed; what is done is kept: run again with --resume"
            ) from error


def crew(workers: int | None, device: str) -> int:
    """How many workers there are to be: as many as cores unless said, on GPUs a few each. Raises UsageError."""
    devices = resolve_devices(device)
    if workers is not None:
        return max(1, workers)
    gpus = sum(one.type == "cuda" for one in devices)
    return max(len(devices), min(cores(), PER_GPU * gpus) if gpus else cores())


def own_device(devices: str) -> torch.device:
    """Of several devices, as in "cuda:0,cuda:1", the one that is this worker's."""
    several = resolve_devices(devices)
    return several[_number % len(several)]


@contextmanager
def team(workers: int) -> Iterator[Processes]:
    """Workers, ended at the end: at once where something went wrong, and with this process if it is killed.

    One worker is this process itself.
    """
    if workers == 1:
        yield Processes(None, 1)
        return
    context = multiprocessing.get_context("spawn")
    numbers = context.SimpleQueue()
    for number in range(workers):
        numbers.put(number)
    pool = ProcessPoolExecutor(workers, context, _begin, (numbers,))
    with _a_thread_each():
        try:
            yield Processes(pool, workers)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.kill()
            raise
        pool.shutdown()


@contextmanager
def _a_thread_each() -> Iterator[None]:
    """Processes that are started now have one thread for arithmetic, unless the environment says otherwise."""
    unset = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "1"))
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


_number = 0  # of this worker in its team


def _begin(numbers: "SimpleQueue[int]") -> None:
    """Make a worker ready: its number, one core, no interrupt of its own, and an end where its parent has one."""
    global _number
    _number = numbers.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)

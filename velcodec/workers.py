"""Workers that tasks are given to: processes, or this one alone; and what they do where something dies."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

import torch

from .device import resolve_device
from .errors import VelcodecError

Result = TypeVar("Result")
AHEAD = 2  # tasks a worker, given out before they are needed


class Team:
    """Worker processes that tasks are given to, a few ahead; without a pool this process does them."""

    def __init__(self, pool: ProcessPoolExecutor | None, workers: int) -> None:
        self._pool, self._workers = pool, workers

    def map(
        self, work: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Result]]:
        """(number of a task, its result), in the order that they end. Raises what a task raises, VelcodecError."""
        if self._pool is None:
            yield from ((number, work(*task)) for number, task in enumerate(tasks))
            return
        waiting = iter(enumerate(tasks))
        running: dict[Future[Result], int] = {}
        try:
            while True:
                for number, task in waiting:
                    running[self._pool.submit(work, *task)] = number
                    if len(running) >= AHEAD * self._workers:
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
    """How many workers there are to be: as many as cores unless said, one for a GPU."""
    if workers is not None:
        return max(1, workers)
    if resolve_device(device).type == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def team(workers: int) -> Iterator[Team]:
    """Workers, ended at the end: at once where something went wrong, and with this process if it is killed.

    One worker is this process itself.
    """
    if workers == 1:
        yield Team(None, 1)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    try:
        yield Team(pool, workers)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.kill()
        raise
    pool.shutdown()


def _begin() -> None:
    """Make a worker ready: its share of the cores, no interrupt of its own, and an end where its parent has one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)

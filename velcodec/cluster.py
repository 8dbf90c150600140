"""The workers of a Dask cluster as a team: a shard goes to some worker on some machine, and to another if that is lost.

    client, here -> scheduler -> workers: parts, in a folder that all machines share -> merged here

Scheduler and workers have this release of velcodec. What a lost worker was at, Dask gives to others; what it had done
is on disk.
"""

import json
import logging
import os
import pydoc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from . import __version__
from .errors import UsageError, VelcodecError

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")
Notice = Callable[[str], None]

CONNECT, WORKERS = 10.0, 60.0  # seconds to reach a scheduler, and to wait for workers
LOOK = 10.0  # seconds without a result, after which to see if there are workers still
LOGGERS = ("distributed", "distributed.client", "distributed.gc")  # that Dask gives levels of their own


class Cluster:
    """The workers of a Dask cluster, those that join during a run too."""

    def __init__(self, client: "Client", name: str, tell: Notice) -> None:
        self._client, self._name, self._tell = client, name, tell

    @property
    def size(self) -> int:
        """How many tasks are done at once: the threads of all workers."""
        return sum(self._client.nthreads().values())

    def map(
        self, work: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Result]]:
        """(number of a task, its result), in the order that they end. Raises what a task raises, VelcodecError."""
        from distributed import CancelledError, Future, KilledWorker
        from distributed.comm.core import CommClosedError

        ended: SimpleQueue[Future[Result]] = SimpleQueue()
        running: dict[Future[Result], int] = {}
        try:
            if tasks:
                # All at once, as one map: Dask keeps them back itself, and knows how far a cluster may grow for them.
                there = partial(_there, __version__, work)
                futures = self._client.map(there, *zip(*tasks, strict=True), key=work.__name__, pure=False)
                running = {future: number for number, future in enumerate(futures)}
                del futures  # a future that is kept would be done again if the worker with its result is lost
            for future in running:
                future.add_done_callback(ended.put)
            while running:
                try:
                    future = ended.get(timeout=LOOK)
                except Empty:
                    self.wait_for_workers()
                    continue
                yield running.pop(future), future.result()
        except KilledWorker as error:
            raise VelcodecError(
                f"worker after worker was killed at the same file, the last {error.last_worker.address}: its log may "
                "say why, perhaps for want of memory; what is done is kept: run again with --resume"
            ) from error
        except (CancelledError, CommClosedError) as error:
            raise VelcodecError(
                f"the scheduler {self._name} was lost; what is done is kept: run again with --resume"
            ) from error

    def wait_for_workers(self) -> None:
        """Return once there is a worker. Raises VelcodecError where none comes."""
        from distributed import TimeoutError as Late

        if self._client.nthreads():
            return
        self._tell(f"the scheduler {self._name} has no workers; waiting {WORKERS:.0f} s for some")
        try:
            self._client.wait_for_workers(1, WORKERS)
        except Late as error:
            raise VelcodecError(
                f"the scheduler {self._name} has no workers; start some with 'dask worker', and run again with --resume"
            ) from error

    def check(self, folder: Path | None) -> None:
        """Raises UsageError where scheduler and workers have another velcodec, or a worker does not see a folder."""
        find = (pydoc.locate, "velcodec.__version__")  # of Python's own: it is there where velcodec is not
        _check_version(f"the scheduler {self._name}", self._client.run_on_scheduler(*find), __version__)
        for worker, version in self._client.run(*find).items():
            _check_version(f"the worker {worker}", version, __version__)
        if folder is None:
            return
        for worker, seen in self._client.run(os.path.isdir, str(folder)).items():
            if not seen:
                raise UsageError(
                    f"the worker {worker} does not see {folder}; files and output must be where all workers see them"
                )


@contextmanager
def cluster(scheduler: str, tell: Notice, folder: Path | None = None) -> Iterator[Cluster]:
    """The workers of a scheduler. At the end tasks that have not begun are called off; those that have, end.

    Args:
        scheduler: its address, or the .json file that it has written.
        tell: called with what a user should know, a line each.
        folder: that all workers must see.

    Raises:
        UsageError: no Dask here, no scheduler there, or workers that cannot do this run's tasks. VelcodecError: no
            workers.
    """
    try:
        from distributed import Client
        from distributed.comm.addressing import resolve_address
    except ModuleNotFoundError as error:
        raise UsageError(
            "a cluster needs Dask's distributed; install it with: pip install 'velcodec[dask]'"
        ) from error
    with _quiet():
        try:
            address = resolve_address(_address(scheduler))  # one that is none, Client would not get over
            client = Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise UsageError(f"no scheduler answers at {scheduler} ({error}); check the address") from error
        with client:
            team = Cluster(client, scheduler, tell)
            team.wait_for_workers()
            team.check(folder)
            yield team


def _address(scheduler: str) -> str:
    """The address in the file that a scheduler has written, or the one given."""
    if not scheduler.endswith(".json"):
        return scheduler
    try:
        return str(json.loads(Path(scheduler).read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{scheduler} is no file that 'dask scheduler --scheduler-file' has written; check the path"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask logs nothing: what a run comes to, it says itself."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# What workers do


def _there(version: str, work: Callable[..., Result], *task: Any) -> Result:
    """Do a task. Raises UsageError on a worker, perhaps one that has joined since, that has another release."""
    from distributed import get_worker

    worker = get_worker()
    _check_version(f"the worker {worker.address}", __version__, version)
    if worker.state.nthreads > 1:
        import torch

        # Each thread has a core. One that is alone keeps what its worker has: one where Dask's nanny started it, else
        # OMP_NUM_THREADS or all cores, which nobody else uses then.
        torch.set_num_threads(1)
    return work(*task)


def _check_version(whose: str, theirs: object, ours: str) -> None:
    if theirs != ours:
        raise UsageError(
            f"{whose} has {f'velcodec {theirs}' if theirs else 'no velcodec'}, this is {ours}; install the same there"
        )

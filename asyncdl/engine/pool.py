"""The process pool: a task in, an outcome out; a crash or a timeout costs that one task.

The only function that is ever submitted is `workers.entry.run`. Children are spawned, never forked: the engine has
threads and an event loop.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

from pebble import ProcessExpired, ProcessPool

from asyncdl.core.names import display
from asyncdl.engine.attempts import WorkerCrashError
from asyncdl.errors import TransferError
from workers import entry
from workers.contract import Outcome, Task

START_S = 60.0
"""A child starts and takes its task within a second; what takes this long will never come. Guess."""

MEMORY_LIMIT_BYTES = 8 << 30
"""Address space of a child: Arrow's allocator reserves far more than it uses (8 GiB suffices, measured)."""


class Pool:
    """Owner of the children. Use as a context manager; leaving it early kills what runs.

    n_processes: children at most; they are started by the first task.
    """

    def __init__(self, n_processes: int) -> None:
        self.n_processes = n_processes
        for name, value in entry.THREAD_ENV.items():
            os.environ.setdefault(name, value)  # read by native libraries when a child loads them
        self._pool = self._new_pool()
        self._given_up: list[ProcessPool] = []

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.n_processes,
            context=multiprocessing.get_context("spawn"),
            initializer=entry.prepare,
            initargs=(MEMORY_LIMIT_BYTES,),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._pool.close()  # type: ignore[no-untyped-call]
        else:
            self._pool.stop()  # type: ignore[no-untyped-call]
        for broken in self._given_up:
            broken.stop()  # type: ignore[no-untyped-call]
        for pool in (self._pool, *self._given_up):
            pool.join()

    def _working(self) -> ProcessPool:
        """Return a pool that takes tasks. pebble gives one up for good when a child dies that has no task."""
        if not self._pool.active:
            self._give_up(self._pool)
        return self._pool

    def _give_up(self, pool: ProcessPool) -> None:
        if pool is self._pool:
            self._given_up.append(pool)
            self._pool = self._new_pool()

    async def run(self, task: Task, *, timeout_s: float) -> Outcome:
        """Return the task's outcome. A cancelled caller kills the child that has the task.

        Raises WorkerCrashError when the child died or took longer than timeout_s, TransferError("worker_error")
        when it raised: that is a bug.
        """
        pool = self._working()
        future = pool.schedule(entry.run, args=(task,), timeout=timeout_s)
        try:
            async with asyncio.timeout(timeout_s + START_S) as scope:
                return await asyncio.wrap_future(future)
        except ProcessExpired as error:
            text = f"the worker process died (exit code {error.exitcode})"
            raise WorkerCrashError("worker_crashed", text) from error
        except BrokenProcessPool as error:
            raise TransferError("worker_error", "the process pool broke and is built again") from error
        except TimeoutError as error:
            if scope.expired():  # a child died as it took the task, in its hand the lock that all children share
                self._give_up(pool)
                raise TransferError("worker_error", "no worker took the task; the pool is built again") from error
            raise WorkerCrashError("worker_timeout", f"the worker took longer than {timeout_s:.0f} s") from error
        except asyncio.CancelledError:
            future.cancel()  # type: ignore[no-untyped-call]
            raise
        except Exception as error:
            raise TransferError("worker_error", f"{type(error).__name__}: {display(str(error))}") from error

"""Blocking calls in threads, awaited to their end.

A thread cannot be cancelled. A caller that is waits for it all the same and is cancelled then: otherwise a file
descriptor could be closed, and its number used again, under a thread that is about to write to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

N_DISK_THREADS = 8
"""Writes, syncs and digests at once. Guess: enough to keep one disk busy, few enough to keep 2 cores free."""


class Threads:
    """Owner of the disk threads; close it after everything that uses it has ended."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(N_DISK_THREADS, thread_name_prefix="disk")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns or raises, after it has ended, even when the caller is cancelled.

        What it raises goes before the cancellation: the kernel tells of a failed fsync once, and who does not hear it
        takes the next one's success for the truth.
        """
        future = asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait((future,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None and future.exception() is None:
            raise cancelled
        return future.result()

    def close(self) -> None:
        self._executor.shutdown()

"""Blocking calls in threads, awaited to their end.

A thread cannot be cancelled. A caller that is waits for it all the same and is cancelled then: otherwise a file
descriptor could be closed, and its number used again, under a thread that is about to write to it.

Ends travel back in batches: however many calls have ended, the loop is woken once. `run_in_executor` wakes it for
each, which costs more than a small write.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

N_DISK_THREADS = 8
"""Writes, syncs and digests at once. Guess: enough to keep one disk busy, few enough to keep 2 cores free."""


class Wait:
    """One caller, who waits for something that cannot be called off. Made, waited on and ended in the loop."""

    __slots__ = ("_future", "_is_over", "_loop", "is_cancelled")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] = loop.create_future()
        self._is_over = False
        self.is_cancelled = False

    def end(self) -> None:
        self._is_over = True
        if not self._future.done():
            self._future.set_result(None)

    async def until_over(self) -> asyncio.CancelledError | None:
        """Return at the end and not before; with the last cancellation that came meanwhile, which is its caller's."""
        cancelled: asyncio.CancelledError | None = None
        while not self._is_over:
            try:
                await self._future
            except asyncio.CancelledError as error:
                cancelled, self.is_cancelled = error, True
                self._future = self._loop.create_future()  # a cancellation uses one up
        return cancelled


class Threads:
    """Owner of the disk threads of the running loop; close it after everything that uses it has ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(N_DISK_THREADS, thread_name_prefix="disk")
        self._lock = threading.Lock()
        self._ended: list[Wait] = []
        self._n_calls = 0

    @property
    def is_full(self) -> bool:
        """Whether as many calls are under way as there are threads, or more wait for one."""
        return self._n_calls >= N_DISK_THREADS

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns or raises, after it has ended, even when the caller is cancelled.

        What it raises goes before the cancellation: the kernel tells of a failed fsync once, and who does not hear it
        takes the next one's success for the truth.
        """
        wait = Wait(self._loop)
        call = self._executor.submit(function, *args, **kwargs)
        self._n_calls += 1
        call.add_done_callback(partial(self._note_end, wait))
        cancelled = await wait.until_over()
        if cancelled is not None and call.exception() is None:
            raise cancelled
        return call.result()

    def _note_end(self, wait: Wait, _call: Future[T]) -> None:
        """In the thread. Only who finds the list empty wakes the loop, which takes all there is when it comes."""
        with self._lock:
            is_first = not self._ended
            self._ended.append(wait)
        if is_first:
            self._loop.call_soon_threadsafe(self._hand_back)

    def _hand_back(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, []
        self._n_calls -= len(ended)
        for wait in ended:
            wait.end()

    def close(self) -> None:
        """Wait for the threads to end what they do."""
        self._executor.shutdown()

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


class _Wait:
    """One caller. future: what it waits on by now; a cancellation uses one up. is_over: its call has ended."""

    __slots__ = ("future", "is_over")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self.is_over = False


class Threads:
    """Owner of the disk threads of the running loop; close it after everything that uses it has ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(N_DISK_THREADS, thread_name_prefix="disk")
        self._lock = threading.Lock()
        self._ended: list[_Wait] = []
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
        wait = _Wait(self._loop)
        call = self._executor.submit(function, *args, **kwargs)
        self._n_calls += 1
        call.add_done_callback(partial(self._note_end, wait))
        cancelled: asyncio.CancelledError | None = None
        while not wait.is_over:
            try:
                await wait.future
            except asyncio.CancelledError as error:
                cancelled = error
                wait.future = self._loop.create_future()
        if cancelled is not None and call.exception() is None:
            raise cancelled
        return call.result()

    def _note_end(self, wait: _Wait, _call: Future[T]) -> None:
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
            wait.is_over = True
            if not wait.future.done():
                wait.future.set_result(None)

    def close(self) -> None:
        """Wait for the threads to end what they do."""
        self._executor.shutdown()

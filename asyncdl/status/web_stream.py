"""One snapshot a second for everybody who looks, and none while nobody does; and the stream that carries it.

A look is asked for, never scheduled: whoever needs one gets the last one while it is fresh, and of those who need a new
one the first takes it for all. The queue is read in threads, each time over a connection of its own, so that a queue
that was replaced or migrated is seen, and no cursor outlives a page. Knows no templates: `render` makes what is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from asyncdl.errors import AsyncdlError
from asyncdl.status.snapshot import Snapshot
from asyncdl.status.trend import Trend
from asyncdl.store.reader import Reader

T = TypeVar("T")
Rates = tuple[tuple[float, float], ...]
"""(UTC seconds, bytes per second) in order."""

HISTORY_S = 300.0
"""How far back the chart of the rate goes; as far as it was looked at."""

MAX_STREAMS = 64
"""Pages that are open at once; each holds a connection and gets some 20 kB a second. Guess."""

N_THREADS = 2
"""A slow page must not hold the second's snapshot up; more threads would only take turns on the disk."""


@dataclass(frozen=True, slots=True)
class Look:
    """A snapshot and what is shown of it. took_s: to take it."""

    shot: Snapshot
    html: str
    took_s: float


class Watch:
    """Owner of the threads that read the queue for the page. Belongs to one event loop."""

    def __init__(
        self, queue: Path, take: Callable[[Reader], Snapshot], render: Callable[[Snapshot, Rates], str], every_s: float
    ) -> None:
        self._queue = queue
        self._take_one = take
        self._render = render
        self._trend = Trend()
        self._every_s = every_s
        self._threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="web")
        self._lock = asyncio.Lock()
        self._look: Look | None = None
        self._due = 0.0
        self._n_forgotten = 0
        self._rates: deque[tuple[float, float]] = deque()
        self._streams: set[asyncio.Task[None]] = set()
        self.n_taken = 0

    async def ask(self, question: Callable[[Reader], T]) -> T:
        """Return what `question` says of the queue. Raises ConfigError where there is none that can be read."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, question)

    def _asked(self, question: Callable[[Reader], T]) -> T:
        with Reader(self._queue) as reader:
            return question(reader)

    async def look(self) -> Look:
        """Return the last look, or a new one if that is stale. Raises as `ask` does."""
        async with self._lock:
            if self._look is None or asyncio.get_running_loop().time() >= self._due:
                n_forgotten = self._n_forgotten
                self._look = await self.ask(self._take)
                is_fresh = n_forgotten == self._n_forgotten  # else it may have been taken before what was done
                self._due = asyncio.get_running_loop().time() + self._every_s if is_fresh else 0.0
            return self._look

    def _take(self, reader: Reader) -> Look:
        began = time.perf_counter()
        shot = self._trend.follow(self._take_one(reader))
        took_s = time.perf_counter() - began
        self.n_taken += 1
        self._rates.append((shot.at, shot.per_s))
        while not shot.at - HISTORY_S <= self._rates[0][0] <= shot.at:  # too old, or the clock was put back
            self._rates.popleft()
        rates = tuple(self._rates)
        return Look(shot, self._render(shot, rates), took_s)

    def forget(self) -> None:
        """Something was done: the next look must show it, also where one is under way just now."""
        self._due = 0.0
        self._n_forgotten += 1

    async def stream(self, request: web.Request, trouble: Callable[[AsyncdlError], str]) -> web.StreamResponse:
        """Answer with one event `overview` for each look until the other side goes (server-sent events: HTML, 9.2).

        trouble: what to send where the queue cannot be read; it is tried again. Raises HTTPServiceUnavailable when
        MAX_STREAMS are open.
        """
        if len(self._streams) >= MAX_STREAMS:
            raise web.HTTPServiceUnavailable(text="too many pages are open\n")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        sending = asyncio.create_task(self._send(response, trouble), name="web stream")
        self._streams.add(sending)
        try:
            await asyncio.wait([sending])
        finally:
            sending.cancel()
            self._streams.discard(sending)
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error
        return response

    async def _send(self, response: web.StreamResponse, trouble: Callable[[AsyncdlError], str]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                html = (await self.look()).html
                wait_s = self._due - loop.time()
            except AsyncdlError as error:
                html, wait_s = trouble(error), self._every_s
            try:
                await response.write(event("overview", html))
            except ConnectionError:
                return
            await asyncio.sleep(max(wait_s, 0.0))

    async def end_streams(self, app: web.Application) -> None:
        """Let the connections that never end by themselves go (a signal of aiohttp: on_shutdown)."""
        del app
        for sending in self._streams:
            sending.cancel()

    async def close(self, app: web.Application) -> None:
        """End the threads; a look that is under way is finished first (a signal of aiohttp: on_cleanup)."""
        del app
        await asyncio.to_thread(self._threads.shutdown)


def event(name: str, text: str) -> bytes:
    """Return one server-sent event; each line of `text` is a data line of it."""
    data = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: {name}\n{data}\n".encode()

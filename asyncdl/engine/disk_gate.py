"""Closed while the file system of the data dir has no room. Jobs wait; none fails, none is discarded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from asyncdl.core.events import DiskPaused, DiskResumed, Event
from asyncdl.disk import room
from asyncdl.engine.threads import Threads

LOOK_EVERY_S = 1.0
"""Nobody tells when room appears, so it is looked for."""


class DiskGate:
    """Owner of the open/closed state. opened is called each time room appears."""

    def __init__(self, data_dir: Path, threads: Threads, listen: Callable[[Event], None]) -> None:
        self._data_dir = data_dir
        self._threads = threads
        self._listen = listen
        self._closed = asyncio.Event()
        self._needed_bytes = 0
        self.opened: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        return not self._closed.is_set()

    def close(self, needed_bytes: int) -> None:
        """Pause: a write of `needed_bytes` found no room."""
        if self.is_open:
            self._needed_bytes = needed_bytes
            self._listen(DiskPaused(needed_bytes=needed_bytes, free_bytes=room.free(self._data_dir).free_bytes))
            self._closed.set()

    async def _look(self) -> room.Room:
        return await self._threads.call(room.free, self._data_dir)

    async def watch_for_ever(self) -> None:
        while True:
            await self._closed.wait()
            found = await self._look()
            while not found.holds(self._needed_bytes, 1):
                await asyncio.sleep(LOOK_EVERY_S)
                found = await self._look()
            self._closed.clear()
            self._listen(DiskResumed(free_bytes=found.free_bytes))
            self.opened()

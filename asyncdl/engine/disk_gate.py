"""Closed while the file system of the data dir has no room. Jobs wait; none fails, none is discarded.

It closes before the last bytes are taken: the queue, its WAL and the log may be on the same disk, and what cannot be
written down there is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from asyncdl.core.events import DiskPaused, DiskResumed, Event
from asyncdl.disk import room
from asyncdl.engine.threads import Threads
from asyncdl.errors import TransferError

LOOK_EVERY_S = 1.0
"""Nobody tells when room appears, so it is looked for."""

MAX_PAUSE_S = 60.0
"""Quotas do not show in free space: a gate that opens in vain stays closed for twice as long, up to this. Guess."""

COUNT_ANEW_BYTES = 256 << 20
"""Written at most between two looks at the free space: other programs take room, too. Guess."""


class DiskGate:
    """Owner of the open/closed state and of what may still be written. opened is called each time room appears."""

    def __init__(self, data_dir: Path, threads: Threads, listen: Callable[[Event], None]) -> None:
        self._data_dir = data_dir
        self._threads = threads
        self._listen = listen
        self._closed = asyncio.Event()
        self._needed_bytes = 0
        self._left_bytes = 0
        self._pause_s = LOOK_EVERY_S
        self._opened_at = -MAX_PAUSE_S
        self.opened: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        return not self._closed.is_set()

    def spend(self, n_bytes: int) -> None:
        """Ask for room for a write. Raises TransferError("no_room") where it would reach into the reserve."""
        if self._left_bytes < n_bytes:
            usable_bytes = room.free(self._data_dir).usable_bytes
            if usable_bytes < n_bytes:
                raise TransferError("no_room", f"{usable_bytes} bytes are left before the reserve", retry_after_s=0.0)
            self._left_bytes = min(usable_bytes, COUNT_ANEW_BYTES)
        self._left_bytes -= n_bytes

    def close(self, needed_bytes: int) -> None:
        """Pause: a write of `needed_bytes` found no room."""
        if self.is_open:
            soon = time.monotonic() - self._opened_at < MAX_PAUSE_S
            self._pause_s = min(MAX_PAUSE_S, self._pause_s * 2) if soon else LOOK_EVERY_S
            self._needed_bytes = needed_bytes
            self._left_bytes = 0
            self._listen(DiskPaused(needed_bytes=needed_bytes, free_bytes=room.free(self._data_dir).free_bytes))
            self._closed.set()

    async def _look(self) -> room.Room:
        return await self._threads.call(room.free, self._data_dir)

    async def watch_for_ever(self) -> None:
        while True:
            await self._closed.wait()
            await asyncio.sleep(self._pause_s)
            found = await self._look()
            while not found.holds(self._needed_bytes, 1):
                await asyncio.sleep(LOOK_EVERY_S)
                found = await self._look()
            self._opened_at = time.monotonic()
            self._closed.clear()
            self._listen(DiskResumed(free_bytes=found.free_bytes))
            self.opened()

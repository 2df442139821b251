"""Closed while there is no room for what must be written, or no handle to open it with. Jobs wait; none is charged.

It closes before the last bytes are taken: the queue, its WAL and the log may be on the same disk, and what cannot be
written down there is lost. Room is counted for each file system that partials are on (a mount or a link below the data
dir leads elsewhere), and looked for where it was missing; what waits meanwhile is everything, because the queue does
not know on which file system a job will end.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from asyncdl.core.events import DiskPaused, DiskResumed, Event
from asyncdl.core.retry import NO_HANDLES_S
from asyncdl.disk import room
from asyncdl.disk.partial import Partial
from asyncdl.engine.threads import Threads
from asyncdl.errors import TransferError

LOOK_EVERY_S = 1.0
"""Nobody tells when room appears, so it is looked for."""

MAX_PAUSE_S = 60.0
"""Quotas do not show in free space: a gate that opens in vain stays closed for twice as long, up to this. Guess."""

COUNT_ANEW_BYTES = 256 << 20
"""Written at most between two looks at the free space: other programs take room, too. Guess."""


class DiskGate:
    """Owner of the open/closed state and of what may still be written. opened is called each time it opens again."""

    def __init__(self, threads: Threads, listen: Callable[[Event], None]) -> None:
        self._threads = threads
        self._listen = listen
        self._closed = asyncio.Event()
        self._short: dict[Path, int] = {}  # where room was missing, and how many bytes
        self._left_bytes: dict[int, int] = {}  # by file system (st_dev)
        self._reserving = asyncio.Lock()
        self._pause_s = LOOK_EVERY_S
        self._room_pause_s = LOOK_EVERY_S
        self._opened_at = -MAX_PAUSE_S
        self.opened: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        return not self._closed.is_set()

    @property
    def is_full(self) -> bool:
        """Whether it is closed for want of room; it closes for want of handles, too."""
        return bool(self._short)

    def spend(self, n_bytes: int, partial: Partial) -> None:
        """Ask for room for a write. Raises TransferError("no_room") where it would reach into the reserve."""
        if partial.is_reserved:
            return
        if self._left_bytes.get(partial.device, 0) < n_bytes:
            usable_bytes = partial.free_room().usable_bytes
            if usable_bytes < n_bytes:
                raise TransferError("no_room", f"{usable_bytes} bytes are left before the reserve", retry_after_s=0.0)
            self._left_bytes[partial.device] = min(usable_bytes, COUNT_ANEW_BYTES)
        self._left_bytes[partial.device] -= n_bytes

    async def reserve(self, partial: Partial, size_bytes: int) -> None:
        """Take the room for all of `partial` if there is so much. One at a time: each counts what the others left."""
        async with self._reserving:
            await self._threads.call(partial.reserve, size_bytes)
            self._left_bytes.pop(partial.device, None)

    def note(self, error: TransferError, place: Path, needed_bytes: int) -> None:
        """Close if `error` says so: a write of `needed_bytes` to the folder `place` found no room, or nothing opens."""
        if error.error_class == "no_room":
            self.close(needed_bytes, place)
        elif error.error_class == "no_handles":
            self._close(NO_HANDLES_S)

    def close(self, needed_bytes: int, place: Path) -> None:
        """Pause: a write of `needed_bytes` to the folder `place` found no room."""
        if not self._short:
            found = room.free(place)
            in_vain = found.holds(needed_bytes, 1) and time.monotonic() - self._opened_at < MAX_PAUSE_S
            self._room_pause_s = min(MAX_PAUSE_S, self._room_pause_s * 2) if in_vain else LOOK_EVERY_S
            self._listen(DiskPaused(needed_bytes=needed_bytes, free_bytes=found.free_bytes))
            self._close(self._room_pause_s)
        self._short[place] = max(needed_bytes, self._short.get(place, 0))

    def _close(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._left_bytes.clear()
        self._closed.set()

    async def watch_for_ever(self) -> None:
        while True:
            await self._closed.wait()
            await asyncio.sleep(self._pause_s)
            free_bytes = await self._threads.call(_found, dict(self._short))
            if free_bytes is None:
                self._pause_s = LOOK_EVERY_S
            else:
                self._open(free_bytes)

    def _open(self, free_bytes: int) -> None:
        self._closed.clear()
        if self._short:
            self._opened_at = time.monotonic()
            self._short.clear()
            self._listen(DiskResumed(free_bytes=free_bytes))
        self.opened()


def _found(short: Mapping[Path, int]) -> int | None:
    """Return the least free bytes of the places where room was missing if all have enough now, None if not.

    A handle must be there, too, whatever was missing. The reserve of inodes holds those for the next files.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return None
        raise
    rooms = {place: room.free(place) for place in short}
    if not all(rooms[place].holds(needed_bytes, 1) for place, needed_bytes in short.items()):
        return None
    return min((one.free_bytes for one in rooms.values()), default=0)

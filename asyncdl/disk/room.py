"""Free bytes and inodes of the file system that a path is on."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from asyncdl.disk.allocation import ahead_bytes
from asyncdl.disk.layout import PARTIAL
from asyncdl.errors import NoRoomError

RESERVE_BYTES = 64 << 20
"""Left free for the queue, its WAL and logs, so that the end of the room can still be written down. Guess."""

RESERVE_SHARE = 20
"""... but no more than a twentieth of a small file system."""

RESERVE_INODES = 64


@dataclass(frozen=True, slots=True)
class Room:
    """What an unprivileged user may still take. free_inodes None: the file system has no fixed number (btrfs)."""

    free_bytes: int
    free_inodes: int | None
    reserve_bytes: int = RESERVE_BYTES
    reserve_inodes: int = RESERVE_INODES

    @property
    def usable_bytes(self) -> int:
        """What may be taken before the reserve begins; negative within it."""
        return self.free_bytes - self.reserve_bytes

    def holds(self, needed_bytes: int, needed_inodes: int) -> bool:
        """Whether that much fits and the reserve stays."""
        enough_inodes = self.free_inodes is None or self.free_inodes >= needed_inodes + self.reserve_inodes
        return enough_inodes and self.usable_bytes >= needed_bytes


def free(path: Path) -> Room:
    """Return the room on the file system of `path`, or of its nearest parent that exists."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return free_at(place)


def free_at(place: Path | int) -> Room:
    """Return the room on the file system of a path or of an open file. Raises OSError."""
    return _room(os.statvfs(place))


def _room(stat: os.statvfs_result) -> Room:
    return Room(
        # 0 blocks in all are a FUSE program that does not say (libfuse's default): there the writes tell.
        free_bytes=stat.f_bavail * stat.f_frsize if stat.f_blocks else sys.maxsize,
        free_inodes=stat.f_favail if stat.f_files else None,
        reserve_bytes=min(RESERVE_BYTES, stat.f_blocks * stat.f_frsize // RESERVE_SHARE),
        reserve_inodes=min(RESERVE_INODES, stat.f_files // RESERVE_SHARE),
    )


def require(path: Path, needed_bytes: int, needed_inodes: int) -> None:
    """Raise NoRoomError unless `path`'s file system holds that much and the reserve; what needs nothing always fits."""
    room = free(path)
    if room.holds(needed_bytes, needed_inodes) or (needed_bytes <= 0 and needed_inodes <= 0):
        return
    if room.holds(needed_bytes - _taken_ahead(path), needed_inodes):
        return
    inodes = "" if room.free_inodes is None else f", {needed_inodes} inodes needed, {room.free_inodes} free"
    raise NoRoomError(
        f"no room in {path}: {needed_bytes} bytes needed, {room.free_bytes} free"
        f" ({room.reserve_bytes} stay in reserve){inodes}",
        hint="make room, choose another place with --data-dir, or take less with --max-bytes or --max-files",
    )


def _taken_ahead(path: Path) -> int:
    """Return the bytes that partials below `path` have taken and not written yet: room for what is needed.

    An engine that was killed could not give them back, and they are not free any more.
    """
    return sum(ahead_bytes(partial) for partial in path.rglob(f"*{PARTIAL}"))

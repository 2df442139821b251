"""Where the bytes of a round go: into the partial for the first time, or beside bytes that are there already.

A round knows what was asked and what failed; a landing knows what came. Neither knows what the other is for.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Pinned
from asyncdl.disk.digester import Digester
from asyncdl.disk.partial import Partial


class Landing(Protocol):
    """pinned: what every answer is held against. written: what needs no request (any more). place: its folder.

    needs_ranges: the whole object is not worth the little that is wanted of it.
    """

    needs_ranges: bool
    pinned: Pinned
    written: RangeSet
    place: Path

    @property
    def is_whole(self) -> bool:
        """Whether nothing more has to come; never before the size is known."""

    def pin(self, pinned: Pinned) -> None:
        """Take in what an answer said of the object. Raises TransferError("remote_changed")."""

    async def write(self, at: int, block: memoryview) -> int:
        """Take a block, valid until this returns, that begins at offset `at`; return how many bytes were new."""

    async def make_durable(self, start: int, stop: int) -> None:
        """A request has brought [start, stop); its slot is free when this returns."""

    async def sync_for_ever(self) -> None:
        """Runs beside the requests until cancelled."""

    async def digest(self) -> Digester | None:
        """Runs beside the requests; return once the landing is whole, and what the file's digests are then."""

    async def sync(self) -> None:
        """Nothing more comes, or not now: keep what came."""

    async def end(self) -> None:
        """Let go of who waits."""


class Again:
    """What landings share whose bytes are on disk already: none of them is recorded as had by coming again."""

    needs_ranges = False

    def __init__(self, partial: Partial, pinned: Pinned, size_bytes: int, wanted: ByteRange) -> None:
        self.place = partial.final.parent
        self.pinned = pinned
        self.written = RangeSet.of(*RangeSet.of(wanted).missing(ByteRange(0, size_bytes)))
        self._size_bytes = size_bytes

    @property
    def is_whole(self) -> bool:
        return self.written.n_bytes == self._size_bytes

    async def make_durable(self, start: int, stop: int) -> None:
        """Nobody waits for it."""

    async def sync_for_ever(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def end(self) -> None:
        """Nobody waits for it."""

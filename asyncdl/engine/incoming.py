"""The bytes of one object as they arrive: written once, synced, recorded, hashed behind the front.

Three sets of ranges, each inside the one before: written (in the partial), had (durable, and recorded in the queue),
and hashed (from the first byte on, as far as there is no gap).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from asyncdl.core.model import Job
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Pinned
from asyncdl.disk.digester import Digester
from asyncdl.disk.partial import Partial
from asyncdl.engine.tools import Tools
from asyncdl.errors import TransferError

SYNC_EVERY_S = 5.0
"""On a slow link a segment takes minutes; what came of it becomes durable this often. Guess."""

HASH_STEP_BYTES = 8 << 20
"""How much a disk thread hashes before others get it: ~6 ms at 1.4 GB/s."""


class Incoming:
    """Owner of the ranges of one partial. had: what an earlier attempt left, durable already.

    A file of one segment is neither synced nor recorded before its end: it has nothing to resume from. Of a larger one
    a kill costs little more than SEGMENT_BYTES and what is on its way, however long its segments have become.
    """

    needs_ranges = False

    def __init__(self, job: Job, tools: Tools, partial: Partial, pinned: Pinned, had: RangeSet) -> None:
        self._job = job
        self._tools = tools
        self._partial = partial
        self.pinned = pinned
        self.had = had
        self.written = had
        self._in_flight: list[ByteRange] = []
        self._grown = asyncio.Event()
        self._want_sync = asyncio.Event()
        self._synced = asyncio.Condition()
        self._is_over = False
        self._took_room = False
        self.place = partial.final.parent
        self._n_undurable = 0

    @property
    def is_whole(self) -> bool:
        """Whether every byte is written; never before the size is known."""
        return self.pinned.size_bytes is not None and self.written.n_bytes == self.pinned.size_bytes

    def pin(self, pinned: Pinned) -> None:
        """Take in what an answer said of the object. Raises TransferError("remote_changed").

        Held against what is pinned by now: when several requests are open, each was judged by what was known before it.
        """
        for known, said in ((self.pinned.validator, pinned.validator), (self.pinned.size_bytes, pinned.size_bytes)):
            if None not in (known, said) and known != said:
                raise TransferError("remote_changed", f"two answers differ: {known} and {said}")
        if self.pinned.validator is not None and pinned.validator is None:
            pinned = replace(self.pinned, size_bytes=pinned.size_bytes)  # an answer without one takes nothing back
        self.pinned = pinned
        self._grown.set()

    async def write(self, at: int, block: memoryview) -> int:
        """Write what is not there yet of `block`, which begins at offset `at`; return how many bytes were new.

        Nothing is overwritten, not even what another answer is writing just now: the digest may have passed there, and
        two answers may differ where they should not.
        """
        self._tools.leases.require_valid(self._job)
        gaps = self.written.union(self._in_flight).missing(ByteRange(at, at + len(block)))
        self._in_flight += gaps  # before the first await
        try:
            await self._take_room()
            for gap in gaps:
                self._tools.disk_gate.spend(len(gap), self._partial)
                piece = block[gap.start - at : gap.stop - at]  # a copy each would double the memory
                try:
                    with self._tools.meter.on_disk:
                        await self._tools.threads.call(self._partial.write, gap.start, piece)
                except asyncio.CancelledError:
                    self.written = self.written.add(gap)  # it comes after the write has ended well
                    raise
                self.written = self.written.add(gap)
        finally:
            for gap in gaps:
                self._in_flight.remove(gap)
        self._grown.set()
        n_new = sum(map(len, gaps))
        self._n_undurable += n_new
        if self._n_undurable >= SEGMENT_BYTES:
            self._want_sync.set()
        return n_new

    async def _take_room(self) -> None:
        """Once, and only when bytes really come: what answers 404 or waits for its host takes none."""
        if self._is_resumable and not self._took_room:
            self._took_room = True
            assert self.pinned.size_bytes is not None
            await self._tools.disk_gate.reserve(self._partial, self.pinned.size_bytes)

    async def make_durable(self, start: int, stop: int) -> None:
        """Wait until a sync that began after [start, stop) was written is recorded, or the round is over."""
        if start >= stop or not self._is_resumable:
            return
        wanted = ByteRange(start, stop)
        self._want_sync.set()
        with self._tools.meter.on_disk:
            async with self._synced:
                await self._synced.wait_for(lambda: self._is_over or wanted in self.had)

    @property
    def _is_resumable(self) -> bool:
        return self.pinned.size_bytes is not None and self.pinned.size_bytes > SEGMENT_BYTES

    async def sync_for_ever(self) -> None:
        """Sync when a segment asks for it, and now and then."""
        while True:
            try:
                async with asyncio.timeout(SYNC_EVERY_S):
                    await self._want_sync.wait()
            except TimeoutError:
                pass
            self._want_sync.clear()
            await self.sync()
            async with self._synced:
                self._synced.notify_all()

    async def sync(self) -> None:
        """Make what is written durable, then record it: this order is what makes `had` true after a crash."""
        written, self._n_undurable = self.written, 0
        if written == self.had or not self._is_resumable:
            return
        await self._tools.threads.call(self._partial.sync)
        await self._tools.jobs.progress(
            self._job,
            had=str(written),
            validator=self.pinned.validator,
            size_bytes=self.pinned.size_bytes,
            done=written.n_bytes,
        )
        self.had = written

    async def end(self) -> None:
        """Let go of who waits for a sync: what is whole is synced by its publish, what is not by who ends it."""
        self._is_over = True
        async with self._synced:
            self._synced.notify_all()

    async def digest(self) -> Digester:
        """Hash the file behind its front; return the digests of all of it, once it is whole."""
        digester = Digester(self._job.digest, self._job.size_bytes or 0)
        at = 0
        while not (self.is_whole and at == self.pinned.size_bytes):
            stop = min(self.written.front, at + HASH_STEP_BYTES)
            if at < stop:
                await self._tools.threads.call(self._partial.feed, digester, at, stop)
                at = stop
            else:
                self._grown.clear()
                await self._grown.wait()
        return digester

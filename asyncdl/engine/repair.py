"""A file whose digest is wrong, fetched once more: where what comes differs from what is on disk, it takes its place.

Only a whole file with a promised digest is repaired, and the digest is what judges it in the end. So what is recorded
as had stays true at every moment: a kill leaves a whole file with the old bytes or the new, to be judged again.
Comparing needs no digest of each segment, and finds what the disk has changed as well as what the network has.
"""

from __future__ import annotations

import asyncio

from asyncdl.core.model import Job
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Pinned
from asyncdl.disk.digester import Digester
from asyncdl.disk.partial import Partial
from asyncdl.engine.checked import is_right
from asyncdl.engine.incoming import HASH_STEP_BYTES
from asyncdl.engine.landing import Again
from asyncdl.engine.tools import Tools


class Repair(Again):
    """One pass over the whole file. It is over as soon as the digest is right."""

    def __init__(self, job: Job, tools: Tools, partial: Partial, pinned: Pinned, found: Digester) -> None:
        assert pinned.size_bytes
        super().__init__(partial, pinned, pinned.size_bytes, ByteRange(0, pinned.size_bytes))
        self.n_replaced_bytes = 0
        self._job = job
        self._tools = tools
        self._partial = partial
        self._found = found
        self._still = asyncio.Lock()  # held by who changes the file and by who hashes it
        self._is_unhashed = False
        self._is_unsynced = False
        self._n_wrong = 0
        self._hash_at = 1
        self._news = asyncio.Event()

    @property
    def is_right(self) -> bool:
        return is_right(self._job, self._found)

    def pin(self, pinned: Pinned) -> None:
        """Each answer was held against what is pinned, which a whole file has known from the beginning."""

    async def write(self, at: int, block: memoryview) -> int:
        """Compare, and replace what differs. Return how many bytes had not been compared before."""
        n_new = 0
        for gap in self.written.missing(ByteRange(at, at + len(block))):
            piece = block[gap.start - at : gap.stop - at]
            if not await self._tools.threads.call(self._partial.holds, gap.start, piece):
                await self._replace(gap.start, piece)
            self.written = self.written.add(gap)
            n_new += len(gap)
        if self.is_whole:
            self._news.set()
        return n_new

    async def _replace(self, at: int, piece: memoryview) -> None:
        async with self._still:
            if self.is_right:
                return  # it became so meanwhile
            self._tools.leases.require_valid(self._job)
            self._is_unhashed = self._is_unsynced = True
            await self._tools.threads.call(self._partial.write, at, piece)
            self.n_replaced_bytes += len(piece)

    async def make_durable(self, start: int, stop: int) -> None:  # noqa: ARG002 - whatever came, the file is the question
        """Have the digest looked at after the first segment that was wrong, the second, the fourth and so on.

        After each, a source that never serves the same bytes twice would have the file hashed as often as it has
        segments.
        """
        if self._is_unhashed:
            self._n_wrong += 1
            if self._n_wrong >= self._hash_at:
                self._hash_at *= 2
                self._news.set()

    async def digest(self) -> Digester:
        """Hash the file anew when it has changed; return the digests of what it is in the end, right or wrong."""
        is_over = False
        while not is_over:
            await self._news.wait()
            self._news.clear()
            await self._hash()
            is_over = self.is_whole or self.is_right  # nothing was replaced since: that needs the lock
        self.written = RangeSet.of(ByteRange(0, self._size_bytes))
        return self._found

    async def _hash(self) -> None:
        async with self._still:
            if not self._is_unhashed or self.is_right:
                return
            self._is_unhashed = False
            digester = Digester(self._job.digest, self._size_bytes)
            for at in range(0, self._size_bytes, HASH_STEP_BYTES):
                stop = min(at + HASH_STEP_BYTES, self._size_bytes)
                await self._tools.threads.call(self._partial.feed, digester, at, stop)
            self._found = digester

    async def sync(self) -> None:
        if self._is_unsynced:
            self._is_unsynced = False
            await self._tools.threads.call(self._partial.sync)

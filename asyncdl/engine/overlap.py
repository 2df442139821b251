"""Asks again for a little of what is had, to see whether it is still what the host serves.

It changes nothing: not the disk, not the queue. What follows from the answers is decided in `core.overlap`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asyncdl.core.overlap import after_overlap, windows
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Pinned
from asyncdl.disk.digester import Digester
from asyncdl.disk.partial import Partial
from asyncdl.engine.landing import Again
from asyncdl.engine.threads import Threads
from asyncdl.errors import TransferError


class Window(Again):
    """One window of an object, in memory. answers: what each said by itself, for nothing is pinned but the size.

    is_out_of_reach: the host serves no ranges, so that all that comes before would have to be read.
    """

    needs_ranges = True

    def __init__(self, partial: Partial, size_bytes: int, range_: ByteRange) -> None:
        super().__init__(partial, Pinned(size_bytes), size_bytes, range_)
        self.range = range_
        self.content = bytearray(len(range_))
        self.answers: list[Pinned] = []
        self.is_out_of_reach = False

    def pin(self, pinned: Pinned) -> None:
        self.answers.append(pinned)

    async def write(self, at: int, block: memoryview) -> int:
        if at < self.range.start:
            self.is_out_of_reach = True
            self.written = RangeSet.of(ByteRange(0, self._size_bytes))  # no more is asked for
            return 0
        piece = block[: max(0, self.range.stop - at)]
        n_before = self.written.n_bytes
        if piece:
            self.content[at - self.range.start : at - self.range.start + len(piece)] = piece
            self.written = self.written.add(ByteRange(at, at + len(piece)))
        return self.written.n_bytes - n_before  # what comes again is no reason to go on asking

    async def digest(self) -> Digester | None:
        return None

    async def sync(self) -> None:
        """Nothing was written."""


async def look_again(
    pinned: Pinned,
    written: RangeSet,
    partial: Partial,
    threads: Threads,
    fetch: Callable[[Window], Awaitable[object]],
    *,
    is_promised: bool,
) -> Pinned | None:
    """Return what to hold the object to from now on, or None: it is not the one any more.

    fetch: bring a window's bytes; where it ends before they are there, the engine drains and nothing is decided.
    Raises TransferError("range_ignored") where it cannot be told, and what `fetch` raises.
    """
    assert pinned.size_bytes
    looked = [Window(partial, pinned.size_bytes, one) for one in windows(pinned.size_bytes, written)]
    for one in looked:
        await fetch(one)
        if one.is_out_of_reach:
            raise TransferError("range_ignored", "without ranges, what is had cannot be held against what is served")
        if not one.is_whole:
            return pinned
    head, tail = looked
    is_same = head.range != tail.range or head.content == tail.content
    for one in looked:
        content = memoryview(one.content)
        for held in RangeSet.of(*written.missing(one.range)).missing(one.range):
            piece = content[held.start - one.range.start : held.stop - one.range.start]
            is_same = is_same and await threads.call(partial.holds, held.start, piece)
    return after_overlap(pinned, [*head.answers, *tail.answers], is_same=is_same, is_promised=is_promised)

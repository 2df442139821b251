"""The requests for one version of one object, until it is whole, drained, or cannot go on.

The scheduler gives slots, this decides what to ask with them and what a failed request means. A segment holds its
slot until its bytes are durable, so that a kill costs at most one segment for each open request.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

from asyncdl.core.events import RequestFailed
from asyncdl.core.model import Job
from asyncdl.core.plan import SEGMENT_BYTES, Demand, segments
from asyncdl.core.ranges import ByteRange
from asyncdl.core.reply import Body, Pinned
from asyncdl.core.retry import PARK_FROM_S, TREATMENTS, Treatment, after_request
from asyncdl.disk.digester import Digester
from asyncdl.engine.incoming import Incoming
from asyncdl.engine.tools import Tools
from asyncdl.errors import TransferError
from asyncdl.net.remote import RemoteObject
from asyncdl.net.transport import Response

WRITE_BYTES = 256 << 10
"""Blocks are gathered to this before they are written: a thread hop each 64 KiB would cost more than the copy. 128
requests hold 32 MiB this way."""

MAX_IGNORED = 3
"""Ranges ignored in a row before the host is taken not to serve any. Guess: caches do it now and then."""

Asked = ByteRange | None
"""What one request asks for; None is the whole object, from a host that ignores ranges."""


class Round:
    """Owner of the pending segments and of the tasks that fetch them. `run` once."""

    def __init__(
        self, job: Job, tools: Tools, remote: RemoteObject, incoming: Incoming, wake: Callable[[], None]
    ) -> None:
        self._job = job
        self._tools = tools
        self._remote = remote
        self._incoming = incoming
        self._wake = wake
        self._pending: deque[Asked] = deque()
        self._n_open = 0
        self._n_later = 0
        self._streak = 0
        self._n_ignored = 0
        self._is_planned = False
        self._takes_whole = False
        self._draining = False
        self._fetches: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def demand(self) -> Demand:
        n_waiting = 0 if self._ended.done() else len(self._pending)  # a task group that ends takes no more tasks
        return Demand(self._job.id, self._n_open, n_waiting)

    async def run(self) -> Digester | None:
        """Fetch what is missing; return the digests of the whole file, None if drained before the end.

        Raises the TransferError that ended it, or LeaseLostError.
        """
        self._plan()
        try:
            async with asyncio.TaskGroup() as self._group:
                sync = self._group.create_task(self._incoming.sync_for_ever(), name=f"sync {self._job.path}")
                digest = self._group.create_task(self._incoming.digest(), name=f"digest {self._job.path}")
                self._wake()
                self._end_if_over()
                await self._ended
                sync.cancel()
                if not self._incoming.is_whole:
                    digest.cancel()
                await self._incoming.sync()  # what the last segments brought, before their slots are free
                await self._incoming.end()
                for fetch in self._fetches:
                    fetch.cancel()  # a whole object that a drain does not wait for, or bytes that came another way
        except BaseExceptionGroup as group:
            error = first_of(group)
            if self._ended.done() and not self._ended.cancelled() and self._ended.exception() is error:
                await self._incoming.sync()  # a request failed for good: what came before it is kept
            raise error from group
        except asyncio.CancelledError:
            await self._incoming.sync()
            raise
        return digest.result() if self._incoming.is_whole else None

    def _plan(self) -> None:
        size_bytes = self._incoming.pinned.size_bytes
        self._is_planned = size_bytes is not None
        if size_bytes is None:
            self._pending.append(ByteRange(0, SEGMENT_BYTES))  # its answer tells the size
        else:
            self._pending.extend(segments(size_bytes, self._incoming.written))

    def drain(self) -> None:
        """Begin no more segments; end once the open ones are durable. A whole object is too long to wait for."""
        self._draining = True
        self._pending.clear()
        self._end_if_over()

    def _end_if_over(self) -> None:
        waited_for = 0 if self._draining and self._takes_whole else self._n_open
        idle = waited_for == 0 and (self._draining or not (self._pending or self._n_later))
        if (self._incoming.is_whole or idle) and not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, error: TransferError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def start_next(self) -> asyncio.Task[None]:
        """Begin the next segment; the task ends when its slot is free again."""
        asked = self._pending.popleft()
        self._n_open += 1
        fetch = self._group.create_task(self._fetch(asked), name=f"fetch {self._job.path} {asked}")
        self._fetches.add(fetch)
        fetch.add_done_callback(self._fetches.discard)
        return fetch

    async def _fetch(self, asked: Asked) -> None:
        self._tools.meter.n_requests += 1
        try:
            await self._stream(asked)
        except TransferError as error:
            self._after_failure(asked, error)
        finally:
            self._tools.meter.n_requests -= 1
            self._n_open -= 1
            self._end_if_over()

    # --- one answer

    async def _stream(self, asked: Asked) -> None:
        async with self._remote.open(asked, self._incoming.pinned) as (body, response):
            self._incoming.pin(body.pinned)
            stop = self._accept(asked, body)
            reached = await self._receive(response, body.start, stop)
        if stop is None:
            self._incoming.pin(Pinned(reached, self._incoming.pinned.validator))
        elif reached < stop:
            raise TransferError("short_body", f"the body ended after {reached - body.start} bytes")
        if rest := self._rest_of(asked):
            self._ask_again(rest, wait_s=0.0)  # a shorter range than asked for is lawful (RFC 9110 §14.2)
        await self._incoming.make_durable(body.start, reached)

    def _accept(self, asked: Asked, body: Body) -> int | None:
        """Plan by what the answer says of the object; return where reading stops, None for the body's end."""
        size_bytes = body.pinned.size_bytes
        if asked is None:
            return size_bytes if body.stop is None else body.stop  # nothing is read past what is known
        if size_bytes is None:
            self._abandon_ranges()
            raise TransferError("range_ignored", "the host does not say how large the object is")
        if body.ignored_range and size_bytes > asked.stop - asked.start:
            self._n_ignored += 1
            if self._n_ignored >= MAX_IGNORED:
                self._abandon_ranges()
            raise TransferError("range_ignored", "the host sent the whole object for a range of it")
        self._n_ignored = 0
        if not self._is_planned:
            self._is_planned = True
            rest = segments(size_bytes, self._incoming.written)
            self._pending.extend(one for one in rest if one.start >= asked.stop)
            self._wake()
        return body.stop

    def _abandon_ranges(self) -> None:
        """From here on the object comes whole, in one request; ranges that failed are not asked for again."""
        if not self._takes_whole:
            self._takes_whole = True
            self._pending.clear()
            self._pending.append(None)
            self._wake()

    async def _receive(self, response: Response, at: int, stop: int | None) -> int:
        """Write the body's blocks from offset `at` on, never past `stop`; return where it ended."""
        gathered = bytearray()
        try:
            async for block in response.blocks():
                self._tools.meter.n_bytes += len(block)
                gathered += block
                if stop is not None and at + len(gathered) > stop:
                    gathered.clear()
                    raise TransferError("too_large", "the body is longer than it was said to be")
                if len(gathered) >= WRITE_BYTES:
                    await self._write(at, gathered)
                    at += len(gathered)
                    gathered = bytearray()
        finally:
            if gathered:
                await self._write(at, gathered)
        return at + len(gathered)

    async def _write(self, at: int, block: bytearray) -> None:
        if await self._incoming.write(at, block):
            self._streak = 0

    # --- failures

    def _after_failure(self, asked: Asked, error: TransferError) -> None:
        """Put the rest of `asked` back, now or later, or end the attempt."""
        is_pause = TREATMENTS[error.error_class].treatment is Treatment.PARK and error.retry_after_s is not None
        if is_pause:
            self._after_pause(asked, error)
            return
        if error.error_class == "odd_reply" and not self._is_planned:
            self._abandon_ranges()  # no range of it can be had: it is empty (416), or the host takes no ranges
        self._streak += 1
        wait_s = after_request(error.error_class, self._streak, random.random())  # noqa: S311 - spreads load
        if wait_s is None:
            self._fail(error)
            return
        self._tools.listen(
            RequestFailed(path=self._job.path, error_class=error.error_class, message=error.message, wait_s=wait_s)
        )
        self._ask_again(self._rest_of(asked), wait_s=wait_s)

    def _after_pause(self, asked: Asked, error: TransferError) -> None:
        """The host or the disk wants to be left alone: that is nobody's failure."""
        wait_s = error.retry_after_s or 0.0
        if error.error_class == "no_room":
            self._tools.disk_gate.close(SEGMENT_BYTES if asked is None else len(asked))
        if wait_s > PARK_FROM_S:
            self._fail(error)
        else:
            self._ask_again(self._rest_of(asked), wait_s=wait_s)

    def _rest_of(self, asked: Asked) -> list[Asked]:
        """Return what of `asked` must still be asked for."""
        if self._takes_whole or asked is None:
            return [None] if asked is None and not self._incoming.is_whole else []
        size_bytes = self._incoming.pinned.size_bytes
        stop = asked.stop if size_bytes is None else min(asked.stop, size_bytes)
        return list(self._incoming.written.missing(ByteRange(asked.start, stop))) if asked.start < stop else []

    def _ask_again(self, ranges: list[Asked], *, wait_s: float) -> None:
        if ranges and not self._draining:
            self._n_later += 1
            asyncio.get_running_loop().call_later(wait_s, self._put_back, ranges)

    def _put_back(self, ranges: list[Asked]) -> None:
        self._n_later -= 1
        if self._ended.done() or self._draining:
            self._end_if_over()
            return
        self._pending.extendleft(reversed(ranges))  # the front first: the digest follows it
        self._wake()


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error of a task group that says most: a bug before a lost lease before a failed transfer."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        else:
            leaves.append(error)
    leaves.sort(key=lambda error: isinstance(error, TransferError))
    return leaves[0]

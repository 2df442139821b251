"""The requests for one version of one object, until it is whole, drained, or cannot go on.

The scheduler gives slots, this decides what to ask with them and what a failed request means. A segment holds its
slot until its bytes are durable, so that a kill costs at most one segment for each open request.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from asyncdl.core.events import RequestFailed
from asyncdl.core.model import Job
from asyncdl.core.plan import FAIR_CONNECTIONS, SEGMENT_BYTES, Rest, gaps, next_segment, segment_bytes, share
from asyncdl.core.ranges import ByteRange
from asyncdl.core.reply import Body
from asyncdl.core.retry import PARK_FROM_S, TREATMENTS, Treatment, after_request, must_relocate
from asyncdl.disk.digester import Digester
from asyncdl.engine.landing import Landing
from asyncdl.engine.tools import Tools
from asyncdl.errors import TransferError
from asyncdl.net.remote import RemoteObject
from asyncdl.net.transport import Response

MAX_IGNORED = 3
"""Ranges ignored in a row before the host is taken not to serve any. Guess: caches do it now and then."""


@dataclass(slots=True, eq=False)
class Ask:
    """One request under way for [start, stop); stop None: for the whole object, from a host that ignores ranges.

    at: the next byte it will bring. Another request may take [stop', stop) over: then stop moves to stop'. is_twin:
    another request asks for the same bytes. is_in: all of it has come, it waits to be durable.
    """

    start: int
    stop: int | None
    began_at: float
    at: int = 0
    is_twin: bool = False
    is_in: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def range(self) -> ByteRange | None:
        return None if self.stop is None else ByteRange(self.start, self.stop)

    def rest(self, now: float) -> Rest:
        assert self.stop is not None
        age_s = now - self.began_at
        per_s = (self.at - self.start) / age_s if age_s > 0 else 0.0
        return Rest(self.at, self.stop, age_s, per_s, self.is_twin)


class Round:
    """Owner of what is not asked for yet and of the tasks that fetch. `run` once."""

    def __init__(
        self,
        job: Job,
        tools: Tools,
        remote: RemoteObject,
        landing: Landing,
        wake: Callable[[], None],
        *,
        is_deaf: bool = False,
    ) -> None:
        """is_deaf: the host is known to serve no ranges."""
        self._job = job
        self._tools = tools
        self._remote = remote
        self._landing = landing
        self._wake = wake
        self._host = remote.host
        self._loop = asyncio.get_running_loop()
        self._todo: list[ByteRange] = []  # ascending: the digest follows the front
        self._whole: Literal["no", "todo", "asked"] = "todo" if is_deaf else "no"
        self._open: set[Ask] = set()
        self._n_later = 0
        self._streak = 0
        self._n_ignored = 0
        limit_per_s = tools.rate_gate.bytes_per_s
        self._per_s = None if limit_per_s is None else limit_per_s / FAIR_CONNECTIONS
        self._is_planned = False
        self._draining = False
        self._ended: asyncio.Future[None] = self._loop.create_future()

    @property
    def n_open(self) -> int:
        return len(self._open)

    @property
    def is_deaf(self) -> bool:
        """Whether the host turned out to serve no ranges."""
        return self._whole != "no"

    @property
    def can_start(self) -> bool:
        """Whether another request could begin; a task group that ends takes no more tasks."""
        return not self._ended.done() and (bool(self._todo) or self._whole == "todo")

    async def run(self) -> Digester | None:
        """Fetch what is missing; return the digests of the whole file, None if drained before the end.

        Raises the TransferError that ended it, or LeaseLostError.
        """
        self._plan()
        try:
            async with asyncio.TaskGroup() as self._group:
                sync = self._group.create_task(self._landing.sync_for_ever(), name=f"sync {self._job.path}")
                digest = self._group.create_task(self._landing.digest(), name=f"digest {self._job.path}")
                digest.add_done_callback(lambda _: self._end_if_over())  # a repair that is right ends early
                self._wake()
                self._end_if_over()
                await self._ended
                sync.cancel()
                if not self._landing.is_whole:
                    digest.cancel()
                await self._landing.sync()  # what the last segments brought, before their slots are free
                await self._landing.end()
                self._cancel(self._open)  # a whole object that a drain does not wait for, or bytes that came otherwise
        except BaseExceptionGroup as group:
            error = first_of(group)
            if self._ended.done() and not self._ended.cancelled() and self._ended.exception() is error:
                await self._landing.sync()  # a request failed for good: what came before it is kept
            raise error from group
        except asyncio.CancelledError:
            await self._landing.sync()
            raise
        return digest.result() if self._landing.is_whole else None

    def _plan(self) -> None:
        size_bytes = self._landing.pinned.size_bytes
        self._is_planned = size_bytes is not None
        if self.is_deaf:
            return
        if size_bytes is None:
            self._todo = [ByteRange(0, SEGMENT_BYTES)]  # its answer tells the size
        else:
            self._todo = gaps(size_bytes, self._landing.written)

    def drain(self) -> None:
        """Begin no more segments; end once the open ones are durable. A whole object is too long to wait for."""
        self._draining = True
        self._todo.clear()
        if self._whole == "todo":
            self._whole = "asked"
        self._end_if_over()

    def _end_if_over(self) -> None:
        n_waited_for = len(self._open)
        if self._draining:  # what is in becomes durable by the last sync; it may wait for bytes that another lost
            n_waited_for = 0 if self.is_deaf else sum(not ask.is_in for ask in self._open)
        idle = n_waited_for == 0 and (self._draining or not (self.can_start or self._n_later))
        if (self._landing.is_whole or idle) and not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, error: TransferError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    # --- what slots are for

    def start_next(self) -> asyncio.Task[None]:
        """Begin the next segment; the task ends when its slot is free again."""
        if self._whole == "todo":
            self._whole = "asked"
            return self._start(0, None)
        gap = self._todo.pop(0)
        segment = next_segment(gap, segment_bytes(self._per_s)) if self._is_planned else gap
        if segment.stop < gap.stop:
            self._todo.insert(0, ByteRange(segment.stop, gap.stop))
        return self._start(segment.start, segment.stop)

    def start_share(self) -> asyncio.Task[None] | None:
        """Let a slot that has nothing else to do help the slowest request; None where that does not pay."""
        if self._ended.done() or self._draining or not self._is_planned:
            return None
        now = self._loop.time()
        asks = [ask for ask in self._open if ask.stop is not None and not ask.is_in]
        found = share([ask.rest(now) for ask in asks], self._per_s)
        if found is None:
            return None
        slow = asks[found.index]
        stop = slow.stop
        if found.cut == slow.at:
            slow.is_twin = True
        else:
            slow.stop = found.cut
        return self._start(found.cut, stop, is_twin=slow.is_twin)

    def _start(self, start: int, stop: int | None, *, is_twin: bool = False) -> asyncio.Task[None]:
        ask = Ask(start, stop, self._loop.time(), start, is_twin)
        self._open.add(ask)
        self._tools.meter.n_requests += 1
        ask.task = self._group.create_task(self._fetch(ask), name=f"fetch {self._job.path} [{start}, {stop})")
        ask.task.add_done_callback(lambda _task: self._end(ask))
        return ask.task

    async def _fetch(self, ask: Ask) -> None:
        try:
            await self._stream(ask)
        except TransferError as error:
            self._after_failure(ask, error)
        finally:
            self._end(ask)

    def _end(self, ask: Ask) -> None:
        """Once at least: a task that is cancelled before its first step comes to no `finally`."""
        if ask in self._open:
            self._tools.meter.n_requests -= 1
            self._open.remove(ask)
            self._end_if_over()

    # --- one answer

    async def _stream(self, ask: Ask) -> None:
        async with self._remote.open(ask.range, self._landing.pinned) as (body, response):
            self._tools.pacing.answered(self._host, self._loop.time() - ask.began_at)
            self._landing.pin(body.pinned)
            limit = self._accept(ask, body)
            await self._receive(ask, response, limit)
        if limit is None and not self._landing.is_whole:
            self._landing.pin(replace(self._landing.pinned, size_bytes=ask.at))
        elif limit is not None and ask.at < limit and self._wants_more(ask):
            raise TransferError("short_body", f"the body ended after {ask.at - ask.start} bytes")
        self._note_rate(ask)
        ask.is_in = True
        if rest := self._rest_of(ask):
            self._ask_again(rest, wait_s=0.0)  # a shorter range than asked for is lawful (RFC 9110 §14.2)
        self._cancel(one for one in self._open if self._is_beaten(one))
        if self._draining:
            self._end_if_over()  # what it waits for may have been lost by another one that has ended
        await self._landing.make_durable(ask.start, ask.at)

    def _is_beaten(self, ask: Ask) -> bool:
        """Whether other requests have brought all that `ask`, a twin, was for."""
        return ask.is_twin and not ask.is_in and ask.range is not None and ask.range in self._landing.written

    def _wants_more(self, ask: Ask) -> bool:
        return not self._landing.is_whole if ask.stop is None else ask.at < ask.stop

    def _note_rate(self, ask: Ask) -> None:
        per_s = (ask.at - ask.start) / max(self._loop.time() - ask.began_at, 1e-3)
        self._per_s = per_s if self._per_s is None else (self._per_s + per_s) / 2

    def _cancel(self, asks: Iterable[Ask]) -> None:
        for ask in asks:
            if ask.task is not None:
                ask.task.cancel()

    def _accept(self, ask: Ask, body: Body) -> int | None:
        """Plan by what the answer says of the object; return where its bytes end, None for the body's end."""
        size_bytes = body.pinned.size_bytes
        if ask.stop is None:
            return size_bytes if body.stop is None else body.stop  # nothing is read past what is known
        if size_bytes is None:
            self._abandon_ranges()
            raise TransferError("range_ignored", "the host does not say how large the object is")
        if body.ignored_range and size_bytes > ask.stop - ask.start:
            self._n_ignored += 1
            if self._n_ignored >= MAX_IGNORED:
                self._abandon_ranges()
            raise TransferError("range_ignored", "the host sent the whole object for a range of it")
        self._n_ignored = 0
        ask.stop = min(ask.stop, size_bytes)
        if not self._is_planned:
            self._is_planned = True
            asked = [ByteRange(0, ask.stop)] if ask.stop else []
            self._todo = gaps(size_bytes, self._landing.written.union(asked))
            self._wake()
        return size_bytes if body.stop is None else body.stop  # a body that just ends does not say the size

    def _abandon_ranges(self) -> None:
        """From here on the object comes whole, in one request; ranges that failed are not asked for again."""
        if self._landing.needs_ranges:
            self._fail(TransferError("range_ignored", "the host serves no ranges"))
        elif not self.is_deaf:
            self._whole = "todo"
            self._todo.clear()
            self._wake()

    async def _receive(self, ask: Ask, response: Response, limit: int | None) -> None:
        """Write the body's blocks, never past `limit`; stop early where another request has taken the rest over."""
        async for block in response.blocks():
            if limit is not None and ask.at + len(block) > limit:
                raise TransferError("too_large", "the body is longer than it was said to be")
            await self._tools.rate_gate.passed(len(block))
            own = block if ask.stop is None else block[: max(ask.stop - ask.at, 0)]
            if n_new := await self._landing.write(ask.at, own):
                self._streak = 0
                self._tools.meter.n_bytes += n_new
                self._tools.pacing.came(self._host, n_new)
            ask.at += len(own)
            if ask.stop is None and self._landing.is_whole:
                return  # what is still to come of a whole object is nobody's wish
            if ask.stop is not None and ask.stop != limit and ask.at >= ask.stop:
                return

    # --- failures

    def _after_failure(self, ask: Ask, error: TransferError) -> None:
        """Put the rest of what was asked back, now or later, or end the attempt."""
        for one in self._open:
            one.is_twin = one.is_twin and one.stop != ask.stop  # alone again, it may be helped again
        is_pause = TREATMENTS[error.error_class].treatment is Treatment.PARK and error.retry_after_s is not None
        if is_pause:
            self._after_pause(ask, error)
            return
        if error.error_class == "odd_reply" and not self._is_planned and self._streak:
            self._abandon_ranges()  # twice: no range of it can be had. It is empty (416), or the host takes none
        self._streak += 1
        if must_relocate(error.error_class, self._streak):
            self._remote.relocate()
        wait_s = after_request(error.error_class, self._streak, random.random())  # noqa: S311 - spreads load
        if wait_s is None:
            self._fail(error)
            return
        self._tools.listen(
            RequestFailed(path=self._job.path, error_class=error.error_class, message=error.message, wait_s=wait_s)
        )
        self._ask_again(self._rest_of(ask), wait_s=wait_s)

    def _after_pause(self, ask: Ask, error: TransferError) -> None:
        """The host or the disk wants to be left alone, or no handle is left: that is nobody's failure."""
        wait_s = error.retry_after_s or 0.0
        rest = self._rest_of(ask)
        needed_bytes = sum(len(one) for one in rest if one is not None)  # no more: it may just fit
        self._tools.disk_gate.note(error, self._landing.place, needed_bytes)
        is_stuck = error.error_class == "no_handles" and len(self._open) == 1  # it lets go of the partial's
        if wait_s > PARK_FROM_S or is_stuck:
            self._fail(error)
        else:
            self._ask_again(rest, wait_s=wait_s)

    def _rest_of(self, ask: Ask) -> list[ByteRange | None]:
        """Return what of `ask` must still be asked for, and is not by another one; None stands for the whole."""
        if self.is_deaf or ask.stop is None:
            return [None] if ask.stop is None and not self._landing.is_whole else []
        others = [  # what is in and only waits to be durable brings no more, however much it was asked for
            ByteRange(one.at, one.stop)
            for one in self._open
            if one is not ask and not one.is_in and one.stop and one.at < one.stop
        ]
        covered = self._landing.written.union(others)
        return list(covered.missing(ByteRange(ask.start, ask.stop))) if ask.start < ask.stop else []

    def _ask_again(self, ranges: list[ByteRange | None], *, wait_s: float) -> None:
        if ranges and not self._draining:
            self._n_later += 1
            self._loop.call_later(wait_s, self._put_back, ranges)

    def _put_back(self, ranges: list[ByteRange | None]) -> None:
        self._n_later -= 1
        if self._ended.done() or self._draining:
            self._end_if_over()
            return
        if not self.is_deaf:
            self._todo = sorted([*self._todo, *(one for one in ranges if one is not None)])
        else:
            self._whole = "todo" if None in ranges else self._whole
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

"""One artifact, from claim to publish.

    plan -> segments -> partial -> (fdatasync -> had) -> digest behind the front -> publish

The scheduler gives slots, this decides what to ask with them. A segment holds its slot until its bytes are durable,
so that a kill costs at most one segment for each open request. Bytes are written once: what is in the partial
already is never overwritten, so the digest that follows the front is the digest of the file.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path

from asyncdl.core.events import FileQuarantined, RequestFailed
from asyncdl.core.model import Dataset, Digest, Job
from asyncdl.core.names import quote_path
from asyncdl.core.plan import SEGMENT_BYTES, Demand, segments
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Body, Pinned
from asyncdl.core.retry import PARK_FROM_S, TREATMENTS, Treatment, after_request
from asyncdl.disk import partial as disk
from asyncdl.disk.partial import Partial
from asyncdl.engine.attempts import Done, Unfinished
from asyncdl.engine.tools import Tools
from asyncdl.errors import TransferError
from asyncdl.net.remote import RemoteObject
from asyncdl.net.transport import Response

WRITE_BYTES = 512 << 10
"""Blocks are gathered to this before they are written: a thread hop each 64 KiB would cost more than the copy."""

SYNC_EVERY_S = 5.0
"""On a slow link a segment takes minutes; what came of it becomes durable this often. Guess."""

HASH_STEP_BYTES = 8 << 20
"""How much a disk thread hashes before others get it: ~6 ms at 1.4 GB/s."""

MAX_ROUNDS = 3
"""How often a file is begun again within one attempt because it changed meanwhile."""

MAX_IGNORED = 3
"""Ranges ignored in a row before the host is taken not to serve any."""


class Transfer:
    """Owner of one partial, of its missing ranges and of the requests for them. `run` once.

    wake: called when there is something new to fetch, or room for it.
    """

    def __init__(self, job: Job, dataset: Dataset, final: Path, tools: Tools, wake: Callable[[], None]) -> None:
        self.job = job
        self._tools = tools
        self._wake = wake
        self._final = final
        self._remote = RemoteObject(tools.client, f"{dataset.origin}/{quote_path(job.path)}")
        self._pinned = Pinned(job.size_bytes, job.validator)
        self._had = RangeSet.parse(job.had)
        self._had_at_claim = self._had.n_bytes
        self._take_over = job.take_over
        self._draining = False
        self._round: _Round | None = None

    def __repr__(self) -> str:
        return f"<Transfer {self.job.path} had {self._had.n_bytes} of {self._pinned.size_bytes}>"

    @property
    def progressed(self) -> bool:
        """Whether new durable bytes came in this attempt."""
        return self._had.n_bytes > self._had_at_claim

    def demand(self) -> Demand:
        """What the scheduler asks before it gives a slot."""
        n_open, n_waiting = (0, 0) if self._round is None else (self._round.n_open, len(self._round.pending))
        return Demand(self.job.id, n_open, n_waiting)

    def start_next(self) -> asyncio.Task[None]:
        """Begin the next waiting segment; the task ends, without an exception, when its slot is free again."""
        assert self._round is not None
        return self._round.start_next()

    def drain(self) -> None:
        """Begin no more segments; end once the open ones are durable."""
        self._draining = True
        if self._round is not None:
            self._round.drain()

    async def run(self) -> Done | Unfinished:
        """Bring the artifact to disk. Raises TransferError with what ended the attempt, or LeaseLostError."""
        if (done := await self._adopt()) is not None:
            return done
        for _ in range(MAX_ROUNDS - 1):
            try:
                return await self._run_round()
            except TransferError as error:
                if TREATMENTS[error.error_class].treatment is not Treatment.ANEW:
                    raise
                await self._forget(error)
        return await self._run_round()

    async def _adopt(self) -> Done | None:
        """Settle without a request if the finished file is there: right size, and right digest where one is known.

        Without a digest only a file that this queue is known to have completed counts: its last range was durable.
        """
        size_bytes = self.job.size_bytes
        if size_bytes is None:
            return None
        digest = self.job.digest
        complete = size_bytes > 0 and ByteRange(0, size_bytes) in self._had
        for candidate in await self._tools.threads.call(disk.finished_candidates, self._final, size_bytes):
            if digest is None and not (complete and candidate == self._final):
                continue
            found = await self._digest_of(candidate, size_bytes, digest)
            if digest is None or found == digest.hex:
                await self._tools.threads.call(disk.adopt, candidate, self._final)
                return self._done(size_bytes, found, adopted=True)
        return None

    async def _digest_of(self, path: Path, size_bytes: int, digest: Digest | None) -> str:
        hasher = disk.new_hasher(digest, size_bytes)
        for at in range(0, size_bytes, HASH_STEP_BYTES):
            stop = min(at + HASH_STEP_BYTES, size_bytes)
            await self._tools.threads.call(disk.feed_file, path, hasher, at, stop)
        return hasher.hexdigest()

    async def _forget(self, error: TransferError) -> None:
        """The object changed: none of its bytes counts any more, nor does its validator."""
        self._tools.listen(
            RequestFailed(path=self.job.path, error_class=error.error_class, message=error.message, wait_s=0.0)
        )
        self._had = RangeSet()
        self._pinned = Pinned(self.job.size_bytes if self.job.digest else None)
        await self._tools.jobs.forget_bytes(self.job)

    async def _run_round(self) -> Done | Unfinished:
        partial, self._had = await self._tools.threads.call(
            disk.open_partial, self._final, self._had, take_over=self._take_over
        )
        self._take_over = False
        try:
            self._round = _Round(self.job, self._tools, self._remote, partial, self._pinned, self._had, self._wake)
            if self._draining:
                self._round.drain()
            try:
                hexdigest = await self._round.run()
            finally:
                self._had, self._pinned = self._round.had, self._round.pinned
                self._round = None
            if hexdigest is None:
                return Unfinished()
            return await self._finish(partial, hexdigest)
        finally:
            await self._tools.threads.call(partial.close)

    async def _finish(self, partial: Partial, hexdigest: str) -> Done:
        """Publish the file whose bytes are all there, or keep it aside if they are the wrong ones."""
        digest, size_bytes = self.job.digest, self._pinned.size_bytes
        assert size_bytes is not None
        await self._tools.jobs.check_held(self.job)
        if digest is not None and hexdigest != digest.hex:
            await self._tools.jobs.forget_bytes(self.job)
            await self._tools.threads.call(partial.quarantine)
            self._tools.listen(FileQuarantined(path=self.job.path, error_class="digest_mismatch"))
            raise TransferError("digest_mismatch", f"{self.job.path}: {digest.name} is {hexdigest}, not {digest.hex}")
        await self._tools.threads.call(partial.publish, size_bytes)
        return self._done(size_bytes, hexdigest, adopted=False)

    def _done(self, size_bytes: int, hexdigest: str, *, adopted: bool) -> Done:
        checks = ["size"] * (self.job.size_bytes is not None) + ["digest"] * (self.job.digest is not None)
        is_sha256 = self.job.digest is None or self.job.digest.name == "sha256"
        result: dict[str, object] = {"checks": checks, "sha256": hexdigest if is_sha256 else None, "adopted": adopted}
        return Done(size_bytes, result)


class _Round:
    """The requests for one version of the object. Owner of pending, written and had ranges while it runs."""

    def __init__(
        self,
        job: Job,
        tools: Tools,
        remote: RemoteObject,
        partial: Partial,
        pinned: Pinned,
        had: RangeSet,
        wake: Callable[[], None],
    ) -> None:
        self._job = job
        self._tools = tools
        self._remote = remote
        self._partial = partial
        self._wake = wake
        self.pinned = pinned
        self.had = had
        self._written = had
        self.n_open = 0
        self.pending: deque[ByteRange | None] = deque()  # None: the whole, from a host that ignores ranges
        self._n_later = 0
        self._streak = 0
        self._n_ignored = 0
        self._is_planned = False
        self._takes_whole = False
        self._draining = False
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._grown = asyncio.Event()
        self._want_sync = asyncio.Event()
        self._synced = asyncio.Condition()

    # --- the round as a whole

    async def run(self) -> str | None:
        """Fetch what is missing; return the hex digest of the whole file, None if drained before the end."""
        self._plan()
        try:
            async with asyncio.TaskGroup() as self._group:
                helpers: list[asyncio.Task[object]] = [
                    self._group.create_task(self._sync_for_ever(), name=f"sync {self._job.path}")
                ]
                digest = self._group.create_task(self._follow_front(), name=f"digest {self._job.path}")
                self._wake()
                self._end_if_over()
                await self._ended
                if not self._is_whole:
                    helpers.append(digest)
                for helper in helpers:
                    helper.cancel()
                async with self._synced:
                    self._synced.notify_all()  # what is whole is synced by its publish
        except BaseExceptionGroup as group:
            raise _first(group) from group
        except asyncio.CancelledError:
            await self._sync()
            raise
        if not self._is_whole:
            await self._sync()
            return None
        return digest.result()

    def _plan(self) -> None:
        self._is_planned = self.pinned.size_bytes is not None
        if self.pinned.size_bytes is None:
            self.pending.append(ByteRange(0, SEGMENT_BYTES))  # its answer tells the size
        else:
            self.pending.extend(segments(self.pinned.size_bytes, self.had))

    @property
    def _is_whole(self) -> bool:
        size_bytes = self.pinned.size_bytes
        return size_bytes is not None and self._written.n_bytes == size_bytes

    def drain(self) -> None:
        self._draining = True
        self.pending.clear()
        self._end_if_over()

    def _end_if_over(self) -> None:
        idle = self.n_open == 0 and not self.pending and not self._n_later
        if (self._is_whole or (self._draining and self.n_open == 0) or idle) and not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, error: TransferError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    # --- one segment

    def start_next(self) -> asyncio.Task[None]:
        asked = self.pending.popleft()
        self.n_open += 1
        return self._group.create_task(self._fetch(asked), name=f"fetch {self._job.path} {asked}")

    async def _fetch(self, asked: ByteRange | None) -> None:
        self._tools.meter.n_requests += 1
        try:
            await self._stream(asked)
        except TransferError as error:
            self._after_failure(asked, error)
        finally:
            self._tools.meter.n_requests -= 1
            self.n_open -= 1
            self._end_if_over()

    async def _stream(self, asked: ByteRange | None) -> None:
        async with self._remote.open(asked, self.pinned) as (body, response):
            stop = self._accept(asked, body)
            reached = await self._receive(response, body.start, stop)
        if stop is None:
            self.pinned = Pinned(reached, self.pinned.validator)
        elif reached < stop:
            raise TransferError("short_body", f"the body ended after {reached - body.start} bytes")
        elif asked is not None and stop < min(asked.stop, self.pinned.size_bytes or stop):
            self._ask_again([ByteRange(stop, asked.stop)], wait_s=0.0)  # a shorter range than asked is lawful
        self._grown.set()
        await self._make_durable(body.start, reached)

    def _accept(self, asked: ByteRange | None, body: Body) -> int | None:
        """Take in what the answer says of the object; return where reading stops, None for the body's end."""
        self.pinned = body.pinned
        size_bytes = body.pinned.size_bytes
        if body.ignored_range and asked is not None:
            return self._accept_whole_for(asked)
        self._n_ignored = 0
        if asked is None:
            return body.stop
        if size_bytes is None:
            self._abandon_ranges()
            raise TransferError("range_ignored", "the host does not say how large the object is")
        if not self._is_planned:
            self._is_planned = True
            self.pending.extend(segments(size_bytes, self._written.add(ByteRange(0, min(asked.stop, size_bytes)))))
            self._wake()
        return body.stop

    def _accept_whole_for(self, asked: ByteRange) -> int:
        """The whole came for a range. Its beginning is as good as a first segment; else ask again, some times."""
        size_bytes = self.pinned.size_bytes
        if asked.start == 0 and size_bytes is not None and size_bytes <= asked.stop:
            return size_bytes
        self._n_ignored += 1
        if self._n_ignored >= MAX_IGNORED or size_bytes is None:
            self._abandon_ranges()
        raise TransferError("range_ignored", "the host sent the whole object for a range of it")

    def _abandon_ranges(self) -> None:
        """From here on the object comes whole, in one request; ranges that were asked for are not asked again."""
        if not self._takes_whole:
            self._takes_whole = True
            self.pending.clear()
            self.pending.append(None)

    async def _receive(self, response: Response, at: int, stop: int | None) -> int:
        """Write the body's blocks from offset `at` on; return where it ended. Never past `stop`."""
        gathered = bytearray()
        try:
            async for block in response.blocks():
                self._tools.meter.n_bytes += len(block)
                gathered += block
                if stop is not None and at + len(gathered) > stop:
                    raise TransferError("too_large", "the body is longer than it was said to be")
                if len(gathered) >= WRITE_BYTES:
                    at = await self._write(at, gathered)
                    gathered = bytearray()
        finally:
            if gathered:
                at = await self._write(at, gathered)
        return at

    async def _write(self, at: int, block: bytearray) -> int:
        """Write what is not there yet of `block`; return the offset behind it."""
        self._tools.leases.require_valid(self._job)
        stop = at + len(block)
        for gap in self._written.missing(ByteRange(at, stop)):
            piece = bytes(memoryview(block)[gap.start - at : gap.stop - at])
            await self._tools.threads.call(self._partial.write, gap.start, piece)
            self._written = self._written.add(gap)
            self._streak = 0
        self._grown.set()
        return stop

    # --- failures

    def _after_failure(self, asked: ByteRange | None, error: TransferError) -> None:
        """Put the rest of `asked` back, now or later, or end the attempt."""
        if error.error_class == "no_room":
            self._tools.disk_gate.close(len(asked) if asked is not None else SEGMENT_BYTES)
            self._ask_again(self._rest_of(asked), wait_s=0.0)
            return
        if error.retry_after_s is not None and TREATMENTS[error.error_class].treatment is Treatment.PARK:
            if error.retry_after_s > PARK_FROM_S:
                self._fail(error)
            else:
                self._ask_again(self._rest_of(asked), wait_s=error.retry_after_s)
            return
        self._streak += 1
        wait_s = after_request(error.error_class, self._streak, random.random())  # noqa: S311 - spreads load
        if wait_s is None:
            self._fail(error)
            return
        self._tools.listen(
            RequestFailed(path=self._job.path, error_class=error.error_class, message=error.message, wait_s=wait_s)
        )
        self._ask_again(self._rest_of(asked), wait_s=wait_s)

    def _rest_of(self, asked: ByteRange | None) -> list[ByteRange | None]:
        if self._takes_whole:
            return [None] if asked is None else []
        if asked is None:
            return []
        size_bytes = self.pinned.size_bytes
        stop = asked.stop if size_bytes is None else min(asked.stop, size_bytes)
        return list(self._written.missing(ByteRange(asked.start, stop))) if stop > asked.start else []

    def _ask_again(self, ranges: list[ByteRange | None], *, wait_s: float) -> None:
        if not ranges or self._draining:
            return
        self._n_later += 1
        asyncio.get_running_loop().call_later(wait_s, self._put_back, ranges)

    def _put_back(self, ranges: list[ByteRange | None]) -> None:
        self._n_later -= 1
        if self._ended.done() or self._draining:
            self._end_if_over()
            return
        self.pending.extendleft(reversed(ranges))  # the front first: the digest follows it
        self._wake()

    # --- durability

    async def _make_durable(self, start: int, stop: int) -> None:
        """Wait until a sync that began after these bytes were written has been recorded in the queue.

        A file of one segment has nothing to resume from: its publish syncs it.
        """
        size_bytes = self.pinned.size_bytes
        if start >= stop or size_bytes is None or size_bytes <= SEGMENT_BYTES:
            return
        wanted = ByteRange(start, stop)
        self._want_sync.set()
        async with self._synced:
            await self._synced.wait_for(lambda: wanted in self.had or self._ended.done())

    async def _sync_for_ever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SYNC_EVERY_S):
                    await self._want_sync.wait()
            except TimeoutError:
                pass
            self._want_sync.clear()
            try:
                await self._sync()
            except TransferError as error:
                self._fail(error)
                return
            async with self._synced:
                self._synced.notify_all()

    async def _sync(self) -> None:
        """Make what is written durable, then record it: the order is what makes `had` true after a crash."""
        written = self._written
        if written == self.had or (self.pinned.size_bytes or 0) <= SEGMENT_BYTES:
            return
        await self._tools.threads.call(self._partial.sync)
        await self._tools.jobs.progress(
            self._job, had=str(written), validator=self.pinned.validator, size_bytes=self.pinned.size_bytes,
            done=written.n_bytes,
        )  # fmt: skip
        self.had = written

    # --- digest

    async def _follow_front(self) -> str:
        """Hash the file from its first byte, always as far as there is no gap; return the hex digest of all of it."""
        size_bytes = self._job.size_bytes or 0
        hasher = disk.new_hasher(self._job.digest, size_bytes)
        at = 0
        while True:
            front = min(self._written.front, at + HASH_STEP_BYTES)
            if at < front:
                await self._tools.threads.call(self._partial.feed, hasher, at, front)
                at = front
            elif self.pinned.size_bytes == at and self._is_whole:
                return hasher.hexdigest()
            else:
                self._grown.clear()
                await self._grown.wait()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a round; the others are its echoes. A bug among them comes before the rest."""
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

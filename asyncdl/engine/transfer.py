"""One artifact, from claim to publish.

adopt? -> open the partial -> a round of requests -> digest (-> repair) -> publish (or quarantine)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from asyncdl.core.events import FileQuarantined, FileRepaired, RequestFailed
from asyncdl.core.model import Dataset, Digest, Job
from asyncdl.core.names import quote_path
from asyncdl.core.plan import SEGMENT_BYTES, Demand
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Pinned
from asyncdl.core.retry import TREATMENTS, Treatment
from asyncdl.disk import partial as disk
from asyncdl.disk.digester import Digester
from asyncdl.disk.partial import Partial
from asyncdl.engine.attempts import Done, Unfinished
from asyncdl.engine.checked import done, is_right, mismatch
from asyncdl.engine.incoming import HASH_STEP_BYTES, Incoming
from asyncdl.engine.landing import Landing
from asyncdl.engine.overlap import look_again
from asyncdl.engine.repair import Repair
from asyncdl.engine.round import Round
from asyncdl.engine.tools import Tools
from asyncdl.errors import TransferError
from asyncdl.net.remote import RemoteObject

MAX_ROUNDS = 3
"""How often a file is begun again within one attempt because it changed meanwhile. Guess."""


class Transfer:
    """Owner of one partial and of the rounds that fill it. `run` once.

    host: where the dataset is from; its pace counts. wake: called with this transfer when it has something to fetch.
    """

    def __init__(self, job: Job, dataset: Dataset, final: Path, tools: Tools, wake: Callable[[Transfer], None]) -> None:
        self.job = job
        self._is_listed = dataset.source == "s3"  # then the validator is the listing's, not that of the first answer
        self._listed_validator = job.validator if self._is_listed else None
        self._tools = tools
        self._wake = partial(wake, self)
        self._final = final
        self._remote = RemoteObject(tools.client, f"{dataset.origin}/{quote_path(job.path)}")
        self.host = self._remote.host
        self._pinned = Pinned(job.size_bytes, job.validator)
        self._is_deaf = False
        self._had = RangeSet.parse(job.had)
        self._had_at_claim = self._had.n_bytes
        self._take_over = job.take_over
        self._draining = False
        self._was_changed = False
        self._round: Round | None = None

    def __repr__(self) -> str:
        return f"<Transfer {self.job.path} had {self._had.n_bytes} of {self._pinned.size_bytes}>"

    @property
    def progressed(self) -> bool:
        """Whether new durable bytes came in this attempt, from a host of which the rest can be asked for."""
        return self._had.n_bytes > self._had_at_claim and not self._is_deaf

    def demand(self) -> Demand:
        """What the scheduler asks before it gives a slot."""
        if self._round is None:
            return Demand(self.job.id, 0, can_start=False)
        return Demand(self.job.id, self._round.n_open, self._round.can_start)

    def start_share(self) -> asyncio.Task[None] | None:
        """Let a spare slot help the slowest request; None where that does not pay."""
        return None if self._round is None else self._round.start_share()

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
        try:
            return await self._run()
        except TransferError as error:
            missing_bytes = (self._pinned.size_bytes or 0) - self._had.n_bytes
            self._tools.disk_gate.note(error, self._final.parent, min(SEGMENT_BYTES, max(0, missing_bytes)))
            raise

    async def _run(self) -> Done | Unfinished:
        if (done := await self._adopt()) is not None:
            return done
        if self.job.digest is None and self.job.validator is None:
            self._had = RangeSet()  # nothing could tell whether the object is still the one these bytes are of
        for n_left in reversed(range(MAX_ROUNDS)):
            try:
                return await self._open_and_fill()
            except TransferError as error:
                if TREATMENTS[error.error_class].treatment is not Treatment.ANEW:
                    raise
                await self._forget()  # the last time, too: what came of it is no progress
                if self._is_listed:
                    raise TransferError("replaced", "it was replaced since it was listed") from error
                if n_left == 0:
                    raise
                self._tell(error)
        raise AssertionError("unreachable")

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
            if is_right(self.job, found):
                await self._tools.threads.call(disk.adopt, candidate, self._final)
                return done(self.job, size_bytes, found, adopted=True)
        return None

    async def _digest_of(self, path: Path, size_bytes: int, digest: Digest | None) -> Digester:
        digester = Digester(digest, size_bytes)
        for at in range(0, size_bytes, HASH_STEP_BYTES):
            stop = min(at + HASH_STEP_BYTES, size_bytes)
            await self._tools.threads.call(disk.feed_file, path, digester, at, stop)
        return digester

    async def _forget(self) -> None:
        """The object changed: none of its bytes counts any more, nor does its validator."""
        self._had = RangeSet()
        size_bytes = self.job.size_bytes if self.job.digest else None  # without one the host may have said it
        self._pinned = Pinned(size_bytes, is_fickle=self._pinned.is_fickle)
        await self._tools.jobs.forget_bytes(self.job)

    def _tell(self, error: TransferError) -> None:
        self._tools.listen(
            RequestFailed(path=self.job.path, error_class=error.error_class, message=error.message, wait_s=0.0)
        )

    async def _open_and_fill(self) -> Done | Unfinished:
        held: list[Partial] = []  # a caller cancelled while it opens must close it all the same

        def open_partial() -> RangeSet:
            opened, had = disk.open_partial(self._final, self._had, take_over=self._take_over)
            held.append(opened)
            return had

        try:
            had = await self._tools.threads.call(open_partial)
            return await self._fill(held[0], had)
        finally:
            for opened in held:
                await self._tools.threads.call(opened.close)

    async def _fill(self, opened: Partial, had: RangeSet) -> Done | Unfinished:
        self._take_over = False
        incoming = Incoming(self.job, self._tools, opened, self._pinned, had)
        if had != self._had:
            # Or a kill would leave the queue believing in a hole.
            await self._tools.jobs.forget_bytes(self.job, validator=self._listed_validator)
        try:
            found = await self._bring(opened, incoming)
        finally:
            self._had, self._pinned = incoming.had, incoming.pinned
        if found is not None and not is_right(self.job, found) and self._size_bytes > SEGMENT_BYTES:
            found = await self._repair(opened, found)
        return Unfinished() if found is None else await self._finish(opened, found)

    async def _run_round(self, landing: Landing) -> Digester | None:
        """Return the digests of what landed; None if drained before the end."""
        self._round = current = Round(self.job, self._tools, self._remote, landing, self._wake, is_deaf=self._is_deaf)
        if self._draining:
            current.drain()
        try:
            return await current.run()
        finally:
            self._is_deaf = current.is_deaf
            self._round = None

    async def _bring(self, opened: Partial, incoming: Incoming) -> Digester | None:
        """Fetch what is missing. Raises TransferError("remote_changed") where what is had is of another object."""
        if self.job.digest is None and incoming.had and not incoming.is_whole:
            error = TransferError("remote_changed", "what is had is not what is served now")
            if not await self._is_still_the_one(opened, incoming, error):
                incoming.had = incoming.written = RangeSet()  # all of it comes again anyway
                await self._tools.jobs.forget_bytes(self.job, validator=self._listed_validator)
        try:
            return await self._run_round(incoming)
        except TransferError as error:
            may_be_fickle = not (self._was_changed or self._is_listed) and bool(incoming.pinned.size_bytes)
            if error.error_class != "remote_changed" or not may_be_fickle:
                raise
            self._was_changed = True  # once for each attempt: a host may play with us
            if not await self._is_still_the_one(opened, incoming, error):
                raise
            self._tell(error)
        return await self._run_round(incoming)

    async def _is_still_the_one(self, opened: Partial, incoming: Incoming, error: TransferError) -> bool:
        """Pin anew what the object is, what is had of it kept. False: that cannot be told, for want of ranges.

        Raises `error` where it is another object by now.
        """
        if self._is_deaf:
            return False
        try:
            kept = await look_again(
                incoming.pinned,
                incoming.written,
                opened,
                self._tools.threads,
                self._run_round,
                is_promised=self.job.digest is not None,
            )
        except TransferError as unknown:
            if unknown.error_class != "range_ignored":
                raise
            self._is_deaf = True
            return False
        if kept is None:
            raise error
        incoming.pinned = kept
        return True

    async def _repair(self, opened: Partial, found: Digester) -> Digester | None:
        """Fetch the file again where it lies; return its digests then, right or wrong, or None if drained."""
        await self._tools.jobs.check_held(self.job)
        repair = Repair(self.job, self._tools, opened, self._pinned, found)
        found_again = await self._run_round(repair)
        if found_again is not None and repair.is_right:
            self._tools.listen(FileRepaired(path=self.job.path, n_replaced_bytes=repair.n_replaced_bytes))
        return found_again

    @property
    def _size_bytes(self) -> int:
        assert self._pinned.size_bytes is not None
        return self._pinned.size_bytes

    async def _finish(self, partial: Partial, digester: Digester) -> Done:
        """Publish the file whose bytes are all there, or keep it aside if they are the wrong ones."""
        await self._tools.jobs.check_held(self.job)
        if not is_right(self.job, digester):
            await self._tools.jobs.forget_bytes(self.job, validator=self._listed_validator)
            await self._tools.threads.call(partial.quarantine)
            self._tools.listen(FileQuarantined(path=self.job.path, error_class="digest_mismatch"))
            raise mismatch(self.job, digester)
        await self._tools.threads.call(partial.publish, self._size_bytes)
        return done(self.job, self._size_bytes, digester)

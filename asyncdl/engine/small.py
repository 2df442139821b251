"""A small artifact, hoping for the best: one request, its body published from the slab, with others' in one call.

Nothing is resumed, shared or tried again here. Whatever goes wrong is left to a Transfer, which can do all of that
and costs several times as much.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

from asyncdl.core.events import FileQuarantined, RequestFailed
from asyncdl.core.model import Dataset, Job
from asyncdl.core.names import quote_path
from asyncdl.core.plan import Demand
from asyncdl.core.reply import Pinned
from asyncdl.disk.partial import finished_candidates
from asyncdl.engine.attempts import Done, Unfinished
from asyncdl.engine.checked import done
from asyncdl.engine.tools import Tools
from asyncdl.errors import TransferError
from asyncdl.net.remote import RemoteObject
from asyncdl.net.transport import Response

SMALL_BYTES = 256 << 10
"""A body up to this long is held in memory whole, mostly in the one slab it came in. Guess: below it the bookkeeping
of a segmented file costs more than the transfer."""


def is_small(job: Job) -> bool:
    """Whether one request for all of `job`'s artifact is worth a try. Of a file that was wrong before it is not."""
    is_fresh = not job.had and not job.take_over and not job.n_mismatches
    return is_fresh and job.size_bytes is not None and 0 < job.size_bytes <= SMALL_BYTES


def without_file(places: Sequence[tuple[Job, Path]]) -> set[int]:
    """In a thread: return the ids of those small jobs that have no file which could be adopted."""
    small = set()
    for job, final in places:
        if is_small(job) and job.size_bytes is not None:
            with suppress(TransferError):  # of this one place: its Transfer meets it too, and its job is charged
                if not finished_candidates(final, job.size_bytes):
                    small.add(job.id)
    return small


class Small:
    """One try at one artifact. `run` once. wake: called with this when it waits for a slot."""

    def __init__(self, job: Job, dataset: Dataset, final: Path, tools: Tools, wake: Callable[[Small], None]) -> None:
        self.job = job
        self._tools = tools
        self._wake = wake
        self._final = final
        self._remote = RemoteObject(tools.client, f"{dataset.origin}/{quote_path(job.path)}")
        self.host = self._remote.host
        self._slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._go: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Small {self.job.path}>"

    def demand(self) -> Demand:
        return Demand(self.job.id, int(self._go.done()), can_start=not self._go.done())

    def start_next(self) -> asyncio.Future[None]:
        """Begin; the future is done when the slot is free again."""
        self._go.set_result(True)
        return self._slot

    def start_share(self) -> None:
        """There is nothing to share."""

    def drain(self) -> None:
        """Do not begin; what has begun is as good as done."""
        if not self._go.done():
            self._go.set_result(False)

    async def run(self) -> Done | Unfinished | None:
        """Bring the artifact to disk; None where that did not go smoothly and nothing has changed.

        Raises LeaseLostError, TransferError("digest_mismatch") for a file that was kept aside, and what parks the job
        until there is room.
        """
        self._wake(self)
        try:
            return await self._fetch() if await self._go else Unfinished()
        except TransferError as error:
            if error.error_class == "digest_mismatch":
                self._tools.listen(FileQuarantined(path=self.job.path, error_class=error.error_class))
                raise
            if error.error_class in ("no_room", "no_handles"):
                self._tools.disk_gate.note(error, self._final.parent, self.job.size_bytes or 0)
                raise  # a Transfer would ask for the same bytes again, and meet the same disk
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # a thread's error goes before a cancellation, which must not begin a Transfer
            self._tools.listen(
                RequestFailed(path=self.job.path, error_class=error.error_class, message=error.message, wait_s=0.0)
            )
            return None
        finally:
            self._slot.set_result(None)  # whoever gave one: a cancelled task may not have heard of it yet

    async def _fetch(self) -> Done:
        self._tools.meter.n_requests += 1
        try:
            return await self._bring()
        finally:
            self._tools.meter.n_requests -= 1

    async def _bring(self) -> Done:
        size_bytes = self.job.size_bytes
        assert size_bytes is not None
        began_at = time.monotonic()
        async with self._remote.open(None, Pinned(size_bytes, self.job.validator)) as (_, response):
            self._tools.pacing.answered(self.host, time.monotonic() - began_at)
            content = await self._receive(response, size_bytes)
            await self._tools.rate_gate.passed(size_bytes)
            self._tools.meter.n_bytes += size_bytes
            self._tools.pacing.came(self.host, size_bytes)
            with self._tools.meter.on_disk:
                found = await self._tools.publisher.publish(self.job, self._final, content)
        return done(self.job, size_bytes, found)

    async def _receive(self, response: Response, size_bytes: int) -> memoryview:
        """Return the body. Raises TransferError where it is not size_bytes long."""
        async with aclosing(response.blocks()) as blocks:
            first = await anext(blocks, memoryview(b""))
            if len(first) == size_bytes:
                return first  # valid until the answer is left: nothing is copied
            body = bytearray(first)
            async for block in blocks:
                body += block
                if len(body) > size_bytes:
                    break
        if len(body) != size_bytes:
            kind = "short_body" if len(body) < size_bytes else "too_large"
            raise TransferError(kind, f"{len(body)} bytes came of {size_bytes}")
        return memoryview(body)

"""Whole small files on their way to the disk, many in one call of a thread and under one look at their leases.

Natural batching: no linger, no timer. A file that comes alone goes at once; those that come while others are on their
way go together. Knows nothing of requests, and how a file is settled is its owner's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from asyncdl.core.model import Job
from asyncdl.disk.digester import Digester
from asyncdl.disk.layout import corrupted_path
from asyncdl.disk.whole import Batch, Folders
from asyncdl.engine.checked import is_right, mismatch
from asyncdl.engine.threads import Threads, Wait
from asyncdl.errors import AsyncdlError, LeaseLostError
from asyncdl.store.jobs import Jobs

N_LANES = 3
"""Batches under way at once, at most: a folder that hangs (a mount below the data dir) must not hold up all. Guess."""

ONE_MORE_AFTER_S = 0.01
"""How old the youngest batch must be for another to begin beside it: above what one takes on a good disk. Where three
may begin at any time each has fewer files, and one of 64 KiB costs 750 instead of 550 us (benchmarks/LOG.md). Guess."""

MAX_BATCH = 32
"""Files in one batch, so that its first is not settled long after it could be. Guess."""

N_SYNCS = 6
"""Threads that a batch may sync in where that is slow; two are left for other calls. Guess."""

Hashed = tuple[Digester, AsyncdlError | None]


@dataclass(slots=True)
class _Entry:
    """A file that is to be published. found and error: what came of it, once `wait` is over."""

    job: Job
    final: Path
    content: memoryview
    wait: Wait
    found: Digester | None = None
    error: BaseException | None = None


class Publisher:
    """Owner of the batches under way. They end before those who wait for them, so there is nothing to close."""

    def __init__(self, threads: Threads, jobs: Jobs) -> None:
        self._threads = threads
        self._jobs = jobs
        self._loop = asyncio.get_running_loop()
        self._folders = Folders()
        self._waiting: list[_Entry] = []
        self._lanes: set[asyncio.Task[None]] = set()
        self._began_at = 0.0  # the youngest of them

    def __repr__(self) -> str:
        return f"<Publisher {len(self._lanes)} batches, {len(self._waiting)} files wait>"

    async def publish(self, job: Job, final: Path, content: memoryview) -> Digester:
        """Make `content` the file `final`, durable under its name; return its digests.

        Raises LeaseLostError before anything is touched, TransferError by who must act (see `disk_errors`), and
        TransferError("digest_mismatch") for what was kept aside. A caller that is cancelled waits for its batch all
        the same, whose thread reads `content`; before its batch has begun nothing comes of it.
        """
        entry = _Entry(job, final, content, Wait(self._loop))
        self._waiting.append(entry)
        self._start()
        cancelled = await entry.wait.until_over()
        if entry.error is not None:
            raise entry.error  # before the cancellation: a failed sync is told once
        if cancelled is not None:
            raise cancelled
        assert entry.found is not None
        return entry.found

    def _start(self) -> None:
        if not self._waiting or (self._lanes and not self._takes_another):
            return
        batch: list[_Entry] = []
        lane = self._loop.create_task(self._bring(batch), name="publish")
        self._began_at = time.monotonic()
        self._lanes.add(lane)
        lane.add_done_callback(partial(self._end, batch))

    @property
    def _takes_another(self) -> bool:
        return len(self._lanes) < N_LANES and time.monotonic() - self._began_at > ONE_MORE_AFTER_S

    async def _bring(self, batch: list[_Entry]) -> None:
        """Fill `batch` with those that wait, a turn of the loop after the first of them came, and publish it."""
        batch += self._waiting[:MAX_BATCH]
        del self._waiting[:MAX_BATCH]
        for entry, is_held in zip(batch, await self._jobs.are_held([entry.job for entry in batch]), strict=True):
            if not is_held:
                entry.error = LeaseLostError(f"the lease of job {entry.job.id} is held by another")
        going = [entry for entry in batch if entry.error is None and not entry.wait.is_cancelled]
        wanted = [(entry.job, entry.final, entry.content) for entry in going]
        hashed, files = await self._threads.call(_begin, wanted, self._folders)
        if files.n_unsynced:
            await self._finish_slowly(files)
        for entry, (found, wrong), error in zip(going, hashed, files.errors, strict=True):
            entry.found, entry.error = found, error or wrong

    async def _finish_slowly(self, files: Batch) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(N_SYNCS, files.n_unsynced)):
                    group.create_task(self._threads.call(files.sync), name="sync")
            await self._threads.call(files.end)
        finally:
            await self._threads.call(files.close)

    def _end(self, batch: list[_Entry], lane: asyncio.Task[None]) -> None:
        """What a lane raised, such as that the queue cannot be written, is everybody's in its batch."""
        self._lanes.discard(lane)
        error = asyncio.CancelledError() if lane.cancelled() else lane.exception()
        for entry in batch:
            entry.error = entry.error or error
            entry.wait.end()
        self._start()


def _begin(wanted: Sequence[tuple[Job, Path, memoryview]], folders: Folders) -> tuple[list[Hashed], Batch]:
    """In a thread: hash and compare all, begin to publish them; what is wrong is kept aside under another name."""
    hashed: list[Hashed] = []
    files: list[tuple[Path, memoryview]] = []
    for job, final, content in wanted:
        found = Digester(job.digest, len(content))
        found.update(content)
        wrong = None if is_right(job, found) else mismatch(job, found)
        hashed.append((found, wrong))
        files.append((final if wrong is None else corrupted_path(final), content))
    batch = Batch(files, folders)
    batch.begin()
    return hashed, batch

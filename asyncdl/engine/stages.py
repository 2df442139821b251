"""The stages after a download: verify and tokenize jobs are claimed as children become free, and settled.

Verify comes before tokenize, so that what is wrong is known before work is spent on what is right.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import orjson

from asyncdl.core.events import FileQuarantined
from asyncdl.core.model import Dataset, Job, Kind, NewJob
from asyncdl.core.names import SafePath, display
from asyncdl.core.retry import REFUSED_CONTENT
from asyncdl.disk.partial import quarantine
from asyncdl.engine.attempts import Attempts, Done, RefusedError
from asyncdl.engine.pool import Pool
from asyncdl.engine.tasks import Tasks, place_of, source_id_of
from asyncdl.engine.tools import Tools
from asyncdl.errors import TransferError
from asyncdl.store.reader import Reader
from workers.contract import Rejected, Surveyed, Tokenized, Verified

LOOK_EVERY_S = 0.25
"""How soon a job whose time has come, or that another process enqueued, is seen. Guess."""


MAX_NAMED = 3
"""Files of a group that are named where all of it is refused. Guess."""


class Stages:
    """Runs the pool's jobs, at most one for each child. Owner of its running tasks."""

    def __init__(
        self,
        kinds: tuple[Kind, ...],
        data_dir: Path,
        pool: Pool,
        attempts: Attempts,
        reader: Reader,
        tools: Tools,
    ) -> None:
        """kinds: what may be claimed, in the order of preference."""
        self._kinds = kinds
        self._data_dir = data_dir
        self._pool = pool
        self._attempts = attempts
        self._reader = reader
        self._tasks = Tasks(reader, data_dir)
        self._tools = tools
        self._backends: dict[int, str] = {}  # by recipe: what was noted last
        self._n_running = 0
        self._changed = asyncio.Event()
        self._draining = False
        self.idle: Callable[[], None] = lambda: None

    @property
    def n_active(self) -> int:
        return self._n_running

    def drain(self) -> None:
        """Claim nothing more; running tasks end by themselves."""
        self._draining = True
        self._changed.set()

    def look_again(self) -> None:
        """There may be something to claim."""
        self._changed.set()

    async def run(self) -> None:
        """Claim and run tasks until drained; return when none is left."""
        async with asyncio.TaskGroup() as group:
            while not self._draining:
                await self._claim(group)
                if self._n_running == 0:
                    self.idle()
                await self._until_changed()

    async def _claim(self, group: asyncio.TaskGroup) -> None:
        for kind in self._kinds:
            n = self._pool.n_processes - self._n_running
            if n <= 0 or not self._tools.disk_gate.is_open:
                return
            for job in await self._tools.jobs.claim(kind, n, now=time.time(), lease_s=self._tools.leases.lease_s):
                self._n_running += 1
                group.create_task(self._run_job(job), name=f"{kind} {job.path}")

    async def _until_changed(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _run_job(self, job: Job) -> None:
        try:
            dataset = self._reader.dataset(job.dataset_id)
            await self._attempts.run(job, dataset, lambda: self._work(job, dataset))
        finally:
            self._n_running -= 1
            self._changed.set()

    async def _work(self, job: Job, dataset: Dataset) -> Done:
        build = self._tasks.verify if job.kind == "verify" else self._tasks.tokenize
        task, timeout_s = build(job, dataset)
        outcome = await self._pool.run(task, timeout_s=timeout_s)
        match outcome:
            case Rejected():
                raise await self._rejected(job, dataset, outcome)
            case Tokenized():
                await self._note_backend(job.recipe_id, outcome)
                apart = tuple(self._set_apart(job, dataset, outcome))
                result = asdict(outcome) | {"inputs": self._inputs(job, dataset, {one.path for one in apart})}
                return Done(job.size_bytes, result, more=apart)
            case Surveyed():
                files = self._tasks.files_of(job, dataset)
                return _looked_at(job, outcome, dict(zip(files, outcome.sha256, strict=True)))
            case Verified(sha256=sha256):
                return _looked_at(job, outcome, {job.path: sha256} if sha256 else {})
        raise AssertionError(f"no worker answers {type(task).__name__} with {type(outcome).__name__}")

    def _inputs(self, job: Job, dataset: Dataset, apart: set[SafePath]) -> dict[str, str]:
        """Return {file: sha256} of what the shards were made of, as far as it was hashed here."""
        found: dict[str, str] = self._tasks.verified(job).get("inputs", {})
        return {file: found.get(file, "") for file in self._tasks.files_of(job, dataset) if file not in apart}

    async def _note_backend(self, recipe_id: int, outcome: Tokenized) -> None:
        backend = f"{outcome.backend}: {display(outcome.backend_note)}" if outcome.backend_note else outcome.backend
        if self._backends.get(recipe_id) != backend:
            self._backends[recipe_id] = backend
            await self._tools.jobs.note_backend(recipe_id, backend)

    def _set_apart(self, job: Job, dataset: Dataset, outcome: Tokenized) -> Iterator[NewJob]:
        """Files that a group was made without leave it and get jobs of their own, which say what is wrong with each."""
        refused = {source.source_id for source in outcome.refused}
        for file in self._tasks.files_of(job, dataset) if refused else ():
            if source_id_of(dataset, file) in refused:
                yield NewJob(dataset_id=dataset.id, kind="verify", path=file, leaves_group=True)

    async def _rejected(self, job: Job, dataset: Dataset, outcome: Rejected) -> TransferError:
        """Keep a file that is proven wrong aside, and return what the rejection means for the job.

        A file of this machine stays where it is: it is not ours.
        """
        if outcome.error_class == "no_room":
            self._tools.disk_gate.close(job.size_bytes or 0, self._tasks.output_dir(job, dataset))
            return TransferError("no_room", outcome.message, retry_after_s=0.0)
        if job.kind == "verify" and outcome.error_class in REFUSED_CONTENT and dataset.source != "local":
            await self._tools.jobs.check_held(job)
            await self._tools.threads.call(quarantine, place_of(self._data_dir, dataset, job.path))
            self._tools.listen(FileQuarantined(path=job.path, error_class=outcome.error_class))
        files = self._tasks.files_of(job, dataset)
        name = ", ".join(files[:MAX_NAMED]) + (f" and {len(files) - MAX_NAMED} more" if len(files) > MAX_NAMED else "")
        return RefusedError(outcome.error_class, f"{name}: {outcome.message}")


def _looked_at(job: Job, outcome: Verified | Surveyed, inputs: dict[SafePath, str]) -> Done:
    """inputs: {file: sha256} of what was hashed here; one digest stands for all of it and the way it is cut."""
    result: dict[str, object] = asdict(outcome) | {"inputs": inputs}
    if not inputs:
        return Done(job.size_bytes, result)
    content = orjson.dumps([inputs, result.get("parts")])
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Done(job.size_bytes, result | {"digest": digest}, digest=digest)

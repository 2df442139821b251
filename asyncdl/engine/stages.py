"""The stages after a download: verify and tokenize jobs are claimed as children become free, and settled.

Verify comes before tokenize, so that what is wrong is known before work is spent on what is right.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from asyncdl.core.events import FileQuarantined
from asyncdl.core.model import Dataset, Job, Kind
from asyncdl.core.names import shard_stem, split_name
from asyncdl.core.retry import REFUSED_CONTENT
from asyncdl.core.stages import MAX_SHARD_TOKENS, USUAL_TEXT_FIELD
from asyncdl.disk.layout import final_path, tokenized_dir
from asyncdl.disk.partial import quarantine
from asyncdl.engine.attempts import Attempts, Done, RefusedError
from asyncdl.engine.pool import Pool
from asyncdl.engine.tools import Tools
from asyncdl.errors import TransferError
from asyncdl.store.reader import Reader
from workers.contract import Rejected, Task, TokenizeTask, VerifyTask

LOOK_EVERY_S = 0.25
"""How soon a job whose time has come, or that another process enqueued, is seen. Guess."""

TIMEOUT_BASE_S = 60.0
VERIFY_BYTES_PER_S = 20e6
TOKENIZE_BYTES_PER_S = 100e3
"""A task that is slower than this is hung. Verify: a tenth of the full decode measured (0.2 GB/s). Tokenize: a
tenth of the slowest backend on compressed text (1 MB/s)."""


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
        self._tools = tools
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
        final = final_path(self._data_dir, dataset.local_root, job.path)
        task, timeout_s = self._task(job, dataset, final)
        outcome = await self._pool.run(task, timeout_s=timeout_s)
        if isinstance(outcome, Rejected):
            await self._reject(job, final, outcome)
        return Done(job.size_bytes, asdict(outcome))

    def _task(self, job: Job, dataset: Dataset, final: Path) -> tuple[Task, float]:
        size_bytes = job.size_bytes or 0
        if job.kind == "verify":
            columns = (dataset.text_field,) if dataset.text_field else ()
            task = VerifyTask(
                path=str(final), size_bytes=job.size_bytes, required_columns=columns, decode=job.digest is None
            )
            return task, TIMEOUT_BASE_S + size_bytes / VERIFY_BYTES_PER_S
        return self._tokenize_task(job, dataset, final), TIMEOUT_BASE_S + size_bytes / TOKENIZE_BYTES_PER_S

    def _tokenize_task(self, job: Job, dataset: Dataset, final: Path) -> TokenizeTask:
        recipe = self._reader.recipe(job.recipe_id)
        output_dir = tokenized_dir(self._data_dir, recipe.name) / split_name(dataset.name, dataset.subset)
        return TokenizeTask(
            source_path=str(final),
            source_id=f"{dataset.name}@{dataset.revision}/{job.path}",
            text_column=dataset.text_field or USUAL_TEXT_FIELD,
            tokenizer_path=recipe.tokenizer_path,
            tokenizer_sha256=recipe.tokenizer_sha256,
            eos_id=recipe.eos_id,
            max_seq_length=recipe.max_seq_length,
            labels="shifted",
            max_shard_tokens=MAX_SHARD_TOKENS,
            output_dir=str(output_dir),
            shard_stem=shard_stem(job.path),
            job_id=job.id,
            attempt=job.attempt,
        )

    async def _reject(self, job: Job, final: Path, outcome: Rejected) -> None:
        """Keep a file that is proven wrong aside, and raise what the rejection means for the job."""
        if outcome.error_class == "no_room":
            output_dir = tokenized_dir(self._data_dir, self._reader.recipe(job.recipe_id).name)
            self._tools.disk_gate.close(job.size_bytes or 0, output_dir)
            raise TransferError("no_room", outcome.message, retry_after_s=0.0)
        if job.kind == "verify" and outcome.error_class in REFUSED_CONTENT:
            await self._tools.jobs.check_held(job)
            await self._tools.threads.call(quarantine, final)
            self._tools.listen(FileQuarantined(path=job.path, error_class=outcome.error_class))
        raise RefusedError(outcome.error_class, f"{job.path}: {outcome.message}")

"""One attempt at one job, from claim to settle, whatever the job is. One of the three supervisors.

The work says what it found or raises; this room turns either into one settling transaction.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from asyncdl.core.events import Event, JobEnded
from asyncdl.core.model import Dataset, Job, NewJob
from asyncdl.core.names import display
from asyncdl.core.retry import TREATMENTS, Discard, Failure, RetryAt, Treatment, Verdict, after_attempt
from asyncdl.core.stages import next_jobs
from asyncdl.engine.leases import Leases
from asyncdl.errors import AsyncdlError, LeaseLostError, TransferError
from asyncdl.store.jobs import GiveBack, Jobs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """The job is completed. result: JSON for the row. size_bytes: of the artifact, as found.

    digest: as in `next_jobs`. more: jobs beside those that follow anyway.
    """

    size_bytes: int | None
    result: dict[str, object]
    digest: str | None = None
    more: tuple[NewJob, ...] = ()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The engine drains: what was done is kept in the row, the job goes back untried."""


class WorkerCrashError(TransferError):
    """The child that had the task died; the job is charged a crash."""


class RefusedError(TransferError):
    """A worker refused the file: whoever tries comes to the same, whatever the class means for a download."""


Work = Callable[[], Awaitable[Done | Unfinished]]


class Attempts:
    """Settles what attempts come to. stop: called with the reason when the machine itself is at fault."""

    def __init__(
        self,
        jobs: Jobs,
        leases: Leases,
        listen: Callable[[Event], None],
        stop: Callable[[TransferError], None],
    ) -> None:
        self._jobs = jobs
        self._leases = leases
        self._listen = listen
        self._stop = stop

    async def run(self, job: Job, dataset: Dataset, work: Work, progressed: Callable[[], bool] = lambda: False) -> None:
        """Run `work` under `job`'s lease and settle. progressed: whether new durable bytes came so far.

        Raises nothing but cancellation, which gives the job back first, and what the queue cannot be written for.
        """
        try:
            outcome = await self._under_lease(job, work)
            if isinstance(outcome, Done):
                await self._complete(job, dataset, outcome)
            else:
                await self._release(job, dataset)
        except LeaseLostError as error:
            await self._lost(job, dataset, error)
        except TransferError as error:
            await self._settle_failure(job, dataset, error, progressed=progressed())
        except asyncio.CancelledError:
            await self._release(job, dataset)
            raise
        except AsyncdlError:
            raise  # the queue cannot be written: no job's fault, and none can be settled
        except Exception as error:  # one file must not end a run of days; it is told and charged
            logger.exception("a bug while working on job %d", job.id)
            bug = TransferError("bug", f"{type(error).__name__}: {display(str(error))}")
            await self._settle_failure(job, dataset, bug, progressed=False)

    async def _under_lease(self, job: Job, work: Work) -> Done | Unfinished:
        await self._leases.vacate(job)
        try:
            async with asyncio.timeout(None) as scope:
                with self._leases.hold(job, scope):
                    return await work()
        except TimeoutError:
            if scope.expired():
                raise LeaseLostError(f"the lease of job {job.id} was lost") from None
            raise

    async def _complete(self, job: Job, dataset: Dataset, done: Done) -> None:
        children = (*next_jobs(replace(job, size_bytes=done.size_bytes), done.digest), *done.more)
        await self._jobs.complete(
            job, now=time.time(), size_bytes=done.size_bytes, result=done.result, children=children
        )
        self._tell(job, dataset, "completed", size_bytes=done.size_bytes)

    async def _release(self, job: Job, dataset: Dataset) -> None:
        now = time.time()
        with suppress(LeaseLostError):
            await self._jobs.give_back(job, GiveBack(outcome="released", run_at=now, failures=job.failures), now=now)
            self._tell(job, dataset, "released")

    async def _lost(self, job: Job, dataset: Dataset, error: LeaseLostError) -> None:
        """Give the job back in case the lease is lost to our own clock only; the fence decides."""
        await self._release(job, dataset)
        await self._jobs.note_fenced()
        self._tell(job, dataset, "lost", error_class="lease_expired", message=error.message)

    async def _settle_failure(self, job: Job, dataset: Dataset, error: TransferError, *, progressed: bool) -> None:
        if TREATMENTS[error.error_class].treatment is Treatment.STOP:
            self._stop(error)
        now = time.time()
        failure = Failure(
            error_class=error.error_class,
            failures=job.failures,
            n_mismatches=job.n_mismatches,
            progressed=progressed,
            retry_after_s=error.retry_after_s,
        )
        verdict: Verdict = Discard()
        if not isinstance(error, RefusedError):
            verdict = after_attempt(failure, now=now, jitter=random.random())  # noqa: S311 - spreads load, no secret
        text = display(error.message)
        outcome, run_at = "discarded", None
        with suppress(LeaseLostError):
            if isinstance(verdict, Discard):
                await self._jobs.discard(job, now=now, error_class=error.error_class, error_text=text)
            elif await self._jobs.give_back(job, _back(job, error, text, verdict, progressed=progressed), now=now):
                outcome, run_at = ("retry" if verdict.counts else "parked"), verdict.run_at
            self._tell(job, dataset, outcome, run_at=run_at, error_class=error.error_class, message=text)

    def _tell(
        self,
        job: Job,
        dataset: Dataset,
        outcome: str,
        *,
        size_bytes: int | None = None,
        run_at: float | None = None,
        error_class: str | None = None,
        message: str | None = None,
    ) -> None:
        self._listen(
            JobEnded(
                kind=job.kind, dataset=dataset.name, path=job.path, attempt=job.attempt, outcome=outcome,
                size_bytes=size_bytes, run_at=run_at, error_class=error_class, message=message,
            )
        )  # fmt: skip


def _back(job: Job, error: TransferError, text: str, verdict: RetryAt, *, progressed: bool) -> GiveBack:
    outcome: Literal["retry", "parked", "crashed"] = "retry" if verdict.counts else "parked"
    if isinstance(error, WorkerCrashError):
        outcome = "crashed"
    return GiveBack(
        outcome=outcome,
        run_at=verdict.run_at,
        failures=0 if progressed else job.failures + verdict.counts,
        error_class=error.error_class,
        error_text=text,
    )

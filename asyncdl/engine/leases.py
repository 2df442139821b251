"""The leases this engine holds: renewed at a third of their length, dropped the moment they may be somebody else's.

Two clocks judge a lease. The queue's row says who has it; our own says whether we may still believe so: an engine
that was stopped or suspended finds its leases invalid before it writes another byte.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from asyncdl.core.model import Job
from asyncdl.errors import LeaseLostError
from asyncdl.store.jobs import Jobs

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine is suspended, where the system has such a clock."""

VALID_SHARE = 2 / 3
"""Of a lease's length after the last renewal; the rest is for work that was begun just before."""


class Leases:
    """Owner of the set of held leases. Every attempt runs inside `hold`."""

    def __init__(self, jobs: Jobs, lease_s: float) -> None:
        self._jobs = jobs
        self.lease_s = lease_s
        self._held: dict[int, tuple[Job, asyncio.Timeout, float]] = {}
        self._renewed_at = time.clock_gettime(_CLOCK)

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def hold(self, job: Job, scope: asyncio.Timeout) -> Iterator[None]:
        """Keep `job` renewed; when its lease is lost, `scope` expires, which cancels the work inside it."""
        self._held[job.id] = (job, scope, time.clock_gettime(_CLOCK))
        try:
            yield
        finally:
            del self._held[job.id]

    def require_valid(self, job: Job) -> None:
        """Raise LeaseLostError unless the lease of `job`, taken or renewed lately, can still be relied on."""
        _, _, claimed_at = self._held[job.id]
        age_s = time.clock_gettime(_CLOCK) - max(self._renewed_at, claimed_at)
        if age_s > self.lease_s * VALID_SHARE:
            raise LeaseLostError(f"the lease of job {job.id} was not renewed for {age_s:.0f} s")

    async def renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.lease_s / 3)
            await self.renew()

    async def renew(self) -> None:
        """Renew all at once. A job that is missing from the answer was rescued, cancelled, or settled meanwhile."""
        before = dict(self._held)
        asked_at = time.clock_gettime(_CLOCK)
        kept = await self._jobs.renew(now=time.time(), lease_s=self.lease_s)
        self._renewed_at = asked_at
        for id_, (job, scope, _) in before.items():
            if kept.get(id_) != job.attempt and id_ in self._held and self._held[id_][0] is job:
                scope.reschedule(asyncio.get_running_loop().time())

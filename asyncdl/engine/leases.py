"""The leases this engine holds: renewed at a third of their length, dropped the moment they may be somebody else's.

Two clocks judge a lease. The queue's row says who has it; our own says whether we may still believe so: an engine
that was stopped or suspended finds its leases invalid before it writes another byte.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from asyncdl.core.model import Job
from asyncdl.errors import LeaseLostError
from asyncdl.store.jobs import Jobs

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine is suspended, where the system has such a clock."""

VALID_SHARE = 2 / 3
"""Of a lease's length after the last renewal; the rest is for work that was begun just before."""


@dataclass(slots=True)
class _Hold:
    """scope: expires when the lease is lost. over: set when the work inside it has ended."""

    job: Job
    scope: asyncio.Timeout
    claimed_at: float
    over: asyncio.Event
    is_lost: bool = False

    def lose(self) -> None:
        """Expire the scope, once: the work may take long to end, and a scope that is ending cannot be set again."""
        if not self.is_lost:
            self.is_lost = True
            self.scope.reschedule(asyncio.get_running_loop().time())


class Leases:
    """Owner of the set of held leases. Every attempt runs inside `hold`."""

    def __init__(self, jobs: Jobs, lease_s: float) -> None:
        self._jobs = jobs
        self.lease_s = lease_s
        self._held: dict[int, _Hold] = {}
        self._renewed_at = time.clock_gettime(_CLOCK)

    @contextmanager
    def hold(self, job: Job, scope: asyncio.Timeout) -> Iterator[None]:
        """Keep `job` renewed; when its lease is lost, `scope` expires, which cancels the work inside it."""
        held = self._held[job.id] = _Hold(job, scope, time.clock_gettime(_CLOCK), asyncio.Event())
        try:
            yield
        finally:
            del self._held[job.id]
            held.over.set()

    async def vacate(self, job: Job) -> None:
        """End an earlier attempt at `job` that runs here still: that `job` could be claimed proves its lease lost."""
        while (held := self._held.get(job.id)) is not None:
            held.lose()
            await held.over.wait()

    def require_valid(self, job: Job) -> None:
        """Raise LeaseLostError unless the lease of `job`, taken or renewed lately, can still be relied on."""
        age_s = time.clock_gettime(_CLOCK) - max(self._renewed_at, self._held[job.id].claimed_at)
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
        for id_, held in before.items():
            if kept.get(id_) != held.job.attempt and self._held.get(id_) is held:
                held.lose()

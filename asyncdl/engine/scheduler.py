"""Slots: which transfer gets the next one, and when another job is claimed.

The mutable state is two things, the free slots and the transfers under way, and both change in synchronous methods
only: `_dispatch` decides with `core.plan.choose` and starts tasks; nothing can come between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from asyncdl.core.model import Job
from asyncdl.core.plan import Demand, choose
from asyncdl.disk.layout import final_path
from asyncdl.engine.attempts import Attempts, Done, Unfinished
from asyncdl.engine.small import Small, without_file
from asyncdl.engine.tools import Tools
from asyncdl.engine.transfer import Transfer
from asyncdl.store.reader import Reader

LOOK_EVERY_S = 0.5
"""How soon a job that another process enqueued, or whose time has come, is seen."""

CLAIM_BATCH = 64
"""Jobs in one claim at most, so that several engines share a small queue. Guess."""


class Fetch(Protocol):
    """What gets slots: a Transfer, or a Small."""

    job: Job
    host: str

    def demand(self) -> Demand: ...

    def start_next(self) -> asyncio.Future[None]: ...

    def start_share(self) -> asyncio.Future[None] | None: ...

    def drain(self) -> None: ...


class Scheduler:
    """Owner of the slots. `run` until drained or cancelled.

    Transfers that hash or publish hold no slot, yet no more jobs than slots are held: what is not durable yet is lost
    by a kill, and that shall be at most one segment or small file for each slot.
    """

    def __init__(self, n_slots: int, data_dir: Path, tools: Tools, attempts: Attempts, reader: Reader) -> None:
        self._n_slots = n_slots
        self._n_free = n_slots
        self._data_dir = data_dir
        self._tools = tools
        self._attempts = attempts
        self._reader = reader
        self._active: dict[int, Fetch] = {}
        self._asking: dict[int, Fetch] = {}  # those with segments to start, in the order they first asked
        self._hungry = asyncio.Event()
        self._draining = False
        self._none_left = False
        self.idle: Callable[[], None] = lambda: None
        tools.disk_gate.opened = self._dispatch
        tools.pacing.changed = self._dispatch

    def __repr__(self) -> str:
        return f"<Scheduler {self._n_slots - self._n_free}/{self._n_slots} slots, {len(self._active)} transfers>"

    @property
    def n_active(self) -> int:
        return len(self._active)

    def drain(self) -> None:
        """Claim nothing more; open segments end, their transfers are released or, if whole, published."""
        self._draining = True
        self._hungry.set()
        for transfer in list(self._active.values()):
            transfer.drain()

    def look_again(self) -> None:
        """There may be something to claim."""
        self._hungry.set()

    async def run(self) -> None:
        """Claim and fetch until drained; return when no transfer is left."""
        async with asyncio.TaskGroup() as group:
            while not self._draining:
                if self._n_claimable > 0:
                    self._none_left = await self._claim(group) == 0
                if self._none_left:
                    self._dispatch()  # there is nothing to claim: open files may share the free slots
                if not self._active:
                    self.idle()
                await self._until_hungry(timeout_s=LOOK_EVERY_S if self._none_left else None)

    @property
    def _n_claimable(self) -> int:
        if not self._tools.disk_gate.is_open:
            return 0
        return min(self._n_free, self._n_slots - len(self._active), CLAIM_BATCH)

    async def _claim(self, group: asyncio.TaskGroup) -> int:
        claimed = await self._tools.jobs.claim(
            "download", self._n_claimable, now=time.time(), lease_s=self._tools.leases.lease_s
        )
        places = [(job, self._final_path(job)) for job in claimed]
        small = await self._tools.threads.call(without_file, places)
        for job, final in places:
            group.create_task(self._transfer(job, final, is_small=job.id in small), name=f"transfer {job.path}")
        return len(claimed)

    def _final_path(self, job: Job) -> Path:
        return final_path(self._data_dir, self._reader.dataset(job.dataset_id).local_root, job.path)

    async def _until_hungry(self, *, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._hungry.wait()
        except TimeoutError:
            pass
        self._hungry.clear()

    async def _transfer(self, job: Job, final: Path, *, is_small: bool) -> None:
        dataset = self._reader.dataset(job.dataset_id)
        transfer = Transfer(job, dataset, final, self._tools, self._serve)

        async def work() -> Done | Unfinished:
            if is_small:
                small = Small(job, dataset, final, self._tools, self._serve)
                self._begin(small)
                if (settled := await small.run()) is not None:
                    return settled
            self._begin(transfer)
            return await transfer.run()

        try:
            await self._attempts.run(job, work, lambda: transfer.progressed)
        finally:
            self._end(job)

    def _begin(self, fetch: Fetch) -> None:
        self._active[fetch.job.id] = fetch
        if self._draining:
            fetch.drain()

    def _end(self, job: Job) -> None:
        for known in (self._active, self._asking):
            if job.id in known and known[job.id].job.attempt == job.attempt:  # or a later attempt has its place
                del known[job.id]
        self._dispatch()

    def _serve(self, fetch: Fetch) -> None:
        """`fetch` has a request to start."""
        self._asking[fetch.job.id] = fetch
        self._dispatch()

    def _dispatch(self) -> None:
        """Give free slots away until there is no taker or no slot; ask for new jobs if slots are left."""
        while self._n_free and self._tools.disk_gate.is_open:
            demands = (transfer.demand() for transfer in self._asking.values())
            may_claim = not self._none_left and not self._draining and self._n_claimable > 0
            chosen = choose(demands, may_claim=may_claim, is_full=self._tools.pacing.is_full)
            if chosen is not None:
                self._give(self._asking[chosen])
            elif may_claim:
                self._hungry.set()
                return
            elif not self._help():
                return

    def _give(self, transfer: Fetch) -> None:
        """Let `transfer` begin its next request."""
        self._occupy(transfer.host, transfer.start_next())
        if not transfer.demand().can_start:
            del self._asking[transfer.job.id]

    def _help(self) -> bool:
        """Let a slot for which there is nothing else take a part of a slow request; return whether one needed it."""
        for transfer in self._active.values():
            if not self._tools.pacing.is_full(transfer.host) and (task := transfer.start_share()) is not None:
                self._occupy(transfer.host, task)
                return True
        return False

    def _occupy(self, host: str, task: asyncio.Future[None]) -> None:
        self._n_free -= 1
        self._tools.pacing.opened(host)
        task.add_done_callback(partial(self._slot_free, host))

    def _slot_free(self, host: str, _task: asyncio.Future[None]) -> None:
        self._n_free += 1
        self._tools.pacing.closed(host)
        self._dispatch()

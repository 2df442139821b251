"""Slots: which transfer gets the next one, and when another job is claimed.

The mutable state is two things, the free slots and the transfers under way, and both change in synchronous methods
only: `_dispatch` decides with `core.plan.choose` and starts tasks; nothing can come between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from asyncdl.core.model import Job
from asyncdl.core.plan import choose
from asyncdl.disk.layout import final_path
from asyncdl.engine.attempts import Attempts
from asyncdl.engine.tools import Tools
from asyncdl.engine.transfer import Transfer
from asyncdl.store.reader import Reader

LOOK_EVERY_S = 0.5
"""How soon a job that another process enqueued, or whose time has come, is seen."""

CLAIM_BATCH = 64
"""Jobs in one claim at most, so that several engines share a small queue. Guess."""


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
        self._active: dict[int, Transfer] = {}
        self._asking: dict[int, Transfer] = {}  # those with segments to start, in the order they first asked
        self._hungry = asyncio.Event()
        self._draining = False
        self._none_left = False
        self.idle: Callable[[], None] = lambda: None
        tools.disk_gate.opened = self._dispatch

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
        for job in claimed:
            group.create_task(self._transfer(job), name=f"transfer {job.path}")
        return len(claimed)

    async def _until_hungry(self, *, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._hungry.wait()
        except TimeoutError:
            pass
        self._hungry.clear()

    async def _transfer(self, job: Job) -> None:
        dataset = self._reader.dataset(job.dataset_id)
        final = final_path(self._data_dir, dataset.local_root, job.path)
        transfer = Transfer(job, dataset, final, self._tools, self._serve)
        self._active[job.id] = transfer
        try:
            if self._draining:
                transfer.drain()
            await self._attempts.run(job, transfer.run, lambda: transfer.progressed)
        finally:
            for known in (self._active, self._asking):
                if known.get(job.id) is transfer:  # or a later attempt has its place
                    del known[job.id]
            self._dispatch()

    def _serve(self, transfer: Transfer) -> None:
        """`transfer` has segments to start."""
        self._asking[transfer.job.id] = transfer
        self._dispatch()

    def _dispatch(self) -> None:
        """Give free slots away until there is no taker or no slot; ask for new jobs if slots are left."""
        while self._n_free and self._tools.disk_gate.is_open:
            demands = (transfer.demand() for transfer in self._asking.values())
            may_claim = not self._none_left and not self._draining and self._n_claimable > 0
            chosen = choose(demands, may_claim=may_claim)
            if chosen is None:
                if may_claim:
                    self._hungry.set()
                return
            self._n_free -= 1
            transfer = self._asking[chosen]
            transfer.start_next().add_done_callback(self._slot_free)
            if not transfer.demand().n_waiting:
                del self._asking[chosen]

    def _slot_free(self, _task: asyncio.Task[None]) -> None:
        self._n_free += 1
        self._dispatch()

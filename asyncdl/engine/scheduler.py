"""Slots: which transfer gets the next one, and when another job is claimed.

The mutable state is two things, the free slots and the transfers under way, and both change in synchronous methods
only: `_dispatch` decides with `core.plan.choose` and starts tasks; nothing can come between.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from asyncdl.core.model import Dataset, Job
from asyncdl.core.plan import Demand, choose
from asyncdl.disk.layout import final_path
from asyncdl.engine.attempts import Attempts, Done, Unfinished
from asyncdl.engine.small import Small, without_file
from asyncdl.engine.tools import Tools
from asyncdl.engine.transfer import Transfer
from asyncdl.errors import ConfigError, TransferError
from asyncdl.store.reader import Reader

LOOK_EVERY_S = 0.5
"""How soon a job that another process enqueued, or whose time has come, is seen."""

CLAIM_BATCH = 64
"""Jobs in one claim at most, so that several engines share a small queue. Guess."""


HELP_EVERY_S = 0.25
"""How often the requests under way are looked at for one that is slow: a fraction of core.plan.SHARE_FROM_S."""


CLAIM_SHARE = 16
"""Jobs are claimed when a sixteenth of those that may be held have ended; with fewer slots each time. Guess."""


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
        self._n_held = 0
        self._active: dict[int, Fetch] = {}
        self._asking: defaultdict[str, dict[int, Fetch]] = defaultdict(dict)  # by host, in the order they first asked
        self._helped_at = 0.0
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
        if not self._tools.disk_gate.is_open or self._n_held > self._n_slots - self._n_slots // CLAIM_SHARE:
            return 0  # a claim for each job that ends would cost as much as the job
        return min(self._n_free, self._n_slots - self._n_held, CLAIM_BATCH)

    async def _claim(self, group: asyncio.TaskGroup) -> int:
        claimed = await self._tools.jobs.claim(
            "download", self._n_claimable, now=time.time(), lease_s=self._tools.leases.lease_s
        )
        self._n_held += len(claimed)
        datasets = {id_: self._reader.dataset(id_) for id_ in {job.dataset_id for job in claimed}}
        places = [(job, final_path(self._data_dir, datasets[job.dataset_id].local_root, job.path)) for job in claimed]
        small = await self._tools.threads.call(without_file, places)
        for job, final in places:
            work = self._transfer(job, datasets[job.dataset_id], final, is_small=job.id in small)
            group.create_task(work, name=f"transfer {job.path}")
        return len(claimed)

    async def _until_hungry(self, *, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._hungry.wait()
        except TimeoutError:
            pass
        self._hungry.clear()

    async def _transfer(self, job: Job, dataset: Dataset, final: Path, *, is_small: bool) -> None:
        transfer: Transfer | None = None

        async def work() -> Done | Unfinished:
            nonlocal transfer
            if dataset.source == "s3":
                self._sign_for(dataset)
            if is_small:
                small = Small(job, dataset, final, self._tools, self._serve)
                self._begin(small)
                if (settled := await small.run()) is not None:
                    return settled
            transfer = Transfer(job, dataset, final, self._tools, self._serve)
            self._begin(transfer)
            return await transfer.run()

        try:
            await self._attempts.run(job, dataset, work, lambda: transfer is not None and transfer.progressed)
        finally:
            self._end(job)

    def _sign_for(self, dataset: Dataset) -> None:
        """Sign what is asked of this bucket; it may have been enqueued after the start, and with other settings.

        Raises TransferError("bad_keys") where the environment has none for it: that is no reason to end a run.
        """
        try:
            self._tools.client.credentials.sign_for(dataset.origin)
        except ConfigError as error:
            raise TransferError("bad_keys", error.message) from error

    def _begin(self, fetch: Fetch) -> None:
        self._active[fetch.job.id] = fetch
        if self._draining:
            fetch.drain()

    def _end(self, job: Job) -> None:
        self._n_held -= 1
        for known in (self._active, *self._asking.values()):
            if job.id in known and known[job.id].job.attempt == job.attempt:  # or a later attempt has its place
                del known[job.id]
        self._dispatch()

    def _serve(self, fetch: Fetch) -> None:
        """`fetch` has a request to start."""
        self._asking[fetch.host][fetch.job.id] = fetch
        self._dispatch()

    def _dispatch(self) -> None:
        """Give free slots away until there is no taker or no slot; ask for new jobs if slots are left."""
        while self._n_free and self._tools.disk_gate.is_open:
            may_claim = not self._none_left and not self._draining and self._n_claimable > 0
            chosen = choose((fetch.demand() for fetch in self._takers()), may_claim=may_claim)
            if chosen is not None:
                self._give(self._active[chosen])
            elif may_claim:
                self._hungry.set()
                return
            elif not (self._none_left and self._help()):  # while files wait, a slot that comes free is theirs
                return

    def _takers(self) -> Iterator[Fetch]:
        """Those who ask, of the hosts that take another request."""
        for host, asking in self._asking.items():
            if asking and not self._tools.pacing.is_full(host):
                yield from asking.values()

    def _give(self, fetch: Fetch) -> None:
        """Let `fetch` begin its next request."""
        self._occupy(fetch.host, fetch.start_next())
        if not fetch.demand().can_start:
            del self._asking[fetch.host][fetch.job.id]

    def _help(self) -> bool:
        """Let a slot for which there is nothing else take a part of a slow request; return whether one needed it."""
        if time.monotonic() - self._helped_at < HELP_EVERY_S or self._tools.rate_gate.is_spent:
            return False  # what our own limit slows needs no help
        for fetch in self._active.values():
            if not self._tools.pacing.is_full(fetch.host) and (task := fetch.start_share()) is not None:
                self._occupy(fetch.host, task)
                return True
        self._helped_at = time.monotonic()
        return False

    def _occupy(self, host: str, task: asyncio.Future[None]) -> None:
        self._n_free -= 1
        self._tools.meter.slots.add(1)
        self._tools.pacing.opened(host)
        task.add_done_callback(partial(self._slot_free, host))

    def _slot_free(self, host: str, _task: asyncio.Future[None]) -> None:
        self._n_free += 1
        self._tools.meter.slots.add(-1)
        self._tools.pacing.closed(host)
        self._dispatch()

"""The composition of an engine: builds everything, starts the services, and owns drain and stop.

    renew | rescue | beat | disk | manifests      services, until the end
    scheduler (downloads) | stages (pool)         work, until drained or until the queue is empty

Knows nothing of terminals or JSON: it tells events to `listen`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asyncdl.core.events import Event, GateClosed, JobEnded, Rescued, Stopping
from asyncdl.core.model import Kind
from asyncdl.core.names import quote_path
from asyncdl.core.retry import TREATMENTS
from asyncdl.core.s3_keys import S3Keys
from asyncdl.core.secret import Secret
from asyncdl.disk import room
from asyncdl.disk.occupancy import occupied
from asyncdl.engine.attempts import Attempts
from asyncdl.engine.bounding import Bounding
from asyncdl.engine.disk_gate import DiskGate
from asyncdl.engine.heartbeat import beat_for_ever
from asyncdl.engine.leases import Leases
from asyncdl.engine.manifests import write_manifests
from asyncdl.engine.meter import Meter
from asyncdl.engine.pacing import Pacing
from asyncdl.engine.pool import Pool
from asyncdl.engine.publisher import Publisher
from asyncdl.engine.round import first_of
from asyncdl.engine.scheduler import Scheduler
from asyncdl.engine.stages import Stages
from asyncdl.engine.threads import Threads
from asyncdl.engine.tools import Tools
from asyncdl.errors import DiskFailedError, NoRoomError, TransferError
from asyncdl.net.body_transport import BodyTransport
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.gates import Gates
from asyncdl.net.odd_transport import OddTransport
from asyncdl.net.rate import RateGate
from asyncdl.net.s3_access import require_access
from asyncdl.net.way_out import STALL_TIMEOUT_S
from asyncdl.store import migrate, place
from asyncdl.store.hosts import Hosts
from asyncdl.store.jobs import Jobs
from asyncdl.store.presence import Presence
from asyncdl.store.reader import Reader
from asyncdl.store.writer import Writer

KINDS: tuple[Kind, ...] = ("download", "verify", "tokenize")
"""What this engine can do, in the order of the path."""

RESCUE_EVERY_S = 5.0
REMEMBER_EVERY_S = 5.0
MANIFESTS_EVERY_S = 60.0
"""Guesses: often enough for a person who looks on; each is one short read or write."""

MANIFESTS_SHARE = 50
"""Of a million files they take seconds: at most a fiftieth of the time goes there. Guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """only: kinds to work on, None for all. forever: do not end when the queue is empty.

    max_rate_per_s: bytes per second of the whole engine. per_host: requests to one host at most. None: no limit.
    """

    queue: Path
    data_dir: Path
    workers: int
    processes: int
    only: frozenset[Kind] | None
    forever: bool
    allow_private: bool
    endpoint: str
    token: Secret | None
    lease_s: float
    version: str
    max_rate_per_s: float | None = None
    per_host: int | None = None
    stall_timeout_s: float = STALL_TIMEOUT_S
    s3: S3Keys | None = None

    @property
    def ceiling(self) -> int:
        """Requests to one host at most."""
        return self.workers if self.per_host is None else min(self.workers, self.per_host)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in KINDS if self.only is None or kind in self.only)


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a run ended. empty: nothing is left to do. drained, stopped: it was asked to."""

    reason: Literal["empty", "drained", "stopped"]


class Engine:
    """One run. `drain` and `stop` may be called from signal handlers of the loop, any number of times."""

    def __init__(self, config: EngineConfig, listen: Callable[[Event], None]) -> None:
        self._config = config
        self._listen = listen
        self._workers: list[Scheduler | Stages] = []
        self._reason: Literal["empty", "drained", "stopped"] = "empty"
        self._failure: TransferError | None = None
        self._main: asyncio.Task[object] | None = None
        self._over = asyncio.Event()

    @property
    def n_active(self) -> int:
        """How many jobs are under way."""
        return sum(worker.n_active for worker in self._workers)

    def _n_tasks(self) -> int:
        return sum(worker.n_active for worker in self._workers if isinstance(worker, Stages))

    def drain(self) -> None:
        """Finish what runs, up to the segment, and begin nothing more."""
        if self._reason == "empty":
            self._reason = "drained"
            self._listen(Stopping(how="drain"))
        for worker in self._workers:
            worker.drain()

    def stop(self) -> None:
        """Cancel what runs. Durable bytes are recorded, jobs given back."""
        if self._main is not None and self._reason != "stopped":
            self._reason = "stopped"
            self._listen(Stopping(how="stop"))
            self._main.cancel()

    def _fail(self, error: TransferError) -> None:
        self._failure = self._failure or error
        self.stop()

    async def run(self) -> Ended:
        """Work until the queue is empty, or until drained or stopped; manifests are written in the end.

        Raises NoRoomError before anything is begun, ConfigError for the queue, DiskFailedError when the disk fails.
        """
        config = self._config
        _allow_many_files()
        writer = Writer(await asyncio.to_thread(migrate.open_writer, config.queue), config.queue)
        threads = Threads()
        try:
            with Reader(config.queue) as reader, occupied(config.data_dir, config.queue):
                _require_room(reader, config)
                await self._run_jobs(writer, reader, threads)
            await threads.call(write_manifests, config.queue, config.data_dir)
        finally:
            threads.close()
            await asyncio.to_thread(writer.close)  # it waits for the lock that another engine may hold
        if self._failure is not None:
            hint = TREATMENTS[self._failure.error_class].hint
            raise DiskFailedError(self._failure.message, hint=f"nothing is lost; {hint}")
        return Ended(self._reason)

    async def _run_jobs(self, writer: Writer, reader: Reader, threads: Threads) -> None:
        config = self._config
        jobs = Jobs(writer, owner=f"{place.host()}-{os.getpid()}-{secrets.token_hex(4)}")
        with Presence(config.queue, jobs.owner):
            identity = place.identity(os.getpid()) or ""
            await jobs.start_engine(
                identity=identity, version=config.version, workers=config.workers, pid=os.getpid(), now=time.time()
            )
            self._main = asyncio.ensure_future(self._serve(writer, jobs, reader, threads))
            try:
                await self._main
            except asyncio.CancelledError:
                if self._reason != "stopped" or not self._main.cancelled():
                    raise
            except BaseExceptionGroup as group:
                # Jobs may be held still; the engine is left open, so that they are found to be a dead one's at once.
                raise first_of(group) from group
            await jobs.end_engine(now=time.time())

    async def _serve(self, writer: Writer, jobs: Jobs, reader: Reader, threads: Threads) -> None:
        config = self._config
        async with AsyncExitStack() as stack:
            stall_timeout_s = config.stall_timeout_s
            other = await stack.enter_async_context(OddTransport(stall_timeout_s=stall_timeout_s))
            transport = await stack.enter_async_context(
                BodyTransport(other, n_slots=config.workers, stall_timeout_s=stall_timeout_s)
            )
            pool = stack.enter_context(Pool(config.processes))
            hosts = Hosts(writer)
            rate_gate = RateGate(config.max_rate_per_s)
            pacing = Pacing(config.ceiling, await hosts.paces(now=time.time()), lambda: rate_gate.is_spent)
            gates = Gates(lambda host, wait_s: self._listen(GateClosed(host=host, wait_s=wait_s)), pacing.refused)
            gates.restore(await hosts.closed_gates(now=time.time()), time.time())
            credentials = Credentials(config.endpoint, config.token, config.s3)
            tools = Tools(
                client=Client(transport, credentials, gates, allow_private=config.allow_private),
                jobs=jobs,
                leases=Leases(jobs, config.lease_s),
                threads=threads,
                publisher=Publisher(threads, jobs),
                disk_gate=DiskGate(threads, self._listen),
                pacing=pacing,
                rate_gate=rate_gate,
                meter=Meter(),
                listen=self._tell,
            )
            if "download" in config.kinds:
                for origin, path in reader.s3_samples():
                    await require_access(tools.client, f"{origin}/{quote_path(path)}")
            self._compose(tools, pool, reader)
            bounding = Bounding(tools, gates, pool, reader, config.workers, self._n_tasks)
            async with asyncio.TaskGroup() as group:
                services = [
                    group.create_task(service, name=name)
                    for name, service in (
                        ("renew", tools.leases.renew_for_ever()),
                        ("rescue", self._rescue_for_ever(jobs)),
                        ("beat", beat_for_ever(tools, bounding, self._n_tasks)),
                        ("pace", pacing.tick_for_ever()),
                        ("hosts", _remember_for_ever(hosts, pacing, gates)),
                        ("disk", tools.disk_gate.watch_for_ever()),
                        ("manifests", self._manifests_for_ever(threads)),
                        ("end", self._watch_for_end(reader)),
                    )
                ]
                await self._work()
                for service in services:
                    service.cancel()
            await _remember(hosts, pacing, gates)

    def _compose(self, tools: Tools, pool: Pool, reader: Reader) -> None:
        config = self._config
        attempts = Attempts(tools.jobs, tools.leases, self._tell, self._fail)
        if "download" in config.kinds:
            self._workers.append(Scheduler(config.workers, config.data_dir, tools, attempts, reader))
        pool_kinds = tuple(kind for kind in config.kinds if kind != "download")
        if pool_kinds:
            self._workers.append(Stages(pool_kinds, config.data_dir, pool, attempts, reader, tools))
        for worker in self._workers:
            worker.idle = self._over.set
        if self._reason == "drained":  # asked to while everything was being built
            self.drain()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.run(), name=type(worker).__name__)

    def _tell(self, event: Event) -> None:
        if isinstance(event, JobEnded):
            for worker in self._workers:
                worker.look_again()
        self._listen(event)

    async def _watch_for_end(self, reader: Reader) -> None:
        """Drain when nothing is left that this run could do. What waits for a retry is left, what is paused is not."""
        while True:
            await self._over.wait()
            self._over.clear()
            if self.n_active or self._config.forever:
                continue  # before counting: with many subsets that costs more than a small file
            counts = reader.job_counts()
            n_left = sum(
                counts.get(kind, {}).get(state, 0) for kind in self._config.kinds for state in ("available", "running")
            )
            if n_left == 0 or n_left == reader.n_paused(self._config.kinds):
                for worker in self._workers:
                    worker.drain()

    async def _rescue_for_ever(self, jobs: Jobs) -> None:
        while True:
            if n_jobs := await jobs.rescue(now=time.time(), grace_s=0.0):
                self._tell(Rescued(n_jobs=n_jobs))
                for worker in self._workers:
                    worker.look_again()
            await asyncio.sleep(min(RESCUE_EVERY_S, self._config.lease_s / 3))

    async def _manifests_for_ever(self, threads: Threads) -> None:
        """Write them now and then, for those who look on; a full disk makes this wait for the next time."""
        took_s = 0.0
        while True:
            await asyncio.sleep(max(MANIFESTS_EVERY_S, MANIFESTS_SHARE * took_s))
            began = time.monotonic()
            with suppress(NoRoomError):
                await threads.call(write_manifests, self._config.queue, self._config.data_dir)
            took_s = time.monotonic() - began


async def _remember_for_ever(hosts: Hosts, pacing: Pacing, gates: Gates) -> None:
    while True:
        await asyncio.sleep(REMEMBER_EVERY_S)
        await _remember(hosts, pacing, gates)


async def _remember(hosts: Hosts, pacing: Pacing, gates: Gates) -> None:
    """Write down what the next engine should know of the hosts."""
    now = time.time()
    for closed in gates.to_keep(now):
        await hosts.close_gate(closed.gate, until=closed.until, now=now)
    for pace in pacing.to_remember():
        await hosts.remember_pace(pace.host, hint=pace.hint, cap=pace.cap, now=now)


def _require_room(reader: Reader, config: EngineConfig) -> None:
    """Refuse to begin what cannot end: the sizes that are known must fit, a file takes an inode."""
    if "download" in config.kinds:
        needed_bytes, n_files = reader.bytes_to_fetch()
        if n_files:
            room.require(config.data_dir / "raw", needed_bytes, n_files)


def _allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: each slot has a socket and each transfer a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

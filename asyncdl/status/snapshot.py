"""What the queue says at one moment, as plain frozen values; `json_form` writes them as `status --json` has them.

Read in one short go over a read-only connection, so that a reader never keeps the WAL from being reused. Knows no
terminal: what it looks like is in `view` and `board`. What only two looks can tell, such as the rate of a dataset, is
None until `trend` fills it in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from asyncdl.core.rates import eta_s
from asyncdl.core.states import State
from asyncdl.status.hosts import HostState, joined
from asyncdl.store import place
from asyncdl.store.reader import (
    DatasetRow,
    EngineRow,
    ErrorRow,
    GateRow,
    PauseRow,
    Reader,
    RecentRow,
    RunningRow,
)

DEAD_AFTER_S = 45.0
"""An engine beats every second; one that was silent for this long is hung, suspended or gone. Guess."""

N_RUNNING = 256
N_RECENT = 50
"""Rows of what is under way and of what went wrong last: more than a screen holds. Guesses."""

UNFINISHED = (State.RUNNING, State.AVAILABLE)
KINDS = ("download", "verify", "tokenize", "episode", "build", "upload")
"""In the order of the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetState:
    """One subset of a dataset. state: of all its stages together, see `state_of`.

    Files and bytes: downloads; of files of this machine (source local) what verify looks through, a file or a group of
    small ones. remaining_bytes: of them to come, None where a size is unknown. stages: {(kind, state): n} without zeros
    and cancelled jobs. origin: where its files are, without query. per_s: None where nobody knows.
    """

    name: str
    subset: str
    revision: str
    n_files: int
    n_files_done: int
    known_bytes: int
    done_bytes: int
    n_discarded: int
    state: State
    remaining_bytes: int | None = None
    stages: tuple[tuple[str, str, int], ...] = ()
    source: str = ""
    origin: str = ""
    per_s: float | None = None

    @property
    def eta_s(self) -> float | None:
        """Seconds until its last byte; 0.0 when it is all there, None where nobody can know."""
        return eta_s(self.remaining_bytes, self.per_s or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """is_alive: its process was not seen to have ended, and it beat within DEAD_AFTER_S.

    bound: what bounds its speed, a key of core.bound.BOUNDS or one of a newer version; '' where nobody knows.
    cpu_s: processor seconds so far, children included. cores: of them per second, since the look before, else since the
    start; None where it does not tell. n_pool: worker processes that have a task.
    """

    host: str
    pid: int
    version: str
    workers: int
    started_at: float
    beat_at: float
    per_s: float
    n_requests: int
    bound: str
    is_alive: bool
    owner: str = ""
    cpu_s: float = 0.0
    cores: float | None = None
    rss_bytes: int = 0
    loop_lag_s: float = 0.0
    n_pool: int = 0


@dataclass(frozen=True, slots=True)
class DiskState:
    """What may still be written below the data dir. free_inodes None: the file system has no fixed number."""

    free_bytes: int
    free_inodes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """at: UTC seconds. jobs: {kind: {state: n}} without zeros. remaining_bytes: what unfinished downloads still
    need, None where a size is unknown. per_s: of the engines that are alive, together. running: at most N_RUNNING, the
    longest running first. recent: at most N_RECENT attempts that did not complete, the newest first. backends: (recipe,
    what makes its ids). rates: body bytes per second at the looks before and this one, the oldest first.
    """

    at: float
    jobs: Mapping[str, Mapping[str, int]]
    known_bytes: int
    done_bytes: int
    remaining_bytes: int | None
    per_s: float
    datasets: tuple[DatasetState, ...]
    errors: tuple[ErrorRow, ...]
    engines: tuple[EngineState, ...]
    hosts: tuple[HostState, ...]
    gates: tuple[GateRow, ...] = ()
    running: tuple[RunningRow, ...] = ()
    recent: tuple[RecentRow, ...] = ()
    paused: tuple[PauseRow, ...] = ()
    backends: tuple[tuple[str, str], ...] = ()
    disk: DiskState | None = None
    rates: tuple[float, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether an engine works on it."""
        return any(engine.is_alive for engine in self.engines)

    @property
    def bounds(self) -> list[str]:
        """What bounds the engines that are alive, each once, in order; those of which nothing is known left out."""
        return sorted({engine.bound for engine in self.engines if engine.is_alive and engine.bound})

    @property
    def pauses(self) -> list[tuple[str, float]]:
        """(host, seconds that are left) of those that asked for a pause, in the order of their names."""
        return [
            (host.name, host.closed_until - self.at)
            for host in self.hosts
            if host.closed_until is not None and host.closed_until > self.at
        ]

    @property
    def bottleneck(self) -> str:
        """The kind of work that holds up the rest, '' where none does or no engine works.

        That is the last one before which more jobs wait than run; where none piles up, the first one that runs.
        """
        running = [kind for kind in KINDS if self.jobs.get(kind, {}).get(State.RUNNING)]
        if not self.is_alive or not running:
            return ""
        piled = [kind for kind in running if self.jobs[kind].get(State.AVAILABLE, 0) > self.jobs[kind][State.RUNNING]]
        return piled[-1] if piled else running[0]

    def is_paused(self, what: str, name: str) -> bool:
        """Whether a person has paused this. what: kind, dataset or host."""
        return any((row.what, row.name) == (what, name) for row in self.paused)

    @property
    def steered_hosts(self) -> frozenset[str]:
        """Hosts that a person can pause or resume: those that datasets come from, and those that are paused.

        Hosts that a dataset's own host redirects to are no use to pause by themselves.
        """
        of_datasets = map(host_of, {row.origin for row in self.datasets})
        return frozenset(filter(None, of_datasets)) | {row.name for row in self.paused if row.what == "host"}

    def n_in(self, *states: State) -> int:
        """How many jobs of any kind are in one of `states`."""
        return sum(counts.get(state, 0) for counts in self.jobs.values() for state in states)

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last byte; 0.0 when nothing is unfinished, None where nobody can know.

        Later stages have no rate to go by, so when only they remain the answer is None.
        """
        if not self.n_in(*UNFINISHED):
            return 0.0
        return None if self.remaining_bytes == 0 else eta_s(self.remaining_bytes, self.per_s)

    def to_json(self) -> dict[str, Any]:
        """Return plain values as the contract of `status --json` has them."""
        from asyncdl.status import json_form

        return json_form.of(self)


def take(reader: Reader, now: float, disk: DiskState | None = None) -> Snapshot:
    """Read the queue. now: UTC seconds. disk: of the data dir, which is not this room's to look at."""
    with reader.snapshot():
        jobs = reader.job_counts()
        amounts = reader.download_bytes()
        to_fetch, _ = reader.bytes_to_fetch()
        stages = reader.stage_states()
        datasets = reader.datasets()
        errors = reader.errors()
        engines = tuple(_engine(row, now) for row in reader.engines())
        hosts = joined(reader.hosts(), reader.traffic(), {engine.owner for engine in engines if engine.is_alive})
        gates = reader.closed_gates(now)
        running = reader.running(N_RUNNING)
        recent = reader.recent(N_RECENT)
        paused = reader.paused()
        backends = reader.backends()
    return Snapshot(
        at=now,
        jobs=jobs,
        known_bytes=amounts.known,
        done_bytes=amounts.done,
        remaining_bytes=None if amounts.n_unsized else to_fetch,
        per_s=sum(engine.per_s for engine in engines if engine.is_alive),
        datasets=tuple(_dataset(row, stages.get((row.name, row.subset, row.revision), {})) for row in datasets),
        errors=tuple(errors),
        engines=engines,
        hosts=hosts,
        gates=tuple(gates),
        running=tuple(running),
        recent=tuple(recent),
        paused=tuple(paused),
        backends=tuple(backends),
        disk=disk,
    )


def state_of(states: Iterable[str]) -> State:
    """Return the state of a whole from the states of its jobs: the first that occurs of running, available,
    discarded; else completed.
    """
    found = set(states)
    for state in (State.RUNNING, State.AVAILABLE, State.DISCARDED):
        if state in found:
            return state
    return State.COMPLETED


def host_of(origin: str) -> str:
    """Return the host that files of `origin` are asked for from, '' where the URL does not say (S3, this machine)."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.hostname or "" if parts.scheme in ("http", "https") else ""


def _dataset(row: DatasetRow, stages: Mapping[tuple[str, str], int]) -> DatasetState:
    return DatasetState(
        name=row.name,
        subset=row.subset,
        revision=row.revision,
        n_files=row.n_files,
        n_files_done=row.n_files_done,
        known_bytes=row.size_bytes,
        done_bytes=row.done_bytes,
        n_discarded=sum(n for (_, state), n in stages.items() if state == State.DISCARDED),
        state=state_of(state for _, state in stages),
        remaining_bytes=None if row.n_unsized else row.to_fetch_bytes,
        stages=tuple((kind, state, n) for (kind, state), n in stages.items()),
        source=row.source,
        origin=row.origin,
    )


def _engine(row: EngineRow, now: float) -> EngineState:
    run_s = row.beat_at - row.started_at
    return EngineState(
        host=row.host,
        pid=row.pid,
        version=row.version,
        workers=row.workers,
        started_at=row.started_at,
        beat_at=row.beat_at,
        per_s=row.per_s,
        n_requests=row.n_requests,
        bound=row.bound,
        is_alive=now - row.beat_at <= DEAD_AFTER_S and not place.is_gone(row.identity),
        owner=row.owner,
        cpu_s=row.cpu_s,
        cores=row.cpu_s / run_s if row.cpu_s > 0 and run_s > 0 else None,
        rss_bytes=row.rss_bytes,
        loop_lag_s=row.loop_lag_s,
        n_pool=row.n_pool,
    )

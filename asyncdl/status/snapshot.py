"""What the queue says at one moment, as plain frozen values; `to_json` is the contract of `status --json`.

Read in one short go over a read-only connection, so that a reader never keeps the WAL from being reused. Knows no
terminal: what it looks like is in `view`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from asyncdl.core import bound
from asyncdl.core.names import display
from asyncdl.core.rates import eta_s
from asyncdl.core.states import State
from asyncdl.store import place
from asyncdl.store.reader import DatasetRow, EngineRow, ErrorRow, HostRow, Reader

SCHEMA_VERSION = 1
"""Keys of the JSON may be added within a version, never renamed."""

DEAD_AFTER_S = 45.0
"""An engine beats every second; one that was silent for this long is hung, suspended or gone. Guess."""

UNFINISHED = (State.RUNNING, State.AVAILABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetState:
    """One subset of a dataset. state: of all its stages together, see `state_of`."""

    name: str
    subset: str
    revision: str
    n_files: int
    n_files_done: int
    known_bytes: int
    done_bytes: int
    n_discarded: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """is_alive: its process was not seen to have ended, and it beat within DEAD_AFTER_S.

    bound: what bounds its speed, a key of core.bound.BOUNDS or one of a newer version; '' where nobody knows.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """at: UTC seconds. jobs: {kind: {state: n}} without zeros. remaining_bytes: what unfinished downloads still
    need, None where a size is unknown. per_s: of the engines that are alive, together.
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
    hosts: tuple[HostRow, ...]

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
        """Return plain values; bytes are integers, times UTC seconds."""
        return {
            "schema_version": SCHEMA_VERSION,
            "at": self.at,
            "jobs": {kind: dict(counts) for kind, counts in self.jobs.items()},
            "bytes": {
                "known": self.known_bytes,
                "done": self.done_bytes,
                "per_s": self.per_s,
                "remaining": self.remaining_bytes,
            },
            "eta_s": self.eta_s,
            "datasets": [_dataset_json(row) for row in self.datasets],
            "errors": [_error_json(row) for row in self.errors],
            "engines": [_engine_json(row) for row in self.engines],
            "hosts": [_host_json(row, self.at) for row in self.hosts],
        }


def take(reader: Reader, now: float) -> Snapshot:
    """Read the queue. now: UTC seconds."""
    with reader.snapshot():
        jobs = reader.job_counts()
        amounts = reader.download_bytes()
        to_fetch, _ = reader.bytes_to_fetch()
        stages = reader.stage_states()
        datasets = reader.datasets()
        errors = reader.errors()
        engines = tuple(_engine(row, now) for row in reader.engines())
        hosts = reader.hosts()
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
        hosts=tuple(hosts),
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
    )


def _engine(row: EngineRow, now: float) -> EngineState:
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
    )


def _dataset_json(row: DatasetState) -> dict[str, Any]:
    return {
        "name": row.name,
        "subset": row.subset,
        "revision": row.revision,
        "files": row.n_files,
        "files_done": row.n_files_done,
        "bytes": row.known_bytes,
        "bytes_done": row.done_bytes,
        "discarded": row.n_discarded,
        "state": str(row.state),
    }


def _error_json(row: ErrorRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "class": row.error_class,
        "count": row.n,
        "discarded": row.n_discarded,
        "last": row.last_at,
        "next_retry_at": row.next_retry_at,
        "example": {"path": row.path, "message": display(row.text)},
    }


def _engine_json(row: EngineState) -> dict[str, Any]:
    return {
        "host": row.host,
        "pid": row.pid,
        "workers": row.workers,
        "beat_at": row.beat_at,
        "started_at": row.started_at,
        "version": row.version,
        "per_s": row.per_s,
        "requests": row.n_requests,
        "bound": row.bound,
        "bound_text": bound.sentence(row.bound),
        "alive": row.is_alive,
    }


def _host_json(row: HostRow, now: float) -> dict[str, Any]:
    """closed_until is null where its gates are open, whenever they last were closed."""
    return {
        "name": display(row.name),
        "closed_until": row.closed_until if row.closed_until is not None and row.closed_until > now else None,
        "connections": row.connections_hint,
        "connections_cap": row.connections_cap,
        "paced_at": row.paced_at,
    }

"""A snapshot as `status --json` has it: plain values, bytes as integers, times as UTC seconds. Pure.

Keys may be added within a version, never renamed. Whatever comes from outside passes `names.display`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncdl.core import bound
from asyncdl.core.names import display
from asyncdl.core.retry import TREATMENTS

if TYPE_CHECKING:
    from asyncdl.status.hosts import HostState
    from asyncdl.status.snapshot import DatasetState, EngineState, Snapshot
    from asyncdl.store.reader import ErrorRow, RecentRow, RunningRow

SCHEMA_VERSION = 1


def of(shot: Snapshot) -> dict[str, Any]:
    """Return the whole document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "at": shot.at,
        "jobs": {kind: dict(counts) for kind, counts in shot.jobs.items()},
        "bottleneck": shot.bottleneck,
        "bytes": {
            "known": shot.known_bytes,
            "done": shot.done_bytes,
            "per_s": shot.per_s,
            "remaining": shot.remaining_bytes,
        },
        "eta_s": shot.eta_s,
        "datasets": [_dataset(row) for row in shot.datasets],
        "errors": [error(row) for row in shot.errors],
        "engines": [_engine(row) for row in shot.engines],
        "hosts": [_host(row, shot) for row in shot.hosts],
        "recipes": [{"name": display(name), "backend": display(backend)} for name, backend in shot.backends],
        "disk": None if shot.disk is None else _disk(shot),
        "paused": [{"what": row.what, "name": display(row.name), "since": row.since} for row in shot.paused],
        "running": [_running(row) for row in shot.running],
        "recent": [_recent(row) for row in shot.recent],
    }


def _dataset(row: DatasetState) -> dict[str, Any]:
    return {
        "name": display(row.name),
        "subset": display(row.subset),
        "revision": display(row.revision),
        "files": row.n_files,
        "files_done": row.n_files_done,
        "bytes": row.known_bytes,
        "bytes_done": row.done_bytes,
        "bytes_remaining": row.remaining_bytes,
        "per_s": row.per_s,
        "eta_s": row.eta_s,
        "discarded": row.n_discarded,
        "state": str(row.state),
    }


def error(row: ErrorRow) -> dict[str, Any]:
    known = TREATMENTS.get(row.error_class)
    return {
        "kind": row.kind,
        "class": display(row.error_class),
        "count": row.n,
        "discarded": row.n_discarded,
        "last": row.last_at,
        "next_retry_at": row.next_retry_at,
        "hint": known.hint if known else "",
        "example": {"path": display(row.path), "message": display(row.text)},
    }


def _engine(row: EngineState) -> dict[str, Any]:
    return {
        "host": display(row.host),
        "pid": row.pid,
        "workers": row.workers,
        "beat_at": row.beat_at,
        "started_at": row.started_at,
        "version": display(row.version),
        "per_s": row.per_s,
        "requests": row.n_requests,
        "bound": display(row.bound),
        "bound_text": bound.sentence(row.bound),
        "cpu_s": row.cpu_s,
        "cores": row.cores,
        "rss_bytes": row.rss_bytes,
        "loop_lag_s": row.loop_lag_s,
        "pool_busy": row.n_pool,
        "alive": row.is_alive,
    }


def _host(row: HostState, shot: Snapshot) -> dict[str, Any]:
    """closed_until is null where its gates are open, whenever they last were closed."""
    return {
        "name": display(row.name),
        "closed_until": row.closed_until if row.closed_until is not None and row.closed_until > shot.at else None,
        "gates": [
            {"quota": display(gate.quota), "closed_at": gate.closed_at, "closed_until": gate.closed_until}
            for gate in shot.gates
            if gate.host == row.name
        ],
        "connections": row.connections_hint,
        "connections_cap": row.connections_cap,
        "paced_at": row.paced_at,
        "requests": row.n_open,
        "allowed": row.n_allowed,
        "per_s": row.per_s,
        "first_byte_s": row.first_byte_s,
        "refused": row.n_refused,
    }


def _disk(shot: Snapshot) -> dict[str, Any]:
    assert shot.disk is not None
    return {"free_bytes": shot.disk.free_bytes, "free_inodes": shot.disk.free_inodes}


def _running(row: RunningRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "name": display(row.name),
        "subset": display(row.subset),
        "path": display(row.path),
        "started_at": row.started_at,
        "attempt": row.attempt,
        "bytes": row.size_bytes,
        "bytes_done": row.done_bytes,
    }


def _recent(row: RecentRow) -> dict[str, Any]:
    return {
        "at": row.at,
        "kind": row.kind,
        "name": display(row.name),
        "path": display(row.path),
        "attempt": row.attempt,
        "outcome": row.outcome,
        "class": None if row.error_class is None else display(row.error_class),
        "message": display(row.text or ""),
    }

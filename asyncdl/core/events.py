"""What the engine tells the world: for the log, for `--json` and for progress on a terminal.

Plain values; texts in them went through `names.display`. They are told after the fact: the queue is the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

from asyncdl.core.model import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    """An attempt was settled. outcome: completed, retry, parked, discarded, released or lost."""

    kind: Kind
    dataset: str
    path: str
    attempt: int
    outcome: str
    error_class: str | None = None
    message: str | None = None
    size_bytes: int | None = None
    run_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """A request failed and its bytes will be asked for again within the same attempt."""

    path: str
    error_class: str
    message: str
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GateClosed:
    """A host asked for a pause; everybody waits."""

    host: str
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPaused:
    """The file system of the data dir has no room; downloads wait for it."""

    needed_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskResumed:
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileQuarantined:
    """The content was proven wrong; the file is kept aside under its name with .corrupted."""

    path: str
    error_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRepaired:
    """The digest was wrong; the file was fetched a second time and is right since what differed was replaced."""

    path: str
    n_replaced_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """Expired or orphaned leases were taken back."""

    n_jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """drain: what runs is finished; stop: it is cancelled, its durable bytes kept."""

    how: str


Event = (
    JobEnded
    | RequestFailed
    | GateClosed
    | DiskPaused
    | DiskResumed
    | FileQuarantined
    | FileRepaired
    | Rescued
    | Stopping
)

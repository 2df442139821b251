"""The life of a job, as one table. All state changes of the queue are listed here and nowhere else.

`store/schema.sql` says the same with CHECKs and `docs/ARCHITECTURE.md` with a chart; a test compares the three.
Waiting for a retry is `available` with run_at in the future, so one index serves new and retried jobs alike.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job is. `completed`, `discarded` and `cancelled` are ends; only a person or a new parent leaves them."""

    AVAILABLE = "available"
    RUNNING = "running"
    COMPLETED = "completed"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What may happen to a job."""

    CLAIM = "claim"  # an engine takes it, with a lease
    COMPLETE = "complete"  # settled: done
    RETRY = "retry"  # settled: failed, to be tried again at run_at
    PARK = "park"  # settled: could not be tried (host or disk closed); costs nothing
    DISCARD = "discard"  # settled: out of attempts, or trying again cannot help
    RELEASE = "release"  # given back untried or unfinished by an engine that drains or stops
    RESCUE = "rescue"  # the lease ended and nobody renewed it
    RESCUE_LAST = "rescue_last"  # ... for the third time
    CANCEL = "cancel"  # a person, or a newer revision
    REVIVE = "revive"  # enqueued again, or its parent was done again


AWAY_S = 1e10
"""Added to run_at of what is paused; no time that a job is meant to be tried at is that late (the year 2286)."""

TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.AVAILABLE, Event.CLAIM): State.RUNNING,
    (State.AVAILABLE, Event.CANCEL): State.CANCELLED,
    (State.RUNNING, Event.COMPLETE): State.COMPLETED,
    (State.RUNNING, Event.RETRY): State.AVAILABLE,
    (State.RUNNING, Event.PARK): State.AVAILABLE,
    (State.RUNNING, Event.RELEASE): State.AVAILABLE,
    (State.RUNNING, Event.RESCUE): State.AVAILABLE,
    (State.RUNNING, Event.RESCUE_LAST): State.DISCARDED,
    (State.RUNNING, Event.DISCARD): State.DISCARDED,
    (State.RUNNING, Event.CANCEL): State.CANCELLED,
    (State.DISCARDED, Event.CANCEL): State.CANCELLED,
    (State.COMPLETED, Event.REVIVE): State.AVAILABLE,
    (State.DISCARDED, Event.REVIVE): State.AVAILABLE,
    (State.CANCELLED, Event.REVIVE): State.AVAILABLE,
}


def legal_steps() -> frozenset[tuple[State, State]]:
    """Return every (from, to) pair that some event makes; the queue's trigger allows exactly these."""
    return frozenset((before, after) for (before, _), after in TRANSITIONS.items())

"""The verbs of the queue for an engine: claim, renew, progress, settle, rescue. SQL is in queries.sql.

Each verb is one change of the writer's transaction; its answer is durable. Everything an engine says about a job
carries the lease (id, owner, attempt); when no row matches, somebody else has the job and LeaseLostError is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import apsw
import orjson

from asyncdl.core.model import Digest, Job, Kind, NewJob, Traffic
from asyncdl.core.names import SafePath
from asyncdl.core.retry import MAX_CRASHES
from asyncdl.errors import LeaseLostError
from asyncdl.store import place, presence, sql, steering
from asyncdl.store.writer import Writer

PRIORITIES = range(10)

RESCUE_BATCH = 1000

Unsettled = Literal["orphaned", "rescued", "released"]
TAKEN_BACK: dict[Unsettled, dict[str, str | None]] = {
    "orphaned": {"error_class": "engine_died", "why": "ended"},
    "rescued": {"error_class": "lease_expired", "why": "did not renew its lease"},
    "released": {"error_class": None, "why": None},
}
"""How a job leaves an engine that did not settle it; why: what the engine did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """How a job goes back: outcome and its error, when it may be claimed again, what it is charged."""

    outcome: Literal["retry", "parked", "released", "crashed"]
    run_at: float
    failures: int
    error_class: str | None = None
    error_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What an engine measures of itself. bound: what bounds its speed, '' unknown. cpu_s: processor seconds so far,
    without the children's. loop_lag_s: how late its event loop woke up. n_pool: children that have a task.
    """

    per_s: float
    n_requests: int
    bound: str = ""
    cpu_s: float = 0.0
    rss_bytes: int = 0
    loop_lag_s: float = 0.0
    n_pool: int = 0


class Jobs:
    """The queue as one engine sees it. Owns nothing: the writer is closed by who made it.

    Every verb may also raise NoRoomError or StoreError (see Writer): then nothing of it happened.
    """

    def __init__(self, writer: Writer, owner: str) -> None:
        self._writer = writer
        self._q = sql.queries()
        self.owner = owner

    async def claim(self, kind: Kind, n: int, *, now: float, lease_s: float) -> list[Job]:
        """Take up to `n` jobs of `kind` that are due at `now`, most urgent first, oldest first within a priority.

        Nothing that a person has paused: see `steering`.
        """

        def change(connection: apsw.Connection) -> list[Job]:
            jobs: list[Job] = []
            paused = steering.pauses(connection)
            for priority in PRIORITIES if kind not in paused.kinds else ():
                asked: dict[str, object] = {"kind": kind, "priority": priority, "now": now}
                if not sql.rows(connection, self._q["is_due"], asked):
                    continue
                if paused.has_datasets and not steering.set_aside(connection, asked, n - len(jobs)):
                    continue
                bindings = {
                    "owner": self.owner, "now": now, "lease_s": lease_s, "kind": kind, "priority": priority,
                    "n": n - len(jobs),
                }  # fmt: skip
                rows = sql.rows(connection, self._q["claim"], bindings)
                jobs += [_job(row, self.owner) for row in sorted(rows)]
                if len(jobs) == n:
                    break
            return jobs

        return await self._writer.write(change)

    async def renew(self, *, now: float, lease_s: float) -> dict[int, int]:
        """Prolong every lease of this engine; return {job id: attempt} of those it still has."""

        def change(connection: apsw.Connection) -> dict[int, int]:
            bindings = {"owner": self.owner, "now": now, "lease_s": lease_s}
            return dict(sql.rows(connection, self._q["renew"], bindings))

        return await self._writer.write(change)

    async def check_held(self, job: Job) -> None:
        """Raise LeaseLostError unless the lease holds. For the last look before a publish."""

        def change(connection: apsw.Connection) -> None:
            if not sql.rows(connection, self._q["still_held"], _lease(job)):
                raise LeaseLostError(f"the lease of job {job.id} is held by another")

        await self._writer.write(change)

    async def are_held(self, jobs: Sequence[Job]) -> list[bool]:
        """Return for each whether its lease holds, all as of one moment. The last look before many are published."""

        def change(connection: apsw.Connection) -> list[bool]:
            return [bool(sql.rows(connection, self._q["still_held"], _lease(job))) for job in jobs]

        return await self._writer.write(change)

    async def progress(self, job: Job, *, had: str, validator: str | None, size_bytes: int | None, done: int) -> None:
        """Record durable ranges: bytes that a completed fdatasync covers, and what object they belong to."""
        bindings = _lease(job) | {
            "had": had, "validator": validator, "size_bytes": size_bytes, "done_bytes": done,
        }  # fmt: skip
        await self._fenced("progress", bindings)

    async def forget_bytes(self, job: Job, *, validator: str | None = None) -> None:
        """Record that nothing of the object is had any more. validator: what a listing names, which stays true."""
        await self._fenced("forget_bytes", _lease(job) | {"validator": validator})

    async def _fenced(self, name: str, bindings: dict[str, object]) -> None:
        def change(connection: apsw.Connection) -> None:
            connection.execute(self._q[name], bindings)
            _require_row(connection, bindings)

        await self._writer.write(change)

    async def complete(
        self, job: Job, *, now: float, size_bytes: int | None, result: dict[str, object], children: Sequence[NewJob]
    ) -> None:
        """Settle `job` as completed and store what it makes possible, in one transaction."""
        bindings = _lease(job) | {"now": now, "size_bytes": size_bytes, "result": orjson.dumps(result).decode()}

        def change(connection: apsw.Connection) -> None:
            connection.execute(self._q["complete"], bindings)
            _require_row(connection, bindings)
            for child in children:
                given = _child(child) | {"now": now, "parent_id": job.id}
                if child.recipe_id is None:
                    connection.execute(self._q["insert_child_per_recipe"], given)
                    connection.execute(self._q["reopen_lost_parts"], given)
                    connection.execute(self._q["cancel_lost_parts"], given)
                else:
                    connection.execute(self._q["insert_child"], given)
                    if child.leaves_group:
                        connection.execute(self._q["leave_group"], given)

        await self._writer.write(change)

    async def give_back(self, job: Job, back: GiveBack, *, now: float) -> bool:
        """Settle an attempt that did not finish. Return False where a crash was one too many: it is discarded."""
        bindings = _lease(job) | {
            "now": now, "run_at": back.run_at, "failures": back.failures, "crashed": back.outcome == "crashed",
            "outcome": back.outcome, "error_class": back.error_class, "error_text": back.error_text,
        }  # fmt: skip

        def change(connection: apsw.Connection) -> bool:
            if back.outcome == "crashed" and self._is_poison(connection, bindings):
                _end_attempt(connection, self._q["discard"], bindings | {"outcome": "discarded"})
                return False
            _end_attempt(connection, self._q["give_back"], bindings)
            return True

        return await self._writer.write(change)

    def _is_poison(self, connection: apsw.Connection, lease: dict[str, object]) -> bool:
        rows = sql.rows(connection, self._q["crashes"], lease)
        return bool(rows) and rows[0][0] + 1 >= MAX_CRASHES

    async def discard(self, job: Job, *, now: float, error_class: str, error_text: str) -> None:
        """Settle `job` as discarded: a person must look at it."""
        bindings = _lease(job) | {
            "now": now, "outcome": "discarded", "error_class": error_class, "error_text": error_text,
        }  # fmt: skip
        await self._writer.write(lambda connection: _end_attempt(connection, self._q["discard"], bindings))

    async def rescue(self, *, now: float, grace_s: float) -> int:
        """Take back leases that nobody renews; return how many.

        An engine that lets go of its presence, or whose process has ended, is known dead: its jobs are free at once,
        and none is charged, for a SIGKILL says nothing about the file. A lease that ran out is charged as a crash, the
        third one discards, and the partial is marked: its last holder may wake up and write.
        One's own leases are left alone: an engine that slept renews them, or finds out that it cannot.
        """

        def change(connection: apsw.Connection) -> tuple[int, list[str]]:
            n, gone = 0, []
            for owner, known in sql.rows(connection, self._q["engines_open"], {"owner": self.owner}):
                if not self._is_gone(owner, known):
                    continue
                gone.append(owner)
                n += self._end(connection, owner, "orphaned", now=now)
            bindings = {"owner": self.owner, "now": now - grace_s, "n": RESCUE_BATCH}
            expired = sql.rows(connection, self._q["expired"], bindings)
            for row in expired:
                self._take_back(connection, row, "rescued", now=now)
            return n + len(expired), gone

        n, gone = await self._writer.write(change)
        for owner in gone:  # only now, for until then the file is the proof
            presence.remove(self._writer.path, owner)
        return n

    def _is_gone(self, owner: str, identity: str) -> bool:
        ended = presence.has_ended(self._writer.path, owner)
        return place.is_gone(identity) if ended is None else ended

    def _end(self, connection: apsw.Connection, owner: str, outcome: Unsettled, *, now: float) -> int:
        """Free all that an engine holds and mark it as ended; return how many jobs that were."""
        held = sql.rows(connection, self._q["held_by"], {"owner": owner, "n": -1})
        for row in held:
            self._take_back(connection, row, outcome, now=now)
        connection.execute(self._q["engine_end"], {"owner": owner, "now": now})
        connection.execute(self._q["forget_traffic"], {"owner": owner})
        return len(held)

    def _take_back(
        self, connection: apsw.Connection, row: tuple[int, str, int, int, float], outcome: Unsettled, *, now: float
    ) -> None:
        id_, owner, attempt, crashes, started_at = row
        crashes += outcome == "rescued"
        error_class, why = TAKEN_BACK[outcome]["error_class"], TAKEN_BACK[outcome]["why"]
        bindings = {
            "id": id_, "owner": owner, "attempt": attempt, "crashes": crashes, "started_at": started_at, "now": now,
            "take_over": outcome == "rescued", "outcome": outcome, "error_class": error_class,
            "error_text": why and f"the engine {owner} {why}",
        }  # fmt: skip
        connection.execute(self._q["rescue_last" if crashes >= MAX_CRASHES else "rescue"], bindings)
        connection.execute(self._q["log_attempt"], bindings)

    async def start_engine(self, *, identity: str, version: str, workers: int, pid: int, now: float) -> None:
        """Make this engine known. identity: see `store.place`."""
        bindings = {
            "owner": self.owner, "host": place.host(), "pid": pid, "identity": identity, "version": version,
            "workers": workers, "now": now,
        }  # fmt: skip

        def change(connection: apsw.Connection) -> None:
            connection.execute(self._q["prune_engines"], bindings)
            connection.execute(self._q["prune_traffic"])
            connection.execute(self._q["engine_start"], bindings)

        await self._writer.write(change)

    async def beat(self, beat: Beat, traffic: Sequence[Traffic] = (), *, now: float) -> None:
        """Show that the engine lives, what it measures, and what has changed with the hosts."""
        bindings = {"owner": self.owner, "now": now} | asdict(beat)

        def change(connection: apsw.Connection) -> None:
            connection.execute(self._q["engine_beat"], bindings)
            for one in traffic:
                connection.execute(self._q["put_traffic"], asdict(one) | {"owner": self.owner})

        await self._writer.write(change)

    async def note_fenced(self) -> None:
        """Count a settle that came too late, for the metrics."""
        await self._writer.write(lambda connection: _run(connection, self._q["note_fenced"], {}))

    async def note_backend(self, recipe_id: int, backend: str) -> None:
        """Record what makes the ids of a recipe, for status."""
        bindings: dict[str, object] = {"recipe_id": recipe_id, "backend": backend}
        await self._writer.write(lambda connection: _run(connection, self._q["note_backend"], bindings))

    async def end_engine(self, *, now: float) -> None:
        """Mark this engine as ended and release what it still holds, such as a claim whose caller was cancelled."""
        await self._writer.write(lambda connection: self._end(connection, self.owner, "released", now=now))

    async def change_state(self, verb: Literal["cancel", "revive"], ids: Iterable[int], *, now: float) -> int:
        """Cancel what is not finished, or revive what was discarded or cancelled; return how many changed.

        A running job that is cancelled is found out by its engine at the next renewal.
        """
        wanted = list(ids)

        def change(connection: apsw.Connection) -> int:
            n = 0
            for id_ in wanted:
                connection.execute(self._q[verb], {"id": id_, "now": now})
                n += connection.changes()
            return n

        return await self._writer.write(change)


def _run(connection: apsw.Connection, statement: str, bindings: dict[str, object]) -> None:
    connection.execute(statement, bindings)


def _lease(job: Job) -> dict[str, object]:
    return {"id": job.id, "owner": job.owner, "attempt": job.attempt}


def _child(job: NewJob) -> dict[str, object]:
    """By hand, because dataclasses.asdict copies deeply: 7 us a child."""
    return {
        "dataset_id": job.dataset_id, "kind": job.kind, "path": job.path, "recipe_id": job.recipe_id,
        "size_bytes": job.size_bytes, "digest": job.digest, "keep": job.keep,
    }  # fmt: skip


def _require_row(connection: apsw.Connection, lease: dict[str, object]) -> None:
    if connection.changes() == 0:
        raise LeaseLostError(f"the lease of job {lease['id']} is held by another")


def _end_attempt(connection: apsw.Connection, statement: str, bindings: dict[str, object]) -> None:
    rows = sql.rows(connection, statement, bindings)
    if not rows:
        raise LeaseLostError(f"the lease of job {bindings['id']} is held by another")
    connection.execute(sql.queries()["log_attempt"], bindings | {"started_at": rows[0][0]})


def _job(row: tuple[Any, ...], owner: str) -> Job:
    (id_, kind, dataset_id, recipe_id, part, path, attempt, failures, size_bytes, digest, had, validator, take_over,
     n_mismatches) = row  # fmt: skip
    return Job(
        id=id_, kind=kind, dataset_id=dataset_id, recipe_id=recipe_id, path=SafePath(str(path)), owner=owner,
        attempt=attempt, failures=failures, size_bytes=size_bytes,
        digest=Digest.parse(str(digest)) if digest else None, had=str(had),
        validator=validator, take_over=bool(take_over), n_mismatches=n_mismatches, part=part,
    )  # fmt: skip

"""What a person decides of the queue: pause and resume, another try, an end. The writes behind the verbs that steer.

Each verb is one transaction: a pause holds for every engine from its next claim on, a resume gives back all or nothing.
What is away (see core.states.AWAY_S) is of a dataset that a pause stands for, after each write of a pause or a dataset.
Some 2.5 s for each million jobs; engines wait with their writes meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

import apsw
import orjson

from asyncdl.core.retry import REFUSED_CONTENT
from asyncdl.core.states import AWAY_S
from asyncdl.store import migrate, sql
from asyncdl.store.writer import Writer

T = TypeVar("T")

What = Literal["kind", "dataset", "host"]

WINDOW = 1000
"""Due jobs that a claim looks at in one go for such as are paused. Guess."""

MAX_WINDOWS = 20
"""Goes of one claim: it moves 20 000 paused jobs out of its way at most, in some 50 ms. Those that were there at the
pause are moved then, so these are such as came later."""


class Pauses(NamedTuple):
    """What may not be claimed. has_datasets: whether there are jobs that `set_aside` must move out of the way."""

    kinds: frozenset[str]
    has_datasets: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which jobs: all that is given must hold, and something must be given. datasets: names; subset and revision only
    narrow them further. is_failed: what has an error, of any class.
    """

    ids: tuple[int, ...] = ()
    error_class: str | None = None
    is_failed: bool = False
    kind: str | None = None
    datasets: tuple[str, ...] = ()
    subset: str | None = None
    revision: str | None = None

    def bindings(self) -> dict[str, object]:
        return {
            "ids": _json(self.ids), "error_class": self.error_class, "kind": self.kind,
            "datasets": _json(self.datasets), "subset": self.subset, "revision": self.revision,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many jobs were chosen, by the state they were in, and the bytes that their downloads still needed.

    n_paused: not among the others; what a pause holds of the available ones and, for a retry, of the discarded ones.
    """

    n_available: int = 0
    n_running: int = 0
    n_discarded: int = 0
    n_paused: int = 0
    left_bytes: int = 0

    @property
    def n(self) -> int:
        return self.n_available + self.n_running + self.n_discarded + self.n_paused


class Steering:
    """Owner of a writer on an existing queue; use it with `with`. Verbs block and raise NoRoomError and StoreError."""

    def __init__(self, queue: Path) -> None:
        """Raises ConfigError where there is no queue."""
        migrate.open_reader(queue).close()  # a writer would make one
        self._writer = Writer(migrate.open_writer(queue), queue)
        self._q = sql.queries()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def _do(self, change: Callable[[apsw.Connection], T]) -> T:
        return self._writer.submit(change).result()

    def pause(self, names: list[tuple[What, str]], *, now: float) -> int:
        """Let nothing of `names` be claimed; return how many of them were not paused before."""

        def change(connection: apsw.Connection) -> int:
            n_new = 0
            for what, name in names:
                connection.execute(self._q["put_pause"], {"what": what, "name": name, "now": now})
                n_new += connection.changes()
            if n_new:
                connection.execute(self._q["list_paused"])
                if pauses(connection).has_datasets:
                    connection.execute(self._q["set_all_aside"])
            return n_new

        return self._do(change)

    def resume(self, names: list[tuple[What, str]] | None) -> list[tuple[What, str]]:
        """Let `names` (None: all that is paused) be claimed again; return those of them that were paused."""

        def change(connection: apsw.Connection) -> list[tuple[What, str]]:
            known = sql.rows(connection, self._q["pauses"])
            lifted = [(what, name) for what, name in known if names is None or (what, name) in names]
            for what, name in lifted:
                connection.execute(self._q["drop_pause"], {"what": what, "name": name})
            connection.execute(self._q["list_paused"])
            connection.execute(self._q["bring_back"])
            return lifted

        return self._do(change)

    def retry(self, choice: Choice, *, now: float, only_discarded: bool = False) -> Tally:
        """Try again now what was discarded and, unless only_discarded, what waits for its next try.

        A stage whose file was refused is tried by fetching that file again. What is paused is tried once it is resumed.
        """
        bindings = _retrying(choice, now, only_discarded=only_discarded)

        def change(connection: apsw.Connection) -> Tally:
            tally = _pick(connection, choice, bindings)
            for name in ("refetch_picked", "drop_refetched", "retry_picked"):
                connection.execute(self._q[name], bindings)
            connection.execute(self._q["clear_picked"])
            return tally

        return self._do(change)

    def cancel(self, choice: Choice, *, now: float) -> Tally:
        """End what is unfinished: available, running or discarded. Engines find out when they next renew."""
        bindings = _cancelling(choice, now)

        def change(connection: apsw.Connection) -> Tally:
            tally = _pick(connection, choice, bindings)
            connection.execute(self._q["cancel_picked"], bindings)
            connection.execute(self._q["clear_picked"])
            return tally

        return self._do(change)


def would_retry(queue: Path, choice: Choice, *, now: float, only_discarded: bool = False) -> Tally:
    """Return what `Steering.retry` would. Only reads, of queues of earlier versions too; raises as `Reader` does."""
    return _count(queue, choice, _retrying(choice, now, only_discarded=only_discarded))


def would_cancel(queue: Path, choice: Choice, *, now: float) -> Tally:
    """Return what `Steering.cancel` would. Only reads, of queues of earlier versions too; raises as `Reader` does."""
    return _count(queue, choice, _cancelling(choice, now))


def _retrying(choice: Choice, now: float, *, only_discarded: bool) -> dict[str, object]:
    states = ("discarded",) if only_discarded else ("discarded", "available")
    refused = _json(tuple(sorted(REFUSED_CONTENT)))
    return choice.bindings() | {"now": now, "refused": refused, "states": _json(states), "is_waiting": True}


def _cancelling(choice: Choice, now: float) -> dict[str, object]:
    states = ("available", "running", "discarded")
    return choice.bindings() | {"now": now, "states": _json(states), "is_waiting": False}


def _count(queue: Path, choice: Choice, bindings: dict[str, object]) -> Tally:
    connection = migrate.open_reader(queue)
    try:
        connection.execute("PRAGMA query_only = OFF")  # it holds for temp tables too, and nothing else is written here
        connection.execute("BEGIN")
        return _pick(connection, choice, bindings)
    except (apsw.CorruptError, apsw.NotADBError, apsw.IOError) as error:
        raise migrate.told(queue, error) from error
    finally:
        connection.close()


def _pick(connection: apsw.Connection, choice: Choice, bindings: dict[str, object]) -> Tally:
    """Fill temp.picked. The part of the choice that holds the fewest jobs is looked up, the others narrow it."""
    q = sql.queries()
    connection.execute(q["picked_table"])
    connection.execute(q["clear_picked"])
    if choice.ids:
        first = "pick_ids"
    elif choice.is_failed or choice.error_class is not None:
        first = "pick_failed"
    elif choice.datasets:
        first = "pick_datasets"
    else:
        raise ValueError("nothing was chosen")
    connection.execute(q[first], bindings)
    connection.execute(q["narrow_picked"], bindings)
    found: dict[str, Any] = {}
    left_bytes = 0
    for state, n, n_bytes in sql.rows(connection, q["picked_sums"], bindings):
        found[f"n_{state}"] = n
        left_bytes += n_bytes
    return Tally(left_bytes=left_bytes, **found)


def pauses(connection: apsw.Connection) -> Pauses:
    """Return what may not be claimed now."""
    kinds = sql.rows(connection, sql.queries()["paused_kinds"])
    has_datasets = sql.rows(connection, sql.queries()["has_paused_datasets"])[0][0]
    return Pauses(frozenset(kind for (kind,) in kinds), bool(has_datasets))


def follow(connection: apsw.Connection) -> None:
    """Hold what the pauses stand for by now, and no more; for whoever has just written datasets, which may be new or
    come from another host.
    """
    q = sql.queries()
    if all(what == "kind" for what, _ in sql.rows(connection, q["pauses"])):
        return
    before = _paused_ids(connection)
    connection.execute(q["list_paused"])
    after = _paused_ids(connection)
    for ids, by in ((after - before, AWAY_S), (before - after, -AWAY_S)):
        if ids:
            connection.execute(q["shift_some"], {"datasets": _json(tuple(ids)), "by": by})


def _paused_ids(connection: apsw.Connection) -> set[int]:
    return {id_ for (id_,) in sql.rows(connection, sql.queries()["paused_ids"])}


def set_aside(connection: apsw.Connection, claim: dict[str, object], n: int) -> bool:
    """Move what is paused out of the way of a claim; return whether the first `n` due jobs are free of it now.

    claim: kind, priority and now of that claim.
    """
    statement = sql.queries()["set_aside"]
    bindings = claim | {"n": n}
    for _ in range(MAX_WINDOWS):
        connection.execute(statement, bindings)
        if connection.changes() == 0:
            return True
        bindings["n"] = max(n, WINDOW)
    return False


def _json(values: tuple[object, ...]) -> str:
    return orjson.dumps(values).decode()

"""What a person decides of the queue: pause and resume, another try, an end. The writes behind the verbs that steer.

Each verb is one transaction: a pause holds for every engine from its next claim on, a resume gives back all or nothing.
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
from asyncdl.store import sql
from asyncdl.store.migrate import open_reader, open_writer
from asyncdl.store.writer import Writer

T = TypeVar("T")

What = Literal["kind", "dataset", "host"]


WINDOW = 1000
MAX_WINDOWS = 20
"""Paused jobs that one claim moves out of its way at most: 20 000, some 50 ms. Those that were there at the pause are
moved then, so these are such as came later."""


class Pauses(NamedTuple):
    """What may not be claimed. datasets: their ids, as JSON."""

    kinds: frozenset[str]
    datasets: bytes


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
    """How many jobs were chosen, by the state they were in, and the bytes that their downloads still needed."""

    n_available: int = 0
    n_running: int = 0
    n_discarded: int = 0
    left_bytes: int = 0

    @property
    def n(self) -> int:
        return self.n_available + self.n_running + self.n_discarded


class Steering:
    """Owner of a writer on an existing queue; use it with `with`. Verbs block and raise NoRoomError and StoreError."""

    def __init__(self, queue: Path) -> None:
        """Raises ConfigError where there is no queue."""
        open_reader(queue).close()  # a writer would make one
        self._writer = Writer(open_writer(queue), queue)
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
                paused = pauses(connection).datasets
                if paused != NONE:
                    connection.execute(self._q["set_all_aside"], {"paused": paused})
            return n_new

        return self._do(change)

    def resume(self, names: list[tuple[What, str]] | None) -> list[tuple[What, str]]:
        """Let `names` (None: all that is paused) be claimed again; return those of them that were paused."""

        def change(connection: apsw.Connection) -> list[tuple[What, str]]:
            known = sql.rows(connection, self._q["pauses"])
            lifted = [(what, name) for what, name in known if names is None or (what, name) in names]
            for what, name in lifted:
                connection.execute(self._q["drop_pause"], {"what": what, "name": name})
            connection.execute(self._q["bring_back"], {"paused": pauses(connection).datasets})
            return lifted

        return self._do(change)

    def retry(self, choice: Choice, *, now: float, only_discarded: bool = False, is_dry: bool = False) -> Tally:
        """Try again now what was discarded and, unless only_discarded, what waits for its next try.

        is_dry: only count. A stage whose file was refused is tried by fetching that file again.
        """
        states = ("discarded",) if only_discarded else ("discarded", "available")
        bindings = choice.bindings() | {"now": now, "refused": _json(tuple(sorted(REFUSED_CONTENT)))}

        def change(connection: apsw.Connection) -> Tally:
            tally = self._pick(connection, choice, bindings | {"states": _json(states), "is_waiting": True})
            if not is_dry:
                connection.execute(self._q["refetch_picked"], bindings)
                connection.execute(self._q["drop_refetched"], bindings)
                connection.execute(self._q["retry_picked"], bindings)
            connection.execute(self._q["clear_picked"])
            return tally

        return self._do(change)

    def cancel(self, choice: Choice, *, now: float, is_dry: bool = False) -> Tally:
        """End what is unfinished: available, running or discarded. Engines find out when they next renew.

        is_dry: only count.
        """
        states = _json(("available", "running", "discarded"))
        bindings = choice.bindings() | {"now": now, "states": states, "is_waiting": False}

        def change(connection: apsw.Connection) -> Tally:
            tally = self._pick(connection, choice, bindings)
            if not is_dry:
                connection.execute(self._q["cancel_picked"], bindings)
            connection.execute(self._q["clear_picked"])
            return tally

        return self._do(change)

    def _pick(self, connection: apsw.Connection, choice: Choice, bindings: dict[str, object]) -> Tally:
        """Fill temp.picked. The part of the choice that holds the fewest jobs is looked up, the others narrow it."""
        connection.execute(self._q["picked_table"])
        connection.execute(self._q["clear_picked"])
        if choice.ids:
            first = "pick_ids"
        elif choice.is_failed or choice.error_class is not None:
            first = "pick_failed"
        elif choice.datasets:
            first = "pick_datasets"
        else:
            raise ValueError("nothing was chosen")
        connection.execute(self._q[first], bindings)
        connection.execute(self._q["narrow_picked"], bindings)
        found: dict[str, Any] = {}
        left_bytes = 0
        for state, n, n_bytes in sql.rows(connection, self._q["picked_sums"]):
            found[f"n_{state}"] = n
            left_bytes += n_bytes
        return Tally(left_bytes=left_bytes, **found)


def pauses(connection: apsw.Connection) -> Pauses:
    """Return what may not be claimed now."""
    rows = sql.rows(connection, sql.queries()["pauses"])
    ids: list[int] = []
    if any(what != "kind" for what, _ in rows):
        ids = [id_ for (id_,) in sql.rows(connection, sql.queries()["paused_ids"])]
    return Pauses(frozenset(name for what, name in rows if what == "kind"), orjson.dumps(ids))


def set_aside(connection: apsw.Connection, paused: bytes, claim: dict[str, object], n: int) -> bool:
    """Move what is paused out of the way of a claim; return whether the first `n` due jobs are free of it now.

    claim: kind, priority and now of that claim.
    """
    statement = sql.queries()["set_aside"]
    bindings = claim | {"paused": paused, "n": n}
    for _ in range(MAX_WINDOWS):
        connection.execute(statement, bindings)
        if connection.changes() == 0:
            return True
        bindings["n"] = max(n, WINDOW)
    return False


def _json(values: tuple[object, ...]) -> str:
    return orjson.dumps(values).decode()


NONE = orjson.dumps([])
"""`Pauses.datasets` where none is paused."""

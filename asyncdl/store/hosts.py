"""What is remembered of hosts from one engine to the next: how many connections they take, and who asked for a pause.

Several engines may write; the last word counts. Times are UTC seconds, and what they say is dropped when it is older
than it is worth or, after a clock was set back, lies in the future. Knows nothing of what pace and gates make of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from asyncdl.core.hops import ClosedGate, GateName
from asyncdl.store import sql
from asyncdl.store.writer import Writer

PACE_KEPT_S = 86400.0
"""A day: by then another server may stand behind the name, or another line before this machine. Guess."""


@dataclass(frozen=True, slots=True)
class RememberedPace:
    """hint: connections to begin with. cap: more were refused; None where no refusal is known."""

    host: str
    hint: int
    cap: int | None


class Hosts:
    """Owns nothing: the writer is closed by who made it. Verbs raise NoRoomError and StoreError as Writer does."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._q = sql.queries()

    async def remember_pace(self, host: str, *, hint: int, cap: int | None, now: float) -> None:
        """Remember `hint` and `cap`, both at least 1, of `host`; what is older than PACE_KEPT_S is forgotten."""
        bindings = {"host": host, "hint": hint, "cap": cap, "now": now, "kept_s": PACE_KEPT_S}

        def change(connection: apsw.Connection) -> None:
            connection.execute(self._q["prune_hosts"], bindings)
            connection.execute(self._q["remember_pace"], bindings)

        await self._writer.write(change)

    async def close_gate(self, gate: GateName, *, until: float, now: float) -> None:
        """Remember that `gate` is closed until then; those that have opened are forgotten."""
        bindings = {"host": gate.host, "quota": gate.quota, "until": until, "now": now}

        def change(connection: apsw.Connection) -> None:
            connection.execute(self._q["prune_gates"], bindings)
            connection.execute(self._q["close_gate"], bindings)

        await self._writer.write(change)

    async def paces(self, *, now: float) -> list[RememberedPace]:
        """Return what was remembered within PACE_KEPT_S, in the order of the hosts."""
        bindings = {"now": now, "kept_s": PACE_KEPT_S}

        def look(connection: apsw.Connection) -> list[RememberedPace]:
            return [RememberedPace(*row) for row in sql.rows(connection, self._q["paces"], bindings)]

        return await self._writer.write(look)

    async def closed_gates(self, *, now: float) -> list[ClosedGate]:
        """Return the gates that are still closed at `now`, in the order of their names."""

        def look(connection: apsw.Connection) -> list[ClosedGate]:
            rows = sql.rows(connection, self._q["closed_gates"], {"now": now})
            return [ClosedGate(GateName(host, quota), until) for host, quota, until in rows]

        return await self._writer.write(look)

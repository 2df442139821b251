"""One gate per host and class of requests: closed for everybody when the host asks to be left alone.

Owner of the closing times, which are monotonic; UTC seconds come in and go out only with what is kept for the next
engine. Waiting costs no slot: who holds one asks `check` and gives it back. Knows no HTTP and no queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from asyncdl.core.hops import ClosedGate, GateName
from asyncdl.core.reply import MAX_RETRY_AFTER_S
from asyncdl.errors import TransferError

BACKOFF_BASE_S = 1.0
BACKOFF_MAX_S = 60.0
"""Pauses where the host refuses without saying for how long: doubled each time. Guess."""

TOLD_FROM_S = 1.0
"""A crowd that is refused in one second closes the gate a little longer each: that is one piece of news. Guess."""

KEPT_FROM_S = 5.0
"""A shorter pause is over before another engine could start and read of it. Guess."""


def _to_nobody(*_: object) -> None: ...


class Gates:
    """Not for threads.

    closed: told (host, seconds) when a gate closes for longer than it already was.
    refused: told the host of each refusal that found its gate open, so that fewer ask it at once. Those that were under
    way when the gate closed are not told again; where a host refuses but asks for no pause, each one is.
    """

    def __init__(
        self,
        closed: Callable[[str, float], None] = _to_nobody,
        refused: Callable[[str], None] = _to_nobody,
    ) -> None:
        self._opens_at: dict[GateName, float] = {}
        self._refusals: dict[GateName, int] = {}
        self._unkept: set[GateName] = set()
        self._closed = closed
        self._refused = refused

    def __repr__(self) -> str:
        now = time.monotonic()
        shut = {str(gate): round(at - now, 1) for gate, at in self._opens_at.items() if at > now}
        return f"<Gates {shut}>"

    def wait_s(self, gate: GateName) -> float:
        """Return how long `gate` is still closed, 0.0 if it is open."""
        return max(0.0, self._opens_at.get(gate, 0.0) - time.monotonic())

    @property
    def is_any_closed(self) -> bool:
        """Whether some gate is closed."""
        now = time.monotonic()
        return any(at > now for at in self._opens_at.values())

    def check(self, gate: GateName) -> None:
        """Raise TransferError("rate_limited") while `gate` is closed."""
        wait_s = self.wait_s(gate)
        if wait_s > 0:
            raise TransferError("rate_limited", f"{gate} asked for a pause", retry_after_s=wait_s)

    async def passed(self, gate: GateName) -> None:
        """Wait until `gate` is open."""
        while (wait_s := self.wait_s(gate)) > 0:  # noqa: ASYNC110 - opens by the clock; may have closed again
            await asyncio.sleep(wait_s)

    def refused(self, gate: GateName, retry_after_s: float | None) -> None:
        """Close `gate` for the time the host asked for, or for a growing one if it did not say, or said none again and
        again with nothing accepted in between.

        Requests that were under way when the gate closed are refused with the rest: they do not count again.
        """
        was_open = self.wait_s(gate) == 0
        if was_open:
            self._refused(gate.host)
        n = self._refusals.get(gate, 0)
        if retry_after_s or (retry_after_s == 0 and n == 0):
            self._refusals[gate] = n if retry_after_s else 1
            self._close(gate, retry_after_s)
        elif was_open:
            self._refusals[gate] = n + 1
            self._close(gate, min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** min(n, 30)))

    def spent(self, gate: GateName, wait_s: float) -> None:
        """Close `gate` because its quota is used up: the next request would be refused. Nobody was refused yet."""
        self._close(gate, wait_s)

    def accepted(self, gate: GateName) -> None:
        """A request went through: the next unexplained refusal starts with a short pause again."""
        self._refusals.pop(gate, None)

    def _close(self, gate: GateName, wait_s: float) -> None:
        longer_s = wait_s - self.wait_s(gate)
        if longer_s <= 0:
            return
        self._opens_at[gate] = time.monotonic() + wait_s
        if wait_s > KEPT_FROM_S:
            self._unkept.add(gate)
        if longer_s >= min(TOLD_FROM_S, wait_s):
            self._closed(gate.host, wait_s)

    def to_keep(self, now: float) -> list[ClosedGate]:
        """Return what closed for long since the last call and still is, for the next engine. now: UTC seconds."""
        kept = [ClosedGate(gate, now + wait_s) for gate in sorted(self._unkept) if (wait_s := self.wait_s(gate)) > 0]
        self._unkept.clear()
        return kept

    def restore(self, kept: Iterable[ClosedGate], now: float) -> None:
        """Close what an earlier engine kept. now: UTC seconds; a clock that jumped closes nothing for longer than
        MAX_RETRY_AFTER_S, the longest pause that a host can have asked for.
        """
        for gate, until in kept:
            self._close(gate, min(until - now, MAX_RETRY_AFTER_S))
        self._unkept.clear()

"""One gate per host: closed for everybody when the host asks to be left alone.

Owner of the closing times. Waiting costs no slot: who holds one asks `check` and gives it back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from asyncdl.errors import TransferError

BACKOFF_BASE_S = 1.0
BACKOFF_MAX_S = 60.0
"""Pauses where the host refuses without saying for how long: doubled each time. Guess."""


class Gates:
    """closed: told (host, seconds) when a gate closes for longer than it already was. Times are monotonic."""

    def __init__(self, closed: Callable[[str, float], None] = lambda _host, _wait_s: None) -> None:
        self._opens_at: dict[str, float] = {}
        self._refusals: dict[str, int] = {}
        self._closed = closed

    def __repr__(self) -> str:
        now = time.monotonic()
        shut = {host: round(at - now, 1) for host, at in self._opens_at.items() if at > now}
        return f"<Gates {shut}>"

    def wait_s(self, host: str) -> float:
        """Return how long `host` is still closed, 0.0 if it is open."""
        return max(0.0, self._opens_at.get(host, 0.0) - time.monotonic())

    def check(self, host: str) -> None:
        """Raise TransferError("rate_limited") while `host` is closed."""
        wait_s = self.wait_s(host)
        if wait_s > 0:
            raise TransferError("rate_limited", f"{host} asked for a pause", retry_after_s=wait_s)

    async def passed(self, host: str) -> None:
        """Wait until `host` is open."""
        while (wait_s := self.wait_s(host)) > 0:  # noqa: ASYNC110 - opens by the clock; may have closed again
            await asyncio.sleep(wait_s)

    def refused(self, host: str, retry_after_s: float | None) -> None:
        """Close `host` for the time it asked for, or for a growing one if it did not say.

        Requests that were under way when the gate closed are refused with the rest: they do not count again.
        """
        wait_s = retry_after_s
        if wait_s is None:
            if self.wait_s(host) > 0:
                return
            n = self._refusals.get(host, 0)
            self._refusals[host] = n + 1
            wait_s = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** min(n, 30))
        opens_at = time.monotonic() + wait_s
        if opens_at > self._opens_at.get(host, 0.0):
            self._opens_at[host] = opens_at
            self._closed(host, wait_s)

    def accepted(self, host: str) -> None:
        """A request went through: the next unexplained refusal starts with a short pause again."""
        self._refusals.pop(host, None)

"""How many requests each host gets at once: counts what is open and what comes in, and asks `core.pace` twice a second.

A host here is the one a dataset is enqueued from, its CDN included: that is whom fewer or more requests help.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from asyncdl.core.bound import PaceState
from asyncdl.core.model import Traffic
from asyncdl.core.pace import TICK_S, Pace
from asyncdl.core.rates import Rate
from asyncdl.store.hosts import RememberedPace

FULL_SHARE = 0.9
"""Of the time that all requests allowed must have been open for what came in to say something about that number: an
ended one is replaced within a callback, a file that ends leaves a gap. Guess."""


SMOOTHING = 0.1
"""Weight of the newest answer in the time to the first byte. Guess."""


@dataclass(slots=True)
class _Host:
    """not_full_s: how long fewer requests than allowed were open since the last tick; not_full_since: the last time."""

    pace: Pace
    not_full_since: float | None
    n_open: int = 0
    n_bytes: int = 0
    not_full_s: float = 0.0
    n_rated_bytes: int = 0
    rate: Rate = field(default_factory=Rate)
    first_byte_s: float | None = None
    n_refused: int = 0
    told: Traffic | None = None
    remembered: tuple[int | None, int | None] = field(default=(None, None))


class Pacing:
    """Owner of one Pace per host. ceiling: what no host may exceed. changed: called when a limit has risen.

    remembered: what earlier engines found out. is_limited: whether a limit of our own is used up, so that what comes in
    says nothing of the host.
    """

    def __init__(
        self, ceiling: int, remembered: Iterable[RememberedPace] = (), is_limited: Callable[[], bool] = lambda: False
    ) -> None:
        self.ceiling = ceiling
        self._is_limited = is_limited
        self._remembered = {one.host: one for one in remembered}
        self._hosts: dict[str, _Host] = {}
        self._ticked_at = time.monotonic()
        self.changed: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<Pacing { {name: f'{host.n_open}/{host.pace.limit}' for name, host in self._hosts.items()} }>"

    def is_full(self, name: str) -> bool:
        """Whether `name` has all the requests it takes well."""
        host = self._host(name)
        return host.n_open >= host.pace.limit

    @property
    def state(self) -> PaceState:
        """What keeps the hosts that have all the requests they get from more. While a trial of fewer is on, what counts
        is the number believed best.
        """
        full = [host.pace for host in self._hosts.values() if host.n_open >= host.pace.limit]
        known = [pace.hint for pace in full if pace.hint is not None]
        if any(hint < self.ceiling for hint in known):
            return "found"
        if known:
            return "ceiling"
        return "searching" if full else ""

    def opened(self, name: str) -> None:
        host = self._host(name)
        host.n_open += 1
        self._note(host)

    def closed(self, name: str) -> None:
        host = self._host(name)
        host.n_open -= 1
        self._note(host)

    def came(self, name: str, n_bytes: int) -> None:
        host = self._host(name)
        host.n_bytes += n_bytes
        host.n_rated_bytes += n_bytes

    def answered(self, name: str, after_s: float) -> None:
        """A request of `name` was answered so long after it was made."""
        host = self._host(name)
        was_s = after_s if host.first_byte_s is None else host.first_byte_s
        host.first_byte_s = was_s + (after_s - was_s) * SMOOTHING

    def refused(self, name: str) -> None:
        """`name` answered 429 or 503. A CDN answers for the host that led to it: then all that are busy step back."""
        known = self._hosts.get(name)
        for host in [known] if known is not None else [one for one in self._hosts.values() if one.n_open]:
            host.n_refused += 1
            host.pace.refused(now=time.monotonic())
            self._note(host)

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            known = self._remembered.get(name)
            hint, cap = (None, None) if known is None else (known.hint, known.cap)
            pace = Pace(ceiling=self.ceiling, hint=hint, cap=cap)
            self._hosts[name] = _Host(pace, time.monotonic(), remembered=(pace.hint, pace.cap))
        return self._hosts[name]

    def _note(self, host: _Host) -> None:
        """Start or stop the clock that says for how long there were requests to spare."""
        is_full, now = host.n_open >= host.pace.limit, time.monotonic()
        if is_full and host.not_full_since is not None:
            host.not_full_s += now - host.not_full_since
            host.not_full_since = None
        elif not is_full and host.not_full_since is None:
            host.not_full_since = now

    async def tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._tick()

    def _tick(self) -> None:
        now = time.monotonic()
        elapsed_s, self._ticked_at = now - self._ticked_at, now
        for host in self._hosts.values():
            if host.not_full_since is not None:
                host.not_full_s += now - host.not_full_since
                host.not_full_since = now
            was_full = host.not_full_s <= elapsed_s * (1 - FULL_SHARE) and not self._is_limited()
            host.pace.tick(now=now, n_bytes=host.n_bytes, elapsed_s=elapsed_s, was_full=was_full)
            host.n_bytes, host.not_full_s = 0, 0.0
            self._note(host)
        self.changed()

    def traffic(self, now: float) -> list[Traffic]:
        """Return what has changed with each host since the last call. now: monotonic."""
        news = []
        for name, host in self._hosts.items():
            host.rate.add(host.n_rated_bytes, now)
            host.n_rated_bytes = 0
            per_s = host.rate.per_s if host.rate.per_s >= 1 else 0.0
            found = Traffic(name, host.n_open, host.pace.limit, per_s, host.first_byte_s, host.n_refused)
            if found != host.told:
                host.told = found
                news.append(found)
        return news

    def to_remember(self) -> list[RememberedPace]:
        """Return what was found out since the last call. A hint at the ceiling is our limit, not the host's."""
        news = []
        for name, host in self._hosts.items():
            found = (host.pace.hint, host.pace.cap)
            is_ours = host.pace.hint == self.ceiling and host.pace.cap is None
            if found != host.remembered and host.pace.hint is not None and not is_ours:
                host.remembered = found
                news.append(RememberedPace(name, host.pace.hint, host.pace.cap))
        return news

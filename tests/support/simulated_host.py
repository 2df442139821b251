"""Hosts as arithmetic: how many bytes come with n open connections, and when more are refused. No clock, no socket.

A replay is a function of its arguments: the noise of a tick depends on the seed and the tick's number alone, so two
replays with one seed see the same weather and differ only by how many connections they held.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from asyncdl.core.pace import TICK_S

MiB = 1 << 20
FULL = 1e-9  # slack of float sums


class Limiter(Protocol):
    """What a replay drives; Pace is one, Fixed the other."""

    @property
    def limit(self) -> int: ...
    def tick(self, *, now: float, n_bytes: int, elapsed_s: float, was_full: bool) -> None: ...
    def refused(self, *, now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same count: what a user who knew the host would have set."""

    limit: int

    def tick(self, *, now, n_bytes, elapsed_s, was_full):
        pass

    def refused(self, *, now):
        pass


@dataclass(frozen=True, slots=True)
class Throttle:
    """Answers 429 above max_open connections or n_requests of request_bytes each per window, then rests for pause_s."""

    pause_s: float
    max_open: int | None = None
    n_requests: int | None = None
    window_s: float = 10.0
    request_bytes: int = 8 * MiB


@dataclass(frozen=True, slots=True)
class Host:
    """name; curve(n_open, at) -> bytes/s when all connections are warm."""

    name: str
    curve: Callable[[int, float], float]
    throttle: Throttle | None = None

    def __str__(self) -> str:
        return self.name


def capped_link(each: float, total: float, cost: float) -> Callable[[int, float], float]:
    """Each connection brings `each` bytes/s until the link has `total`; every connection eats the share `cost`."""
    return lambda n, at: min(n * each, total) * (1 - cost * n)


def each_capped(each: float) -> Callable[[int, float], float]:
    return lambda n, at: n * each


def collapsing(each: float, knee: int) -> Callable[[int, float], float]:
    """Linear to the knee; one connection more and all is worse: the goodput falls with the square of the excess."""
    return lambda n, at: min(n, knee) * each * min(1.0, knee / n) ** 2


def thrashing(each: float, peak: int, steepness: int) -> Callable[[int, float], float]:
    """Linear at first, best at the peak, then falling with the power `steepness - 1`."""
    return lambda n, at: n * each / (1 + (n / peak) ** steepness / (steepness - 1))


def flat_then_collapsing(each: float, flat_at: int, knee: int) -> Callable[[int, float], float]:
    """A link that is full with flat_at connections and a server that collapses past the knee."""
    return lambda n, at: min(n, flat_at) * each * min(1.0, knee / n) ** 2


def changing(before: Callable[[int, float], float], after: Callable[[int, float], float], change_at: float):
    return lambda n, at: before(n, at) if at < change_at else after(n, at)


@dataclass(slots=True)
class Replay:
    """What came of one replay. limits: the limit at each tick; reached_at[n]: when the limit was first n or more."""

    n_bytes: int
    n_refusals: int
    limits: list[int]

    def reached_at(self, n: int) -> float:
        return next((i * TICK_S for i, limit in enumerate(self.limits) if limit >= n), float("inf"))


@cache
def weather(seed: int, noise: float, n_ticks: int) -> tuple[float, ...]:
    rng = random.Random(seed)
    return tuple(1 + noise * rng.uniform(-1, 1) for _ in range(n_ticks))


def replay(host: Host, limiter: Limiter, *, duration_s: float, seed: int = 0, noise: float = 0.2) -> Replay:
    """Play the host against the limiter for `duration_s`; there is always enough work to fill every slot.

    A new connection brings half in its first tick (handshake, slow start). A lower limit closes nothing: half of the
    excess ends its segment each tick, and until then the house is not at its limit. A refusal closes the gate of
    the host, as Retry-After would.
    """
    result = Replay(0, 0, [])
    n_open = n_warm = 0
    used_bytes = last_window = 0
    open_at = window_end = 0.0
    throttle = host.throttle
    for i, factor in enumerate(weather(seed, noise, int(duration_s / TICK_S))):
        at, limit = i * TICK_S, limiter.limit
        result.limits.append(limit)
        end = at + TICK_S
        if at + FULL < open_at:
            limiter.tick(now=end, n_bytes=0, elapsed_s=TICK_S, was_full=False)
            n_open = 0
            continue
        n_open = max(limit, (n_open + limit) // 2)
        n_served = n_open if throttle is None or throttle.max_open is None else min(n_open, throttle.max_open)
        cold = max(0, n_served - n_warm) / n_served
        n_bytes = int(host.curve(n_served, at) * TICK_S * factor * (1 - cold / 2))
        n_warm = max(n_warm, n_served)
        n_over = n_open - n_served
        if throttle is not None and throttle.n_requests is not None:
            window = int((at + FULL) / throttle.window_s)
            used_bytes = used_bytes if window == last_window else 0
            last_window, left_bytes = window, throttle.n_requests * throttle.request_bytes - used_bytes
            if n_bytes > left_bytes:
                n_bytes, n_over, window_end = left_bytes, n_open, (window + 1) * throttle.window_s
            used_bytes += n_bytes
        result.n_bytes += n_bytes
        for _ in range(n_over):
            limiter.refused(now=end)
        if n_over and throttle is not None:
            result.n_refusals += 1
            open_at = max(end, window_end) + throttle.pause_s
        limiter.tick(now=end, n_bytes=n_bytes, elapsed_s=TICK_S, was_full=n_open == limit and not n_over)
    return result


@cache
def good_counts(host: Host, ceiling: int, duration_s: float) -> tuple[int, ...]:
    """The three best of all fixed counts in calm weather, best first."""
    calm = {n: replay(host, Fixed(n), duration_s=duration_s, noise=0.0).n_bytes for n in range(1, ceiling + 1)}
    return tuple(sorted(calm, key=lambda n: -calm[n])[:3])


def best_fixed(host: Host, *, ceiling: int, duration_s: float, seed: int, noise: float) -> int:
    """Bytes of the best fixed count in this weather."""
    return max(
        replay(host, Fixed(n), duration_s=duration_s, seed=seed, noise=noise).n_bytes
        for n in good_counts(host, ceiling, duration_s)
    )

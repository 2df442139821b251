"""Counts what comes in and what is under way; the numbers on screen and in the heartbeat are made of it.

Written by the transfers, read by the heartbeat; all of them live in the event loop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field


class Gauge:
    """A count, and its mean over time. As a context manager it counts one more while the block runs."""

    __slots__ = ("_area", "_noted_at", "_taken_at", "n")

    def __init__(self) -> None:
        self.n = 0
        self._area = 0.0
        self._noted_at = self._taken_at = time.monotonic()

    def add(self, by: int) -> None:
        """Change the count. One look at the clock: this stands on the way of every block."""
        now = time.monotonic()
        self._area += self.n * (now - self._noted_at)
        self._noted_at = now
        self.n += by

    def __enter__(self) -> None:
        self.add(1)

    def __exit__(self, *_: object) -> None:
        self.add(-1)

    def take_mean(self) -> float:
        """Return the mean of the count since the last call."""
        self.add(0)
        elapsed_s = self._noted_at - self._taken_at
        mean = self._area / elapsed_s if elapsed_s > 0 else float(self.n)
        self._area, self._taken_at = 0.0, self._noted_at
        return mean


@dataclass(slots=True)
class Meter:
    """n_bytes: new body bytes since the start, each counted once. n_requests: open now.

    slots: those taken. on_disk: requests that wait for a write or a sync.
    """

    n_bytes: int = 0
    n_requests: int = 0
    slots: Gauge = field(default_factory=Gauge)
    on_disk: Gauge = field(default_factory=Gauge)

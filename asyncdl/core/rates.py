"""Rates, ETAs and limits from byte counts; time is an argument (monotonic seconds)."""

from __future__ import annotations

import math
from dataclasses import dataclass

HALF_LIFE_S = 10.0
"""Half of the rate shown is younger than this. Guess: calm enough to read, quick enough to believe."""


BURST_S = 0.25
"""What was not used so far may be used at once, this much of it: enough for a slot that was woken late. Guess."""


@dataclass(slots=True)
class Rate:
    """An exponentially weighted rate, unbiased from the first second. Owner: whoever counts."""

    _value: float = 0.0
    _weight: float = 0.0
    _at: float | None = None
    _uncounted: float = 0.0

    def add(self, amount: float, now: float) -> None:
        """Count `amount` units that arrived since the last call; the first call only starts the clock."""
        if self._at is None:
            self._at = now
            return
        self._uncounted += amount
        elapsed = now - self._at
        if elapsed <= 0:
            return
        keep = math.exp2(-elapsed / HALF_LIFE_S)
        self._value = self._value * keep + (self._uncounted / elapsed) * (1 - keep)
        self._weight = self._weight * keep + (1 - keep)
        self._at, self._uncounted = now, 0.0

    @property
    def per_s(self) -> float:
        """Units per second; 0.0 before two calls. Dividing by the weight removes the pull of the zero start."""
        return self._value / self._weight if self._weight > 0 else 0.0


class Bucket:
    """A token bucket that may be in debt: in any time t no more than `per_s` * (t + BURST_S) units are paid for, or one
    taking more where that alone is larger. Owner: who limits.
    """

    def __init__(self, per_s: float, now: float) -> None:
        """per_s: units per second, above zero. It begins full."""
        self._per_s = per_s
        self._level = self._full = per_s * BURST_S
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Take `amount` units, there or not; return the seconds until they are paid for. Who takes later waits longer.

        now: monotonic; a step back adds nothing.
        """
        self._level = min(self._full, self._level + max(now - self._at, 0.0) * self._per_s) - amount
        self._at = max(now, self._at)
        return max(-self._level / self._per_s, 0.0)


def eta_s(remaining_bytes: int | None, per_s: float) -> float | None:
    """Return seconds to go, 0.0 when nothing remains, None when the size or the rate is unknown."""
    if remaining_bytes is None:
        return None
    if remaining_bytes <= 0:
        return 0.0
    return remaining_bytes / per_s if per_s > 0 else None

"""Rates and ETAs from byte counts; time is an argument (monotonic seconds)."""

from __future__ import annotations

import math
from dataclasses import dataclass

HALF_LIFE_S = 10.0
"""Half of the rate shown is younger than this. Guess: calm enough to read, quick enough to believe."""


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


def eta_s(remaining_bytes: int | None, per_s: float) -> float | None:
    """Return seconds to go, 0.0 when nothing remains, None when the size or the rate is unknown."""
    if remaining_bytes is None:
        return None
    if remaining_bytes <= 0:
        return 0.0
    return remaining_bytes / per_s if per_s > 0 else None

"""The limit on bytes of the whole engine (`--max-rate`): one token bucket in the loop that all slots share.

Whoever comes takes its bytes from the bucket at once and sleeps until they are paid for, so that order of arrival is
order of leaving. Knows nothing of hosts and requests.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from asyncdl.core.rates import Bucket


class RateGate:
    """bytes_per_s: above zero, or None for no limit, which then costs nothing. clock and sleep agree on time."""

    def __init__(
        self,
        bytes_per_s: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._bucket = None if bytes_per_s is None else Bucket(bytes_per_s, clock())
        self._clock = clock
        self._sleep = sleep
        self._spent_s = 0.0
        self._spent_until = -math.inf

    @property
    def spent_s(self) -> float:
        """Seconds so far in which all that the limit allows was used up; 0.0 without a limit."""
        return self._spent_s - max(self._spent_until - self._clock(), 0.0) if self._bucket is not None else 0.0

    @property
    def is_spent(self) -> bool:
        """Whether all that the limit allows is used up at this moment."""
        return self._bucket is not None and self._spent_until > self._clock()

    async def passed(self, n_bytes: int) -> None:
        """Wait until `n_bytes` more are within the limit. Who is cancelled while it waits has used them all the same:
        they are here already.
        """
        if self._bucket is None:
            return
        now = self._clock()
        wait_s = self._bucket.take(n_bytes, now)
        if wait_s > 0:
            self._spent_s += now + wait_s - max(now, self._spent_until)
            self._spent_until = now + wait_s
            await self._sleep(wait_s)

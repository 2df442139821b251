"""Shows once a second that the engine lives, and what it measures of itself; `status` reads it from the queue."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from asyncdl.core.rates import Rate
from asyncdl.engine.bounding import Bounding
from asyncdl.engine.tools import Tools
from asyncdl.store.jobs import Beat

EVERY_S = 1.0
"""Guess: often enough for a person who looks on; each is one short write."""

_STATM = Path("/proc/self/statm")  # man 5 proc: pages; the second figure is what is resident


async def beat_for_ever(tools: Tools, bounding: Bounding, n_tasks: Callable[[], int]) -> None:
    """n_tasks: jobs that the process pool has."""
    rate, seen_bytes, lag_s = Rate(), 0, 0.0
    while True:
        rate.add(tools.meter.n_bytes - seen_bytes, time.monotonic())
        seen_bytes = tools.meter.n_bytes
        beat = Beat(
            per_s=rate.per_s,
            n_requests=tools.meter.n_requests,
            bound=bounding.look(),
            cpu_s=_cpu_s(),
            rss_bytes=_rss_bytes(),
            loop_lag_s=lag_s,
            n_pool=n_tasks(),
        )
        await tools.jobs.beat(beat, tools.pacing.traffic(time.monotonic()), now=time.time())
        due = time.monotonic() + EVERY_S
        await asyncio.sleep(EVERY_S)
        lag_s = max(time.monotonic() - due, 0.0)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _rss_bytes() -> int:
    return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")

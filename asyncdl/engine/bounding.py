"""Looks at everything that may bound the engine once for each heartbeat, and asks `core.bound` what it means."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from asyncdl.core.bound import N_LOOKS, Bound, Figures, bound_of, told
from asyncdl.core.states import State
from asyncdl.engine.pool import Pool
from asyncdl.engine.tools import Tools
from asyncdl.net.gates import Gates
from asyncdl.store.reader import Reader

SCHEDSTAT = Path("/proc/thread-self/schedstat")
"""Of this thread: ns on a core, ns waiting for one, how often it ran (docs.kernel.org/scheduler/sched-stats.html)."""


class Bounding:
    """Owner of what was seen the last time. Lives in the thread of the event loop, whose time it measures.

    n_tasks: tells how many of the pool's jobs are under way.
    """

    def __init__(
        self, tools: Tools, gates: Gates, pool: Pool, reader: Reader, n_slots: int, n_tasks: Callable[[], int]
    ) -> None:
        self._tools = tools
        self._gates = gates
        self._pool = pool
        self._reader = reader
        self._n_slots = n_slots
        self._n_tasks = n_tasks
        self._found: deque[Bound] = deque(maxlen=N_LOOKS)
        self._seen = self._clocks()

    def _clocks(self) -> tuple[float, ...]:
        """Seconds so far: of the wall; of this thread on a core and waiting for one; of the process on all cores; of
        --max-rate used up.
        """
        spent_s = self._tools.rate_gate.spent_s
        return time.monotonic(), time.thread_time(), _waited_s(), time.process_time(), spent_s

    def look(self) -> Bound:
        """Return what is to be told by now."""
        before, self._seen = self._seen, self._clocks()
        elapsed_s, *used_s = (now - then for now, then in zip(self._seen, before, strict=True))
        if elapsed_s > 0:
            self._found.append(bound_of(self._figures(*(one / elapsed_s for one in used_s))))
        return told(list(self._found))

    def _figures(self, loop_cores: float, loop_waits: float, engine_cores: float, rate_spent: float) -> Figures:
        tools = self._tools
        downloads = self._reader.job_counts().get("download", {})
        return Figures(
            n_left=sum(downloads.get(state, 0) for state in (State.AVAILABLE, State.RUNNING)),
            is_disk_full=tools.disk_gate.is_full,
            is_out_of_handles=not (tools.disk_gate.is_open or tools.disk_gate.is_full),
            rate_spent=rate_spent,
            is_gate_closed=self._gates.is_any_closed,
            n_open=tools.meter.slots.take_mean(),
            n_slots=self._n_slots,
            n_on_disk=tools.meter.on_disk.take_mean(),
            are_threads_full=tools.threads.is_full,
            loop_cores=loop_cores,
            loop_waits=loop_waits,
            engine_cores=engine_cores,
            n_cores=len(os.sched_getaffinity(0)),
            pace=tools.pacing.state,
            is_per_host=tools.pacing.ceiling < self._n_slots,
            n_tasks=self._n_tasks(),
            n_processes=self._pool.n_processes,
        )


def _waited_s() -> float:
    """How long this thread could have run and had no core so far; 0.0 where the kernel does not tell."""
    try:
        return int(SCHEDSTAT.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0

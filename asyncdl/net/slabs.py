"""Memory for bodies on their way from socket to disk: a fixed number of equal slabs for the whole engine.

A slab is always handed out as a memoryview: over asyncio's TLS a bytearray returned by get_buffer is filled with
garbage of the right length (CPython #156275).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

MAX_SLAB_BYTES = 1 << 20
"""One pwrite. 4 MiB slabs cost the same CPU within the noise (0.90 and 0.88 s/GiB), and four times the memory."""

MIN_SLAB_BYTES = 32 << 10
"""Below it a thread hop costs more than the write it carries. Guess."""

BUDGET_BYTES = 96 << 20
"""All slabs together: 128 connections can fill one each while half of them are being written."""


class Slabs:
    """Owner of the slabs. Who takes one gives it back; who finds none is called when one comes back.

    n_slots: how many connections there may be. Each can have one slab to fill and there are as many again for those
    in flight to the disk, up to 1536 slots: a slab half full on a silent connection starves nobody.
    """

    def __init__(self, n_slots: int, *, budget_bytes: int = BUDGET_BYTES) -> None:
        fair_bytes = budget_bytes // (2 * n_slots)
        self.slab_bytes = max(MIN_SLAB_BYTES, min(MAX_SLAB_BYTES, fair_bytes))
        self._n_left = max(budget_bytes // self.slab_bytes, 1)
        self._free: list[memoryview] = []
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self) -> memoryview | None:
        """Return a slab, or None if all are in use."""
        if self._free:
            return self._free.pop()
        if self._n_left == 0:
            return None
        self._n_left -= 1
        return memoryview(bytearray(self.slab_bytes))

    def give(self, block: memoryview) -> None:
        """Give the slab back that `block` is a part of; one of those who wait may take it."""
        self._free.append(memoryview(block.obj))
        while self._free and self._waiting:  # one that has been closed meanwhile takes none
            self._waiting.popleft()()

    def when_free(self, call: Callable[[], None]) -> None:
        """Call `call` once, when a slab has come back."""
        self._waiting.append(call)

"""Lines on their way to a file descriptor: a bounded queue, and a thread that writes.

Putting never waits and memory is bounded: where the other side is too slow the oldest lines go, and are counted.
Does not know what the lines say.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

import orjson

MAX_WAITING = 10_000
"""Lines of some 300 bytes, so 3 MB. Guess."""

CLOSE_S = 5.0
"""How long the end of a run waits for a reader that pauses. Guess."""


class Lines:
    """Owner of the thread; descriptors stay the caller's. failed: what ended the writing early, or None."""

    def __init__(self, name: str, take: Callable[[int], int], *, max_waiting: int = MAX_WAITING) -> None:
        """take: called in the thread with the length of the next line, returns the descriptor that it goes to."""
        self.failed: OSError | None = None
        self._take = take
        self._waiting: deque[bytes] = deque()
        self._max_waiting = max_waiting
        self._n_dropped = 0
        self._n_untold = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name=name, daemon=True)
        self._thread.start()

    @property
    def n_dropped(self) -> int:
        """How many lines did not find room; once closed, those that nobody took in time as well."""
        with self._changed:
            return self._n_dropped

    def put(self, line: bytes) -> None:
        """Hand a line over. Returns at once; the newest lines are kept, for the last one says how a run ended."""
        with self._changed:
            if self.failed is not None or self._closing:
                return
            if len(self._waiting) == self._max_waiting:
                self._waiting.popleft()
                self._n_dropped += 1
                self._n_untold += 1
            self._waiting.append(line)
            self._changed.notify()

    def close(self, wait_s: float = CLOSE_S) -> bool:
        """Write what waits, for wait_s at most. Return whether the thread has ended and the descriptor is free."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(wait_s)
        with self._changed:
            self._n_dropped += len(self._waiting)
            self._waiting.clear()
        return not self._thread.is_alive()

    def _write_all(self) -> None:
        try:
            while (line := self._next()) is not None:
                self._write(line)
        except OSError as error:
            with self._changed:
                self.failed = error
                self._waiting.clear()

    def _next(self) -> bytes | None:
        """Wait for a line; what was dropped before it is told first. None at the end."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if not self._waiting:
                return None
            line, n_untold = self._waiting.popleft(), self._n_untold
            self._n_untold = 0
        if n_untold:
            line = orjson.dumps({"event": "dropped", "at": time.time(), "n_lines": n_untold}) + b"\n" + line
        return line

    def _write(self, line: bytes) -> None:
        """Bypasses Python's streams: a write that hangs must not hold a lock that the end of the process takes."""
        rest = memoryview(line)
        fd = self._take(len(line))
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:  # somebody who shares the pipe made it so
                select.select([], [fd], [])

"""Engines that die at a chosen point: `python -m tests.support.dying`, one JSON object per line on stdin.

{"config": {...} as for runner, "at": n, "when": "before" | "after", "steps": names or null} forks an engine that kills itself (SIGKILL) before
or after its n-th step that another process or a power cut could notice: a write, a sync, a rename, a commit; with names
only those of STEPS count. Answers
with a line {"code": exit code, negative for a signal, "points": how many steps there were, null after a death}.
Forked from a process that has everything imported, because a fresh interpreter costs half a second a death.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import uvloop

from asyncdl.store.writer import Writer
from tests.support import runner

STEPS = ("pwrite", "fdatasync", "fsync", "rename", "ftruncate")


class Death:
    """Counts steps over all threads; the n-th is the last."""

    def __init__(self, at: int, when: str) -> None:
        self._at = at
        self._before = when == "before"
        self._lock = threading.Lock()
        self.n_points = 0

    def at_end_of(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            with self._lock:
                self.n_points += 1
                is_last = self.n_points == self._at
            if is_last and self._before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = step(*args)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted


def run(asked: dict[str, Any], points: int) -> int:
    """In the child. points: where to write how many there were."""
    death = Death(asked["at"], asked["when"])
    for name in asked["steps"] or STEPS:
        setattr(os, name, death.at_end_of(getattr(os, name)))
    if not asked["steps"]:
        Writer._transact = death.at_end_of(Writer._transact)  # type: ignore[method-assign]
    code = uvloop.run(runner.main(json.dumps(asked["config"])))
    os.write(points, json.dumps(death.n_points).encode())
    return code


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            os.dup2(2, 1)  # what the engine tells is not the answer
            os._exit(run(asked, writing))
        os.close(writing)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(reading, "rb") as pipe:
            points = pipe.read()
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "points": json.loads(points or b"null")}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""The lock that engines on one queue take in turn: a `flock` on `<queue>-lock`.

SQLite's own busy handler lets newer waiters overtake older ones, so that one of several engines does all the work.
It is another file, because closing any handle on the queue itself would drop SQLite's POSIX locks
(sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

from asyncdl.core.names import display
from asyncdl.errors import ConfigError, StoreError

GIVE_UP_S = 60.0
"""A transaction takes milliseconds, a migration's copy of a large queue some seconds: who holds the lock for longer
is stopped or hangs. Guess."""

LOCKS = Path("/proc/locks")


class Sidecar:
    """Hold it with `with`; not reentrant. The kernel releases it when its process ends, however that ends."""

    def __init__(self, path: Path) -> None:
        """path: of the queue. Raises ConfigError if the lock file cannot be made."""
        self._path = path
        self._wait: _Wait | None = None
        try:
            self._fd = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"the lock beside the queue {path} cannot be opened: {display(str(error))}",
                hint="choose another place with --queue, or check the owner and the rights of its folder",
            ) from error

    def __enter__(self) -> None:
        """Wait for the lock. Raises StoreError after GIVE_UP_S, and from then on at once."""
        if self._wait is None:
            with suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            self._wait = _Wait(self._fd)
            if self._wait.has_lock(GIVE_UP_S):
                self._wait = None
                return
        holder = _holder(self._fd)
        raise StoreError(
            f"{holder or 'another process'} has held the lock of the queue {self._path} for {GIVE_UP_S:.0f} s",
            hint="is it stopped (Ctrl-Z)? Let it go on or end it, then run again; nothing answered was lost",
        )

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._fd)


class _Wait:
    """A thread that waits in the kernel's queue, which is fair; trying again and again would starve.

    When nobody waits for it any more it gives the lock back as soon as it gets it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = os.dup(fd)  # the same lock under a number that nobody else closes
        self._mutex = threading.Lock()
        self._got = threading.Event()
        self._given_up = False
        threading.Thread(target=self._run, name="queue lock", daemon=True).start()

    def _run(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        with self._mutex:
            if self._given_up:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._got.set()

    def has_lock(self, timeout_s: float) -> bool:
        """Wait; False: given up."""
        self._got.wait(timeout_s)
        with self._mutex:
            self._given_up = not self._got.is_set()
        return not self._given_up


def _holder(fd: int) -> str | None:
    """Name the process that holds the lock, if the kernel tells (proc_locks(5)): not of another container."""
    with suppress(OSError):
        held = rf"^\d+: FLOCK +ADVISORY +WRITE +(\d+) \w+:\w+:{os.fstat(fd).st_ino} "
        found = re.search(held, LOCKS.read_text(encoding="ascii"), re.MULTILINE)
        if found and found[1] != "0":
            return f"the process {found[1]}"
    return None

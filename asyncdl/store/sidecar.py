"""The lock that engines on one queue take in turn: a `flock` on `<queue>-lock`.

SQLite's own busy handler lets newer waiters overtake older ones, so that one of several engines does all the work.
It is another file, because closing any handle on the queue itself would drop SQLite's POSIX locks
(sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from asyncdl.core.names import display
from asyncdl.errors import ConfigError


class Sidecar:
    """Hold it with `with`; not reentrant. The kernel releases it when its process ends, however that ends."""

    def __init__(self, path: Path) -> None:
        """path: of the queue. Raises ConfigError if the lock file cannot be made."""
        try:
            self._fd = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"the lock beside the queue {path} cannot be opened: {display(str(error))}",
                hint="choose another place with --queue, or check the owner and the rights of its folder",
            ) from error

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._fd)

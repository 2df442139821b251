"""One queue at a time over one data dir: two would take each other's partials for their own.

Engines on one queue share the place. The lock is the kernel's and ends with its holder, however that ends; on a file
system without locks the place is taken on trust.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asyncdl.core.names import display
from asyncdl.errors import ConfigError

LOCK_NAME = ".asyncdl-queue"
"""Names the queue whose engines work here."""


@contextmanager
def occupied(data_dir: Path, queue: Path) -> Iterator[None]:
    """Hold `data_dir` for engines on `queue` while the block runs. Raises ConfigError while another queue has it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(
            f"the data dir {data_dir} cannot be written to: {display(error.strerror or str(error))}",
            hint="check its owner and rights, or choose another with --data-dir",
        ) from error
    try:
        _take(fd, data_dir, os.fsencode(queue.resolve()))
        yield
    finally:
        os.close(fd)


def _take(fd: int, data_dir: Path, queue: bytes) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, queue, 0)
    except BlockingIOError:
        pass  # somebody is here; on the same queue, or not
    except OSError:
        return  # no locks on this file system
    fcntl.flock(fd, fcntl.LOCK_SH)
    other = os.pread(fd, 4096, 0)
    if other != queue:
        raise ConfigError(
            f"the data dir {data_dir} is in use by engines of another queue, {display(os.fsdecode(other))}",
            hint="use that queue with --queue, or give this one a data dir of its own with --data-dir",
        )

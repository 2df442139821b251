"""One look at all that `status` shows: the queue, and the disk of the data dir, of which the queue knows nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from asyncdl.disk import room
from asyncdl.status import snapshot
from asyncdl.store.reader import Reader


def look(reader: Reader, data_dir: Path) -> snapshot.Snapshot:
    """Return the snapshot of this moment. Raises what the reader raises."""
    return snapshot.take(reader, time.time(), disk_of(data_dir))


def look_anew(queue: Path, data_dir: Path) -> snapshot.Snapshot:
    """Return the same over a connection of its own, so that a queue that was migrated or replaced meanwhile is seen.

    Raises ConfigError where there is no queue that can be read.
    """
    with Reader(queue) as reader:
        return look(reader, data_dir)


def disk_of(data_dir: Path) -> snapshot.DiskState | None:
    """Return what is free there, None where the file system does not say."""
    try:
        free = room.free(data_dir)
    except OSError:
        return None
    return None if free.free_bytes == sys.maxsize else snapshot.DiskState(free.free_bytes, free.free_inodes)

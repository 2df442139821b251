"""Room taken at once for what will be written later. The size of the file stays what was written so far.

Not os.posix_fallocate: where the file system cannot, glibc writes into every block instead (man 3 posix_fallocate), and
it sets the size, which then says nothing of how far the file goes. The call below does what the kernel does or nothing.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

STAT_BLOCK_BYTES = 512
"""The unit of st_blocks, whatever the file system's own is (man 3 stat)."""

_KEEP_SIZE = 0x01
"""FALLOC_FL_KEEP_SIZE, linux/falloc.h."""

_fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)  # off_t has 64 bits


def allocate(fd: int, size_bytes: int) -> bool:
    """Take blocks for [0, size_bytes); return whether they are taken. Where they are not, nothing is.

    Why not is not asked: NFS before 4.2 cannot, a disk may be full or a quota spent. What ends the room ends the writes
    as well, and they tell its class.
    """
    if _fallocate is None:
        return False
    if _fallocate(fd, _KEEP_SIZE, 0, size_bytes) == 0:
        return True
    give_back(fd)  # ext4 keeps what it took before it found no more
    return False


def give_back(fd: int) -> None:
    """Free the blocks behind the end of the file: nobody would see where the room went. Nobody else may write."""
    os.ftruncate(fd, os.fstat(fd).st_size)


def taken_bytes(fd: int) -> int:
    """What the file takes from the free room, written or not."""
    return os.fstat(fd).st_blocks * STAT_BLOCK_BYTES


def ahead_bytes(path: Path) -> int:
    """What the file takes behind its end, as a killed engine leaves it; 0 for a file that is gone."""
    try:
        stat = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return max(0, stat.st_blocks * STAT_BLOCK_BYTES - stat.st_size)

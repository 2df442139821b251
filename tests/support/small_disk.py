"""A file system with an end: a tmpfs of a few megabytes, mounted for one test. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, *, size_bytes: int, n_inodes: int | None = None) -> Iterator[Path]:
    """A tmpfs mounted on `place` while the block runs. Skips the test where mounting is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: a full disk needs root to mount a tmpfs")
    place.mkdir(parents=True)
    options = f"size={size_bytes}" + (f",nr_inodes={n_inodes}" if n_inodes else "")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"NOT TESTED: a full disk: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path, *, leave_bytes: int = 0) -> Path:
    """Take all but leave_bytes of the disk with one file, while others may write; return it."""
    hog = disk / "hog"
    with hog.open("wb") as file:
        while (free_bytes := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) > leave_bytes:
            with suppress(OSError):  # somebody was quicker: look again
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free_bytes - leave_bytes)
    return hog


def fill_inodes(disk: Path) -> list[Path]:
    """Take every inode that is left."""
    hogs = []
    for n in range(os.statvfs(disk).f_favail):
        hogs.append(disk / f"hog{n}")
        hogs[-1].touch()
    return hogs

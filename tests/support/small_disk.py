"""File systems with an end, or with less than the usual: mounted for one test. They need root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, *, size_bytes: int, n_inodes: int | None = None) -> Iterator[Path]:
    """A tmpfs mounted on `place` while the block runs. Skips the test where mounting is not allowed."""
    options = f"size={size_bytes}" + (f",nr_inodes={n_inodes}" if n_inodes else "")
    with _mounted("tmpfs", place, "-o", options):
        yield place


@contextmanager
def simple_disk(place: Path) -> Iterator[Path]:
    """A ramfs: it cannot take room ahead (fallocate), and says that it has 0 blocks in all."""
    with _mounted("ramfs", place):
        yield place


@contextmanager
def ext4_disk(place: Path, *, size_bytes: int) -> Iterator[Path]:
    """An ext4 in a file beside `place`: what is taken ahead before the room ends stays taken there."""
    image = place.with_name(place.name + ".img")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    if shutil.which("mkfs.ext4") is None or subprocess.run(["mkfs.ext4", "-q", image], capture_output=True).returncode:
        pytest.skip("NOT TESTED: an ext4 needs mkfs.ext4")
    with _mounted("ext4", place, "-o", "loop", source=image):
        yield place


@contextmanager
def _mounted(kind: str, place: Path, *options: str, source: str | Path = "none") -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: a file system of a test's own needs root to mount it")
    place.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", kind, *options, source, place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"NOT TESTED: a {kind} cannot be mounted: {done.stderr.strip()}")
    try:
        yield
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


def fill_inodes(disk: Path, *, leave: int = 0) -> list[Path]:
    """Take every inode that is free but `leave`; return the files."""
    hogs = []
    for n in range(os.statvfs(disk).f_favail - leave):
        hogs.append(disk / f"hog{n}")
        hogs[-1].touch()
    return hogs

"""A JSON file for other programs: whole or not there, written only when it says something new.

It is written under a partial name, synced and renamed. Lines stream through; blocks, so call it in a thread.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from asyncdl.disk.layout import PARTIAL
from asyncdl.disk.partial import sync_folder

COMPARE_BYTES = 1 << 20

Lines = Iterator[bytes]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait for the turn of this process in a folder that engines of other queues write to as well.

    Where the folder's file system knows no locks, as some NFS, nobody waits, and the last one to write wins.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def publish(final: Path, lines: Lines, *, n_header_lines: int) -> None:
    """Write `lines` to `final` unless it holds them already; the header does not count as something new."""
    partial = final.with_name(final.name + PARTIAL)
    try:
        with partial.open("wb", buffering=COMPARE_BYTES) as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        if not _says_the_same(partial, final, n_header_lines):
            partial.replace(final)
            sync_folder(final.parent)
    finally:
        partial.unlink(missing_ok=True)


def _says_the_same(partial: Path, final: Path, n_header_lines: int) -> bool:
    try:
        old = final.open("rb")
    except FileNotFoundError:
        return False
    with old, partial.open("rb") as new:
        for _ in range(n_header_lines):
            old.readline()
            new.readline()
        return all(a == b for a, b in _pairs(old, new))


def _pairs(old: BinaryIO, new: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while (pair := (old.read(COMPARE_BYTES), new.read(COMPARE_BYTES))) != (b"", b""):
        yield pair


def joined(entries: Iterator[bytes]) -> Lines:
    """Put commas between, and each entry on a line of its own."""
    for first in entries:
        yield first
        for entry in entries:
            yield b",\n"
            yield entry
        yield b"\n"

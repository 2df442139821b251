"""The files that the log of a run is written to: one after the other, none too large, the oldest removed.

A file is never renamed: `run-<UTC>.jsonl` is followed by `run-<UTC>.1.jsonl`, so whoever follows them loses no line.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from asyncdl.core.names import display
from asyncdl.errors import ConfigError

MAX_FILE_BYTES = 64 << 20
"""Some 200 000 events: an editor still opens it. Guess."""

KEPT_BYTES = 1 << 30
"""Of all runs together, the file that is written to apart: some three million events, so all of a run of a million
files through three stages. Guess."""

KEPT_FILES = 1000
"""A run each minute makes small ones; a folder is still listed at once. Guess."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

_NAME = re.compile(r"(run-[0-9TZ]+(?:-[0-9]+)?)(?:\.([0-9]+))?\.jsonl")


def run_of(path: Path) -> str:
    """Return what the files of one run have in common, '' for another program's file."""
    match = _NAME.fullmatch(path.name)
    return match[1] if match else ""


def part_of(path: Path) -> tuple[str, int]:
    """Return what sorts the files of each run in the order in which they were written."""
    match = _NAME.fullmatch(path.name)
    return (match[1], int(match[2] or 0)) if match else ("", 0)


def logs_in(folder: Path) -> list[Path]:
    """Return the logs of runs in `folder`, the one that was written to last at the end; of one run in their order."""
    found = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            path = Path(entry.path)
            with suppress(OSError):  # removed meanwhile
                if run_of(path):
                    found.append((entry.stat().st_mtime_ns, part_of(path), path))
    return [path for _, _, path in sorted(found)]


class LogFile:
    """Owner of the file that is written to now. Not for several threads; path may be read by any."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_FILE_BYTES, kept_bytes: int = KEPT_BYTES) -> None:
        """Raises ConfigError where the folder cannot be written to, OSError where there is no room."""
        self._max_bytes = max_bytes
        self._kept_bytes = kept_bytes
        self._n_bytes = 0
        self._n_files = 1
        self.path, self._file = _open_first(folder)
        remove_old(folder, keep=self.path, kept_bytes=kept_bytes)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def take(self, n_bytes: int) -> int:
        """Return the descriptor that a line of so many bytes goes to. A line is never split between two files."""
        if self._n_bytes and self._n_bytes + n_bytes > self._max_bytes:
            self._turn()
        self._n_bytes += n_bytes
        return self._file.fileno()

    def _turn(self) -> None:
        """Begin the next file. Where that cannot be, this one grows on: a log that is too large is better than none."""
        path = self.path.with_name(f"{run_of(self.path)}.{self._n_files}.jsonl")
        try:
            file = FileIO(path, "xb")
        except OSError:
            self._n_bytes = 0
            return
        self._file.close()
        self.path, self._file = path, file
        self._n_bytes = 0
        self._n_files += 1
        remove_old(path.parent, keep=path, kept_bytes=self._kept_bytes)


def remove_old(folder: Path, *, keep: Path, kept_bytes: int = KEPT_BYTES, kept_files: int = KEPT_FILES) -> None:
    """Remove the logs that were written to longest ago until the others are few enough. `keep` is never removed."""
    n_files, n_bytes = 0, 0
    for path in reversed(logs_in(folder)):
        with suppress(OSError):  # another engine removes them too
            n_files += 1
            n_bytes += path.stat().st_size
            if path != keep and (n_bytes > kept_bytes or n_files > kept_files):
                path.unlink()


def _open_first(folder: Path) -> tuple[Path, FileIO]:
    name = f"run-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            path = folder / f"{name}.jsonl"
            return path, FileIO(path, "xb")
        except FileExistsError:  # another run began in the same second
            path = folder / f"{name}-{os.getpid()}.jsonl"
            return path, FileIO(path, "xb")
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise ConfigError(
            f"the data dir cannot be written to: {display(str(error))}",
            hint="check its owner and rights, or choose another with --data-dir",
        ) from error

"""Which files of this machine are packed together: small ones that lie in one folder, in the order of their names.

A shard of its own for each of ten thousand small files would be mostly padding and slow to read. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALL_BYTES = 64 << 20
"""Files from this size on are tokenized alone, larger ones in parts; the least of what a task should take."""

GROUP_BYTES = 128 << 20
"""A group is closed once it holds so much: the size of a part of a large file."""

MAX_FILES = 256
"""... or so many files: their names travel to the worker, and a crash costs all of them. Guess."""

INFLATION = 4
"""Text that zstd or gzip has packed comes out so much larger. Guess; 3 to 5 for prose and JSON."""


@dataclass(slots=True)
class Grouping:
    """Names the job for each of a stream of files of one folder. n_groups: how many the folder has already."""

    folder: str
    n_groups: int
    _n_files: int = 0
    _n_bytes: int = 0

    def job_of(self, file: str, size_bytes: int) -> str:
        """Return the path of the job that packs `file`: its own, or `<folder>/group-00001`.

        No file that can be tokenized has a name without an ending, so a group's path is no file's; nor are its shards'
        names, see `core.names.group_stem`.
        """
        weight = size_bytes * (INFLATION if file.lower().endswith((".gz", ".zst")) else 1)
        if weight >= SMALL_BYTES:
            return file
        if self._n_files in (0, MAX_FILES) or self._n_bytes + weight > GROUP_BYTES:
            self.n_groups += 1
            self._n_files = self._n_bytes = 0
        self._n_files += 1
        self._n_bytes += weight
        name = f"group-{self.n_groups:05d}"
        return f"{self.folder}/{name}" if self.folder else name


def number_of(path: str) -> int:
    """Return the number in a group's path."""
    return int(path.rpartition("-")[2])

"""The files of a folder of this machine that hold documents, in order, each with what tells whether it has changed.

Every file's name is checked as that of a remote one: it becomes part of names on disk. Memory is that of one folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from asyncdl.core.names import SafePath, display, folder_of, safe_path
from asyncdl.core.stages import is_text_file
from asyncdl.errors import ConfigError, UnsafeNameError


@dataclass(frozen=True, slots=True)
class Found:
    """One file. path: relative to the folder. subset: where it lies in it, '' for the folder itself."""

    path: SafePath
    size_bytes: int
    mtime_ns: int

    @property
    def subset(self) -> str:
        return folder_of(self.path)


class Walk:
    """Iterate to get the files in the order of their folders and names. Links are followed, each folder visited once.

    n_ignored: other files met so far. n_folders: folders that were not looked into; none where it is recursive.
    """

    def __init__(self, root: Path, *, recursive: bool, but: Iterable[Path] = ()) -> None:
        """but: folders to stay out of; they need not be there."""
        self.n_ignored = self.n_folders = 0
        self.recursive = recursive
        self._root = root
        self._seen = {identity for folder in but if (identity := _identity(folder)) is not None}

    def __iter__(self) -> Iterator[Found]:
        """Raises ConfigError for a folder that cannot be read, UnsafeNameError."""
        yield from self._folder(self._root, "")

    def _folder(self, place: Path, within: str) -> Iterator[Found]:
        identity = _identity(place)
        if identity in self._seen:
            return
        if identity is not None:
            self._seen.add(identity)
        folders = []
        for entry in _entries(place):
            found = _found(entry, within)
            if found is not None:
                yield found
            elif _is_dir(entry):
                folders.append(entry.name)
            else:
                self.n_ignored += 1
        for name in folders:
            if self.recursive:
                yield from self._folder(place / name, f"{within}{name}/")
            else:
                self.n_folders += 1


def _entries(place: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"{display(str(place))} cannot be read: {error.strerror}") from error


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def one_file(place: Path) -> Found:
    """Return the file at `place`, its path being its name. Raises UnsafeNameError, OSError."""
    status = place.stat()
    return Found(_safe(place.name), status.st_size, status.st_mtime_ns)


def _found(entry: os.DirEntry[str], within: str) -> Found | None:
    """Return the file of documents that an entry is, None for anything else and what went meanwhile."""
    if not is_text_file(entry.name):
        return None
    try:
        status = entry.stat() if entry.is_file() else None
    except OSError:
        return None
    return Found(_safe(f"{within}{entry.name}"), status.st_size, status.st_mtime_ns) if status else None


def _safe(path: str) -> SafePath:
    try:
        return safe_path(path)
    except UnsafeNameError as error:
        raise UnsafeNameError(error.message, hint="rename it, or move it elsewhere") from error

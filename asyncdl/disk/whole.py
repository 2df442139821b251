"""Small files in one go: many are written, synced and published by one call. It blocks; call it in a thread.

A file is durable before it gets its name, and its name before `end` returns; what goes wrong with one file is its
alone. Each system call lets go of the interpreter's lock and waits for it again, which costs more than most of
the calls themselves: here are as few as the order allows, and one sync of a folder for all files that came into it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from asyncdl.disk import room
from asyncdl.disk.layout import partial_path
from asyncdl.disk.partial import disk_errors, leave_reserve, make_folders, rename_within, sync_folder
from asyncdl.errors import AsyncdlError, LeaseLostError

PATIENCE_S = 0.004
"""As long the syncs of a batch may take one after the other: about as long as the engine's loop lets others wait.
A file of 64 KiB takes 0.2 ms where a disk has a cache of its own, 5 ms and more elsewhere. Guess."""

N_AT_ONCE = 4
"""Calls that may count the same room at the same time: what fits so often is not counted file by file. Guess, above
what `engine.publisher` has under way."""

MAX_FOLDERS = 4096
"""Folders that are remembered; with more they are looked for again. Guess: half a megabyte."""


class Folders:
    """Those that were made or found, so that nobody looks again for each file. One that went meanwhile is made again.

    Safe for threads. One at a time: a folder that another thread is making is there before its name is durable.
    """

    def __init__(self) -> None:
        self._known: set[Path] = set()
        self._making = threading.Lock()

    def make(self, folder: Path) -> None:
        if folder in self._known:
            return
        with self._making:
            make_folders(folder)
            if len(self._known) >= MAX_FOLDERS:
                self._known.clear()
            self._known.add(folder)

    def make_again(self, folder: Path) -> None:
        self._known.discard(folder)
        self.make(folder)


@dataclass(slots=True)
class _File:
    """One on its way. written: device and inode of what was, as long as it is open. error: why it goes no further."""

    final: Path
    content: memoryview
    path: Path
    folder: Path
    fd: int = -1
    written: tuple[int, int] | None = None
    error: AsyncdlError | None = None


class Batch:
    """Small files on their way. `begin` does all; where the disk is slow it leaves `sync`, in as many threads as one
    likes, and then `end` to be called. errors: what came of the files by now, in their order.

    The caller is the only one who writes these files, or loses the lease meanwhile. A file's error is LeaseLostError
    where another engine has taken over, or TransferError by who must act, see `disk_errors`; then it is not there, not
    even in part. A kill leaves each whole, or not there.
    """

    def __init__(self, wanted: Iterable[tuple[Path, memoryview]], folders: Folders) -> None:
        self._files = [_File(final, content, partial_path(final), final.parent) for final, content in wanted]
        self._folders = folders
        self._unsynced: deque[_File] = deque()

    @property
    def n_unsynced(self) -> int:
        """How many wait for `sync`; with none left over by `begin` all is done."""
        return len(self._unsynced)

    @property
    def errors(self) -> list[AsyncdlError | None]:
        return [file.error for file in self._files]

    def begin(self) -> None:
        """Write, sync and publish; leave the rest of the syncs where the first ones take their time."""
        try:
            must_count = not _is_roomy(self._files)
            for file in self._files:
                if must_count:
                    _step(file, _ask_for_room)
                _step(file, partial(_write, folders=self._folders))
            self._unsynced.extend(self._files)
            give_up_at = time.monotonic() + PATIENCE_S
            while self._unsynced and (len(self._unsynced) == 1 or time.monotonic() < give_up_at):
                _step(self._unsynced.popleft(), _sync)
            if not self._unsynced:
                self.end()
        except BaseException:
            self.close()
            raise

    def sync(self) -> None:
        """Sync what is left; other threads may do the same."""
        with suppress(IndexError):
            while True:
                _step(self._unsynced.popleft(), _sync)

    def end(self) -> None:
        """Give all that are synced their names."""
        for file in self._files:
            _step(file, _rename)
        self.close()
        _sync_folders(self._files)

    def close(self) -> None:
        """Close what is open; needed only where a step has raised."""
        for file in self._files:
            if file.fd >= 0:
                os.close(file.fd)
                file.fd = -1


def _step(file: _File, step: Callable[[_File], None]) -> None:
    """Take one step with a file that is well so far."""
    if file.error is None:
        try:
            step(file)
        except (OSError, AsyncdlError) as error:
            file.error = _told(error, file.final)
            _remove(file)


def _told(error: OSError | AsyncdlError, final: Path) -> AsyncdlError:
    try:
        with disk_errors(final):
            raise error
    except AsyncdlError as told:
        return told


def _is_roomy(files: Sequence[_File]) -> bool:
    """Whether there is room for all of them, several times over; otherwise each has to ask."""
    n_bytes = sum(len(file.content) for file in files)
    folders = {file.folder for file in files}
    n_inodes = len(files) + sum(len(folder.parts) for folder in folders)  # as if none of the folders were there
    try:
        return all(room.free(folder).holds(N_AT_ONCE * n_bytes, N_AT_ONCE * n_inodes) for folder in folders)
    except OSError:
        return False


def _ask_for_room(file: _File) -> None:
    leave_reserve(file.folder, len(file.content))


def _write(file: _File, folders: Folders) -> None:
    folders.make(file.folder)
    try:
        file.fd = _open(file.path)
    except FileNotFoundError:
        folders.make_again(file.folder)
        file.fd = _open(file.path)
    file.written = _identity(os.fstat(file.fd))
    rest = file.content
    while rest:
        rest = rest[os.write(file.fd, rest) :]


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _sync(file: _File) -> None:
    os.fsync(file.fd)


def _rename(file: _File) -> None:
    """The look at the name comes last: the syncs of many files take as long as another engine needs to take over."""
    if not _is_own(file):
        raise LeaseLostError(f"{file.path.name} belongs to another engine by now")
    rename_within(file.path, file.final)


def _is_own(file: _File) -> bool:
    """Whether the name still leads to what was written; as long as that is open nothing else can have its number."""
    try:
        return _identity(file.path.stat(follow_symlinks=False)) == file.written
    except FileNotFoundError:
        return False


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _remove(file: _File) -> None:
    """What was written in part or could not be synced is in the way, most of all on a full disk."""
    if file.fd >= 0 and not isinstance(file.error, LeaseLostError):
        with suppress(OSError):  # whoever writes it next begins it anew
            if _is_own(file):
                file.path.unlink()


def _sync_folders(files: Sequence[_File]) -> None:
    """Make the names durable. Where that fails nobody knows which are."""
    new: defaultdict[Path, list[_File]] = defaultdict(list)
    for file in files:
        if file.error is None:
            new[file.folder].append(file)
    for folder, arrived in new.items():
        try:
            sync_folder(folder)
        except OSError as error:
            for file in arrived:
                file.error = _told(error, file.final)

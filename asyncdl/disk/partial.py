"""The unfinished file: written anywhere, synced on demand, published whole. Every method blocks; call it in a thread.

Order is everything here. Bytes count as had only after `sync` returned; a name counts as there only after its
folder was synced. A partial belongs to one attempt: who takes over from a holder that may still be alive gets a
copy in a file of its own, and the old holder writes into a file that nobody will publish.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asyncdl.core.names import display
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.retry import NO_HANDLES_S
from asyncdl.disk import allocation, room
from asyncdl.disk.digester import Digester
from asyncdl.disk.layout import corrupted_path, partial_path
from asyncdl.errors import LeaseLostError, TransferError

HASH_BLOCK_BYTES = 256 << 10
"""One read for the digest: it stays in the cache between the copy and the hash."""


class Partial:
    """Owner of the file descriptor of one partial; close it. Made by `open_partial`.

    device: of its file system (st_dev). is_reserved: the room for all of it is taken, a write takes no more.
    """

    def __init__(self, final: Path, path: Path, fd: int) -> None:
        self.final = final
        self.device = os.fstat(fd).st_dev
        self.is_reserved = False
        self._is_allocated = False
        self._path = path
        self._fd = fd
        self._name_is_durable = False
        self._failed_sync: TransferError | None = None

    def write(self, at: int, block: bytes | memoryview) -> None:
        """Write all of `block` at offset `at`. Raises TransferError no_room or disk_failed."""
        with disk_errors(self.final):
            while block:
                n = os.pwrite(self._fd, block, at)
                block, at = block[n:], at + n

    def free_room(self) -> room.Room:
        """Return the room on the file system it is on."""
        return room.free_at(self._fd)

    def reserve(self, size_bytes: int) -> None:
        """Take the room for `size_bytes` at once, where that is possible and the disk's reserve stays.

        A file in fewer pieces: on ext4 a fifth less CPU, up to four times fewer extents (benchmarks/LOG.md). Where it
        is not possible the writes take their room one by one, as far as there is some.
        """
        with disk_errors(self.final):
            missing_bytes = max(0, size_bytes - allocation.taken_bytes(self._fd))
            if self.free_room().holds(missing_bytes, 0):
                self._is_allocated = allocation.allocate(self._fd, size_bytes)
                # ZFS says yes and takes nothing; only what was taken need not be counted again.
                self.is_reserved = self._is_allocated and allocation.taken_bytes(self._fd) >= size_bytes

    def sync(self) -> None:
        """Make every byte written before this call durable, and the name under which it will be found.

        A sync that failed fails for good: Linux tells of lost pages once and calls them clean then.
        """
        self._refuse_after_failure()
        try:
            with disk_errors(self.final):
                os.fdatasync(self._fd)
                if not self._name_is_durable:
                    sync_folder(self._path.parent)
                    self._name_is_durable = True
        except TransferError as error:
            self._failed_sync = error
            raise

    def _refuse_after_failure(self) -> None:
        if self._failed_sync is not None:
            raise self._failed_sync

    def feed(self, digester: Digester, start: int, stop: int) -> None:
        """Update `digester` with the bytes [start, stop) as they stand in the file: what is hashed is what is kept."""
        with disk_errors(self.final):
            _feed(self._fd, self.final, digester, start, stop)

    def holds(self, at: int, block: memoryview) -> bool:
        """Whether the bytes from offset `at` on are those of `block`."""
        with disk_errors(self.final):
            while block:
                found = os.pread(self._fd, min(HASH_BLOCK_BYTES, len(block)), at)
                if not found or found != bytes(block[: len(found)]):  # as a view it would be compared item by item
                    return False
                block, at = block[len(found) :], at + len(found)
        return True

    def publish(self, size_bytes: int) -> None:
        """Make the partial the final file: its size exact, its bytes durable, its name replaced at once and durable.

        Raises LeaseLostError if the partial's name leads to another file by now: another engine took over.
        """
        self._refuse_after_failure()
        with disk_errors(self.final):
            os.ftruncate(self._fd, size_bytes)
            os.fsync(self._fd)
            _require_own(self._path, self._fd)
            rename_within(self._path, self.final)
            self._is_allocated = False  # it is cut to its size
            sync_folder(self.final.parent)

    def quarantine(self) -> None:
        """Keep the partial aside as `.corrupted`, in place of an older one."""
        with disk_errors(self.final):
            _require_own(self._path, self._fd)
            rename_within(self._path, corrupted_path(self.final))

    def close(self) -> None:
        """Close the file. Room that was reserved and not used is free again, or many that wait would fill the disk."""
        try:
            if self._is_allocated:
                with suppress(OSError):  # it is not worth the error that may be under way
                    allocation.give_back(self._fd)
        finally:
            os.close(self._fd)


def _require_own(path: Path, fd: int) -> None:
    """Raise LeaseLostError unless `path` is the name of the file that is open as `fd`."""
    try:
        named = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        named = None
    mine = os.fstat(fd)
    if named is None or (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino):
        raise LeaseLostError(f"{path.name} belongs to another engine by now")


def open_partial(final: Path, had: RangeSet, *, take_over: bool) -> tuple[Partial, RangeSet]:
    """Open or make the partial of `final`; return it and what of `had` it really holds.

    take_over: its last holder may still write, so the bytes that are had move to a new file first. A partial that
    is shorter than `had` says was tampered with: nothing of it counts. Not a symlink, ever.
    """
    path = partial_path(final)
    with disk_errors(final):
        if not had:
            path.unlink(missing_ok=True)
        if not had or take_over:
            leave_reserve(final.parent)
        make_folders(final.parent)
        if had and take_over:
            _move_aside(path, had)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        if had and os.fstat(fd).st_size < had.ranges[-1].stop:
            os.ftruncate(fd, 0)
            had = RangeSet()
    return Partial(final, path, fd), had


def leave_reserve(folder: Path, n_bytes: int = 0) -> None:
    """Raise TransferError("no_room") where a new file of `n_bytes` in `folder` would reach into the disk's reserve.

    The queue may be on the same disk, and it needs inodes as well. Folders that are missing cost one each.
    """
    left, n_inodes = None, 1
    while left is None:
        try:
            left = room.free_at(folder)
        except FileNotFoundError:
            folder, n_inodes = folder.parent, n_inodes + 1
    if not left.holds(n_bytes, n_inodes):
        text = f"{left.free_bytes} bytes and {left.free_inodes} inodes are left, {n_bytes} and {n_inodes} are needed"
        raise TransferError("no_room", text, retry_after_s=0.0)


def rename_within(path: Path, target: Path) -> None:
    """Rename within one folder, even where the kernel takes that for a step to another file system (EXDEV).

    ext4, XFS and Lustre do when the folder got a project quota after the file was made. A copy belongs to the
    folder's project; it is durable before it gets the name.
    """
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with reading(path) as source:
            n_bytes = os.fstat(source).st_size
            copy = _copy(source, path, RangeSet.of(ByteRange(0, n_bytes)) if n_bytes else RangeSet())
        copy.rename(target)
        path.unlink()


def _move_aside(path: Path, had: RangeSet) -> None:
    """Copy the had ranges of `path` into a new file of the same name; the old one stays with who has it open."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _copy(source, path, had).rename(path)
    finally:
        os.close(source)


def _copy(source: int, path: Path, had: RangeSet) -> Path:
    """Copy the had ranges of `source` into a new file beside `path`; return its path. Only its name is not durable."""
    copy = partial_path(path)
    copy.unlink(missing_ok=True)  # of a copy that was killed
    target = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        for one in had:
            _copy_range(source, target, one.start, one.stop)
        os.fsync(target)
        _require_own(copy, target)
    except OSError:
        copy.unlink()  # on a full disk half a copy would only be in the way
        raise
    finally:
        os.close(target)
    return copy


def _copy_range(source: int, target: int, start: int, stop: int) -> None:
    while start < stop:
        block = os.pread(source, min(HASH_BLOCK_BYTES, stop - start), start)
        if not block:
            return  # shorter than had: open_partial sees it
        start += os.pwrite(target, block, start)


def finished_candidates(final: Path, size_bytes: int) -> list[Path]:
    """Return the files of that size which may be the finished artifact already: published, or kept aside by mistake.

    A file may have been put there by hand, or by a run that was killed between publish and settle.
    """
    places = (final, corrupted_path(final))
    with disk_errors(final):
        return [place for place in places if place.is_file() and place.stat().st_size == size_bytes]


def adopt(candidate: Path, final: Path) -> None:
    """Make a file whose content was just proven right the published one, durable under its name."""
    with disk_errors(final):
        if candidate != final:
            rename_within(candidate, final)
        with reading(final) as fd:
            os.fsync(fd)
        sync_folder(final.parent)


def feed_file(path: Path, digester: Digester, start: int, stop: int) -> None:
    """Update `digester` with the bytes [start, stop) of a file."""
    with disk_errors(path), reading(path) as fd:
        _feed(fd, path, digester, start, stop)


def _feed(fd: int, path: Path, digester: Digester, start: int, stop: int) -> None:
    """One buffer for all reads: a new one each time would be mapped and faulted in anew."""
    buffer = memoryview(bytearray(min(HASH_BLOCK_BYTES, stop - start)))
    while start < stop:
        n = os.preadv(fd, [buffer[: stop - start]], start)
        if n == 0:
            raise TransferError("short_body", f"{path.name} was cut by somebody else")
        digester.update(buffer[:n])
        start += n


@contextmanager
def reading(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def quarantine(final: Path) -> None:
    """Keep a published file aside as `.corrupted`: a later stage proved it wrong. Nothing happens if it is gone."""
    with disk_errors(final):
        try:
            rename_within(final, corrupted_path(final))
        except FileNotFoundError:
            return
        sync_folder(final.parent)


def make_folders(folder: Path) -> None:
    """Make `folder` and its parents, each durable in its own parent."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: after a rename, the file is there under its old name or its new one."""
    with reading(folder) as fd:
        os.fsync(fd)


_NAMES = frozenset({
    errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EFBIG,
    errno.EXDEV,
})  # fmt: skip
"""The file cannot have this name or size here: waiting changes nothing. What is in no list (ESTALE and ETIMEDOUT of a
network file system, ENOENT while somebody tidies up) may pass."""


@contextmanager
def disk_errors(final: Path) -> Iterator[None]:
    """Turn OSError into TransferError by who must act: room, rights or the disk itself."""
    try:
        yield
    except OSError as error:
        text = display(f"{final.name}: {error.strerror or error}")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TransferError("no_room", text, retry_after_s=0.0) from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise TransferError("no_handles", text, retry_after_s=NO_HANDLES_S) from error
        if error.errno in (errno.EIO, errno.EROFS):
            raise TransferError("disk_failed", text) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise TransferError("unwritable", text) from error
        if error.errno in _NAMES:
            raise TransferError("unstorable", text) from error
        raise TransferError("disk_odd", text) from error

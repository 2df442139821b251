"""The one thread that writes queue.sqlite. Whatever waits when it looks is one transaction.

Natural batching: no linger, no timer. With one producer a commit holds one change; with 128 it holds what 128
produced while the last commit was on its way to the disk. A change is answered after the commit, so what was
answered is durable (synchronous=FULL: the WAL is synced in each commit).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import apsw

from asyncdl.errors import AsyncdlError, NoRoomError, StoreError
from asyncdl.store.sidecar import Sidecar

T = TypeVar("T")
Change = Callable[[apsw.Connection], T]
"""Runs inside the transaction and returns what the caller gets. It may run twice (see Writer._transact), so what it
learns it returns and keeps nowhere else."""

Answer = tuple[object, BaseException | None]
Entry = tuple[Change[object], "Future[object] | asyncio.Future[object]"]

BUSY_GIVE_UP_S = 60.0
"""How long another program (an SQLite shell, a backup) may keep the queue to itself before that is an error. Guess."""

BUSY_PAUSE_S = 0.05
"""Between tries, for SQLite may refuse at once. Guess."""

MAX_BATCH = 1024
"""Changes in one transaction at most, so that other engines on this file get their turn. Guess."""


class Writer:
    """Owner of the write connection. Start it, submit changes, close it; closing is safe twice.

    Several engines may share the file: the sidecar's lock is held round each transaction, the checkpoint that SQLite
    does within a commit, and the close. SQLite's busy handler alone starves all but one engine.

    A change that raises fails alone; a full disk (NoRoomError) fails its whole batch, and the next one is tried. After
    an I/O error or when the file was taken away the writer has failed for good: all that follows gets the same
    StoreError, for what a failed fsync left on the disk is unknown and a second fsync would not tell (Rebello et al.,
    "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        """Raises ConfigError if the sidecar cannot be made."""
        self._connection = connection
        self.path = path
        self._place = _place(path)
        self._sidecar = Sidecar(path)
        self._waiting: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._failure: StoreError | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="queue writer", daemon=True)
        self._thread.start()

    def submit(self, change: Change[T]) -> Future[T]:
        """Queue `change`; the future has its result once the transaction is durable, or its exception."""
        future: Future[T] = Future()
        self._put((change, future))  # type: ignore[arg-type]
        return future

    async def write(self, change: Change[T]) -> T:
        """Await what `change` returns. A cancelled caller does not take it back: it may be in the file already."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put((change, future))  # type: ignore[arg-type]
        return await future

    def _put(self, entry: Entry) -> None:
        if self._closed:
            raise RuntimeError("the writer of the queue is closed")
        self._waiting.put(entry)

    def close(self) -> None:
        """Finish what waits, copy the WAL into the file and close the connection. Blocks; a loop uses a thread."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._thread.join()
        self._sidecar.close()

    def _run(self) -> None:
        more = True
        while more:
            batch, more = self._take()
            if batch:
                _deliver(batch, self._commit([change for change, _ in batch]))
        self._finish()

    def _take(self) -> tuple[list[Entry], bool]:
        """Wait for one change, then take all that are there. False: closed, nothing comes after these."""
        batch: list[Entry] = []
        entry = self._waiting.get()
        while entry is not None:
            batch.append(entry)
            if len(batch) == MAX_BATCH:
                return batch, True
            try:
                entry = self._waiting.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, changes: list[Change[object]]) -> list[Answer]:
        """Return an answer for each change; those without an exception are durable."""
        if self._failure is None:
            try:
                return self._patiently(changes)
            except Exception as error:  # noqa: BLE001 - given to the callers, never dropped
                told = self._translated(error)
                if isinstance(told, StoreError) and not isinstance(error, apsw.BusyError):
                    self._failure = told
                return [(None, told)] * len(changes)
        return [(None, self._failure)] * len(changes)

    def _patiently(self, changes: list[Change[object]]) -> list[Answer]:
        """Try until BUSY_GIVE_UP_S are over; the lock is let go of between."""
        give_up_at = time.monotonic() + BUSY_GIVE_UP_S
        while True:
            try:
                with self._sidecar:
                    self._check_place()
                    return self._transact(changes)
            except apsw.BusyError:
                if time.monotonic() >= give_up_at:
                    raise
            time.sleep(BUSY_PAUSE_S)

    def _check_place(self) -> None:
        """What is written to a file without a name, or without its WAL, is lost with the process."""
        if _place(self.path) != self._place:
            raise StoreError(
                f"the queue {self.path} was deleted or replaced while it was in use",
                hint="restore it, or run asyncdl enqueue again; files already on disk are kept",
            )

    def _transact(self, changes: list[Change[object]]) -> list[Answer]:
        """One transaction. If a change raises, all are taken back and run again, each in a savepoint of its own.

        Savepoints from the start would be two more statements for every settle, for an exception that is rare.
        """
        try:
            return self._attempt(changes, _plainly)
        except Exception as error:
            if _is_fatal(error):
                raise  # otherwise it comes again in its savepoint, and is caught there
        return self._attempt(changes, _in_savepoint)

    def _attempt(
        self, changes: list[Change[object]], run: Callable[[apsw.Connection, Change[object]], Answer]
    ) -> list[Answer]:
        """BEGIN IMMEDIATE, because a read that becomes a write fails at once with SQLITE_BUSY_SNAPSHOT."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            answers = [run(self._connection, change) for change in changes]
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return answers

    def _translated(self, error: Exception) -> AsyncdlError:
        """Say in our words what SQLite says of the file as a whole."""
        if isinstance(error, AsyncdlError):
            return error
        if isinstance(error, apsw.BusyError):
            return StoreError(
                f"another program has held the queue {self.path} for too long",
                hint="end what has it open (an SQLite shell?); no asyncdl holds it that long",
            )
        no_room = isinstance(error, apsw.IOError) and self._connection.system_errno in (errno.ENOSPC, errno.EDQUOT)
        if no_room or isinstance(error, apsw.FullError):
            return NoRoomError(
                f"the disk of the queue {self.path} is full", hint="make room; nothing answered was lost"
            )
        reason = f"{type(error).__name__}: {error}"
        return StoreError(
            f"the queue {self.path} cannot be written ({reason})",
            hint="check the disk, then run again; nothing answered was lost",
        )

    def _finish(self) -> None:
        """Close. No PRAGMA optimize: statistics of a small queue make bad plans for the large one it becomes."""
        try:
            with self._sidecar:
                self._connection.close(force=True)
        except StoreError:  # whoever holds the lock copies the WAL, or the next engine
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._connection.close(force=True)


def _plainly(connection: apsw.Connection, change: Change[object]) -> Answer:
    return change(connection), None


def _in_savepoint(connection: apsw.Connection, change: Change[object]) -> Answer:
    connection.execute("SAVEPOINT change")
    try:
        result = change(connection)
    except Exception as error:
        if _is_fatal(error):
            raise
        connection.execute("ROLLBACK TO change")
        return None, error
    else:
        return result, None
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE change")


def _is_fatal(error: Exception) -> bool:
    """Whether it speaks of the file or the machine, so that running the changes again cannot help."""
    return isinstance(error, apsw.IOError | apsw.FullError | apsw.CorruptError | apsw.NotADBError | apsw.BusyError)


def _place(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return which files the queue and its WAL are, None for what is not there."""
    return tuple(_file_id(name) for name in (path, Path(f"{path}-wal")))


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _deliver(batch: list[Entry], answers: list[Answer]) -> None:
    """Give every caller its answer. A loop is woken once for all of its own.

    One `wrap_future` for each was 12 of the 30 us of CPU that a settle took.
    """
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[object], Answer]]] = {}
    for (_, future), answer in zip(batch, answers, strict=True):
        if isinstance(future, Future):
            if future.set_running_or_notify_cancel():
                _resolve(future, answer)
        else:
            loops.setdefault(future.get_loop(), []).append((future, answer))
    for loop, theirs in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve_all, theirs)


def _resolve_all(answered: list[tuple[asyncio.Future[object], Answer]]) -> None:
    for future, answer in answered:
        if not future.done():  # its caller was cancelled
            _resolve(future, answer)


def _resolve(future: Future[object] | asyncio.Future[object], answer: Answer) -> None:
    result, error = answer
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)

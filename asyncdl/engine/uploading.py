"""Brings files into a repo of the Hub, in commits that only add, so that a kill at any moment costs no byte twice.

Invariant: what a doubtful answer was about is looked up before it is said again, and a commit names its parent: one
that comes through late, or one of somebody else, makes ours be refused and never be doubled. Nothing is kept here.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from asyncdl.core.reply import MAX_RETRY_AFTER_S
from asyncdl.core.retry import TREATMENTS, Treatment, full_jitter
from asyncdl.core.uploads import CARD, Local, State, batches, state_of, summary_of
from asyncdl.errors import AsyncdlError, ConfigError, RemoteError, ShardError, TransferError, UsageError

if TYPE_CHECKING:
    from asyncdl.net.hub_writer import Addition, HubWriter

T = TypeVar("T")

MAX_TRIES = 8
"""In a row, without anything getting there. With the waits below some minutes: an outage, not a hiccup. Guess."""

BASE_DELAY_S = 1.0
MAX_DELAY_S = 60.0
"""Of full jitter, where the Hub does not say how long to wait. Guess."""

UNTOLD_PAUSE_S = 60.0
"""The first wait after a 429 that names no time, doubled each time: a quota of commits fills up within the hour."""


@dataclass(slots=True)
class Progress:
    """What is on its way; whoever shows it may look at any moment. waits_s: what is waited now, 0.0 if nothing is."""

    n_files: int = 0
    n_bytes: int = 0
    n_files_done: int = 0
    n_bytes_done: int = 0
    n_commits: int = 0
    waits_s: float = 0.0
    why: str = ""
    sending: dict[str, int] = field(default_factory=dict)

    def told(self, path: str, n_bytes: int) -> None:
        """Called from the library's threads."""
        self.sending[path] = n_bytes

    @property
    def n_bytes_sent(self) -> int:
        return min(self.n_bytes_done + sum(self.sending.copy().values()), self.n_bytes)


class Uploader:
    """Uploads to one branch. head: the commit that the branch is at. replace: whether other bytes may be replaced."""

    def __init__(self, writer: HubWriter, head: str, progress: Progress, *, replace: frozenset[str]) -> None:
        self._writer = writer
        self.head = head
        self._progress = progress
        self._replace = replace

    async def upload(self, files: Sequence[Local]) -> None:
        """Upload all of it. Raises RemoteError, ConfigError, ShardError; what was committed before stays."""
        progress = self._progress
        progress.n_files, progress.n_bytes = len(files), sum(file.size_bytes for file in files)
        for batch in batches(files):
            await self._batch(batch)
            progress.n_files_done += len(batch)
            progress.n_bytes_done += sum(file.size_bytes for file in batch)
            progress.sending.clear()

    async def _batch(self, batch: list[Local]) -> None:
        """Send and commit what of the batch is not there yet, until all of it is."""
        n_failed = 0
        while batch:
            try:
                additions = await self._send(batch)  # again, too: URLs may have expired; what is stored is not sent
                self.head = await self._commit(additions, batch)
                batch = []
            except TransferError as error:
                n_failed += 1
                await _pause(error, n_failed, self._progress)
                left = await self._not_there(batch)
                if len(left) < len(batch):  # the commit was made; its answer was lost
                    self._progress.n_commits += 1
                    n_failed = 0
                batch = left

    async def _commit(self, additions: list[Addition], batch: list[Local]) -> str:
        made = await in_thread(lambda: self._writer.commit(additions, summary_of(batch), self.head))
        self._progress.n_commits += 1
        return made

    async def _send(self, batch: list[Local]) -> list[Addition]:
        from asyncdl.net.hub_writer import Addition

        _refuse_changed(batch)
        try:
            additions = [Addition.of(file, self._progress.told) for file in batch]
        except (OSError, ValueError) as error:
            raise ShardError(f"a file cannot be read any more: {error}", hint="run the same again") from error
        await in_thread(lambda: self._writer.send(additions))
        _refuse_changed(batch)  # what was read meanwhile may not be what was checked
        return additions

    async def _not_there(self, batch: list[Local]) -> list[Local]:
        """Look the paths up at the head as it is now; return those that are not there yet."""
        self.head = await patiently(self._writer.head, self._progress)
        paths = [file.path for file in batch]
        there = await patiently(lambda: self._writer.look(paths, self.head), self._progress)
        states: dict[str, State] = {
            file.path: state_of(file, there.get(file.path), is_there=file.path in there) for file in batch
        }
        if states.get(CARD) == "differs":
            states[CARD] = "same"  # a person's card stays, also one that was written a moment ago
        taken = [path for path, state in states.items() if state == "differs" and path not in self._replace]
        if taken:
            raise UsageError(
                f"somebody else has put something else at {taken[0]} meanwhile",
                hint="look what it is; --replace puts yours in its place, --path-in-repo elsewhere",
            )
        return [file for file in batch if states[file.path] != "same"]


async def patiently(call: Callable[[], T], progress: Progress) -> T:
    """Return what a call of the writer returns that may be made again: it makes what is not there, or only looks."""
    n_failed = 0
    while True:
        try:
            return await in_thread(call)
        except TransferError as error:
            n_failed += 1
            await _pause(error, n_failed, progress)


async def _pause(error: TransferError, n_failed: int, progress: Progress) -> None:
    """Wait as the error asks for. Raises what it means where trying again would not help, or was tried enough."""
    if TREATMENTS[error.error_class].treatment is Treatment.NEVER:
        raise _final(error)
    if n_failed == MAX_TRIES:
        raise RemoteError(
            f"the Hub could not be written to after {n_failed} tries: {error.message}",
            hint="run the same again when it answers; nothing is uploaded twice",
        )
    wait_s = error.retry_after_s
    if wait_s is None and error.error_class == "rate_limited":
        wait_s = min(UNTOLD_PAUSE_S * 2.0 ** (n_failed - 1), MAX_RETRY_AFTER_S)
    if wait_s is None:
        wait_s = full_jitter(BASE_DELAY_S, MAX_DELAY_S, n_failed, random.random())  # noqa: S311
    progress.waits_s, progress.why = wait_s, error.message
    await asyncio.sleep(wait_s)
    progress.waits_s = 0.0


def _final(error: TransferError) -> AsyncdlError:
    if error.error_class in ("unauthorized", "bad_token", "forbidden", "gated", "not_found"):
        return ConfigError(
            f"the Hub does not let this token write there: {error.message}",
            hint="set HF_TOKEN to one with the right to write to this repo",
        )
    return RemoteError(f"the Hub refused the upload: {error.message}", hint="what was committed before stays")


def _refuse_changed(batch: Sequence[Local]) -> None:
    for file in batch:
        if file.content is not None:
            continue
        try:
            found = Path(file.place).stat()
        except OSError as error:
            raise ShardError(f"{file.place} cannot be read any more: {error.strerror}") from error
        if (found.st_size, found.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
            raise ShardError(f"{file.place} was changed after it was checked", hint="run the same again")


async def in_thread(call: Callable[[], T]) -> T:
    """Return what `call` returns, from a thread that does not hold up the end of the process: an upload takes hours."""
    ended: Future[T] = Future()

    def work() -> None:
        ended.set_running_or_notify_cancel()
        try:
            ended.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed on, see above
            ended.set_exception(error)

    threading.Thread(target=work, daemon=True, name="upload").start()
    return await asyncio.wrap_future(ended)

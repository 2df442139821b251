"""One engine over the queue, from the first line to the exit code: its signals, its log, what it leaves to do.

The engine knows nothing of terminals; what it tells goes to the log, and to stdout with --json.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from pathlib import Path

from asyncdl import __version__
from asyncdl.cli.event_log import EventLog, LogHandler
from asyncdl.cli.exit_codes import exit_code
from asyncdl.cli.hooks import Commands, Hooks
from asyncdl.cli.options import next_command
from asyncdl.cli.progress import Watcher
from asyncdl.cli.say import Say
from asyncdl.core.events import DiskPaused, DiskResumed, Event, JobEnded
from asyncdl.core.model import Kind
from asyncdl.core.names import display
from asyncdl.core.states import State
from asyncdl.engine.run import KINDS, Engine, EngineConfig
from asyncdl.settings import Settings
from asyncdl.status import view
from asyncdl.status.figures import bytes_text, count_text
from asyncdl.status.snapshot import UNFINISHED, Snapshot
from asyncdl.store.reader import Reader

SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def work(
    found: Settings,
    *,
    only: frozenset[Kind] | None,
    forever: bool,
    as_json: bool,
    commands: Commands | None = None,
    beside: AbstractAsyncContextManager[object] | None = None,
) -> int:
    """Run one engine to its end and return the exit code. commands: what is started when it ends, see `hooks`.

    beside: what is there while it runs; where that cannot begin, nothing is run. Raises what it and `Engine.run` raise,
    and ConfigError where there is no queue or the data dir cannot be written to.
    """
    say = Say(found.log_level)
    hooks = Hooks(commands or Commands(), say)
    async with hooks.told_of_failure(), beside or nullcontext():
        code, told = await _worked(found, say, hooks, only=only, forever=forever, as_json=as_json)
    await hooks.ended(code, **told)
    return code


async def _worked(
    found: Settings, say: Say, hooks: Hooks, *, only: frozenset[Kind] | None, forever: bool, as_json: bool
) -> tuple[int, dict[str, object]]:
    """Return the exit code and the fields of how it ended."""
    async with Watcher(found.queue, found.data_dir) as watcher:
        say.info(first_line(await watcher.take()))
        log = EventLog(found.data_dir, on_stdout=as_json)
        try:
            log.note("started", version=__version__, pid=os.getpid(), workers=found.workers)
            aloud = Aloud(say)

            def listen(event: Event) -> None:
                log.tell(event)
                aloud.tell(event)
                hooks.tell(event)

            engine = Engine(_config(found, only=only, forever=forever), listen)
            strikes = Strikes(engine, say)
            with logged(log, say), strikes.caught():
                async with watcher.shown(say, live=not as_json):
                    ended = await engine.run()
            after = await watcher.take()
            code = exit_code(ended.reason, n_left(after, only), discarded(after, only), strikes.signum)
            status = after.to_json()
            log.note("ended", reason=ended.reason, exit_code=code, status=status)
        finally:
            log.close()
    n_paused = await asyncio.to_thread(_n_paused, found.queue, only)
    for line in last_lines(after, found, log, n_paused):
        say.info(line)
    return code, {"reason": ended.reason, "status": status}


def _n_paused(queue: Path, only: frozenset[Kind] | None) -> int:
    with Reader(queue) as reader:
        return reader.n_paused(KINDS if only is None else only)


@contextmanager
def logged(log: EventLog, say: Say) -> Iterator[None]:
    """Send the records of `logging` to the log of the run while the block runs."""
    handler = LogHandler(log, say)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _config(found: Settings, *, only: frozenset[Kind] | None, forever: bool) -> EngineConfig:
    return EngineConfig(
        queue=found.queue,
        data_dir=found.data_dir,
        workers=found.workers,
        processes=found.processes,
        only=only,
        forever=forever,
        allow_private=found.allow_private,
        endpoint=found.endpoint,
        token=found.token,
        s3=found.s3,
        lease_s=found.lease_s,
        version=__version__,
        max_rate_per_s=found.max_rate,
        per_host=found.per_host,
    )


class Aloud:
    """Says what a person should not have to look for: a pause of the disk, and the first error of each class."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._told: set[tuple[str, str]] = set()

    def tell(self, event: Event) -> None:
        match event:
            case DiskPaused():
                self._say.info(f"the disk is full ({bytes_text(event.free_bytes)} free): waiting for room")
            case DiskResumed():
                self._say.info("there is room again: going on")
            case JobEnded(error_class=str(error_class)) if (event.kind, error_class) not in self._told:
                self._told.add((event.kind, error_class))
                self._say.info(f"{event.kind} {error_class}: {event.message}; asyncdl status says more")


class Strikes:
    """Ctrl-C and SIGTERM: the first drains, the second stops, the third ends the process as kill -9 would.

    signum: of the signal that stopped the run, None while none did.
    """

    def __init__(self, engine: Engine, say: Say) -> None:
        self._engine = engine
        self._say = say
        self._n = 0
        self.signum: int | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals in the running loop while the block runs."""
        loop = asyncio.get_running_loop()
        for signum in SIGNALS:
            loop.add_signal_handler(signum, self.strike, signum)
        try:
            yield
        finally:
            for signum in SIGNALS:
                loop.remove_signal_handler(signum)

    def strike(self, signum: int) -> None:
        self._n += 1
        if self._n == 1:
            n_active = self._engine.n_active
            self._engine.drain()
            self._say.info(f"draining {count_text(n_active, 'job')}; again to stop at once")
        elif self._n == 2:
            self.signum = signum
            self._engine.stop()
            self._say.info("stopping; nothing is lost")
        else:
            os._exit(128 + signum)  # what is durable stays durable: killing is safe at any moment


def n_left(shot: Snapshot, only: frozenset[Kind] | None) -> int:
    """How many jobs of the kinds in `only` (None for all) are available or running."""
    return sum(
        counts.get(state, 0)
        for kind, counts in shot.jobs.items()
        if only is None or kind in only
        for state in UNFINISHED
    )


def discarded(shot: Snapshot, only: frozenset[Kind] | None) -> set[str]:
    """The error classes of discarded jobs of the kinds in `only` (None for all)."""
    return {row.error_class for row in shot.errors if row.n_discarded and (only is None or row.kind in only)}


def first_line(shot: Snapshot) -> str:
    """Return what is taken up again, or that there is nothing to do."""
    n_jobs = shot.n_in(*UNFINISHED)
    if not n_jobs:
        return "nothing is left to do"
    completed = shot.n_in(State.COMPLETED)
    verb = "resuming" if completed or shot.done_bytes else "starting"
    rest = "" if shot.remaining_bytes is None else f", {bytes_text(shot.remaining_bytes)} to fetch"
    have = f"; {bytes_text(shot.done_bytes)} are here" if shot.done_bytes else ""
    return f"{verb}: {count_text(n_jobs, 'job')}{rest}{have}"


def last_lines(shot: Snapshot, found: Settings, log: EventLog, n_paused: int = 0) -> list[str]:
    """Return how it ended, where things are and what to do next. n_paused: jobs of this run's kinds."""
    lines = [view.line(shot)]
    if shot.n_in(State.COMPLETED):
        lines.append(f"files are listed in {found.data_dir / 'download_manifest.json'}")
    if shot.jobs.get("tokenize", {}).get(State.COMPLETED):
        lines.append(f"shards are in {found.data_dir / 'tokenized'}")
    if n_discarded := shot.n_in(State.DISCARDED):
        lines.append(
            f"{count_text(n_discarded, 'job')} discarded: {next_command(found, 'errors')} says why;"
            f" {next_command(found, 'retry')} --failed has another try"
        )
    if n_paused:
        be = "is" if n_paused == 1 else "are"
        lines.append(
            f"unfinished: {count_text(n_paused, 'job')} {be} paused; to go on: {next_command(found, 'resume')}"
        )
    if (n_jobs := shot.n_in(*UNFINISHED) - n_paused) > 0:
        lines.append(f"{count_text(n_jobs, 'job')} left, nothing is lost; go on with: {next_command(found, 'run')}")
    if log.failed is not None:
        lines.append(f"the log {log.path} ends early: {display(str(log.failed))}")
    return lines

"""Programs of the user's that a run starts: when it is done, and when something went wrong.

Each gets the event that it is started for as a line of JSON on stdin. No shell reads the command, no token is in its
environment (see cli.options.settings_of), and what becomes of it never changes what becomes of the run.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from asyncdl.cli.event_log import line_of
from asyncdl.cli.exit_codes import ALL_DONE, UNFINISHED
from asyncdl.cli.main import EXIT_BUG
from asyncdl.cli.say import Say
from asyncdl.core.events import Event, JobEnded
from asyncdl.core.names import display
from asyncdl.errors import AsyncdlError, UsageError

TIMEOUT_S = 60.0
"""A message is sent in less; whatever takes longer must put itself into the background. Guess."""


@dataclass(frozen=True, slots=True)
class Commands:
    """on_complete, on_error: the words of a command, () for none."""

    on_complete: tuple[str, ...] = ()
    on_error: tuple[str, ...] = ()


def words_of(flag: str, text: str | None) -> tuple[str, ...]:
    """Return the words of a command as a shell would split them. Raises UsageError for one that is open or empty."""
    if text is None:
        return ()
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{flag} {display(text)}: {error}", hint="a quote is open") from None
    if not words:
        raise UsageError(f"{flag} needs a command", hint=f"for a shell's own words: {flag} \"sh -c '...'\"")
    return words


class Hooks:
    """Starts them and owns those that run. on_error is started twice at most: for the first job that is discarded,
    while the run goes on, and in the end where something is discarded or the run failed, by a bug too.
    """

    def __init__(self, commands: Commands, say: Say, *, timeout_s: float = TIMEOUT_S) -> None:
        self._commands = commands
        self._say = say
        self._timeout_s = timeout_s
        self._first: asyncio.Task[None] | None = None

    def tell(self, event: Event) -> None:
        """Look at what the engine says. Returns at once."""
        is_first = self._first is None and isinstance(event, JobEnded) and event.outcome == "discarded"
        if is_first and self._commands.on_error:
            fields = {name: getattr(event, name) for name in event.__dataclass_fields__}
            work = self._run("--on-error", self._commands.on_error, line_of("job_ended", fields))
            self._first = asyncio.create_task(work, name="hook")

    @asynccontextmanager
    async def told_of_failure(self) -> AsyncIterator[None]:
        """Start the one for a run that failed where the block raises; what it raised goes on.

        A command line that is wrong (UsageError) has whoever wrote it before the screen: it starts none.
        """
        try:
            yield
        except UsageError:
            raise
        except AsyncdlError as error:
            await self.ended(error.exit_code, reason="failed", message=display(error.message))
            raise
        except Exception as error:
            text = f"a bug in asyncdl: {type(error).__name__}: {error}"
            await self.ended(EXIT_BUG, reason="failed", message=display(text))
            raise

    async def ended(self, exit_code: int, **fields: object) -> None:
        """Start the one for the end of the run, after the one of the first error, and wait for it.

        A run that was stopped, or left work for later, has neither gone well nor wrong. fields: of the event `ended`.
        """
        if self._first is not None:
            await self._first
        line = line_of("ended", {"exit_code": exit_code} | fields)
        if exit_code == ALL_DONE:
            await self._run("--on-complete", self._commands.on_complete, line)
        elif exit_code != UNFINISHED and exit_code < FIRST_SIGNAL:
            await self._run("--on-error", self._commands.on_error, line)

    async def _run(self, flag: str, words: tuple[str, ...], line: bytes) -> None:
        if not words:
            return
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=sys.stderr.fileno(),  # stdout is for data
                start_new_session=True,  # Ctrl-C is meant for the run; and what it starts can be ended with it
            )
        except (OSError, ValueError) as error:  # ValueError: a zero byte
            self._say.note(f"{flag} could not be started: {error}")
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await process.communicate(line)
        except TimeoutError:
            self._say.note(f"{flag} took longer than {self._timeout_s:.0f} s and was ended")
        else:
            if process.returncode:
                self._say.note(f"{flag} ended with {process.returncode}")
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


FIRST_SIGNAL = 128
"""Exit codes from here on are of signals."""

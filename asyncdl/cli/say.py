"""Everything a person reads while a verb works goes to stderr through here; stdout is for data.

Each line passes `names.display`, so nothing from outside steers the terminal and no secret is printed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TextIO

import click

from asyncdl.core.names import display
from asyncdl.errors import AsyncdlError
from asyncdl.settings import LOG_LEVELS


@dataclass(frozen=True, slots=True)
class Say:
    """level: one of LOG_LEVELS; what is less grave is not said."""

    level: str = "info"

    def wants(self, level: str) -> bool:
        return LOG_LEVELS.index(level) >= LOG_LEVELS.index(self.level)

    def debug(self, text: str) -> None:
        self._line("debug", text)

    def info(self, text: str) -> None:
        self._line("info", text)

    def note(self, text: str) -> None:
        """Say what the user should know though nothing is wrong."""
        self._line("warning", f"note: {text}")

    def error(self, error: AsyncdlError) -> None:
        self._line("error", f"error: {error.message}")
        if error.hint:
            self._line("error", f"hint: {error.hint}")

    def _line(self, level: str, text: str) -> None:
        if not self.wants(level):
            return
        try:
            click.echo(display(text), err=True)
        except OSError:  # nobody reads any more; what is said is never worth the work that it speaks of
            let_go_of(sys.stderr)


def on_terminal(stream: object) -> bool:
    """Whether `stream` is a terminal that can redraw: not a pipe, not TERM=dumb."""
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty()) and os.environ.get("TERM") != "dumb"


def let_go_of(stream: TextIO) -> None:
    """Point stdout or stderr at nothing: its reader went away, and the interpreter flushes it once more at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)

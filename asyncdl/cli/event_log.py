"""The log of a run: every event as one line of JSON, in a file and, where asked for, on stdout.

Each has a thread and a bounded queue of its own, so that a slow disk or a reader that pauses holds up neither the
event loop nor the other. A log that cannot be written any more is given up and the run goes on: the queue is the
truth, the log is a story.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from asyncdl.cli.lines import CLOSE_S, Lines
from asyncdl.cli.log_files import LogFile
from asyncdl.cli.say import Say, let_go_of
from asyncdl.core.events import Event
from asyncdl.core.names import display
from asyncdl.disk import layout


class EventLog:
    """Owner of the files. `close` writes what waits, in bounded time, and may be called twice."""

    def __init__(self, data_dir: Path, *, on_stdout: bool) -> None:
        """Raises ConfigError where the data dir cannot be written to."""
        self._file = _open(layout.logs_dir(data_dir))
        self._to_file = None if self._file is None else Lines("event log", self._file.take)
        self._to_stdout = Lines("events to stdout", _to_stdout()) if on_stdout else None

    @property
    def path(self) -> Path | None:
        """Of the file that is written to now, None where there was no room for one."""
        return None if self._file is None else self._file.path

    @property
    def failed(self) -> OSError | None:
        """What ended the file early, or None."""
        return None if self._to_file is None else self._to_file.failed

    def tell(self, event: Event) -> None:
        """Log what the engine says. Returns at once."""
        self.note(_snake(type(event).__name__), **{name: getattr(event, name) for name in event.__dataclass_fields__})

    def note(self, name: str, **fields: Any) -> None:
        """Log something of our own, such as the beginning and the end of the run."""
        line = line_of(name, fields)
        for lines in (self._to_file, self._to_stdout):
            if lines is not None:
                lines.put(line)

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Wait at most wait_s for each of the two. What a reader of stdout did not take is told in the file."""
        if (stdout := self._to_stdout) is not None:
            self._to_stdout = None
            stdout.close(wait_s)
            if stdout.failed is not None:
                let_go_of(sys.stdout)
            elif self._to_file is not None and (n_lines := stdout.n_dropped):
                self._to_file.put(line_of("dropped", {"n_lines": n_lines, "where": "stdout"}))
        if self._to_file is not None and self._file is not None and self._to_file.close(wait_s):
            self._file.close()


def line_of(name: str, fields: dict[str, Any]) -> bytes:
    """Return one event as the line of JSON that it is in the log; texts in it went through `names.display`."""
    record = {"event": name, "at": time.time()} | {key: _clean(value) for key, value in fields.items()}
    return orjson.dumps(record) + b"\n"


class LogHandler(logging.Handler):
    """Sends what libraries and our own bugs log, tracebacks included, to the log of the run; stderr at debug only."""

    def __init__(self, log: EventLog, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self._log.note("log", level=record.levelname, logger=record.name, text=text)
        for line in text.splitlines():
            self._say.debug(line)


def _open(folder: Path) -> LogFile | None:
    try:
        return LogFile(folder)
    except OSError:  # no room
        return None


def _to_stdout() -> Callable[[int], int]:
    fd = sys.stdout.fileno()
    return lambda _n_bytes: fd


def _clean(value: Any) -> Any:
    """Lines stay lines, for a traceback; JSON escapes their ends."""
    return "\n".join(map(display, value.splitlines())) if isinstance(value, str) else value


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()

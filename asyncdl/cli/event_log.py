"""The log of a run: every event as one line of JSON, in a file and, where asked for, on stdout.

Each has a thread and a bounded queue of its own, so that a slow disk or a reader that pauses holds up neither the
event loop nor the other. A log that cannot be written any more is given up and the run goes on: the queue is the
truth, the log is a story.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import time
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

import orjson

from asyncdl.cli.lines import CLOSE_S, Lines
from asyncdl.cli.say import Say, let_go_of
from asyncdl.core.events import Event
from asyncdl.core.names import display
from asyncdl.disk import layout
from asyncdl.errors import ConfigError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class EventLog:
    """Owner of the file. `close` writes what waits, in bounded time, and may be called twice.

    path: of the file, None where there was no room for one.
    """

    def __init__(self, data_dir: Path, *, on_stdout: bool) -> None:
        """Raises ConfigError where the data dir cannot be written to."""
        self.path, self._file = _open(layout.logs_dir(data_dir))
        self._to_file = None if self._file is None else Lines("event log", self._file.fileno())
        self._to_stdout = Lines("events to stdout", sys.stdout.fileno()) if on_stdout else None

    @property
    def failed(self) -> OSError | None:
        """What ended the file early, or None."""
        return None if self._to_file is None else self._to_file.failed

    def tell(self, event: Event) -> None:
        """Log what the engine says. Returns at once."""
        self.note(_snake(type(event).__name__), **{name: getattr(event, name) for name in event.__dataclass_fields__})

    def note(self, name: str, **fields: Any) -> None:
        """Log something of our own, such as the beginning and the end of the run."""
        line = _line(name, fields)
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
                self._to_file.put(_line("dropped", {"n_lines": n_lines, "where": "stdout"}))
        if self._to_file is not None and self._file is not None and self._to_file.close(wait_s):
            self._file.close()


def _line(name: str, fields: dict[str, Any]) -> bytes:
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


def _open(folder: Path) -> tuple[Path | None, FileIO | None]:
    name = f"run-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            path = folder / f"{name}.jsonl"
            return path, FileIO(path, "xb")
        except FileExistsError:  # another run began in the same second
            path = folder / f"{name}-{os.getpid()}.jsonl"
            return path, FileIO(path, "xb")
    except OSError as error:
        if error.errno in _NO_ROOM:
            return None, None
        raise ConfigError(
            f"the data dir cannot be written to: {display(str(error))}",
            hint="check its owner and rights, or choose another with --data-dir",
        ) from error


def _clean(value: Any) -> Any:
    """Lines stay lines, for a traceback; JSON escapes their ends."""
    return "\n".join(map(display, value.splitlines())) if isinstance(value, str) else value


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()

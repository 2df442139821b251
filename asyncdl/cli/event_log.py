"""The log of a run: every event as one line of JSON, in a file and, where asked for, on stdout.

A thread of its own writes, so that a slow disk or a reader that pauses never holds up the event loop. A log that
cannot be written any more is given up and the run goes on: the queue is the truth, the log is a story.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import re
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

import orjson

from asyncdl.cli.say import Say, let_go_of_stdout
from asyncdl.core.events import Event
from asyncdl.core.names import display
from asyncdl.disk import layout
from asyncdl.errors import ConfigError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class EventLog:
    """Owner of the file and the thread. `close` writes what waits and may be called twice.

    path: of the file, None where there was no room for one. failed: what ended the file early, or None.
    """

    def __init__(self, data_dir: Path, *, on_stdout: bool) -> None:
        """Raises ConfigError where the data dir cannot be written to."""
        self.path, self._file = _open(layout.logs_dir(data_dir))
        self.failed: OSError | None = None
        self._on_stdout = on_stdout
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="event log", daemon=True)
        self._thread.start()

    def tell(self, event: Event) -> None:
        """Log what the engine says. Returns at once."""
        self.note(_snake(type(event).__name__), **asdict(event))

    def note(self, name: str, **fields: Any) -> None:
        """Log something of our own, such as the beginning and the end of the run."""
        record = {"event": name, "at": time.time()} | {key: _clean(value) for key, value in fields.items()}
        self._waiting.put(orjson.dumps(record) + b"\n")

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None:
            self._to_file(line)
            self._to_stdout(line)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _to_file(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line)
        except OSError as error:
            self.failed = error
            self._file.close()
            self._file = None

    def _to_stdout(self, line: bytes) -> None:
        if not self._on_stdout:
            return
        try:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._on_stdout = False
            let_go_of_stdout()


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

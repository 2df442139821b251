"""`asyncdl events`: what the engines told, from the logs of the runs, for a person or as the lines of JSON they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from asyncdl.cli.log_files import logs_in, part_of, run_of
from asyncdl.cli.options import common, settings_of
from asyncdl.core.names import display
from asyncdl.disk.layout import logs_dir
from asyncdl.errors import ConfigError
from asyncdl.status.figures import bytes_text, clock_text, count_text, duration_text

LOOK_EVERY_S = 0.25
"""Soon enough for a person. Guess."""

BLOCK_BYTES = 1 << 20


@click.command("events")
@click.option("--follow", is_flag=True, help="Go on with what is told from now on, of every run, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they are in the log.")
@common
@click.pass_context
def command(context: click.Context, /, *, follow: bool, as_json: bool) -> int:
    """Show what the last run told: every job that ended, pauses, failures.

    The logs are in DATA_DIR/logs; docs/FORMATS.md says what each line means.
    """
    import orjson

    found = settings_of(context)
    folder = logs_dir(found.data_dir)
    if not follow and not logs_in(folder):
        raise ConfigError(f"there is no log of a run in {folder}", hint="`asyncdl run` writes one; see also --data-dir")
    for line in lines(folder, follow=follow):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # a disk that was full cut it
        if isinstance(record, dict):
            click.echo(orjson.dumps(record) if as_json else event_line(record))
    return 0


def lines(folder: Path, *, follow: bool) -> Iterator[bytes]:
    """Yield the whole lines of the run that was written to last; with follow then those of every run, for ever."""
    paths = logs_in(folder)
    newest = run_of(paths[-1]) if paths else ""
    tails = {path: Tail(path) for path in sorted(paths, key=part_of) if run_of(path) == newest}
    if follow:
        others = {path: Tail(path, is_old=True) for path in paths if path not in tails}
        tails = others | tails
    while True:
        n_lines = 0
        for tail in list(tails.values()):
            for line in tail.read():
                n_lines += 1
                yield line
        if not follow:
            return
        known = set(logs_in(folder))
        new = known - tails.keys()
        tails = {path: tail for path, tail in tails.items() if path in known}
        tails |= {path: Tail(path) for path in sorted(new, key=part_of)}
        if not n_lines and not new:
            time.sleep(LOOK_EVERY_S)


class Tail:
    """Where reading of one file is. is_old: what it has by now is not of interest."""

    def __init__(self, path: Path, *, is_old: bool = False) -> None:
        self._path = path
        self._at = _size(path) if is_old else 0
        self._rest = b""

    def read(self) -> Iterator[bytes]:
        """Yield the whole lines that came since."""
        if _size(self._path) <= self._at:
            return
        try:
            file = self._path.open("rb")
        except OSError:
            return  # an old file that was just removed
        with file:
            file.seek(self._at)
            while block := file.read(BLOCK_BYTES):
                self._at += len(block)
                *whole, self._rest = (self._rest + block).split(b"\n")
                yield from whole


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def event_line(event: dict[str, Any]) -> str:
    """Return one event on one line; of an event of a newer version what it is called and all that it says."""
    name, at = str(event.get("event", "?")), event.get("at")
    clock = clock_text(at) if isinstance(at, int | float) else "--:--:--"
    told = _TOLD.get(name, _anything)
    try:
        text = told(event)
    except (KeyError, TypeError, ValueError):
        text = _anything(event)
    return display(f"{clock} {name.replace('_', ' ')}: {text}")


def _anything(event: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("event", "at", "status"))


def _job_ended(event: dict[str, Any]) -> str:
    parts = [f"{event['kind']} {event['outcome']}, {event['dataset']} {event['path']}"]
    if event["error_class"]:
        parts.append(f"attempt {event['attempt']}: {event['error_class']}: {event['message']}")
    elif event["size_bytes"] is not None:
        parts.append(bytes_text(event["size_bytes"]))
    if event["run_at"] is not None:
        parts.append(f"next try in {duration_text(event['run_at'] - event['at'])}")
    return ", ".join(parts)


_TOLD: dict[str, Callable[[dict[str, Any]], str]] = {
    "started": lambda event: f"asyncdl {event['version']}, pid {event['pid']}, {event['workers']} workers",
    "job_ended": _job_ended,
    "request_failed": lambda event: (
        f"{event['path']}: {event['error_class']}: {event['message']}, again in {duration_text(event['wait_s'])}"
    ),
    "gate_closed": lambda event: f"{event['host']} asked for a pause of {duration_text(event['wait_s'])}",
    "disk_paused": lambda event: f"{bytes_text(event['free_bytes'])} free, {bytes_text(event['needed_bytes'])} needed",
    "disk_resumed": lambda event: f"{bytes_text(event['free_bytes'])} free",
    "rescued": lambda event: f"{count_text(event['n_jobs'], 'job')} of an engine that ended or hangs",
    "log": lambda event: f"{event['level']} {event['logger']}: {event['text'].splitlines()[-1]}",
    "ended": lambda event: f"{event['reason']}, exit code {event['exit_code']}",
}
"""{event: what is said of it}; the rest as key and value."""

"""What `asyncdl doctor` looks at: each check yields findings, and each finding that is not fine says what to do next.

Reads only. What cannot be looked at is a finding, not the end of the others. No secret is read into a finding.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Literal

from asyncdl import __version__
from asyncdl.cli.config import S3_SOURCES
from asyncdl.core.names import display, redact_url
from asyncdl.disk import layout, room
from asyncdl.errors import AsyncdlError, ConfigError
from asyncdl.settings import Settings
from asyncdl.status.figures import bytes_text, count_text, duration_text
from asyncdl.status.snapshot import DEAD_AFTER_S
from asyncdl.store import migrate, place, presence, sql
from asyncdl.store.reader import Reader

Level = Literal["fine", "look", "broken"]

LIBRARIES = (
    "aiohttp", "aiobotocore", "aiofiles", "apsw", "click", "fastokens", "httptools", "numpy", "orjson", "pebble",
    "pyarrow", "rich", "tokenizers", "uvloop",
)  # fmt: skip
"""As in pyproject.toml, whose floors pip holds."""

OLD_S = 7 * 86400.0
"""A partial that nobody has touched for a week is left over, unless its job still waits. Guess."""

FILES_PER_SLOT = 2
OTHER_FILES = 128
"""Each slot has a socket and each transfer a file; the rest: queue, children, log. Guess."""


CHECK_DISK = "check the disk, and the rights on it"


@dataclass(frozen=True, slots=True)
class Finding:
    """next_step: what to do, '' where it is fine."""

    check: str
    level: Level
    message: str
    next_step: str = ""


def findings(found: Settings) -> Iterator[Finding]:
    """Yield what every check finds, in their order."""
    for check in (environment, credentials, disk, logs):
        yield from check(found)
    try:
        reader = Reader(found.queue)
    except AsyncdlError as error:
        level: Level = "broken" if found.queue.exists() or not _is_missing(error) else "look"
        yield Finding("queue", level, error.message, error.hint or "")
        return
    with reader:
        for check_queue in (queue, engines, room_for_the_rest, leftovers):
            try:
                yield from check_queue(found, reader)
            except AsyncdlError as error:
                yield Finding(check_queue.__name__, "broken", error.message, error.hint or CHECK_DISK)
            except OSError as error:
                yield Finding(check_queue.__name__, "broken", display(str(error)), CHECK_DISK)


def _is_missing(error: AsyncdlError) -> bool:
    return isinstance(error, ConfigError) and error.message.startswith("there is no queue")


def environment(found: Settings) -> Iterator[Finding]:
    """Versions of all that works together, cores, and how many files may be open."""
    yield Finding("asyncdl", "fine", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield Finding("sqlite", "fine", f"SQLite {sql.library_version()}, queues of version {migrate.VERSION}")
    for name in LIBRARIES:
        try:
            yield Finding(name, "fine", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, "broken", "is not installed", "install asyncdl again, with what it depends on")
    n_cores = len(os.sched_getaffinity(0))
    yield Finding("cores", "fine", f"{n_cores}; {found.processes} of them for processes")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES_PER_SLOT * found.workers + OTHER_FILES
    if resource.RLIM_INFINITY != hard < needed:
        message = f"{hard:,} files may be open, {found.workers} workers want some {needed:,}"
        yield Finding("ulimit -n", "look", message, "raise `ulimit -Hn`, or lower --workers")
    else:
        yield Finding("ulimit -n", "fine", "no limit" if hard == resource.RLIM_INFINITY else f"{hard:,} files")


def credentials(found: Settings) -> Iterator[Finding]:
    """Which there are and where they come from; never what they are."""
    source = found.sources.get("token", "default")
    has_token = "none; public datasets need none" if found.token is None else f"set, from {source}"
    yield Finding("Hub token", "fine", f"{display(has_token)}; {redact_url(found.endpoint)}")
    given = [S3_SOURCES[field.name] for field in fields(found.s3) if getattr(found.s3, field.name)]
    files = [
        str(path) for path in (Path.home() / ".aws" / "credentials", Path.home() / ".aws" / "config") if path.is_file()
    ]
    profile = ["AWS_PROFILE"] if os.environ.get("AWS_PROFILE") else []
    yield Finding("S3 keys", "fine", ", ".join([*given, *profile, *map(display, files)]) or "none in the environment")
    for kind, key_id, secret in (
        ("R2", found.s3.r2_key_id, found.s3.r2_secret),
        ("AWS", found.s3.aws_key_id, found.s3.aws_secret),
    ):
        if bool(key_id) != bool(secret):
            yield Finding(
                "S3 keys", "look", f"half a pair of {kind} keys is set", f"set both {kind}_ variables, or neither"
            )


def disk(found: Settings) -> Iterator[Finding]:
    """Free bytes and inodes where the data and the queue go, and what kind of file system that is."""
    for name, path in (("data dir", found.data_dir), ("queue's disk", found.queue.absolute().parent)):
        try:
            free = room.free(path)
        except OSError as error:
            yield Finding(name, "broken", display(str(error)), "choose another place with --data-dir or --queue")
            continue
        inodes = "" if free.free_inodes is None else f", {free.free_inodes:,} inodes"
        message = (
            "does not say what is free"
            if free.free_bytes == sys.maxsize
            else f"{bytes_text(free.free_bytes)} free{inodes}"
        )
        kind = _file_system(path)
        message = f"{display(str(path))}: {message}" + (f" ({kind})" if kind else "")
        if not free.holds(0, 0):
            yield Finding(name, "look", message, "make room: what is left is kept in reserve, so runs wait")
        elif name == "data dir" and kind in place.NETWORK_FILE_SYSTEMS:
            message += "; a network file system, where syncs are slow and locks may be missing"
            yield Finding(name, "look", message, "nothing, if it must be there; never two queues on one data dir")
        else:
            yield Finding(name, "fine", message)
        nearest = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            yield Finding(name, "broken", f"{display(str(nearest))} cannot be written to", CHECK_DISK)


def _file_system(path: Path) -> str:
    try:
        return place.file_system_of(path.resolve(), place.MOUNTINFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""


def logs(found: Settings) -> Iterator[Finding]:
    """Bugs that were written down."""
    folder = layout.logs_dir(found.data_dir)
    if bugs := sorted(folder.glob("bug-*.txt")):
        yield Finding(
            "bugs", "look", f"{count_text(len(bugs), 'bug')} written down, the last {display(str(bugs[-1]))}",
            "please report them, then remove the files",
        )  # fmt: skip


def queue(found: Settings, reader: Reader) -> Iterator[Finding]:
    """Whether the file is whole, of this version, and counts what it holds."""
    version = reader.version()
    size = bytes_text(found.queue.stat().st_size)
    if version == migrate.VERSION:
        yield Finding("queue", "fine", f"{display(str(found.queue))}: version {version}, {size}")
    else:
        message = f"version {version}, this asyncdl writes {migrate.VERSION}"
        yield Finding("queue", "look", message, "the next run brings it up, after a copy of it was made")
    if faults := reader.faults():
        message = f"{count_text(len(faults), 'fault')}, the first: {display(faults[0])}"
        yield Finding(
            "integrity", "broken", message,
            "end all engines, move the queue away, restore a backup or enqueue again; files on disk are kept",
        )  # fmt: skip
        return
    yield Finding("integrity", "fine", "quick_check and foreign_key_check find nothing")
    if wrong := reader.wrong_counters():
        _, kind, state = wrong[0]
        say = "counter says" if len(wrong) == 1 else "counters say"
        message = f"{len(wrong):,} {say} otherwise than the jobs, the first of {kind} {state}"
        yield Finding("counters", "broken", message, "please report it; only what status shows is wrong, no job")
    else:
        yield Finding("counters", "fine", "as many as a scan of the jobs finds")
    for row in reader.paused():
        yield Finding("paused", "look", f"{row.what} {display(row.name)}", "asyncdl resume, when it shall go on")


def engines(found: Settings, reader: Reader) -> Iterator[Finding]:
    """Which run, hang or died without a word."""
    rows, now = reader.engines(), time.time()
    for row in rows:
        name = f"{display(row.host)} pid {row.pid}"
        ago = duration_text(now - row.beat_at)
        if place.is_gone(row.identity) or presence.has_ended(found.queue, row.owner):
            yield Finding(
                "engine", "look", f"{name} died, last beat {ago} ago", "the next asyncdl run takes its jobs at once"
            )
        elif now - row.beat_at > DEAD_AFTER_S:
            message = f"{name} is silent for {ago}"
            yield Finding("engine", "look", message, "is it stopped (Ctrl-Z), or its disk? End it; its jobs come free")
        else:
            yield Finding("engine", "fine", f"{name} runs, {row.workers} workers, asyncdl {display(row.version)}")
        if row.version != __version__:
            yield Finding(
                "engine", "look", f"{name} is asyncdl {display(row.version)}", "let it end, then run the new one"
            )
    if not rows:
        yield Finding("engine", "fine", "none runs")


def room_for_the_rest(found: Settings, reader: Reader) -> Iterator[Finding]:
    """Whether what is still to be fetched fits."""
    needed_bytes, n_files = reader.bytes_to_fetch()
    free = room.free(found.data_dir)
    if n_files and not free.holds(needed_bytes, n_files):
        message = f"{bytes_text(needed_bytes)} in {count_text(n_files, 'file')} are to come, more than is free"
        yield Finding("room", "look", message, "make room, or asyncdl cancel a dataset")
    elif n_files:
        yield Finding("room", "fine", f"{bytes_text(needed_bytes)} in {count_text(n_files, 'file')} are to come")


def leftovers(found: Settings, reader: Reader) -> Iterator[Finding]:
    """Unfinished files of long ago that no job will finish."""
    old, n_bytes = {}, 0
    for path in (found.data_dir / "raw").rglob(f"*{layout.PARTIAL}"):
        stat = path.stat()
        if time.time() - stat.st_mtime > OLD_S:
            old[path] = stat.st_blocks * 512
    if old:
        for root, name in reader.open_downloads():
            old.pop(layout.partial_path(layout.final_path(found.data_dir, root, name)), None)
    if old:
        n_bytes = sum(old.values())
        message = f"{count_text(len(old), 'partial')} older than a week, of no job: {bytes_text(n_bytes)}"
        yield Finding("leftovers", "look", message, f"remove them, such as {display(str(next(iter(old))))}")
    else:
        yield Finding("leftovers", "fine", "no partial is left over")

"""One client, run once and weighed: what its process tree used, by the kernel's count, and whether its files are right.

Knows nothing of any program. A client writes into its working folder, which is new and on tmpfs; every run gets a bare
environment, so that nobody's ~/.curlrc, proxy or token takes part.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

LIMIT_S = 300.0
"""A client that takes longer is ended; a guess far above what any row needs."""


@dataclass(frozen=True)
class Client:
    """name: as in the table. argv, env: of the run that counts. before: commands that do not count. ours: asyncdl."""

    name: str
    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    before: list[list[str]] = field(default_factory=list)
    ours: bool = False


@dataclass(frozen=True)
class Usage:
    """cpu_s: user and system of the client and of all children it waited for. peak_bytes: of the largest of these.

    least_bytes: below this a peak is not seen, for the kernel's count of a child begins with that of the process it was
    forked from, which is this one. fault: why the run does not count, or ''. late: it was ended for taking too long.
    """

    cpu_s: float
    wall_s: float
    peak_bytes: int
    least_bytes: int = 0
    fault: str = ""
    late: bool = False


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def bare_env(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", **more}


def run(client: Client, folder: Path, digests: Mapping[str, str], limit_s: float = LIMIT_S) -> Usage:
    """Run `client` in `folder`, which is made and removed. digests: {file name: sha256} of what must lie there then."""
    folder.mkdir()
    try:
        env = bare_env(folder, client.env)
        for command in client.before:
            done = subprocess.run(
                command, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S
            )
            if done.returncode:
                return Usage(0.0, 0.0, 0, fault=f"{' '.join(command[-3:])}: {done.stderr.strip()[-300:]}")
        log = folder.parent / "client.log"
        usage = weigh(client.argv, env, folder, log, limit_s)
        if usage.fault:
            return usage
        return replace(usage, fault=fault_of(folder, digests))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def weigh(argv: list[str], env: Mapping[str, str], folder: Path, log: Path, limit_s: float) -> Usage:
    """Run one command to its end, in a process group of its own that is ended with it, and read its wait4."""
    with log.open("wb") as said:
        began = time.monotonic()
        process = subprocess.Popen(
            argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        late = threading.Event()

        def end_it() -> None:
            late.set()
            end_group(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit_s, end_it)
        timer.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            timer.cancel()
            end_group(process.pid, signal.SIGKILL)
    wall_s = time.monotonic() - began
    fault = ""
    if late.is_set():
        fault = f"not done after {limit_s:.0f} s"
    elif process.returncode:
        fault = f"exit {process.returncode}: {log.read_text(encoding='utf-8', errors='replace').strip()[-300:]}"
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Usage(
        cpu_s=used.ru_utime + used.ru_stime,
        wall_s=wall_s,
        peak_bytes=used.ru_maxrss * 1024,
        least_bytes=own * 1024,
        fault=fault,
        late=late.is_set(),
    )


def end_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault_of(folder: Path, digests: Mapping[str, str]) -> str:
    """Return what is wrong with the files of that name below `folder`, or ''."""
    found = {path.name: path for path in folder.rglob("*") if path.name in digests and path.is_file()}
    wrong = [name for name, digest in digests.items() if name not in found or sha256_of(found[name]) != digest]
    return f"{len(wrong)} of {len(digests)} files are missing or wrong, such as {wrong[0]}" if wrong else ""

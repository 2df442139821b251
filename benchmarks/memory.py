"""Peak memory of the commands that meet many files or large ones, as a user runs them.

    python benchmarks/memory.py        measures, prints the table and writes benchmarks/results/memory.md

Every server is another process, over loopback, and ends with this one. The figure is what the kernel counts (wait4:
ru_maxrss) for the largest process of the command. A child's count begins with the memory of who started it, so this
process stays small: what is large is imported by its servers alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "memory.md"
REPO = "bench/memory"
RUN = ("run", "--workers", "128")
RUN_BAR_BYTES = 300_000_000
ENQUEUE_BAR_BYTES = 200_000_000
GIB = 1 << 30

BUCKET, N_OBJECTS, OBJECT_BYTES = "bench", 20_000, 4 << 10
N_LISTED = 1_000_000
DRAIN_AFTER_S = 30.0
"""Of a million files some ten thousand come meanwhile: long enough for what grows with each to be seen."""


@dataclass(frozen=True)
class Load:
    """n_files of file_bytes each, of the Hub."""

    name: str
    n_files: int
    file_bytes: int


LOADS = (Load("one file of 2 GiB, Hub", 1, 2 * GIB), Load("20 000 files of 16 KiB, Hub", 20_000, 16 << 10))


@dataclass(frozen=True)
class Used:
    """wall_s: start-up included. peak_bytes: of the largest process. cpu_s: of all of them."""

    peak_bytes: int
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Measured:
    """n_files: what the command got through; CPU is divided by it."""

    command: str
    load: str
    n_files: int
    used: Used
    bar_bytes: int


def main() -> int:
    """Measure each load; return 1 if one of them goes over the bar."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", type=int, metavar="N", help="serve the N-th load; used by this script itself")
    parser.add_argument("--weed", type=Path, metavar="DIR", help="serve objects from DIR; used by this script itself")
    parser.add_argument("--folder", type=Path, help="where the files go; it needs 3 GB")
    asked = parser.parse_args()
    if asked.hub is not None:
        asyncio.run(serve_hub(LOADS[asked.hub]))
        return 0
    if asked.weed is not None:
        serve_weed(asked.weed)
        return 0
    measured: list[Measured] = []
    for measure in (lambda work: hub(0, work), lambda work: hub(1, work), weed, million):
        with tempfile.TemporaryDirectory(dir=asked.folder) as work:
            measured += measure(Path(work))
            print(row(measured[-1]), file=sys.stderr, flush=True)
    text = table(measured)
    print(text)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    return int(any(one.used.peak_bytes > one.bar_bytes for one in measured))


async def serve_hub(load: Load) -> None:
    """Serve `load` from memory until stdin ends; say where on stdout."""
    from asyncdl.demo.hub import DemoHub
    from asyncdl.demo.repos import GeneratedFile, Repo

    files = {f"{n // 1000:03d}/{n:06d}.bin": GeneratedFile(load.file_bytes, seed=n) for n in range(load.n_files)}
    async with DemoHub([Repo(REPO, files)]) as hub:
        print(json.dumps({"HF_ENDPOINT": hub.endpoint}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def serve_weed(folder: Path) -> None:
    """Put the objects into a `weed mini` and serve them until stdin ends; say where and with what keys on stdout."""
    from tests.support.weed import weed_server

    with weed_server(folder) as server:
        server.fill(BUCKET, {f"o/{n:06d}.bin": object_content(n) for n in range(N_OBJECTS)})
        print(json.dumps(server.environ), flush=True)
        sys.stdin.read()


def object_content(number: int) -> bytes:
    return random.Random(number).randbytes(OBJECT_BYTES)


@contextmanager
def served(*flags: str) -> Iterator[dict[str, str]]:
    """Run this script as a server; yield the variables that lead to it. It ends, for its stdin does."""
    command = [sys.executable, __file__, *flags]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())


def hub(number: int, work: Path) -> list[Measured]:
    """Enqueue and run the number-th load."""
    load = LOADS[number]
    with served("--hub", str(number)) as env:
        weigh(["enqueue", REPO], env, work)
        used = weigh([*RUN], env, work)
    return [Measured("run", load.name, load.n_files, used, RUN_BAR_BYTES)]


def weed(work: Path) -> list[Measured]:
    """Enqueue and run what was really put into an S3 server."""
    (work / "weed").mkdir()
    load = f"{spaced(N_OBJECTS)} objects of {OBJECT_BYTES >> 10} KiB, S3 (weed mini)"
    with served("--weed", str(work / "weed")) as env:
        listed = weigh(["enqueue", f"s3://{BUCKET}/o/"], env, work)
        used = weigh([*RUN], env, work)
    n_files = right_files(work, object_content)
    if n_files != N_OBJECTS:
        sys.exit(f"{N_OBJECTS - n_files} files are missing")
    return [
        Measured("enqueue", load, n_files, listed, ENQUEUE_BAR_BYTES),
        Measured("run", load, n_files, used, RUN_BAR_BYTES),
    ]


def million(work: Path) -> list[Measured]:
    """Enqueue a listing of a million keys, look at the queue, and run it for a while."""
    from tests.support.listed_bucket import BUCKET, PREFIX, bucket_process, content_of

    with bucket_process(N_LISTED) as env:
        listed = weigh(["enqueue", f"s3://{BUCKET}/{PREFIX}"], env, work)
        looked = weigh(["status", "--once"], env, work)
        used = weigh([*RUN], env, work, drain_after_s=DRAIN_AFTER_S)
    load = f"{spaced(N_LISTED)} objects of 64 B, S3 (made up as they are asked for)"
    drained = f"the same, drained after {DRAIN_AFTER_S:.0f} s"
    return [
        Measured("enqueue", load, N_LISTED, listed, ENQUEUE_BAR_BYTES),
        Measured("status --once", "the same", N_LISTED, looked, ENQUEUE_BAR_BYTES),
        Measured("run", drained, right_files(work, content_of), used, RUN_BAR_BYTES),
    ]


def weigh(arguments: list[str], env: dict[str, str], work: Path, *, drain_after_s: float | None = None) -> Used:
    """Run asyncdl in `work` to its end, or drain it after a while; what it said is printed if it fails."""
    bare = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ} | {"PYTHONPATH": str(ROOT)}
    log, began = work / "said", time.monotonic()
    with log.open("wb") as said:
        command = [sys.executable, "-m", "asyncdl", *arguments]
        process = subprocess.Popen(command, cwd=work, env=bare | env, stdout=said, stderr=said)
    timer = threading.Timer(drain_after_s or 0.0, process.send_signal, [signal.SIGTERM])
    try:
        if drain_after_s is not None:
            timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        timer.cancel()
        process.kill()  # does nothing where it has ended
    if process.returncode != (0 if drain_after_s is None else 7):
        sys.exit(f"exit {process.returncode} of {arguments[0]}: {log.read_text(encoding='utf-8')}")
    return Used(usage.ru_maxrss * 1024, time.monotonic() - began, usage.ru_utime + usage.ru_stime)


def right_files(work: Path, content_of: Callable[[int], bytes]) -> int:
    """Return how many files there are; each is named after its number. Ends the script where one has wrong bytes."""
    n_files = 0
    for path in (work / "datasets" / "raw").rglob("*.bin"):
        if path.read_bytes() != content_of(int(path.stem)):
            sys.exit(f"{path.name} is wrong")
        n_files += 1
    return n_files


def spaced(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def row(one: Measured) -> str:
    used = one.used
    each = f"{used.cpu_s / one.n_files * 1e6:,.0f}" if one.n_files > 1 and one.command != "status --once" else ""
    return (
        f"| `{one.command}` | {one.load} | {spaced(one.n_files)} | {used.peak_bytes / 1e6:.0f} "
        f"| {one.bar_bytes / 1e6:.0f} | {used.wall_s:.1f} | {used.cpu_s:.1f} | {each} |"
    )


def table(measured: list[Measured]) -> str:
    """Return the page that is committed."""
    lines = [
        "# Memory with many files and large ones",
        "",
        f"Peak resident set of `asyncdl {' '.join(RUN)}`, `enqueue` and `status --once`; the times include the start.",
        "Servers are other processes on the same machine, over loopback. Made by `python benchmarks/memory.py`.",
        "",
        "| command | load | files | peak, MB | bar, MB | wall, s | CPU, s | CPU per file, us |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *map(row, measured),
        "",
        (
            f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores, {platform.system()} "
            f"{platform.release().partition('-')[0]}, {platform.machine()}, Python {platform.python_version()}."
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

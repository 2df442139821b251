"""What looking costs: a snapshot, a screen, `status --once` and the live view of a million jobs while others write.

    python benchmarks/status.py [--jobs 1000000]     prints the table and writes benchmarks/results/status.md

Bars: a snapshot in 50 ms, `status --once` in 200 ms, the live view under 5 % of a core; issue of the dashboard.
The queue is filled through the store: a thousand subsets, 1 % of the jobs with a standing error, 10 000 attempts in the
history, 128 running. The writer settles jobs as fast as it can: it stands for an engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "status.md"
ENV = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
N_SUBSETS = 1000
LIVE_S = 20.0
LAG_ROUNDS, LAG_BEATS = 4, 5

Costs = list[tuple[float, float]]
"""Milliseconds of (wall, CPU), one for each run."""


async def fill(path: Path, n_jobs: int) -> None:
    """Make the queue."""
    from asyncdl.core.model import Artifact, Dataset
    from asyncdl.core.names import safe_path
    from asyncdl.store.enqueue import Enqueue
    from asyncdl.store.jobs import GiveBack, Jobs
    from asyncdl.store.migrate import open_writer
    from asyncdl.store.writer import Writer

    writer, now = Writer(open_writer(path), path), time.time()
    try:
        dataset = Dataset(
            name="bench/many", revision="a" * 40, subset="", source="hub", origin="https://hub.test/d",
            local_root=safe_path("raw/bench--many"), text_field="text",
        )  # fmt: skip
        work = Enqueue(writer, dataset, now=now)
        for first in range(0, n_jobs, 10_000):
            names = [
                (f"s{n % N_SUBSETS:04}", f"s{n % N_SUBSETS:04}/{n:07}.parquet") for n in range(first, first + 10_000)
            ]
            await work.stage([(subset, Artifact(safe_path(name), 1 << 20, None), True) for subset, name in names])
        await work.finish(priority=5, recipe=None)
        jobs = Jobs(writer, "bench")
        for n in range(n_jobs // 100 // 100):
            back = GiveBack(
                outcome="retry", run_at=now + 900, failures=1, error_class=("http_503", "timeout", "dns")[n % 3],
                error_text="the host is busy",
            )  # fmt: skip
            claimed = await jobs.claim("download", 100, now=now, lease_s=900)
            await asyncio.gather(*(jobs.give_back(job, back, now=now + n) for job in claimed))
        await jobs.claim("download", 128, now=now, lease_s=9000)
    finally:
        writer.close()


async def settle(path: Path) -> None:
    """Settle jobs until stdin ends; the beat of an engine with it."""
    from asyncdl.store import place
    from asyncdl.store.jobs import Jobs
    from asyncdl.store.migrate import open_writer
    from asyncdl.store.writer import Writer

    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(over.set)), daemon=True).start()
    writer, n = Writer(open_writer(path), path), 0
    jobs = Jobs(writer, f"writer-{os.getpid()}")
    identity = place.identity(os.getpid()) or ""
    await jobs.start_engine(identity=identity, version="0", workers=128, pid=os.getpid(), now=time.time())
    print("ready", flush=True)
    while not over.is_set():
        now = time.time()
        claimed = await jobs.claim("download", 8, now=now, lease_s=60)
        await asyncio.gather(
            *(jobs.complete(job, now=now, size_bytes=1 << 20, result={}, children=()) for job in claimed)
        )
        n += len(claimed)
        await asyncio.sleep(0.01)  # some hundred a second, as with files of some MiB; more would only take the cores
    writer.close()
    print(n, file=sys.stderr)


def look(path: Path, runs: int) -> list[tuple[str, Costs]]:
    """Return (what, costs of each run) of a snapshot and of screens."""
    from asyncdl.cli.look import look as take
    from asyncdl.status import pages
    from asyncdl.status.focus import Focus
    from asyncdl.status.spans import UNICODE
    from asyncdl.status.trend import Trend
    from asyncdl.store.reader import Reader

    found: dict[str, Costs] = {"snapshot": [], "trend": [], "screen of 80x24": [], "screen of 200x60": []}
    trend = Trend()

    def timed(name: str, began: tuple[float, float]) -> None:
        wall, cpu = now()
        found[name].append((wall - began[0], cpu - began[1]))

    with Reader(path) as reader:
        for _ in range(runs):
            began = now()
            shot = take(reader, path.parent)
            timed("snapshot", began)
            began = now()
            shot = trend.follow(shot)
            timed("trend", began)
            for size in ((80, 24), (200, 60)):
                began = now()
                pages.render(shot, Focus(), size, UNICODE)
                timed(f"screen of {size[0]}x{size[1]}", began)
            time.sleep(0.05)
    return list(found.items())


def now() -> tuple[float, float]:
    """Return milliseconds of (wall, CPU of this process and of the children that ended)."""
    times = os.times()
    return time.perf_counter() * 1000, (time.process_time() + times.children_user + times.children_system) * 1000


def once(path: Path, runs: int) -> Costs:
    """`status --once` from the shell."""
    costs = []
    for _ in range(runs):
        began = now()
        subprocess.run(
            [sys.executable, "-m", "asyncdl", "status", "--once"],
            cwd=path.parent,
            env=ENV,
            check=True,
            capture_output=True,
        )
        wall, cpu = now()
        costs.append((wall - began[0], cpu - began[1]))
    return costs


@contextmanager
def live_view(folder: Path) -> Iterator[int]:
    """Run the live view on a terminal while the block runs; yield its pid once it has started."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "asyncdl", "status"]
    with subprocess.Popen(command, cwd=folder, env=ENV, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        reading = threading.Thread(target=drain, args=[ours], daemon=True)
        reading.start()
        time.sleep(2)
        yield process.pid
        os.write(ours, b"q")
        process.wait()
    reading.join()
    os.close(ours)


def live_cores(folder: Path) -> float:
    """Cores that the live view uses with its default interval, the start left out."""
    with live_view(folder) as pid:
        before = cpu_s(pid)
        time.sleep(LIVE_S)
        return (cpu_s(pid) - before) / LIVE_S


def loop_lags(folder: Path) -> dict[str, list[float]]:
    """How late an engine's loop woke up, in ms, as it told beat by beat: alone and looked at, in turns."""
    env = ENV | {"HOME": str(folder)}
    lags: dict[str, list[float]] = {"alone": [], "looked at": []}
    command = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), "--hub", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hub:
        assert hub.stdout is not None
        env |= json.loads(hub.stdout.readline())
        enqueue = [sys.executable, "-m", "asyncdl", "enqueue", "bench/memory"]
        subprocess.run(enqueue, cwd=folder, env=env, check=True, capture_output=True)
        run = [sys.executable, "-m", "asyncdl", "run", "--max-rate", "30MB", "--only", "download"]
        with subprocess.Popen(run, cwd=folder, env=env, stderr=subprocess.DEVNULL) as engine:
            time.sleep(4)
            for _ in range(LAG_ROUNDS):
                lags["alone"] += beats(folder)
                with live_view(folder):
                    lags["looked at"] += beats(folder)
            engine.kill()
        hub.kill()
    return lags


def beats(folder: Path) -> list[float]:
    """The lags of the next beats."""
    from asyncdl.store.reader import Reader

    found: dict[float, float] = {}
    with Reader(folder / "queue.sqlite") as reader:
        while len(found) <= LAG_BEATS:
            for engine in reader.engines():
                found[engine.beat_at] = engine.loop_lag_s * 1000
            time.sleep(0.2)
    return list(found.values())[1:]


def drain(fd: int) -> None:
    try:
        while os.read(fd, 65536):
            pass
    except OSError:  # EIO: the other side is closed
        pass


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--settle", type=Path, metavar="QUEUE", help="settle its jobs; used by this script itself")
    parser.add_argument("--queue", type=Path, help="where the queue is made, and left; else in a temporary folder")
    asked = parser.parse_args()
    if asked.settle is not None:
        asyncio.run(settle(asked.settle))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = asked.queue or Path(folder) / "queue.sqlite"
        if not path.exists():
            asyncio.run(fill(path, asked.jobs))
        command = [sys.executable, __file__, "--settle", str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdout.readline()
            found = [*look(path, asked.runs), ("`status --once`", once(path, asked.runs))]
            cores = live_cores(path.parent)
            writer.stdin.close()
    with tempfile.TemporaryDirectory() as folder:
        lags = loop_lags(Path(folder))
    text = table(found, cores, lags, asked.jobs)
    print(text)
    RESULT.write_text(text, encoding="utf-8")
    return 0


def table(found: list[tuple[str, Costs]], cores: float, lags: dict[str, list[float]], n_jobs: int) -> str:
    """Return the page that is committed."""
    rows = []
    for name, costs in found:
        figures = [figure for kind in zip(*costs, strict=True) for figure in (min(kind), statistics.median(kind))]
        rows.append(f"| {name} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |")
    return "\n".join(
        [
            "# What looking costs",
            "",
            (
                f"A queue of {n_jobs:,} jobs in {N_SUBSETS:,} subsets, 1 % of them with a standing error, while another"
                " process settles some hundred a second. Milliseconds. Made by `python benchmarks/status.py`."
            ),
            "Bars: 50 for a snapshot, 200 for `status --once`, 5 % of a core for the live view.",
            "",
            "| | wall, best | median | CPU, best | median |",
            "|---|---:|---:|---:|---:|",
            *rows,
            "",
            f"The live view at its default interval of 1 s uses {cores:.1%} of a core.",
            "",
            "How late the loop of an engine woke up, beat by beat, while it fetched a large file at 30 MB/s:",
            "",
            "| | beats | median, ms | worst |",
            "|---|---:|---:|---:|",
            *(
                f"| {name} | {len(each)} | {statistics.median(each):.1f} | {max(each):.1f} |"
                for name, each in lags.items()
            ),
            "",
            (
                f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} shared cores, {platform.system()} "
                f"{platform.release().partition('-')[0]}, {platform.machine()}, "
                f"Python {platform.python_version()}; noisy: the best run says most."
            ),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())

"""Measure the queue: enqueue, claim, settle, status reads, memory. Prints a Markdown table.

    python -m benchmarks.job_queue [--jobs 1000000] [--rows 10000000] [--settles 200000] [--folder DIR]

Wall time is what a user waits, CPU what it costs on a busy machine; both are of the whole process, producers included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import uvloop

from asyncdl.core.model import Artifact, Dataset, Digest, Job, Kind, NewJob
from asyncdl.core.names import SafePath
from asyncdl.engine.manifests import write_manifests
from asyncdl.store import migrate
from asyncdl.store.enqueue import STAGE_BATCH, Enqueue
from asyncdl.store.jobs import Jobs
from asyncdl.store.reader import Reader
from asyncdl.store.writer import Writer

N_PRODUCERS = 128
N_ROUNDS = 10
SUBSET = "data/swe_Latn/train"
DATASET = Dataset(
    name="org/name", revision="0" * 40, subset="", source="hub", origin="http://hub.test",
    local_root=SafePath("raw/org--name"), text_field="text",
)  # fmt: skip
RESULT = {"checks": ["size", "digest"], "sha256": "ab" * 32, "adopted": False}


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


class Table:
    def __init__(self) -> None:
        self.lines = ["| what | measured | CPU | bar |", "|---|---|---|---|"]

    def add(self, what: str, measured: str, cpu: str = "", bar: str = "") -> None:
        self.lines.append(f"| {what} | {measured} | {cpu} | {bar} |")
        print(self.lines[-1], flush=True)


def peak_mb() -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1000 if found else float("nan")


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Writer]:
    writer = Writer(migrate.open_writer(path), path)
    try:
        yield writer
    finally:
        writer.close()


def artifacts(start: int) -> list[tuple[str, Artifact, bool]]:
    digest = Digest("sha256", "ab" * 32)
    return [
        (SUBSET, Artifact(SafePath(f"{SUBSET}/{n:07d}.parquet"), 123_456, digest), True)
        for n in range(start, start + STAGE_BATCH)
    ]


async def enqueue(path: Path, n: int, table: Table) -> None:
    async with opened(path) as writer:
        clock = Clock()
        run = Enqueue(writer, DATASET, now=time.time())
        for start in range(0, n, STAGE_BATCH):
            await run.stage(artifacts(start))
        await run.finish(priority=5, recipe=None)
        wall, cpu = clock.read()
    table.add(f"enqueue {n:,} jobs", f"{wall:.1f} s", f"{cpu:.1f} s", "10 s")
    table.add("memory of that process at its peak", f"{peak_mb():.0f} MB", "", "200 MB")


async def claim_all(jobs: Jobs, n: int) -> list[Job]:
    claimed: list[Job] = []
    while len(claimed) < n:
        claimed += await jobs.claim("download", min(N_PRODUCERS, n - len(claimed)), now=time.time(), lease_s=600)
    return claimed


async def settle(path: Path, n: int, table: Table, *, child: bool) -> None:
    """Settle with as many producers as the engine has slots; each awaits its answer before it says the next.

    In N_ROUNDS rounds, of which all count: a shared machine is slower in one second than in the next.
    """
    claims_per_s, settles_per_s, claim_us, settle_us, waits_s = [], [], [], [], []
    async with opened(path) as writer:
        jobs = Jobs(writer, f"bench {child}")
        for _ in range(N_ROUNDS):
            clock = Clock()
            claimed = await claim_all(jobs, n // N_ROUNDS)
            wall, cpu = clock.read()
            claims_per_s.append(len(claimed) / wall)
            claim_us.append(cpu / len(claimed) * 1e6)
            clock = Clock()
            waits_s += await settle_all(jobs, claimed, child=child)
            wall, cpu = clock.read()
            settles_per_s.append(len(claimed) / wall)
            settle_us.append(cpu / len(claimed) * 1e6)
    if not child:
        table.add(f"claim, {N_PRODUCERS} at a time", f"{spread(claims_per_s)} jobs/s", f"{spread(claim_us)} us a job")
    p50, p99 = (statistics.quantiles(waits_s, n=100)[k] * 1e3 for k in (49, 98))
    what = f"settle with a child, {N_PRODUCERS} producers" if child else f"settle, {N_PRODUCERS} producers"
    measured = f"{spread(settles_per_s)} a second; p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    table.add(what, measured, f"{spread(settle_us)} us a job", "" if child else "50,000 a second")


async def settle_all(jobs: Jobs, claimed: list[Job], *, child: bool) -> list[float]:
    """Return how long each answer took, in seconds."""
    waits_s: list[float] = []
    rest = iter(claimed)

    async def produce() -> None:
        for job in rest:
            children = (NewJob(job.dataset_id, "verify", job.path, 0, 123_456, None),) if child else ()
            began = time.perf_counter()
            await jobs.complete(job, now=time.time(), size_bytes=123_456, result=RESULT, children=children)
            waits_s.append(time.perf_counter() - began)

    await asyncio.gather(*(produce() for _ in range(N_PRODUCERS)))
    return waits_s


def spread(values: list[float]) -> str:
    """Return `median (least to most)`."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def plant_errors(path: Path) -> None:
    """Let every hundredth job have failed once, in one of nine ways: status groups these."""
    connection = migrate.open_writer(path)
    connection.execute("UPDATE job SET error_class = 'class ' || (id % 9), error_text = 'x' WHERE id % 100 = 0")
    connection.close()


def read_status(path: Path, table: Table) -> None:
    with Reader(path) as reader:
        reads: list[Callable[[], object]] = [
            reader.job_counts, reader.download_bytes, reader.datasets, reader.stage_states, reader.errors,
            reader.engines, reader.bytes_to_fetch,
        ]  # fmt: skip
        clock = Clock()
        for read in reads:
            read()
        wall, cpu = clock.read()
    table.add(
        "all reads of one status snapshot, 1 % of the jobs with an error",
        f"{wall * 1e3:.1f} ms",
        f"{cpu * 1e3:.1f} ms",
        "50 ms",
    )


def write_files(path: Path, folder: Path, n: int, table: Table) -> None:
    clock = Clock()
    write_manifests(path, folder)
    wall, cpu = clock.read()
    table.add(f"download_manifest.json with {n:,} files", f"{wall:.1f} s", f"{cpu / n * 1e6:.1f} us a file")


def fill(path: Path, n: int) -> None:
    """Put `n` jobs into a new queue by SQL alone.

    The second half is downloads: the finished ones, and then those that wait, together as a listing leaves them. The
    first half is verify jobs of which every tenth waits, so that no two that are claimed share a page.
    """
    connection = migrate.open_writer(path)
    connection.execute("INSERT INTO dataset VALUES (1, 'org/name', '', '', 'hub', 'o', 'raw', 'text', 0)")
    connection.execute(
        """WITH RECURSIVE n (i, later) AS (
          SELECT 0, 0 UNION ALL SELECT i + 1, i + 1 >= :n / 2 FROM n WHERE i + 1 < :n)
        INSERT INTO job (dataset_id, kind, path, size_bytes, state, priority, run_at, created_at, ended_at)
        SELECT 1, iif(later, 'download', 'verify'), printf('data/%08d.parquet', i), 123456,
          iif(iif(later, i > :n - :n / 10, i % 10 = 0), 'available', 'completed'), i / 10 % 10, 1.0, 1.0, 2.0 FROM n""",
        {"n": n},
    )
    connection.close()


async def claim_waits(path: Path, n_rows: int, table: Table) -> None:
    """One claim after the other, nothing else going on."""
    claims: list[tuple[Kind, int]] = [
        ("download", 1),
        ("download", 16),
        ("download", N_PRODUCERS),
        ("verify", N_PRODUCERS),
    ]
    async with opened(path) as writer:
        jobs = Jobs(writer, "bench")
        for kind, n in claims:
            waits_s = []
            for _ in range(500):
                began = time.perf_counter()
                assert len(await jobs.claim(kind, n, now=time.time(), lease_s=600)) == n
                waits_s.append(time.perf_counter() - began)
            p50, p99 = (statistics.quantiles(waits_s, n=100)[k] * 1e3 for k in (49, 98))
            where = "lying together" if kind == "download" else "each on a page of its own"
            what = f"claim {n} of {n_rows:,} rows, {where}"
            table.add(what, f"p50 {p50:.2f} ms, p99 {p99:.2f} ms", "", "p99 20 ms")


def machine(load_before: float) -> str:
    return (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, load {load_before:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after; Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}, "
        f"apsw {apsw.apsw_version()}, uvloop {uvloop.__version__}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--settles", type=int, default=200_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure; default: the temp folder")
    parser.add_argument("--out", type=Path, default=None, help="where the table is written besides stdout")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=asked.folder))
    load_before, table = os.getloadavg()[0], Table()
    try:
        path = folder / "queue.sqlite"
        uvloop.run(enqueue(path, asked.jobs, table))
        uvloop.run(settle(path, asked.settles, table, child=False))
        uvloop.run(settle(path, asked.settles, table, child=True))
        plant_errors(path)
        read_status(path, table)
        write_files(path, folder, asked.jobs, table)
        large = folder / "large" / "queue.sqlite"
        fill(large, asked.rows)
        uvloop.run(claim_waits(large, asked.rows, table))
    finally:
        shutil.rmtree(folder)
    text = "\n".join(["# The queue", "", machine(load_before), "", *table.lines, ""])
    print("\n" + text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

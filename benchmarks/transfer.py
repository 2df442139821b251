"""asyncdl and its peers fetch the same files side by side from the same servers; a Markdown table of ratios comes out.

    python benchmarks/transfer.py [--rounds N] [--size 1GiB] [--only ROW,...] [--out FILE]

Everything is on loopback and tmpfs, nothing is pinned. The clients of a row take turns in every round, so that a noisy
minute hits all of them; the figure is the median of the rounds and the CPU is user + system of the client's process
tree, start-up included. After each run the files are compared with the true sha256. Wants 6 GiB of /dev/shm and,
for figures that mean something, a quiet machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import origins
import peers
from page import Result, page
from rows import CONNECTIONS, GIB, ROWS, Bench, Row, make_file
from runs import LIMIT_S, bare_env, run, say, weigh


def measure(row: Row, bench: Bench, n_rounds: int) -> Result:
    result = Result(row, {client.name: [] for client in row.clients})
    for number in range(row.n_rounds or n_rounds):
        for client in row.clients:
            with row.around():
                usage = run(client, bench.work / "run", row.digests, row.limit_s)
            result.usages[client.name].append(usage)
            told = usage.fault or f"CPU {usage.cpu_s:.2f} s, wall {usage.wall_s:.2f} s, {usage.peak_bytes / 1e6:.0f} MB"
            say(f"  {number + 1}: {client.name}: {told}")
    return result


def hash_cpu_s_per_gib(n_rounds: int) -> float:
    """What sha256 alone costs, over blocks of a size that stays in the cache. Median of the rounds."""
    block, n = os.urandom(1 << 18), 2048
    found = []
    for _ in range(n_rounds):
        began, digest = time.process_time(), hashlib.sha256()
        for _ in range(n):
            digest.update(block)
        found.append((time.process_time() - began) * GIB / (n * len(block)))
    return statistics.median(found)


def start_cpu_s(bench: Bench, n_rounds: int) -> float:
    """What `asyncdl run` costs that finds one small file fetched already: start-up and end."""
    folder = bench.work / "start"
    folder.mkdir()
    (bench.www / "small").write_bytes(b"small")
    env = bare_env(folder, peers.OURS)
    subprocess.run(peers.enqueue(f"{bench.http}/small"), cwd=folder, env=env, check=True, capture_output=True)
    argv = peers.ours("asyncdl", CONNECTIONS, []).argv
    found = [weigh(argv, env, folder, bench.work / "client.log", LIMIT_S).cpu_s for _ in range(n_rounds + 1)]
    shutil.rmtree(folder)
    return statistics.median(found[1:])


def about(programs: Path, rounds: int, load_before: float) -> str:
    """Return the paragraph that says on what this was measured."""
    found = ", ".join(f"{name} {version}" for name, version in peers.versions(programs).items())
    date, load = time.strftime("%Y-%m-%d", time.gmtime()), os.getloadavg()[0]
    return (
        f"`python benchmarks/transfer.py`, {date}, {rounds} interleaved round{'s'[: rounds > 1]}: servers and clients "
        f"on the same machine with {os.cpu_count()} cores, loopback, tmpfs, nothing pinned. "
        f"Load {load_before:.1f} before, {load:.1f} after. {found}."
    )


def size_of(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([KMG]?)i?B?", text, re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 512MiB or 1GiB")
    return int(found[1]) << " KMG".index(found[2].upper() or " ") * 10


def rows_of(text: str) -> list[str]:
    asked = text.split(",")
    found = [key for key in ROWS if any(key == one or key.startswith(f"{one}-") for one in asked)]
    if unknown := [one for one in asked if not any(key == one or key.startswith(f"{one}-") for key in ROWS)]:
        raise argparse.ArgumentTypeError(f"no row {unknown[0]!r}; the rows are {', '.join(ROWS)}")
    return found


ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end(number: int, _frame: object) -> None:
    """Unwind, so that no server and no file stays behind; a second Ctrl-C must not break into that."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise SystemExit(128 + number)


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder in /dev/shm that nginx's worker may read; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="asyncdl-bench-", dir="/dev/shm"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def prepared(size_bytes: int, programs: Path) -> Iterator[Bench]:
    with work_folder() as work:
        www = work / "www"
        www.mkdir()
        sha256 = make_file(www / "big", size_bytes)
        with origins.nginx(work, www) as (http, https, ca):
            yield Bench(work, programs, size_bytes, http, https, ca, sha256)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=size_of, default=GIB, help="of the big file; 1GiB")
    parser.add_argument("--only", type=rows_of, default=list(ROWS), metavar="ROW,...", help=", ".join(ROWS))
    parser.add_argument("--out", type=Path, help="where the page is written besides stdout")
    asked = parser.parse_args()
    peers.require_programs()
    os.environ["PATH"] = peers.search_path()
    for number in ENDINGS:
        signal.signal(number, end)
    load_before, programs = os.getloadavg()[0], peers.environment(peers.cache_folder())
    results: dict[str, Result] = {}
    with prepared(asked.size, programs) as bench:
        hash_s_per_gib, start_s = hash_cpu_s_per_gib(asked.rounds), start_cpu_s(bench, asked.rounds)
        for key in asked.only:
            say(key)
            with ROWS[key](bench) as row:
                results[key] = measure(row, bench, asked.rounds)
    text = page(results, hash_s_per_gib, start_s, about(programs, asked.rounds, load_before))
    print(text)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

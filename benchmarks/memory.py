"""Peak memory of `asyncdl run --workers 128`: over one file of 2 GiB and over 20 000 files of 16 KiB.

    python benchmarks/memory.py        measures, prints the table and writes benchmarks/results/memory.md

The hub is another process, over loopback; the figure is the engine's own peak resident set, as the kernel counts it
(wait4: ru_maxrss). Bar: 300 MB, whatever the size of the file.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "memory.md"
REPO = "bench/memory"
WORKERS = 128
BAR_BYTES = 300_000_000
GIB = 1 << 30


@dataclass(frozen=True)
class Load:
    """n_files of file_bytes each."""

    name: str
    n_files: int
    file_bytes: int


LOADS = (Load("one file of 2 GiB", 1, 2 * GIB), Load("20 000 files of 16 KiB", 20_000, 16 << 10))


@dataclass(frozen=True)
class Measured:
    """peak_bytes: of the engine alone. wall_s: of `asyncdl run`, start-up included."""

    load: Load
    peak_bytes: int
    wall_s: float
    cpu_s: float


def main() -> int:
    """Measure each load; return 1 if one of them goes over the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", type=int, metavar="N", help="serve the N-th load; used by this script itself")
    parser.add_argument("--folder", type=Path, help="where the files go; it needs 3 GB")
    asked = parser.parse_args()
    if asked.hub is not None:
        asyncio.run(serve(LOADS[asked.hub]))
        return 0
    measured = [measure(number, asked.folder) for number in range(len(LOADS))]
    text = table(measured)
    print(text)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    return int(any(one.peak_bytes > BAR_BYTES for one in measured))


async def serve(load: Load) -> None:
    """Serve `load` from memory until the process is ended; say where on stdout."""
    from asyncdl.demo.hub import DemoHub
    from asyncdl.demo.repos import GeneratedFile, Repo

    files = {f"{n // 1000:03d}/{n:06d}.bin": GeneratedFile(load.file_bytes, seed=n) for n in range(load.n_files)}
    async with DemoHub([Repo(REPO, files)]) as hub:
        print(hub.endpoint, flush=True)
        await asyncio.Event().wait()


def measure(number: int, folder: Path | None) -> Measured:
    """Enqueue and run one load in a fresh folder."""
    command = [sys.executable, __file__, "--hub", str(number)]
    env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ} | {"PYTHONPATH": str(ROOT)}
    with (
        tempfile.TemporaryDirectory(dir=folder) as work,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as hub,
    ):
        assert hub.stdout is not None
        env["HF_ENDPOINT"] = hub.stdout.readline().strip()
        asyncdl = [sys.executable, "-m", "asyncdl"]
        subprocess.run([*asyncdl, "enqueue", REPO], cwd=work, env=env, check=True, stderr=subprocess.DEVNULL)
        began = time.monotonic()
        with Path(work, "stderr").open("wb") as log:
            engine = subprocess.Popen([*asyncdl, "run", "--workers", str(WORKERS)], cwd=work, env=env, stderr=log)
        _, status, usage = os.wait4(engine.pid, 0)
        wall_s = time.monotonic() - began
        engine.returncode = os.waitstatus_to_exitcode(status)
        hub.terminate()
        if engine.returncode:
            sys.exit(Path(work, "stderr").read_text(encoding="utf-8"))
    return Measured(LOADS[number], usage.ru_maxrss * 1024, wall_s, usage.ru_utime + usage.ru_stime)


def table(measured: list[Measured]) -> str:
    """Return the page that is committed."""
    lines = [
        f"# Memory of `asyncdl run --workers {WORKERS}`",
        "",
        f"Peak resident set of the engine process; the bar is {BAR_BYTES / 1e6:.0f} MB whatever the size of the file.",
        "The hub is another process on the same machine, over loopback. Made by `python benchmarks/memory.py`.",
        "",
        "| load | peak, MB | wall, s | CPU of the engine, s |",
        "|---|---:|---:|---:|",
        *(f"| {one.load.name} | {one.peak_bytes / 1e6:.0f} | {one.wall_s:.1f} | {one.cpu_s:.1f} |" for one in measured),
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

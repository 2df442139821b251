"""How long `asyncdl --help` and `asyncdl status --once` take from the shell: wall and CPU, best and median of N.

Bar: under 150 ms each (DESIGN, rooms and floors). Run: python benchmarks/startup.py [--runs 20] [--out FILE]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENV = os.environ | {"PYTHONPATH": str(ROOT)}


def measure(command: list[str], folder: str) -> tuple[float, float]:
    """Return (wall, CPU) milliseconds of one run."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=folder, env=ENV)
    wall_s, after = time.perf_counter() - started, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return wall_s * 1000, cpu_s * 1000


def rows(runs: int) -> list[str]:
    table = []
    with tempfile.TemporaryDirectory() as folder:
        from asyncdl.store.migrate import open_writer

        open_writer(Path(folder) / "queue.sqlite").close()
        for words in (["-c", "pass"], ["-m", "asyncdl", "--help"], ["-m", "asyncdl", "status", "--once"]):
            found = [measure([sys.executable, *words], folder) for _ in range(runs)]
            walls, cpus = [wall for wall, _ in found], [cpu for _, cpu in found]
            table.append(
                f"| `python {' '.join(words)}` | {min(walls):.0f} | {statistics.median(walls):.0f} |"
                f" {min(cpus):.0f} | {statistics.median(cpus):.0f} |"
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    text = "\n".join(
        [
            "# Start-up",
            "",
            (
                f"Python {platform.python_version()}, {os.cpu_count()} shared cores (noisy): the best run says most."
                f" {options.runs} runs each, milliseconds. Bar: 150."
            ),
            "",
            "| command | wall, best | wall, median | CPU, best | CPU, median |",
            "|---|---|---|---|---|",
            *rows(options.runs),
            "",
        ]
    )
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()

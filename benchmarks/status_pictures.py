"""The pictures of the dashboard in the docs: a run against the demo hub on a bad network, drawn with rich's SVG export.

    python benchmarks/status_pictures.py     writes docs/images/status-80x24.svg and status-160x48.svg

The screens are those of `asyncdl status`, of a queue that a real engine works on; only the name of the host is another.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
HOST = "node-7"
SIZES = ((80, 24), (160, 48))
WAIT_S = 60.0
"""Long before it the gate has closed, and every section has something to say."""

REPO = "demo/recordings"
LANGUAGES = "swe_Latn,dan_Latn,deu_Latn,fra_Latn,cmn_Hani,arb_Arab,hin_Deva,ell_Grek"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


async def play(folder: Path) -> None:
    """Serve, enqueue, run, and look once a second; draw the first look at a gate that has closed."""
    from asyncdl.demo.faults import Fault
    from asyncdl.demo.hub import DemoHub
    from asyncdl.demo.repos import GeneratedFile, Repo, demo_repos

    files = {
        f"{group}/{n:04}.bin": GeneratedFile(8 << 20, seed=n)
        for group, n_files in (("train", 16), ("validation", 60))
        for n in range(n_files)
    }
    faults = [
        Fault("missing", origin="hub", path="*data/ell_Grek/test/*"),
        Fault("status", origin="hub", path="validation/*", skip=6, times=1, status=429, retry_after="25"),
        Fault("status", origin="cdn", every=9, status=503),
        Fault("drop", origin="cdn", every=7, after_bytes=1 << 20),
        Fault("slow", origin="cdn", every=2, bytes_per_s=600_000),
    ]
    async with DemoHub([*demo_repos(), Repo(REPO, files)], faults=faults) as hub:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.endpoint, "HOME": str(folder)}
        langs = [word for lang in LANGUAGES.split(",") for word in ("--lang", lang)]
        tokenizer = ("--tokenizer", "demo/tokenizer", "--max-seq-length", "512")
        await verb(folder, env, "enqueue", "fineweb-2", *langs, *tokenizer)
        await verb(folder, env, "enqueue", REPO)
        command = [sys.executable, "-m", "asyncdl", "run", "--workers", "24", "--processes", "1", "--max-rate", "9MB"]
        with subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as run:
            try:
                await watch(folder)
            finally:
                run.kill()


async def verb(folder: Path, env: dict[str, str], *words: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "asyncdl", *words, cwd=folder, env=env)
    if await process.wait():
        sys.exit(f"asyncdl {' '.join(words)} failed")


async def watch(folder: Path) -> None:
    from asyncdl.cli.look import look
    from asyncdl.core.states import State
    from asyncdl.status.trend import Trend
    from asyncdl.store.reader import Reader

    trend, until = Trend(), time.monotonic() + WAIT_S
    with Reader(folder / "queue.sqlite") as reader:
        while time.monotonic() < until:
            shot = trend.follow(look(reader, folder))
            if shot.gates and shot.n_in(State.RUNNING) > 5 and len(shot.rates) > 8:
                break
            await asyncio.sleep(1)
    shot = replace(shot, engines=tuple(replace(engine, host=HOST) for engine in shot.engines))
    IMAGES.mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        draw(shot, size)


def draw(shot: object, size: tuple[int, int]) -> None:
    from rich.console import Console

    from asyncdl.status.focus import Focus, choices
    from asyncdl.status.pages import render
    from asyncdl.status.snapshot import Snapshot
    from asyncdl.status.spans import UNICODE
    from asyncdl.status.terminal import text_of

    assert isinstance(shot, Snapshot)
    focus = Focus(chosen=choices(shot)[1])
    console = Console(record=True, width=size[0], height=size[1], file=io.StringIO(), force_terminal=True)
    console.print(text_of(render(shot, focus, size, UNICODE, ("pause", "retry"))))
    name = f"status-{size[0]}x{size[1]}"
    picture = console.export_svg(title="asyncdl status", unique_id=name)
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # a picture loads nothing from elsewhere
    (IMAGES / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()

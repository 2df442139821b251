"""Make docs/images/web-*.png: the page over a staged queue, in Debian's chromium, light, dark and narrow.

    python benchmarks/web_pictures.py [FOLDER]

The queue is real and filled through the store; what is in it is made up, the same each time: five minutes of a run in
which one host asks for a pause and some files fail. Needs playwright's Python package, and its browsers not.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import aiohttp
from aiohttp import web
from playwright.async_api import async_playwright

from asyncdl.core.hops import GateName
from asyncdl.core.model import Artifact, Dataset, NewJob
from asyncdl.core.names import safe_path
from asyncdl.status import snapshot
from asyncdl.status.web import make_app
from asyncdl.status.web_guard import Guard
from asyncdl.status.web_listen import parse
from asyncdl.store import place
from asyncdl.store.enqueue import Enqueue
from asyncdl.store.hosts import Hosts
from asyncdl.store.jobs import Beat, GiveBack, Jobs
from asyncdl.store.migrate import open_writer
from asyncdl.store.writer import Writer

BEGAN = 1_795_200_000.0
LOOK_EVERY_S = 3.0
N_LOOKS = 100
LANGUAGES = ["swe", "deu", "fra", "jpn", "arb", "cmn", "tam", "nob", "isl", "fin"]
EYES = {
    "light": {"color_scheme": "light", "viewport": {"width": 1120, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1120, "height": 860}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 1000}},
}
REPO = Dataset(
    name="HuggingFaceFW/fineweb-2",
    revision="af9c13333eb981300149d5ca60a8e9d659b276b9",
    subset="",
    source="hub",
    origin="https://huggingface.co/datasets/HuggingFaceFW/fineweb-2",
    local_root=safe_path("raw/HuggingFaceFW--fineweb-2"),
    text_field="text",
)


class Stage:
    """A run that is played: its clock, its queue, and how it goes on."""

    def __init__(self, writer: Writer) -> None:
        self.now = BEGAN
        self.chance = random.Random(1)
        self.writer = writer
        self.jobs = Jobs(writer, "stage")

    async def fill(self) -> None:
        for dataset, files in ((REPO, 60), (replace(REPO, name="allenai/c4", local_root=safe_path("raw/c4")), 25)):
            work = Enqueue(self.writer, dataset, now=BEGAN)
            staged = []
            for n, name in enumerate(LANGUAGES if dataset is REPO else ["en"]):
                for k in range(max(files // (n + 1), 4)):
                    path = safe_path(f"data/{name}_{'Latn' if n != 3 else 'Jpan'}/train/{k // 5:03}_{k % 5:05}.parquet")
                    size = int(self.chance.uniform(0.2, 2.4) * 2**30)
                    staged.append((path.rpartition("/")[0], Artifact(path, size, None), True))
            await work.stage(staged)
            await work.finish(priority=5 if dataset is REPO else 6, recipe=None)
        identity = place.identity(os.getpid())
        await self.jobs.start_engine(identity=identity, version="0", workers=128, pid=os.getpid(), now=BEGAN)
        await Hosts(self.writer).remember_pace("cas-bridge.xethub.hf.co", hint=48, cap=None, now=BEGAN)
        await Hosts(self.writer).close_gate(
            GateName("huggingface.co"), until=BEGAN + N_LOOKS * LOOK_EVERY_S + 74, now=BEGAN
        )

    async def go_on(self, n: int) -> None:
        self.now = BEGAN + n * LOOK_EVERY_S
        per_s = (640 + 180 * math.sin(n / 9) + self.chance.uniform(-70, 70)) * 2**20 * min(n / 8, 1)
        felt = Beat(
            per_s=per_s, n_requests=96, bound="host", cpu_s=1.3 * n * LOOK_EVERY_S + 1, rss_bytes=212 * 2**20,
            loop_lag_s=0.004, n_pool=3,
        )  # fmt: skip
        await self.jobs.beat(felt, now=self.now)
        for job in await self.jobs.claim("verify", n % 7 > 0, now=self.now, lease_s=1e4):
            await self.jobs.complete(job, now=self.now, size_bytes=job.size_bytes, result={}, children=())
        for job in await self.jobs.claim("download", 1, now=self.now, lease_s=1e4):
            await self.end(job, n)
        if n == N_LOOKS - 1:
            await self.jobs.claim("download", 24, now=self.now, lease_s=1e4)
            await self.jobs.claim("verify", 1, now=self.now, lease_s=1e4)

    async def end(self, job, n: int) -> None:
        if n % 23 == 7:
            text = "the sha256 is 9f2b41..., not the 1c77aa... that the Hub promises"
            await self.jobs.discard(job, now=self.now, error_class="digest_mismatch", error_text=text)
        elif n % 11 == 4:
            back = GiveBack(
                outcome="retry", run_at=self.now + 400, failures=1, error_class="http_5xx",
                error_text="cas-bridge.xethub.hf.co answered 503 Service Unavailable",
            )  # fmt: skip
            await self.jobs.give_back(job, back, now=self.now)
        else:
            child = NewJob(job.dataset_id, "verify", job.path, size_bytes=job.size_bytes)
            await self.jobs.complete(job, now=self.now, size_bytes=job.size_bytes, result={}, children=(child,))


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        queue = Path(scratch) / "queue.sqlite"
        writer = Writer(open_writer(queue), queue)
        try:
            await play(queue, Stage(writer), folder)
        finally:
            writer.close()


async def play(queue: Path, stage: Stage, folder: Path) -> None:
    await stage.fill()
    doing = {name: lambda **_: "done" for name in ("retry", "pause", "resume", "cancel")}
    disk = snapshot.DiskState(free_bytes=int(3.1 * 2**40), free_inodes=181_240_118)
    app = make_app(
        queue, lambda reader: snapshot.take(reader, stage.now, disk), doing, guard=Guard(parse("localhost:0"), None),
        every_s=0,
    )  # fmt: skip
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with aiohttp.ClientSession() as session:
            for n in range(N_LOOKS):
                await stage.go_on(n)
                async with session.get(url) as answer:
                    answer.raise_for_status()
        await shoot(url, folder)
    finally:
        await runner.cleanup()


async def shoot(url: str, folder: Path) -> None:
    """Without scripts, so that nothing moves."""
    async with async_playwright() as started:
        browser = await started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, eyes in EYES.items():
            context = await browser.new_context(java_script_enabled=False, **eyes)
            page = await context.new_page()
            await page.goto(url)
            await page.screenshot(path=folder / f"web-{name}.png")
            await context.close()
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if sys.argv[1:] else Path(__file__).parents[1] / "docs" / "images")))

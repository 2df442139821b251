"""kill -9 at any moment, children included: the end is the same bytes, each job is done once, and little is done again.

Seeded; a failure names its seed. The engine, its children and the hub are processes of their own.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest

from asyncdl.core.model import Dataset
from asyncdl.core.names import safe_path
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.demo import corpus_dir
from asyncdl.demo.faults import Fault
from asyncdl.demo.repos import GeneratedFile
from tests.integration.store.rig import assert_sound
from tests.support.engine import REPO, Bench, packaged_recipe, sha256
from tests.support.engine_process import EngineProcess, engine_process
from tests.support.hub_process import facts_under, hub_process, write_files

SEED = int(os.environ.get("ASYNCDL_TEST_SEED", "20261120"))
WORKERS = 6
MIB = 1 << 20

QUICK = {"n_big": 2, "big_bytes": 20 * MIB, "n_small": 120, "languages": ("swe_Latn", "jpn_Jpan")}
SLOW = {
    "n_big": 6,
    "big_bytes": 48 * MIB,
    "n_small": 400,
    "languages": ("swe_Latn", "jpn_Jpan", "arb_Arab", "eng_Latn"),
}


def data(seed, *, n_big, big_bytes, n_small, languages):
    rng = random.Random(seed)
    files = {f"big/{n}.bin": GeneratedFile(big_bytes + rng.randrange(MIB), seed=n) for n in range(n_big)}
    files |= {f"small/{n:03d}.bin": GeneratedFile(rng.randrange(200_000), seed=1000 + n) for n in range(n_small)}
    files |= {
        f"data/{language}/{path.parent.name}/{path.name}": path
        for language in languages
        for path in sorted((corpus_dir() / "data" / language).rglob("*.parquet"))
    }
    return files


class Episode:
    """One queue from its enqueue to its end, over one hub, with as many kills as happen on the way."""

    def __init__(self, folder: Path, source: Path, facts, hub) -> None:
        folder.mkdir()
        self.bench = Bench(folder)
        self.bench.data_dir.mkdir()
        self.source, self.facts, self.hub = source, facts, hub
        self.n_kills = 0
        self.completed = Counter()
        self.inodes = {}
        self.sent_before = hub.bytes_sent(facts)

    async def enqueue(self):
        dataset = Dataset(
            name=REPO, revision="main", subset="", source="hub", text_field="",
            origin=f"{self.hub.endpoint}/datasets/{REPO}/resolve/main", local_root=safe_path("raw/org--name"),
        )  # fmt: skip
        await self.bench.enqueue(dataset, self.facts, text_field="text", recipe=packaged_recipe())

    def config(self):
        return {"queue": str(self.bench.queue), "data_dir": str(self.bench.data_dir), "workers": WORKERS}

    async def killed_after(self, wait_s):
        """Run an engine; kill it so long after it began to work. Return whether it ended by itself before that."""
        async with engine_process(self.config()) as engine:
            await engine.wait_for("Begun")
            try:
                async with asyncio.timeout(wait_s):
                    await asyncio.shield(engine.process.wait())
            except TimeoutError:
                self.n_kills += 1
                await engine.kill()
        self.audit(engine)
        return bool(engine.of("Ended", reason="empty"))

    def audit(self, engine):
        """What was told once stays so, and a file that is in its place stays the same file."""
        for told in engine.of("JobEnded"):
            assert told["outcome"] in ("completed", "lost"), told
            self.completed[told["kind"], told["path"]] += told["outcome"] == "completed"
        assert max(self.completed.values(), default=1) == 1, "a job was completed twice"
        for path in self.facts:
            place = self.bench.file(path)
            if place.exists():
                ino = place.stat().st_ino
                assert self.inodes.setdefault(path, ino) == ino, f"{path} was published twice"

    def assert_whole(self, expected_shards):
        assert_sound(self.bench.queue)
        for path in self.facts:
            assert sha256(self.bench.file(path)) == sha256(self.source / path), path
        for kind in ("download", "verify", "tokenize"):
            paths = [path for path in self.facts if kind == "download" or path.endswith(".parquet")]
            assert self.bench.states(kind) == dict.fromkeys(paths, "completed")
        assert shards_of(self.bench) == expected_shards
        assert self.bench.leftovers() == []
        lost = "SELECT count(*) FROM job j WHERE attempt <> 1 + (SELECT count(*) FROM attempt WHERE job_id = j.id)"
        assert self.bench.rows(lost) == [(0,)], "an attempt is neither the completing one nor in the log"

    @property
    def again_bytes(self):
        sent = self.hub.bytes_sent(self.facts) - self.sent_before
        return sent - sum(size_bytes for size_bytes, _ in self.facts.values())


async def kill_alone(engine: EngineProcess):
    """SIGKILL to the engine only; return when its children are gone, too."""
    lists = Path(f"/proc/{engine.process.pid}/task").glob("*/children")
    children = [pid for one in lists for pid in one.read_text().split()]
    assert children, "the pool had not begun: nothing is tested"
    engine.process.kill()
    await engine.ended()
    async with asyncio.timeout(10):
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            await asyncio.sleep(0.01)  # the kernel ends them with their parent, and tells nobody


def shards_of(bench):
    """{name: digest} of the shards, and what the manifest says of them."""
    root = bench.data_dir / "tokenized"
    shards = {str(path.relative_to(root)): sha256(path) for path in root.rglob("shard_*")}
    for path in root.rglob("manifest.json"):
        shards[str(path.relative_to(root))] = json.dumps(orjson.loads(path.read_bytes()), sort_keys=True)
    return shards


async def kills(tmp_path, size, n_kills, *, moments, bytes_per_s):
    """Episodes until so many kills have happened. moments: between which a kill comes, in seconds."""
    rng = random.Random(SEED)
    source = tmp_path / "source"
    write_files(source, data(SEED, **size))
    facts = facts_under(source)
    n_done = again_bytes = n_episodes = 0
    async with hub_process({REPO: source}) as hub:
        whole = Episode(tmp_path / "whole", source, facts, hub)
        await whole.enqueue()
        assert await whole.killed_after(120)
        expected = shards_of(whole.bench)
        whole.assert_whole(expected)
        body_bytes_of_redirects = whole.again_bytes
    slow = Fault("slow", bytes_per_s=bytes_per_s, path="big*")
    async with hub_process({REPO: source}, [slow]) as hub:
        while n_done < n_kills:
            episode = Episode(tmp_path / f"episode{n_episodes}", source, facts, hub)
            await episode.enqueue()
            ended = False
            while not ended and n_done + episode.n_kills < n_kills:
                ended = await episode.killed_after(rng.uniform(*moments))
            if not ended:
                assert await episode.killed_after(120), "an engine that nobody kills ends by itself"
            episode.assert_whole(expected)
            again = max(0, episode.again_bytes - body_bytes_of_redirects)
            assert again <= episode.n_kills * WORKERS * SEGMENT_BYTES
            n_done, again_bytes, n_episodes = n_done + episode.n_kills, again_bytes + again, n_episodes + 1
    total = sum(size_bytes for size_bytes, _ in facts.values())
    print(
        f"seed {SEED}: {n_done} kills in {n_episodes} runs of {total / 1e6:.0f} MB in {len(facts)} files, lost 0, "
        f"published twice 0, {again_bytes / n_done / 1e6:.2f} MB again per kill"
    )


async def test_some_kills(tmp_path):
    began = time.monotonic()
    await kills(tmp_path, QUICK, 8, moments=(0.05, 0.9), bytes_per_s=3 * MIB)
    print(f"{time.monotonic() - began:.1f} s")


async def test_children_end_with_an_engine_that_is_killed_alone(tmp_path):
    source = tmp_path / "source"
    write_files(source, data(SEED, **QUICK | {"n_big": 0, "n_small": 0}))
    facts = facts_under(source)
    async with hub_process({REPO: source}) as hub:
        whole, killed = (Episode(tmp_path / name, source, facts, hub) for name in ("whole", "killed"))
        await whole.enqueue()
        assert await whole.killed_after(120)
        await killed.enqueue()
        for kind in ("verify", "tokenize"):
            async with engine_process(killed.config()) as engine:
                await engine.wait_for("JobEnded", kind=kind)
                await kill_alone(engine)
            killed.audit(engine)
        assert await killed.killed_after(120)
        killed.assert_whole(shards_of(whole.bench))


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_hundred_kills(tmp_path):
    await kills(tmp_path, SLOW, 100, moments=(0.02, 2.0), bytes_per_s=6 * MIB)

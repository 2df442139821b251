"""kill -9 at any moment of tokenizing: the same shards and manifest, each part made once, and nothing left behind."""

import asyncio
import os
import random

import pytest

from tests.integration.engine.test_engine_texts import shards_of
from tests.support.engine import Bench
from tests.support.engine_process import engine_process
from tests.support.texts import put_up, write_texts

SEED = int(os.environ.get("ASYNCDL_TEST_SEED", "20261120"))
PART_BYTES = 150_000
MOMENTS_S = (0.0, 2.5)  # children take a second to start, then a part takes some hundredths


def config(bench, processes):
    return {
        "queue": str(bench.queue),
        "data_dir": str(bench.data_dir),
        "processes": processes,
        "part_bytes": PART_BYTES,
    }


async def ended_or_killed(bench, processes, wait_s):
    """Run an engine; kill it so long after it began to work. Return the completed jobs it told, and whether it ended."""
    async with engine_process(config(bench, processes)) as engine:
        await engine.wait_for("Begun")
        try:
            async with asyncio.timeout(wait_s):
                await asyncio.shield(engine.process.wait())
        except TimeoutError:
            await engine.kill()
    told = engine.of("JobEnded", outcome="completed")
    return len([job for job in told if job["kind"] == "tokenize"]), bool(engine.of("Ended", reason="empty"))


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.setattr("asyncdl.core.grouping.SMALL_BYTES", 200_000)
    write_texts(tmp_path / "texts", n_documents=800)
    return tmp_path / "texts"


async def fresh(folder, texts):
    folder.mkdir()
    bench = Bench(folder)
    bench.data_dir.mkdir()
    await put_up(bench, texts)
    return bench


@pytest.mark.parametrize("n_kills", [4, pytest.param(20, marks=pytest.mark.slow)])
async def test_killed_at_any_moment_it_ends_with_the_same_bytes_and_no_part_is_made_twice(tmp_path, texts, n_kills):
    rng = random.Random(SEED)
    whole = await fresh(tmp_path / "whole", texts)
    n_parts, ended = await ended_or_killed(whole, 2, 120)
    assert ended
    assert n_parts > 20
    n_killed = n_rounds = 0
    while n_killed < n_kills:
        n_rounds += 1
        bench = await fresh(tmp_path / str(n_rounds), texts)
        n_completed, ended = 0, False
        while not ended:
            n, ended = await ended_or_killed(
                bench, rng.choice((1, 2, 8)), rng.uniform(*MOMENTS_S) if n_killed < n_kills else 120
            )
            n_completed += n
            n_killed += not ended
        assert n_completed <= n_parts, "a part that was done was done again"
        assert shards_of(bench) == shards_of(whole), f"seed {SEED}, round {n_rounds}"
        assert bench.leftovers() == []
        assert set(bench.states("tokenize").values()) == {"completed"}

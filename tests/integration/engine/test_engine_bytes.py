"""Two rules that a kill must not break: what it costs in bytes is bounded, and a file is published once."""

import os
import random

import pytest

from asyncdl.core.overlap import WINDOW_BYTES
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.core.ranges import RangeSet
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from asyncdl.engine.run import Ended
from tests.support.engine import REPO
from tests.support.engine_process import engine_process
from tests.support.origin import Held, Origin

MIB = 1 << 20
N_SEGMENTS = 12
CONTENT = random.Random(9).randbytes(N_SEGMENTS * SEGMENT_BYTES)


def config_of(bench, **changes):
    return {"queue": str(bench.queue), "data_dir": str(bench.data_dir), "workers": 3} | changes


@pytest.mark.parametrize("n_whole", [0, 1, 5])
async def test_a_kill_costs_what_was_on_its_way_and_nothing_that_was_whole(bench, n_whole):
    """A slot is free only when its segment is durable: three that hang mean that those before are had."""
    held = Held(MIB, n_free=n_whole)
    bench.data_dir.mkdir()
    async with Origin({"a.bin": CONTENT}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        async with engine_process(config_of(bench)) as engine:
            await held.open(3)
            had_bytes = RangeSet.parse(bench.row("a.bin")["had"]).n_bytes
            assert had_bytes >= n_whole * SEGMENT_BYTES
            await engine.kill()
        held.go_on.set()
        assert await bench.run() == Ended("empty")
        assert origin.body_bytes <= len(CONTENT) + 3 * SEGMENT_BYTES
    assert bench.file("a.bin", "host").read_bytes() == CONTENT


async def test_kills_in_a_row_cost_each_what_was_on_its_way(bench):
    bench.data_dir.mkdir()
    async with Origin({"a.bin": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        for _ in range(4):
            origin.answer = held = Held(MIB, n_free=2)
            async with engine_process(config_of(bench, workers=2)) as engine:
                await held.open(2)
                await engine.kill()
            held.go_on.set()
        assert await bench.run() == Ended("empty")
        assert origin.body_bytes <= len(CONTENT) + 4 * 2 * (MIB + WINDOW_BYTES)
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert bench.row("a.bin")["attempt"] == 5
    assert bench.rows("SELECT outcome, count(*) FROM attempt GROUP BY 1") == [("orphaned", 4)]
    assert bench.row("a.bin")["failures"] == bench.row("a.bin")["crashes"] == 0


async def test_files_that_were_settled_are_not_touched_again_after_a_kill(bench):
    files = {f"{n:03d}.bin": random.Random(n).randbytes(50_000) for n in range(60)}
    held = Held(10_000, n_free=40)
    bench.data_dir.mkdir()
    async with Origin(files, held) as origin:
        await bench.enqueue_known(origin.url, {path: (len(data), None) for path, data in files.items()})
        async with engine_process(config_of(bench)) as engine:
            await held.open(3)
            settled = [path for path, state in bench.states().items() if state == "completed"]
            published = {path: bench.file(path, "host").stat().st_ino for path in settled}
            await engine.kill()
        held.go_on.set()
        origin.asked.clear()
        await bench.run()
        assert not {path for path, _ in origin.asked} & set(settled)
    assert len(settled) >= 40 - 2 * 3
    assert {path: bench.file(path, "host").stat().st_ino for path in settled} == published
    for path, content in files.items():
        assert bench.file(path, "host").read_bytes() == content


async def test_each_file_is_renamed_into_its_place_once(bench, monkeypatch):
    """Two engines share the queue; whatever they do at the same time, a name is given once."""
    renames = []
    rename = os.rename

    def noted(source, target):
        renames.append(os.path.basename(target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", noted)
    files = {f"{n:03d}.bin": GeneratedFile(30_000 + n, seed=n) for n in range(80)}
    repo = Repo(REPO, files | {"big.bin": GeneratedFile(5 * SEGMENT_BYTES, seed=99)})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        first = bench.running(workers=4)
        async with first as one, bench.running(workers=4) as other:
            assert {await one, await other} == {Ended("empty")}
    bench.assert_as_served(repo)
    assert sorted(renames) == sorted(os.path.basename(path) for path in repo.main.paths)
    assert bench.told.outcomes() == {("completed", None): 81}

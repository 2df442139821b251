"""What is enqueued becomes files: every byte once, whatever the size, the host's manners or the number of slots."""

import random

import pytest

from asyncdl.core.events import JobEnded
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from asyncdl.engine.round import MAX_IGNORED
from asyncdl.engine.run import Ended
from tests.support.engine import REPO, Bench
from tests.support.origin import Origin, chunked, ranged, whole

MIB = 1 << 20
BIG = "data/train/big.parquetx"  # an LFS file that is no Parquet
SIZES = [1, 4095, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 3 * SEGMENT_BYTES, 3 * SEGMENT_BYTES + 77]


def noise(size_bytes: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


async def test_a_big_file_comes_in_parallel_ranges_every_byte_once(bench, even_segments):
    repo = Repo(REPO, {BIG: GeneratedFile(9 * SEGMENT_BYTES + 12_345, seed=3)})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        assert await bench.run() == Ended("empty")
        cdn = hub.totals["cdn"]
        assert (cdn.body_bytes, cdn.n_requests) == (repo.main.content(BIG).size_bytes, 10)
        assert cdn.peak_open >= 4
        assert hub.totals["hub"].n_requests == 1, "the signed URL is found once for all segments"
    bench.assert_as_served(repo)


async def test_no_more_requests_are_open_than_there_are_slots(bench):
    repo = Repo(REPO, {f"{n}.bin": GeneratedFile(2 * SEGMENT_BYTES, seed=n) for n in range(4)})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run(workers=3)
        assert hub.totals["cdn"].peak_open + hub.totals["hub"].peak_open <= 3 * 2  # a redirect's two hops overlap
        assert hub.totals["cdn"].peak_open <= 3
    bench.assert_as_served(repo)


async def test_many_small_files_come_once_each(bench):
    files = {f"s/{n % 7}/f{n:04d}.bin": GeneratedFile(n * 37 % 20_000, seed=n) for n in range(600)}
    repo = Repo(REPO, files)
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        assert await bench.run(workers=64) == Ended("empty")
        answered = [request for request in hub.requests if request.status == 200 or request.status == 206]
        assert len(answered) == sum(content.size_bytes > 0 for content in files.values())
        assert sum(request.bytes_sent for request in answered) == sum(one.size_bytes for one in files.values())
    bench.assert_as_served(repo)
    assert bench.told.outcomes() == {("completed", None): 600}


async def test_big_and_small_files_share_the_slots(bench):
    files = {f"s/{n:03d}.bin": GeneratedFile(n * 9973 % 300_000, seed=n) for n in range(120)}
    repo = Repo(REPO, files | {BIG: GeneratedFile(6 * SEGMENT_BYTES, seed=999)})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
    bench.assert_as_served(repo)


async def test_one_slot_suffices(bench):
    repo = Repo(REPO, {BIG: GeneratedFile(2 * SEGMENT_BYTES + 1), "a.txt": b"a", "b.txt": b"b" * 5000})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run(workers=1)
        assert hub.totals["cdn"].peak_open == 1
    bench.assert_as_served(repo)


async def test_an_empty_file_of_known_size_costs_no_request(bench):
    repo = Repo(REPO, {"empty.txt": b"", "data/empty.bin": b""})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
        assert not hub.requests
    bench.assert_as_served(repo)


@pytest.mark.parametrize(
    "answer",
    [ranged(), ranged(None), whole(), whole(None), chunked()],
    ids=["ranges", "ranges, no validator", "whole", "whole, no validator", "no length"],
)
async def test_files_of_unknown_size_come_whole_from_any_host(bench, answer):
    files = {f"d/f{n}.bin": noise(size_bytes, n) for n, size_bytes in enumerate([0, *SIZES])}
    async with Origin(files, answer) as origin:
        await bench.enqueue_url(origin.url, files)
        assert await bench.run() == Ended("empty")
    for path, content in files.items():
        assert bench.file(path, "host").read_bytes() == content, path
    assert bench.leftovers() == []
    assert dict(bench.rows("SELECT path, size_bytes FROM job")) == {path: len(data) for path, data in files.items()}


async def test_a_file_of_unknown_size_costs_no_byte_twice_where_ranges_are_served(bench):
    files = {f"f{n}.bin": noise(size_bytes, n) for n, size_bytes in enumerate(SIZES)}
    async with Origin(files) as origin:
        await bench.enqueue_url(origin.url, files)
        await bench.run()
        assert origin.bytes_by_path == {path: len(content) for path, content in files.items()}


async def test_a_host_that_always_ignores_ranges_is_asked_for_the_whole(bench):
    repo = Repo(REPO, {BIG: GeneratedFile(3 * SEGMENT_BYTES + 5), "small.parquetx": GeneratedFile(2 * MIB)})
    async with DemoHub([repo], faults=[Fault("range_ignored", origin="cdn")]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
        ranges = [request.range for request in hub.requests if request.path == BIG and request.origin == "cdn"]
        assert ranges.count(None) == 1
        assert len(ranges) <= MAX_IGNORED + 8, "a file has eight segments open when it is found out"
    bench.assert_as_served(repo)


async def test_a_host_that_ignores_ranges_now_and_then_is_asked_again(bench, even_segments):
    repo = Repo(REPO, {BIG: GeneratedFile(12 * SEGMENT_BYTES + 5)})
    async with DemoHub([repo], faults=[Fault("range_ignored", origin="cdn", every=4)]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run(workers=2)
        assert hub.totals["cdn"].faults["range_ignored"] >= 3
        assert all(request.range for request in hub.requests if request.origin == "cdn")
    bench.assert_as_served(repo)


async def test_a_lawful_part_of_a_range_is_kept_and_the_rest_asked_for(bench):
    content = noise(2 * SEGMENT_BYTES + 99)

    async def half(origin, request, data):
        """RFC 9110 14.2: a server may send less than was asked."""
        from tests.support.origin import asked_range, part

        start, stop = asked_range(request, len(data))
        stop = min(stop, start + 3 * MIB)
        return await origin.send(request, part(data, start, stop, {"ETag": '"v1"'}), data[start:stop])

    async with Origin({"a.bin": content}, half) as origin:
        await bench.enqueue_url(origin.url, ["a.bin"])
        await bench.run()
        assert origin.body_bytes == len(content)
    assert bench.file("a.bin", "host").read_bytes() == content


async def test_names_are_quoted_for_the_url_and_plain_on_disk(bench):
    names = ["data/a b.txt", "data/100%.txt", "x/#1?.txt", "ä/ß+&=.txt", "deep/er/and/er/f.txt"]
    repo = Repo(REPO, {name: name.encode() * 9 for name in names})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
    bench.assert_as_served(repo)


async def test_a_second_run_asks_for_no_request(bench):
    repo = Repo(REPO, {BIG: GeneratedFile(2 * SEGMENT_BYTES), "a.txt": b"a", "empty.txt": b""})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
        n_before = hub.totals["hub"].n_requests + hub.totals["cdn"].n_requests
        enqueued = await bench.enqueue_repo(hub, missing=False)
        assert (enqueued.n_new, enqueued.n_known) == (0, 3)
        bench.told.events.clear()
        assert await bench.run() == Ended("empty")
        assert bench.told.of(JobEnded) == []
        assert hub.totals["hub"].n_requests + hub.totals["cdn"].n_requests == n_before
    bench.assert_as_served(repo)


async def test_what_is_enqueued_while_an_engine_runs_for_ever_is_fetched(bench):
    repo = Repo(REPO, {"a.txt": b"a"})
    other = Repo("org/other", {"b.txt": b"b"})
    async with DemoHub([repo, other]) as hub:
        await bench.enqueue_repo(hub)
        async with bench.running(forever=True) as ended:
            await bench.told.wait_for(JobEnded, path="a.txt", outcome="completed")
            await bench.enqueue_repo(hub, "org/other")
            await bench.told.wait_for(JobEnded, path="b.txt", outcome="completed")
            assert not ended.done()
            bench.engine.drain()
            assert await ended == Ended("drained")
    bench.assert_as_served(repo)
    assert bench.file("b.txt", "org--other").read_bytes() == b"b"


async def test_only_the_kinds_asked_for_are_worked_on(bench):
    repo = Repo(REPO, {"a.parquet": GeneratedFile(5000)})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run(only=frozenset({"download"}))
    assert bench.states() == {"a.parquet": "completed"}
    assert bench.states("verify") == {"a.parquet": "available"}


async def test_an_empty_queue_ends_at_once(tmp_path):
    bench = Bench(tmp_path)
    await bench.enqueue_url("http://127.0.0.1:9", [])
    assert await bench.run() == Ended("empty")

"""A wrong digest costs one more pass and only what differs is replaced; and the digest is never far behind the bytes."""

import asyncio
import hashlib
import itertools
import random
from types import SimpleNamespace

import pytest

from asyncdl.core.events import FileQuarantined, FileRepaired, RequestFailed
from asyncdl.core.model import Digest
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Pinned
from asyncdl.core.retry import MAX_MISMATCHES
from asyncdl.disk.digester import Digester
from asyncdl.disk.layout import corrupted_path, partial_path
from asyncdl.disk.partial import Partial, open_partial
from asyncdl.engine.repair import Repair
from asyncdl.engine.run import Ended
from asyncdl.errors import LeaseLostError
from tests.support.engine_process import engine_process
from tests.support.origin import Origin, asked_range, part

N_SEGMENTS = 5
SIZE = N_SEGMENTS * SEGMENT_BYTES
CONTENT = random.Random(12).randbytes(SIZE)
PROMISED = {"a.bin": (SIZE, Digest("sha256", hashlib.sha256(CONTENT).hexdigest()))}
NEVER = 1 << 30


def flipped(content, at):
    return content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :]


class Host:
    """Serves ranges of the truth, with a byte flipped in those of `wrong` that are asked for the first time.

    wrong: indices of segments. hold_from: this request and later ones wait for `go_on`, 1-based. etag_from: from this
    request on the ETag is another one.
    """

    def __init__(self, *wrong, hold_from=NEVER, etag_from=NEVER):
        self.wrong = set(wrong)
        self.n = 0
        self.hold_from = hold_from
        self.etag_from = etag_from
        self.held, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, origin, request, content):
        self.n += 1
        start, stop = asked_range(request, len(content))
        headers = {"ETag": '"v1"' if self.n < self.etag_from else '"v2"'}
        body = content[start:stop]
        if start // SEGMENT_BYTES in self.wrong:
            self.wrong.remove(start // SEGMENT_BYTES)
            body = flipped(body, len(body) // 2)
        if self.n >= self.hold_from:
            self.held.set()
            await self.go_on.wait()
        return await origin.send(request, part(content, start, stop, headers), body)


@pytest.fixture
def writes(monkeypatch):
    """What is written to partials, in order, as (first, behind the last) byte."""
    made = []
    write = Partial.write

    def noted(self, at, block):
        made.append((at, at + len(block)))
        write(self, at, block)

    monkeypatch.setattr(Partial, "write", noted)
    return made


@pytest.fixture
def feeds(monkeypatch):
    """What was hashed of partials, in order, and a condition that is notified of each."""
    made = []
    feed = Partial.feed

    def noted(self, digester, start, stop):
        feed(self, digester, start, stop)
        made.append((start, stop))

    monkeypatch.setattr(Partial, "feed", noted)
    return made


def replaced(writes):
    """What was written a second time."""
    once, again = RangeSet(), RangeSet()
    for start, stop in writes:
        new = once.missing(ByteRange(start, stop))
        again = again.union(RangeSet.of(*new).missing(ByteRange(start, stop)))
        once = once.union(new)
    return again


def assert_published(bench):
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert bench.states() == {"a.bin": "completed"}
    assert bench.told.of(FileQuarantined) == []
    assert not corrupted_path(bench.file("a.bin", "host")).exists()
    assert bench.leftovers() == []


# --- what was flipped on its way


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("wrong", range(N_SEGMENTS))
async def test_a_segment_that_came_wrong_is_replaced_and_no_other(
    bench, even_segments, at_once, writes, workers, wrong
):
    async with Origin({"a.bin": CONTENT}, Host(wrong)) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        assert await bench.run(workers=workers) == Ended("empty")
        assert len(origin.asked) <= 2 * N_SEGMENTS
    assert_published(bench)
    (one,) = replaced(writes)
    assert wrong * SEGMENT_BYTES <= one.start < one.stop <= (wrong + 1) * SEGMENT_BYTES
    assert bench.told.of(FileRepaired) == [FileRepaired(path="a.bin", n_replaced_bytes=len(one))]
    assert len(one) <= SEGMENT_BYTES // 4, "the block that differs, not all of the segment"
    assert bench.told.outcomes() == {("completed", None): 1}


async def test_a_file_is_published_as_soon_as_it_is_right(bench, even_segments):
    """The second answer of the pass never comes: nobody waits for it."""
    async with Origin({"a.bin": CONTENT}, Host(0, hold_from=N_SEGMENTS + 2)) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        assert await bench.run(workers=1) == Ended("empty")
        assert len(origin.asked) == N_SEGMENTS + 2
    assert_published(bench)
    assert bench.told.of(RequestFailed) == []


@pytest.mark.parametrize("wrong", [(0, 1), (0, 1, 2), (1, 2, 4), (0, 1, 2, 3, 4)])
async def test_several_segments_that_came_wrong_are_all_replaced(bench, even_segments, wrong, writes):
    async with Origin({"a.bin": CONTENT}, Host(*wrong)) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        assert await bench.run(workers=2) == Ended("empty")
        assert len(origin.asked) <= 2 * N_SEGMENTS
    assert_published(bench)
    assert {one.start // SEGMENT_BYTES for one in replaced(writes)} == set(wrong)


async def test_a_byte_that_the_disk_changed_is_replaced(bench, even_segments, at_once):
    """The first segment is held, so that the digest has not passed the others when one of them changes on disk."""
    host = Host()

    async def first_comes_last(origin, request, content):
        if asked_range(request, SIZE)[0] == 0 and not host.go_on.is_set():
            await host.go_on.wait()
        return await host(origin, request, content)

    async with Origin({"a.bin": CONTENT}, first_comes_last) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        async with bench.running(workers=4) as ended:
            await bench.until(lambda: bench.row("a.bin")["had"] == f"{SEGMENT_BYTES}-{SIZE}")
            at = 2 * SEGMENT_BYTES + 12_345
            with partial_path(bench.file("a.bin", "host")).open("r+b") as file:
                file.seek(at)
                file.write(bytes((CONTENT[at] ^ 1,)))
            host.go_on.set()
            assert await ended == Ended("empty")
    assert_published(bench)
    assert len(bench.told.of(FileRepaired)) == 1


# --- what cannot be repaired


async def test_a_source_that_always_serves_the_same_wrong_bytes_is_believed_after_one_pass_each_time(
    bench, even_segments, writes
):
    served = flipped(CONTENT, 99)
    async with Origin({"a.bin": served}, host := Host()) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        assert await bench.run(workers=2) == Ended("empty")
        assert host.n == (MAX_MISMATCHES + 1) * 2 * N_SEGMENTS
        assert origin.body_bytes == (MAX_MISMATCHES + 1) * 2 * SIZE
    assert bench.errors() == {"a.bin": "digest_mismatch"}
    assert bench.told.of(FileQuarantined) == [FileQuarantined(path="a.bin", error_class="digest_mismatch")] * 3
    assert bench.told.of(FileRepaired) == []
    assert corrupted_path(bench.file("a.bin", "host")).read_bytes() == served
    assert sum(stop - start for start, stop in writes) == (MAX_MISMATCHES + 1) * SIZE, "nothing was replaced"


async def test_a_source_that_never_serves_the_same_twice_does_not_make_us_hash_for_ever(bench, even_segments, feeds):
    class Dice(Host):
        async def __call__(self, origin, request, content):
            self.wrong = set(range(N_SEGMENTS))
            self.n += 1
            start, stop = asked_range(request, SIZE)
            body = flipped(content[start:stop], self.n)
            return await origin.send(request, part(content, start, stop, {"ETag": '"v1"'}), body)

    async with Origin({"a.bin": CONTENT}, Dice()) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.errors() == {"a.bin": "digest_mismatch"}
    n_hashes = sum(1 for start, _ in feeds if start == 0)
    assert n_hashes <= (MAX_MISMATCHES + 1) * (1 + 4), "the first, after 1, 2 and 4 wrong segments, and at the end"


async def test_an_object_that_changes_while_it_is_repaired_is_begun_again(bench, even_segments):
    async with Origin({"a.bin": CONTENT}, host := Host(1, etag_from=N_SEGMENTS + 1)) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        assert await bench.run(workers=1) == Ended("empty")
        assert host.n == N_SEGMENTS + 1 + N_SEGMENTS
    assert_published(bench)
    assert bench.told.of(FileRepaired) == []


# --- an engine that ends meanwhile


@pytest.mark.parametrize("how", ["drain", "stop"])
async def test_an_engine_that_ends_while_it_repairs_loses_nothing(bench, even_segments, how, monkeypatch):
    calls = []
    for name in ("write", "sync"):
        monkeypatch.setattr(Partial, name, noted(calls, name, getattr(Partial, name)))
    async with Origin({"a.bin": CONTENT}, host := Host(0, 3, hold_from=N_SEGMENTS + 3)) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        async with bench.running(workers=1):
            await host.held.wait()
            assert calls[-1] == "write", "the first segment was replaced"
            getattr(bench.engine, how)()
            host.go_on.set()
        assert calls[-1] == "sync", "what was replaced is durable"
        row = bench.row("a.bin")
        assert (row["state"], row["had"], row["failures"]) == ("available", f"0-{SIZE}", 0)
        assert host.n == N_SEGMENTS + 3
        assert await bench.run(workers=1) == Ended("empty")
        assert host.n <= N_SEGMENTS + 3 + N_SEGMENTS, "what is whole is only compared once more"
    assert_published(bench)


def noted(calls, name, real):
    def call(*args):
        real(*args)
        calls.append(name)

    return call


async def test_a_kill_during_a_repair_loses_nothing(bench):
    """Two bytes came wrong. The second pass has replaced the first of them, or is about to, when the engine dies."""
    first, second = SEGMENT_BYTES // 2, SIZE - SEGMENT_BYTES // 2
    spoiled = flipped(flipped(CONTENT, first), second)
    bench.data_dir.mkdir()
    held = asyncio.Event()

    async def right_from_the_second_pass_on(origin, request, content):
        start, stop = asked_range(request, SIZE)
        response = part(content, start, stop, {"ETag": '"v1"'})
        if origin.body_bytes < SIZE:
            return await origin.send(request, response, spoiled[start:stop])
        await origin.send(request, response, content[start : max(start, min(stop, second))])
        if stop > second:
            held.set()
            await asyncio.get_running_loop().create_future()
        return response

    async with Origin({"a.bin": CONTENT}, right_from_the_second_pass_on) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        config = {"queue": str(bench.queue), "data_dir": str(bench.data_dir), "workers": 1}
        async with engine_process(config) as engine:
            await held.wait()
            await engine.kill()
        assert bench.row("a.bin")["had"] == f"0-{SIZE}"
        n_bytes = origin.body_bytes
        origin.answer = Host()
        assert await bench.run() == Ended("empty")
        assert origin.body_bytes <= n_bytes + SIZE
    assert_published(bench)
    assert len(bench.told.of(FileRepaired)) == 1


# --- one repair, step by step


class Steps:
    """Disk threads that run each call at once, unless told to wait before the next hash."""

    def __init__(self):
        self.hashing, self.go_on = asyncio.Event(), asyncio.Event()

    async def call(self, function, *args):
        if function.__name__ == "feed":
            self.hashing.set()
            await self.go_on.wait()
        return function(*args)


@pytest.fixture
def step(tmp_path):
    """A whole file of 1024 bytes whose byte 5 is wrong, and its repair."""
    content = bytes(range(256)) * 4
    opened, _ = open_partial(tmp_path / "a.bin", RangeSet(), take_over=False)
    opened.write(0, flipped(content, 5))
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    leases = SimpleNamespace(require_valid=lambda job: None)
    tools = SimpleNamespace(threads=Steps(), leases=leases)
    job = SimpleNamespace(digest=digest)
    repair = Repair(job, tools, opened, Pinned(len(content)), Digester(digest, len(content)))
    yield SimpleNamespace(content=memoryview(content), partial=opened, tools=tools, repair=repair)
    opened.close()


async def test_nothing_is_replaced_any_more_once_the_file_is_right(step):
    """A wrong answer that waits while the file is hashed must not spoil what was just found right."""
    repair, threads = step.repair, step.tools.threads
    digesting = asyncio.create_task(repair.digest())
    assert await repair.write(0, step.content[:100]) == 100
    await repair.make_durable(0, 100)
    await threads.hashing.wait()
    late = asyncio.create_task(repair.write(100, memoryview(bytes(100))))
    await asyncio.sleep(0)
    threads.go_on.set()
    await asyncio.gather(digesting, late)
    assert repair.is_right
    assert repair.is_whole
    assert repair.n_replaced_bytes == 100
    assert step.partial.holds(0, step.content)


async def test_who_has_lost_the_lease_replaces_nothing(step):
    def refuse(job):
        raise LeaseLostError("another has it")

    step.tools.leases.require_valid = refuse
    with pytest.raises(LeaseLostError):
        await step.repair.write(0, step.content[:100])
    assert not step.partial.holds(0, step.content[:100])


# --- the digest is ready when the last byte is


async def test_the_digest_is_never_further_behind_than_what_is_still_to_come(bench, even_segments, feeds):
    """While the last segment is held, all before it is hashed; so nothing else is left when it comes."""
    async with Origin({"a.bin": CONTENT}, host := Host(hold_from=N_SEGMENTS)) as origin:
        await bench.enqueue_known(origin.url, PROMISED)
        async with bench.running(workers=1) as ended:
            await bench.until(lambda: bool(feeds) and feeds[-1][1] == SIZE - SEGMENT_BYTES)
            host.go_on.set()
            assert await ended == Ended("empty")
    assert feeds[0][0] == 0
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(feeds)), "once, in order"
    assert sum(stop - start for start, stop in feeds) == SIZE
    assert_published(bench)

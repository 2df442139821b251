"""How many requests a host gets at once, how fast all of them may be, and what becomes of one that hosts leave unanswered.

What is counted is counted by the host; the clock of the pace stands still where a test says so.
"""

import asyncio
import random
import time

import pytest
from aiohttp import web

from asyncdl.core.events import JobEnded, RequestFailed
from asyncdl.core.pace import START
from asyncdl.core.rates import BURST_S
from asyncdl.core.retry import MAX_STREAK, RELOCATE_FROM
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from asyncdl.engine.run import Ended
from asyncdl.net.dial import PATIENCE
from tests.support.engine import REPO
from tests.support.origin import Origin, asked_range, part, ranged

MIB = 1 << 20
END_S = 60.0
STALL_S = 0.5
N_FILES = 60
FILES = {f"f{n:02d}.bin": random.Random(n).randbytes(300_000) for n in range(N_FILES)}
plain = ranged()


@pytest.fixture
def still(monkeypatch):
    """The pace is never looked at: its limit changes by refusals alone."""
    monkeypatch.setattr("asyncdl.engine.pacing.TICK_S", 1e6)


@pytest.fixture
def fast(monkeypatch):
    """The pace is looked at often."""
    monkeypatch.setattr("asyncdl.engine.pacing.TICK_S", 0.02)
    monkeypatch.setattr("asyncdl.core.pace.TICK_S", 0.02)


class Counting:
    """Serves ranges; a request is open until its last block is handed over. peak: the most that were open at once.

    n_held: the first so many wait for `go_on` before they are answered. refuse: asked with the number open at each
    request, whether it is answered 429 with Retry-After 0.
    """

    def __init__(self, *, n_held=0, refuse=lambda n_open: False):
        self.n_held = n_held
        self.refuse = refuse
        self.go_on = asyncio.Event()
        self.n_open = 0
        self.peak = 0
        self.n_refused = 0
        self._changed = asyncio.Condition()

    async def __call__(self, origin, request, data):
        self.n_open += 1
        self.peak = max(self.peak, self.n_open)
        async with self._changed:
            self._changed.notify_all()
        is_open = True
        try:
            if self.refuse(self.n_open):
                self.n_refused += 1
                self.n_open, is_open = self.n_open - 1, False
                return web.Response(status=429, headers={"Retry-After": "0"})
            if len(origin.asked) <= self.n_held:
                await self.go_on.wait()
            start, stop = asked_range(request, len(data)) or (0, len(data))
            response = part(data, start, stop, {"ETag": '"v1"'}) if "Range" in request.headers else _whole(data)
            await response.prepare(request)
            await asyncio.sleep(0)
            self.n_open, is_open = self.n_open - 1, False  # before the client can know that it is over
            await origin.write(request, response, data[start:stop])
            return response
        finally:
            if is_open:
                self.n_open -= 1

    async def open(self, n):
        async with self._changed:
            await self._changed.wait_for(lambda: self.n_open >= n)


def _whole(data):
    return web.StreamResponse(headers={"ETag": '"v1"', "Content-Length": str(len(data))})


async def enqueue_all(bench, origin, paths=None):
    await bench.enqueue_known(origin.url, {path: (len(origin.files[path]), None) for path in paths or origin.files})


async def finish(bench, **changes):
    async with asyncio.timeout(END_S):
        assert await bench.run(**changes) == Ended("empty")


def assert_all_there(bench, files=FILES):
    for path, content in files.items():
        assert bench.file(path, "host").read_bytes() == content, path


# --- how many at once


async def test_a_host_not_met_before_gets_a_few_requests_at_first(bench, still):
    counting = Counting(n_held=START)
    async with Origin(FILES, counting) as origin:
        await enqueue_all(bench, origin)
        async with bench.running(workers=32) as ended:
            async with asyncio.timeout(END_S):
                await counting.open(START)
                counting.go_on.set()
                assert await ended == Ended("empty")
    assert counting.peak == START
    assert_all_there(bench)


async def test_more_requests_are_tried_while_nothing_comes_at_all(bench, fast):
    """Latency bounds: only more requests hide it."""
    counting = Counting(n_held=1000)
    async with Origin(FILES, counting) as origin:
        await enqueue_all(bench, origin)
        async with bench.running(workers=16) as ended:
            async with asyncio.timeout(END_S):
                await counting.open(2 * START)
                counting.go_on.set()
                assert await ended == Ended("empty")
    assert_all_there(bench)


async def test_no_host_gets_more_than_per_host_however_many_slots_there_are(bench, fast, at_once):
    counting = Counting(n_held=2)
    async with Origin(FILES, counting) as origin:
        await enqueue_all(bench, origin)
        async with bench.running(workers=32, per_host=2) as ended:
            async with asyncio.timeout(END_S):
                await counting.open(2)
                counting.go_on.set()
                assert await ended == Ended("empty")
    assert counting.peak == 2
    assert_all_there(bench)


async def test_the_slots_are_the_ceiling_where_per_host_is_higher(bench, fast, at_once):
    counting = Counting(n_held=3)
    async with Origin(FILES, counting) as origin:
        await enqueue_all(bench, origin)
        async with bench.running(workers=3, per_host=50) as ended:
            async with asyncio.timeout(END_S):
                await counting.open(3)
                counting.go_on.set()
                assert await ended == Ended("empty")
    assert counting.peak == 3
    assert_all_there(bench)


async def test_a_refusal_makes_the_number_of_open_requests_fall(bench, still, at_once):
    """15 are held and the 16th is refused: what comes after them comes in half that number."""
    counting, later = Counting(n_held=15, refuse=lambda n_open: n_open > 15), Counting(n_held=1000)
    async with Origin(FILES, counting) as origin:
        await enqueue_all(bench, origin)
        async with bench.running(workers=16) as ended:
            async with asyncio.timeout(END_S):
                await bench.until(lambda: counting.n_refused > 0)
                origin.answer = later
                counting.go_on.set()
                await later.open(8)
                later.go_on.set()
                assert await ended == Ended("empty")
    assert (counting.peak, counting.n_refused, later.peak) == (16, 1, 8)
    assert bench.rows("SELECT DISTINCT failures FROM job") == [(0,)]
    assert_all_there(bench)


async def test_what_was_found_out_of_a_host_is_where_the_next_engine_begins(bench, fast, monkeypatch):
    """START at once are fine, three more are refused: neither is forgotten with the engine."""
    counting = Counting(n_held=1000, refuse=lambda n_open: n_open > START + 2)
    half = sorted(FILES)[: N_FILES // 2]
    async with Origin(FILES, counting) as origin:
        await enqueue_all(bench, origin, half)
        async with bench.running(workers=32) as ended:
            async with asyncio.timeout(END_S):
                await bench.until(lambda: counting.n_refused > 0)
                counting.go_on.set()
                assert await ended == Ended("empty")
        ((host, hint, cap),) = bench.rows("SELECT name, connections_hint, connections_cap FROM host")
        assert host == "127.0.0.1"
        assert 1 <= hint <= cap
        assert cap == 2 * START - 1, "twice as many were tried, and some of them refused"
        bench.rows("UPDATE host SET connections_hint = 6")  # another number than START
        monkeypatch.setattr("asyncdl.engine.pacing.TICK_S", 1e6)
        origin.asked.clear()
        origin.answer = again = Counting(n_held=6)
        await enqueue_all(bench, origin)
        async with bench.running(workers=32) as ended:
            async with asyncio.timeout(END_S):
                await again.open(6)
                again.go_on.set()
                assert await ended == Ended("empty")
        assert again.peak == 6
    assert_all_there(bench)


async def test_a_cap_that_is_remembered_is_never_passed(bench, fast):
    counting = Counting()
    async with Origin({"a.bin": b"a"} | FILES, counting) as origin:
        await enqueue_all(bench, origin, ["a.bin"])
        await finish(bench)
        bench.rows("INSERT OR REPLACE INTO host VALUES ('127.0.0.1', 30, 5, ?)", time.time())
        counting.n_held, counting.peak = 1000, 0
        await enqueue_all(bench, origin)
        async with bench.running(workers=32) as ended:
            async with asyncio.timeout(END_S):
                await counting.open(5)
                counting.go_on.set()
                assert await ended == Ended("empty")
    assert counting.peak == 5
    assert_all_there(bench)


# --- a pause


async def test_a_pause_that_one_engine_was_asked_for_is_kept_by_the_next(bench):
    async def closed(origin, request, data):
        return web.Response(status=429, headers={"Retry-After": "100"})

    async with Origin({"a.bin": b"a", "b.bin": b"b"}, closed) as origin:
        await enqueue_all(bench, origin, ["a.bin"])
        async with bench.running() as ended:
            await bench.told.wait_for(JobEnded, path="a.bin", outcome="parked")
            bench.engine.drain()
            assert await ended == Ended("drained")
        assert len(origin.asked) >= 1
        origin.asked.clear()
        origin.answer = plain
        await enqueue_all(bench, origin, ["b.bin"])
        async with bench.running() as ended:
            told = await bench.told.wait_for(JobEnded, path="b.bin")
            assert (told.outcome, told.error_class) == ("parked", "rate_limited")
            assert 50 < told.run_at - time.time() <= 100 + 60
            bench.engine.drain()
            assert await ended == Ended("drained")
        assert origin.asked == [], "the host is left alone"
    assert bench.states() == {"a.bin": "available", "b.bin": "available"}
    assert bench.rows("SELECT DISTINCT failures FROM job") == [(0,)], "a pause costs no attempt"
    assert bench.rows("SELECT DISTINCT outcome FROM attempt") == [("parked",)]


# --- how fast


async def test_the_limit_of_the_rate_is_kept_and_who_waits_for_it_is_no_stall(bench, at_once):
    """Eight requests wait for each other: each has its next block of 48 KiB after longer than a silence may last."""
    rate_per_s, stall_s = 600_000, 0.4
    files = dict(sorted(FILES.items())[:8])
    async with Origin(files) as origin:
        await enqueue_all(bench, origin)
        began = time.monotonic()
        await finish(bench, workers=1024, per_host=8, max_rate_per_s=rate_per_s, stall_timeout_s=stall_s)
        elapsed_s = time.monotonic() - began
        assert sum(map(len, files.values())) <= rate_per_s * (elapsed_s + BURST_S)
    assert bench.told.of(RequestFailed) == []
    assert_all_there(bench, files)


# --- silence: a new connection, another address, the signed URL anew, later

SIGNED = {"a.parquetx": GeneratedFile(1_200_000, seed=4)}


@pytest.mark.parametrize(
    ("n_stalls", "n_located"),
    [(RELOCATE_FROM - 1, 1), (RELOCATE_FROM, 2), (MAX_STREAK - 1, MAX_STREAK - RELOCATE_FROM + 1)],
)
async def test_a_signed_url_that_stays_silent_is_asked_for_anew(bench, short_waits, n_stalls, n_located):
    repo = Repo(REPO, SIGNED)
    async with DemoHub([repo], faults=[Fault("stall", origin="cdn", times=n_stalls)]) as hub:
        await bench.enqueue_repo(hub)
        await finish(bench, workers=1, stall_timeout_s=STALL_S)
        assert hub.totals["cdn"].n_requests == n_stalls + 1
        assert hub.totals["hub"].n_requests == n_located
    bench.assert_as_served(repo)
    assert [event.error_class for event in bench.told.of(RequestFailed)] == ["stalled"] * n_stalls
    assert bench.told.outcomes() == {("completed", None): 1}


async def test_a_host_that_stays_silent_whatever_is_tried_is_tried_again_later(bench, short_waits):
    repo = Repo(REPO, SIGNED)
    async with DemoHub([repo], faults=[Fault("stall", origin="cdn", times=MAX_STREAK)]) as hub:
        await bench.enqueue_repo(hub)
        await finish(bench, workers=1, stall_timeout_s=STALL_S)
        assert hub.totals["cdn"].n_requests == MAX_STREAK + 1
    bench.assert_as_served(repo)
    assert bench.told.outcomes() == {("retry", "stalled"): 1, ("completed", None): 1}


async def test_what_stalls_goes_to_a_new_connection_and_then_to_another_address(bench, short_waits, monkeypatch):
    content, seen = FILES["f00.bin"], []

    async def answer(origin, request, data):
        here, there = (request.transport.get_extra_info(name) for name in ("sockname", "peername"))
        seen.append((here[0], there[1]))
        if here[0] == "127.0.0.1":
            await part(data, *asked_range(request, len(data)), {"ETag": '"v1"'}).prepare(request)
            await asyncio.Event().wait()
        return await plain(origin, request, data)

    async def two(key):
        from socket import SOCK_STREAM, AddressFamily

        return [(AddressFamily.AF_INET, SOCK_STREAM, 6, "", (f"127.0.0.{n}", key[1])) for n in (1, 2)]

    monkeypatch.setattr("asyncdl.net.dial._look_up", two)
    async with Origin({"a.bin": content}, answer) as origin:
        await web.TCPSite(origin._runner, "127.0.0.2", origin.port).start()
        await bench.enqueue_known(f"http://two.test:{origin.port}", {"a.bin": (len(content), None)})
        await finish(bench, workers=1, stall_timeout_s=STALL_S)
    assert [address for address, _ in seen] == ["127.0.0.1"] * PATIENCE + ["127.0.0.2"]
    assert len({port for _, port in seen}) == len(seen), "each on a connection of its own"
    assert bench.file("a.bin", "host").read_bytes() == content

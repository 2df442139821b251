"""What a free slot does for a slow request: takes its rest over, asks for its last bytes twice, and counts them once.

The hosts here are scripted: the slow one brings so many bytes and then one now and then, for ever, so that a run can
only end when somebody else brought the rest.
"""

import asyncio
import random
import threading
from collections import defaultdict

import pytest

from asyncdl.core.events import RequestFailed
from asyncdl.core.overlap import WINDOW_BYTES
from asyncdl.core.plan import MIN_SHARE_BYTES, SEGMENT_BYTES
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.disk.partial import Partial
from asyncdl.engine.incoming import Incoming
from asyncdl.engine.meter import Meter
from asyncdl.engine.pacing import Pacing
from asyncdl.engine.run import Ended
from asyncdl.errors import TransferError
from asyncdl.net.body_transport import BodyTransport
from tests.support.origin import BLOCK_BYTES, Origin, asked_range, part, ranged

MIB = 1 << 20
CONTENT = random.Random(12).randbytes(4 * SEGMENT_BYTES)
END_S = 60.0  # a run that waits for the slow connection would never end
plain = ranged()


class Slow:
    """Answers with ranges; the first `times` requests that begin at `start` bring n_bytes, then one byte a pulse.

    start: None for any. go_on: lets them end at full speed. n_open: those that are slow now; n_dropped: those whose client went away.
    """

    def __init__(self, n_bytes, *, start=0, times=1, pulse_s=0.02):
        self.n_bytes = n_bytes
        self.start = start
        self.times = times
        self.pulse_s = pulse_s
        self.go_on = asyncio.Event()
        self.slow = asyncio.Event()
        self.n_open = 0
        self.n_dropped = 0

    async def __call__(self, origin, request, data):
        start, stop = asked_range(request, len(data))
        if self.start not in (None, start) or self.times == 0:
            return await plain(origin, request, data)
        self.times -= 1
        response = part(data, start, stop, {"ETag": '"v1"'})
        at = min(stop, start + self.n_bytes)
        self.n_open += 1
        try:
            await origin.send(request, response, data[start:at])
            self.slow.set()
            while at < stop:
                n = BLOCK_BYTES if self.go_on.is_set() else 1
                await origin.write(request, response, data[at : min(stop, at + n)])
                at += n
                await self._pulse()
        except (asyncio.CancelledError, ConnectionError):
            self.n_dropped += 1
            raise
        finally:
            self.n_open -= 1
        return response

    async def _pulse(self):
        try:
            async with asyncio.timeout(self.pulse_s):
                await self.go_on.wait()
        except TimeoutError:
            pass


@pytest.fixture
def soon(monkeypatch):
    """A request is slow after a fraction of a second; the slots are looked at more often, too."""
    monkeypatch.setattr("asyncdl.core.plan.SHARE_FROM_S", 0.2)
    monkeypatch.setattr("asyncdl.core.plan.SILENT_FROM_S", 0.3)
    monkeypatch.setattr("asyncdl.engine.pacing.TICK_S", 0.05)
    monkeypatch.setattr("asyncdl.engine.scheduler.HELP_EVERY_S", 0.02)


@pytest.fixture
def at_the_least(monkeypatch):
    """Every request is slow enough to be helped from its first moment on."""
    monkeypatch.setattr("asyncdl.core.plan.SHARE_FROM_S", 1e-6)
    monkeypatch.setattr("asyncdl.core.plan.SILENT_FROM_S", 1e-6)
    monkeypatch.setattr("asyncdl.engine.pacing.TICK_S", 0.01)
    monkeypatch.setattr("asyncdl.engine.scheduler.HELP_EVERY_S", 0.0)


@pytest.fixture
def writes(monkeypatch):
    """Every range that was written into a partial, in order."""
    ranges, write = [], Partial.write

    def noted(self, at, block):
        write(self, at, block)
        ranges.append(ByteRange(at, at + len(block)))

    monkeypatch.setattr(Partial, "write", noted)
    return ranges


@pytest.fixture
def meter(monkeypatch):
    """What the engine counts by."""
    made = Meter()
    monkeypatch.setattr("asyncdl.engine.run.Meter", lambda: made)
    return made


def held_write(monkeypatch, at):
    """Block the write that begins at `at`; return (it has begun, let it go)."""
    begun, go_on, write = threading.Event(), threading.Event(), Partial.write

    def noted(self, offset, block):
        if offset == at and not begun.is_set():
            begun.set()
            assert go_on.wait(END_S)
        write(self, offset, block)

    monkeypatch.setattr(Partial, "write", noted)
    return begun, go_on


class Ticks:
    """While it is entered: `next` waits until the pacing has given the free slots another look."""

    def __init__(self):
        self._news = asyncio.Event()

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        tick = Pacing._tick

        def noted(pacing):
            tick(pacing)
            news, self._news = self._news, asyncio.Event()
            news.set()

        self._patch.setattr(Pacing, "_tick", noted)

    def __exit__(self, *_):
        self._patch.undo()

    async def next(self):
        await self._news.wait()


def asked(origin):
    """The ranges that were asked for, as half-open pairs."""
    pairs = (header.removeprefix("bytes=").split("-") for _, header in origin.asked)
    return [(int(first), int(last) + 1) for first, last in pairs]


def assert_each_byte_once(ranges, size_bytes):
    assert RangeSet.of(*ranges) == RangeSet.of(ByteRange(0, size_bytes))
    assert sum(map(len, ranges)) == size_bytes, "no byte was written twice"


async def fetch(bench, origin, content=CONTENT, **changes):
    await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
    async with asyncio.timeout(END_S):
        assert await bench.run(**{"workers": 4} | changes) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == content
    assert bench.row("a.bin")["done_bytes"] == len(content)
    assert bench.told.of(RequestFailed) == []
    assert bench.told.outcomes() == {("completed", None): 1}
    assert bench.leftovers() == []


# --- the rest of a slow request


async def test_the_rest_of_a_slow_connection_is_taken_over_and_its_last_bytes_asked_for_twice(
    bench, even_segments, at_once, soon, writes, meter
):
    slow = Slow(MIB)
    async with Origin({"a.bin": CONTENT}, slow) as origin:
        await fetch(bench, origin)
        ranges = asked(origin)
        assert ranges[0] == (0, SEGMENT_BYTES)
        twins = [(start, stop) for start, stop in ranges[1:] if start < MIB + BLOCK_BYTES]
        assert len(twins) == 1, "the bytes that the slow connection would have brought next, once"
        assert twins[0][1] - twins[0][0] < 2 * MIN_SHARE_BYTES
        parts = [one for one in ranges if one[0] >= MIB and one[1] <= SEGMENT_BYTES]
        assert ByteRange(twins[0][0], SEGMENT_BYTES) in RangeSet.of(*(ByteRange(*one) for one in parts))
        assert len(ranges) <= 4 + 20, "halves of halves, not crumbs"
    assert (slow.n_open, slow.n_dropped) == (0, 1), "the one that lost was dropped"
    assert_each_byte_once(writes, len(CONTENT))
    assert meter.n_bytes == len(CONTENT)
    assert meter.n_requests == 0


async def test_a_small_file_on_a_slow_connection_is_asked_for_again_as_a_whole(bench, soon, writes, meter):
    content = CONTENT[: 2 * MIN_SHARE_BYTES - 1]
    slow = Slow(0)
    async with Origin({"a.bin": content}, slow) as origin:
        await fetch(bench, origin, content)
        assert asked(origin) == [(0, len(content))] * 2
    assert (slow.n_open, slow.n_dropped) == (0, 1)
    assert_each_byte_once(writes, len(content))
    assert meter.n_bytes == len(content)


async def test_where_both_bring_the_same_bytes_each_is_written_and_counted_once(bench, soon, writes, meter):
    """The slow one comes to life when its twin is asked for."""
    content = CONTENT[:400_000]
    slow = Slow(10_000)

    async def answer(origin, request, data):
        if len(origin.asked) > 1:
            slow.go_on.set()
        return await slow(origin, request, data)

    async with Origin({"a.bin": content}, answer) as origin:
        await fetch(bench, origin, content, workers=512)  # so many have slabs of 96 KiB: both write a few of them
        assert len(origin.asked) == 2
    assert_each_byte_once(writes, len(content))
    assert meter.n_bytes == len(content)


async def test_the_twin_that_loses_is_dropped_and_leaves_nothing(bench, soon, writes, meter):
    """The second one hangs; the first ends after all."""
    content = CONTENT[:400_000]
    slow, hangs = Slow(10_000), Slow(10_000, start=None)

    async def answer(origin, request, data):
        if len(origin.asked) == 1:
            return await slow(origin, request, data)
        slow.go_on.set()
        return await hangs(origin, request, data)

    async with Origin({"a.bin": content}, answer) as origin:
        await fetch(bench, origin, content, stall_timeout_s=2.0)
        assert len(origin.asked) == 2
    assert (hangs.n_open, hangs.n_dropped, slow.n_dropped) == (0, 1, 0)
    assert_each_byte_once(writes, len(content))
    assert (meter.n_bytes, meter.n_requests) == (len(content), 0)


async def test_a_twin_that_fails_is_followed_by_another(bench, soon):
    """The slow one is still there and as slow as ever: whose help was cut off needs help again."""
    content, slow = CONTENT[:400_000], Slow(0)

    async def answer(origin, request, data):
        if len(origin.asked) in (2, 3):
            await slow.slow.wait()
            response = part(data, *asked_range(request, len(data)), {"ETag": '"v1"'})
            await response.prepare(request)
            request.transport.close()
            return response
        return await slow(origin, request, data)

    async with Origin({"a.bin": content}, answer) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        async with asyncio.timeout(END_S):
            assert await bench.run(workers=4) == Ended("empty")
        assert asked(origin) == [(0, len(content))] * 4
    assert bench.file("a.bin", "host").read_bytes() == content


@pytest.mark.parametrize("winner", ["the twin", "the first"])
async def test_twins_both_go_on_until_one_has_brought_the_bytes_and_then_the_other_is_dropped(
    bench, at_once, soon, meter, winner
):
    """Whatever else of the file ends, and whatever is still to come."""
    start, size_bytes = 2 * SEGMENT_BYTES, 2 * SEGMENT_BYTES + 400_000
    others = [Slow(SEGMENT_BYTES - MIB // 16, start=at) for at in (0, SEGMENT_BYTES)]
    first, twin = Slow(1000, start=start), Slow(1000, start=start)
    wins, loses = (twin, first) if winner == "the twin" else (first, twin)

    async def answer(origin, request, data):
        at, _ = asked_range(request, len(data))
        index = at // SEGMENT_BYTES
        return await (others[index] if index < 2 else first if first.times else twin)(origin, request, data)

    async with Origin({"a.bin": CONTENT[:size_bytes]}, answer) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (size_bytes, None)})
        async with bench.running(workers=4) as ended:
            async with asyncio.timeout(END_S):
                await twin.slow.wait()
                others[0].go_on.set()
                await bench.until(lambda: others[0].n_open == 0 and meter.n_requests <= 3)
                assert (meter.n_requests, first.n_open, twin.n_open) == (3, 1, 1)
                wins.go_on.set()
                await bench.until(lambda: loses.n_dropped == 1)
                assert not ended.done()
                others[1].go_on.set()
                assert await ended == Ended("empty")
        assert len(origin.asked) == 4
    assert bench.told.outcomes() == {("completed", None): 1}
    assert bench.file("a.bin", "host").read_bytes() == CONTENT[:size_bytes]


async def test_a_file_is_whole_when_its_last_write_is_whoever_asked_for_it(bench, soon, meter, monkeypatch):
    """The twin ends while the slow one's bytes are on their way to the disk; they are the last that were missing."""
    content, slow = CONTENT[:400_000], Slow(300_000)
    begun, go_on = held_write(monkeypatch, 0)

    async def answer(origin, request, data):
        if len(origin.asked) == 2:
            await bench.until(begun.is_set)
        return await slow(origin, request, data)

    async with Origin({"a.bin": content}, answer) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        async with bench.running(workers=4, stall_timeout_s=2.0) as ended:
            await bench.until(lambda: begun.is_set() and len(origin.asked) == 2 and meter.n_requests == 1)
            go_on.set()
            async with asyncio.timeout(END_S):
                assert await ended == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == content
    assert meter.n_bytes == len(content), "of the twin's block only what was new"
    assert slow.n_dropped == 1


async def test_a_request_whose_end_was_taken_while_it_wrote_past_it_is_over(bench, at_once, soon, monkeypatch):
    """Its block of 512 KiB was on its way to the disk when all but 256 KiB was taken; nothing more comes of it."""
    content = CONTENT[: 2 * SEGMENT_BYTES]
    begun, go_on = held_write(monkeypatch, 0)
    rest = asyncio.Event()
    over = asyncio.Event()

    async def answer(origin, request, data):
        start, stop = asked_range(request, len(data))
        if len(origin.asked) == 1:  # one block, then silence
            response = part(data, start, stop, {"ETag": '"v1"'})
            try:
                await origin.send(request, response, data[: MIB // 2 + 10])
                await asyncio.Event().wait()
            finally:
                over.set()
        if start == SEGMENT_BYTES:  # what else is missing, so that the file is not whole yet
            await rest.wait()
        return await plain(origin, request, data)

    async with Origin({"a.bin": content}, answer) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        monkeypatch.setattr("asyncdl.core.plan.MIN_SEGMENT_BYTES", SEGMENT_BYTES)
        async with bench.running(workers=3) as ended:
            await bench.until(lambda: begun.is_set() and (MIN_SHARE_BYTES in [start for start, _ in asked(origin)]))
            go_on.set()
            async with asyncio.timeout(END_S):
                await over.wait()
            rest.set()
            assert await ended == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == content


@pytest.fixture
def in_first(monkeypatch):
    """Set once all of a request that began at 0 is in, and waits to be durable."""
    waits, make_durable = asyncio.Event(), Incoming.make_durable

    async def noted(self, start, stop):
        if start == 0:
            waits.set()
        await make_durable(self, start, stop)

    monkeypatch.setattr(Incoming, "make_durable", noted)
    return waits


async def test_a_drain_waits_for_no_bytes_that_another_request_lost(
    bench, even_segments, at_once, at_the_least, in_first, monkeypatch
):
    """The twin left to the first request what that one was writing just then, and the disk did not take it."""
    content = CONTENT[: SEGMENT_BYTES + 100]
    begun, go_on = threading.Event(), threading.Event()
    write = Partial.write

    def once_full(self, at, block):
        if at == 0 and not begun.is_set():
            begun.set()
            assert go_on.wait(END_S)
            raise TransferError("no_room", "no room", retry_after_s=0.0)
        write(self, at, block)

    monkeypatch.setattr(Partial, "write", once_full)
    async with Origin({"a.bin": content}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        async with bench.running(workers=512) as ended, asyncio.timeout(END_S):  # so many have small slabs
            await in_first.wait()
            bench.engine.drain()
            go_on.set()
            assert await ended == Ended("drained")
        row = bench.row("a.bin")
        assert (row["state"], row["failures"]) == ("available", 0)
        assert not row["had"].startswith("0-"), "what was lost is not had"
        assert await bench.run() == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == content


# --- what is left alone


async def test_a_slow_but_moving_connection_is_no_stall(bench, monkeypatch):
    """A byte between any two looks of the watchdog, for five times as long as a silence may last."""
    looked, look, n_looks = asyncio.Event(), BodyTransport._watch, 0

    def counted(self):
        nonlocal n_looks
        look(self)
        n_looks += 1
        looked.set()

    monkeypatch.setattr(BodyTransport, "_watch", counted)

    async def moving(origin, request, data):
        response = part(data, *asked_range(request, len(data)), {"ETag": '"v1"'})
        await response.prepare(request)
        for at in range(20):
            looked.clear()
            await origin.write(request, response, data[at : at + 1])
            await looked.wait()
        await origin.write(request, response, data[20:])
        return response

    content = CONTENT[:MIB]
    async with Origin({"a.bin": content}, moving) as origin:
        await fetch(bench, origin, content, workers=1, stall_timeout_s=0.4)
        assert len(origin.asked) == 1
    assert n_looks >= 20


async def test_nothing_is_taken_over_while_other_files_wait(bench, at_once, at_the_least):
    files = {f"f{n:02d}.bin": CONTENT[n : n + 5000] for n in range(60)}
    slow, ticks = Slow(MIB), Ticks()

    async def answer(origin, request, data):
        if len(data) == 5000:  # slots come free now and then, and meanwhile the slow one could be helped
            await ticks.next()
            return await plain(origin, request, data)
        return await slow(origin, request, data)

    async with Origin(files | {"a.bin": CONTENT[: 4 * MIB]}, answer) as origin:
        with ticks:
            facts = {path: (len(data), None) for path, data in origin.files.items()}
            await bench.enqueue_known(origin.url, facts)
            async with asyncio.timeout(END_S):
                assert await bench.run(workers=4) == Ended("empty")
        first = defaultdict(list)
        for at, (path, _) in enumerate(origin.asked):
            first[path].append(at)
        begun_before = sum(times[0] < first["a.bin"][1] for path, times in first.items() if path != "a.bin")
    assert begun_before >= 60 - 3, "the last of them may still be opening their partials"
    assert bench.file("a.bin", "host").read_bytes() == CONTENT[: 4 * MIB]


async def test_an_object_of_unknown_size_is_not_cut_before_its_first_answer(bench, at_the_least):
    """Behind its end a range is refused, and the host would be taken for one that knows no ranges."""
    content, ticks = CONTENT[:MIB], Ticks()

    async def thinking(origin, request, data):
        for _ in range(5 if len(origin.asked) == 1 else 0):
            await ticks.next()
        return await plain(origin, request, data)

    async with Origin({"a.bin": content}, thinking) as origin:
        with ticks:
            await bench.enqueue_url(origin.url, ["a.bin"])
            async with asyncio.timeout(END_S):
                assert await bench.run(workers=4) == Ended("empty")
        assert {start for start, _ in asked(origin) if start >= MIB} == set()
        assert all(header for _, header in origin.asked), "never for the whole"
    assert bench.file("a.bin", "host").read_bytes() == content


# --- the size of a request follows the rate


@pytest.mark.parametrize(
    ("segment_s", "expected"),
    [
        (0.0, [(at * MIB, (at + 1) * MIB) for at in range(8, 12)]),
        (1e9, [(8 * MIB, 12 * MIB)]),
    ],
    ids=["too slow for the least", "faster than the most"],
)
async def test_the_requests_after_the_first_are_as_long_as_its_rate_allows(bench, monkeypatch, segment_s, expected):
    monkeypatch.setattr("asyncdl.core.plan.SEGMENT_S", segment_s)
    content = CONTENT[: 12 * MIB]
    async with Origin({"a.bin": content}) as origin:
        await fetch(bench, origin, content, workers=1)
        assert asked(origin) == [(0, SEGMENT_BYTES), *expected]


# --- ends while sharing


def held_shares(slow):
    """The slow one is slow, those who help it bring MIB and wait for `go_on`."""
    helpers = asyncio.Event()

    async def answer(origin, request, data):
        start, stop = asked_range(request, len(data))
        if start % SEGMENT_BYTES == 0:
            return await slow(origin, request, data)
        response = part(data, start, stop, {"ETag": '"v1"'})
        await origin.send(request, response, data[start : min(stop, start + MIB)])
        helpers.set()
        await slow.go_on.wait()
        await origin.write(request, response, data[min(stop, start + MIB) : stop])
        return response

    return answer, helpers


@pytest.mark.parametrize("how", ["drain", "stop"])
async def test_an_end_while_a_rest_is_shared_loses_nothing_and_asks_for_nothing_twice(
    bench, even_segments, at_once, soon, writes, how
):
    slow = Slow(MIB)
    answer, helpers = held_shares(slow)
    size_bytes = 3 * SEGMENT_BYTES
    async with Origin({"a.bin": CONTENT[:size_bytes]}, answer) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (size_bytes, None)})
        async with bench.running(workers=2) as ended:
            await helpers.wait()
            before = len(origin.asked)
            getattr(bench.engine, how)()
            if how == "drain":
                slow.go_on.set()
            async with asyncio.timeout(END_S):
                await ended
            assert len(origin.asked) == before, "nothing was begun after it"
        row = bench.row("a.bin")
        if how == "stop":
            assert (row["state"], row["failures"]) == ("available", 0)
            assert row["done_bytes"] == RangeSet.parse(row["had"]).n_bytes == sum(map(len, writes))
        else:
            assert row["state"] == "completed", "all its bytes were asked for: a drain waits for them"
        slow.go_on.set()
        assert await bench.run() == Ended("empty")
        had = RangeSet.parse(row["had"])
        again = [ByteRange(*one) for one in asked(origin)[before:]]
        assert all(len(one) <= WINDOW_BYTES or had.missing(one) == [one] for one in again), "but to compare"
    assert_each_byte_once(writes, size_bytes)
    assert bench.file("a.bin", "host").read_bytes() == CONTENT[:size_bytes]


async def test_a_drain_ends_when_the_last_request_comes_in_after_another_lost_its_bytes(
    bench, even_segments, at_once, at_the_least, meter, monkeypatch
):
    """The first one fails while its twin still writes the rest: then nobody else is left to say that it is over."""
    content = CONTENT[: SEGMENT_BYTES + 100]
    lost, lose, begun, go_on = (threading.Event() for _ in range(4))
    write, n_lost = Partial.write, 0

    def once_full(self, at, block):
        nonlocal n_lost
        if at == 0 and not lost.is_set():
            n_lost = len(block)
            lost.set()
            assert lose.wait(END_S)
            raise TransferError("no_room", "no room", retry_after_s=0.0)
        if lost.is_set() and at == n_lost and not begun.is_set():
            begun.set()
            assert go_on.wait(END_S)
        write(self, at, block)

    monkeypatch.setattr(Partial, "write", once_full)
    async with Origin({"a.bin": content}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        async with bench.running(workers=512) as ended, asyncio.timeout(END_S):  # so many have small slabs
            await bench.until(lambda: begun.is_set() and meter.n_requests == 2)
            bench.engine.drain()
            lose.set()
            await bench.until(lambda: meter.n_requests == 1)
            go_on.set()
            assert await ended == Ended("drained")
    assert bench.row("a.bin")["state"] == "available"

"""Another validator for the same bytes costs two small requests; another object is never mixed into what is had."""

import asyncio
import hashlib
import random
import threading

import pytest
from aiohttp.web import StreamResponse

from asyncdl.core.events import RequestFailed
from asyncdl.core.model import Digest
from asyncdl.core.overlap import WINDOW_BYTES
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Pinned
from asyncdl.disk.partial import Partial, open_partial
from asyncdl.engine.overlap import Window, look_again
from asyncdl.engine.run import Ended
from asyncdl.net.slabs import MAX_SLAB_BYTES
from tests.support.origin import Origin, asked_range, part, ranged, whole

SIZE = 5 * SEGMENT_BYTES + 17
CONTENT = random.Random(11).randbytes(SIZE)
DATE, LATER = "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"


def digest_of(content):
    return Digest("sha256", hashlib.sha256(content).hexdigest())


def changed_in_the_middle(content):
    """Where no window looks: behind the two segments that a first run brought, and between their windows."""
    at = SEGMENT_BYTES
    return content[:at] + bytes(255 - byte for byte in content[at : at + 9]) + content[at + 9 :]


class Host:
    """Serves ranges with the validators that `say` gives for the n-th request, 1-based.

    hold_from: this request and later ones wait, their heads unsent, until `go_on`.
    """

    def __init__(self, say, *, hold_from=1 << 30):
        self.say = say
        self.n = 0
        self.ranges = []
        self.hold_from = hold_from
        self.held, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, origin, request, content):
        self.n += 1
        n = self.n
        asked = asked_range(request, len(content))
        if n >= self.hold_from:
            self.held.set()
            await self.go_on.wait()
        self.ranges.append(asked)
        return await origin.send(request, part(content, *asked, self.say(n)), content[slice(*asked)])

    @property
    def windows(self):
        """The small requests, but for the file's last bytes."""
        return [
            (start, stop) for start, stop in self.ranges if stop - start <= WINDOW_BYTES and start < 5 * SEGMENT_BYTES
        ]


def own_etag(n):
    return {"ETag": f'"{n}"'}


def own_etag_one_date(n):
    return own_etag(n) | {"Last-Modified": DATE}


async def two_segments_then_stop(bench, origin, say):
    """A run that ends, untried, when two segments are had and the third is asked for."""
    origin.answer = first = Host(say, hold_from=3)
    async with bench.running(workers=1):
        await first.held.wait()
        bench.engine.stop()
    first.go_on.set()
    assert bench.row("a.bin")["had"] == f"0-{2 * SEGMENT_BYTES}"


def assert_resumed(host):
    """Of the two segments that were had, two windows were asked for and nothing else."""
    head, tail = (0, WINDOW_BYTES), (2 * SEGMENT_BYTES - WINDOW_BYTES, 2 * SEGMENT_BYTES)
    assert sorted(asked for asked in host.ranges if asked[0] < 2 * SEGMENT_BYTES) == [head, tail]


# --- within one run


@pytest.mark.parametrize("say", [own_etag, own_etag_one_date])
@pytest.mark.parametrize("size_bytes", [SIZE, None], ids=["size known", "size unknown"])
@pytest.mark.parametrize("digest", [digest_of(CONTENT), None], ids=["digest", "no digest"])
async def test_an_etag_of_each_answers_own_costs_two_windows_and_nothing_that_is_had(
    bench, even_segments, say, size_bytes, digest
):
    async with Origin({"a.bin": CONTENT}, host := Host(say)) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (size_bytes, digest)})
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert len(host.windows) == 2
    assert [asked for asked in host.ranges if asked not in host.windows].count((0, SEGMENT_BYTES)) == 1
    assert bench.told.of(RequestFailed)[0].error_class == "remote_changed"
    assert len(bench.told.of(RequestFailed)) == 1


async def test_answers_that_come_at_once_under_etags_of_their_own_are_one_object(bench, at_once):
    """The first ones come before anything is written: then two answers are held against each other."""
    async with Origin({"a.bin": CONTENT}, Host(own_etag)) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        assert await bench.run(workers=16) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert bench.told.outcomes() == {("completed", None): 1}


async def test_one_new_etag_for_the_same_bytes_is_taken_where_a_digest_judges(bench, even_segments):
    def say(n):
        return {"ETag": '"edge 1"' if n <= 2 else '"edge 2"'}

    async with Origin({"a.bin": CONTENT}, host := Host(say)) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, digest_of(CONTENT))})
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert len(host.windows) == 2
    assert host.ranges.count((0, SEGMENT_BYTES)) == 1


async def test_a_new_etag_for_other_bytes_is_another_object(bench, even_segments):
    """Although every ETag is another one, and no digest is known."""
    new = bytes(255 - byte for byte in CONTENT)

    async with Origin({"a.bin": CONTENT}, host := Host(own_etag)) as origin:

        async def changing(origin, request, _content):
            return await host(origin, request, CONTENT if host.n < 1 else new)

        origin.answer = changing
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == new


async def test_a_host_that_never_stops_changing_is_looked_at_again_once_for_each_attempt(bench, even_segments):
    """Two machines, one of which has another object: whichever answers, its bytes are not mixed with the other's."""
    new = changed_in_the_middle(CONTENT)
    host = Host(lambda n: {"ETag": '"new"' if n % 3 == 2 else '"old"'})

    async def two_faced(origin, request, _content):
        return await host(origin, request, new if host.n % 3 == 1 else CONTENT)

    async with Origin({"a.bin": CONTENT}, two_faced) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        async with bench.running(workers=1):
            await bench.until(lambda: len(bench.told.of(RequestFailed)) >= 3)
            bench.engine.stop()
    assert len(host.windows) <= 2


async def test_what_is_known_to_be_fickle_stays_so_when_the_object_changes(bench, even_segments):
    """Another size is another object; its ETags are no better, and are not looked at again."""
    new = random.Random(13).randbytes(SIZE - 7)
    host = Host(own_etag)

    async def changing(origin, request, _content):
        return await host(origin, request, CONTENT if host.n < 5 else new)

    async with Origin({"a.bin": CONTENT}, changing) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == new
    assert bench.told.outcomes() == {("completed", None): 1}
    assert len(host.windows) == 2


# --- between two runs


@pytest.mark.parametrize("say", [own_etag, own_etag_one_date])
async def test_etags_of_each_answers_own_do_not_cost_what_an_earlier_run_brought(bench, even_segments, say):
    async with Origin({"a.bin": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        # The first run meets one ETag only, so that it ends with two segments.
        await two_segments_then_stop(bench, origin, lambda _: say(1))
        origin.answer = host = Host(lambda n: say(n + 1))
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert_resumed(host)
    assert bench.told.of(RequestFailed) == []


@pytest.mark.parametrize("say", [own_etag, own_etag_one_date])
async def test_what_was_found_out_to_be_fickle_is_resumed_in_a_later_run(bench, even_segments, say):
    async with Origin({"a.bin": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        origin.answer = first = Host(say, hold_from=6)  # two segments' answers differ, two windows, the second again
        async with bench.running(workers=1):
            await first.held.wait()
            bench.engine.stop()
        first.go_on.set()
        assert bench.row("a.bin")["had"] == f"0-{2 * SEGMENT_BYTES}"
        origin.answer = host = Host(lambda n: say(100 + n))
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert_resumed(host)


async def test_a_validator_that_stays_does_not_vouch_for_bytes_that_changed(bench, even_segments):
    """An overlap is asked for even where nothing looks wrong, for without a digest nothing else would tell."""
    new = bytes(255 - byte for byte in CONTENT)
    async with Origin({"a.bin": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        await two_segments_then_stop(bench, origin, lambda _: {"ETag": '"v1"'})
        origin.files, origin.answer = {"a.bin": new}, Host(lambda _: {"ETag": '"v1"'})
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == new


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda _: {"ETag": '"old"'}, lambda _: {"ETag": '"new"'}),
        (lambda _: {"Last-Modified": DATE}, lambda n: own_etag(n) | {"Last-Modified": LATER}),
    ],
    ids=["one new ETag", "a later date"],
)
async def test_an_object_that_was_replaced_is_begun_again_though_the_windows_are_the_same(
    bench, even_segments, before, after
):
    new = changed_in_the_middle(CONTENT)
    async with Origin({"a.bin": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        await two_segments_then_stop(bench, origin, before)
        origin.files, origin.answer = {"a.bin": new}, Host(after)
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == new


async def test_with_a_digest_promised_a_resume_asks_for_no_overlap(bench, even_segments):
    async with Origin({"a.bin": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, digest_of(CONTENT))})
        await two_segments_then_stop(bench, origin, lambda _: {"ETag": '"v1"'})
        origin.answer = host = Host(lambda _: {"ETag": '"v1"'})
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert min(host.ranges) == (2 * SEGMENT_BYTES, 3 * SEGMENT_BYTES)


async def test_where_no_range_is_served_any_more_the_file_is_begun_again(bench, short_waits, even_segments):
    """The tail of what is had cannot be looked at without reading all that comes before it."""
    new = changed_in_the_middle(CONTENT)
    async with Origin({"a.bin": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        await two_segments_then_stop(bench, origin, lambda _: {"ETag": '"v1"'})
        origin.files, origin.answer = {"a.bin": new}, whole('"v1"')
        came_bytes = origin.body_bytes
        assert await bench.run(workers=1) == Ended("empty")
        assert origin.body_bytes - came_bytes < 2 * SIZE, "all of it comes once, and the probes are left early"
    assert bench.file("a.bin", "host").read_bytes() == new
    assert {event.error_class for event in bench.told.of(RequestFailed)} == {"range_ignored"}


async def test_of_a_whole_object_nothing_is_read_behind_the_last_byte_that_was_missing(
    bench, short_waits, even_segments, at_once, monkeypatch
):
    """The second of two segments is had when the host turns deaf; what comes of it again is nobody's wish."""
    content, left = CONTENT[: 2 * SEGMENT_BYTES], threading.Event()
    feed, serve = Partial.feed, ranged()

    async def without_the_first(origin, request, data):
        start, stop = asked_range(request, len(data))
        if start == 0:
            await part(data, start, stop, {"ETag": '"v1"'}).prepare(request)
            await asyncio.Event().wait()
        return await serve(origin, request, data)

    async def stuck_in_the_second(origin, request, data):
        response = StreamResponse(headers={"ETag": '"v1"', "Content-Length": str(len(data))})
        try:
            await origin.send(request, response, data[: SEGMENT_BYTES + 4 * MAX_SLAB_BYTES])
            await asyncio.Event().wait()
        finally:
            if "Range" not in request.headers:
                left.set()

    def after_it_was_left(self, digester, start, stop):
        assert left.wait(20), "the digest alone ended the request"
        feed(self, digester, start, stop)

    async with Origin({"a.bin": content}, without_the_first) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), digest_of(content))})
        async with bench.running(workers=2):
            await bench.until(lambda: bench.row("a.bin")["had"] == f"{SEGMENT_BYTES}-{2 * SEGMENT_BYTES}")
            bench.engine.stop()
        origin.answer = stuck_in_the_second
        monkeypatch.setattr(Partial, "feed", after_it_was_left)
        assert await bench.run(workers=2) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == content
    assert {event.error_class for event in bench.told.of(RequestFailed)} == {"range_ignored"}


@pytest.mark.parametrize("how", ["drain", "stop"])
async def test_an_engine_that_ends_while_it_looks_loses_nothing(bench, even_segments, how):
    async with Origin({"a.bin": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (SIZE, None)})
        await two_segments_then_stop(bench, origin, lambda _: {"ETag": '"v1"'})
        origin.answer = looking = Host(own_etag, hold_from=1)
        async with bench.running(workers=2):
            await looking.held.wait()
            getattr(bench.engine, how)()
            looking.go_on.set()
        assert looking.n == 1, "no second window is asked for"
        assert bench.row("a.bin")["had"] == f"0-{2 * SEGMENT_BYTES}"
        assert bench.row("a.bin")["failures"] == 0
        origin.answer = host = Host(own_etag)
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert_resumed(host)


# --- one look, step by step


class AtOnce:
    async def call(self, function, *args):
        return function(*args)


@pytest.fixture
def opened(tmp_path):
    partial, _ = open_partial(tmp_path / "a.bin", RangeSet(), take_over=False)
    yield partial
    partial.close()


async def look(opened, written, *answers):
    """answers: (validator, content of the whole) of each request in turn."""
    script = list(answers)

    async def fetch(window):
        validator, content = script.pop(0)
        window.pin(Pinned(len(content), validator))
        await window.write(window.range.start, memoryview(content)[window.range.start : window.range.stop])

    known = Pinned(len(answers[0][1]), '"old"')
    return await look_again(known, written, opened, AtOnce(), fetch, is_promised=False)


SMALL = bytes(range(256)) * 2000
OTHER = bytes(255 - byte for byte in SMALL)


async def test_where_nothing_is_had_two_answers_are_held_against_each_other(opened):
    assert await look(opened, RangeSet(), ('"a"', SMALL), ('"b"', OTHER)) is None
    kept = await look(opened, RangeSet(), ('"a"', SMALL), ('"b"', SMALL))
    assert kept == Pinned(len(SMALL), '"old"', is_fickle=True)


async def test_the_little_that_is_had_is_looked_at_too(opened):
    written = RangeSet.of(ByteRange(10, 20))
    opened.write(0, OTHER[:100])
    assert await look(opened, written, ('"a"', SMALL), ('"b"', SMALL)) is None
    opened.write(10, SMALL[10:20])
    assert await look(opened, written, ('"a"', SMALL), ('"b"', SMALL)) is not None, "the rest of the disk is nobody's"


@pytest.mark.parametrize("spoiled", [0, 400_000 - 1])
async def test_both_ends_of_what_is_had_must_be_the_same(opened, spoiled):
    written = RangeSet.of(ByteRange(0, 400_000))
    opened.write(0, SMALL)
    assert await look(opened, written, ('"a"', SMALL), ('"b"', SMALL)) is not None
    opened.write(spoiled, bytes((SMALL[spoiled] ^ 1,)))
    assert await look(opened, written, ('"a"', SMALL), ('"b"', SMALL)) is None


async def test_a_window_takes_its_own_bytes_only_and_nothing_is_read_to_come_to_it(opened):
    window = Window(opened, len(SMALL), ByteRange(100, 200))
    assert await window.write(150, memoryview(SMALL)[150:400]) == 50
    assert await window.write(400, memoryview(SMALL)[400:500]) == 0
    assert not window.is_whole
    assert await window.write(100, memoryview(SMALL)[100:150]) == 50
    assert window.is_whole
    assert window.content == SMALL[100:200]
    beyond = Window(opened, len(SMALL), ByteRange(100, 200))
    assert await beyond.write(0, memoryview(SMALL)[:300]) == 0
    assert beyond.is_out_of_reach
    assert beyond.is_whole

"""What becomes of a failure: again within the attempt, again later, anew, aside, or never; by its class alone."""

import asyncio
import hashlib
import random
import time

import pytest

from asyncdl.core.events import FileQuarantined, GateClosed, JobEnded, RequestFailed
from asyncdl.core.model import Digest
from asyncdl.core.overlap import WINDOW_BYTES
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.core.retry import MAX_FAILURES, MAX_MISMATCHES, MAX_STREAK
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from asyncdl.disk.layout import corrupted_path
from asyncdl.engine.run import Ended
from tests.support.engine import REPO
from tests.support.origin import Origin, asked_range, part, ranged

BIG = "data/big.parquetx"
REPO_FILES = {BIG: GeneratedFile(3 * SEGMENT_BYTES + 9, seed=5), "b.parquetx": GeneratedFile(1_300_000, seed=6)}


def repo_of(files=REPO_FILES, **options):
    return Repo(REPO, files, **options)


# --- again


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        (Fault("status", status=408), "http_408"),
        (Fault("status", status=500), "http_5xx"),
        (Fault("status", status=502), "http_5xx"),
        (Fault("status", status=504), "http_5xx"),
        (Fault("hang_up"), "dropped"),
        (Fault("drop", after_bytes=30_000), "short_body"),
        (Fault("early_end", after_bytes=30_000), "short_body"),
        (Fault("stall", after_bytes=30_000), "stalled"),
        (Fault("html"), "html_instead"),
        (Fault("gzip"), "encoded"),
        (Fault("wrong_length"), "wrong_length"),
        (Fault("range_shifted"), "range_shifted"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.kind} {value.status}",
)
async def test_a_passing_fault_costs_requests_and_no_attempt(bench, short_waits, fault, error_class):
    repo = repo_of()
    faults = [Fault(**{name: getattr(fault, name) for name in fault.__slots__} | {"origin": "cdn", "times": 2})]
    async with DemoHub([repo], faults=faults) as hub:
        await bench.enqueue_repo(hub)
        options = {"stall_timeout_s": 0.4} if fault.kind == "stall" else {}
        assert await bench.run(**options) == Ended("empty")
        assert hub.totals["cdn"].faults[fault.kind] == 2
    bench.assert_as_served(repo)
    seen = {event.error_class for event in bench.told.of(RequestFailed)}
    assert seen == {error_class} or (fault.kind == "hang_up" and not seen), "a kept connection is tried anew at once"
    assert bench.told.outcomes() == {("completed", None): 2}
    assert bench.rows("SELECT count(*) FROM attempt") == [(0,)]


async def test_what_came_before_a_cut_is_not_asked_for_again(bench, short_waits, even_segments):
    repo = repo_of({BIG: REPO_FILES[BIG]})
    size_bytes = REPO_FILES[BIG].size_bytes
    faults = [Fault("early_end", origin="cdn", every=2, after_bytes=1_500_000)]
    async with DemoHub([repo], faults=faults) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
        assert hub.totals["cdn"].faults["early_end"] >= 2
        assert hub.totals["cdn"].body_bytes == size_bytes
    bench.assert_as_served(repo)


async def test_an_attempt_that_brings_no_byte_is_charged_and_the_tenth_discards(bench, short_waits):
    repo = repo_of({"a.parquetx": GeneratedFile(1_200_000), "bad.parquetx": GeneratedFile(1_300_000)})
    async with DemoHub([repo], faults=[Fault("status", origin="cdn", path="bad*", status=500)]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
        assert hub.totals["cdn"].requests_by_path["bad.parquetx"] == MAX_FAILURES * MAX_STREAK
    assert bench.states() == {"a.parquetx": "completed", "bad.parquetx": "discarded"}
    assert bench.errors() == {"bad.parquetx": "http_5xx"}
    n = MAX_FAILURES - 1
    assert bench.told.outcomes() == {("completed", None): 1, ("retry", "http_5xx"): n, ("discarded", "http_5xx"): 1}


async def test_an_attempt_that_brought_bytes_is_not_charged_and_they_are_kept(bench, short_waits):
    """The host serves the first segment's first 3 MiB, then nothing more until the job is tried again."""
    content = random.Random(1).randbytes(2 * SEGMENT_BYTES)
    reach, starts = 3 << 20, []

    async def stingy(origin, request, data):
        start, stop = asked_range(request, len(data))
        starts.append(start)
        if start >= reach:
            return await failing(origin, request, data)
        response = part(data, start, stop, {"ETag": '"v1"'})
        await origin.send(request, response, data[start : min(stop, reach)])
        request.transport.close()
        return response

    async def failing(origin, request, data):
        from aiohttp import web

        return web.Response(status=500)

    async with Origin({"a.bin": content}, stingy) as origin:
        await bench.enqueue_url(origin.url, ["a.bin"])
        async with bench.running(forever=True):
            await bench.told.wait_for(JobEnded, outcome="retry")
            reach = len(content)
            await bench.told.wait_for(JobEnded, outcome="completed")
            bench.engine.drain()
        again_bytes = 2 * WINDOW_BYTES + (256 << 10)  # the look at what is had, and what was on its way
        assert origin.body_bytes <= len(content) + again_bytes, "what was written before is had"
    assert bench.rows("SELECT failures FROM job") == [(0,)]
    assert bench.file("a.bin", "host").read_bytes() == content


# --- never


@pytest.mark.parametrize(
    ("options", "fault", "error_class"),
    [
        ({"private": True}, None, "unauthorized"),
        ({"gated": "auto"}, None, "gated"),
        ({}, Fault("missing", path="b*"), "not_found"),
        ({}, Fault("status", path="b*", status=410), "gone"),
        ({}, Fault("status", path="b*", origin="hub", status=403), "forbidden"),
        ({}, Fault("status", path="b*", origin="hub", status=451), "http_4xx"),
        ({}, Fault("redirect_loop", path="b*", origin="hub"), "redirect_loop"),
        ({}, Fault("redirect_to", path="b*", location="ftp://127.0.0.1/x"), "redirect_scheme"),
        ({}, Fault("redirect_to", path="b*", location="file:///etc/hostname"), "redirect_scheme"),
        ({}, Fault("redirect_to", path="b*", location="http://user:pw@127.0.0.1/x"), "redirect_scheme"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_trying_again_cannot_help_is_discarded_at_once(bench, options, fault, error_class):
    bad = repo_of({"b.parquetx": REPO_FILES["b.parquetx"]}, **options)
    good = Repo("org/good", {"a.txt": b"a", "c.parquetx": GeneratedFile(99)})
    async with DemoHub([bad, good], faults=[fault] if fault else []) as hub:
        await bench.enqueue_repo(hub)
        await bench.enqueue_repo(hub, "org/good")
        assert await bench.run() == Ended("empty")
    assert bench.errors() == {"b.parquetx": error_class}
    assert bench.told.outcomes() == {("completed", None): 2, ("discarded", error_class): 1}


async def test_a_public_host_that_leads_inside_is_discarded_and_nobody_inside_is_asked(bench, monkeypatch):
    """127.0.0.1 plays the public host, localhost the inside."""

    async def only_localhost(host):
        return host == "localhost"

    monkeypatch.setattr("asyncdl.net.client._is_inside", only_localhost)
    async with Origin({"x": b"secret"}) as inside:
        location = f"http://localhost:{inside.port}/x"
        async with DemoHub([repo_of()], faults=[Fault("redirect_to", path="b*", location=location)]) as hub:
            await bench.enqueue_repo(hub)
            await bench.run(allow_private=False)
        assert inside.asked == []
    assert bench.errors()["b.parquetx"] == "private_address"


async def test_one_discarded_file_holds_no_slot_and_stops_nobody(bench, short_waits):
    """A big file fails for good while many of its segments wait; the slots it had must come back."""
    files = {BIG: GeneratedFile(20 * SEGMENT_BYTES, seed=1)}
    files |= {f"z{n:02d}.parquetx": GeneratedFile(300_000, seed=n) for n in range(40)}
    repo = repo_of(files)
    async with DemoHub([repo], faults=[Fault("missing", origin="cdn", path=BIG, skip=3)]) as hub:
        await bench.enqueue_repo(hub)
        assert await bench.run(workers=4) == Ended("empty")
        assert hub.totals["cdn"].requests_by_path[BIG] <= 3 + 4, "a discarded file asks for nothing more"
    assert bench.errors() == {BIG: "not_found"}
    assert bench.told.outcomes() == {("completed", None): 40, ("discarded", "not_found"): 1}


async def test_a_body_longer_than_it_was_said_to_be_is_discarded_and_nothing_of_the_excess_is_kept(bench):
    content = random.Random(2).randbytes(3 * SEGMENT_BYTES)

    async def excess(origin, request, data):
        from aiohttp import web

        start, stop = asked_range(request, len(data))
        response = web.StreamResponse(status=206, headers={"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})
        response.enable_chunked_encoding()
        return await origin.send(request, response, data[start:stop] + b"\0" * 100_000)

    async with Origin({"a.bin": content}, excess) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        await bench.run(workers=1)
        assert bench.errors() == {"a.bin": "too_large"}
        origin.answer = ranged()
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        await bench.run()
    assert bench.file("a.bin", "host").read_bytes() == content


# --- a remote that changes


def other(content: bytes) -> bytes:
    return bytes(255 - value for value in content[:256]) * (len(content) // 256) + content[: len(content) % 256]


@pytest.mark.parametrize("resized", [False, True], ids=["same size", "other size"])
async def test_an_object_that_changes_meanwhile_is_begun_again_and_never_mixed(bench, resized, even_segments):
    old = random.Random(3).randbytes(4 * SEGMENT_BYTES + 5)
    new = other(old)[: -7 if resized else None]
    serves_old, serves_new = ranged('"old"'), ranged('"new"')

    async def changing(origin, request, data):
        return await (serves_old(origin, request, old) if len(origin.asked) <= 2 else serves_new(origin, request, new))

    async with Origin({"a.bin": old}, changing) as origin:
        await bench.enqueue_url(origin.url, ["a.bin"])
        assert await bench.run(workers=1) == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == new
    assert {event.error_class for event in bench.told.of(RequestFailed)} == {"remote_changed"}
    assert bench.told.outcomes() == {("completed", None): 1}


async def test_answers_to_the_first_requests_are_held_against_each_other(bench):
    """Eight segments are asked for before any validator is known; two machines behind the host differ."""
    old = random.Random(4).randbytes(6 * SEGMENT_BYTES)
    new = other(old)
    serves_old, serves_new = ranged('"old"'), ranged('"new"')

    async def two_faced(origin, request, data):
        n = len(origin.asked)
        return await (serves_old(origin, request, old) if n <= 6 and n % 2 else serves_new(origin, request, new))

    async with Origin({"a.bin": old}, two_faced) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(old), None)})
        assert await bench.run() == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == new


async def test_an_object_that_changed_between_two_runs_is_begun_again(bench, even_segments):
    old = random.Random(5).randbytes(4 * SEGMENT_BYTES + 5)
    new = other(old)
    held, go_on = asyncio.Event(), asyncio.Event()
    plain = ranged('"old"')

    async def hold_the_third(origin, request, data):
        if len(origin.asked) == 3:
            held.set()
            await go_on.wait()
        return await plain(origin, request, data)

    async with Origin({"a.bin": old}, hold_the_third) as origin:
        await bench.enqueue_url(origin.url, ["a.bin"])
        async with bench.running(workers=1):
            await held.wait()
            bench.engine.stop()
        assert bench.row("a.bin")["had"] == f"0-{2 * SEGMENT_BYTES}"
        go_on.set()
        origin.files, origin.answer = {"a.bin": new}, ranged('"new"')
        assert await bench.run() == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == new


async def test_bytes_that_nothing_vouches_for_are_not_carried_into_another_run(bench):
    """No digest, no validator: whether the object is still the same cannot be told, so it is begun again."""
    old = random.Random(6).randbytes(4 * SEGMENT_BYTES + 5)
    new = other(old)
    held, go_on = asyncio.Event(), asyncio.Event()
    plain = ranged(None)

    async def hold_the_third(origin, request, data):
        if len(origin.asked) == 3:
            held.set()
            await go_on.wait()
        return await plain(origin, request, data)

    async with Origin({"a.bin": old}, hold_the_third) as origin:
        await bench.enqueue_url(origin.url, ["a.bin"])
        async with bench.running(workers=1):
            await held.wait()
            bench.engine.stop()
        go_on.set()
        origin.files, origin.answer = {"a.bin": new}, plain
        assert await bench.run() == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == new


async def test_an_object_that_never_stops_changing_is_charged_like_any_failure(bench, short_waits, even_segments):
    content = random.Random(7).randbytes(2 * SEGMENT_BYTES)

    async def restless(origin, request, data):
        n = len(origin.asked)
        return await ranged(f'"{n}"')(origin, request, bytes((n % 251,)) * len(data))

    async with Origin({"a.bin": content}, restless) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        await bench.run(workers=1)
    assert bench.errors() == {"a.bin": "remote_changed"}
    n = MAX_FAILURES - 1
    assert bench.told.outcomes() == {("retry", "remote_changed"): n, ("discarded", "remote_changed"): 1}
    assert not bench.file("a.bin", "host").exists()


async def test_a_changed_object_with_a_digest_ends_as_what_was_promised(bench, short_waits):
    repo = repo_of()
    async with DemoHub([repo], faults=[Fault("changed", origin="cdn", every=3, times=4)]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
        assert hub.totals["cdn"].faults["changed"] >= 2
    bench.assert_as_served(repo)


# --- wrong content


async def test_a_wrong_digest_is_kept_aside_and_the_file_fetched_again(bench):
    """One segment, so there is nothing to repair it from: see test_engine_repair for larger ones."""
    path, file = "b.parquetx", REPO_FILES["b.parquetx"]
    repo = repo_of({path: file})
    async with DemoHub([repo], faults=[Fault("flipped", origin="cdn", times=1)]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
        assert hub.totals["cdn"].body_bytes == 2 * file.size_bytes
    bench.assert_as_served(repo)
    assert bench.told.of(FileQuarantined) == [FileQuarantined(path=path, error_class="digest_mismatch")]
    aside = corrupted_path(bench.file(path))
    assert hashlib.sha256(aside.read_bytes()).hexdigest() != file.sha256
    assert aside.stat().st_size == file.size_bytes


async def test_a_source_that_serves_the_wrong_digest_three_times_is_believed(bench):
    content = b"what the source really has"
    promised = Digest("sha256", hashlib.sha256(b"what it announces").hexdigest())
    async with Origin({"a.bin": content, "b.bin": b"b"}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), promised), "b.bin": (1, None)})
        assert await bench.run() == Ended("empty")
        assert origin.bytes_by_path["a.bin"] == (MAX_MISMATCHES + 1) * len(content)
    assert bench.errors() == {"a.bin": "digest_mismatch"}
    assert bench.states()["b.bin"] == "completed"
    final = bench.file("a.bin", "host")
    assert not final.exists()
    assert corrupted_path(final).read_bytes() == content


# --- pauses


async def test_retry_after_closes_the_gate_for_everybody_and_costs_no_attempt(bench):
    files = {f"f{n:02d}.bin": b"x" * 5000 for n in range(40)}
    arrivals = []
    plain = ranged()

    async def limited(origin, request, data):
        from aiohttp import web

        arrivals.append(time.monotonic())
        if len(arrivals) == 5:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return await plain(origin, request, data)

    closed_at = []

    def note(event):
        bench.told(event)
        if isinstance(event, GateClosed):
            closed_at.append(time.monotonic())

    async with Origin(files, limited) as origin:
        await bench.enqueue_url(origin.url, files)
        async with bench.running(workers=4, listen=note) as ended:
            assert await ended == Ended("empty")
    assert len(closed_at) == 1
    during = [at for at in arrivals if closed_at[0] + 0.1 < at < closed_at[0] + 0.99]
    assert during == [], "those that were on their way when the gate closed come at once, the others wait"
    assert bench.told.outcomes() == {("completed", None): 40}
    assert len(arrivals) == 41


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "100"}, {"RateLimit": '"api";r=0;t=99'}], ids=["Retry-After", "RateLimit"]
)
async def test_a_long_pause_gives_the_job_back_until_then_and_costs_nothing(bench, headers):
    async def closed(origin, request, data):
        from aiohttp import web

        return web.Response(status=429, headers=headers)

    async with Origin({"a.bin": b"a", "b.bin": b"b"}, closed) as origin:
        await bench.enqueue_url(origin.url, ["a.bin", "b.bin"])
        async with bench.running(workers=2) as ended:
            for path in ("a.bin", "b.bin"):
                told = await bench.told.wait_for(JobEnded, path=path)
                assert (told.outcome, told.error_class) == ("parked", "rate_limited")
                assert 90 < told.run_at - time.time() <= 100 + 60, "spread over a minute"
            bench.engine.drain()
            assert await ended == Ended("drained")
        assert len(origin.asked) <= 2
    assert bench.states() == {"a.bin": "available", "b.bin": "available"}
    assert bench.rows("SELECT DISTINCT failures FROM job") == [(0,)]


async def test_an_unexplained_503_closes_the_gate_for_a_moment(bench):
    repo = repo_of()
    async with DemoHub([repo], faults=[Fault("status", origin="cdn", status=503, times=1)]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
    assert [event.wait_s for event in bench.told.of(GateClosed)] == [1.0]
    bench.assert_as_served(repo)


# --- signed URLs


async def test_an_expired_url_is_asked_for_once_for_all_segments(bench, even_segments, at_once):
    repo = repo_of({BIG: GeneratedFile(8 * SEGMENT_BYTES)})
    expired = Fault("status", origin="cdn", status=403, skip=1, times=7)
    async with DemoHub([repo], faults=[expired]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run(workers=8)
        assert hub.totals["cdn"].faults["status"] == 7
        assert hub.totals["hub"].n_requests == 2
    bench.assert_as_served(repo)
    assert bench.told.of(RequestFailed) == [], "an expiry is no failure"


async def test_urls_that_live_shorter_than_the_margin_are_used_all_the_same(bench):
    repo = repo_of()
    async with DemoHub([repo], url_life_s=10) as hub:
        await bench.enqueue_repo(hub)
        async with asyncio.timeout(20):
            await bench.run(workers=4)
        n_cdn = hub.totals["cdn"].n_requests
        assert hub.totals["hub"].n_requests <= 2 * n_cdn
    bench.assert_as_served(repo)


async def test_urls_that_are_always_expired_end_the_attempt(bench, short_waits):
    repo = repo_of({"b.parquetx": REPO_FILES["b.parquetx"]})
    async with DemoHub([repo], faults=[Fault("expired_url")]) as hub:
        await bench.enqueue_repo(hub)
        async with asyncio.timeout(20):
            await bench.run()
        assert hub.totals["hub"].n_requests <= 4 * MAX_STREAK * MAX_FAILURES
    assert bench.errors() == {"b.parquetx": "url_expired"}

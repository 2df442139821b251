"""What is on disk already costs no byte: adopted where its digest proves it, replaced where it does not."""

import asyncio
import hashlib

import pytest

from asyncdl.core.events import JobEnded
from asyncdl.core.model import Digest
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from asyncdl.disk.layout import corrupted_path, partial_path
from tests.support.engine import REPO
from tests.support.origin import Origin, ranged

LFS = "data/a.parquetx"
GIT = "notes.txt"
FILES = {LFS: GeneratedFile(2 * SEGMENT_BYTES + 7, seed=4), GIT: b"some text\n" * 50}


def put(place, content):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.read() if hasattr(content, "read") else content)


@pytest.mark.parametrize("aside", [False, True], ids=["published", "corrupted by mistake"])
@pytest.mark.parametrize("path", [LFS, GIT])
async def test_a_finished_file_with_the_right_digest_costs_no_request(bench, path, aside):
    repo = Repo(REPO, {path: FILES[path]})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        final = bench.file(path)
        put(corrupted_path(final) if aside else final, FILES[path])
        await bench.run()
        assert not hub.requests
    bench.assert_as_served(repo)
    assert not corrupted_path(final).exists()
    assert bench.rows("SELECT json_extract(result, '$.adopted') FROM job") == [(1,)]


async def test_an_adopted_file_is_not_written_again(bench):
    repo = Repo(REPO, FILES)
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        put(bench.file(LFS), FILES[LFS])
        before = bench.file(LFS).stat()
        await bench.run()
    after = bench.file(LFS).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("wrong", [b"", b"x", b"x" * len(FILES[GIT])], ids=["empty", "short", "same size"])
async def test_a_file_with_other_content_is_replaced(bench, wrong):
    repo = Repo(REPO, {GIT: FILES[GIT]})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        put(bench.file(GIT), wrong)
        await bench.run()
    bench.assert_as_served(repo)


async def test_a_corrupted_file_that_is_really_wrong_stays_aside(bench):
    repo = Repo(REPO, {GIT: FILES[GIT]})
    wrong = b"x" * len(FILES[GIT])
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        put(corrupted_path(bench.file(GIT)), wrong)
        await bench.run()
    bench.assert_as_served(repo)
    assert corrupted_path(bench.file(GIT)).read_bytes() == wrong


async def test_without_a_digest_only_a_file_that_the_queue_knows_to_be_whole_is_adopted(bench):
    content = b"x" * 1000
    async with Origin({"a.bin": content}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (1000, None)})
        put(bench.file("a.bin", "host"), b"y" * 1000)
        await bench.run()
        assert origin.body_bytes == 1000
    assert bench.file("a.bin", "host").read_bytes() == content


async def test_without_a_digest_a_file_that_was_published_but_not_settled_is_adopted(bench):
    content = b"x" * (SEGMENT_BYTES + 5)
    async with Origin({"a.bin": content}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        put(bench.file("a.bin", "host"), content)
        bench.rows("UPDATE job SET had = ?, done_bytes = ?", f"0-{len(content)}", len(content))
        await bench.run()
        assert origin.asked == []
    assert bench.states() == {"a.bin": "completed"}


@pytest.mark.parametrize("had", ["", f"0-{SEGMENT_BYTES}", f"{SEGMENT_BYTES}-{2 * SEGMENT_BYTES}"])
async def test_a_partial_counts_for_what_the_queue_says_it_had_and_no_more(bench, had):
    content = FILES[LFS].read()
    n_had = SEGMENT_BYTES if had else 0
    async with Origin({"a.bin": content}) as origin:
        digest = Digest("sha256", hashlib.sha256(content).hexdigest())
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), digest)})
        put(partial_path(bench.file("a.bin", "host")), content)
        bench.rows("UPDATE job SET had = ?, done_bytes = ?, validator = '\"v1\"'", had, n_had)
        await bench.run()
        assert origin.body_bytes == len(content) - n_had
    assert bench.file("a.bin", "host").read_bytes() == content
    assert bench.leftovers() == []


async def test_a_file_without_a_digest_that_was_published_but_not_settled_costs_no_byte_twice(bench, monkeypatch):
    content = FILES[LFS].read()
    published = asyncio.Event()

    async def die(*_, **__):
        published.set()
        await asyncio.Event().wait()

    async with Origin({"a.bin": content}) as origin:
        await bench.enqueue_url(origin.url, ["a.bin"])
        with monkeypatch.context() as dying:
            dying.setattr("asyncdl.store.jobs.Jobs.complete", die)
            async with bench.running():
                await published.wait()
                bench.engine.stop()
        assert bench.file("a.bin", "host").read_bytes() == content
        await bench.run()
        assert origin.body_bytes == len(content)
    assert bench.states() == {"a.bin": "completed"}


@pytest.mark.parametrize("n_there", [None, SEGMENT_BYTES - 1], ids=["no partial", "a short partial"])
async def test_the_queue_forgets_what_the_partial_does_not_hold_before_a_byte_is_written(bench, n_there):
    """Otherwise a kill now would leave a partial that is long enough and holds a hole where bytes are believed."""
    content = FILES[LFS].read()
    seen = []
    plain = ranged()

    async def look(origin, request, data):
        seen.append(bench.row("a.bin")["had"])
        return await plain(origin, request, data)

    async with Origin({"a.bin": content}, look) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        bench.rows("UPDATE job SET had = ?, done_bytes = ?, validator = '\"v1\"'", f"0-{SEGMENT_BYTES}", SEGMENT_BYTES)
        if n_there:
            put(partial_path(bench.file("a.bin", "host")), content[:n_there])
        await bench.run()
    assert seen[0] == ""
    assert bench.file("a.bin", "host").read_bytes() == content


async def test_a_partial_that_is_shorter_than_the_queue_says_counts_for_nothing(bench):
    content = FILES[LFS].read()
    async with Origin({"a.bin": content}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        put(partial_path(bench.file("a.bin", "host")), content[: SEGMENT_BYTES - 1])
        bench.rows("UPDATE job SET had = ?, done_bytes = ?, validator = '\"v1\"'", f"0-{SEGMENT_BYTES}", SEGMENT_BYTES)
        await bench.run()
        assert origin.body_bytes == len(content)
    assert bench.file("a.bin", "host").read_bytes() == content


async def test_a_file_that_was_taken_away_is_fetched_again_when_it_is_enqueued_again(bench):
    repo = Repo(REPO, FILES)
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
        bench.file(LFS).unlink()
        bench.told.events.clear()
        assert (await bench.enqueue_repo(hub, missing=True)).n_new == 2
        await bench.run()
    bench.assert_as_served(repo)
    assert len(bench.told.of(JobEnded, outcome="completed")) == 2

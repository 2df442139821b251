"""Objects of S3 in a run: the ETag of the listing holds for every attempt, and keys that are missing cost their bucket only."""

import asyncio
import hashlib
import time

from asyncdl.core.events import JobEnded
from asyncdl.core.model import Artifact, Dataset, Digest
from asyncdl.core.names import safe_path
from asyncdl.core.s3_keys import S3Keys
from asyncdl.engine.run import Ended
from asyncdl.engine.small import SMALL_BYTES
from asyncdl.store import migrate
from asyncdl.store.enqueue import Enqueue
from asyncdl.store.writer import Writer
from tests.support.origin import Origin, whole

CONTENT = bytes(range(256)) * (SMALL_BYTES // 256 + 1)  # too large to be held in memory, too small to be repaired


async def enqueue_bucket(bench, origin, objects, etag='"v1"'):
    """As a listing tells of them: size, md5 and ETag."""
    writer = Writer(migrate.open_writer(bench.queue), bench.queue)
    try:
        template = Dataset(
            name="s3://b", revision="", subset="", source="s3", origin=f"{origin}/b", local_root=safe_path("raw/b"),
            text_field="",
        )  # fmt: skip
        enqueue = Enqueue(writer, template, now=time.time())
        await enqueue.stage(
            [
                ("", Artifact(safe_path(key), len(data), Digest("md5", hashlib.md5(data).hexdigest()), etag), True)
                for key, data in objects.items()
            ]
        )
        await enqueue.finish(priority=5, recipe=None)
    finally:
        writer.close()


async def test_the_etag_of_the_listing_outlives_a_wrong_digest(bench, short_waits):
    """The attempt after it asks for that version, and no other is taken."""
    conditions = []
    good = whole('"v1"')

    async def wrong_at_first(origin, request, content):
        conditions.append(request.headers.get("If-Match"))
        return await good(origin, request, content if len(conditions) != 2 else bytes(len(content)))

    async with Origin({"b/a.bin": CONTENT}, wrong_at_first) as origin:
        await enqueue_bucket(bench, origin.url, {"a.bin": CONTENT})
        assert await bench.run(s3=S3Keys(aws_endpoint=origin.url, aws_unsigned=True)) == Ended("empty")
    assert conditions == [None, '"v1"', '"v1"'], "whether it opens at all, and two attempts"
    assert bench.told.outcomes() == {("parked", "digest_mismatch"): 1, ("completed", None): 1}
    assert bench.row("a.bin")["validator"] == '"v1"'
    assert bench.file("a.bin", "b").read_bytes() == CONTENT


async def test_a_bucket_without_keys_in_the_environment_discards_its_own_jobs_and_ends_no_run(bench, short_waits):
    """It was enqueued with other settings while the engine was running; before a run begins it would be told."""
    async with Origin({"before.bin": b"x", "after.bin": b"y", "b/a.bin": CONTENT, "b/c.bin": b"c"}) as origin:
        await bench.enqueue_url(origin.url, ["before.bin"])
        async with bench.running(forever=True, s3=S3Keys()) as ended, asyncio.timeout(20):
            await bench.told.wait_for(JobEnded, path="before.bin", outcome="completed")
            await enqueue_bucket(bench, origin.url, {"a.bin": CONTENT, "c.bin": b"c"})
            for path in ("a.bin", "c.bin"):
                told = await bench.told.wait_for(JobEnded, path=path)
                assert (told.outcome, told.error_class) == ("discarded", "bad_keys")
            await bench.enqueue_url(origin.url, ["after.bin"])
            await bench.told.wait_for(JobEnded, path="after.bin", outcome="completed")
            assert not ended.done()
            bench.engine.drain()
            assert await ended == Ended("drained")
        assert {path for path, _ in origin.asked} == {"before.bin", "after.bin"}
    assert bench.errors() == {"a.bin": "bad_keys", "c.bin": "bad_keys"}

"""A source without revisions may list another object under the same name: then nothing of the old one counts."""

from dataclasses import replace

import pytest

from asyncdl.core.model import Artifact, Digest
from asyncdl.core.names import safe_path
from asyncdl.store.enqueue import Enqueue, Enqueued
from asyncdl.store.jobs import GiveBack
from tests.integration.store.rig import NOW, assert_sound, dataset, recipe, rows, states

MD5 = Digest("md5", "ab" * 16)
OLD = Artifact(safe_path("s/1"), 100, MD5, '"one"')
CHANGED = {
    "size": replace(OLD, size_bytes=140),
    "digest": replace(OLD, digest=Digest("md5", "cd" * 16)),
    "validator": replace(OLD, validator='"two"'),
}
FACTS = "SELECT size_bytes, digest, validator, had, done_bytes FROM job WHERE kind = 'download'"
ENDS = ["available", "completed", "discarded", "cancelled"]


async def put(rig, *listed, missing=True, revision="", tokenize=None, source="s3"):
    enqueue = Enqueue(rig.writer, replace(dataset(revision), source=source, name="bucket"), now=NOW + 5)
    await enqueue.stage([("s", one, missing) for one in listed])
    return await enqueue.finish(priority=5, recipe=tokenize)


async def bring_to(rig, state):
    """End the download, of which 40 bytes are had, in `state`."""
    [job] = await rig.take(now=NOW + 10)
    await rig.jobs().progress(job, had="0-40", validator='"one"', size_bytes=100, done=40)
    if state == "completed":
        await rig.finish(job)
    elif state == "discarded":
        await rig.jobs().discard(job, now=NOW, error_class="gone", error_text="410")
    elif state != "running":
        await rig.jobs().give_back(job, GiveBack(outcome="retry", run_at=NOW + 99, failures=3), now=NOW)
    if state == "cancelled":
        await rig.jobs().change_state("cancel", [job.id], now=NOW)
    assert states(rig.path) == {"s/1": state}
    return job


async def test_what_a_listing_names_is_what_answers_must_have(rig):
    await put(rig, OLD)
    [job] = await rig.take(now=NOW + 10)
    assert (job.size_bytes, job.digest, job.validator) == (100, MD5, '"one"')


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("what", CHANGED)
async def test_another_object_is_fetched_anew_whatever_became_of_the_old_one(rig, what, state, missing):
    await put(rig, OLD)
    await bring_to(rig, state)
    new = CHANGED[what]
    assert await put(rig, new, missing=missing) == Enqueued(n_new=1, n_known=0)
    assert rows(rig.path, FACTS) == [(new.size_bytes, str(new.digest), new.validator, "", 0)]
    why = "SELECT state, run_at, failures, crashes, ended_at, result, error_class FROM job WHERE kind = 'download'"
    assert rows(rig.path, why) == [("available", NOW + 5, 0, 0, None, None, None)]
    assert_sound(rig.path)


async def test_one_that_is_under_way_is_left_alone(rig):
    await put(rig, OLD)
    job = await bring_to(rig, "running")
    before = rows(rig.path, "SELECT * FROM job")
    assert await put(rig, CHANGED["size"]) == Enqueued(n_new=0, n_known=1)
    assert rows(rig.path, "SELECT * FROM job") == before
    await rig.jobs().check_held(job)


async def test_what_is_to_be_done_after_one_that_is_under_way_is_left_alone_too(rig):
    await put(rig, OLD)
    await bring_to(rig, "completed")
    await put(rig, OLD, missing=True)
    await rig.take(now=NOW + 10)
    await put(rig, CHANGED["size"])
    assert states(rig.path, "verify") == {"s/1": "available"}


@pytest.mark.parametrize(
    ("state", "missing", "is_new"),
    [("available", True, 0), ("available", False, 0), ("completed", False, 0), ("completed", True, 1), ("discarded", True, 1)],
)  # fmt: skip
async def test_the_same_object_is_treated_as_ever(rig, state, missing, is_new):
    await put(rig, OLD)
    await bring_to(rig, state)
    before = rows(rig.path, FACTS)
    assert await put(rig, OLD, missing=missing) == Enqueued(n_new=is_new, n_known=1 - is_new)
    after = [(100, str(MD5), '"one"', "", 0)] if state == "completed" and missing else before
    assert rows(rig.path, FACTS) == after


async def test_what_a_listing_leaves_out_is_not_compared(rig):
    bare = Artifact(safe_path("s/1"), None, None)
    await put(rig, bare, source="url")
    await bring_to(rig, "completed")
    before = rows(rig.path, FACTS)
    assert before[0][:3] == (100, None, '"one"'), "found while it was fetched"
    assert await put(rig, bare, missing=False, source="url") == Enqueued(n_new=0, n_known=1)
    assert rows(rig.path, FACTS) == before


async def test_a_revision_is_pinned_so_nothing_of_it_changes(rig):
    await put(rig, OLD, revision="a" * 40, source="hub")
    await bring_to(rig, "completed")
    assert await put(rig, CHANGED["size"], missing=False, revision="a" * 40, source="hub") == Enqueued(0, 1)
    assert states(rig.path) == {"s/1": "completed"}


async def test_only_what_changed_is_fetched_anew(rig):
    other = replace(OLD, path=safe_path("s/2"))
    await put(rig, OLD, other)
    for job in await rig.take(2, now=NOW + 10):
        await rig.finish(job)
    assert await put(rig, CHANGED["validator"], other, missing=False) == Enqueued(n_new=1, n_known=1)
    assert states(rig.path) == {"s/1": "available", "s/2": "completed"}


@pytest.mark.parametrize("then", ["available", "running", "discarded"])
async def test_what_was_still_to_be_done_with_the_old_content_is_done_with_the_new(rig, then):
    await put(rig, OLD)
    await bring_to(rig, "completed")
    if then != "available":
        [verify] = await rig.take(kind="verify", now=NOW + 10)
    if then == "discarded":
        await rig.jobs().discard(verify, now=NOW, error_class="not_text", error_text="no text")
    await put(rig, CHANGED["size"], missing=False)
    assert states(rig.path, "verify") == {"s/1": "cancelled"}
    assert await rig.take(kind="verify", now=NOW + 20) == []
    [again] = await rig.take(now=NOW + 20)
    await rig.finish(again, now=NOW + 20)
    assert states(rig.path, "verify") == {"s/1": "available"}
    assert_sound(rig.path)


async def test_a_new_recipe_waits_for_the_new_content(rig):
    await put(rig, OLD)
    await bring_to(rig, "completed")
    [verify] = await rig.take(kind="verify", now=NOW + 10)
    await rig.finish(verify)
    assert await put(rig, CHANGED["size"], missing=False, tokenize=recipe()) == Enqueued(n_new=1, n_known=0)
    assert states(rig.path, "tokenize") == {}
    assert states(rig.path, "verify") == {"s/1": "completed"}

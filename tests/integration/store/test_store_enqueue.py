"""A listing is in the queue as a whole or not at all, once."""

import pytest

from asyncdl.errors import LeaseLostError, UnsafeNameError
from asyncdl.store.enqueue import Enqueue, Enqueued
from asyncdl.store.jobs import GiveBack
from asyncdl.store.reader import Reader
from tests.integration.store.rig import NOW, artifact, assert_sound, dataset, recipe, rows, states

PATHS = ["s/1.parquet", "s/2.parquet", "t/3.parquet"]


async def test_enqueueing_twice_changes_nothing(rig):
    assert await rig.put(PATHS) == Enqueued(n_new=3, n_known=0)
    before = rows(rig.path, "SELECT * FROM job")
    assert await rig.put(PATHS, now=NOW + 9) == Enqueued(n_new=0, n_known=3)
    assert rows(rig.path, "SELECT * FROM job") == before
    assert rows(rig.path, "SELECT count(*) FROM dataset") == [(2,)], "a row per subset"
    assert_sound(rig.path)


async def test_a_listing_that_fails_halfway_leaves_nothing(rig):
    enqueue = Enqueue(rig.writer, dataset(), now=NOW)
    await enqueue.stage([("s", artifact(path), True) for path in PATHS[:2]])
    with pytest.raises(UnsafeNameError, match=r"s/2\.parquet twice"):
        await enqueue.stage([("s", artifact(path), True) for path in ["s/0.parquet", "s/2.parquet"]])
    for table in ("job", "dataset", "counter"):
        assert rows(rig.path, f"SELECT * FROM {table}") == []


async def test_what_an_enqueue_that_was_given_up_had_staged_is_forgotten(rig):
    given_up = Enqueue(rig.writer, dataset(), now=NOW)
    await given_up.stage([("s", artifact("s/old.parquet"), True)])
    assert await rig.put(["s/new.parquet"]) == Enqueued(n_new=1, n_known=0)
    assert states(rig.path) == {"s/new.parquet": "available"}


async def test_an_empty_listing_enqueues_nothing_even_after_one_that_was_given_up(rig):
    given_up = Enqueue(rig.writer, dataset(), now=NOW)
    await given_up.stage([("s", artifact("s/old.parquet"), True)])
    assert await Enqueue(rig.writer, dataset(), now=NOW).finish(priority=5, recipe=None) == Enqueued(0, 0)
    assert states(rig.path) == {}


@pytest.mark.parametrize("missing", [True, False])
async def test_a_completed_download_is_revived_only_if_its_file_is_missing(rig, missing):
    await rig.put(["s/1.parquet"])
    [job] = await rig.take()
    await rig.jobs().progress(job, had="0-100", validator='"v"', size_bytes=100, done=100)
    await rig.finish(job)
    told = await rig.put(["s/1.parquet"], missing=missing)
    assert told == (Enqueued(1, 0) if missing else Enqueued(0, 1))
    row = rows(rig.path, "SELECT state, done_bytes, validator, result FROM job WHERE kind = 'download'")
    assert row == [("available", 0, None, None) if missing else ("completed", 100, '"v"', "{}")]
    assert_sound(rig.path)


async def test_a_discarded_download_keeps_its_bytes_and_takes_the_new_listing(rig):
    await rig.put(["s/1.parquet"], size_bytes=100)
    [job] = await rig.take()
    await rig.jobs().progress(job, had="0-40", validator='"v"', size_bytes=100, done=40)
    await rig.jobs().discard(job, now=NOW, error_class="too_large", error_text="more than 100 bytes")
    assert await rig.put(["s/1.parquet"], size_bytes=140) == Enqueued(n_new=1, n_known=0)
    [again] = await rig.take()
    assert (again.had, again.validator, again.size_bytes, again.failures) == ("0-40", '"v"', 140, 0)
    assert rows(rig.path, "SELECT error_class FROM job") == [(None,)]
    assert_sound(rig.path)


async def test_another_revision_cancels_all_that_is_unfinished_of_its_files_and_fences_its_holders(rig):
    await rig.put(["s/1.parquet", "s/2.parquet", "s/3.parquet"], revision="a" * 40)
    [held] = await rig.take(1)
    await rig.jobs().progress(held, had="0-40", validator='"v"', size_bytes=100, done=40)
    await rig.put(["s/1.parquet", "s/2.parquet"], revision="b" * 40)
    by_revision = """SELECT d.revision, j.path, j.state, j.take_over, j.done_bytes, j.had, j.validator
        FROM job j JOIN dataset d ON d.id = j.dataset_id ORDER BY d.revision, j.path"""
    assert rows(rig.path, by_revision) == [
        ("a" * 40, "s/1.parquet", "cancelled", 1, 0, "", None),
        ("a" * 40, "s/2.parquet", "cancelled", 0, 0, "", None),
        ("a" * 40, "s/3.parquet", "available", 0, 0, "", None),  # not in the new listing
        ("b" * 40, "s/1.parquet", "available", 1, 0, "", None),  # its partial may still be written to
        ("b" * 40, "s/2.parquet", "available", 0, 0, "", None),
    ]
    with pytest.raises(LeaseLostError):
        await rig.jobs().check_held(held)
    assert_sound(rig.path)


async def test_a_partial_that_may_be_open_is_taken_over_even_two_revisions_later(rig):
    await rig.put(["s/1.parquet"], revision="a" * 40)
    await rig.take(1)
    await rig.put(["s/1.parquet"], revision="b" * 40)
    await rig.put(["s/1.parquet"], revision="c" * 40)
    [job] = await rig.take(2)
    assert job.take_over


@pytest.mark.parametrize("then", ["available", "running", "discarded"])
async def test_another_revision_cancels_later_stages_too(rig, then):
    await rig.put(["s/1.parquet"], revision="a" * 40, tokenize=recipe())
    [job] = await rig.take()
    await rig.finish(job)
    if then != "available":
        [verify] = await rig.take(kind="verify")
    if then == "discarded":
        await rig.jobs().discard(verify, now=NOW, error_class="missing_column", error_text="no text")
    await rig.put(["s/1.parquet"], revision="b" * 40)
    assert states(rig.path, "verify") == {"s/1.parquet": "cancelled"}
    assert_sound(rig.path)


async def test_nobody_waits_for_a_discarded_download_of_an_older_revision(rig):
    await rig.put(["s/1.parquet"], revision="a" * 40)
    [job] = await rig.take()
    await rig.jobs().discard(job, now=NOW, error_class="not_found", error_text="404")
    await rig.put(["s/1.parquet"], revision="b" * 40)
    assert sorted(rows(rig.path, "SELECT state FROM job")) == [("available",), ("cancelled",)]
    assert_sound(rig.path)


async def test_a_recipe_tied_to_verified_files_starts_their_tokenization(rig):
    await rig.put(["s/1.parquet", "s/2.parquet"])
    for job in await rig.take(2):
        await rig.finish(job)
    [verify] = await rig.take(kind="verify")
    await rig.finish(verify)
    told = await rig.put(["s/1.parquet", "s/2.parquet"], missing=False, tokenize=recipe())
    assert told == Enqueued(n_new=1, n_known=2)
    assert states(rig.path, "tokenize") == {verify.path: "available"}
    assert rows(rig.path, "SELECT * FROM dataset_recipe") == [(1, 1)]
    assert await rig.put(["s/1.parquet"], missing=False, tokenize=recipe()) == Enqueued(n_new=0, n_known=1)


async def test_a_discarded_later_stage_is_revived_with_its_finished_file(rig):
    await rig.put(["s/1.parquet", "s/2.parquet"])
    for job in await rig.take(2):
        await rig.finish(job)
    for verify in await rig.take(2, kind="verify"):
        await rig.jobs().discard(verify, now=NOW, error_class="missing_column", error_text="no text")
    assert await rig.put(["s/1.parquet"], missing=False) == Enqueued(n_new=1, n_known=1)
    assert states(rig.path, "verify") == {"s/1.parquet": "available", "s/2.parquet": "discarded"}
    assert_sound(rig.path)


async def test_a_parent_done_again_makes_its_child_be_done_again(rig):
    await rig.put(["s/1.parquet"])
    [job] = await rig.take()
    await rig.finish(job)
    [verify] = await rig.take(kind="verify")
    await rig.finish(verify)
    await rig.put(["s/1.parquet"], missing=True)
    [job] = await rig.take()
    await rig.finish(job)
    assert states(rig.path, "verify") == {"s/1.parquet": "available"}
    assert_sound(rig.path)


async def test_urgent_jobs_are_claimed_first_and_waiting_ones_not_at_all(rig):
    await rig.put(["a/1"], priority=5)
    await rig.put(["a/2"], priority=0)
    await rig.put(["a/3"], priority=0)
    [waiting] = await rig.take()
    await rig.jobs().give_back(waiting, GiveBack(outcome="parked", run_at=NOW + 60, failures=0), now=NOW)
    assert [job.path for job in await rig.take(3)] == ["a/3", "a/1"]
    assert await rig.take(0) == []
    assert await rig.take(-1) == []
    assert [job.path for job in await rig.take(3, now=NOW + 61)] == ["a/2"]


async def test_a_file_that_waits_to_be_adopted_needs_no_room(rig):
    def needed() -> int:
        with Reader(rig.path) as reader:
            return reader.bytes_to_fetch()[0]

    await rig.put(["s/1.parquet"], missing=False)
    await rig.put(["s/2.parquet"], missing=False, size_bytes=None)
    await rig.put(["s/3.parquet"], missing=True)
    assert needed() == 100, "one of them is missing"
    [job, _, _] = await rig.take(3)
    await rig.jobs().forget_bytes(job)
    assert needed() == 200, "its content was wrong"
    await rig.jobs().discard(job, now=NOW, error_class="gone", error_text="410")
    await rig.put(["s/1.parquet"], missing=False)
    assert needed() == 100, "it is there again"
    [job] = await rig.take()
    await rig.jobs().discard(job, now=NOW, error_class="gone", error_text="410")
    await rig.put(["s/1.parquet"], missing=True)
    assert needed() == 200, "it was removed"
    assert_sound(rig.path)


@pytest.mark.parametrize(("first", "second"), [("s/A.parquet", "s/a.parquet"), ("s/stra\u00dfe", "s/STRASSE")])
@pytest.mark.parametrize("together", [True, False])
async def test_names_that_differ_only_by_case_are_one_file_where_case_does_not_count(rig, first, second, together):
    listed = [("s", artifact(first), True), ("s", artifact(second), True)]
    enqueue = Enqueue(rig.writer, dataset(), now=NOW, case_sensitive=False)
    with pytest.raises(UnsafeNameError, match=f"{first} and {second}"):
        for batch in [listed] if together else [listed[:1], listed[1:]]:
            await enqueue.stage(batch)
    enqueue = Enqueue(rig.writer, dataset(), now=NOW)
    await enqueue.stage(listed)
    assert await enqueue.finish(priority=5, recipe=None) == Enqueued(n_new=2, n_known=0)


async def test_a_name_listed_twice_is_told_as_such_where_case_does_not_count(rig):
    enqueue = Enqueue(rig.writer, dataset(), now=NOW, case_sensitive=False)
    with pytest.raises(UnsafeNameError, match="lists s/1 twice"):
        await enqueue.stage([("s", artifact("s/1"), True)] * 2)

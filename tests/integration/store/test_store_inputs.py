"""Files of this machine and finished datasets are put up for tokenizing: once, and again only where something changed."""

import re
from dataclasses import replace

import pytest

from asyncdl.core.model import Dataset, NewJob
from asyncdl.core.names import safe_path
from asyncdl.core.recipes import Options
from asyncdl.core.stages import next_jobs
from asyncdl.errors import LeaseLostError, UsageError
from asyncdl.store.inputs import Chosen, How, Inputs, tokenize_dataset
from asyncdl.store.reader import Reader
from tests.integration.store.rig import NOW, assert_sound, recipe, rows

MIB = 1 << 20
FOLDER = Dataset(
    name="books", revision="", subset="", source="local", origin="/data/books", local_root=safe_path("local/books"),
    text_field="",
)  # fmt: skip


def how(name="tok-1024", *, force=False, lost=(), now=NOW, **changes):
    return How(recipe=replace(recipe(name), **changes), priority=5, force=force, lost=lost, now=now)


def chosen(to_do=0, done=0, lost=0, to_survey=0, dataset="books"):
    return Chosen(dataset=dataset, n_to_do=to_do, n_done=done, n_lost=lost, n_to_survey=to_survey)


def all_made(rig):
    return [id_ for (id_,) in rows(rig.path, "SELECT id FROM job WHERE kind = 'tokenize' AND state = 'completed'")]


async def take_in(rig, files, *, template=FOLDER, covers="files", **wanted):
    """files: {path: (size, mtime)}."""
    inputs = Inputs(rig.writer, template, covers=covers)
    await inputs.stage([(path.rpartition("/")[0], path, *facts) for path, facts in files.items()])
    return await inputs.finish(how(**wanted))


async def finish(rig, kind, result, *, digest="sha256:" + "a" * 64, now=NOW):
    """Complete all jobs of a kind as the engine would."""
    jobs = await rig.take(1000, kind=kind, now=now)
    for job in jobs:
        await rig.jobs().complete(
            job, now=now, size_bytes=job.size_bytes, result=result, children=next_jobs(job, digest)
        )
    return [(job.path, job.part) for job in jobs]


def states(rig, kind):
    return rows(rig.path, f"SELECT path, part, state FROM job WHERE kind = '{kind}' ORDER BY path, part")


SHARDS = {"shards": [{"name": "shard_a-0000.parquet", "size_bytes": 5}]}


async def test_large_files_stand_alone_and_small_ones_of_a_folder_are_packed_together(rig):
    files = {
        "a.jsonl": (5, 1),
        "b.jsonl": (100 * MIB, 1),
        "c.jsonl": (7, 1),
        "sub/d.jsonl": (1, 1),
        "sub/e.gz": (30 * MIB, 1),
    }
    found = await take_in(rig, files)
    assert found == chosen(0, 0, 0, 4)
    assert rows(rig.path, "SELECT file, path FROM input ORDER BY file") == [
        ("a.jsonl", "group-00001"), ("b.jsonl", "b.jsonl"), ("c.jsonl", "group-00001"),
        ("sub/d.jsonl", "sub/group-00001"), ("sub/e.gz", "sub/e.gz"),
    ]  # fmt: skip
    assert rows(rig.path, "SELECT path, size_bytes FROM job ORDER BY path") == [
        ("b.jsonl", 100 * MIB), ("group-00001", 12), ("sub/e.gz", 30 * MIB), ("sub/group-00001", 1),
    ]  # fmt: skip
    with Reader(rig.path) as reader:
        assert reader.inputs(1, "group-00001") == ["a.jsonl", "c.jsonl"]
    assert_sound(rig.path)


async def test_what_is_there_already_is_not_made_again_and_new_files_only_add(rig):
    await take_in(rig, {"a.jsonl": (5, 1), "b.jsonl": (5, 1)})
    assert await finish(rig, "verify", {}) == [("group-00001", 0)]
    assert await finish(rig, "tokenize", SHARDS) == [("group-00001", 0)]
    same = await take_in(rig, {"a.jsonl": (5, 1), "b.jsonl": (5, 1)})
    assert same == chosen(0, 1, 0, 0)
    more = await take_in(rig, {"a.jsonl": (5, 1), "aa.jsonl": (5, 1), "b.jsonl": (5, 1)})
    assert more == chosen(0, 1, 0, 1)
    assert await finish(rig, "verify", {}) == [("group-00002", 0)]
    assert await finish(rig, "tokenize", SHARDS) == [("group-00002", 0)]


@pytest.mark.parametrize("facts", [(6, 1), (5, 2)])
async def test_a_file_that_changed_is_hashed_again_and_made_again_only_if_its_content_differs(rig, facts):
    await take_in(rig, {"a.jsonl": (5, 1), "b.jsonl": (5, 1)})
    await finish(rig, "verify", {})
    await finish(rig, "tokenize", SHARDS)
    assert (await take_in(rig, {"a.jsonl": facts, "b.jsonl": (5, 1)})).n_to_survey == 1
    await finish(rig, "verify", {})
    assert states(rig, "tokenize") == [("group-00001", 0, "completed")], "the same digest"
    await take_in(rig, {"a.jsonl": (7, 7), "b.jsonl": (5, 1)})
    await finish(rig, "verify", {}, digest="sha256:" + "b" * 64)
    assert states(rig, "tokenize") == [("group-00001", 0, "available")]
    assert rows(rig.path, "SELECT size_bytes, mtime_ns FROM input WHERE file = 'a.jsonl'") == [(7, 7)]
    assert_sound(rig.path)


async def test_what_is_under_way_on_content_that_changed_is_cancelled_until_the_new_is_known(rig):
    await take_in(rig, {"a.jsonl": (5, 1)})
    await finish(rig, "verify", {})
    assert len(await rig.take(kind="tokenize")) == 1
    await take_in(rig, {"a.jsonl": (6, 1)})
    assert states(rig, "tokenize") == [("group-00001", 0, "cancelled")]
    await finish(rig, "verify", {})
    assert states(rig, "tokenize") == [("group-00001", 0, "available")]


async def test_lost_shards_and_force_make_it_once_more(rig):
    await take_in(rig, {"a.jsonl": (5, 1)})
    await finish(rig, "verify", {})
    await finish(rig, "tokenize", SHARDS)
    assert await take_in(rig, {"a.jsonl": (5, 1)}, lost=all_made(rig)) == chosen(1, 0, 1, 0)
    await finish(rig, "tokenize", SHARDS)
    assert await take_in(rig, {"a.jsonl": (5, 1)}, force=True) == chosen(1, 0, 0, 0)


async def test_another_recipe_begins_with_what_is_verified(rig):
    await take_in(rig, {"a.jsonl": (5, 1)})
    await finish(rig, "verify", {"parts": [[0, 2], [2, 5]]})
    await finish(rig, "tokenize", SHARDS)
    found = await take_in(rig, {"a.jsonl": (5, 1)}, name="other-8", options=Options(packing="best-fit"))
    assert found == chosen(2, 0, 0, 0)
    with Reader(rig.path) as reader:
        assert [one.options.packing for one in reader.recipes()] == ["best-fit", "concat"]


async def test_each_part_is_a_job_and_parts_that_are_gone_are_cancelled(rig):
    await take_in(rig, {"a.parquet": (200 * MIB, 1)})
    await finish(rig, "verify", {"parts": [[0, 2], [2, 5], [5, 6]]})
    assert await finish(rig, "tokenize", SHARDS) == [("a.parquet", 0), ("a.parquet", 1), ("a.parquet", 2)]
    assert rows(rig.path, "SELECT DISTINCT size_bytes FROM job WHERE kind = 'tokenize'") == [(200 * MIB // 3,)]
    await take_in(rig, {"a.parquet": (90 * MIB, 2)})
    await finish(rig, "verify", {"parts": []}, digest="sha256:" + "c" * 64)
    assert states(rig, "tokenize") == [
        ("a.parquet", 0, "available"), ("a.parquet", 1, "cancelled"), ("a.parquet", 2, "cancelled"),
    ]  # fmt: skip
    assert_sound(rig.path)


async def test_a_file_that_leaves_its_group_gets_jobs_of_its_own(rig):
    await take_in(rig, {"a.jsonl": (5, 1), "b.jsonl": (5, 1)})
    await finish(rig, "verify", {})
    [job] = await rig.take(kind="tokenize")
    leaves = NewJob(job.dataset_id, "verify", safe_path("b.jsonl"), leaves_group=True)
    await rig.jobs().complete(job, now=NOW, size_bytes=10, result=SHARDS, children=(leaves,))
    assert states(rig, "verify") == [("b.jsonl", 0, "available"), ("group-00001", 0, "completed")]
    with Reader(rig.path) as reader:
        assert reader.inputs(1, "group-00001") == ["a.jsonl"]
        assert reader.inputs(1, "b.jsonl") == ["b.jsonl"]
    await finish(rig, "verify", {})
    assert await take_in(rig, {"a.jsonl": (5, 1), "b.jsonl": (5, 1)}) == chosen(1, 1, 0, 0)


async def test_two_folders_of_one_name_are_two_datasets(rig):
    await take_in(rig, {"a.jsonl": (5, 1)})
    await take_in(rig, {"a.jsonl": (5, 1)}, template=replace(FOLDER, origin="/other/books"))
    await take_in(rig, {"a.jsonl": (5, 1)}, template=replace(FOLDER, origin="/other/books"))
    names = [name for (name,) in rows(rig.path, "SELECT name FROM dataset ORDER BY id")]
    assert names[0] == "books"
    assert len(names) == 2
    assert re.fullmatch("books~[0-9a-f]{8}", names[1])


async def test_a_fetched_dataset_is_tokenized_and_what_is_still_to_come_follows(rig):
    await rig.put(["s/1.parquet", "s/2.jsonl", "s/README.md"])
    for job in await rig.take(3):
        if job.path != "s/1.parquet":
            await rig.jobs().complete(job, now=NOW, size_bytes=100, result={}, children=())
    found = await tokenize_dataset(rig.writer, "org/name", how())
    assert found == chosen(0, 0, 0, 1, dataset="org/name")
    assert states(rig, "verify") == [("s/2.jsonl", 0, "available")], "fetched before anybody knew how to read it"
    assert await finish(rig, "verify", {}, digest=None) == [("s/2.jsonl", 0)]
    assert states(rig, "tokenize") == [("s/2.jsonl", 0, "available")]


async def test_what_is_lost_or_forced_waits_until_its_changed_source_was_looked_at(rig):
    files = {"a.parquet": (200 * MIB, 1)}
    for again in ({"lost": True}, {"force": True}):
        await take_in(rig, files)
        await finish(rig, "verify", {"parts": [[0, 2], [2, 5]]})
        await finish(rig, "tokenize", SHARDS)
        files = {"a.parquet": (200 * MIB, files["a.parquet"][1] + 1)}
        wanted = {"lost": all_made(rig)} if "lost" in again else again
        await take_in(rig, files, **wanted)
        assert {state for *_, state in states(rig, "tokenize")} == {"cancelled"}
        await finish(rig, "verify", {"parts": [[0, 2], [2, 5]]})
        assert {state for *_, state in states(rig, "tokenize")} == {"available"}, "though the digest is the same"


async def test_a_look_that_was_under_way_while_its_file_changed_is_taken_again(rig):
    await take_in(rig, {"a.jsonl": (5, 1)})
    [verify] = await rig.take(kind="verify")
    await take_in(rig, {"a.jsonl": (9, 2)})
    with pytest.raises(LeaseLostError):
        await rig.jobs().complete(verify, now=NOW, size_bytes=5, result={}, children=())
    assert states(rig, "verify") == [("group-00001", 0, "available")]


async def test_the_number_of_a_group_that_all_have_left_is_not_given_again(rig):
    await take_in(rig, {"a.jsonl": (5, 1)})
    await finish(rig, "verify", {})
    [job] = await rig.take(kind="tokenize")
    leaves = NewJob(job.dataset_id, "verify", safe_path("a.jsonl"), leaves_group=True)
    await rig.jobs().complete(job, now=NOW, size_bytes=10, result=SHARDS, children=(leaves,))
    await take_in(rig, {"a.jsonl": (5, 1), "b.jsonl": (5, 1)})
    assert rows(rig.path, "SELECT path FROM input WHERE file = 'b.jsonl'") == [("group-00002",)]


async def test_a_second_recipe_keeps_what_it_made_of_the_same_content_too(rig):
    digest = "sha256:" + "a" * 64
    await take_in(rig, {"a.jsonl": (5, 1)})
    await finish(rig, "verify", {"digest": digest}, digest=digest)
    await take_in(rig, {"a.jsonl": (5, 1)}, name="other-8", options=Options(packing="best-fit"))
    await finish(rig, "tokenize", SHARDS)
    await take_in(rig, {"a.jsonl": (5, 2)})
    await finish(rig, "verify", {"digest": digest}, digest=digest)
    assert {state for *_, state in states(rig, "tokenize")} == {"completed"}


async def test_a_name_taken_meanwhile_by_another_recipe_is_told(rig):
    await take_in(rig, {"a.jsonl": (5, 1)})
    with pytest.raises(UsageError, match="just taken the name"):
        await take_in(rig, {"a.jsonl": (5, 1)}, options=Options(drop_last=True))
    await take_in(rig, {"a.jsonl": (5, 1)}, options=Options(max_bad_share=0.5))
    with Reader(rig.path) as reader:
        assert [one.options.max_bad_share for one in reader.recipes()] == [0.5]


async def test_a_file_that_is_gone_leaves_with_its_text_and_its_group_is_made_without_it(rig):
    files = {"a.jsonl": (5, 1), "b.jsonl": (5, 1), "big.jsonl": (100 * MIB, 1), "sub/c.jsonl": (5, 1)}
    await take_in(rig, files, covers="all below")
    await finish(rig, "verify", {})
    await finish(rig, "tokenize", SHARDS)
    found = await take_in(rig, {"b.jsonl": (5, 1), "z.jsonl": (5, 1)}, covers="all below")
    assert (found.n_gone, found.n_to_survey) == (3, 2), "a.jsonl was renamed: its new name is a new file"
    assert states(rig, "tokenize") == [
        ("big.jsonl", 0, "cancelled"), ("group-00001", 0, "cancelled"), ("sub/group-00001", 0, "cancelled"),
    ]  # fmt: skip
    await finish(rig, "verify", {}, digest="sha256:" + "d" * 64)
    assert states(rig, "tokenize") == [
        ("big.jsonl", 0, "cancelled"), ("group-00001", 0, "available"), ("group-00002", 0, "available"),
        ("sub/group-00001", 0, "cancelled"),
    ]  # fmt: skip
    assert rows(rig.path, "SELECT file FROM input ORDER BY file") == [("b.jsonl",), ("z.jsonl",)]
    assert_sound(rig.path)


@pytest.mark.parametrize(("covers", "n_gone"), [("files", 0), ("folder", 1), ("all below", 2)])
async def test_only_what_was_looked_at_as_a_whole_can_be_gone(rig, covers, n_gone):
    await take_in(rig, {"a.jsonl": (5, 1), "b.jsonl": (5, 1), "sub/c.jsonl": (5, 1)}, covers="all below")
    assert (await take_in(rig, {"a.jsonl": (5, 1)}, covers=covers)).n_gone == n_gone


async def test_a_file_that_comes_back_is_put_up_again(rig):
    files = {"a.jsonl": (5, 1), "big.jsonl": (100 * MIB, 1)}
    await take_in(rig, files, covers="all below")
    await finish(rig, "verify", {})
    await finish(rig, "tokenize", SHARDS)
    await take_in(rig, {"a.jsonl": (5, 1)}, covers="all below")
    await take_in(rig, files, covers="all below")
    await finish(rig, "verify", {})
    assert states(rig, "tokenize") == [("big.jsonl", 0, "available"), ("group-00001", 0, "completed")]

"""Files of this machine become shards: the same bytes whatever runs them, each token accounted for, nothing made twice."""

import gzip
import json
from collections import Counter
from dataclasses import replace

import orjson
import pytest
import tokenizers

from asyncdl.core.events import JobEnded
from asyncdl.core.names import split_name
from asyncdl.core.recipes import Options
from asyncdl.demo import corpus_dir
from asyncdl.engine.run import Ended
from tests.integration.engine.test_engine_stages import ids_of
from tests.support.engine import Bench, packaged_recipe, sha256
from tests.support.texts import documents, lines_of, put_up, write_texts

TOKENIZER = corpus_dir() / "tokenizer" / "tokenizer.json"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr("asyncdl.engine.tasks.PART_BYTES", 200_000)
    monkeypatch.setattr("asyncdl.core.grouping.SMALL_BYTES", 200_000)


@pytest.fixture
def texts(tmp_path):
    made = write_texts(tmp_path / "texts")
    return tmp_path / "texts", made


def shards_of(bench):
    """{path below tokenized/: digest} of shards and manifests."""
    root = bench.data_dir / "tokenized"
    found = [path for path in root.rglob("*") if path.is_file() and path.name != "stats.json"]
    return {str(path.relative_to(root)): sha256(path) for path in sorted(found)}


def manifest_of(bench, recipe):
    return orjson.loads((bench.data_dir / "tokenized" / recipe.name / "manifest.json").read_bytes())


def assert_accounted_for(bench, recipe):
    for split in manifest_of(bench, recipe)["splits"].values():
        assert split["sequences"] * recipe.max_seq_length == split["tokens"] + split["padding"]


def expected(made, recipe, *files):
    reference = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    return [
        id_
        for file in files
        for text in made[file]
        for id_ in [*reference.encode(text, add_special_tokens=False).ids, recipe.eos_id]
    ]


def in_order(bench, recipe, split, prefix):
    return sorted((bench.data_dir / "tokenized" / recipe.name / split).glob(f"{prefix}*.parquet"))


async def test_every_file_becomes_the_ids_of_the_reference_in_parts_and_in_groups(bench, texts):
    folder, made = texts
    recipe = packaged_recipe()
    await put_up(bench, folder)
    assert await bench.run(processes=2) == Ended("empty")
    root, sub = split_name("texts", ""), split_name("texts", "sub")
    assert Counter(kind for (kind,) in bench.rows("SELECT path FROM job WHERE kind = 'tokenize'")) == {
        "large.parquet": 4, "large.jsonl": 7, "sub/group-00001": 1,
    }  # fmt: skip
    assert ids_of(in_order(bench, recipe, root, "shard_large~p")) == expected(made, recipe, "large.parquet")
    assert ids_of(in_order(bench, recipe, root, "shard_large.jsonl~p")) == expected(made, recipe, "large.jsonl")
    small = sorted(file for file in made if file.startswith("sub/"))
    assert ids_of(in_order(bench, recipe, sub, "shard_group")) == expected(made, recipe, *small)
    assert_accounted_for(bench, recipe)
    sources = manifest_of(bench, recipe)["splits"][sub]["sources"]
    assert [(source["path"], source["sha256"]) for source in sources] == [
        (file, sha256(folder / file)) for file in small
    ]


async def test_shards_and_manifest_are_the_same_bytes_for_1_2_and_8_processes_and_when_forced(tmp_path, texts):
    seen = []
    for n_processes in (1, 2, 8):
        bench = Bench(tmp_path / str(n_processes))
        bench.queue.parent.mkdir()
        await put_up(bench, texts[0])
        await bench.run(processes=n_processes)
        seen.append(shards_of(bench))
    assert len(seen[0]) == 13, "shards of 4, 7 and 1 jobs, and a manifest"
    await put_up(bench, texts[0], force=True)
    assert set(bench.states("tokenize").values()) == {"available"}
    await bench.run(processes=2)
    seen.append(shards_of(bench))
    assert seen == [seen[0]] * 4


async def test_a_second_time_does_nothing_and_one_changed_file_redoes_one_job(bench, texts):
    folder, _ = texts
    await put_up(bench, folder)
    await bench.run()
    before = shards_of(bench)
    assert (await put_up(bench, folder)).n_to_do == 0
    bench.told.events.clear()
    (folder / "sub/1.jsonl.gz").write_bytes(gzip.compress(lines_of(documents(50, 99))))
    (folder / "large.jsonl").touch()
    assert (await put_up(bench, folder)).n_to_survey == 2
    await bench.run()
    assert [event.path for event in bench.told.of(JobEnded, kind="tokenize")] == ["sub/group-00001"]
    after = shards_of(bench)
    assert {path for path in after if after[path] != before.get(path)} == {
        "demo-256/manifest.json", "demo-256/texts--sub/shard_group~00001-0000.parquet",
    }  # fmt: skip


async def test_a_file_that_shrinks_leaves_no_shard_of_its_old_parts(bench, texts):
    folder, made = texts
    recipe = packaged_recipe()
    await put_up(bench, folder)
    await bench.run()
    made["large.jsonl"] = documents(900, 5)
    (folder / "large.jsonl").write_bytes(lines_of(made["large.jsonl"]))
    await put_up(bench, folder)
    await bench.run()
    found = in_order(bench, recipe, "texts", "shard_large.jsonl")
    assert ids_of(found) == expected(made, recipe, "large.jsonl")
    listed = {shard["name"] for shard in manifest_of(bench, recipe)["splits"]["texts"]["shard_files"]}
    assert {path.name for path in found} <= listed
    made["large.jsonl"] = documents(20, 6)
    (folder / "large.jsonl").write_bytes(lines_of(made["large.jsonl"]))
    await put_up(bench, folder)
    await bench.run()
    [only] = in_order(bench, recipe, "texts", "shard_large.jsonl")
    assert only.name == "shard_large.jsonl-0000.parquet"
    assert ids_of([only]) == expected(made, recipe, "large.jsonl")


async def test_a_file_that_cannot_be_read_leaves_its_group_and_costs_nobody_else_anything(bench, texts):
    folder, made = texts
    recipe = packaged_recipe()
    broken = folder / "sub/2.jsonl.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    await put_up(bench, folder)
    await bench.run()
    assert bench.errors("verify") == {"sub/2.jsonl.gz": "bad_compression"}
    assert broken.exists(), "it is not ours"
    rest = sorted(file for file in made if file.startswith("sub/") and file != "sub/2.jsonl.gz")
    assert ids_of(in_order(bench, recipe, "texts--sub", "shard_group")) == expected(made, recipe, *rest)
    sources = manifest_of(bench, recipe)["splits"]["texts--sub"]["sources"]
    assert [(source["path"], source["sha256"]) for source in sources] == [
        (file, sha256(folder / file)) for file in rest
    ]
    broken.write_bytes(gzip.compress(lines_of(made["sub/2.jsonl.gz"])))
    await put_up(bench, folder)
    await bench.run()
    assert bench.errors("tokenize") | bench.errors("verify") == {}
    assert ids_of(in_order(bench, recipe, "texts--sub", "shard_2")) == expected(made, recipe, "sub/2.jsonl.gz")


async def test_options_reach_the_shards_and_the_manifest(bench, texts):
    options = Options(packing="best-fit", labels="hf", add_eos=False, seq_lengths=True, compression="snappy", bos_id=0)
    recipe = replace(packaged_recipe(), name="unusual", options=options)
    await put_up(bench, texts[0], recipe=recipe)
    await bench.run()
    manifest = manifest_of(bench, recipe)
    assert manifest["labels"] == "hf"
    assert manifest["options"] == {
        "packing": "best-fit", "labels": "hf", "bos_id": 0, "add_eos": False, "seq_lengths": True, "compression": "snappy",
    }  # fmt: skip
    assert_accounted_for(bench, recipe)


async def test_bad_lines_are_counted_and_named_and_too_many_refuse_the_file(bench, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    good = lines_of(documents(400, 1))
    (folder / "few.jsonl").write_bytes(good + b"{\n" + b'{"id": 1}\n' + good)
    (folder / "many.jsonl").write_bytes(b"{\n" * 40 + good)
    (folder / "empty.jsonl").write_bytes(b"")
    await put_up(bench, folder)
    await bench.run()
    assert bench.errors("tokenize") | bench.errors("verify") == {"many.jsonl": "bad_lines"}
    recipe = packaged_recipe()
    stats = json.loads((bench.data_dir / "tokenized" / recipe.name / "bad" / "stats.json").read_text())
    assert stats["empty_files"] == ["empty.jsonl"]
    assert stats["skipped_lines"]["by_class"] == {"missing_field": 1, "not_json": 1}
    assert [(place["source_id"], place["line"]) for place in stats["skipped_lines"]["first"]] == [
        ("bad@/few.jsonl", 401), ("bad@/few.jsonl", 402),
    ]  # fmt: skip
    assert_accounted_for(bench, recipe)


async def test_lost_shards_of_a_file_that_was_touched_are_made_again_and_no_document_twice(bench, texts):
    folder, made = texts
    recipe = packaged_recipe()
    await put_up(bench, folder)
    await bench.run()
    before = shards_of(bench)
    for shard in in_order(bench, recipe, "texts", "shard_large~p"):
        shard.unlink()
    (folder / "large.parquet").touch()
    await put_up(bench, folder)
    await bench.run(processes=2)
    assert shards_of(bench) == before
    assert ids_of(in_order(bench, recipe, "texts", "shard_large~p")) == expected(made, recipe, "large.parquet")

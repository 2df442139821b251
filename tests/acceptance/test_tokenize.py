"""`asyncdl tokenize` as its users have it."""

import json

import pyarrow.parquet as pq
import pytest

from asyncdl.demo import corpus_dir
from asyncdl.demo.hub import DemoHub
from tests.support.texts import documents, lines_of

TOKENIZER = corpus_dir() / "tokenizer"
LENGTH = ("--tokenizer", TOKENIZER, "--max-seq-length", 128)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "books"
    (folder / "sub").mkdir(parents=True)
    for n in range(3):
        (folder / f"{n}.jsonl").write_bytes(lines_of(documents(30, n)))
    (folder / "sub" / "more.jsonl").write_bytes(lines_of(documents(30, 9)))
    (folder / "README.txt").write_text("not text to be tokenized")
    return folder


def manifest(shell, name="tokenizer-128"):
    return json.loads((shell.folder / "datasets" / "tokenized" / name / "manifest.json").read_text())


async def test_a_folder_becomes_shards_and_a_second_time_does_nothing(shell, folder):
    first = await shell("tokenize", folder, *LENGTH, "--recursive")
    assert first.code == 0, first.err
    assert "books: 4 files" in first.out
    assert "left out: 1 file of other kinds" in first.err
    assert (await shell("run")).code == 0
    found = manifest(shell)
    assert list(found["splits"]) == ["books", "books--sub"]
    assert found["splits"]["books"]["samples"] == 90
    second = await shell("tokenize", folder, *LENGTH, "--recursive", "--skip-existing")
    assert "nothing new" in second.out
    forced = (await shell("tokenize", folder, *LENGTH, "--recursive", "--force", "--json")).json()
    assert (forced["to_do"], forced["done"], forced["dry_run"]) == (2, 0, False)


async def test_what_is_left_out_is_said_and_a_dry_run_changes_nothing(shell, folder):
    result = await shell("tokenize", folder, *LENGTH, "--dry-run", "--json")
    found = result.json()
    assert (found["files"], found["ignored"], found["dry_run"]) == (3, 1, True)
    assert "left out: 1 folder below, for want of --recursive" in result.err
    assert not (shell.folder / "queue.sqlite").exists()


async def test_shards_go_where_output_says_and_one_folder_holds_one_recipe(shell, folder, tmp_path):
    output = tmp_path / "out"
    assert (await shell("tokenize", folder / "0.jsonl", *LENGTH, "--output", output, "--labels", "hf")).code == 0
    assert (await shell("run")).code == 0
    [shard] = (output / "0").glob("shard_*.parquet")
    assert pq.read_schema(shard).metadata[b"labels_convention"] == b"hf"
    assert json.loads((output / "manifest.json").read_text())["labels"] == "hf"
    other = await shell("tokenize", folder / "1.jsonl", *LENGTH, "--output", output)
    assert (other.code, "choose another --output" in other.err) == (2, True)
    elsewhere = await shell(
        "tokenize", folder / "1.jsonl", *LENGTH, "--output", output, "--queue", tmp_path / "q2.sqlite"
    )
    assert (elsewhere.code, "made in another way" in elsewhere.err) == (3, True)


async def test_two_queues_share_one_output_and_forget_nothing_of_each_other(shell, folder, tmp_path):
    for n in (0, 1):
        queue = ("--queue", tmp_path / f"q{n}.sqlite")
        assert (await shell("tokenize", folder / f"{n}.jsonl", *LENGTH, "--output", tmp_path / "out", *queue)).code == 0
        assert (await shell("run", *queue)).code == 0
    assert set(json.loads((tmp_path / "out" / "manifest.json").read_text())["splits"]) == {"0", "1"}


async def test_files_of_one_stem_do_not_share_shards(shell, tmp_path):
    for place in ("code", "math"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "x.jsonl").write_bytes(lines_of(documents(9, len(place))))
        (tmp_path / place / "x.ndjson").write_bytes(lines_of(documents(5, len(place))))
        for ending in ("jsonl", "ndjson"):
            assert (await shell("tokenize", tmp_path / place / f"x.{ending}", *LENGTH)).code == 0
    assert (await shell("run")).code == 0
    splits = manifest(shell)["splits"]
    assert sorted(split["samples"] for split in splits.values()) == [14, 14]


async def test_a_dataset_of_the_queue_is_tokenized_after_it_was_fetched(shell):
    async with DemoHub() as hub:
        there = {"HF_ENDPOINT": hub.endpoint}
        assert (await shell("enqueue", "fineweb-2", "--lang", "swe_Latn", **there)).code == 0
        assert (await shell("run", **there)).code == 0
        asked = await shell("tokenize", "fineweb-2", *LENGTH, **there)
        assert "to be tokenized   4 jobs" in asked.out
        assert (await shell("run", **there)).code == 0
    assert len(manifest(shell)["splits"]) == 2


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("nowhere",), 2, "no dataset of that name is in the queue"),
        (("empty",), 2, "holds no documents"),
        (("a.txt",), 2, "holds no documents"),
        (("books", "--force", "--skip-existing"), 2, "contradict"),
        (("books", "--shard-size", "100"), 2, "less than one sequence"),
        (("books", "--shard-size", "much"), 2, "--shard-size"),
    ],
)
async def test_a_wrong_wish_is_said_and_leaves_no_queue(shell, folder, args, code, said):
    (shell.folder / "empty").mkdir()
    (shell.folder / "a.txt").write_text("a")
    if not (shell.folder / "books").exists():
        (shell.folder / "books").symlink_to(folder)
    result = await shell("tokenize", *args, *LENGTH)
    assert (result.code, said in result.err) == (code, True), result.err
    assert not (shell.folder / "queue.sqlite").exists()


async def test_options_of_a_recipe_need_a_tokenizer(shell):
    result = await shell("enqueue", "fineweb-2", "--packing", "best-fit")
    assert (result.code, "--packing needs --tokenizer" in result.err) == (2, True)


async def test_a_renamed_file_is_not_there_twice_and_the_same_place_is_one_dataset(shell, folder):
    await shell("tokenize", folder, *LENGTH, "--recursive")
    await shell("run")
    (folder / "0.jsonl").rename(folder / "z.jsonl")
    again = await shell("tokenize", folder / "sub" / "..", *LENGTH, "--recursive")
    assert "not there any more: 1 file" in again.err
    assert (await shell("run")).code == 0
    assert sum(split["samples"] for split in manifest(shell)["splits"].values()) == 120

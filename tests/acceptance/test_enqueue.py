"""`asyncdl enqueue` against the demo hub: what goes into the queue, what is refused, what a dry run leaves alone."""

from __future__ import annotations

import asyncio
import signal
import sqlite3

import pytest

from asyncdl.demo import corpus_dir
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo, demo_repos
from asyncdl.store.reader import Reader

KEYS = {"schema_version", "dataset", "revision", "files", "bytes", "enqueued", "already_queued", "already_have"}
SWEDISH = ("enqueue", "fineweb-2", "--lang", "swe_Latn")
SWEDISH_FILES = sorted(str(path.relative_to(corpus_dir())) for path in corpus_dir().glob("data/swe_Latn/**/*.parquet"))
SWEDISH_BYTES = sum((corpus_dir() / path).stat().st_size for path in SWEDISH_FILES)


def jobs(shell, name="queue.sqlite"):
    with Reader(shell.folder / name) as reader:
        return sorted(row.path for row in reader.files())


async def test_the_files_of_a_language_go_into_the_queue(shell, hub):
    result = await shell(*SWEDISH, "--json")
    got = result.json()
    assert (result.code, result.err) == (0, "")
    assert got.keys() >= KEYS
    assert (got["schema_version"], got["dataset"]) == (1, "HuggingFaceFW/fineweb-2")
    assert got["revision"] == hub.repo("HuggingFaceFW/fineweb-2").main.sha
    assert (got["files"], got["bytes"], got["enqueued"]) == (len(SWEDISH_FILES), SWEDISH_BYTES, len(SWEDISH_FILES))
    assert (got["already_queued"], got["already_have"]) == (0, 0)
    assert jobs(shell) == SWEDISH_FILES


async def test_enqueueing_again_adds_nothing(shell, hub):
    await shell(*SWEDISH)
    got = (await shell(*SWEDISH, "--json")).json()
    assert (got["enqueued"], got["already_queued"]) == (0, len(SWEDISH_FILES))
    assert "nothing new" in (await shell(*SWEDISH)).out


async def test_files_that_are_on_disk_with_the_right_size_are_had(shell, hub):
    have = SWEDISH_FILES[0]
    place = shell.folder / "datasets" / "raw" / "HuggingFaceFW--fineweb-2" / have
    place.parent.mkdir(parents=True)
    place.write_bytes((corpus_dir() / have).read_bytes())
    got = (await shell(*SWEDISH, "--json")).json()
    assert (got["already_have"], got["enqueued"]) == (1, len(SWEDISH_FILES))
    assert got["needed_bytes"] == SWEDISH_BYTES - place.stat().st_size


async def test_a_dry_run_says_the_same_and_writes_nothing(shell, hub):
    result = await shell(*SWEDISH, "--dry-run", "--json", "--tokenizer", "demo/tokenizer")
    got = result.json()
    assert (result.code, got["files"], got["bytes"]) == (0, len(SWEDISH_FILES), SWEDISH_BYTES)
    assert (got["dry_run"], got["enqueued"], got["already_queued"]) == (True, 0, 0)
    assert got["new_inodes"] == len(SWEDISH_FILES) + 7  # datasets/raw/repo/data/swe_Latn/{train,test}
    assert got["recipe"] == "demo--tokenizer-8192"
    assert list(shell.folder.iterdir()) == []


async def test_a_dry_run_counts_what_is_queued_already_and_leaves_the_queue_as_it_was(shell, hub):
    await shell(*SWEDISH)
    before = (shell.folder / "queue.sqlite").read_bytes()
    got = (
        await shell("enqueue", "fineweb-2", "--lang", "swe_Latn", "--lang", "dan_Latn", "--dry-run", "--json")
    ).json()
    assert got["already_queued"] == len(SWEDISH_FILES)
    assert got["files"] > len(SWEDISH_FILES)
    assert (shell.folder / "queue.sqlite").read_bytes() == before


async def test_people_are_told_what_was_enqueued_and_what_to_type_next(shell, hub):
    result = await shell(*SWEDISH, "--queue", "my queue.sqlite")
    assert result.out.startswith("HuggingFaceFW/fineweb-2 at ")
    assert result.out.rstrip().endswith(
        f"enqueued {len(SWEDISH_FILES)} jobs; next: asyncdl run --queue 'my queue.sqlite'"
    )


async def test_a_terminal_is_told_the_same(shell, hub):
    text = await shell.on_terminal(*SWEDISH, TERM="xterm")
    assert f"enqueued {len(SWEDISH_FILES)} jobs; next: asyncdl run" in text


async def test_selections_narrow_and_limits_stop(shell, hub):
    got = (await shell(*SWEDISH, "--split", "train", "--exclude", "*001_*", "--max-files", 1, "--json")).json()
    assert (got["files"], jobs(shell)) == (1, ["data/swe_Latn/train/000_00000.parquet"])


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        (["finweb2"], 2, "did you mean fineweb-2?"),
        (["fineweb-2", "--lang", "swe_Lat"], 2, "swe_Latn"),
        (["org/no-such-thing"], 2, "org/no-such-thing"),
        (["fineweb-2", "--lang", "swe_Latn", "--revision", "nope"], 2, "nope"),
    ],
)
async def test_what_does_not_exist_is_a_usage_error_and_makes_no_queue(shell, hub, target, code, said):
    result = await shell("enqueue", *target)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert not (shell.folder / "queue.sqlite").exists()


@pytest.mark.slow  # it retries for some ten seconds
async def test_an_unreachable_hub_ends_with_5(shell):
    result = await shell("enqueue", "fineweb-2", "--lang", "swe_Latn", HF_ENDPOINT="http://127.0.0.1:9")
    assert result.code == 5
    assert result.err.startswith("error: ")


async def test_what_does_not_fit_is_refused_with_4_and_nothing_is_enqueued(shell):
    huge = GeneratedFile(2**59)
    huge.sha256 = "0" * 64  # nobody has the time to hash it
    async with DemoHub([Repo("org/huge", {"a.parquet": huge})]) as hub:
        shell.env["HF_ENDPOINT"] = hub.endpoint
        result = await shell("enqueue", "org/huge")
        dry = await shell("enqueue", "org/huge", "--dry-run")
    assert (result.code, result.out) == (4, "")
    assert "no room" in result.err
    assert jobs(shell) == []
    assert dry.code == 0
    assert "does not fit" in dry.err


async def test_a_listing_that_breaks_off_leaves_the_queue_as_it_was(shell):
    many = Repo("org/many", {f"data/{number:04}.parquet": b"x" for number in range(1500)})
    broken = Fault("status", origin="hub", path="*org/many/tree/*", skip=1, status=418)
    async with DemoHub([*demo_repos(), many], faults=[broken]) as hub:
        shell.env["HF_ENDPOINT"] = hub.endpoint
        await shell(*SWEDISH)
        result = await shell("enqueue", "org/many")
        assert any(request.fault == "status" for request in hub.requests)
    assert result.code != 0
    assert jobs(shell) == SWEDISH_FILES


async def test_ctrl_c_while_listing_ends_with_130_and_enqueues_nothing(shell):
    async with DemoHub(faults=[Fault("stall", origin="hub", path="*/tree/*")]) as hub:
        process = await shell.start(*SWEDISH, HF_ENDPOINT=hub.endpoint)
        while not any("/tree/" in request.url for request in hub.requests):
            await asyncio.sleep(0)
        process.send_signal(signal.SIGINT)
        result = await shell.result(process)
    assert (result.code, result.out) == (130, "")
    assert "Traceback" not in result.err
    assert not (shell.folder / "queue.sqlite").exists()


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [("./nowhere", "is not there"), ("bad.json", "cannot be used"), ("org/no-such-model", "org/no-such-model")],
)
async def test_a_tokenizer_that_cannot_be_used_is_refused_before_anything_is_listed(shell, hub, tokenizer, said):
    (shell.folder / "bad.json").write_text("{}")
    result = await shell(*SWEDISH, "--tokenizer", tokenizer)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert not (shell.folder / "queue.sqlite").exists()
    assert not any("/tree/" in request.url and "fineweb" in request.url for request in hub.requests)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
async def test_a_tokenizer_with_nothing_to_tokenize_is_refused_and_nothing_is_queued(shell, hub, dry):
    tokenizer = ("--tokenizer", corpus_dir() / "tokenizer")
    result = await shell("enqueue", "fineweb-2", "--include", "*.md", *tokenizer, *dry)
    assert (result.code, result.out) == (2, "")
    assert "none of the chosen files is Parquet" in result.err
    assert dry or jobs(shell) == []


async def test_a_dataset_that_the_catalogue_does_not_know_is_tokenized_by_its_column_text(shell):
    text = corpus_dir() / "data" / "swe_Latn" / "train" / "000_00000.parquet"
    async with DemoHub([Repo("org/unknown", {"a.parquet": text})]) as hub:
        shell.env["HF_ENDPOINT"] = hub.endpoint
        enqueued = await shell(
            "enqueue", "org/unknown", "--tokenizer", corpus_dir() / "tokenizer", "--max-seq-length", "64"
        )
        ran = await shell("run")
    assert (enqueued.code, ran.code) == (0, 0)
    assert list((shell.folder / "datasets" / "tokenized").glob("*/*/shard_*.parquet"))


async def test_files_that_will_not_be_tokenized_are_told(shell, hub):
    some = ("enqueue", "fineweb-2", "--include", "*.md", "--include", "data/swe_Latn/test/*")
    with_tokenizer = (*some, "--tokenizer", corpus_dir() / "tokenizer")
    assert (await shell(*some, "--json")).json()["not_tokenized"] == 0
    got = (await shell(*with_tokenizer, "--dry-run", "--json")).json()
    assert 0 < got["not_tokenized"] < got["files"]
    assert f"not tokenized     {got['not_tokenized']} file" in (await shell(*with_tokenizer)).out


async def test_a_tokenizer_makes_a_recipe_named_after_it_and_another_of_that_name_is_told_apart(shell, hub):
    ours = corpus_dir() / "tokenizer"
    text = (ours / "tokenizer.json").read_text()
    other = shell.folder / "other" / "tokenizer"
    other.mkdir(parents=True)
    (other / "tokenizer.json").write_text(text + "\n")
    (other / "tokenizer_config.json").write_bytes((ours / "tokenizer_config.json").read_bytes())
    names = [
        (await shell(*SWEDISH, "--tokenizer", path, "--max-seq-length", 512, "--json")).json()["recipe"]
        for path in (ours, other, ours / "tokenizer.json")
    ]
    assert names[0] == names[2] == "tokenizer-512"
    assert names[1].startswith("tokenizer-512-")
    with Reader(shell.folder / "queue.sqlite") as reader:
        assert {recipe.name for recipe in reader.recipes()} == set(names)


async def test_a_tokenizer_of_the_hub_is_kept_in_the_data_dir(shell, hub):
    result = await shell(*SWEDISH, "--tokenizer", "demo/tokenizer", "--max-seq-length", 64, "--json")
    assert result.json()["recipe"] == "demo--tokenizer-64"
    (kept,) = (shell.folder / "datasets" / "tokenizers").rglob("tokenizer.json")
    with Reader(shell.folder / "queue.sqlite") as reader:
        (recipe,) = reader.recipes()
    assert recipe.tokenizer_path == str(kept)


async def test_no_secret_is_in_the_queue_or_in_what_is_printed(shell):
    token = "hf_" + "t" * 34
    async with DemoHub(token=token) as hub:
        result = await shell(*SWEDISH, "--log-level", "debug", HF_ENDPOINT=hub.endpoint, HF_TOKEN=token)
        assert any(request.has_authorization for request in hub.requests)
    assert result.code == 0
    assert "tttttt" not in result.out + result.err
    dump = "\n".join(sqlite3.connect(shell.folder / "queue.sqlite").iterdump())
    assert "tttttt" not in dump
    assert "Signature" not in dump

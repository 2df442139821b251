"""download -> verify -> tokenize: each stage follows the one before, and one bad file costs no other."""

import asyncio
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers

from asyncdl.core.events import FileQuarantined, JobEnded
from asyncdl.core.retry import MAX_CRASHES
from asyncdl.demo import corpus_dir
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import Repo
from asyncdl.disk.layout import corrupted_path
from asyncdl.engine.run import Ended
from tests.support.engine import REPO, packaged_recipe, sha256
from tests.support.origin import Origin

LANGUAGES = ("swe_Latn", "jpn_Jpan", "arb_Arab")
TOKENIZER = corpus_dir() / "tokenizer" / "tokenizer.json"


def corpus(*languages):
    """{path in the repo: packaged file} of whole languages."""
    folder = corpus_dir() / "data"
    return {
        f"data/{path.relative_to(folder).as_posix()}": path
        for language in languages
        for path in sorted((folder / language).rglob("*.parquet"))
    }


def parquet(texts, *, column="text", **options):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({column: pa.array(texts, pa.string())}), sink, **options)
    return sink.getvalue().to_pybytes()


GOOD = parquet([f"text number {n}" for n in range(500)])


# --- the whole path


async def test_a_corpus_becomes_shards_with_the_ids_of_the_reference(bench):
    files = corpus(*LANGUAGES)
    repo = Repo(REPO, {**files, "README.md": b"# a card\n"})
    recipe = packaged_recipe()
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub, text_field="text", recipe=recipe)
        assert await bench.run(processes=2) == Ended("empty")
    bench.assert_as_served(repo)
    assert bench.states("verify") == dict.fromkeys(files, "completed")
    assert bench.states("tokenize") == dict.fromkeys(files, "completed")
    reference = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    manifest = orjson.loads((bench.data_dir / "tokenized" / recipe.name / "manifest.json").read_bytes())
    listed = json.dumps(manifest)
    for path, source in files.items():
        result = json.loads(bench.row(path, "tokenize")["result"])
        folder = bench.data_dir / "tokenized" / recipe.name / f"org--name--{path.rpartition('/')[0].replace('/', '--')}"
        shards = [folder / shard["name"] for shard in result["shards"]]
        assert [sha256(shard) for shard in shards] == [shard["sha256"] for shard in result["shards"]]
        assert ids_of(shards) == expected_ids(source, reference, recipe.eos_id), path
        n_places = sum(shard["n_sequences"] for shard in result["shards"]) * recipe.max_seq_length
        assert n_places == result["n_tokens"] + result["n_padding"]
        assert result["n_documents"] == pq.read_metadata(source).num_rows
        assert all(shard.name in listed for shard in shards)


def ids_of(shards):
    """All ids of the sequences in order, without the padding at the end."""
    ids = []
    for shard in shards:
        table = pq.read_table(shard)
        for row, mask in zip(table["input_ids"].to_pylist(), table["attention_mask"].to_pylist(), strict=True):
            ids += [id_ for id_, kept in zip(row, mask, strict=True) if kept]
    return ids


def expected_ids(source, reference, eos_id):
    ids = []
    for text in pq.read_table(source, columns=["text"])["text"].to_pylist():
        ids += [*reference.encode(text, add_special_tokens=False).ids, eos_id]
    return ids


async def test_the_shards_are_the_same_bytes_whatever_the_number_of_processes(tmp_path):
    from tests.support.engine import Bench

    files = corpus("swe_Latn")
    seen = []
    for n_processes in (1, 3):
        bench = Bench(tmp_path / str(n_processes))
        bench.queue.parent.mkdir()
        async with DemoHub([Repo(REPO, files)]) as hub:
            await bench.enqueue_repo(hub, text_field="text", recipe=packaged_recipe())
            await bench.run(processes=n_processes)
        root = bench.data_dir / "tokenized"
        seen.append({str(path.relative_to(root)): sha256(path) for path in root.rglob("shard_*")})
    assert seen[0] == seen[1] != {}


async def test_a_recipe_tied_later_is_worked_on_without_a_request(bench):
    repo = Repo(REPO, corpus("swe_Latn"))
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub, text_field="text")
        await bench.run()
        n_requests = hub.totals["hub"].n_requests
        await bench.enqueue_repo(hub, text_field="text", recipe=packaged_recipe(), missing=False)
        await bench.run()
        assert hub.totals["hub"].n_requests == n_requests
    assert set(bench.states("tokenize").values()) == {"completed"}


async def test_files_other_than_parquet_end_with_their_download(bench):
    async with DemoHub([Repo(REPO, {"a.txt": b"a", "b.parquet": GOOD})]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
    assert set(bench.states("verify")) == {"b.parquet"}


# --- what verify refuses


def flipped():
    """A page whose checksum does not hold; nothing else could tell."""
    content = bytearray(
        parquet(["abcdefgh" * 40 + str(n) for n in range(300)], compression="none", write_page_checksum=True)
    )
    content[content.index(b"abcdefgh") + 3] ^= 1
    return bytes(content)


BAD = {
    "missing_column": parquet(["x"], column="content"),
    "empty_file": parquet([]),
    "html_instead": b"<!DOCTYPE html><html><body>Please sign in</body></html>",
    "not_parquet": b"garbage, but enough of it",
    "bad_pages": flipped(),
}
BAD_NAMES = {f"data/{name}.parquet": content for name, content in BAD.items()} | {
    "data/truncated.parquet": GOOD[: len(GOOD) // 2],
    "data/nothing.parquet": b"",
}
REFUSED = {f"data/{name}.parquet": name for name in BAD} | {
    "data/truncated.parquet": "not_parquet",
    "data/nothing.parquet": "empty_file",
}


async def test_each_refused_file_is_kept_aside_with_its_reason_and_the_rest_goes_on(bench):
    good = {f"data/good{n}.parquet": GOOD for n in range(4)}
    files = BAD_NAMES | good
    async with Origin(files) as origin:
        facts = {path: (len(content), None) for path, content in files.items()}
        await bench.enqueue_known(origin.url, facts, text_field="text", recipe=packaged_recipe())
        assert await bench.run(processes=2) == Ended("empty")
    assert bench.errors("verify") == REFUSED
    assert set(bench.states().values()) == {"completed"}
    assert bench.states("tokenize") == dict.fromkeys(good, "completed")
    for path, content in BAD_NAMES.items():
        final = bench.file(path, "host")
        assert not final.exists()
        assert corrupted_path(final).read_bytes() == content
    assert {(event.path, event.error_class) for event in bench.told.of(FileQuarantined)} == set(REFUSED.items())


async def test_a_file_refused_by_mistake_comes_back_without_a_byte(bench):
    """The wrong text field was set; set right and enqueued again, the file kept aside is proven by its digest."""
    repo = Repo(REPO, {"a.parquet": BAD["missing_column"]})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub, text_field="text")
        await bench.run()
        assert bench.errors("verify") == {"a.parquet": "missing_column"}
        n_bytes = hub.totals["cdn"].body_bytes
        await bench.enqueue_repo(hub, text_field="content")
        await bench.run()
        assert hub.totals["cdn"].body_bytes == n_bytes
    bench.assert_as_served(repo)
    assert bench.states("verify") == {"a.parquet": "completed"}


async def test_a_tokenizer_that_changed_on_disk_discards_and_quarantines_nothing(bench, tmp_path):
    moved = tmp_path / "tokenizer.json"
    moved.write_bytes(TOKENIZER.read_bytes() + b"\n")
    recipe = replace(packaged_recipe(), tokenizer_path=str(moved))
    async with DemoHub([Repo(REPO, {"a.parquet": GOOD})]) as hub:
        await bench.enqueue_repo(hub, text_field="text", recipe=recipe)
        await bench.run()
    assert bench.errors("tokenize") == {"a.parquet": "bad_tokenizer"}
    assert bench.file("a.parquet").read_bytes() == GOOD


# --- children that die


class Hanging:
    """A recipe whose tokenizer is a FIFO: the child that opens it waits until somebody writes."""

    def __init__(self, folder: Path) -> None:
        self.fifo = folder / "fifo.json"
        os.mkfifo(self.fifo)
        self.recipe = replace(packaged_recipe(), name="hanging-256", tokenizer_path=str(self.fifo))
        self._fds = []

    async def reader(self):
        """Wait until a child reads; return its pid."""
        fd = await asyncio.to_thread(os.open, self.fifo, os.O_WRONLY)
        try:
            for child in multiprocessing.active_children():
                for link in Path(f"/proc/{child.pid}/fd").iterdir():
                    if os.path.exists(link) and os.path.samefile(link, self.fifo):
                        return child.pid
            raise AssertionError("nobody reads the FIFO")
        finally:
            self._fds.append(fd)  # closing it would be an end of file for the child

    def feed(self, content):
        """Let the child that reads have `content`; blocks for what does not fit into the pipe."""
        with os.fdopen(self._fds.pop(), "wb") as file:
            file.write(content)

    def close(self):
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def hanging(tmp_path):
    made = Hanging(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_child_that_dies_is_charged_to_its_job_alone_and_the_third_time_discards(
    bench, hanging, short_waits, signum
):
    poisoned = Repo("org/poisoned", {"p.parquet": GOOD})
    good = Repo(REPO, {f"{n}.parquet": GOOD for n in range(12)})
    async with DemoHub([poisoned, good]) as hub:
        await bench.enqueue_repo(hub, "org/poisoned", text_field="text", recipe=hanging.recipe)
        await bench.enqueue_repo(hub, text_field="text", recipe=packaged_recipe())
        async with bench.running(processes=2) as ended:
            for attempt in range(1, MAX_CRASHES + 1):
                os.kill(await hanging.reader(), signum)
                await bench.told.wait_for(JobEnded, kind="tokenize", path="p.parquet", attempt=attempt)
            assert await ended == Ended("empty")
    assert bench.errors("tokenize") == {"p.parquet": "worker_crashed"}
    assert bench.told.outcomes("tokenize") == {
        ("completed", None): 12, ("retry", "worker_crashed"): MAX_CRASHES - 1, ("discarded", "worker_crashed"): 1,
    }  # fmt: skip
    assert bench.told.outcomes("verify") == {("completed", None): 13}
    assert bench.rows("SELECT outcome, count(*) FROM attempt GROUP BY 1 ORDER BY 1") == [
        ("crashed", MAX_CRASHES - 1),
        ("discarded", 1),
    ]


@pytest.mark.parametrize("stopped", [False, True], ids=["waiting", "stopped by a signal"])
async def test_a_child_that_takes_too_long_is_ended_and_its_job_charged(
    bench, hanging, short_waits, monkeypatch, stopped
):
    monkeypatch.setattr("asyncdl.engine.tasks.TIMEOUT_BASE_S", 2.0)
    poisoned = Repo("org/poisoned", {"p.parquet": GOOD})
    good = Repo(REPO, {f"{n}.parquet": GOOD for n in range(3)})
    async with DemoHub([poisoned, good]) as hub:
        await bench.enqueue_repo(hub, "org/poisoned", text_field="text", recipe=hanging.recipe)
        await bench.enqueue_repo(hub, text_field="text", recipe=packaged_recipe())
        async with bench.running(processes=1, forever=True):
            pid = await hanging.reader()
            if stopped:
                os.kill(pid, signal.SIGSTOP)
            told = await bench.told.wait_for(JobEnded, kind="tokenize", path="p.parquet")
            assert told.error_class == "worker_timeout"
            assert not Path(f"/proc/{pid}").exists()
            bench.rows(
                "UPDATE job SET state = 'cancelled', ended_at = 1 WHERE kind = 'tokenize' AND path = 'p.parquet' AND state = 'available'"
            )
            for path in good.main.paths:
                await bench.told.wait_for(JobEnded, kind="tokenize", path=path, outcome="completed")
            bench.engine.stop()
    assert bench.rows("SELECT outcome, error_class FROM attempt WHERE outcome <> 'released'") == [
        ("crashed", "worker_timeout")
    ]


async def test_a_stop_kills_the_child_and_gives_its_job_back(bench, hanging):
    async with DemoHub([Repo(REPO, {"p.parquet": GOOD})]) as hub:
        await bench.enqueue_repo(hub, text_field="text", recipe=hanging.recipe)
        async with bench.running() as ended:
            pid = await hanging.reader()
            bench.engine.stop()
            async with asyncio.timeout(10):
                assert await ended == Ended("stopped")
        assert not Path(f"/proc/{pid}").exists()
    row = bench.row("p.parquet", "tokenize")
    assert (row["state"], row["failures"], row["crashes"]) == ("available", 0, 0)


async def test_a_drain_waits_for_the_child_and_settles_what_it_found(bench, hanging):
    async with DemoHub([Repo(REPO, {"p.parquet": GOOD})]) as hub:
        await bench.enqueue_repo(hub, text_field="text", recipe=hanging.recipe)
        async with bench.running() as ended:
            await hanging.reader()
            bench.engine.drain()
            assert not ended.done()
            hanging.feed(TOKENIZER.read_bytes())
            assert await ended == Ended("drained")
    assert bench.states("tokenize") == {"p.parquet": "completed"}

"""Workers as real processes: their limits, their deaths, and that no number of them changes a byte."""

import multiprocessing
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pebble import ProcessPool

from tests.integration.workers.samples import TEXTS, tokenize_task, train_tokenizer, write_texts
from workers import entry
from workers.contract import VerifyTask

ROOT = Path(__file__).parents[2]
SPAWN = multiprocessing.get_context("spawn")
ADDRESS_SPACE_BYTES = 1 << 30

ORPHAN = """
import multiprocessing, os, signal, sys
from workers import entry

def child(connection):
    entry.prepare(8 << 30)
    connection.send(os.getpid())
    signal.pause()

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    spawn.Process(target=child, args=(there,)).start()
    print(here.recv(), flush=True)
    sys.stdin.read()
"""

KILLED_AT_RENAME = """
import os, pickle, signal, sys
from workers import entry

task = pickle.loads(bytes.fromhex(sys.argv[1]))
sys.addaudithook(lambda event, _: event == "os.rename" and os.kill(os.getpid(), signal.SIGKILL))
entry.run(task)
"""


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def pool():
    arguments = {"initializer": entry.prepare, "initargs": (ADDRESS_SPACE_BYTES,), "context": SPAWN}
    with ProcessPool(2, **arguments) as pool:
        yield pool


@pytest.fixture
def task(tmp_path, tokenizer_folder):
    source = write_texts(tmp_path / "source.parquet", TEXTS * 200, row_group_size=999)
    return tokenize_task(source, tokenizer_folder, tmp_path / "out", max_shard_tokens=40_000)


def call(pool, function, *arguments):
    return pool.schedule(function, args=arguments).result()


def verify_in(pool, path):
    task = VerifyTask(path=str(path), size_bytes=None, required_columns=(), decode=True)
    return call(pool, entry.run, task)


def python(script, *arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, script, *arguments], env=environment, text=True, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_prepared_child_has_its_limits_leaves_interrupts_to_its_parent_and_yields_the_core(pool):
    assert call(pool, resource.getrlimit, resource.RLIMIT_AS)[0] == ADDRESS_SPACE_BYTES
    assert call(pool, resource.getrlimit, resource.RLIMIT_CORE) == (0, 0)
    assert call(pool, signal.getsignal, signal.SIGINT) == signal.SIG_IGN
    assert call(pool, os.nice, 0) == min(19, os.nice(0) + 5)


def test_a_child_does_not_outlive_its_parent(tmp_path):
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    with python(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        ended = os.pidfd_open(child)
        parent.kill()
        try:
            assert select.select([ended], [], [], 10)[0] == [ended]
        except AssertionError:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            os.close(ended)


def test_a_signal_to_the_group_of_the_engine_does_not_reach_a_worker(pool):
    """`timeout` and batch schedulers send SIGTERM to the group; a worker that died of it would be charged to its file."""
    assert call(pool, os.getpgrp) != os.getpgrp()


def test_a_page_that_wants_more_memory_than_a_worker_has_costs_its_task_and_not_the_worker(tmp_path, pool):
    bomb = tmp_path / "bomb.parquet"
    text = pa.array(["a" * 600_000_000])
    pq.write_table(pa.table({"text": text}), bomb, compression="zstd", use_dictionary=False, write_statistics=False)
    refused = verify_in(pool, bomb)
    assert refused.error_class == "bad_pages"
    assert "memory" in refused.message
    harmless = write_texts(tmp_path / "harmless.parquet", ["a"])
    assert verify_in(pool, harmless).n_rows == 1


def test_memory_does_not_grow_with_the_row_group(tmp_path):
    small = write_texts(tmp_path / "small.parquet", ["a"])
    rows = [os.urandom(500).hex() for _ in range(100_000)]
    large = write_texts(tmp_path / "large.parquet", rows, compression="none", use_dictionary=False)
    assert pq.read_metadata(large).num_row_groups == 1
    with ProcessPool(1, context=SPAWN) as pool:
        peaks = []
        for path in (small, large):
            verify_in(pool, path)
            status = call(pool, Path.read_text, Path("/proc/self/status"))
            peaks += [int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:")]
    assert peaks[1] - peaks[0] < large.stat().st_size // 2


def test_a_kill_between_the_partial_and_its_rename_leaves_no_shard_and_the_next_attempt_cleans_up(tmp_path, task):
    script = tmp_path / "killed.py"
    script.write_text(KILLED_AT_RENAME)
    with python(script, pickle.dumps(task).hex()) as process:
        assert process.wait() == -signal.SIGKILL
    output = Path(task.output_dir)
    assert {name.rpartition(".")[2] for name in contents(output)} == {"7-1"}, "all are whole, and none has its name"
    again = tokenize_task(
        Path(task.sources[0].path), Path(task.tokenizer_path), output, max_shard_tokens=40_000, attempt=2
    )
    outcome = entry.run(again)
    assert sorted(contents(output)) == [shard.name for shard in outcome.shards]


def test_bytes_are_the_same_in_any_process(tmp_path, task, tokenizer_folder, pool):
    def into(name):
        source = Path(task.sources[0].path)
        return tokenize_task(source, tokenizer_folder, tmp_path / name, max_shard_tokens=40_000)

    together = [pool.schedule(entry.run, args=(into(name),)) for name in ("b", "c")]
    here = entry.run(task)
    assert [future.result() for future in together] == [here, here]
    assert len(here.shards) > 2
    assert contents(tmp_path / "b") == contents(tmp_path / "c") == contents(tmp_path / "out")


def test_datasets_reads_the_shards_as_they_are(tmp_path, task, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    outcome = entry.run(task)
    files = [str(Path(task.output_dir, shard.name)) for shard in outcome.shards]
    read = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert read.num_rows == sum(shard.n_sequences for shard in outcome.shards)
    assert read.column_names == ["input_ids", "attention_mask", "labels"]
    first = read[0]
    assert first["labels"] == [*first["input_ids"][1:], -100]

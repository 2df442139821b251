"""Sources that are packed together, parts of a source, and what a task tells of them."""

import gzip
import os
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.workers.samples import BOS, EOS, TEXTS, tokenize_task, train_tokenizer, write_texts
from tests.integration.workers.test_json_sources import line_of
from workers import tokenize_file, tokens
from workers.batch import Counts
from workers.contract import Source, Surveyed, SurveyTask
from workers.entry import run


@pytest.fixture
def folder(tmp_path):
    """Four files of three kinds, the texts in order over all of them."""
    write_texts(tmp_path / "a.parquet", [*TEXTS[:4], None], row_group_size=2)
    (tmp_path / "b.jsonl").write_bytes(b"".join(map(line_of, TEXTS[4:7])))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b"".join(map(line_of, TEXTS[7:10]))))
    write_texts(tmp_path / "d.parquet", TEXTS[10:], row_group_size=2)
    return tmp_path


@pytest.fixture
def task(folder, tokenizer_folder):
    sources = [folder / name for name in ("a.parquet", "b.jsonl", "c.jsonl.gz", "d.parquet")]
    one = tokenize_task(folder, tokenizer_folder, folder / "out", max_shard_tokens=8 * 16)
    return replace(one, sources=tuple(Source(path=str(path), source_id=f"org/name@1/{path.name}") for path in sources))


def contents(task):
    return {path.name: path.read_bytes() for path in Path(task.output_dir).iterdir()}


def ids_of(task, outcome):
    tables = [pq.read_table(os.path.join(task.output_dir, shard.name)) for shard in outcome.shards]
    return pa.concat_tables(tables)["input_ids"].to_pylist()


def test_documents_of_one_source_follow_those_of_the_other(task, tmp_path, tokenizer_folder):
    one = tokenize_task(write_texts(tmp_path / "all.parquet", TEXTS), tokenizer_folder, tmp_path / "one", max_shard_tokens=8 * 16)  # fmt: skip
    outcome, expected = run(task), run(one)
    assert ids_of(task, outcome) == ids_of(one, expected)
    assert (outcome.n_documents, outcome.n_tokens) == (expected.n_documents, expected.n_tokens)
    assert (outcome.n_null, outcome.n_lines, outcome.refused) == (1, 6, ())


def test_metadata_name_all_sources_in_order(task):
    schema = pq.read_schema(os.path.join(task.output_dir, run(task).shards[0].name))
    assert schema.metadata[b"source_id"].decode().split("\n") == [source.source_id for source in task.sources]
    assert b"source_part" not in schema.metadata


@pytest.mark.parametrize("broken", [0, 1, 2, 3])
def test_one_that_cannot_be_read_takes_nothing_else_with_it(task, tmp_path, broken):
    with open(task.sources[broken].path, "r+b") as file:
        file.truncate(40)
    others = task.sources[:broken] + task.sources[broken + 1 :]
    alone = run(replace(task, sources=(task.sources[broken],)))
    without = replace(task, sources=others, output_dir=str(tmp_path / "without"))
    outcome, expected = run(task), run(without)
    assert contents(task) == contents(without)
    [refused] = outcome.refused
    assert (refused.source_id, refused.error_class, refused.message) == (
        task.sources[broken].source_id,
        alone.error_class,
        alone.message,
    )
    assert replace(outcome, refused=()) == expected


def test_all_that_cannot_be_read_are_found_at_once(task, tmp_path):
    for broken in (0, 2):
        os.unlink(task.sources[broken].path)
    outcome = run(task)
    assert [(one.source_id, one.error_class) for one in outcome.refused] == [
        (task.sources[0].source_id, "missing_file"),
        (task.sources[2].source_id, "missing_file"),
    ]
    assert outcome.n_documents == len(TEXTS[4:7] + TEXTS[10:])


def test_where_none_can_be_read_the_first_refusal_is_the_tasks(task):
    with open(task.sources[0].path, "r+b") as file:
        file.truncate(5)
    for source in task.sources[1:]:
        os.unlink(source.path)
    assert run(task).error_class == "bad_footer"


def test_what_is_no_fault_of_a_source_refuses_the_task(task):
    assert run(replace(task, tokenizer_sha256="0" * 64)).error_class == "bad_tokenizer"
    os.makedirs(task.output_dir)
    os.symlink("/dev/full", os.path.join(task.output_dir, "shard_a-0000.parquet.partial.7-1"))
    assert run(task).error_class == "no_room"


@pytest.mark.parametrize("cuts", [(1, 2), (2,), (1, 3, 4), ()])
def test_parts_of_row_groups_have_each_document_once(tmp_path, tokenizer_folder, cuts):
    path = write_texts(tmp_path / "a.parquet", [*TEXTS, None, None], row_group_size=3)
    n_groups = pq.read_metadata(path).num_row_groups
    whole = tokenize_task(path, tokenizer_folder, tmp_path / "out")
    places = [0, *cuts, n_groups]
    found, counts = [], Counts()
    for part in pairwise(places):
        source = replace(whole.sources[0], part=part)
        found += [t for batch in tokenize_file.text.batches(whole, source, 10**6, counts) for t in batch.texts]
    assert found == TEXTS
    assert counts.n_null == 2


def test_a_part_stands_in_the_metadata(tmp_path, tokenizer_folder):
    path = write_texts(tmp_path / "a.parquet", TEXTS, row_group_size=3)
    whole = tokenize_task(path, tokenizer_folder, tmp_path / "out")
    task = replace(whole, sources=(replace(whole.sources[0], part=(1, 3)),))
    outcome = run(task)
    assert outcome.n_documents == 6
    metadata = pq.read_schema(os.path.join(task.output_dir, outcome.shards[0].name)).metadata
    assert (metadata[b"source_id"], metadata[b"source_part"]) == (b"org/name@0123/data/a.parquet", b"1-3")


def test_a_part_that_the_file_does_not_have_was_planned_for_another(tmp_path, tokenizer_folder):
    path = write_texts(tmp_path / "a.parquet", TEXTS, row_group_size=3)
    whole = tokenize_task(path, tokenizer_folder, tmp_path / "out")
    for part in [(0, 9), (6, 7)]:
        assert run(replace(whole, sources=(replace(whole.sources[0], part=part),))).error_class == "bad_footer"


def test_invalid_utf8_in_a_part_is_named_by_its_row_in_the_file(tmp_path, tokenizer_folder):
    array = pa.concat_arrays([pa.array(["word"] * 8, pa.binary()), pa.array([b"good \xff"])])
    broken = pa.Array.from_buffers(pa.string(), len(array), array.buffers())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet", row_group_size=3)
    whole = tokenize_task(tmp_path / "a.parquet", tokenizer_folder, tmp_path / "out")
    outcome = run(replace(whole, sources=(replace(whole.sources[0], part=(2, 3)),)))
    assert outcome.message == "text of row 8 is not UTF-8: invalid start byte at byte 5"


@pytest.mark.parametrize("backend", ["auto", "tokenizers"])
def test_special_tokens_that_texts_hold_are_counted_and_those_packing_adds_are_not(tmp_path, tokenizer_folder, backend):
    texts = ["plain", f"{EOS}{BOS} and {EOS}", f"{EOS[:-1]}", ""]
    path = write_texts(tmp_path / "a.parquet", texts)
    assert run(tokenize_task(path, tokenizer_folder, tmp_path / "out", backend=backend, bos_id=1)).n_special == 3


@pytest.mark.parametrize("most_spans", [0, 8])
def test_special_ids_are_counted_wherever_they_lie(monkeypatch, most_spans):
    monkeypatch.setattr(tokens, "_MOST_SPANS", most_spans)
    flat = tokens.np.array([0, 1, 2, 3, 9, 10, 11, 2**31 - 1], tokens.np.int32)
    assert tokens.count_special(flat, ((1, 1), (9, 10))) == 3
    assert tokens.count_special(flat, ()) == 0


def test_processor_seconds_are_told_and_no_part_of_what_makes_outcomes_equal(task):
    before_s = time.process_time()
    outcome = run(task)
    assert 0 < outcome.cpu_s <= time.process_time() - before_s
    assert replace(outcome, cpu_s=0.0) == outcome


def test_a_worker_over_its_memory_lets_its_tokenizers_go(task, tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    own = tokenize_task(task.sources[0].path, train_tokenizer(folder), tmp_path / "out2")
    tokens.load.cache_clear()
    run(own)
    assert tokens.load.cache_info().currsize == 1
    monkeypatch.setattr(tokenize_file, "_RSS_BYTES", 1)
    run(own)
    assert tokens.load.cache_info().currsize == 0
    assert run(replace(own, text_column="body")).error_class == "missing_column"
    assert tokens.load.cache_info().currsize == 0


def test_a_survey_tells_what_each_file_hashes_to(tmp_path):
    import hashlib

    (tmp_path / "a").write_bytes(b"some")
    (tmp_path / "b").touch()
    paths = [str(tmp_path / name) for name in ("a", "none", "b")]
    sha256 = (hashlib.sha256(b"some").hexdigest(), "", hashlib.sha256().hexdigest())
    assert run(SurveyTask(paths=tuple(paths))) == Surveyed(sha256=sha256)

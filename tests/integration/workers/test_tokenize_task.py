"""A file of texts becomes shards: the ids, the counts, the labels, the bytes and every refusal."""

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from tests.integration.workers.samples import EOS, TEXTS, flip_bit_in_chunk, tokenize_task, write_texts
from workers import batch as batching
from workers import shards, text, text_column
from workers.batch import Counts
from workers.contract import Rejected
from workers.entry import run
from workers.tokens import load

LENGTH = 16
IGNORED = -100


@pytest.fixture
def task(tmp_path, tokenizer_folder):
    """The texts twice with nulls between, in several row groups, over several shards of 8 sequences."""
    texts = [*TEXTS, None, *TEXTS, None]
    source = write_texts(tmp_path / "source.parquet", texts, row_group_size=5)
    return tokenize_task(source, tokenizer_folder, tmp_path / "out" / "deep", max_shard_tokens=8 * LENGTH + 7)


def rewrite(task, array, **options):
    pq.write_table(pa.table({"text": array}), task.sources[0].path, **options)


def changed(task, **fields):
    return type(task)(**({name: getattr(task, name) for name in task.__slots__} | fields))


def read_shards(task, outcome):
    return pa.concat_tables(pq.read_table(os.path.join(task.output_dir, s.name)) for s in outcome.shards)


def flat(table, column):
    return table[column].combine_chunks().flatten().to_numpy()


def listing(task):
    return {name: open_bytes(task, name) for name in sorted(os.listdir(task.output_dir))}


def open_bytes(task, name):
    with open(os.path.join(task.output_dir, name), "rb") as file:
        return file.read()


def expected_stream(task, texts):
    """The plain way: one text at a time, EOS after each."""
    tokenizer = Tokenizer.from_file(task.tokenizer_path)
    stream = []
    for t in texts:
        stream += [*tokenizer.encode(t, add_special_tokens=False).ids, task.eos_id]
    return stream


@pytest.mark.parametrize("backend", ["auto", "tokenizers"])
def test_ids_are_those_of_the_reference_with_eos_after_every_document(task, backend):
    outcome = run(changed(task, backend=backend))
    stream = expected_stream(task, TEXTS + TEXTS)
    ids = flat(read_shards(task, outcome), "input_ids")
    assert ids[: len(stream)].tolist() == stream
    assert set(ids[len(stream) :]) == {task.eos_id}
    assert (outcome.n_tokens, outcome.n_documents) == (len(stream), 2 * len(TEXTS))
    assert outcome.text_bytes == 2 * sum(len(t.encode()) for t in TEXTS)
    assert outcome.backend.startswith("fastokens " if backend == "auto" else "tokenizers ")
    assert outcome.backend_note == ""


def test_every_token_is_accounted_for(task):
    outcome = run(task)
    n_sequences = sum(s.n_sequences for s in outcome.shards)
    assert n_sequences * LENGTH == outcome.n_tokens + outcome.n_padding
    assert 0 < outcome.n_padding < LENGTH
    assert outcome.n_dropped == 0
    mask = flat(read_shards(task, outcome), "attention_mask")
    assert mask.tolist() == [1] * outcome.n_tokens + [0] * outcome.n_padding


def test_labels_are_the_next_ids_of_the_sequence(task):
    outcome = run(task)
    table = read_shards(task, outcome)
    ids = flat(table, "input_ids").reshape(-1, LENGTH)
    labels = flat(table, "labels").reshape(-1, LENGTH)
    expected = np.full_like(ids, IGNORED)
    expected[:, :-1] = ids[:, 1:]
    expected[-1, LENGTH - outcome.n_padding - 1 :] = IGNORED
    assert (labels == expected).all()


def test_shards_hold_what_the_outcome_says_and_never_more_than_allowed(task):
    outcome = run(task)
    assert [s.name for s in outcome.shards] == [f"shard_a-{i:04d}.parquet" for i in range(len(outcome.shards))]
    assert {s.n_sequences for s in outcome.shards[:-1]} == {8}
    for shard in outcome.shards:
        content = open_bytes(task, shard.name)
        assert (shard.size_bytes, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert pq.read_metadata(pa.BufferReader(content)).num_rows == shard.n_sequences
    assert sorted(os.listdir(task.output_dir)) == [s.name for s in outcome.shards]


def test_the_schema_is_three_lists_and_says_what_made_it(task):
    outcome = run(task)
    schema = pq.read_schema(os.path.join(task.output_dir, outcome.shards[0].name))
    assert schema.names == ["input_ids", "attention_mask", "labels"]
    assert set(schema.types) == {pa.list_(pa.field("element", pa.int32()))}
    assert schema.metadata == {
        b"format_version": b"1",
        b"labels_convention": b"shifted",
        b"tokenizer_sha256": task.tokenizer_sha256.encode(),
        b"max_seq_length": b"16",
        b"eos_id": str(task.eos_id).encode(),
        b"source_id": b"org/name@0123/data/a.parquet",
    }


def test_a_flipped_bit_in_a_shard_is_found_by_its_own_checksums(task):
    shard = run(task).shards[0]
    path = os.path.join(task.output_dir, shard.name)
    columns = [pq.read_metadata(path).row_group(0).column(i) for i in range(3)]
    assert [c.has_dictionary_page for c in columns] == [False, True, False]
    assert {c.compression for c in columns} == {"ZSTD"}
    assert {c.is_stats_set for c in columns} == {False}
    flip_bit_in_chunk(Path(path), 0, 0)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


@pytest.mark.parametrize("batch_text_bytes", [1, 300, 10**6])
@pytest.mark.parametrize("read_bytes", [1, 10**6])
def test_bytes_do_not_depend_on_batches(task, monkeypatch, batch_text_bytes, read_bytes):
    monkeypatch.setattr(shards, "_ROW_GROUP_TOKENS", 3 * LENGTH)
    run(task)
    first = listing(task)
    monkeypatch.setattr(batching, "BATCH_TEXT_BYTES", batch_text_bytes)
    monkeypatch.setattr(text_column, "_READ_BYTES", read_bytes)
    run(changed(task, output_dir=task.output_dir + "2"))
    assert listing(changed(task, output_dir=task.output_dir + "2")) == first
    content = pq.read_metadata(os.path.join(task.output_dir, "shard_a-0000.parquet"))
    assert [content.row_group(i).num_rows for i in range(content.num_row_groups)] == [3, 3, 2]


def test_bytes_do_not_depend_on_the_row_groups_of_the_source(task):
    run(task)
    first = listing(task)
    rewrite(task, pq.read_table(task.sources[0].path)["text"])
    run(changed(task, attempt=2))
    assert listing(task) == first


def test_a_rerun_removes_what_a_longer_run_and_dead_attempts_left_and_nothing_else(task):
    outcome = run(task)
    first = listing(task)
    n = len(outcome.shards)
    left = [f"shard_a-{n:04d}.parquet", "shard_a-12345.parquet"]
    left += ["shard_a-0000.parquet.partial.7-1", "shard_a-0000.parquet.partial.6-9"]
    kept = ["shard_b-9999.parquet", "shard_a-0001.parquet.partial.7-3", "manifest.json", "shard_a-0000-0009.parquet"]
    kept += ["shard_a-0000.parquet.partial.8-1"]
    for name in left + kept:
        with open(os.path.join(task.output_dir, name), "w"):
            pass
    assert run(changed(task, attempt=2)) == outcome
    assert listing(task) == first | dict.fromkeys(kept, b"")


def test_leftovers_stay_until_the_task_succeeds(task):
    run(task)
    first = listing(task)
    assert run(changed(task, text_column="id", attempt=2)).error_class == "not_text"
    assert listing(task) == first


def test_batches_of_text_are_bounded_by_bytes_and_lose_nothing(task, monkeypatch):
    monkeypatch.setattr(batching, "BATCH_TEXT_BYTES", 200)
    monkeypatch.setattr(text_column, "_READ_BYTES", 1)
    batches = list(text.batches(task, task.sources[0], 10**6, Counts()))
    assert [document for batch in batches for document in batch.texts] == TEXTS + TEXTS
    longest = max(len(t.encode()) for t in TEXTS)
    for batch in batches:
        assert batch.n_bytes == sum(len(d.encode()) for d in batch.texts) < 200 + longest


def test_batches_of_empty_documents_are_bounded_by_their_number(task, monkeypatch):
    monkeypatch.setattr(batching, "_BATCH_DOCUMENTS", 10)
    rewrite(task, pa.array([""] * 35), row_group_size=5)
    assert [len(batch.texts) for batch in text.batches(task, task.sources[0], 10**6, Counts())] == [10, 10, 10, 5]


def test_a_file_without_documents_makes_no_shard(task):
    rewrite(task, pa.array([None, None], pa.string()))
    outcome = run(task)
    assert outcome.shards == ()
    assert (outcome.n_documents, outcome.n_tokens, outcome.n_padding, outcome.text_bytes) == (0, 0, 0, 0)


def test_documents_that_fill_their_sequences_exactly_need_no_padding(task):
    rewrite(task, pa.array([""] * LENGTH))
    outcome = run(task)
    assert (outcome.n_tokens, outcome.n_padding, outcome.shards[0].n_sequences) == (LENGTH, 0, 1)


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.large_string())]
)
def test_strings_of_any_layout_are_text(task, kind):
    outcome = run(task)
    array = pq.read_table(task.sources[0].path)["text"].combine_chunks()
    if pa.types.is_dictionary(kind):
        array = array.dictionary_encode()
    rewrite(task, array.cast(kind))
    assert pq.ParquetFile(task.sources[0].path).schema_arrow.field("text").type.id == kind.id
    assert run(changed(task, attempt=2)) == outcome


@pytest.mark.parametrize("kind", [pa.binary(), pa.int64(), pa.list_(pa.string())])
def test_other_columns_are_not_text(task, kind):
    rewrite(task, pa.array([None, None], kind))
    assert run(task).error_class == "not_text"


def test_truncation_and_padding_asked_for_by_the_tokenizer_are_ignored(task, tmp_path, tokenizer_folder):
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": EOS}))
    plain = run(task)
    other = tokenize_task(task.sources[0].path, tmp_path, tmp_path / "other")
    outcome = run(other)
    assert outcome.n_tokens == plain.n_tokens
    assert outcome.backend == plain.backend


def test_a_missing_source_is_missing(task):
    os.unlink(task.sources[0].path)
    assert run(task).error_class == "missing_file"


def test_a_missing_column_is_named(task):
    assert run(changed(task, text_column="body")).error_class == "missing_column"


def test_invalid_utf8_is_bad_pages_and_leaves_no_partial(task):
    good = "some words " * 20
    arrays = [pa.array([good] * 50).cast(pa.binary()), pa.array([b"\xff"])]
    broken = pa.concat_arrays(arrays)
    rewrite(task, pa.Array.from_buffers(pa.string(), len(broken), broken.buffers()), row_group_size=1)
    assert run(task).error_class == "bad_pages"
    assert not [name for name in os.listdir(task.output_dir) if "partial" in name]


def test_a_flipped_bit_in_the_source_is_bad_pages(task):
    rewrite(task, pa.array(TEXTS), write_page_checksum=True)
    flip_bit_in_chunk(Path(task.sources[0].path), 0, 0)
    assert run(task).error_class == "bad_pages"


def test_a_tokenizer_that_changed_is_refused(task):
    assert run(changed(task, tokenizer_sha256="0" * 64)).error_class == "bad_tokenizer"
    gone = task.sources[0].path + ".tokenizer.json"
    assert run(changed(task, tokenizer_path=gone)).error_class == "bad_tokenizer"


def test_a_tokenizer_is_loaded_once_per_process(task):
    run(task)
    key = task.tokenizer_path, task.tokenizer_sha256, "auto"
    assert load(*key) is load(*key)


def odd_tokenizer(task, tmp_path, model, pre_tokenizer=None):
    tokenizer = Tokenizer(model)
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.add_special_tokens([EOS])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tokenize_task(task.sources[0].path, tmp_path, task.output_dir, backend="tokenizers")


def test_a_text_the_tokenizer_cannot_encode_is_a_bad_tokenizer(task, tmp_path):
    odd = odd_tokenizer(task, tmp_path, models.WordLevel({"a": 0}, unk_token="[UNK]"))
    assert run(odd).error_class == "bad_tokenizer"


def test_a_native_panic_is_a_bad_tokenizer(task, tmp_path, capfd):
    split = pre_tokenizers.Split(Regex(r"(x+x+)+y"), "isolated")
    odd = odd_tokenizer(task, tmp_path, models.BPE({"x": 0}, []), split)
    rewrite(task, pa.array(["x" * 40]))
    outcome = run(odd)
    assert outcome.error_class == "bad_tokenizer"
    assert "panicked" in outcome.message
    assert "retry-limit" in capfd.readouterr().err


@pytest.mark.parametrize("n_texts", [1, 20_000])
def test_a_full_disk_is_no_room_and_leaves_no_partial(task, n_texts):
    """/dev/full takes no byte; with little text the disk is only asked when the shard is published."""
    rewrite(task, pa.array([str(i) for i in range(n_texts)]))
    os.makedirs(task.output_dir)
    os.symlink("/dev/full", os.path.join(task.output_dir, "shard_a-0000.parquet.partial.7-1"))
    outcome = run(changed(task, max_shard_tokens=1 << 20))
    assert isinstance(outcome, Rejected)
    assert outcome.error_class == "no_room"
    assert os.listdir(task.output_dir) == []


def test_a_spent_quota_is_no_room_and_leaves_nothing_that_looks_whole(task, monkeypatch):
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fsync)
    assert run(task).error_class == "no_room"
    assert os.listdir(task.output_dir) == []


def test_trouble_of_the_machine_is_raised(task, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    os.makedirs(task.output_dir)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        run(task)
    assert os.listdir(task.output_dir) == []


def test_a_shard_too_small_for_a_sequence_is_a_bug_of_the_caller(task):
    with pytest.raises(ValueError, match="max_shard_tokens"):
        run(changed(task, max_shard_tokens=LENGTH - 1))

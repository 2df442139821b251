"""What the options of the tokenize task change in the shards, and that every token stays accounted for."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from tests.integration.workers.samples import BOS, EOS, TEXTS, tokenize_task, write_texts
from workers import batch as batching
from workers import text, text_column, tokens
from workers.batch import Counts
from workers.contract import InspectTokenizerTask
from workers.entry import run

LENGTH = 64
TOO_LARGE = "\n".join(TEXTS[:10] * 4)


@pytest.fixture
def bos_id(tokenizer_folder):
    return Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json")).token_to_id(BOS)


@pytest.fixture
def make(tmp_path, tokenizer_folder):
    def make(texts, name="out", **options):
        source = write_texts(tmp_path / "source.parquet", texts)
        options = {"max_seq_length": LENGTH, "max_shard_tokens": 10 * LENGTH} | options
        return tokenize_task(source, tokenizer_folder, tmp_path / name, **options)

    return make


def table_of(task, outcome):
    return pa.concat_tables(pq.read_table(os.path.join(task.output_dir, shard.name)) for shard in outcome.shards)


def real_ids(task, outcome):
    """The ids of each sequence that its mask does not hide."""
    table = table_of(task, outcome)
    pairs = zip(table["input_ids"].to_pylist(), table["attention_mask"].to_pylist(), strict=True)
    return [row[: sum(mask)] for row, mask in pairs]


def encoded(task, texts):
    tokenizer = Tokenizer.from_file(task.tokenizer_path)
    return [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]


@pytest.mark.parametrize("packing", ["concat", "best-fit"])
@pytest.mark.parametrize("labels", ["shifted", "hf"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_every_token_is_accounted_for_whatever_the_options(make, bos_id, packing, labels, drop_last):
    task = make(TEXTS * 9, packing=packing, labels=labels, drop_last=drop_last, bos_id=bos_id)
    outcome = run(task)
    n_sequences = sum(shard.n_sequences for shard in outcome.shards)
    n_in = sum(len(doc) + 2 for doc in encoded(task, TEXTS * 9))
    assert n_sequences * LENGTH == outcome.n_tokens + outcome.n_padding
    assert outcome.n_tokens + outcome.n_dropped == n_in
    assert sum(map(len, real_ids(task, outcome))) == outcome.n_tokens
    assert (outcome.n_dropped > 0) is drop_last
    assert outcome.n_documents == sum(outcome.histogram) == len(TEXTS * 9)


def test_drop_last_leaves_no_padding_in_a_stream(make):
    outcome = run(make(TEXTS * 3, drop_last=True))
    assert outcome.n_padding == 0
    assert 0 < outcome.n_dropped < LENGTH


def test_a_file_of_less_than_one_sequence_is_dropped_whole(make):
    outcome = run(make(["a"], drop_last=True))
    assert outcome.shards == ()
    assert (outcome.n_documents, outcome.n_tokens, outcome.n_dropped) == (1, 0, 2)


def test_bos_goes_before_every_document_and_eos_only_where_wanted(make, bos_id):
    task = make(TEXTS, bos_id=bos_id, add_eos=False, seq_lengths=True)
    stream = [i for row in real_ids(task, run(task)) for i in row]
    assert stream == [i for doc in encoded(task, TEXTS) for i in (bos_id, *doc)]


def test_best_fit_keeps_documents_whole(make):
    task = make(TEXTS * 3, packing="best-fit", seq_lengths=True)
    outcome = run(task)
    table = table_of(task, outcome)
    found = []
    for row, lengths in zip(real_ids(task, outcome), table["seq_lengths"].to_pylist(), strict=True):
        ends = [sum(lengths[: n + 1]) for n in range(len(lengths))]
        found += [row[end - n : end] for end, n in zip(ends, lengths, strict=True)]
        assert ends[-1] == len(row)
    docs = [[*doc, task.eos_id] for doc in encoded(task, TEXTS * 3)]
    expected = [doc[i : i + LENGTH] for doc in docs for i in range(0, len(doc), LENGTH)]
    assert sorted(found) == sorted(expected)
    assert any(len(doc) > LENGTH for doc in docs)


def test_hf_labels_are_the_ids_themselves_but_for_padding(make):
    task = make(TEXTS, labels="hf")
    table = table_of(task, run(task))
    for ids, mask, labels in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        assert labels == [i if real else -100 for i, real in zip(ids, mask, strict=True)]


def test_options_stand_in_the_metadata_where_they_are_not_the_usual_ones(make, bos_id):
    task = make(TEXTS, labels="hf", packing="best-fit", bos_id=bos_id, add_eos=False, drop_last=True, seq_lengths=True)
    schema = pq.read_schema(os.path.join(task.output_dir, run(task).shards[0].name))
    assert schema.names == ["input_ids", "attention_mask", "labels", "seq_lengths"]
    assert set(schema.types) == {pa.list_(pa.field("element", pa.int32()))}
    found = {
        key: schema.metadata[key] for key in (b"labels_convention", b"packing", b"bos_id", b"add_eos", b"drop_last")
    }
    assert [*found.values()] == [b"hf", b"best-fit", str(bos_id).encode(), b"false", b"true"]


@pytest.mark.parametrize("packing", ["concat", "best-fit"])
def test_bytes_do_not_depend_on_batches(make, monkeypatch, packing):
    options = {"packing": packing, "seq_lengths": True}
    first = run(make(TEXTS * 20, **options))
    monkeypatch.setattr(batching, "BATCH_TEXT_BYTES", 100)
    monkeypatch.setattr(text_column, "_READ_BYTES", 1)
    assert run(make(TEXTS * 20, "other", **options)) == first


@pytest.mark.parametrize("packing", ["concat", "best-fit"])
@pytest.mark.parametrize("backend", ["auto", "tokenizers"])
def test_a_document_too_large_for_one_go_is_one_document_and_counted(make, monkeypatch, packing, backend):
    """Its tokens are those of the whole, for it is cut between lines; EOS stands at its end alone."""
    texts = [*TEXTS[:3], TOO_LARGE, "", TOO_LARGE, TEXTS[4]]
    whole = run(make(texts, packing=packing, backend=backend))
    assert whole.n_split == 0
    encoder = tokens.load(make(texts).tokenizer_path, make(texts).tokenizer_sha256, backend)
    limited = type(encoder)(encoder.tokenizer, backend=encoder.backend, max_text_bytes=1200)
    monkeypatch.setattr(tokens, "load", lambda *_: limited)
    split = run(make(texts, "split", packing=packing, backend=backend))
    assert split.n_split == 2
    assert (split.n_documents, split.n_tokens, split.text_bytes) == (
        whole.n_documents,
        whole.n_tokens,
        whole.text_bytes,
    )
    assert split.histogram == whole.histogram
    assert split.shards == whole.shards


def test_pieces_of_a_document_are_bounded_and_are_the_document(make, monkeypatch):
    monkeypatch.setattr(text_column, "PIECE_BYTES", 1000)
    task = make([TEXTS[0], TOO_LARGE, TEXTS[1], TOO_LARGE])
    batches = list(text.batches(task, task.sources[0], 2000, Counts()))
    pieces = [batch.texts for batch in batches]
    assert pieces[0][0] == TEXTS[0]
    assert max(len(t.encode()) for texts in pieces for t in texts) <= 1000
    assert "".join(t for texts in pieces for t in texts) == TEXTS[0] + TOO_LARGE + TEXTS[1] + TOO_LARGE
    assert sum(batch.n_split for batch in batches) == 2


def test_text_that_is_not_utf8_is_named_with_its_row(make):
    task = make(TEXTS)
    array = pa.concat_arrays([pa.array(["word", None] * 30, pa.binary()), pa.array([b"good \xff"])])
    broken = pa.Array.from_buffers(pa.string(), len(array), array.buffers(), null_count=30)
    pq.write_table(pa.table({"text": broken}), task.sources[0].path, row_group_size=7)
    outcome = run(task)
    assert outcome.error_class == "bad_pages"
    assert outcome.message == "text of row 60 is not UTF-8: invalid start byte at byte 5"


def test_where_a_tokenizer_names_what_begins_a_document_it_is_found(tmp_path, tokenizer_folder):
    plain = run(InspectTokenizerTask(path=str(tokenizer_folder)))
    assert (plain.bos_token, plain.bos_id) == (None, None)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tokenizer_folder / name).read_bytes())
    Path(tmp_path, "tokenizer_config.json").write_text(f'{{"eos_token": "{EOS}", "bos_token": {{"content": "{BOS}"}}}}')
    named = run(InspectTokenizerTask(path=str(tmp_path)))
    assert (named.bos_token, named.bos_id) == (BOS, 1)
    assert named.eos_token == EOS

"""A shard passes only if it is what its manifest says; deep, every sequence in it keeps the rules of the format."""

import hashlib
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.workers.samples import flip_bit_in_chunk
from tests.support.tokenized import LENGTH, rewrite, tokenized
from workers.contract import CheckShardTask, Rejected, ShardChecked
from workers.entry import run


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tokenizer_folder):
    """The bytes of the last shard of a split, which has padding, and the vocabulary's size."""
    folder = tokenized(tmp_path_factory.mktemp("whole") / "a", tokenizer_folder, splits=("en",), seq_lengths=True)
    path = max((folder / "en").glob("shard_*"))
    assert pq.read_table(path)["attention_mask"].to_pylist()[-1][-1] == 0
    return path.read_bytes()


@pytest.fixture
def shard(tmp_path, whole):
    path = tmp_path / "shard_a-0001.parquet"
    path.write_bytes(whole)
    return path


def check(path, *, deep=True, **changes):
    """Check `path` against what it is, but for `changes`."""
    content = path.read_bytes() if path.is_file() else b""
    fields = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "max_seq_length": LENGTH}
    fields |= {"vocab_size": 400, "labels": "shifted"}
    if "n_sequences" not in changes:
        fields["n_sequences"] = pq.read_metadata(path).num_rows if content[-4:] == b"PAR1" else 0
    return run(CheckShardTask(path=str(path), deep=deep, **(fields | changes)))


def told(outcome):
    assert isinstance(outcome, Rejected), outcome
    return f"{outcome.error_class}: {outcome.message}"


def test_what_the_tokenize_task_makes_passes(shard):
    rows = pq.read_table(shard).to_pylist()
    n_tokens = sum(sum(row["attention_mask"]) for row in rows)
    assert check(shard, deep=False) == ShardChecked()
    assert check(shard) == ShardChecked(n_tokens=n_tokens, n_padding=len(rows) * LENGTH - n_tokens)
    assert check(shard, labels=None, vocab_size=None) == check(shard)


@pytest.mark.parametrize(
    "options", [{"labels": "hf"}, {"packing": "best-fit"}, {"seq_lengths": True, "add_eos": False}]
)
def test_whatever_the_options_what_is_made_passes(tmp_path, tokenizer_folder, options):
    folder = tokenized(tmp_path / "a", tokenizer_folder, splits=("en",), **options)
    paths = sorted((folder / "en").glob("shard_*"))
    assert len(paths) > 1
    for path in paths:
        assert isinstance(check(path, labels=options.get("labels", "shifted")), ShardChecked)


def test_a_shard_that_is_not_there_is_missing(tmp_path):
    assert told(check(tmp_path / "no", n_sequences=1)) == "missing_file: is in the manifest, but not there"


def test_what_is_no_file_is_not_opened(tmp_path):
    """To open a pipe that nobody writes to would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in told(check(tmp_path / "pipe", n_sequences=1))


def test_every_flipped_bit_is_seen_without_decoding(shard):
    content = shard.read_bytes()
    said = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "n_sequences": 1}
    for at in range(0, len(content), len(content) // 50):
        shard.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        assert told(check(shard, deep=False, **said)).startswith("shard_differs: its sha256 is")


def test_a_truncated_shard_is_seen_by_its_size(shard):
    n_bytes = shard.stat().st_size
    assert f"has {n_bytes} bytes, the manifest says {n_bytes + 1}" in told(
        check(shard, deep=False, size_bytes=n_bytes + 1)
    )


def test_deep_checks_the_checksum_of_every_page_though_the_sha256_be_right(shard):
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}  # any bit decodes to a number
    pq.write_table(pq.read_table(shard), shard, **plain)
    n_columns = pq.read_metadata(shard).num_columns
    content = shard.read_bytes()
    for column in range(n_columns):
        shard.write_bytes(content)
        flip_bit_in_chunk(shard, 0, column)
        assert told(check(shard)).startswith("bad_pages:"), column
        assert check(shard, deep=False) == ShardChecked()


def test_deep_refuses_what_is_no_parquet_though_the_sha256_be_right(shard):
    shard.write_bytes(b"PAR1 and nothing more")
    assert told(check(shard)).startswith("bad_footer:")


def longer(rows):
    for name in ("input_ids", "attention_mask", "labels"):
        rows[2][name].append(rows[2][name][-1])


def shorter(rows):
    rows[2]["labels"].pop()


def put(row, name, at, value):
    def change(rows):
        rows[row][name][at] = value

    return change


def nothing(rows):
    rows[2]["labels"] = None


def dropped(rows):
    return rows[:-1]


def labelled_padding(rows):
    """As if nothing were put before padding."""
    n = sum(rows[-1]["attention_mask"])
    rows[-1]["labels"][n - 1] = rows[-1]["input_ids"][n]


def masked_end(rows):
    n = sum(rows[-1]["attention_mask"])
    rows[-1]["attention_mask"][n] = 1


DAMAGE = [
    (longer, "sequence 2: input_ids has 17 values, not 16"),
    (shorter, "sequence 2: labels has 15 values, not 16"),
    (nothing, "labels has nulls"),
    (put(3, "input_ids", 0, None), "input_ids has nulls"),
    (put(3, "input_ids", 0, -1), "sequence 3 has an id outside the vocabulary"),
    (put(3, "input_ids", 0, 400), "sequence 3 has an id outside the vocabulary (0 to 399)"),
    (put(3, "attention_mask", 0, 0), "sequence 3 has an attention_mask that is not ones and then zeros"),
    (put(3, "attention_mask", 0, 2), "sequence 3 has an attention_mask that is not ones and then zeros"),
    (put(3, "labels", 4, 7), "sequence 3 has labels that are not those of the convention shifted"),
    (put(3, "labels", 15, 7), "sequence 3 has labels"),
    (labelled_padding, "has labels"),
    (masked_end, "has labels"),
    (put(3, "seq_lengths", 0, 1000), "sequence 3 has seq_lengths that do not add up to its tokens"),
]


@pytest.mark.parametrize(("change", "said"), DAMAGE)
def test_deep_looks_at_every_sequence(shard, change, said):
    rewrite(shard, change)
    assert said in told(check(shard))
    assert told(check(shard)).startswith("shard_differs: ")
    assert check(shard, deep=False) == ShardChecked()


def test_seq_lengths_that_cancel_out_do_not_pass(shard):
    def change(rows):
        rows[3]["seq_lengths"] += [-5, 5]

    rewrite(shard, change)
    assert "seq_lengths" in told(check(shard))


def test_deep_counts_the_sequences(shard):
    n = pq.read_metadata(shard).num_rows
    rewrite(shard, dropped)
    assert f"has {n - 1} sequences, the manifest says {n}" in told(check(shard, n_sequences=n))


def test_the_manifest_and_the_shard_must_name_one_convention_and_length(shard):
    assert "its labels_convention is shifted, the manifest says hf" in told(check(shard, labels="hf"))
    assert "its max_seq_length is 16, the manifest says 17" in told(check(shard, max_seq_length=17))
    rewrite(shard, lambda rows: None, labels_convention="hf")
    assert "convention hf" in told(check(shard, labels=None))
    rewrite(shard, lambda rows: None, labels_convention="odd")
    assert "its labels are odd, which is no convention" in told(check(shard, labels=None))


def test_the_columns_must_be_those_of_the_format(shard):
    table = pq.read_table(shard)
    pq.write_table(table.drop_columns("labels"), shard)
    assert "has no column labels of list<int32>" in told(check(shard))
    wide = table.set_column(0, "input_ids", table["input_ids"].cast(pa.list_(pa.int64())))
    pq.write_table(wide, shard)
    assert "has no column input_ids of list<int32>" in told(check(shard))


def test_no_batch_need_hold_all_of_a_row_group(shard, monkeypatch):
    """Sequences are numbered over the whole shard, whatever is read at a time."""
    from workers import check_shards

    monkeypatch.setattr(check_shards, "_BATCH_BYTES", 3 * LENGTH * 4)
    passed = check(shard)
    assert isinstance(passed, ShardChecked)
    monkeypatch.undo()
    assert check(shard) == passed
    monkeypatch.setattr(check_shards, "_BATCH_BYTES", 3 * LENGTH * 4)
    rewrite(shard, put(7, "labels", 4, 7))
    assert "sequence 7 has labels" in told(check(shard))

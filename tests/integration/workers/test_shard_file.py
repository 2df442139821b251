"""A shard is what its metadata says, whatever it is compressed with, and leaves nothing behind when it is given up."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.contract import Source, TokenizeTask
from workers.sequences import IGNORED_LABEL, Sequences
from workers.shard_file import OpenShard

LENGTH = 5
IDS = np.arange(6 * LENGTH, dtype=np.int32).reshape(6, LENGTH)
N_PADDING = np.array([0, 0, 3, 0, 0, 5])


def task(folder, **changes):
    fields = {
        "sources": (Source(path="/raw/a.parquet", source_id="org/name@1/a.parquet"),), "text_column": "text",
        "tokenizer_path": "", "tokenizer_sha256": "ab", "eos_id": 0, "max_seq_length": LENGTH, "labels": "shifted",
        "max_shard_tokens": 1000, "output_dir": str(folder), "shard_stem": "shard_a", "job_id": 3, "attempt": 1,
    }  # fmt: skip
    return TokenizeTask(**fields | changes)


def written(folder, lengths=None, **changes):
    """The shard, its table and footer. Two row groups, of four sequences and of two."""
    shard = OpenShard(task(folder, **changes), 0)
    whole = Sequences(IDS, N_PADDING, lengths)
    shard.write_group(whole.part(0, 4))
    shard.write_group(whole.part(4, 6))
    shard.seal()
    published = shard.publish()
    path = folder / published.name
    return published, pq.read_table(path, page_checksum_verification=True), pq.read_metadata(path)


@pytest.mark.parametrize("compression", ["zstd", "snappy"])
def test_a_shard_holds_the_same_whatever_it_is_compressed_with(tmp_path, compression):
    published, table, footer = written(tmp_path, compression=compression)
    n_real = LENGTH - N_PADDING
    mask = [[int(place < n) for place in range(LENGTH)] for n in n_real]
    labels = [
        [row[place + 1] if place + 1 < n else IGNORED_LABEL for place in range(LENGTH)]
        for row, n in zip(IDS.tolist(), n_real, strict=True)
    ]
    assert table.to_pydict() == {"input_ids": IDS.tolist(), "attention_mask": mask, "labels": labels}
    assert {footer.row_group(n).column(i).compression for n in range(2) for i in range(3)} == {compression.upper()}
    assert [footer.row_group(n).num_rows for n in range(2)] == [4, 2]
    content = (tmp_path / published.name).read_bytes()
    assert (published.size_bytes, published.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert published.n_sequences == len(table) == 6


def test_compression_is_told_where_it_is_not_the_usual_one(tmp_path):
    _, usual, _ = written(tmp_path)
    _, other, _ = written(tmp_path, compression="snappy")
    assert b"compression" not in usual.schema.metadata
    assert other.schema.metadata == usual.schema.metadata | {b"compression": b"snappy"}


def test_lengths_of_documents_are_a_column_of_their_own(tmp_path):
    lengths = [np.array(one, np.int32) for one in ([5], [2, 3], [2], [1] * 5, [4, 1], [1])]
    _, table, _ = written(tmp_path, lengths, seq_lengths=True)
    assert table.column_names == ["input_ids", "attention_mask", "labels", "seq_lengths"]
    assert table.schema.field("seq_lengths").type == pa.list_(pa.field("element", pa.int32()))
    assert table["seq_lengths"].to_pylist() == [one.tolist() for one in lengths]


def test_a_shard_that_is_given_up_leaves_nothing(tmp_path):
    shard = OpenShard(task(tmp_path), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["shard_a-0000.parquet.partial.3-1"]
    shard.write_group(Sequences(IDS, N_PADDING, None))
    shard.discard()
    assert list(tmp_path.iterdir()) == []

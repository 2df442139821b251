"""What an upload is told of a Parquet file; `datasets` is the judge of its columns."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Features, Value

from workers import entry
from workers.contract import DescribeFileTask, FileDescribed, Rejected

PLAIN = pa.schema(
    {
        "n": pa.int64(), "u": pa.uint8(), "f": pa.float32(), "d": pa.float64(), "h": pa.float16(), "b": pa.bool_(),
        "s": pa.string(), "ls": pa.large_string(), "raw": pa.binary(), "at": pa.timestamp("us"), "day": pa.date32(),
        "ids": pa.list_(pa.int32()), "who": pa.struct({"a": pa.string(), "x": pa.list_(pa.int8())}),
        "all": pa.list_(pa.struct({"q": pa.string()})), "far": pa.timestamp("ms", tz="UTC"),
    }
)  # fmt: skip


def describe(path, schema):
    pq.write_table(schema.empty_table(), path)
    return entry.run(DescribeFileTask(path=str(path)))


def test_columns_are_told_as_datasets_writes_them(tmp_path):
    found = describe(tmp_path / "a.parquet", PLAIN)
    content = (tmp_path / "a.parquet").read_bytes()
    assert isinstance(found, FileDescribed)
    assert (found.size_bytes, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert json.loads(found.features) == Features.from_arrow_schema(PLAIN)._to_yaml_list()


def test_what_datasets_decodes_is_told_from_its_metadata(tmp_path):
    features = Features(
        {"audio": Audio(sampling_rate=16000), "plain": Audio(), "t": Value("string"), "c": ClassLabel(names=["a", "b"])}
    )
    told = json.loads(describe(tmp_path / "a.parquet", features.arrow_schema).features)
    assert Features._from_yaml_list(told) == features


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.list_(pa.int32())), pa.map_(pa.string(), pa.int8()), pa.decimal128(5), pa.duration("s")]
)
def test_a_type_without_words_leaves_the_columns_to_the_reader(tmp_path, kind):
    assert describe(tmp_path / "a.parquet", pa.schema({"x": kind, "n": pa.int8()})).features == ""


@pytest.mark.parametrize(("content", "error_class"), [(b"<html>", "not_parquet"), (b"PAR1broken", "bad_footer")])
def test_what_is_no_parquet_is_rejected(tmp_path, content, error_class):
    (tmp_path / "a.parquet").write_bytes(content)
    found = entry.run(DescribeFileTask(path=str(tmp_path / "a.parquet")))
    assert isinstance(found, Rejected)
    assert found.error_class == error_class
    assert entry.run(DescribeFileTask(path=str(tmp_path / "b.parquet"))).error_class == "missing_file"

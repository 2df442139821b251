"""What a name says of a file."""

import pytest

from workers.formats import FORMATS, format_of


@pytest.mark.parametrize("ending", FORMATS)
def test_an_ending_says_it_in_any_case_and_folder(ending):
    for name in (f"a{ending}", f"data/x.y/A{ending.upper()}", ending):
        assert format_of(name) == FORMATS[ending]


@pytest.mark.parametrize(
    ("name", "kind", "compression"),
    [
        ("train-00000-of-00001.parquet", "parquet", None),
        ("en/c4-train.00000-of-01024.json.gz", "json_lines", "gzip"),
        ("a.jsonl", "json_lines", None),
        ("a.ndjson.zst", "json_lines", "zstd"),
    ],
)
def test_names_by_example(name, kind, compression):
    found = format_of(name)
    assert (found.kind, found.compression) == (kind, compression)


@pytest.mark.parametrize("name", ["", "a", "a.json", "a.gz", "a.txt.gz", "a.parquet.gz", "a.jsonl.bz2", "ajsonl", "a.parquet.partial"])  # fmt: skip
def test_other_names_say_nothing(name):
    assert format_of(name) is None

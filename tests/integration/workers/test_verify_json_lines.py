"""A file of JSON lines is verified by how it begins; each kind of file is planned in parts."""

import gzip
import hashlib
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.workers.samples import TEXTS, write_texts
from tests.integration.workers.test_json_sources import ENDINGS, GOOD, NOISE, line_of, packed
from workers.contract import VerifyTask
from workers.entry import run


@pytest.fixture
def check(tmp_path):
    def check(content, name="a.jsonl", **options):
        path = tmp_path / name
        path.write_bytes(content)
        fields = {"size_bytes": None, "required_columns": (), "decode": False} | options
        return run(VerifyTask(path=str(path), **fields))

    return check


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_good_file_passes_what_can_be_asked_of_it(check, ending):
    content = packed(GOOD, ending)
    outcome = check(content, f"a{ending}", size_bytes=len(content), required_columns=("text", "id"), decode=True)
    if ending.endswith((".gz", ".zst")):
        assert outcome.checks == ("size", "magic", "structure", "columns", "decode")
    else:
        assert outcome.checks == ("size", "structure", "columns")
    assert (outcome.n_rows, outcome.n_row_groups, outcome.parts, outcome.sha256) == (0, 0, (), "")


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"\xef\xbb\xbf\n", b"[\n1,\n{},\n]\n", b"[1]\n[2]\n", b'{\n "a": 1\n}\n']
)
def test_what_is_no_json_lines_is_left_alone_for_its_name_is_but_a_guess(check, content):
    assert "structure" not in check(content).checks
    assert "structure" not in check(gzip.compress(content), "a.json.gz").checks


def test_nothing_in_place_of_something_is_empty(check):
    assert check(b"", size_bytes=100).error_class == "empty_file"
    assert check(b"", size_bytes=0).checks == ("size",)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_web_page_and_another_size_are_told_first(check, ending):
    assert check(b"<!doctype html>", f"a{ending}", size_bytes=7).error_class == "html_instead"
    assert check(GOOD, f"a{ending}", size_bytes=7).error_class == "wrong_size"


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
def test_a_compressed_file_must_begin_as_one(check, ending):
    assert check(GOOD, f"a{ending}").error_class == "bad_compression"
    assert "begins with" in check(GOOD, f"a{ending}").message


def test_zstd_may_begin_with_a_frame_to_be_skipped(check):
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
    assert check(skipped + packed(GOOD, ".zst"), "a.jsonl.zst").checks == ("magic", "structure")


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
def test_a_late_end_of_a_compressed_file_is_seen_only_when_all_is_read(check, ending):
    truncated = packed(NOISE * 20, ending)[:-2]
    assert check(truncated, f"a{ending}").checks == ("magic", "structure")
    assert check(truncated, f"a{ending}", decode=True).error_class == "bad_compression"


def test_some_bad_lines_are_lines_all_the_same(check):
    assert check(b"oops\n" + GOOD).checks == ("structure",)
    assert check(b"oops\n[]\n1\n").checks == ()


def test_a_field_is_claimed_where_some_line_has_it(check):
    assert check(b"{}\n" + GOOD, required_columns=("text",)).checks == ("structure", "columns")
    assert check(GOOD, required_columns=("body",)).checks == ("structure",)


def test_of_a_first_line_longer_than_a_block_nothing_is_claimed(check):
    assert check(line_of("a" * (3 << 20)), required_columns=("text",)).checks == ()
    assert check(line_of("a") + line_of("a" * (3 << 20)), required_columns=("text",)).checks == ("structure", "columns")


def test_the_digest_is_told_where_it_is_asked_for(check, tmp_path):
    assert check(GOOD, hash=True).sha256 == hashlib.sha256(GOOD).hexdigest()
    content = write_texts(tmp_path / "t.parquet", TEXTS).read_bytes()
    assert check(content, "b.parquet", hash=True).sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_large_file_of_lines_is_planned_in_byte_ranges_unless_it_is_compressed(check, ending):
    content = packed(NOISE, ending)
    expected = ((0, len(content) // 2), (len(content) // 2, len(content)))
    is_plain = not ending.endswith((".gz", ".zst"))
    assert check(content, f"a{ending}", part_bytes=len(content) // 2).parts == (expected if is_plain else ())


def test_parquet_is_planned_by_the_bytes_of_its_text(check, tmp_path):
    """Row groups of 3 rows: 10 kB of text each beside a column of a hundred times that."""
    rows = 18
    table = pa.table(
        {
            "text": [os.urandom(1667).hex() for _ in range(rows)],
            "image": [os.urandom(300_000) for _ in range(rows)],
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=3, use_dictionary=False, write_statistics=False)
    content = path.read_bytes()
    small = {"part_bytes": 20_000}
    assert check(content, "a.parquet", text_column="text", **small).parts == ((0, 2), (2, 4), (4, 6))
    assert check(content, "a.parquet", **small).parts == tuple((i, i + 1) for i in range(6))
    assert check(content, "a.parquet", text_column="body", **small).parts == tuple((i, i + 1) for i in range(6))
    assert check(content, "a.parquet", text_column="text").parts == ()

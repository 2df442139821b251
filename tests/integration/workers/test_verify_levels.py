"""Each level of verification refuses, by its own name, a real file broken at that level."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.workers.samples import edit_footer, flip_bit_in_chunk, thrift_i64, verify, write_texts

TEXTS = ["some text", None, "more of it"] * 50


@pytest.fixture
def good(tmp_path):
    return write_texts(tmp_path / "good.parquet", TEXTS, row_group_size=40)


@pytest.fixture
def uncompressed(tmp_path):
    """Three columns of one row group, the second and third of equal size, offsets of two varint bytes."""
    table = pa.table({name: pa.array(range(300), pa.int64()) for name in "abc"})
    path = tmp_path / "plain.parquet"
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    return path


def offset_of(path, column):
    return pq.read_metadata(path).row_group(0).column(column).data_page_offset


def test_a_whole_file_passes_every_level_asked_for(good):
    outcome = verify(good, good.stat().st_size, ["text", "id"], decode=True)
    assert outcome.checks == ("size", "magic", "footer", "structure", "columns", "decode")
    assert (outcome.n_rows, outcome.n_row_groups) == (150, 4)


def test_checks_name_only_what_was_done(good):
    assert verify(good).checks == ("magic", "footer", "structure")


def test_a_file_that_is_gone_is_missing(tmp_path):
    assert verify(tmp_path / "none.parquet").error_class == "missing_file"


def test_no_bytes_is_empty(tmp_path):
    path = tmp_path / "empty.parquet"
    path.touch()
    assert verify(path, 100).error_class == "empty_file"


def test_no_rows_is_empty(tmp_path):
    assert verify(write_texts(tmp_path / "rows.parquet", [])).error_class == "empty_file"


def test_a_row_group_without_rows_is_no_fault(tmp_path):
    table = pa.table({"text": ["a"]})
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:
        for part in (table, table[:0], table):
            writer.write_table(part)
    outcome = verify(path, decode=True)
    assert (outcome.n_rows, outcome.n_row_groups) == (2, 3)


def test_another_size_than_announced_is_wrong(good):
    assert verify(good, good.stat().st_size + 1).error_class == "wrong_size"


def test_a_truncated_file_is_not_parquet(good):
    good.write_bytes(good.read_bytes()[:-1])
    assert verify(good).error_class == "not_parquet"


@pytest.mark.parametrize("page", [b"\n <!DOCTYPE html><p>Sign in", b"\xef\xbb\xbf<HTML lang=en>", b"<html>"])
def test_a_web_page_is_named_as_one_whatever_its_size(tmp_path, page):
    path = tmp_path / "page.parquet"
    path.write_bytes(page)
    assert verify(path, len(page)).error_class == "html_instead"
    assert verify(path, 1000).error_class == "html_instead"


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + bytes(20), bytes(20) + b"PAR1"])
def test_magic_is_asked_for_at_both_ends(tmp_path, content):
    path = tmp_path / "odd.parquet"
    path.write_bytes(content)
    assert verify(path).error_class == "not_parquet"


@pytest.mark.parametrize("length", [12, 1 << 31])
def test_a_footer_that_cannot_be_read_is_bad(tmp_path, length):
    path = tmp_path / "footer.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 12 + length.to_bytes(4, "little") + b"PAR1")
    assert verify(path).error_class == "bad_footer"


def test_chunks_may_not_overlap(uncompressed):
    second, third = offset_of(uncompressed, 1), offset_of(uncompressed, 2)
    edit_footer(uncompressed, thrift_i64(third, 2), thrift_i64(second, 2))
    outcome = verify(uncompressed)
    assert outcome.error_class == "bad_structure"
    assert "overlaps" in outcome.message


@pytest.mark.parametrize("offset", [0, 1 << 20])
def test_chunks_may_not_leave_the_data(uncompressed, offset):
    edit_footer(uncompressed, thrift_i64(offset_of(uncompressed, 2), 2), thrift_i64(offset, 2))
    assert verify(uncompressed).error_class == "bad_structure"


def test_a_chunk_may_not_claim_absurd_sizes(uncompressed):
    claimed = pq.read_metadata(uncompressed).row_group(0).column(0).total_uncompressed_size
    edit_footer(uncompressed, thrift_i64(claimed, 1), thrift_i64(1 << 40, 1))
    outcome = verify(uncompressed)
    assert outcome.error_class == "bad_structure"
    assert "claim to hold" in outcome.message


def test_row_counts_add_up(good):
    edit_footer(good, thrift_i64(150, 1), thrift_i64(151, 1))
    assert verify(good).error_class == "bad_structure"


def test_a_column_that_is_asked_for_exists(good):
    outcome = verify(good, columns=["text", "body"])
    assert outcome.error_class == "missing_column"
    assert "body" in outcome.message


def test_a_flipped_bit_shows_where_pages_have_checksums(tmp_path):
    path = write_texts(tmp_path / "a.parquet", TEXTS, write_page_checksum=True, compression="none")
    flip_bit_in_chunk(path, 0, 1)
    assert verify(path).checks == ("magic", "footer", "structure")
    assert verify(path, decode=True).error_class == "bad_pages"


def test_text_is_valid_utf8(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": broken}), path)
    assert verify(path, decode=True).error_class == "bad_pages"


def test_every_column_of_every_kind_is_decoded(tmp_path):
    rows = range(500)
    table = pa.table(
        {
            "a.b": pa.array([str(i) for i in rows]),
            "list": pa.array([[i] * (i % 3) for i in rows]),
            "struct": pa.array([{"x": i, "y.z": None} for i in rows]),
            "dictionary": pa.array(["u", "v"] * 250).dictionary_encode(),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=200, write_page_checksum=True)
    assert verify(path, decode=True).n_rows == 500
    for column in range(pq.read_metadata(path).num_columns):
        pq.write_table(table, path, row_group_size=200, write_page_checksum=True)
        flip_bit_in_chunk(path, 2, column)
        assert verify(path, decode=True).error_class == "bad_pages", column

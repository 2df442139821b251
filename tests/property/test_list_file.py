"""Files written page by page read as those of Arrow's writer: the same values, schema, metadata and claims."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.loader.pages import is_all, plain_values
from workers import list_pages
from workers.list_file import ListFile
from workers.list_pages import Codec, ones_then_zeros, plain
from workers.thrift import I32, encoded

METADATA = {"source_id": "org/name@0123/data/ä.parquet", "empty": "", "many lines": "a\nb"}
values = st.integers(-(2**31), 2**31 - 1)
rows = st.lists(st.lists(values, min_size=1, max_size=40), min_size=1, max_size=20)
compressions = st.sampled_from(["zstd", "snappy"])
page_values = st.sampled_from([1, 7, 64, 1 << 18])


@pytest.fixture(autouse=True)
def pages_as_they_are():
    whole = list_pages._PAGE_VALUES
    yield
    list_pages._PAGE_VALUES = whole


def schema(*names):
    return pa.schema([(name, pa.list_(pa.int32())) for name in names], metadata=METADATA)


def written(names, groups, compression):
    """groups: (n_rows, a function that makes the chunks with a codec) of each."""
    file, codec = io.BytesIO(), Codec(compression)
    lists = ListFile(file, schema(*names), codec, "asyncdl version 1")
    for n_rows, chunks in groups:
        lists.write_group(chunks(codec), n_rows)
    lists.finish()
    return file.getvalue()


def flat(lists):
    return np.array([value for one in lists for value in one], np.int32), np.array([len(one) for one in lists])


def arrows(table, groups, compression):
    """What Arrow's writer makes of the same."""
    sink = pa.BufferOutputStream()
    options = {"compression": compression, "write_statistics": False, "write_page_checksum": True}
    with pq.ParquetWriter(sink, table.schema, use_dictionary=["mask.list.element"], **options) as writer:
        start = 0
        for n_rows, _ in groups:
            writer.write_table(table.slice(start, n_rows), row_group_size=n_rows)
            start += n_rows
    return sink.getvalue().to_pybytes()


def claims(column):
    """What the footer says of a column chunk and does not depend on how pages are cut."""
    names = ("physical_type", "path_in_schema", "compression", "has_dictionary_page", "num_values", "is_stats_set")
    return [getattr(column, name) for name in names] + [set(column.encodings)]


def schema_in(file):
    """The bytes of the footer up to its last column: the version of the format and the schema."""
    footer = file[-8 - int.from_bytes(file[-8:-4], "little") : -8]
    return footer[: footer.rindex(b"element\0")]


def same_as_arrows(mine, table, groups, compression):
    theirs = arrows(table, groups, compression)
    files = [pq.ParquetFile(pa.BufferReader(file), page_checksum_verification=True) for file in (mine, theirs)]
    read = [file.read() for file in files]
    for one in read:
        one.validate(full=True)
    assert read[0].schema.equals(read[1].schema, check_metadata=True)
    assert read[0].equals(read[1])
    assert files[0].schema.equals(files[1].schema)
    assert schema_in(mine) == schema_in(theirs)
    footers = [file.metadata for file in files]
    assert footers[0].metadata == footers[1].metadata
    assert footers[0].format_version == footers[1].format_version
    assert footers[0].created_by == "asyncdl version 1"
    assert footers[0].num_rows == footers[1].num_rows == len(table)
    assert [footers[0].row_group(n).num_rows for n in range(footers[0].num_row_groups)] == [n for n, _ in groups]
    for n in range(len(groups)):
        pair = [footer.row_group(n) for footer in footers]
        for column in range(pair[0].num_columns):
            assert claims(pair[0].column(column)) == claims(pair[1].column(column))


@given(groups=st.lists(rows, min_size=1, max_size=3), compression=compressions, n=page_values)
def test_lists_of_any_lengths_read_as_if_arrow_had_written_them(groups, compression, n):
    list_pages._PAGE_VALUES = n
    made = [(len(lists), lambda codec, lists=lists: [plain(*flat(lists), codec)]) for lists in groups]
    table = pa.table([pa.array([one for lists in groups for one in lists], pa.list_(pa.int32()))], schema=schema("a"))
    same_as_arrows(written(["a"], made, compression), table, made, compression)


@given(st.data(), st.integers(1, 50), st.integers(1, 12), compressions, page_values)
def test_a_mask_and_its_sequences_read_as_if_arrow_had_written_them(data, length, n, compression, of_page):
    list_pages._PAGE_VALUES = of_page
    n_ones = np.array(
        data.draw(st.lists(st.sampled_from([length, data.draw(st.integers(0, length))]), min_size=n, max_size=n))
    )
    ids = np.random.default_rng(n).integers(-(2**31), 2**31, (n, length)).astype(np.int32)
    lengths = np.full(n, length)
    group = n, lambda codec: [plain(ids.reshape(-1), lengths, codec), ones_then_zeros(n_ones, length, codec)]
    mask = (np.arange(length) < n_ones[:, None]).astype(np.int32)
    lists = [pa.array(column.tolist(), pa.list_(pa.int32())) for column in (ids, mask)]
    table = pa.table([pa.chunked_array([one, one]) for one in lists], schema=schema("ids", "mask"))
    mine = written(["ids", "mask"], [group, group], compression)
    same_as_arrows(mine, table, [group, group], compression)
    for number in range(2):
        chunks = [chunk_of(mine, number, column) for column in range(2)]
        assert plain_values(*chunks[0], length).tolist() == ids.reshape(-1).tolist()
        assert is_all(1, *chunks[1], length) == bool(mask.all())


def chunk_of(file, group, column):
    """(bytes, codec, n_values) of a column chunk, as the loader's fast way takes them."""
    said = pq.read_metadata(pa.BufferReader(file)).row_group(group).column(column)
    start = said.dictionary_page_offset or said.data_page_offset
    return file[start : start + said.total_compressed_size], said.compression, said.num_values


@given(st.data(), compressions)
def test_a_flipped_bit_in_a_page_is_told_by_its_checksum(data, compression):
    values = np.arange(150, dtype=np.int32), np.full(50, 3)
    mine = bytearray(written(["a"], [(50, lambda codec: [plain(*values, codec)])], compression))
    [page] = plain(*values, Codec(compression)).pages
    first = 4 + len(page.header)
    assert mine[first : first + len(page.body)] == page.body
    mine[data.draw(st.integers(first, first + len(page.body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(pa.BufferReader(bytes(mine)), page_checksum_verification=True)


def test_pages_hold_whole_lists_and_about_a_mebibyte():
    ids = np.arange(300 * 8192, dtype=np.int32)
    chunk = plain(ids, np.full(300, 8192), Codec("zstd"))
    assert [page.raw_bytes // (4 * 8192) for page in chunk.pages] == [32] * 9 + [12]
    longer = plain(ids, np.full(6, 50 * 8192), Codec("zstd"))
    assert len(longer.pages) == 6
    mixed = plain(ids, np.array([1, 299 * 8192, 8191]), Codec("zstd"))
    assert len(mixed.pages) == 3


def test_sizes_and_places_in_the_footer_are_those_of_the_pages():
    ids, lengths, codec = np.arange(3 * 8, dtype=np.int32), np.full(3, 8), Codec("zstd")
    chunks = [plain(ids, lengths, codec), ones_then_zeros(lengths, 8, codec)]
    mine = written(["a", "b"], [(3, lambda _: chunks)] * 2, "zstd")
    footer, at = pq.read_metadata(pa.BufferReader(mine)), 4
    for n in range(2):
        for column, chunk in zip(map(footer.row_group(n).column, range(2)), chunks, strict=True):
            pages = [page for page in (chunk.dictionary, *chunk.pages) if page]
            sizes = [len(page.header) + len(page.body) for page in pages]
            assert column.dictionary_page_offset == (at if chunk.dictionary else None)
            assert column.data_page_offset == (at + sizes[0] if chunk.dictionary else at)
            assert column.total_compressed_size == sum(sizes)
            assert column.total_uncompressed_size == sum(page.raw_bytes for page in pages)
            at += sum(sizes)
        [page] = chunks[0].pages
        levels = (4 + 3 * 4) + (4 + 2)  # three lists, each of two runs of two bytes; one run that all is there
        assert page.raw_bytes == len(page.header) + levels + ids.nbytes
        assert footer.row_group(n).total_byte_size == sum(
            p.raw_bytes for c in chunks for p in (c.dictionary, *c.pages) if p
        )
    assert at == len(mine) - footer.serialized_size - 8


@pytest.fixture(params=["zstd", "snappy"])
def path(request, tmp_path):
    """Two row groups of three columns, the second with padding, and lists of any lengths beside them."""
    ids = np.arange(6 * 9, dtype=np.int32).reshape(6, 9) * 1000 - 7
    documents = [[9], [4, 5], [1] * 9, [2, 7], [9], [3, 3, 3]]
    list_pages._PAGE_VALUES = 20

    def group(start, n_ones):
        def chunks(codec):
            mine, lengths = ids[start : start + 3], np.full(3, 9)
            columns = [plain(mine.reshape(-1), lengths, codec), ones_then_zeros(np.array(n_ones), 9, codec)]
            return [*columns, plain(mine.reshape(-1)[::-1].copy(), lengths, codec), plain(*flat(documents[start : start + 3]), codec)]  # fmt: skip

        return 3, chunks

    names = ("input_ids", "attention_mask", "labels", "seq_lengths")
    path = tmp_path / "shard.parquet"
    path.write_bytes(written(names, [group(0, [9, 9, 9]), group(3, [9, 0, 4])], request.param))
    labels = [column.reshape(-1)[::-1].reshape(3, 9).tolist() for column in (ids[:3], ids[3:])]
    mask = (np.arange(9) < np.array([9, 9, 9, 9, 0, 4])[:, None]).astype(int).tolist()
    expected = dict(zip(names, (ids.tolist(), mask, labels[0] + labels[1], documents), strict=True))
    return path, expected


def test_duckdb_reads_it(path):
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql(f"SELECT * FROM read_parquet('{path[0]}')")
    assert [str(kind) for kind in relation.types] == ["INTEGER[]"] * 4
    assert relation.fetchall() == list(zip(*path[1].values(), strict=True))


def test_polars_reads_it(path):
    polars = pytest.importorskip("polars")
    read = polars.read_parquet(path[0])
    assert set(read.dtypes) == {polars.List(polars.Int32)}
    assert read.to_dict(as_series=False) == path[1]
    assert polars.scan_parquet(path[0]).select("labels").collect().to_dict(as_series=False) == {
        "labels": path[1]["labels"]
    }


def test_datasets_reads_it(path, tmp_path):
    from datasets import load_dataset

    options = {"data_files": str(path[0]), "split": "train", "cache_dir": str(tmp_path / "cache")}
    assert load_dataset("parquet", **options).to_dict() == path[1]
    streamed = list(load_dataset("parquet", streaming=True, **options))
    assert {name: [row[name] for row in streamed] for name in path[1]} == path[1]


def test_arrow_reads_parts_of_it(path):
    import pyarrow.dataset as ds

    assert ds.dataset(path[0]).scanner(columns=["attention_mask"]).to_table().to_pydict() == {
        "attention_mask": path[1]["attention_mask"]
    }
    assert pq.ParquetFile(path[0]).read_row_group(1, ["seq_lengths"]).to_pydict() == {
        "seq_lengths": path[1]["seq_lengths"][3:]
    }
    assert pc.sum(pc.list_value_length(pq.read_table(path[0])["input_ids"])).as_py() == 54


def test_a_struct_of_thrift_is_as_its_specification_has_it():
    assert encoded({1: I32(-1), 3: 300, 4: b"ab"}) == bytes([0x15, 1, 0x26, 0xD8, 4, 0x18, 2, 97, 98, 0])
    assert encoded({2: {1: I32(1)}, 3: [I32(1)] * 15}) == bytes([0x2C, 0x15, 2, 0, 0x19, 0xF5, 15] + [2] * 15 + [0])
    assert encoded(-(1 << 63)) == bytes([0xFF] * 9 + [1])

"""Pages are read as pyarrow reads them or not at all; what is not whole sequences, or is damaged, is not read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given
from hypothesis import strategies as st

from asyncdl.loader.pages import is_all, plain_values

OURS = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True, "write_statistics": False}
values = st.integers(-(2**31), 2**31 - 1)


def written(lists, **options):
    """(bytes of the one column chunk, codec, n_values) as pyarrow writes them, with the options of our shards."""
    sink = pa.BufferOutputStream()
    table = pa.table({"x": pa.array(lists, pa.list_(pa.int32()))})
    pq.write_table(table, sink, **OURS | options)
    file = sink.getvalue()
    column = pq.read_metadata(pa.BufferReader(file)).row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    return file.to_pybytes()[start : start + column.total_compressed_size], column.compression, column.num_values


def sequences(length, n, seed=0):
    return np.random.default_rng(seed).integers(-(2**31), 2**31, (n, length)).astype(np.int32)


@given(
    length=st.integers(1, 70),
    n=st.integers(1, 40),
    codec=st.sampled_from(["zstd", "snappy", "none", "gzip"]),
    page_bytes=st.sampled_from([1, 100, 1 << 20]),
    rows_per_batch=st.integers(1, 50),
    statistics=st.booleans(),
)
@example(length=3000, n=400, codec="zstd", page_bytes=1 << 20, rows_per_batch=1024, statistics=False)
def test_whole_sequences_are_read_whatever_the_pages(length, n, codec, page_bytes, rows_per_batch, statistics):
    ids = sequences(length, n)
    options = {"data_page_size": page_bytes, "write_batch_size": rows_per_batch, "write_statistics": statistics}
    chunk = written(ids.tolist(), compression=codec, **options)
    found = plain_values(*chunk, length)
    assert found is not None
    assert found.tolist() == ids.reshape(-1).tolist()
    assert plain_values(*chunk, length + 1) is None
    assert plain_values(chunk[0], chunk[1], n * (length + 1), length + 1) is None


@given(st.lists(st.none() | st.lists(st.none() | values, max_size=5), min_size=1, max_size=12), st.integers(1, 5))
def test_what_is_not_whole_sequences_is_not_read(lists, length):
    found = plain_values(*written(lists), length)
    regular = all(one is not None and len(one) == length and None not in one for one in lists)
    assert (found is not None) == regular
    if regular:
        assert found.reshape(-1, length).tolist() == lists


def test_dictionaries_other_pages_and_pages_without_checksums_are_not_read():
    ids = sequences(8, 30).tolist()
    assert plain_values(*written(ids), 8) is not None
    for other in ({"use_dictionary": True}, {"data_page_version": "2.0"}, {"write_page_checksum": False},
                  {"use_byte_stream_split": True}, {"column_encoding": "DELTA_BINARY_PACKED"}):  # fmt: skip
        assert plain_values(*written(ids, **other), 8) is None


@given(st.binary(max_size=60), st.integers(0, 20))
def test_any_bytes_are_read_or_not_but_never_fail(chunk, n_values):
    assert plain_values(chunk, "ZSTD", n_values, 4) is None or not n_values
    assert not is_all(1, chunk, "ZSTD", n_values, 4) or not n_values


@given(st.data(), st.sampled_from(["zstd", "none"]))
def test_a_flipped_bit_never_becomes_another_value(data, codec):
    ids = sequences(5, 9)
    chunk, name, n_values = written(ids.tolist(), compression=codec)
    damaged = bytearray(chunk)
    damaged[data.draw(st.integers(0, len(chunk) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = plain_values(bytes(damaged), name, n_values, 5)
    assert found is None or found.tolist() == ids.reshape(-1).tolist()


@given(st.data(), st.integers(1, 40), st.integers(1, 40))
def test_a_mask_is_all_ones_only_if_it_is(data, length, n):
    mask = np.ones((n, length), np.int32)
    ones = written(mask.tolist(), use_dictionary=True)
    assert is_all(1, *ones, length)
    assert not is_all(0, *ones, length)
    assert not is_all(1, *ones, length + 1)
    assert not is_all(1, ones[0], ones[1], ones[2] + length, length)
    holed = mask.tolist()
    holed[0][length // 2] = None
    assert not is_all(1, *written(holed, use_dictionary=True), length)
    mask[data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, length - 1)) :] = 0
    assert not is_all(1, *written(mask.tolist(), use_dictionary=True), length)
    assert not is_all(1, *written(mask.tolist()), length)
    assert not is_all(1, *written([*mask.tolist()[1:], None], use_dictionary=True), length)

"""The documents of one text column of a Parquet file, or of some of its row groups, in file order.

Only the text column is read, and memory is bounded by a read, or a document, however large the row groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.batch import PIECE_BYTES, Batch, Counts, in_pieces
from workers.contract import Part, Source
from workers.cut import cut
from workers.parquet_file import batch_rows, blaming, column_bytes, open_parquet
from workers.refused import Refused

_READ_BYTES = 1 << 20  # guess: encoded text read at a time, regrouped into batches


def parts(source: Source, column: str, max_text_bytes: int, counts: Counts) -> Iterator[Batch]:
    """Yield all documents; nulls are counted. Raises Refused: missing_file, bad_footer, missing_column, not_text,
    bad_pages.
    """
    with open_parquet(source.path) as file:
        _check_column(file, column)
        for read in _read(file, column, source.part or (0, file.metadata.num_row_groups)):
            counts.n_null += read.rows.null_count
            yield from _parts(read, column, max_text_bytes)


@dataclass(frozen=True, slots=True)
class _Rows:
    """rows: large_string, with nulls. first: the number of the first in the file."""

    rows: pa.Array
    first: int


def _check_column(file: pq.ParquetFile, column: str) -> None:
    schema = file.schema_arrow
    if column not in schema.names:
        raise Refused("missing_column", f"no {column} among {', '.join(schema.names)}")
    column_type = schema.types[schema.names.index(column)]
    value_type = column_type.value_type if pa.types.is_dictionary(column_type) else column_type
    if not (pa.types.is_string(value_type) or pa.types.is_large_string(value_type)):
        raise Refused("not_text", f"{column} holds {column_type}")


def _read(file: pq.ParquetFile, column: str, groups: Part) -> Iterator[_Rows]:
    """The rows of the row groups [first, end). A part that the file does not have was planned for another file."""
    metadata = file.metadata
    first, end = groups
    if not 0 <= first <= end <= metadata.num_row_groups:
        raise Refused("bad_footer", f"no row groups {first}-{end} among {metadata.num_row_groups}")
    start = sum(metadata.row_group(i).num_rows for i in range(first))
    n_expected = sum(metadata.row_group(i).num_rows for i in range(first, end))
    n_read = 0
    for i in range(first, end):
        group = metadata.row_group(i)
        n_rows = batch_rows(group.num_rows, column_bytes(group, column), _READ_BYTES)
        rows = file.iter_batches(n_rows, row_groups=[i], columns=[column], use_threads=False)
        while True:
            with blaming("bad_pages"):
                batch = next(rows, None)
                if batch is None:
                    break
                texts = batch.column(batch.schema.names.index(column)).cast(pa.large_string())
            yield _Rows(texts, start + n_read)
            n_read += batch.num_rows
    if n_read != n_expected:
        raise Refused("bad_pages", f"{column} holds {n_read} of {n_expected} rows")


def _parts(read: _Rows, column: str, max_text_bytes: int) -> Iterator[Batch]:
    """The rows that hold a text, with the oversized ones apart and in pieces.

    Sizes come from the offsets: `to_numpy` would first load pandas, wherever that is installed.
    """
    texts = read.rows.drop_null()
    if not len(texts):
        return
    sizes = np.diff(np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1])
    start = 0
    try:
        for i in np.flatnonzero(sizes > max_text_bytes).tolist():
            if start < i:
                yield Batch(texts[start:i].to_pylist(), int(sizes[start:i].sum()))
            document = memoryview(texts[i].as_buffer())
            yield from in_pieces(cut(document, min(max_text_bytes, PIECE_BYTES)), len(document))
            start = i + 1
        if start < len(texts):
            yield Batch(texts[start:].to_pylist(), int(sizes[start:].sum()))
    except UnicodeDecodeError as error:
        raise Refused("bad_pages", _where_not_utf8(read, column)) from error


def _where_not_utf8(read: _Rows, column: str) -> str:
    for i, row in enumerate(read.rows):
        try:
            if row.is_valid:
                str(row.as_buffer(), "utf-8")
        except UnicodeDecodeError as error:
            return f"{column} of row {read.first + i} is not UTF-8: {error.reason} at byte {error.start}"
    raise AssertionError("a batch was refused whose rows are all UTF-8")

"""The documents of one text column, in file order, in batches bounded by bytes of text.

Nulls are skipped; empty strings are documents. Only the text column is read, and memory is bounded by a
batch, however large the row groups. Knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.parquet_file import batch_rows, blaming, open_parquet
from workers.refused import Refused

BATCH_TEXT_BYTES = 4 << 20  # guess: the tokenizer holds some 20 bytes for each byte of it
_READ_BYTES = 1 << 20  # guess: encoded text read at a time, regrouped into batches


def batches(path: str, column: str) -> Iterator[tuple[list[str], int]]:
    """Yield (documents, their UTF-8 bytes): at least one document, and BATCH_TEXT_BYTES or a little more.

    Raises Refused: missing_file, bad_footer, missing_column, not_text, bad_pages.
    """
    documents: list[str] = []
    n_bytes = 0
    with open_parquet(path) as file:
        _check_column(file, column)
        for read, read_bytes in _read(file, column):
            documents += read
            n_bytes += read_bytes
            if n_bytes >= BATCH_TEXT_BYTES:
                yield documents, n_bytes
                documents, n_bytes = [], 0
    if documents:
        yield documents, n_bytes


def _check_column(file: pq.ParquetFile, column: str) -> None:
    schema = file.schema_arrow
    if column not in schema.names:
        raise Refused("missing_column", f"no {column} among {', '.join(schema.names)}")
    column_type = schema.types[schema.names.index(column)]
    value_type = column_type.value_type if pa.types.is_dictionary(column_type) else column_type
    if not (pa.types.is_string(value_type) or pa.types.is_large_string(value_type)):
        raise Refused("not_text", f"{column} holds {column_type}")


def _read(file: pq.ParquetFile, column: str) -> Iterator[tuple[list[str], int]]:
    n_read = 0
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        n_rows = batch_rows(group.num_rows, _encoded_bytes(group, column), _READ_BYTES)
        rows = file.iter_batches(n_rows, row_groups=[i], columns=[column], use_threads=False)
        while True:
            with blaming("bad_pages"):
                batch = next(rows, None)
                if batch is None:
                    break
                texts = batch.column(batch.schema.names.index(column)).cast(pa.large_string()).drop_null()
                n_bytes = pc.sum(pc.binary_length(texts)).as_py() or 0
                documents = texts.to_pylist()
            n_read += batch.num_rows
            yield documents, n_bytes
    if n_read != file.metadata.num_rows:
        raise Refused("bad_pages", f"{column} holds {n_read} of {file.metadata.num_rows} rows")


def _encoded_bytes(group: pq.RowGroupMetaData, column: str) -> int:
    columns = (group.column(j) for j in range(group.num_columns))
    return next((c.total_uncompressed_size for c in columns if c.path_in_schema == column), 0)

"""The documents of one text column, in file order, in batches bounded by bytes and by number.

Nulls are skipped; empty strings are documents. Only the text column is read, and memory is bounded by a
batch, or a document, however large the row groups. Knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.cut import cut
from workers.parquet_file import batch_rows, blaming, open_parquet
from workers.refused import Refused

BATCH_TEXT_BYTES = 4 << 20  # guess: the tokenizer holds some 20 bytes for each byte of it
_BATCH_DOCUMENTS = 1 << 15  # guess: some 60 bytes of Python object each; empty documents count no bytes
_READ_BYTES = 1 << 20  # guess: encoded text read at a time, regrouped into batches
_PIECE_BYTES = 8 << 20  # guess: of a document that is cut; as few cuts as memory allows


@dataclass(slots=True)
class Batch:
    """texts: documents, but the last is only the beginning of one where not `ends`: it goes on in the next batch.

    n_bytes: of UTF-8. n_split: documents cut in pieces that begin here.
    """

    texts: list[str] = field(default_factory=list)
    n_bytes: int = 0
    ends: bool = True
    n_split: int = 0

    @property
    def is_full(self) -> bool:
        return self.n_bytes >= BATCH_TEXT_BYTES or len(self.texts) >= _BATCH_DOCUMENTS

    def take(self, part: Batch) -> None:
        """Add what another holds and leave it without texts, so that this one alone keeps them in memory."""
        self.texts += part.texts
        part.texts.clear()
        self.n_bytes += part.n_bytes
        self.n_split += part.n_split
        self.ends = part.ends


def batches(path: str, column: str, max_text_bytes: int) -> Iterator[Batch]:
    """Yield all documents: at least one text in a batch, and BATCH_TEXT_BYTES or a little more.

    Documents of more than max_text_bytes come in pieces.
    Raises Refused: missing_file, bad_footer, missing_column, not_text, bad_pages.
    """
    batch = Batch()
    with open_parquet(path) as file:
        _check_column(file, column)
        for read in _read(file, column):
            for part in _parts(read, column, max_text_bytes):
                batch.take(part)
                if batch.is_full or not batch.ends:
                    yield batch
                    batch = Batch()
    if batch.texts:
        yield batch


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


def _read(file: pq.ParquetFile, column: str) -> Iterator[_Rows]:
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
                texts = batch.column(batch.schema.names.index(column)).cast(pa.large_string())
            yield _Rows(texts, n_read)
            n_read += batch.num_rows
    if n_read != file.metadata.num_rows:
        raise Refused("bad_pages", f"{column} holds {n_read} of {file.metadata.num_rows} rows")


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
            yield from _pieces(texts[i], min(max_text_bytes, _PIECE_BYTES))
            start = i + 1
        if start < len(texts):
            yield Batch(texts[start:].to_pylist(), int(sizes[start:].sum()))
    except UnicodeDecodeError as error:
        raise Refused("bad_pages", _where_not_utf8(read, column)) from error


def _pieces(document: pa.LargeStringScalar, piece_bytes: int) -> Iterator[Batch]:
    """Raises UnicodeDecodeError."""
    left = document.as_buffer().size
    n_split = 1
    for piece in cut(memoryview(document.as_buffer()), piece_bytes):
        left -= len(piece)
        yield Batch([str(piece, "utf-8")], len(piece), ends=not left, n_split=n_split)
        n_split = 0


def _where_not_utf8(read: _Rows, column: str) -> str:
    for i, row in enumerate(read.rows):
        try:
            if row.is_valid:
                str(row.as_buffer(), "utf-8")
        except UnicodeDecodeError as error:
            return f"{column} of row {read.first + i} is not UTF-8: {error.reason} at byte {error.start}"
    raise AssertionError("a batch was refused whose rows are all UTF-8")


def _encoded_bytes(group: pq.RowGroupMetaData, column: str) -> int:
    columns = (group.column(j) for j in range(group.num_columns))
    return next((c.total_uncompressed_size for c in columns if c.path_in_schema == column), 0)

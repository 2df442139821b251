"""Checks one finished Parquet file, cheapest first: footer, structure, columns, every page.

A full decode cannot see a flipped bit unless the writer stored page CRCs (most do not), so a digest,
which the engine checks while downloading, is worth more than everything here. On some damaged footers
Arrow aborts the process (seen with pyarrow 26: a size-statistics histogram of the wrong length); that is a
crash of the task for the pool to report, not something to be caught here.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from workers import parts
from workers.contract import Check, Verified, VerifyTask
from workers.parquet_file import batch_rows, blaming, column_bytes, open_parquet
from workers.refused import Refused

_MAGIC = b"PAR1"
_TAIL_BYTES = 8  # footer length (4, little-endian) and magic: parquet-format, "File format"
_MIN_BYTES = 12  # magic, an empty footer, its length, magic
_BATCH_BYTES = 8 << 20  # guess: encoded bytes of all columns in the rows read at a time
_MAX_INFLATION = 1032  # the most that deflate can do (zlib, "Technical Details"); for zstd a guess
_ALWAYS_ALLOWED_BYTES = 1 << 30  # guess: no bomb below this, whatever the ratio


def verified(task: VerifyTask, size_bytes: int, checks: list[Check]) -> Verified:
    """Add to the checks what passes. Raises Refused: not_parquet, bad_footer, empty_file, bad_structure,
    missing_column, bad_pages.
    """
    footer_start = _check_envelope(task.path, size_bytes)
    checks.append("magic")
    if footer_start < len(_MAGIC):
        raise Refused("bad_footer", "the footer claims to be longer than the file")
    with open_parquet(task.path) as file:
        _check_rows(file.metadata)
        checks.append("footer")
        _check_structure(file.metadata, footer_start, size_bytes)
        checks.append("structure")
        if task.required_columns:
            _check_columns(file, task.required_columns)
            checks.append("columns")
        if task.decode:
            _decode(file)
            checks.append("decode")
        return Verified(
            checks=tuple(checks),
            n_rows=file.metadata.num_rows,
            n_row_groups=file.metadata.num_row_groups,
            parts=parts.of_row_groups(_text_sizes(file.metadata, task.text_column), task.part_bytes),
        )


def _check_envelope(path: str, size_bytes: int) -> int:
    """Where the footer claims to begin."""
    if size_bytes == 0:
        raise Refused("empty_file", "the file has no bytes")
    with Path(path).open("rb") as file:
        head = file.read(len(_MAGIC))
        file.seek(max(0, size_bytes - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    if size_bytes < _MIN_BYTES or head != _MAGIC or not tail.endswith(_MAGIC):
        raise Refused("not_parquet", f"begins with {head!r} and ends with {tail[-4:]!r}")
    return size_bytes - _TAIL_BYTES - int.from_bytes(tail[:4], "little")


def _text_sizes(metadata: pq.FileMetaData, text_column: str) -> list[int]:
    """What each row group holds of text; of everything where there is no such column."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    return [column_bytes(group, text_column) or group.total_byte_size for group in groups]


def _check_rows(metadata: pq.FileMetaData) -> None:
    counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    if metadata.num_rows == 0 and not any(counts):
        raise Refused("empty_file", "a Parquet file without rows")
    if min(counts, default=0) < 0 or sum(counts) != metadata.num_rows:
        raise Refused("bad_structure", f"{metadata.num_rows} rows, but row groups of {sum(counts)}")


def _check_structure(metadata: pq.FileMetaData, footer_start: int, size_bytes: int) -> None:
    """Every column chunk inside [4, footer_start), none over another, and no absurd claim of size."""
    spans: list[tuple[int, int]] = []
    inflated_bytes = 0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            if column.total_compressed_size < 0 or column.total_uncompressed_size < 0:
                raise Refused("bad_structure", f"row group {i}, {column.path_in_schema}: negative size")
            inflated_bytes += column.total_uncompressed_size
            if column.total_compressed_size:
                spans.append(_span(column))
    spans.sort()
    previous_end = len(_MAGIC)
    for start, end in spans:
        if start < previous_end or end > footer_start:
            raise Refused("bad_structure", f"column chunk [{start}, {end}) overlaps or leaves the data")
        previous_end = end
    if inflated_bytes > max(_ALWAYS_ALLOWED_BYTES, _MAX_INFLATION * size_bytes):
        raise Refused("bad_structure", f"{size_bytes} bytes claim to hold {inflated_bytes}")


def _span(column: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """[start, end) of a chunk. An offset of 0 means that there is no such page: old writers leave one for
    the dictionary, and Arrow one for the data of a row group without rows.
    """
    offsets = (column.dictionary_page_offset, column.data_page_offset)
    start: int = min((offset for offset in offsets if offset), default=0)
    return start, start + column.total_compressed_size


def _check_columns(file: pq.ParquetFile, required: tuple[str, ...]) -> None:
    present = file.schema_arrow.names
    missing = [name for name in required if name not in present]
    if missing:
        raise Refused("missing_column", f"no {', '.join(missing)} among {', '.join(present)}")


def _decode(file: pq.ParquetFile) -> None:
    """Read every page, one column of one row group at a time."""
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        n_rows = batch_rows(group.num_rows, group.total_byte_size, _BATCH_BYTES)
        for name in dict.fromkeys(file.schema_arrow.names):
            n_read = 0
            with blaming("bad_pages"):
                for batch in file.iter_batches(n_rows, row_groups=[i], columns=[name], use_threads=False):
                    batch.validate(full=True)
                    n_read += batch.num_rows
            if n_read != group.num_rows:
                raise Refused("bad_pages", f"row group {i}, {name}: {n_read} of {group.num_rows} rows")

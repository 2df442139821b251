"""Opens Parquet files that nobody vouches for, and sorts what Arrow raises about them.

Invariant: memory stays near one page and one batch per column, whatever the size of a row group. Knows
nothing of what the columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workers.refused import Refused

_READ_BYTES = 1 << 20  # guess: column chunks are streamed through a window of this size
_MAX_BATCH_ROWS = 4096  # guess: bounds what a dictionary of long strings may unfold to
_THRIFT_STRING_BYTES = 64 << 20  # guess; Arrow's own default is 100 MB
_THRIFT_CONTAINER_ITEMS = 1_000_000  # Arrow's default, written out: column chunks of a row group, row groups


@contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    """A reader whose footer is parsed and whose pages are checked against their CRCs where they have them.

    Raises Refused: missing_file, bad_footer.
    """
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        source = pa.OSFile(path)
    except FileNotFoundError as error:
        raise Refused("missing_file", f"{path} is not there") from error
    with source:
        with blaming("bad_footer"):
            file = pq.ParquetFile(
                source,
                buffer_size=_READ_BYTES,
                pre_buffer=False,
                thrift_string_size_limit=_THRIFT_STRING_BYTES,
                thrift_container_size_limit=_THRIFT_CONTAINER_ITEMS,
                page_checksum_verification=True,
                arrow_extensions_enabled=False,
            )
        yield file


@contextmanager
def blaming(error_class: str) -> Iterator[None]:
    """Raise Refused(error_class) for what Arrow says of a file's bytes; errors of the machine pass through.

    Arrow reports broken data as ArrowException or as OSError without an errno; an OSError with one (EIO,
    EACCES) is not the file's fault. Out of memory is the file's fault: the only thing that refuses memory to
    a worker is its RLIMIT_AS, the same at every try.
    """
    try:
        yield
    except MemoryError as error:
        raise Refused(error_class, "reading it needs more memory than a worker may have") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise Refused(error_class, _first_line(error)) from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise Refused(error_class, _first_line(error)) from error


def batch_rows(n_rows: int, column_bytes: int, batch_bytes: int) -> int:
    """How many rows of a column to read at a time so that a batch of average rows holds batch_bytes."""
    return max(1, min(_MAX_BATCH_ROWS, batch_bytes * n_rows // max(1, column_bytes)))


def column_bytes(group: pq.RowGroupMetaData, column: str) -> int:
    """What a top-level column takes in a row group, encoded and not compressed; 0 if there is none of that name."""
    columns = (group.column(j) for j in range(group.num_columns))
    return next((c.total_uncompressed_size for c in columns if c.path_in_schema == column), 0)


def size_of(path: str) -> int:
    """Bytes of the file. Raises Refused: missing_file."""
    try:
        return Path(path).stat().st_size
    except FileNotFoundError as error:
        raise Refused("missing_file", f"{path} is not there") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

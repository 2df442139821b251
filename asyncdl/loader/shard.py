"""One shard as arrays: its footer, and row groups straight from Arrow's memory, no Python object per token.

Invariant: what is given back has the length that was asked for and came through Parquet's page checksums. Every failure
is a ShardError that names the file. Knows nothing of manifests, order or batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from asyncdl.errors import ShardError

COLUMNS = ("input_ids", "attention_mask", "labels")
HINT = "`asyncdl verify` finds every shard that is not what its manifest says"

Columns = dict[str, NDArray[np.int32]]


@dataclass(frozen=True, slots=True)
class Shard:
    """What the manifest says of a shard."""

    path: Path
    n_sequences: int
    size_bytes: int
    sha256: str


def groups_of(shard: Shard, length: int) -> NDArray[np.int64]:
    """Return the number of sequences of each row group, from the footer. Raises ShardError."""
    with _damage_told(shard.path), open_shard(shard) as file:
        _check_columns(shard, file.schema_arrow, length)
        footer = file.metadata
        sizes = [footer.row_group(n).num_rows for n in range(footer.num_row_groups)]
    if sum(sizes) != shard.n_sequences:
        raise _wrong(shard, f"has {sum(sizes)} sequences, the manifest says {shard.n_sequences}")
    return np.array(sizes, np.int64)


def open_shard(shard: Shard) -> pq.ParquetFile:
    """Open a shard of the size that the manifest says. Raises ShardError.

    Page checksums cost a twentieth of the decoding, and without them most flipped bits decode to other tokens.
    """
    with _damage_told(shard.path):
        size_bytes = shard.path.stat().st_size
        if size_bytes != shard.size_bytes:
            raise _wrong(shard, f"has {size_bytes} bytes, the manifest says {shard.size_bytes}")
        return pq.ParquetFile(shard.path, page_checksum_verification=True)


def read_group(file: pq.ParquetFile, shard: Shard, group: int, n_sequences: int, length: int) -> Columns:
    """Decode one row group into arrays (n_sequences, length) that must not be written to. Raises ShardError."""
    with _damage_told(shard.path):
        # One thread: DataLoader workers and ranks are processes already, and Arrow's threads do not outlive a fork.
        table = file.read_row_group(group, columns=list(COLUMNS), use_threads=False)
        return {name: _array(shard, table.column(name), n_sequences, length) for name in COLUMNS}


def _array(shard: Shard, column: pa.ChunkedArray, n_sequences: int, length: int) -> NDArray[np.int32]:
    lists = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values = lists.values
    offsets = np.frombuffer(lists.buffers()[1], np.int32, len(lists) + 1, lists.offset * 4)
    if lists.null_count or values.null_count or len(lists) != n_sequences or np.any(np.diff(offsets) != length):
        raise _wrong(shard, f"has a row group that is not {n_sequences} sequences of {length} tokens")
    first = (values.offset + int(offsets[0])) * 4
    return np.frombuffer(values.buffers()[1], np.int32, n_sequences * length, first).reshape(n_sequences, length)


def _check_columns(shard: Shard, schema: pa.Schema, length: int) -> None:
    for name in COLUMNS:
        position = schema.get_field_index(name)
        if position < 0 or schema.field(position).type != pa.list_(pa.int32()):
            raise _wrong(shard, f"has no column {name} of list<int32>")
    said = (schema.metadata or {}).get(b"max_seq_length", b"nothing").decode(errors="replace")
    if said != str(length):
        raise _wrong(shard, f"says that its sequences have {said} tokens, the manifest says {length}")


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ShardError(f"{path} is in the manifest, but not there", hint=HINT) from error
    except (OSError, pa.ArrowException) as error:
        raise ShardError(f"{path} cannot be read: {error}", hint=HINT) from error


def _wrong(shard: Shard, what: str) -> ShardError:
    return ShardError(f"{shard.path} {what}", hint=HINT)

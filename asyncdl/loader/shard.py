"""One shard as arrays: its footer, and its row groups, no Python object per token.

Invariant: what is given back has the length that was asked for and came through Parquet's page checksums. Every failure
is a ShardError that names the file. Knows nothing of manifests, order or batches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from asyncdl.errors import ShardError
from asyncdl.loader.pages import is_all, plain_values

COLUMNS = ("input_ids", "attention_mask", "labels")
CONVENTIONS = ("shifted", "hf")
"""Of labels: they follow from ids and mask then (docs/FORMATS.md), so that half of the file need not be read."""
HINT = "remove the shard and enqueue its dataset with the same --tokenizer again; asyncdl run makes it anew"


@dataclass(frozen=True, slots=True)
class Shard:
    """What the manifest says of a shard."""

    path: Path
    n_sequences: int
    size_bytes: int
    sha256: str


class Decoded(NamedTuple):
    """Sequences as arrays (n, length) that must not be written to. mask: None where there is no padding.

    labels: either as they were read, or the name of the convention by which they follow from the others.
    """

    ids: NDArray[np.int32]
    mask: NDArray[np.int32] | None
    labels: NDArray[np.int32] | str


class ShardFile:
    """A shard that is open. For one thread at a time. All of it raises ShardError."""

    def __init__(self, shard: Shard, length: int) -> None:
        """length: of all its sequences, or it is refused."""
        self._shard = shard
        self._length = length
        with _damage_told(shard.path):
            self._file = shard.path.open("rb", buffering=0)
        try:
            with _damage_told(shard.path):
                self._check_size()
                # Checksums cost a twentieth of the decoding; without them most flipped bits decode to other tokens.
                self._parquet = pq.ParquetFile(self._file, page_checksum_verification=True)
                self._check_schema()
        except ShardError:
            self._file.close()
            raise
        self._leaves = _leaves(self._parquet.schema)
        self._convention = _convention(self._parquet.schema_arrow)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._parquet.close()
        self._file.close()

    def sizes(self) -> NDArray[np.int64]:
        """Return the number of sequences of each row group."""
        footer = self._parquet.metadata
        sizes = [footer.row_group(n).num_rows for n in range(footer.num_row_groups)]
        if sum(sizes) != self._shard.n_sequences:
            raise self._wrong(f"has {sum(sizes)} sequences, the manifest says {self._shard.n_sequences}")
        return np.array(sizes, np.int64)

    def read(self, group: int, n_sequences: int) -> Decoded:
        """Decode one row group of so many sequences."""
        with _damage_told(self._shard.path):
            ids, mask, labels = COLUMNS
            n_values = n_sequences * self._length
            no_padding = is_all(1, *self._chunk(group, mask), n_values, self._length)
            return Decoded(
                self._column(group, ids, n_sequences),
                None if no_padding else self._column(group, mask, n_sequences),
                self._convention or self._column(group, labels, n_sequences),
            )

    def _column(self, group: int, name: str, n_sequences: int) -> NDArray[np.int32]:
        n_values = n_sequences * self._length
        values = plain_values(*self._chunk(group, name), n_values, self._length)
        if values is None:
            # One thread: DataLoader workers and ranks are processes already, and Arrow's threads do not outlive a fork.
            lists = self._parquet.read_row_group(group, columns=[name], use_threads=False).column(0).combine_chunks()
            values = self._flat(lists, n_sequences)
        return values.reshape(n_sequences, self._length)

    def _chunk(self, group: int, name: str) -> tuple[bytes, str]:
        """The bytes of a column chunk as the file has them, and how its pages are compressed."""
        column = self._parquet.metadata.row_group(group).column(self._leaves[name])
        self._file.seek(column.dictionary_page_offset or column.data_page_offset)
        return self._file.read(column.total_compressed_size), column.compression

    def _flat(self, lists: pa.ListArray, n_sequences: int) -> NDArray[np.int32]:
        """The values of lists that pyarrow has read: a view of its memory."""
        values = lists.values
        offsets = np.frombuffer(lists.buffers()[1], np.int32, len(lists) + 1, lists.offset * 4)
        irregular = len(lists) != n_sequences or np.any(np.diff(offsets) != self._length)
        if lists.null_count or values.null_count or irregular:
            raise self._wrong(f"has a row group that is not {n_sequences} sequences of {self._length} tokens")
        first = (values.offset + int(offsets[0])) * 4
        return np.frombuffer(values.buffers()[1], np.int32, n_sequences * self._length, first)

    def _check_size(self) -> None:
        size_bytes = self._file.seek(0, os.SEEK_END)
        if size_bytes != self._shard.size_bytes:
            raise self._wrong(f"has {size_bytes} bytes, the manifest says {self._shard.size_bytes}")

    def _check_schema(self) -> None:
        schema = self._parquet.schema_arrow
        for name in COLUMNS:
            position = schema.get_field_index(name)
            if position < 0 or schema.field(position).type != pa.list_(pa.int32()):
                raise self._wrong(f"has no column {name} of list<int32>")
        said = (schema.metadata or {}).get(b"max_seq_length", b"nothing").decode(errors="replace")
        if said != str(self._length):
            raise self._wrong(f"says that its sequences have {said} tokens, the manifest says {self._length}")

    def _wrong(self, what: str) -> ShardError:
        return ShardError(f"{self._shard.path} {what}", hint=HINT)


def _leaves(schema: pq.ParquetSchema) -> dict[str, int]:
    """Where the values of each column stand among the column chunks of a row group."""
    return {schema.column(n).path.partition(".")[0]: n for n in range(len(schema))}


def _convention(schema: pa.Schema) -> str | None:
    """What the labels are by, None if they must be read."""
    said = (schema.metadata or {}).get(b"labels_convention", b"").decode(errors="replace")
    return said if said in CONVENTIONS else None


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ShardError(f"{path} is in the manifest, but not there", hint=HINT) from error
    except (OSError, IndexError, pa.ArrowException) as error:
        raise ShardError(f"{path} cannot be read: {error}", hint=HINT) from error

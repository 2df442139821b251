"""One shard: a partial that is hashed while it is written, then published.

Invariant: a file under its final name is whole and on disk, and its bytes depend on the sequences and the
task alone. Knows nothing of how many shards there are.
"""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from workers.contract import Shard, TokenizeTask
from workers.sequences import Sequences, mask_and_labels

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FORMAT_VERSION = "1"
_COLUMNS = ("input_ids", "attention_mask", "labels")


class OpenShard:
    """A shard under its partial name. n_sequences: written so far. Its methods raise OSError."""

    def __init__(self, task: TokenizeTask, index: int) -> None:
        self._path = Path(task.output_dir, f"{task.shard_stem}-{index:04d}.parquet")
        self._partial = self._path.with_name(f"{self._path.name}.partial.{task.job_id}-{task.attempt}")
        self._file = _HashingFile(self._partial)
        self._schema = _schema(task)
        self._labels = task.labels
        self._parquet = pq.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            compression_level=1,  # a quarter smaller than snappy at the same speed
            use_dictionary=["attention_mask.list.element"],  # ids are too many kinds to gain from one
            write_statistics=False,  # the least and greatest token id tell nobody anything
            write_page_checksum=True,
        )
        self.n_sequences = 0

    def write_group(self, sequences: Sequences) -> None:
        """One row group. At least one sequence."""
        n_sequences, length = sequences.ids.shape
        offsets = _arrow(np.arange(0, sequences.ids.size + 1, length, dtype=np.int32))
        columns = [
            pa.ListArray.from_arrays(offsets, _arrow(values.reshape(-1)))
            for values in (sequences.ids, *mask_and_labels(sequences, self._labels))
        ]
        if sequences.lengths is not None:
            ends = np.cumsum([0, *map(len, sequences.lengths)], dtype=np.int32)
            columns.append(pa.ListArray.from_arrays(_arrow(ends), _arrow(np.concatenate(sequences.lengths))))
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._parquet.write_table(table, row_group_size=n_sequences)
        self.n_sequences += n_sequences

    def publish(self) -> Shard:
        """fsync, rename into place, fsync the folder. Nothing may follow."""
        self._parquet.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.replace(self._path)
        sync_folder(self._path.parent)
        return Shard(
            name=self._path.name,
            n_sequences=self.n_sequences,
            size_bytes=self._file.size_bytes,
            sha256=self._file.sha256.hexdigest(),
        )

    def discard(self) -> None:
        """Remove the partial."""
        self._file.deaf = True
        self._parquet.close()
        with suppress(OSError):  # what could not be written once cannot be flushed either
            self._file.close()
        self._partial.unlink(missing_ok=True)


class _HashingFile(io.BufferedWriter):
    """Knows the digest and size of what was written, without reading it back.

    deaf: swallow what still comes; Arrow's writer insists on a footer when it is closed or collected.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self.deaf = False

    def write(self, data: ReadableBuffer) -> int:
        if self.deaf:
            return memoryview(data).nbytes
        self.sha256.update(data)
        n_bytes = super().write(data)
        self.size_bytes += n_bytes
        return n_bytes


def _arrow(values: NDArray[np.int32]) -> pa.Array:
    """The same memory as Arrow's; `pa.array` would first load pandas, wherever that is installed."""
    return pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(values)])


def _schema(task: TokenizeTask) -> pa.Schema:
    """Nothing of the clock or the machine may stand in the metadata: the same task makes the same bytes.

    Options stand there where they are not the usual ones, so that shards of old are byte for byte those of new.
    """
    metadata = {
        "format_version": FORMAT_VERSION,
        "labels_convention": task.labels,
        "tokenizer_sha256": task.tokenizer_sha256,
        "max_seq_length": str(task.max_seq_length),
        "eos_id": str(task.eos_id),
        "source_id": task.source_id,
    }
    unusual = {
        "packing": task.packing if task.packing != "concat" else None,
        "bos_id": None if task.bos_id is None else str(task.bos_id),
        "add_eos": None if task.add_eos else "false",
        "drop_last": "true" if task.drop_last else None,
    }
    metadata |= {key: value for key, value in unusual.items() if value is not None}
    names = (*_COLUMNS, "seq_lengths") if task.seq_lengths else _COLUMNS
    return pa.schema([(name, pa.list_(pa.int32())) for name in names], metadata=metadata)


def make_folder(path: Path) -> None:
    """Like makedirs, but a power cut does not undo it: each new name is synced into its parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

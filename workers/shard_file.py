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

from workers.contract import Shard, TokenizeTask
from workers.list_file import ListFile
from workers.list_pages import Codec, ones_then_zeros, plain
from workers.sequences import Sequences, labels_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FORMAT_VERSION = "1"
_COLUMNS = ("input_ids", "attention_mask", "labels")


class OpenShard:
    """A shard under its partial name. n_sequences: written so far. Its methods raise OSError."""

    def __init__(self, task: TokenizeTask, index: int) -> None:
        self._path = Path(task.output_dir, f"{task.part_stem}-{index:04d}.parquet")
        self._partial = self._path.with_name(f"{self._path.name}.partial.{task.job_id}-{task.attempt}")
        self._file = _HashingFile(self._partial)
        self._labels = task.labels
        self._codec = Codec(task.compression)
        self._parquet = ListFile(self._file, _schema(task), self._codec, f"asyncdl version {FORMAT_VERSION}")
        self.n_sequences = 0

    def write_group(self, sequences: Sequences) -> None:
        """One row group. At least one sequence."""
        n_sequences, length = sequences.ids.shape
        lengths = np.full(n_sequences, length)
        chunks = [
            plain(sequences.ids.reshape(-1), lengths, self._codec),
            ones_then_zeros(length - sequences.n_padding, length, self._codec),
            plain(labels_of(sequences, self._labels).reshape(-1), lengths, self._codec),
        ]
        if sequences.lengths is not None:
            n_documents = np.fromiter(map(len, sequences.lengths), np.int64, n_sequences)
            chunks.append(plain(np.concatenate(sequences.lengths), n_documents, self._codec))
        self._parquet.write_group(chunks, n_sequences)
        self.n_sequences += n_sequences

    def seal(self) -> None:
        """Write the footer and sync; only `publish` or `discard` may follow."""
        self._parquet.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def publish(self) -> Shard:
        """Rename into place; the folder is the caller's to sync."""
        self._partial.replace(self._path)
        return Shard(
            name=self._path.name,
            n_sequences=self.n_sequences,
            size_bytes=self._file.size_bytes,
            sha256=self._file.sha256.hexdigest(),
        )

    def discard(self) -> None:
        """Remove the partial."""
        with suppress(OSError):  # what could not be written once cannot be flushed either
            self._file.close()
        self._partial.unlink(missing_ok=True)


class _HashingFile(io.BufferedWriter):
    """Knows the digest and size of what was written, without reading it back."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: ReadableBuffer) -> int:
        self.sha256.update(data)
        n_bytes = super().write(data)
        self.size_bytes += n_bytes
        return n_bytes


def _schema(task: TokenizeTask) -> pa.Schema:
    """Nothing of the clock or the machine may stand in the metadata: the same task makes the same bytes.

    Options stand there where they are not the usual ones, so that a new one leaves the bytes of other shards alone.
    """
    metadata = {
        "format_version": FORMAT_VERSION,
        "labels_convention": task.labels,
        "tokenizer_sha256": task.tokenizer_sha256,
        "max_seq_length": str(task.max_seq_length),
        "eos_id": str(task.eos_id),
        "source_id": "\n".join(source.source_id for source in task.sources),
    }
    unusual = {
        "source_part": "\n".join("{}-{}".format(*source.part) for source in task.sources if source.part) or None,
        "packing": task.packing if task.packing != "concat" else None,
        "bos_id": None if task.bos_id is None else str(task.bos_id),
        "add_eos": None if task.add_eos else "false",
        "drop_last": "true" if task.drop_last else None,
        "compression": task.compression if task.compression != "zstd" else None,
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

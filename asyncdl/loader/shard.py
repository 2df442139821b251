"""One shard as arrays: its footer, and its row groups, no Python object per token.

Invariant: what is given back has the length that was asked for and came through Parquet's page checksums. Every failure
is a ShardError that names the file. Knows nothing of manifests, order or batches.
"""

from __future__ import annotations

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
HINT = "`asyncdl verify` finds every shard that is not what its manifest says"


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
                self._labels = self._check_schema()
        except ShardError:
            self._file.close()
            raise

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
        """Decode one row group."""
        with _damage_told(self._shard.path):
            ids, mask, labels = (self._chunk(group, name, n_sequences) for name in COLUMNS)
            return Decoded(
                self._values(ids),
                None if is_all(1, *self._raw(mask)) else self._values(mask),
                self._labels or self._values(labels),
            )

    def _check_size(self) -> None:
        size_bytes = self._file.seek(0, 2)
        if size_bytes != self._shard.size_bytes:
            raise self._wrong(f"has {size_bytes} bytes, the manifest says {self._shard.size_bytes}")
REST
"""Row groups by their number over all shards, each with the order of its sequences in an epoch.

Invariant: at most one shard is open. Knows nothing of batches or ranks. Nothing is read ahead in a thread: a row group
is decoded in some 5 ms, a training step over it takes far longer, and a thread added a seventh to the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncdl.loader.manifest import Shards
from asyncdl.loader.order import permutation
from asyncdl.loader.shard import Decoded, ShardFile


class Group(NamedTuple):
    """A decoded row group. order: how its sequences are shuffled, None where they are not."""

    decoded: Decoded
    order: NDArray[np.int64] | None


class GroupReader:
    """Reads row groups by their number over all shards, and keeps the last shard open for the next.

    seed: None leaves sequences in their order.
    """

    def __init__(self, shards: Shards, seed: int | None, epoch: int) -> None:
        self._shards = shards
        self._seed = seed
        self._epoch = epoch
        self._open: tuple[int, ShardFile] | None = None

    def read(self, number: int) -> Group:
        """Raise ShardError."""
        shards = self._shards
        index, size = int(shards.shard_of[number]), int(shards.n_sequences[number])
        decoded = self._file(index).read(int(shards.group_of[number]), size)
        # Place 0 of an epoch is the order of its row groups.
        order = None if self._seed is None else permutation(size, self._seed, self._epoch, 1 + number)
        return Group(decoded, order)

    def _file(self, index: int) -> ShardFile:
        if self._open is None or self._open[0] != index:
            self.close()
            self._open = (index, ShardFile(self._shards.shards[index], self._shards.length))
        return self._open[1]

    def close(self) -> None:
        """Close what is open; it may be used again."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

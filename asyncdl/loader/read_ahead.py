"""Row groups decoded one ahead of who uses them, in a thread: decoding leaves the interpreter to the training step.

Invariant: at most two decoded row groups are alive, given that the receiver drops one before asking for the next.
An error comes where its row group would have. Knows nothing of batches.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
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

    seed: None leaves sequences in their order. For one thread at a time.
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


def read_ahead(reader: GroupReader, numbers: Iterable[int]) -> Generator[Group]:
    """Yield the row groups `numbers`; the next is decoded meanwhile. Closing waits for it and closes the reader."""
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="asyncdl-read-ahead") as pool:
            coming: Future[Group] | None = None
            for number in numbers:
                following = pool.submit(reader.read, number)
                if coming is not None:
                    yield coming.result()
                coming = following
            if coming is not None:
                yield coming.result()
    finally:
        reader.close()  # after the pool, whose thread may be reading

"""Which sequences a rank gets, and in which order: arithmetic on counts, with chance from a seed.

Invariant: over all ranks every sequence comes at most once, and exactly once unless the rest is dropped. Every rank has
the same number of batches. Depends on nothing but its arguments; knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


def permutation(n: int, seed: int, *place: int) -> NDArray[np.int64]:
    """Return 0 ... n - 1 shuffled, the same for the same seed and place under every version of numpy.

    Sorted by the raw numbers of PCG64: numpy keeps that stream for good, but not what Generator makes of it (NEP 19).
    """
    chance = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place))
    return np.argsort(chance.random_raw(n), kind="stable")


class Share(NamedTuple):
    """One rank's part of an epoch: sequences first ... first + n_sequences - 1 of its order, in n_batches."""

    first: int
    n_sequences: int
    n_batches: int


def share_of(n_sequences: int, batch_size: int, rank: int, world_size: int, *, drop_last: bool) -> Share:
    """Cut the epoch into one run of sequences for each rank, so that a row group is read by few ranks."""
    if drop_last:
        n_batches = n_sequences // (batch_size * world_size)
        mine = n_batches * batch_size
        return Share(rank * mine, mine, n_batches)
    each, rest = divmod(n_sequences, world_size)
    longest = each + (rest > 0)
    return Share(rank * each + min(rank, rest), each + (rank < rest), -(-longest // batch_size))


class Piece(NamedTuple):
    """Sequences first ... stop - 1 of the row group at `place` in the epoch's order of row groups."""

    place: int
    first: int
    stop: int


class Cuts:
    """Where the batches of one share lie in row groups of given sizes.

    n_sequences: of each row group, in the epoch's order.
    """

    def __init__(self, n_sequences: NDArray[np.int64], share: Share, batch_size: int) -> None:
        self._ends = np.cumsum(n_sequences)
        self._starts = self._ends - n_sequences
        self._share = share
        self._batch_size = batch_size

    def pieces(self, batches: Iterable[int]) -> Iterator[list[Piece]]:
        """Yield where the sequences of each of these batches lie, in order; at the share's end they may be fewer.

        batches: their numbers, ascending.
        """
        end = self._share.first + self._share.n_sequences
        place = start = until = 0
        for batch in batches:
            first = self._share.first + batch * self._batch_size
            stop = min(first + self._batch_size, end)
            found = []
            while first < stop:
                if first >= until:
                    place = int(np.searchsorted(self._ends, first, side="right"))
                    start, until = int(self._starts[place]), int(self._ends[place])
                found.append(Piece(place, first - start, min(stop, until) - start))
                first = until
            yield found

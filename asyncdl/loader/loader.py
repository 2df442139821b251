"""The loader itself: batches of one rank, and where in the epoch it stands.

Invariant: which sequences batch number n of an epoch has depends on shards, options, epoch and n alone. So a position
is enough to resume, and DataLoader workers that take batches in turn give together what one process would.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from asyncdl.errors import UsageError
from asyncdl.loader.batch import Batch, fill, new_batch
from asyncdl.loader.groups import GroupReader
from asyncdl.loader.manifest import Shards
from asyncdl.loader.order import Cuts, permutation, share_of

STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Options:
    """As `load_tokens` takes them. Raises UsageError."""

    batch_size: int
    rank: int
    world_size: int
    seed: int | None
    drop_last: bool

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(
                f"batch_size is {self.batch_size}", hint="it is how many sequences a batch has: at least 1"
            )
        if not 0 <= self.rank < self.world_size:
            raise UsageError(
                f"there is no rank {self.rank} in a world of {self.world_size}",
                hint="ranks count from 0 to world_size - 1",
            )
        if self.seed is not None and self.seed < 0:
            raise UsageError(f"the seed is {self.seed}", hint="take 0 or more, or None for the order of the manifest")


class TokenLoader:
    """Iterating gives the batches of one epoch; reaching its end moves on to the next epoch. Made by `load_tokens`.

    One iterator at a time: the state is that of the youngest. An iterator that was left early is started anew from the
    beginning of its epoch, but the first after `load_state_dict` begins where the state says.
    """

    def __init__(self, shards: Shards, options: Options) -> None:
        """Raise UsageError if no batch can be filled."""
        self._shards = shards
        self._options = options
        self.n_sequences = int(shards.n_sequences.sum())
        self._share = share_of(
            self.n_sequences, options.batch_size, options.rank, options.world_size, drop_last=options.drop_last
        )
        if options.drop_last and not self._share.n_batches:
            raise UsageError(
                f"{self.n_sequences} sequences do not fill one batch of {options.batch_size}"
                f" on each of {options.world_size} ranks",
                hint="take a smaller batch_size, more splits, or drop_last=False",
            )
        self.epoch = 0
        self._first = 0  # the batch that the youngest iterator began with
        self._n_given = 0  # batches that it gave since
        self._n_workers = 1  # of the DataLoader it ran in
        self._resumes = False

    def __len__(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return self._share.n_batches

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give the rest of the epoch after `load_state_dict`, else all of it. Iterating raises ShardError."""
        worker, n_workers = _worker()
        if not self._resumes:
            self._first, self._n_given = 0, 0
        elif self._n_given and self._n_workers != n_workers:
            raise UsageError(
                f"the state is of one of {self._n_workers} DataLoader workers, here are {n_workers}",
                hint="use as many workers as before",
            )
        self._resumes, self._n_workers = False, n_workers
        next_batch = self._first + worker + self._n_given * n_workers
        return self._give(range(next_batch, len(self), n_workers))

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of epoch `epoch`, counted from 0; nothing changes if the loader is in it already.

        With DataLoader workers call it before each epoch: they iterate copies, and this one does not see their end.
        """
        if epoch < 0:
            raise UsageError(f"the epoch is {epoch}", hint="epochs count from 0")
        if epoch != self.epoch:
            self._move(epoch, 0)

    def state_dict(self, n_taken: int | None = None) -> dict[str, Any]:
        """Return where the epoch stands, after the batches that were given. Plain values, the same on every rank.

        n_taken: how many batches of this epoch were used, counted from its beginning, where the loader cannot know:
        somebody takes batches ahead, or DataLoader workers iterate copies of it.
        """
        if n_taken is not None and not 0 <= n_taken <= len(self):
            raise UsageError(f"{n_taken} batches were taken of {len(self)}", hint="count from the epoch's beginning")
        in_worker = n_taken is None and self._n_workers > 1
        given = self._first + self._n_given if n_taken is None else n_taken
        return {
            "version": STATE_VERSION,
            **self._identity(),
            "epoch": self.epoch,
            "batch": self._first if in_worker else given,
            "n_given": self._n_given if in_worker else 0,
            "n_workers": self._n_workers if in_worker else 1,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where `state` says; the next iterator goes on from there, giving what the first one would have given.

        Raises UsageError if it was saved with other shards or options. Any rank may load the state of any.
        """
        if state.get("version") != STATE_VERSION:
            raise UsageError("this is not a state of load_tokens", hint="give what state_dict() returned")
        for name, mine in self._identity().items():
            if state[name] != mine:
                raise UsageError(
                    f"the state was saved with {name} {state[name]}, this loader has {mine}",
                    hint="the same order needs the same shards and options; load_state_dict on a loader that has them",
                )
        self._move(state["epoch"], state["batch"])
        self._n_given, self._n_workers, self._resumes = state["n_given"], state["n_workers"], True

    def _identity(self) -> dict[str, Any]:
        """All that the order of sequences depends on, but for epoch and rank."""
        options = asdict(self._options)
        del options["rank"]  # every rank stands at the same batch, and often one of them saves for all
        return {"shards": self._shards.digest, **options}

    def _move(self, epoch: int, batch: int) -> None:
        self.epoch, self._first, self._n_given, self._n_workers, self._resumes = epoch, batch, 0, 1, False

    def _give(self, batches: range) -> Iterator[Batch]:
        epoch = self.epoch
        for batch in self._batches(batches):
            self._n_given += 1
            yield batch
        self._move(epoch + 1, 0)

    def _batches(self, batches: range) -> Iterator[Batch]:
        """Yield the batches of these numbers, each in memory of its own."""
        order = self._group_order()
        cuts = Cuts(self._shards.n_sequences[order], self._share, self._options.batch_size)
        shape = (self._options.batch_size, self._shards.length)
        place, group = -1, None
        with closing(GroupReader(self._shards, self._options.seed, self.epoch)) as reader:
            for pieces in cuts.pieces(batches):
                n_filled, batch = 0, new_batch(shape, sum(p.stop - p.first for p in pieces), self._shards.pad_id)
                for piece in pieces:
                    if group is None or piece.place != place:
                        group = None  # dropped before the next is read, so that one is in memory and not two
                        place, group = piece.place, reader.read(int(order[piece.place]))
                    fill(batch, n_filled, group, piece.first, piece.stop)
                    n_filled += piece.stop - piece.first
                yield batch

    def _group_order(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        n_groups, seed = len(self._shards.n_sequences), self._options.seed
        return np.arange(n_groups) if seed is None else permutation(n_groups, seed, self.epoch, 0)


def _worker() -> tuple[int, int]:
    """Return which DataLoader worker of how many this process is; 0 of 1 outside of one. Imports no torch."""
    torch_data = sys.modules.get("torch.utils.data")
    info = torch_data.get_worker_info() if torch_data else None
    return (info.id, info.num_workers) if info else (0, 1)

"""Whatever the shards, ranks and workers: every sequence once, the same for a seed, and resumed as if never stopped."""

import sys
import tempfile
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncdl import load_tokens
from asyncdl.errors import UsageError
from asyncdl.loader.order import Cuts, permutation, share_of
from tests.support.packed import numbers, packed

counts = st.integers(0, 200)
batch_sizes = st.integers(1, 9)
worlds = st.integers(1, 5)
seeds = st.none() | st.integers(0, 2**64)
shapes = st.lists(st.lists(st.integers(1, 5), max_size=3), max_size=4)


@given(counts, batch_sizes, worlds, st.booleans())
def test_shares_touch_without_overlap_and_have_as_many_batches(n, batch_size, world, drop_last):
    shares = [share_of(n, batch_size, rank, world, drop_last=drop_last) for rank in range(world)]
    end = 0
    for share in shares:
        assert share.first == end
        assert share.n_sequences <= share.n_batches * batch_size
        end += share.n_sequences
    assert len({share.n_batches for share in shares}) == 1
    if drop_last:
        assert 0 <= n - end < world * batch_size
        assert all(share.n_sequences == share.n_batches * batch_size for share in shares)
    else:
        assert end == n
        assert (shares[0].n_batches - 1) * batch_size < max(1, max(share.n_sequences for share in shares))


@given(st.lists(st.integers(0, 6), max_size=12), batch_sizes, worlds, st.booleans(), st.data())
def test_the_pieces_of_all_batches_are_the_share_in_order(sizes, batch_size, world, drop_last, data):
    rank = data.draw(st.integers(0, world - 1))
    share = share_of(sum(sizes), batch_size, rank, world, drop_last=drop_last)
    cuts = Cuts(np.array(sizes, np.int64), share, batch_size)
    starts = np.cumsum([0, *sizes])
    found = []
    batches = range(data.draw(st.integers(0, share.n_batches)), share.n_batches, data.draw(st.integers(1, 3)))
    for batch, pieces in zip(batches, cuts.pieces(batches), strict=True):
        here = [starts[p.place] + k for p in pieces for k in range(p.first, p.stop)]
        first = share.first + batch * batch_size
        assert here == list(range(first, min(first + batch_size, share.first + share.n_sequences)))
        assert all(0 <= p.first < p.stop <= sizes[p.place] for p in pieces)
        found += here
    if batches == range(share.n_batches):
        assert found == list(range(share.first, share.first + share.n_sequences))


@given(counts, st.integers(0, 2**70), st.integers(0, 99), st.integers(0, 99))
def test_a_permutation_has_each_number_once_and_is_its_seeds_own(n, seed, a, b):
    order = permutation(n, seed, a, b)
    assert sorted(order) == list(range(n))
    assert order.tolist() == permutation(n, seed, a, b).tolist()


@pytest.fixture(scope="module")
def as_worker():
    """as_worker(id, n): what follows believes to be DataLoader worker id of n; (0, 0) is the main process."""
    patch = pytest.MonkeyPatch()

    def become(worker, n_workers):
        info = SimpleNamespace(id=worker, num_workers=n_workers) if n_workers else None
        patch.setitem(sys.modules, "torch.utils.data", SimpleNamespace(get_worker_info=lambda: info))

    yield become
    patch.undo()


def through_workers(loader, n_workers, as_worker):
    """What a DataLoader gives: the workers' batches in turn."""
    of_worker = []
    for worker in range(n_workers):
        as_worker(worker, n_workers)
        state = loader.state_dict()
        of_worker.append([numbers(batch) for batch in loader])
        loader.load_state_dict(state)  # each worker has a copy of its own
    as_worker(0, 0)
    return [batch for turn in zip_longest(*of_worker) for batch in turn if batch is not None]


@settings(max_examples=40, deadline=None)
@given(
    train=shapes,
    test=shapes,
    batch_size=batch_sizes,
    world=worlds,
    seed=seeds,
    drop_last=st.booleans(),
    n_workers=st.integers(1, 3),
    data=st.data(),
)
def test_every_sequence_comes_once_and_resuming_changes_nothing(
    train, test, batch_size, world, seed, drop_last, n_workers, data, as_worker
):
    n = sum(map(sum, train + test))
    seen, lengths = [], set()
    as_worker(0, 0)
    with tempfile.TemporaryDirectory() as folder:
        path = packed(Path(folder, "x"), {"train": train, "test": test})

        def loader(rank):
            return load_tokens(path, batch_size=batch_size, rank=rank, world_size=world, seed=seed, drop_last=drop_last)

        if drop_last and n < batch_size * world:
            with pytest.raises(UsageError, match="do not fill one batch"):
                loader(0)
            return
        epoch = data.draw(st.integers(0, 3), "epoch")
        for rank in range(world):
            whole = loader(rank)
            whole.set_epoch(epoch)
            batches = [numbers(batch) for batch in whole]
            assert len(batches) == len(whole)
            assert whole.epoch == epoch + 1
            lengths.add(len(batches))
            seen += [number for batch in batches for number in batch]

            stop = data.draw(st.integers(0, len(batches)), "stop")
            stopped = loader(rank)
            stopped.set_epoch(epoch)
            running = iter(stopped)
            assert [numbers(next(running)) for _ in range(stop)] == batches[:stop]
            resumed = loader(rank)
            resumed.load_state_dict(stopped.state_dict())
            assert resumed.state_dict() == stopped.state_dict() == whole_state(whole, epoch, stop)
            running.close()
            assert through_workers(resumed, n_workers, as_worker) == batches[stop:]
            assert [numbers(batch) for batch in resumed] == batches[stop:]
    assert len(lengths) == 1
    if drop_last:
        assert len(set(seen)) == len(seen) == lengths.pop() * batch_size * world
    else:
        assert sorted(seen) == list(range(n))
    if seed is None:
        assert seen == sorted(seen)


def whole_state(loader, epoch, n_taken):
    """The state after n_taken batches of an epoch, of a loader that somebody else iterated."""
    loader.set_epoch(epoch)
    return loader.state_dict(n_taken)

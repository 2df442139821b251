import pytest

from asyncdl.net.slabs import BUDGET_BYTES, MAX_SLAB_BYTES, MIN_SLAB_BYTES, Slabs


@pytest.mark.parametrize("n_slots", [1, 8, 128, 1000, 5000])
def test_each_slot_can_fill_one_while_as_many_are_written_and_all_stay_in_the_budget(n_slots):
    slabs = Slabs(n_slots)
    n_slabs = 0
    while slabs.take() is not None:
        n_slabs += 1
    assert MIN_SLAB_BYTES <= slabs.slab_bytes <= MAX_SLAB_BYTES
    assert n_slabs * slabs.slab_bytes <= BUDGET_BYTES
    assert n_slabs >= min(2 * n_slots, BUDGET_BYTES // MIN_SLAB_BYTES)


def test_there_is_one_slab_however_small_the_budget():
    slabs = Slabs(100, budget_bytes=1)
    assert slabs.take() is not None
    assert slabs.take() is None


def test_a_part_that_is_given_back_is_the_whole_slab_again():
    slabs = Slabs(1, budget_bytes=MIN_SLAB_BYTES)
    slab = slabs.take()
    slabs.give(slab[:10][2:5])
    assert len(slabs.take()) == slabs.slab_bytes


def test_what_comes_back_is_used_before_more_memory_is():
    slabs = Slabs(8)
    first = slabs.take()
    slabs.give(first)
    assert slabs.take().obj is first.obj


def test_who_waits_is_called_once_in_order_and_one_who_takes_none_passes_it_on():
    slabs = Slabs(1, budget_bytes=MIN_SLAB_BYTES)
    slab = slabs.take()
    called, taken = [], []
    slabs.when_free(lambda: called.append("closed meanwhile"))
    slabs.when_free(lambda: (called.append("first"), taken.append(slabs.take())))
    slabs.when_free(lambda: called.append("second"))
    slabs.give(slab)
    assert called == ["closed meanwhile", "first"]
    slabs.give(taken.pop())
    assert called == ["closed meanwhile", "first", "second"]
    assert slabs.take() is not None

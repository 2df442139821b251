"""Whatever is had of a file, what is asked is what is missing; whatever files are open, no slot is idle or stolen."""

from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.plan import FAIR_CONNECTIONS, Demand, choose, segments
from asyncdl.core.ranges import ByteRange, RangeSet

SIZES = st.integers(0, 300)
STEPS = st.integers(1, 64)
HADS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=8).map(
    lambda pairs: RangeSet.of(*(ByteRange(start, start + length) for start, length in pairs))
)


@given(SIZES, HADS, STEPS)
def test_the_segments_are_exactly_what_is_missing(size_bytes, had, segment_bytes):
    cut = segments(size_bytes, had, segment_bytes)
    asked = [i for one in cut for i in range(one.start, one.stop)]
    missing = [i for i in range(size_bytes) if ByteRange(i, i + 1) not in had]
    assert asked == missing, "ascending, without overlap, nothing left out"


@given(SIZES, HADS, STEPS)
def test_no_segment_crosses_a_multiple_of_the_segment(size_bytes, had, segment_bytes):
    for one in segments(size_bytes, had, segment_bytes):
        assert one.start // segment_bytes == (one.stop - 1) // segment_bytes


@given(SIZES, HADS, STEPS)
def test_a_resumed_file_asks_for_parts_of_what_a_fresh_one_asks_for(size_bytes, had, segment_bytes):
    fresh = segments(size_bytes, RangeSet(), segment_bytes)
    for one in segments(size_bytes, had, segment_bytes):
        assert sum(whole.start <= one.start and one.stop <= whole.stop for whole in fresh) == 1


OPEN = st.lists(st.tuples(st.integers(0, 3 * FAIR_CONNECTIONS), st.integers(0, 5)), max_size=12).map(
    lambda pairs: [Demand(key, n_open, n_waiting) for key, (n_open, n_waiting) in enumerate(pairs)]
)


@given(OPEN, st.booleans())
def test_only_a_file_with_a_waiting_segment_is_chosen(demands, may_claim):
    key = choose(demands, may_claim=may_claim)
    assert key is None or demands[key].n_waiting > 0


@given(OPEN)
def test_a_slot_is_idle_only_if_nothing_waits(demands):
    assert (choose(demands, may_claim=False) is None) == (not any(one.n_waiting for one in demands))


@given(OPEN)
def test_a_share_comes_before_a_claim_and_a_claim_before_more_than_a_share(demands):
    below = [one.key for one in demands if one.n_waiting and one.n_open < FAIR_CONNECTIONS]
    assert choose(demands, may_claim=True) == (below[0] if below else None)


@given(OPEN)
def test_more_than_a_share_goes_to_the_file_with_the_fewest_requests(demands):
    key = choose(demands, may_claim=False)
    if key is not None and demands[key].n_open >= FAIR_CONNECTIONS:
        assert demands[key].n_open == min(one.n_open for one in demands if one.n_waiting)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 40))
def test_slots_that_come_free_one_by_one_starve_nobody(waiting, n_slots):
    """Give slots until none or nothing is left: all are given, and no file has two more than another that waits."""
    n_open = [0] * len(waiting)
    for _ in range(n_slots):
        key = choose([Demand(i, n_open[i], waiting[i]) for i in range(len(waiting))], may_claim=False)
        if key is None:
            break
        n_open[key] += 1
        waiting[key] -= 1
    assert sum(n_open) == n_slots or not any(waiting)
    for i, left in enumerate(waiting):
        if left:
            assert n_open[i] + max(FAIR_CONNECTIONS, 1) >= max(n_open)

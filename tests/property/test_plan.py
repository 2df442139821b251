"""Whatever is had of a file, what is asked is what is missing; whatever files are open, no slot is idle or stolen; and
what is taken over from a request is a part of what it has still to bring.
"""

from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.plan import (
    FAIR_CONNECTIONS,
    MAX_SEGMENT_BYTES,
    MIN_SEGMENT_BYTES,
    MIN_SHARE_BYTES,
    SEGMENT_S,
    SHARE_FROM_S,
    Demand,
    Rest,
    choose,
    gaps,
    next_segment,
    segment_bytes,
    share,
)
from asyncdl.core.ranges import ByteRange, RangeSet

SIZES = st.integers(0, 300)
STEPS = st.integers(1, 64)
HADS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=8).map(
    lambda pairs: RangeSet.of(*(ByteRange(start, start + length) for start, length in pairs))
)


def segments(size_bytes, had, step_bytes):
    """All requests for what is missing, one after the other, at a rate that does not change."""
    cut = []
    for gap in gaps(size_bytes, had):
        rest = gap
        while True:
            cut.append(next_segment(rest, step_bytes))
            if cut[-1].stop == rest.stop:
                break
            rest = ByteRange(cut[-1].stop, rest.stop)
    return cut


@given(SIZES, HADS, STEPS)
def test_the_segments_are_exactly_what_is_missing(size_bytes, had, step_bytes):
    asked = [i for one in segments(size_bytes, had, step_bytes) for i in range(one.start, one.stop)]
    missing = [i for i in range(size_bytes) if ByteRange(i, i + 1) not in had]
    assert asked == missing, "ascending, without overlap, nothing left out"


@given(SIZES, HADS, STEPS)
def test_no_segment_crosses_a_multiple_of_its_size(size_bytes, had, step_bytes):
    for one in segments(size_bytes, had, step_bytes):
        assert one.start // step_bytes == (one.stop - 1) // step_bytes


@given(SIZES, HADS, STEPS)
def test_a_resumed_file_asks_for_parts_of_what_a_fresh_one_asks_for(size_bytes, had, step_bytes):
    fresh = segments(size_bytes, RangeSet(), step_bytes)
    for one in segments(size_bytes, had, step_bytes):
        assert sum(whole.start <= one.start and one.stop <= whole.stop for whole in fresh) == 1


@given(st.floats(0, 1e12))
def test_a_segment_takes_about_as_long_as_it_should(per_s):
    size = segment_bytes(per_s)
    assert MIN_SEGMENT_BYTES <= size <= MAX_SEGMENT_BYTES
    assert size == MIN_SEGMENT_BYTES or size <= per_s * SEGMENT_S
    assert size == MAX_SEGMENT_BYTES or 2 * size > per_s * SEGMENT_S


# --- who gets a slot

OPEN = st.lists(st.tuples(st.integers(0, 3 * FAIR_CONNECTIONS), st.booleans()), max_size=12).map(
    lambda each: [Demand(key, n_open, can_start) for key, (n_open, can_start) in enumerate(each)]
)


@given(OPEN, st.booleans())
def test_only_a_file_that_can_start_is_chosen(demands, may_claim):
    key = choose(demands, may_claim=may_claim)
    assert key is None or demands[key].can_start


@given(OPEN)
def test_a_slot_is_idle_only_if_nothing_can_start(demands):
    assert (choose(demands, may_claim=False) is None) == (not any(one.can_start for one in demands))


@given(OPEN)
def test_a_share_comes_before_a_claim_and_a_claim_before_more_than_a_share(demands):
    below = [one.key for one in demands if one.can_start and one.n_open < FAIR_CONNECTIONS]
    assert choose(demands, may_claim=True) == (below[0] if below else None)


@given(OPEN)
def test_more_than_a_share_goes_to_the_file_with_the_fewest_requests(demands):
    key = choose(demands, may_claim=False)
    if key is not None and demands[key].n_open >= FAIR_CONNECTIONS:
        assert demands[key].n_open == min(one.n_open for one in demands if one.can_start)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 40))
def test_slots_that_come_free_one_by_one_starve_nobody(waiting, n_slots):
    """Give slots until none or nothing is left: all are given, and no file has far more than another that waits."""
    n_open = [0] * len(waiting)
    for _ in range(n_slots):
        demands = [Demand(i, n_open[i], waiting[i] > 0) for i in range(len(waiting))]
        key = choose(demands, may_claim=False)
        if key is None:
            break
        n_open[key] += 1
        waiting[key] -= 1
    assert sum(n_open) == n_slots or not any(waiting)
    for i, left in enumerate(waiting):
        if left:
            assert n_open[i] + FAIR_CONNECTIONS >= max(n_open)


# --- what is taken over

MIB = 1 << 20
RESTS = st.lists(
    st.builds(
        lambda at, n_bytes, age_s, per_s, is_twin: Rest(at, at + n_bytes, age_s, per_s, is_twin),
        st.integers(0, 100 * MIB),
        st.integers(0, 32 * MIB) | st.integers(0, 3 * MIN_SHARE_BYTES),
        st.floats(0, 60),
        st.just(0.0) | st.floats(1e-3, 1e9),
        st.booleans(),
    ),
    max_size=8,
)


@given(RESTS)
def test_what_is_taken_is_the_end_of_what_is_left_and_never_too_little(rests):
    taken = share(rests, None)
    if taken is not None:
        rest = rests[taken.index]
        assert rest.at <= taken.cut < rest.stop
        if taken.cut == rest.at:
            assert rest.n_bytes < 2 * MIN_SHARE_BYTES, "only what is too small to cut is asked for twice"
        else:
            assert min(rest.stop - taken.cut, taken.cut - rest.at) >= MIN_SHARE_BYTES
            assert rest.stop - taken.cut >= rest.n_bytes // 2


@given(RESTS)
def test_the_one_that_gives_has_a_rate_is_no_twin_and_would_end_last(rests):
    taken = share(rests, None)
    able = [one for one in rests if one.is_settled and not one.is_twin and one.left_s >= SHARE_FROM_S]
    assert (taken is None) == (not able)
    if taken is not None:
        assert rests[taken.index] in able
        assert rests[taken.index].left_s == max(one.left_s for one in able)


@given(st.integers(1, 64 * MIB), st.floats(0, 1e5))
def test_taking_over_again_and_again_ends_with_one_twin(n_bytes, per_s):
    """A request that brings next to nothing is shared until its rest is asked for twice, and that is all."""
    rest, n_shares = Rest(0, n_bytes, 1e4, per_s), 0
    while (taken := share([rest], None)) is not None:
        n_shares += 1
        is_twin = taken.cut == rest.at
        rest = Rest(rest.at, rest.stop if is_twin else taken.cut, rest.age_s, per_s, is_twin)
    assert rest.is_twin or rest.left_s < SHARE_FROM_S
    assert n_shares <= 2 + (n_bytes // MIN_SHARE_BYTES).bit_length()

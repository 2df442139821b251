import pytest

from asyncdl.core.plan import (
    FAIR_CONNECTIONS,
    MAX_SEGMENT_BYTES,
    MIN_SEGMENT_BYTES,
    MIN_SHARE_BYTES,
    SEGMENT_BYTES,
    SEGMENT_S,
    SHARE_FROM_S,
    SILENT_FROM_S,
    Demand,
    Rest,
    Share,
    choose,
    gaps,
    next_segment,
    segment_bytes,
    share,
)
from asyncdl.core.ranges import ByteRange, RangeSet

MIB = 1 << 20


# --- segments


def test_a_segment_is_of_the_usual_size_while_the_rate_is_not_known():
    assert segment_bytes(None) == SEGMENT_BYTES


def test_segments_grow_and_shrink_with_the_rate_by_powers_of_two():
    assert [segment_bytes(n * MIB / SEGMENT_S) for n in (2, 3.9, 4, 7.9, 8, 16)] == [
        2 * MIB, 2 * MIB, 4 * MIB, 4 * MIB, 8 * MIB, 16 * MIB,
    ]  # fmt: skip


def test_however_slow_or_fast_a_segment_keeps_within_its_bounds():
    assert segment_bytes(0.0) == segment_bytes(1.0) == MIN_SEGMENT_BYTES
    assert segment_bytes(1e12) == MAX_SEGMENT_BYTES


def test_a_segment_is_cut_at_multiples_of_its_size():
    assert next_segment(ByteRange(0, 25), 10) == ByteRange(0, 10)
    assert next_segment(ByteRange(10, 25), 10) == ByteRange(10, 20)
    assert next_segment(ByteRange(20, 25), 10) == ByteRange(20, 25)
    assert next_segment(ByteRange(7, 25), 10) == ByteRange(7, 10), "what is had moves no cut"


def test_a_small_file_is_one_request():
    assert next_segment(ByteRange(0, 1), SEGMENT_BYTES) == ByteRange(0, 1)
    assert next_segment(ByteRange(0, SEGMENT_BYTES), SEGMENT_BYTES) == ByteRange(0, SEGMENT_BYTES)


def test_what_is_had_is_not_asked_again():
    had = RangeSet.of(ByteRange(3, 7), ByteRange(12, 20))
    assert gaps(45, had) == [ByteRange(0, 3), ByteRange(7, 12), ByteRange(20, 45)]


@pytest.mark.parametrize(("size_bytes", "had"), [(0, RangeSet()), (9, RangeSet.of(ByteRange(0, 9)))])
def test_nothing_is_asked_of_an_empty_or_a_complete_file(size_bytes, had):
    assert gaps(size_bytes, had) == []


# --- who gets a slot


def demand(key, n_open, *, can_start=True):
    return Demand(key, n_open, can_start)


def test_the_oldest_file_gets_its_share_first():
    assert choose([demand(1, FAIR_CONNECTIONS - 1), demand(2, 0)], may_claim=True) == 1


def test_a_file_with_its_share_lets_the_next_one_have_it():
    assert choose([demand(1, FAIR_CONNECTIONS), demand(2, 3), demand(3, 0)], may_claim=True) == 2


def test_a_file_that_can_start_nothing_gets_nothing():
    assert choose([demand(1, 0, can_start=False), demand(2, 1)], may_claim=True) == 2
    assert choose([demand(1, 0, can_start=False)], may_claim=False) is None
    assert choose([], may_claim=False) is None


def test_a_new_job_comes_before_more_than_a_share():
    demands = [demand(1, FAIR_CONNECTIONS)]
    assert choose(demands, may_claim=True) is None
    assert choose(demands, may_claim=False) == 1


def test_beyond_its_share_the_file_with_the_fewest_requests_is_next_the_oldest_of_equals():
    busy = FAIR_CONNECTIONS
    demands = [demand(1, busy + 2), demand(2, busy + 1), demand(3, busy + 1), demand(4, busy, can_start=False)]
    assert choose(demands, may_claim=False) == 2


# --- what a slot without work takes over

SLOW = Rest(at=0, stop=8 * MIB, age_s=10.0, per_s=0.1 * MIB)
FAST = Rest(at=10 * MIB, stop=10 * MIB + 1, age_s=10.0, per_s=9.9 * MIB)


def test_nothing_is_taken_where_nothing_is_under_way():
    assert share([], None) is None


def test_the_slowest_gives():
    slower = Rest(at=20 * MIB, stop=28 * MIB, age_s=10.0, per_s=0.05 * MIB)
    taken = share([FAST, SLOW, slower], None)
    assert taken is not None
    assert taken.index == 2


def test_both_shall_end_together_by_the_rates_of_the_others():
    """At 0.1 against 9.9 MiB/s one of a hundred stays, though never less than MIN_SHARE_BYTES."""
    far = Rest(at=0, stop=800 * MIB, age_s=10.0, per_s=0.1 * MIB)
    assert share([far, FAST], None) == Share(0, 8 * MIB)
    assert share([SLOW, FAST], None) == Share(0, MIN_SHARE_BYTES)


def test_at_least_half_is_taken():
    crawling = Rest(at=20 * MIB, stop=20 * MIB + 1, age_s=10.0, per_s=1.0)
    assert share([SLOW, crawling], None) == Share(0, 4 * MIB)
    assert share([SLOW], FAST.per_s) == share([SLOW, FAST], None), "a file remembers what its requests brought"
    assert share([SLOW], None) == Share(0, 4 * MIB), "nothing is known of what another connection would bring"


def test_a_silent_one_gives_half_when_nobody_is_faster():
    assert share([Rest(at=MIB, stop=3 * MIB, age_s=SILENT_FROM_S, per_s=0.0)], None) == Share(0, 2 * MIB)


def test_what_is_too_small_to_cut_is_asked_for_twice_as_a_whole():
    last = Rest(at=5, stop=5 + 2 * MIN_SHARE_BYTES - 1, age_s=10.0, per_s=1.0)
    assert share([last], None) == Share(0, 5)
    assert share([Rest(5, last.stop + 1, 10.0, 1.0)], None) == Share(0, 5 + MIN_SHARE_BYTES), "one byte more is cut"


def test_what_is_asked_for_twice_is_not_asked_for_a_third_time():
    assert share([Rest(at=0, stop=MIB, age_s=10.0, per_s=1.0, is_twin=True)], None) is None


def test_a_request_that_ends_soon_is_left_alone():
    assert share([Rest(at=0, stop=MIB, age_s=10.0, per_s=1.001 * MIB / SHARE_FROM_S)], None) is None
    assert share([Rest(at=0, stop=MIB, age_s=10.0, per_s=MIB / SHARE_FROM_S)], None) is not None


def test_a_request_too_young_to_have_a_rate_is_left_alone():
    young = SHARE_FROM_S - 0.01
    assert share([Rest(at=1, stop=8 * MIB, age_s=young, per_s=1 / young)], None) is None
    assert share([Rest(at=1, stop=8 * MIB, age_s=SHARE_FROM_S, per_s=1 / SHARE_FROM_S)], None) is not None


def test_a_host_that_has_not_answered_yet_may_think_for_longer():
    assert share([Rest(at=0, stop=8 * MIB, age_s=SILENT_FROM_S - 0.01, per_s=0.0)], None) is None
    assert share([Rest(at=0, stop=8 * MIB, age_s=SILENT_FROM_S, per_s=0.0)], None) is not None


def test_a_request_with_nothing_left_has_nothing_to_give():
    assert share([Rest(at=9, stop=9, age_s=10.0, per_s=0.9)], None) is None
    assert share([Rest(at=9, stop=9, age_s=10.0, per_s=0.0)], None) is None

import pytest

from asyncdl.core.plan import FAIR_CONNECTIONS, SEGMENT_BYTES, Demand, choose, segments
from asyncdl.core.ranges import ByteRange, RangeSet


def pairs(cut):
    return [(one.start, one.stop) for one in cut]


def test_a_file_is_cut_at_multiples_of_the_segment():
    assert pairs(segments(25, RangeSet(), 10)) == [(0, 10), (10, 20), (20, 25)]
    assert pairs(segments(20, RangeSet(), 10)) == [(0, 10), (10, 20)]


def test_what_is_had_is_not_asked_again_and_moves_no_cut():
    had = RangeSet.of(ByteRange(3, 7), ByteRange(12, 20))
    assert pairs(segments(45, had, 10)) == [(0, 3), (7, 10), (10, 12), (20, 30), (30, 40), (40, 45)]


@pytest.mark.parametrize(("size_bytes", "had"), [(0, RangeSet()), (9, RangeSet.of(ByteRange(0, 9)))])
def test_nothing_is_asked_of_an_empty_or_a_complete_file(size_bytes, had):
    assert segments(size_bytes, had) == []


def test_a_small_file_is_one_request():
    assert segments(1, RangeSet()) == [ByteRange(0, 1)]
    assert segments(SEGMENT_BYTES, RangeSet()) == [ByteRange(0, SEGMENT_BYTES)]


def test_the_oldest_file_gets_its_share_first():
    demands = [Demand(1, FAIR_CONNECTIONS - 1, 5), Demand(2, 0, 5)]
    assert choose(demands, may_claim=True) == 1


def test_a_file_with_its_share_lets_the_next_one_have_it():
    demands = [Demand(1, FAIR_CONNECTIONS, 5), Demand(2, 3, 5), Demand(3, 0, 5)]
    assert choose(demands, may_claim=True) == 2


def test_a_file_that_waits_for_nothing_gets_nothing():
    assert choose([Demand(1, 0, 0), Demand(2, 1, 1)], may_claim=True) == 2
    assert choose([Demand(1, 0, 0)], may_claim=False) is None
    assert choose([], may_claim=False) is None


def test_a_new_job_comes_before_more_than_a_share():
    demands = [Demand(1, FAIR_CONNECTIONS, 5)]
    assert choose(demands, may_claim=True) is None
    assert choose(demands, may_claim=False) == 1


def test_beyond_its_share_the_file_with_the_fewest_requests_is_next_the_oldest_of_equals():
    busy = FAIR_CONNECTIONS
    demands = [Demand(1, busy + 2, 5), Demand(2, busy + 1, 5), Demand(3, busy + 1, 5), Demand(4, busy, 0)]
    assert choose(demands, may_claim=False) == 2

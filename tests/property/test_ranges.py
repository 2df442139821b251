"""A RangeSet is a set of ints: every operation gives what the same operation on a set of ints gives."""

from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.ranges import ByteRange, RangeSet

TOP = 40
RANGES = st.tuples(st.integers(0, TOP), st.integers(1, 12)).map(lambda pair: ByteRange(pair[0], sum(pair)))
LISTS = st.lists(RANGES, max_size=12)
SETS = LISTS.map(lambda ranges: RangeSet.of(*ranges))


def ints(ranges):
    return {i for one in ranges for i in range(one.start, one.stop)}


def is_tidy(found):
    """Ascending, disjoint, and with a gap between any two."""
    return all(a.stop < b.start for a, b in zip(found.ranges, found.ranges[1:], strict=False))


@given(LISTS)
def test_of_is_the_union_in_any_order(ranges):
    found = RangeSet.of(*ranges)
    assert ints(found) == ints(ranges)
    assert is_tidy(found)
    assert found == RangeSet.of(*reversed(ranges))
    assert found.n_bytes == len(ints(ranges))
    assert bool(found) == bool(ranges)


@given(SETS, RANGES)
def test_add_is_union_with_one_and_leaves_the_old_set_alone(before, new):
    old = str(before)
    after = before.add(new)
    assert ints(after) == ints(before) | ints([new])
    assert is_tidy(after)
    assert str(before) == old
    assert after.add(new) == after


@given(SETS, SETS)
def test_union_is_union(one, other):
    both = one.union(other)
    assert ints(both) == ints(one) | ints(other)
    assert is_tidy(both)
    assert both == other.union(one)


@given(SETS, RANGES)
def test_missing_is_the_difference_ascending_and_tidy(found, within):
    gaps = found.missing(within)
    assert ints(gaps) == ints([within]) - ints(found)
    assert is_tidy(RangeSet(tuple(gaps)))
    assert (within in found) == (not gaps)
    assert within in found.union(gaps)


@given(SETS)
def test_the_front_is_the_first_byte_that_is_not_in_the_set(found):
    assert found.front == next(i for i in range(2 * TOP + 99) if i not in ints(found))


@given(SETS, SETS)
def test_sets_are_equal_if_their_bytes_are(one, other):
    assert (one == other) == (ints(one) == ints(other))
    assert one != other or hash(one) == hash(other)


@given(LISTS)
def test_what_str_wrote_parse_reads(ranges):
    found = RangeSet.of(*(ByteRange(one.start << 40, one.stop << 40) for one in ranges))
    assert RangeSet.parse(str(found)) == found


@given(st.text(alphabet="0123456789-,", max_size=12))
def test_parse_reads_a_tidy_set_or_refuses(text):
    try:
        found = RangeSet.parse(text)
    except ValueError:
        return
    assert is_tidy(found)
    assert RangeSet.parse(str(found)) == found


@given(RANGES)
def test_the_header_names_first_and_last_byte(one):
    first, last = one.header.removeprefix("bytes=").split("-")
    assert len(one) == int(last) - int(first) + 1
    assert int(first) == one.start

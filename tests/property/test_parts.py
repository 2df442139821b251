"""Parts lie end to end, and are as large as they should be where the file lets them."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers import parts
from workers.contract import PART_BYTES

MB = 1_000_000
LEAST_BYTES, MOST_BYTES = PART_BYTES // 2, PART_BYTES * 2
sizes = st.lists(st.integers(0, 300 * MB) | st.sampled_from([0, MB, 64 * MB, 128 * MB]), max_size=40)


def whole(found, n):
    """() is the whole file at once."""
    return found or ((0, n),)


@given(sizes)
def test_row_groups_are_all_there_once_and_in_order(groups):
    found = parts.of_row_groups(groups, PART_BYTES)
    assert len(found) != 1
    assert [i for first, end in whole(found, len(groups)) for i in range(first, end)] == [*range(len(groups))]
    assert all(first < end for first, end in found)


@given(sizes)
@example([300 * MB, 0])
def test_parts_of_several_row_groups_with_text_are_bounded(groups):
    for first, end in parts.of_row_groups(groups, PART_BYTES):
        n_with_text = sum(size > 0 for size in groups[first:end])
        assert n_with_text <= 1 or sum(groups[first:end]) <= MOST_BYTES


@given(sizes)
def test_each_part_is_as_near_to_the_aim_as_the_next_row_group_allows(groups):
    found = parts.of_row_groups(groups, PART_BYTES)
    for first, end in found[:-1]:
        size = sum(groups[first:end])
        assert abs(size + groups[end] - PART_BYTES) > abs(size - PART_BYTES)
    for (first, middle), (_, end) in list(pairwise(found))[-1:]:
        assert sum(groups[middle:end]) >= LEAST_BYTES or sum(groups[first:end]) > MOST_BYTES


@given(st.lists(st.integers(0, 40 * MB), max_size=60))
def test_parts_of_ordinary_row_groups_are_neither_small_nor_large(groups):
    for first, end in parts.of_row_groups(groups, PART_BYTES):
        assert LEAST_BYTES <= sum(groups[first:end]) <= MOST_BYTES


@given(st.integers(0, 1 << 45))
def test_byte_ranges_are_end_to_end_equal_and_of_the_size_aimed_at(size_bytes):
    found = parts.of_bytes(size_bytes, PART_BYTES)
    assert (found == ()) == (size_bytes < 192 * MB)
    assert all(before[1] == after[0] for before, after in pairwise(found))
    if found:
        assert (found[0][0], found[-1][1]) == (0, size_bytes)
        lengths = [end - first for first, end in found]
        assert max(lengths) - min(lengths) <= 1
        assert LEAST_BYTES <= min(lengths) <= max(lengths) <= MOST_BYTES


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([], ()),
        ([500], ()),
        ([100, 20], ()),
        ([128, 128], ((0, 1), (1, 2))),
        ([128, 128, 10], ((0, 1), (1, 3))),
        ([10, 1000, 10], ((0, 1), (1, 2), (2, 3))),
        ([60] * 7, ((0, 2), (2, 4), (4, 7))),
    ],
)
def test_row_groups_by_example(groups, expected):
    assert parts.of_row_groups([n * MB for n in groups], PART_BYTES) == expected

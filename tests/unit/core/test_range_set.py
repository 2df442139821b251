import pytest

from asyncdl.core.ranges import ByteRange, RangeSet


def ranges(*pairs):
    return [ByteRange(*pair) for pair in pairs]


def set_of(*pairs):
    return RangeSet.of(*ranges(*pairs))


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (5, 5), (6, 5), (-1, 5)])
def test_a_range_is_never_empty_nor_negative(start, stop):
    with pytest.raises(ValueError, match="not a byte range"):
        ByteRange(start, stop)


def test_the_header_names_the_last_byte_itself():
    assert ByteRange(0, 1).header == "bytes=0-0"
    assert ByteRange(1 << 40, (1 << 40) + 500).header == "bytes=1099511627776-1099511628275"


@pytest.mark.parametrize(
    ("pairs", "merged"),
    [
        ([(0, 5), (5, 9)], [(0, 9)]),
        ([(5, 9), (0, 5)], [(0, 9)]),
        ([(0, 5), (6, 9)], [(0, 5), (6, 9)]),
        ([(0, 2), (4, 6), (8, 9), (1, 8)], [(0, 9)]),
        ([(3, 4), (0, 9)], [(0, 9)]),
        ([(0, 9), (3, 4)], [(0, 9)]),
        ([(0, 3), (6, 9), (4, 5)], [(0, 3), (4, 5), (6, 9)]),
    ],
)
def test_what_overlaps_or_touches_is_one_range(pairs, merged):
    assert set_of(*pairs).ranges == tuple(ranges(*merged))


def test_the_front_is_where_the_first_gap_begins():
    assert RangeSet().front == 0
    assert set_of((1, 9)).front == 0
    assert set_of((0, 4), (6, 9)).front == 4


@pytest.mark.parametrize(
    ("within", "gaps"),
    [
        ((0, 10), [(0, 2), (4, 6), (8, 10)]),
        ((2, 4), []),
        ((3, 7), [(4, 6)]),
        ((4, 6), [(4, 6)]),
        ((8, 9), [(8, 9)]),
        ((5, 20), [(5, 6), (8, 20)]),
    ],
)
def test_what_is_missing_of_a_range(within, gaps):
    assert set_of((2, 4), (6, 8)).missing(ByteRange(*within)) == ranges(*gaps)


def test_the_text_form_is_half_open():
    assert str(set_of((0, 1048576), (4194304, 5242880))) == "0-1048576,4194304-5242880"
    assert str(RangeSet()) == ""
    assert RangeSet.parse("") == RangeSet()


@pytest.mark.parametrize(
    "text", ["5", "5-", "-5", "5-5", "9-5", "a-b", "1-2,", ",1-2", "1-2-3", "1-2;3-4", "--1-5", " "]
)
def test_a_text_that_str_did_not_write_is_refused(text):
    with pytest.raises(ValueError):
        RangeSet.parse(text)


def test_parsing_keeps_the_invariant_whatever_the_order():
    assert RangeSet.parse("5-9,0-5").ranges == (ByteRange(0, 9),)

"""What is asked for again of an object that may have changed, and what follows from the answers."""

import pytest

from asyncdl.core.overlap import WINDOW_BYTES, after_overlap, windows
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Pinned

SIZE = 100 << 20
MIB = 1 << 20
DATE, LATER = "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"
OLD = Pinned(SIZE, '"old"')


def decided(pinned, *answers, is_same=True, is_promised=False):
    return after_overlap(pinned, answers, is_same=is_same, is_promised=is_promised)


def said(validator, modified=None):
    """What one answer says by itself."""
    return Pinned(SIZE, validator, modified)


def test_the_first_and_the_last_bytes_of_what_is_there_are_asked_for():
    written = RangeSet.of(ByteRange(MIB, 2 * MIB), ByteRange(5 * MIB, 6 * MIB))
    assert windows(SIZE, written) == (ByteRange(MIB, MIB + WINDOW_BYTES), ByteRange(6 * MIB - WINDOW_BYTES, 6 * MIB))


def test_nothing_but_what_is_there_is_asked_for():
    head, tail = windows(SIZE, RangeSet.of(ByteRange(0, 100), ByteRange(MIB, 2 * MIB), ByteRange(3 * MIB, 3 * MIB + 5)))
    assert (head, tail) == (ByteRange(0, 100), ByteRange(3 * MIB, 3 * MIB + 5))


@pytest.mark.parametrize("n_written", [0, 1, 2 * WINDOW_BYTES - 1])
def test_where_little_is_there_the_first_bytes_are_asked_for_twice(n_written):
    written = RangeSet.of(ByteRange(7, 7 + n_written)) if n_written else RangeSet()
    assert windows(SIZE, written) == (ByteRange(0, WINDOW_BYTES),) * 2
    assert windows(3, RangeSet()) == (ByteRange(0, 3),) * 2


@pytest.mark.parametrize("is_promised", [False, True])
@pytest.mark.parametrize("answers", [['"old"', '"old"'], ['"a"', '"b"'], ['"a"', '"a"'], [None, None]])
def test_other_bytes_are_another_object_whatever_its_validators_say(answers, is_promised):
    assert decided(OLD, *map(said, answers), is_same=False, is_promised=is_promised) is None


@pytest.mark.parametrize("answers", [['"old"', '"old"'], ['"old"', None], [None, None]])
def test_the_same_bytes_under_the_known_validator_or_under_none_change_nothing(answers):
    assert decided(OLD, *map(said, answers)) == OLD


def test_a_known_date_that_comes_beside_an_etag_is_known():
    dated = Pinned(SIZE, DATE)
    assert decided(dated, said('"a"', DATE), said('"b"', DATE)) == dated


@pytest.mark.parametrize("answers", [['"a"', '"b"'], ['"old"', '"b"'], ['"a"', '"old"']])
@pytest.mark.parametrize("is_promised", [False, True])
def test_validators_that_differ_for_the_same_bytes_are_not_asked_any_more(answers, is_promised):
    kept = decided(OLD, *map(said, answers), is_promised=is_promised)
    assert kept == Pinned(SIZE, '"old"', is_fickle=True)


@pytest.mark.parametrize("pinned", [OLD, Pinned(SIZE, '"old"', DATE)])
def test_a_date_that_stays_vouches_where_the_etags_do_not(pinned):
    assert decided(pinned, said('"a"', DATE), said('"b"', DATE)) == Pinned(SIZE, DATE)


@pytest.mark.parametrize("pinned", [Pinned(SIZE, '"old"', DATE), Pinned(SIZE, DATE)])
def test_a_date_that_moved_on_is_another_object_unless_a_digest_judges(pinned):
    answers = said('"a"', LATER), said('"b"', LATER)
    assert decided(pinned, *answers) is None
    assert decided(pinned, *answers, is_promised=True) == Pinned(SIZE, LATER)


@pytest.mark.parametrize("dates", [(DATE, LATER), (DATE, None), (None, DATE)])
def test_a_date_that_does_not_stay_is_as_fickle(dates):
    kept = decided(OLD, said('"a"', dates[0]), said('"b"', dates[1]))
    assert kept == Pinned(SIZE, '"old"', is_fickle=True)


def test_one_new_validator_is_another_object_unless_a_digest_judges():
    answers = said('"new"', DATE), said('"new"', DATE)
    assert decided(OLD, *answers) is None
    assert decided(OLD, *answers, is_promised=True) == Pinned(SIZE, '"new"', DATE)
    assert decided(OLD, said('"new"'), said(None)) is None, "one that says nothing does not make the other fickle"

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.rates import HALF_LIFE_S, Rate, eta_s


def fed(*steps):
    """A Rate that was told (amount, now) each."""
    rate = Rate()
    for amount, now in steps:
        rate.add(amount, now)
    return rate


def test_there_is_no_rate_before_two_calls():
    assert Rate().per_s == 0.0
    assert fed((10**9, 5.0)).per_s == 0.0


def test_the_first_interval_is_the_rate_already():
    assert fed((0, 100.0), (500, 100.5)).per_s == pytest.approx(1000.0)


@given(st.floats(1e-3, 1e12), st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_a_steady_stream_has_its_rate_from_the_start_however_it_is_looked_at(per_s, intervals):
    rate, now = fed((0, 7.0)), 7.0
    for interval in intervals:
        elapsed, now = (now + interval) - now, now + interval
        rate.add(per_s * elapsed, now)
        assert rate.per_s == pytest.approx(per_s)


def test_half_of_the_rate_is_younger_than_the_half_life():
    rate = fed((0, 0.0), (1000 * 10**4, 10.0**4), (0, 10.0**4 + HALF_LIFE_S))
    assert rate.per_s == pytest.approx(500.0, rel=1e-3)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 100_000).map(lambda ms: ms / 1000)), max_size=20))
def test_a_rate_is_never_negative_nor_above_the_fastest_interval(steps):
    rate, now, fastest, waiting = fed((0, 0.0)), 0.0, 0.0, 0
    for amount, interval in steps:
        waiting += amount
        if now + interval > now:
            fastest, waiting = max(fastest, waiting / ((now + interval) - now)), 0
        now += interval
        rate.add(amount, now)
    assert 0.0 <= rate.per_s <= fastest * (1 + 1e-9)
    assert math.isfinite(rate.per_s)


def test_what_comes_in_no_time_is_counted_with_what_comes_next():
    assert fed((0, 1.0), (300, 1.0), (700, 2.0)).per_s == pytest.approx(1000.0)
    assert fed((0, 1.0), (300, 0.5), (700, 2.0)).per_s == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("remaining", "per_s", "expected"),
    [(None, 5.0, None), (0, 0.0, 0.0), (-5, 0.0, 0.0), (100, 0.0, None), (100, 50.0, 2.0)],
)
def test_time_to_go(remaining, per_s, expected):
    assert eta_s(remaining, per_s) == expected

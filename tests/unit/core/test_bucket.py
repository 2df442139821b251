"""The arithmetic of a limit: what is taken is paid for in order, and no burst is longer than BURST_S."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.rates import BURST_S, Bucket

PER_S = 1000.0
BURST = PER_S * BURST_S


def test_a_full_bucket_gives_its_burst_at_once_and_then_the_rate():
    bucket = Bucket(PER_S, 0.0)
    assert bucket.take(BURST, 0.0) == 0.0
    assert bucket.take(100.0, 0.0) == pytest.approx(0.1)
    assert bucket.take(100.0, 0.0) == pytest.approx(0.2)


def test_what_is_not_used_for_long_is_a_burst_and_no_more():
    bucket = Bucket(PER_S, 0.0)
    bucket.take(BURST, 0.0)
    assert bucket.take(BURST + 100.0, 3600.0) == pytest.approx(0.1)


def test_more_than_a_burst_at_once_is_paid_for_later():
    assert Bucket(PER_S, 0.0).take(10 * PER_S, 0.0) == pytest.approx(10.0 - BURST_S)


def test_a_clock_that_steps_back_gives_nothing():
    bucket = Bucket(PER_S, 10.0)
    bucket.take(BURST, 10.0)
    assert bucket.take(0.0, 5.0) == 0.0
    assert bucket.take(100.0, 10.0) == pytest.approx(0.1)


@given(st.lists(st.tuples(st.floats(0.0, 0.5), st.floats(0.0, 600.0)), min_size=1, max_size=60))
def test_in_any_time_no_more_is_paid_for_than_the_rate_and_one_burst_or_one_taking(steps):
    bucket, now, paid = Bucket(PER_S, 0.0), 0.0, []
    for elapsed, amount in steps:
        now += elapsed
        paid.append((now + bucket.take(amount, now), amount))
    assert all(later >= at - 1e-9 for (at, _), (later, _) in pairwise(paid)), "who takes later waits longer"
    for first in range(len(paid)):
        within, largest = 0.0, 0.0
        for at, amount in paid[first:]:
            within, largest = within + amount, max(largest, amount)
            allowed = PER_S * (at - paid[first][0]) + max(BURST, paid[first][1])
            assert within <= allowed + 1e-6

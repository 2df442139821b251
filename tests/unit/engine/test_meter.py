"""The mean of a count is over time, not over changes."""

import pytest

from asyncdl.engine.meter import Gauge


class Clock:
    def __init__(self):
        self.now = 5000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("asyncdl.engine.meter.time", made)
    return made


def test_the_mean_is_over_time(clock):
    gauge = Gauge()
    with gauge:
        clock.now += 3.0
        with gauge:
            clock.now += 1.0
    clock.now += 1.0
    assert gauge.take_mean() == pytest.approx((3 * 1 + 1 * 2 + 1 * 0) / 5)


def test_each_mean_begins_where_the_last_one_ended_and_keeps_the_count(clock):
    gauge = Gauge()
    gauge.add(4)
    clock.now += 1.0
    gauge.take_mean()
    clock.now += 2.0
    gauge.add(-2)
    clock.now += 2.0
    assert gauge.take_mean() == pytest.approx(3.0)


def test_in_no_time_the_mean_is_the_count(clock):
    gauge = Gauge()
    gauge.add(7)
    assert gauge.take_mean() == 7.0


def test_who_leaves_by_an_error_is_not_counted_on(clock):
    gauge = Gauge()
    with pytest.raises(ValueError, match="x"), gauge:
        raise ValueError("x")
    assert gauge.n == 0

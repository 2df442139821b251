"""What several looks tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asyncdl.core.states import State
from asyncdl.status import trend
from asyncdl.status.trend import Trend
from tests.support.shots import NOW, dataset, engine, shot


def followed(shots):
    one = Trend()
    return [one.follow(each) for each in shots]


def at(s, **other):
    return replace(shot(**other), at=NOW + s)


def test_the_rate_of_a_dataset_is_that_of_its_bytes_once_there_was_time_to_tell():
    looks = followed([at(s, datasets=(dataset(done_bytes=100 * s, remaining_bytes=1000),)) for s in range(11)])
    assert [look.datasets[0].per_s for look in looks[:3]] == [None] * 3
    assert looks[-1].datasets[0].per_s == pytest.approx(100)
    assert looks[-1].datasets[0].eta_s == pytest.approx(10)


def test_bytes_that_proved_wrong_are_no_rate():
    done = [0, 1000, 0, 0, 0, 0]
    assert followed([at(s, datasets=(dataset(done_bytes=n),)) for s, n in enumerate(done)])[-1].datasets[0].per_s >= 0


def test_what_is_complete_has_no_rate():
    rows = (dataset(state=State.COMPLETED, remaining_bytes=0),)
    assert followed([at(s, datasets=rows) for s in range(9)])[-1].datasets[0].per_s is None


def test_a_dataset_that_left_the_queue_is_forgotten():
    one = Trend()
    one.follow(at(0))
    one.follow(at(1, datasets=()))
    assert one._datasets == {}


def test_cores_are_those_since_the_beat_before():
    def look(s, beat, cpu_s):
        return at(s, engines=(engine(started_at=NOW - 100, beat_at=NOW + beat, cpu_s=cpu_s, cores=cpu_s / 100),))

    cores = [one.engines[0].cores for one in followed([look(0, 0, 100.0), look(1, 0, 100.0), look(2, 2, 103.0)])]
    assert cores == [1.0, 1.0, 1.5]


def test_an_engine_that_tells_nothing_uses_unknown_cores():
    assert [one.engines[0].cores for one in followed([at(0), at(1, engines=(engine(beat_at=NOW),))])] == [None, None]


def test_rates_are_sampled_once_a_beat_and_the_oldest_go():
    shots = [at(s / 4, per_s=float(s)) for s in range(4 * trend.N_RATES + 40)]
    rates = followed(shots)[-1].rates
    assert len(rates) == trend.N_RATES
    assert rates[-1] - rates[-2] == 4.0

"""What several engines have to do with one host, as one row."""

from __future__ import annotations

import pytest

from asyncdl.status.hosts import HostState, joined
from asyncdl.store.reader import HostRow, TrafficRow


def traffic(n_open, first_byte_s, *, owner="one"):
    return TrafficRow(owner, "h.test", n_open, 16, 1.0, first_byte_s, 0)


@pytest.mark.parametrize(
    ("shares", "mean_s"),
    [
        ([(3, 0.5), (1, 0.1)], 0.4),
        ([(0, 0.5), (2, 0.1)], 0.1),  # who waits for nothing knows only how it was
        ([(0, 0.5), (0, 0.1)], 0.3),
        ([(5, None), (1, 0.25)], 0.25),
        ([(5, None)], None),
    ],
)
def test_the_time_to_the_first_byte_is_the_mean_over_open_requests_of_engines_that_know(shares, mean_s):
    (host,) = joined((), [traffic(*share) for share in shares], {"one"})
    assert host.first_byte_s == (None if mean_s is None else pytest.approx(mean_s))


def test_a_host_of_the_past_and_one_that_is_only_asked_just_now_are_both_there_by_name():
    old = HostRow("old.test", 8, 12, 5.0, 7.0)
    new, foreign = traffic(1, None), traffic(1, None, owner="dead")._replace(host="dead.test")
    assert joined([old], [new, foreign], {"one"}) == (
        HostState(name="h.test", n_open=1, n_allowed=16, per_s=1.0),
        HostState(name="old.test", connections_hint=8, connections_cap=12, paced_at=5.0, closed_until=7.0),
    )


def test_whether_a_host_is_asked_is_a_matter_of_engines_not_of_open_requests():
    (host,) = joined((), [traffic(0, None)], {"one"})
    assert host.is_asked
    assert not HostState(name="h.test", connections_hint=8).is_asked

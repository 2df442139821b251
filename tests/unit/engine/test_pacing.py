"""Why hosts do not get more requests: told of those that have all they get, by what is known of them."""

import pytest

from asyncdl.core.pace import START
from asyncdl.engine.pacing import Pacing
from asyncdl.store.hosts import RememberedPace

HOST = "hub.test"


def opened(pacing, host, n):
    for _ in range(n):
        pacing.opened(host)
    return pacing


@pytest.mark.parametrize(
    ("ceiling", "hint", "state"),
    [(64, None, "searching"), (64, START, "found"), (START, START, "ceiling"), (START, START + 5, "ceiling")],
)
def test_a_host_that_has_all_it_gets_is_told_by_what_is_known_of_it(ceiling, hint, state):
    remembered = [] if hint is None else [RememberedPace(HOST, hint, None)]
    pacing = Pacing(ceiling, remembered)
    assert opened(pacing, HOST, START - 1).state == ""
    assert opened(pacing, HOST, 1).state == state


def test_one_host_that_gives_no_more_is_told_before_one_that_is_still_tried():
    pacing = opened(Pacing(64, [RememberedPace("b.test", 2, None)]), HOST, START)
    assert opened(pacing, "b.test", 2).state == "found"


def test_a_host_that_could_have_more_does_not_count():
    pacing = opened(Pacing(64, [RememberedPace(HOST, 8, None)]), HOST, 8)
    pacing.closed(HOST)
    assert pacing.state == ""


def ticked(pacing):
    """Three ticks of a second each, all requests open, a steady stream coming in."""
    for _ in range(3):
        pacing._ticked_at -= 1.0
        pacing.came(HOST, 1_000_000)
        pacing._tick()
    return pacing


def test_a_ceiling_of_ours_is_not_remembered_as_the_hosts():
    assert ticked(opened(Pacing(2), HOST, 2)).to_remember() == []


def test_nothing_is_learned_of_a_host_while_a_limit_of_ours_is_used_up():
    tried = ticked(opened(Pacing(64), HOST, START))
    assert not tried.is_full(HOST), "more are tried"
    assert ticked(opened(Pacing(64, is_limited=lambda: True), HOST, START)).is_full(HOST)

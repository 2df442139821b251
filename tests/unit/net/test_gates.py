import pytest

from asyncdl.errors import TransferError
from asyncdl.net.gates import BACKOFF_BASE_S, BACKOFF_MAX_S, Gates

HOST, OTHER = "hub.test", "cdn.test"


@pytest.fixture
def told():
    return []


@pytest.fixture
def gates(clock, told):
    return Gates(lambda host, wait_s: told.append((host, wait_s)))


def test_a_gate_is_open_until_it_is_closed(gates):
    gates.check(HOST)
    assert gates.wait_s(HOST) == 0.0


def test_a_closed_gate_raises_the_rest_of_the_pause(gates, clock):
    gates.refused(HOST, 60.0)
    clock.now += 15.0
    with pytest.raises(TransferError) as caught:
        gates.check(HOST)
    assert (caught.value.error_class, caught.value.retry_after_s) == ("rate_limited", 45.0)
    clock.now += 45.0
    gates.check(HOST)


def test_each_host_has_its_own(gates):
    gates.refused(HOST, 60.0)
    gates.check(OTHER)


async def test_who_waits_goes_on_when_the_gate_opens_even_if_it_closed_again_meanwhile(gates, clock):
    gates.refused(HOST, 10.0)
    clock.at_sleep.append(lambda: gates.refused(HOST, 30.0))
    began = clock.now
    await gates.passed(HOST)
    assert clock.now - began == 30.0


async def test_nobody_waits_at_an_open_gate(gates, clock):
    await gates.passed(HOST)
    assert clock.slept == []


def test_a_shorter_pause_does_not_open_it_sooner_and_is_not_told(gates, told):
    gates.refused(HOST, 60.0)
    gates.refused(HOST, 5.0)
    assert gates.wait_s(HOST) == 60.0
    assert told == [(HOST, 60.0)]


def test_a_longer_pause_holds_it_longer(gates, told):
    gates.refused(HOST, 5.0)
    gates.refused(HOST, 60.0)
    assert gates.wait_s(HOST) == 60.0
    assert told == [(HOST, 5.0), (HOST, 60.0)]


def pauses(gates, clock, n):
    found = []
    for _ in range(n):
        gates.refused(HOST, None)
        found.append(gates.wait_s(HOST))
        clock.now += found[-1]
    return found


def test_unexplained_refusals_double_the_pause_up_to_a_bound(gates, clock):
    found = pauses(gates, clock, 2000)
    assert found[:4] == [BACKOFF_BASE_S, BACKOFF_BASE_S * 2, BACKOFF_BASE_S * 4, BACKOFF_BASE_S * 8]
    assert found[-1] == BACKOFF_MAX_S
    assert found == sorted(found)


def test_a_request_that_goes_through_begins_anew(gates, clock):
    pauses(gates, clock, 5)
    gates.accepted(HOST)
    assert pauses(gates, clock, 1) == [BACKOFF_BASE_S]


def test_a_crowd_that_is_refused_together_is_one_refusal(gates, told):
    for _ in range(128):
        gates.refused(HOST, None)
    assert gates.wait_s(HOST) == BACKOFF_BASE_S
    assert len(told) == 1


def test_a_pause_of_nothing_closes_nothing(gates):
    gates.refused(HOST, 0.0)
    gates.check(HOST)


def test_it_shows_which_gates_are_closed(gates):
    gates.refused(HOST, 60.0)
    assert repr(gates) == "<Gates {'hub.test': 60.0}>"

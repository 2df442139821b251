import pytest

from asyncdl.core.hops import ClosedGate, GateName
from asyncdl.core.reply import MAX_RETRY_AFTER_S
from asyncdl.errors import TransferError
from asyncdl.net.gates import BACKOFF_BASE_S, BACKOFF_MAX_S, KEPT_FROM_S, Gates

FILES, API, OTHER = GateName("hub.test", "resolvers"), GateName("hub.test", "api"), GateName("cdn.test")
UTC_NOW = 1_700_000_000.0


@pytest.fixture
def told():
    return []


@pytest.fixture
def stepped():
    return []


@pytest.fixture
def gates(clock, told, stepped):
    return Gates(lambda host, wait_s: told.append((host, wait_s)), stepped.append)


def test_a_gate_is_open_until_it_is_closed(gates):
    gates.check(FILES)
    assert gates.wait_s(FILES) == 0.0


def test_a_closed_gate_raises_the_rest_of_the_pause(gates, clock):
    gates.refused(FILES, 60.0)
    clock.now += 15.0
    with pytest.raises(TransferError, match=r"hub\.test \(resolvers\)") as caught:
        gates.check(FILES)
    assert (caught.value.error_class, caught.value.retry_after_s) == ("rate_limited", 45.0)
    clock.now += 45.0
    gates.check(FILES)


def test_each_host_and_each_class_of_requests_has_its_own(gates):
    gates.refused(FILES, 60.0)
    gates.check(API)
    gates.check(OTHER)


def test_somebody_may_ask_whether_any_gate_is_closed(gates, clock):
    assert not gates.is_any_closed
    gates.refused(FILES, 60.0)
    gates.accepted(OTHER)
    assert gates.is_any_closed
    clock.now += 60.0
    assert not gates.is_any_closed


async def test_who_waits_goes_on_when_the_gate_opens_even_if_it_closed_again_meanwhile(gates, clock):
    gates.refused(FILES, 10.0)
    clock.at_sleep.append(lambda: gates.refused(FILES, 30.0))
    began = clock.now
    await gates.passed(FILES)
    assert clock.now - began == 30.0


async def test_nobody_waits_at_an_open_gate(gates, clock):
    await gates.passed(FILES)
    assert clock.slept == []


def test_a_shorter_pause_does_not_open_it_sooner_and_is_not_told(gates, told):
    gates.refused(FILES, 60.0)
    gates.refused(FILES, 5.0)
    assert gates.wait_s(FILES) == 60.0
    assert told == [("hub.test", 60.0)]


def test_a_longer_pause_holds_it_longer(gates, told):
    gates.refused(FILES, 5.0)
    gates.refused(FILES, 60.0)
    assert gates.wait_s(FILES) == 60.0
    assert told == [("hub.test", 5.0), ("hub.test", 60.0)]


def test_a_crowd_that_is_asked_for_the_same_pause_one_after_the_other_is_one_piece_of_news(gates, clock, told):
    for _ in range(100):
        gates.refused(FILES, 60.0)
        clock.now += 0.005
    assert gates.wait_s(FILES) == pytest.approx(59.995)
    assert told == [("hub.test", 60.0)]


def pauses(gates, clock, n):
    found = []
    for _ in range(n):
        gates.refused(FILES, None)
        found.append(gates.wait_s(FILES))
        clock.now += found[-1]
    return found


def test_unexplained_refusals_double_the_pause_up_to_a_bound(gates, clock):
    found = pauses(gates, clock, 2000)
    assert found[:4] == [BACKOFF_BASE_S, BACKOFF_BASE_S * 2, BACKOFF_BASE_S * 4, BACKOFF_BASE_S * 8]
    assert found[-1] == BACKOFF_MAX_S
    assert found == sorted(found)


def test_a_request_that_goes_through_begins_anew(gates, clock):
    pauses(gates, clock, 5)
    gates.accepted(FILES)
    assert pauses(gates, clock, 1) == [BACKOFF_BASE_S]


def test_what_goes_through_another_gate_of_the_host_says_nothing(gates, clock):
    pauses(gates, clock, 2)
    gates.accepted(API)
    assert pauses(gates, clock, 1) == [BACKOFF_BASE_S * 4]


def test_a_crowd_that_is_refused_together_is_one_refusal(gates, told):
    for _ in range(128):
        gates.refused(FILES, None)
    assert gates.wait_s(FILES) == BACKOFF_BASE_S
    assert len(told) == 1


def test_a_pause_of_nothing_closes_nothing_and_is_not_told(gates, told):
    gates.refused(FILES, 0.0)
    gates.check(FILES)
    assert told == []


def test_it_shows_which_gates_are_closed(gates):
    gates.refused(FILES, 60.0)
    assert repr(gates) == "<Gates {'hub.test (resolvers)': 60.0}>"


# who steps down


@pytest.mark.parametrize("retry_after_s", [60.0, None])
def test_a_refusal_is_told_once_for_all_that_were_under_way(gates, clock, stepped, retry_after_s):
    for _ in range(128):
        gates.refused(OTHER, retry_after_s)
    assert stepped == ["cdn.test"]
    clock.now += 60.0
    gates.refused(OTHER, retry_after_s)
    assert stepped == ["cdn.test"] * 2


def test_a_refusal_without_a_pause_is_told_each_time(gates, stepped):
    gates.refused(OTHER, 0.0)
    gates.refused(OTHER, 0.0)
    assert stepped == ["cdn.test"] * 2


def test_a_quota_that_is_used_up_is_no_refusal(gates, stepped, told):
    gates.spent(API, 30.0)
    assert gates.wait_s(API) == 30.0
    assert stepped == []
    assert told == [("hub.test", 30.0)]


# from one engine to the next


def test_a_long_pause_is_kept_until_the_moment_when_it_ends(gates, clock):
    gates.refused(FILES, 60.0)
    gates.spent(API, 30.0)
    clock.now += 10.0
    assert gates.to_keep(UTC_NOW) == [ClosedGate(API, UTC_NOW + 20.0), ClosedGate(FILES, UTC_NOW + 50.0)]


def test_what_is_kept_is_given_once_and_again_when_the_pause_grows(gates, clock):
    gates.refused(FILES, 60.0)
    assert len(gates.to_keep(UTC_NOW)) == 1
    gates.refused(FILES, 30.0)
    assert gates.to_keep(UTC_NOW) == []
    gates.refused(FILES, 90.0)
    assert gates.to_keep(UTC_NOW) == [ClosedGate(FILES, UTC_NOW + 90.0)]


def test_a_short_pause_is_not_worth_keeping(gates):
    gates.refused(FILES, KEPT_FROM_S)
    assert gates.to_keep(UTC_NOW) == []


def test_a_pause_that_is_over_is_not_kept(gates, clock):
    gates.refused(FILES, 60.0)
    clock.now += 60.0
    assert gates.to_keep(UTC_NOW) == []


def test_what_an_earlier_engine_kept_is_closed_for_the_rest_told_and_not_kept_again(gates, told):
    gates.restore([ClosedGate(FILES, UTC_NOW + 50.0), ClosedGate(OTHER, UTC_NOW - 1.0)], UTC_NOW)
    assert (gates.wait_s(FILES), gates.wait_s(OTHER), gates.wait_s(API)) == (50.0, 0.0, 0.0)
    assert told == [("hub.test", 50.0)]
    assert gates.to_keep(UTC_NOW) == []


def test_a_clock_that_jumped_closes_no_gate_for_longer_than_the_longest_pause(gates):
    gates.restore([ClosedGate(FILES, UTC_NOW + 10 * 365 * 86400.0)], UTC_NOW)
    assert gates.wait_s(FILES) == MAX_RETRY_AFTER_S

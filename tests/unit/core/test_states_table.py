"""The table of a job's life is closed: no state is lost, none is a trap, and ends are left by revival alone."""

from itertools import product

import pytest

from asyncdl.core.states import TRANSITIONS, Event, State, legal_steps

ENDS = {State.COMPLETED, State.DISCARDED, State.CANCELLED}


def test_every_event_has_a_place():
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_every_state_can_be_reached_from_the_first_one():
    reached = {State.AVAILABLE}
    while more := {after for before, after in legal_steps() if before in reached} - reached:
        reached |= more
    assert reached == set(State)


@pytest.mark.parametrize("end", sorted(ENDS))
def test_an_end_is_left_for_another_run_by_revival_alone(end):
    left = {event: after for (before, event), after in TRANSITIONS.items() if before is end and after not in ENDS}
    assert left == {Event.REVIVE: State.AVAILABLE}


def test_the_one_way_from_end_to_end_is_that_nobody_waits_for_a_discarded_job_any_more():
    ways = [key for key, after in TRANSITIONS.items() if key[0] in ENDS and after in ENDS]
    assert ways == [(State.DISCARDED, Event.CANCEL)]


def test_a_job_runs_by_claim_alone():
    assert [key for key, after in TRANSITIONS.items() if after is State.RUNNING] == [(State.AVAILABLE, Event.CLAIM)]


def test_a_running_job_can_come_to_every_other_state():
    assert {after for before, after in legal_steps() if before is State.RUNNING} == set(State) - {State.RUNNING}


@pytest.mark.parametrize("event", [Event.COMPLETE, Event.RETRY, Event.PARK, Event.DISCARD, Event.RELEASE])
def test_only_a_running_job_is_settled(event):
    assert [before for before, one in TRANSITIONS if one is event] == [State.RUNNING]


def test_the_steps_are_those_of_the_table_and_none_stands_still():
    by_hand = {
        (before, TRANSITIONS[before, event])
        for before, event in product(State, Event)
        if (before, event) in TRANSITIONS
    }
    assert legal_steps() == by_hand
    assert all(before is not after for before, after in by_hand)

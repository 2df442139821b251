"""What bounds an engine, by figures that each say one thing: the surest word wins, and one odd second says nothing."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import get_args

import pytest

from asyncdl.core.bound import (
    _RULES,
    BOUNDS,
    BUSY_CORE,
    N_AGREE,
    N_LOOKS,
    SPENT_SHARE,
    WAITS_SHARE,
    Bound,
    Figures,
    bound_of,
    sentence,
    told,
)
from tests.support.sources_of import ROOT

FREE = Figures(
    n_left=100,
    is_disk_full=False,
    is_out_of_handles=False,
    rate_spent=0.0,
    is_gate_closed=False,
    n_open=8.0,
    n_slots=128,
    n_on_disk=0.4,
    are_threads_full=False,
    loop_cores=0.2,
    engine_cores=0.4,
    n_cores=4,
    loop_waits=0.01,
    pace="searching",
    is_per_host=False,
    n_tasks=0,
    n_processes=3,
)
"""An engine on its way up: nothing bounds it that anybody could name."""

NOTHING_OPEN = {"n_open": 0.0, "n_on_disk": 0.0, "pace": ""}

ALONE: list[tuple[Bound, dict[str, object]]] = [
    ("", {}),
    ("disk-full", {"is_disk_full": True}),
    ("handles", {"is_out_of_handles": True}),
    ("max-rate", {"rate_spent": SPENT_SHARE}),
    ("host-pause", NOTHING_OPEN | {"is_gate_closed": True}),
    ("host-pause", {"is_gate_closed": True, "n_open": 3.0, "pace": ""}),
    ("pool", NOTHING_OPEN | {"n_tasks": 3}),
    ("cpu", {"loop_cores": BUSY_CORE}),
    ("cpu", {"engine_cores": 4 * BUSY_CORE}),
    ("cpu", {"loop_waits": WAITS_SHARE}),
    ("cpu", {"loop_cores": BUSY_CORE - 0.1, "loop_waits": 0.1}),
    ("disk", {"n_on_disk": 4.0}),
    ("disk", {"are_threads_full": True}),
    ("per-host", {"n_open": 4.0, "pace": "ceiling", "is_per_host": True}),
    ("slots", {"n_open": 127.0, "pace": "ceiling"}),
    ("slots", {"n_open": 120.0, "pace": "found"}),
    ("host", {"pace": "found"}),
    ("host", {"pace": "", "n_open": 1.0, "n_on_disk": 0.0}),
    ("idle", NOTHING_OPEN),
]


@pytest.mark.parametrize(("word", "figures"), ALONE)
def test_each_bound_is_told_by_its_figures(word, figures):
    assert bound_of(FREE._replace(**figures)) == word


def test_every_word_has_its_figures_here_and_a_sentence():
    assert {word for word, _ in ALONE} == set(get_args(Bound)) == {*BOUNDS, ""} == {word for word, _ in _RULES} | {""}
    assert all(meaning.sentence for meaning in BOUNDS.values())
    assert {word for word, meaning in BOUNDS.items() if not meaning.option} == {"idle"}


def test_the_manual_has_every_word_in_the_order_in_which_they_are_asked():
    manual = (ROOT / "docs" / "CLI.md").read_text().partition("### Why is it slow?")[2].partition("\n#")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", manual, re.MULTILINE) == [word for word, _ in _RULES]


@pytest.mark.parametrize(("surer", "other"), list(pairwise(word for word, _ in _RULES)))
def test_the_surer_word_wins_where_both_hold(surer, other):
    figures = dict(ALONE)
    both = FREE._replace(**figures[other] | figures[surer])
    assert bound_of(both) == surer


def test_threads_that_wait_for_a_core_are_not_a_slow_disk():
    assert bound_of(FREE._replace(loop_cores=0.9, n_on_disk=8.0, are_threads_full=True)) == "cpu"


def test_a_closed_gate_bounds_nothing_while_others_take_all_they_get():
    assert bound_of(FREE._replace(is_gate_closed=True, pace="found")) == "host"
    assert bound_of(FREE._replace(is_gate_closed=True, pace="", n_open=125.0)) == "slots"


def test_a_gate_that_nobody_wants_to_pass_bounds_nothing():
    assert bound_of(FREE._replace(**NOTHING_OPEN, is_gate_closed=True, n_left=0)) == "idle"


def test_a_trial_of_fewer_requests_does_not_hide_that_more_would_pay():
    assert bound_of(FREE._replace(n_open=110.0, pace="ceiling")) == "slots"


def test_while_the_pace_is_sought_nobody_knows_what_bounds():
    assert bound_of(FREE._replace(n_open=64.0, pace="searching")) == ""


def test_a_pool_with_a_free_process_is_not_full():
    assert bound_of(FREE._replace(**NOTHING_OPEN, n_tasks=2)) == ""


def test_of_one_request_now_and_then_the_disk_is_not_to_blame():
    assert bound_of(FREE._replace(n_open=0.1, n_on_disk=0.09, pace="")) == "idle"


# --- what is told


def test_a_word_is_told_once_it_was_found_often_enough_and_no_sooner():
    assert told(()) == ""
    assert told(["disk"] * (N_AGREE - 1)) == ""
    assert told(["disk"] * N_AGREE) == "disk"


def test_one_odd_look_changes_nothing():
    assert told(["disk", "disk", "cpu", "disk"]) == "disk"
    assert told(["disk", "disk", "disk", "", "cpu"]) == "disk"


def test_looks_that_do_not_agree_leave_nothing_said():
    assert told(["disk", "cpu", "disk", "cpu", "host"]) == ""


def test_what_was_found_long_ago_does_not_count():
    assert told(["disk"] * 50 + ["cpu"] * N_AGREE) == "cpu"
    assert told(["disk"] * 50 + ["cpu"] * (N_LOOKS - N_AGREE)) == "disk"


# --- what is said


def test_a_sentence_names_the_option_that_would_help():
    assert sentence("slots") == "every slot is taken; raise --workers"
    assert sentence("idle") == "what is left waits for its next try, or nothing is left"


def test_of_an_unknown_word_nothing_is_said():
    assert sentence("") == sentence("word-of-a-newer-version") == ""

"""What the dashboards do to a queue: each form that they send is understood, changes the queue and says so."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from asyncdl.cli.actions import actions_of, board_actions
from asyncdl.errors import ConfigError, UsageError
from asyncdl.status.focus import Target
from asyncdl.status.web_actions import SCOPES
from asyncdl.store.migrate import open_writer
from asyncdl.store.reader import Reader
from asyncdl.store.steering import Steering

JOBS = """
INSERT INTO dataset VALUES (1, 'org/a', 'r1', 'data', 'url', 'http://a.test', 'raw/a', 'text', 1.0),
                           (2, 'org/a', 'r1', 'more', 'url', 'http://a.test', 'raw/a', 'text', 1.0);
INSERT INTO job (dataset_id, kind, path, run_at, created_at) VALUES (1, 'download', 'x', 1, 1), (2, 'download', 'y', 1, 1);
UPDATE job SET state = 'running', owner = 'me', lease_until = 1;
UPDATE job SET state = 'discarded', owner = NULL, lease_until = NULL, ended_at = 1, error_class = 'not_found';
"""


@pytest.fixture
def found(tmp_path):
    connection = open_writer(tmp_path / "queue.sqlite")
    connection.execute(JOBS)
    connection.close()
    return SimpleNamespace(queue=tmp_path / "queue.sqlite")


def counts(found):
    with Reader(found.queue) as reader:
        return reader.job_counts()["download"]


def paused(found):
    with Reader(found.queue) as reader:
        return [(row.what, row.name) for row in reader.paused()]


GIVEN = {
    "kind": "download", "dataset": "org/a", "host": "a.test", "error_class": "not_found", "job_id": 1, "revision": "r1",
    "subset": "data",
}  # fmt: skip


@pytest.mark.parametrize(("name", "scope"), [(name, scope) for name, scopes in SCOPES.items() for scope in scopes])
def test_every_button_of_the_page_is_done_and_said_in_a_sentence(found, name, scope):
    said = actions_of(found)[name](**{key: GIVEN[key] for key in scope})
    assert said
    assert "\n" not in said


def test_the_page_has_a_button_for_each_action(found):
    assert set(actions_of(found)) == set(SCOPES)


@pytest.mark.parametrize(("what", "name"), [("kind", "download"), ("dataset", "org/a"), ("host", "a.test")])
def test_pause_and_resume_change_the_queue_and_say_whether_they_did(found, what, name):
    actions = actions_of(found)
    assert actions["resume"](**{what: name}) == f"{what} {name} was not paused"
    assert actions["pause"](**{what: name}) == f"{what} {name} is paused"
    assert actions["pause"](**{what: name}) == f"{what} {name} was paused already"
    assert paused(found) == [(what, name)]
    assert actions["resume"](**{what: name}) == f"{what} {name} goes on"
    assert paused(found) == []


@pytest.mark.parametrize(("what", "name"), [("kind", "dowload"), ("dataset", "org/c"), ("host", "cdn.test")])
def test_only_what_the_queue_has_can_be_paused_but_what_is_paused_and_gone_can_be_resumed(found, what, name):
    with pytest.raises(UsageError, match=f"there is no {what}"):
        actions_of(found)["pause"](**{what: name})
    if what == "host":
        with pytest.raises(UsageError, match="there is no host"):
            board_actions(found)["pause"](Target("host", name))
    assert paused(found) == []
    if what != "kind":
        with Steering(found.queue) as steering:
            steering.pause([(what, name)], now=1.0)
        assert actions_of(found)["resume"](**{what: name}) == f"{what} {name} goes on"


def test_a_retry_counts_what_is_paused_apart(found):
    actions = actions_of(found)
    actions["pause"](dataset="org/a")
    assert actions["retry"](job_id=1) == "1 job paused, to be tried when resumed"
    assert actions["retry"](job_id=1) == "nothing to try again"
    actions["resume"](dataset="org/a")
    assert actions["retry"](job_id=2) == "1 job tried again"


def test_retry_takes_a_class_of_errors_or_one_job(found):
    retry = actions_of(found)["retry"]
    assert retry(kind="verify", error_class="not_found") == "nothing to try again"
    assert retry(kind="download", error_class="timeout") == "nothing to try again"
    assert retry(job_id=1) == "1 job tried again"
    assert counts(found) == {"available": 1, "discarded": 1}
    assert retry(kind="download", error_class="not_found") == "1 job tried again"


def test_cancel_ends_one_subset_and_leaves_the_others(found):
    cancel = actions_of(found)["cancel"]
    assert cancel(dataset="org/a", revision="r1", subset="more").startswith("1 job of org/a cancelled")
    assert counts(found) == {"cancelled": 1, "discarded": 1}
    assert cancel(dataset="org/a").startswith("1 job of org/a cancelled")


def test_the_keys_of_the_board_pause_resume_and_retry_what_is_chosen(found):
    actions = board_actions(found)
    for target in (Target("dataset", "org/a", "data", "r1"), Target("host", "a.test")):
        assert actions["pause"](target).endswith("is paused")
        assert paused(found) == [(target.section, target.name)]
        assert actions["pause"](target).endswith("goes on")
    assert actions["retry"](Target("error", "not_found", kind="download")) == "2 jobs tried again"


def test_what_names_nothing_or_too_much_is_refused_and_what_comes_from_outside_is_shown_safely(found):
    actions = actions_of(found)
    for given in ({}, {"kind": "download", "host": "x"}):
        with pytest.raises(UsageError):
            actions["pause"](**given)
    assert "\x1b" not in actions["cancel"](dataset="\x1b[2J")
    found.queue.unlink()
    with pytest.raises(ConfigError):
        actions["pause"](kind="verify")

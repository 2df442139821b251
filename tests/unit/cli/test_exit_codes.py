"""The exit code of `run`, for every way it can end."""

from __future__ import annotations

import signal

import pytest

from asyncdl.cli.exit_codes import CREDENTIALS, exit_code
from asyncdl.core.retry import REFUSED_CONTENT, TREATMENTS, UNREACHABLE
from asyncdl.errors import DiskFailedError, StoreError


@pytest.mark.parametrize(
    ("reason", "n_unfinished", "classes", "code"),
    [
        ("empty", 0, set(), 0),
        ("empty", 0, {"not_found"}, 1),
        ("empty", 0, {"dns", "timeout"}, 5),
        ("empty", 0, {"dns", "not_found"}, 1),
        ("empty", 0, {"dns", "not_found", "bad_pages"}, 6),
        ("empty", 0, {"unauthorized", "bad_token", "gated"}, 3),
        ("empty", 0, {"gated", "not_found"}, 1),
        ("empty", 3, set(), 7),
        ("drained", 3, {"bad_pages"}, 7),
        ("drained", 0, set(), 0),
        ("drained", 0, {"bad_pages"}, 6),
        ("stopped", 3, {"dns"}, 7),
    ],
)
def test_the_exit_code_says_how_a_run_ended(reason, n_unfinished, classes, code):
    assert exit_code(reason, n_unfinished, classes) == code


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_a_signal_stopped_ends_as_shells_expect(signum, code):
    assert exit_code("stopped", 0, set(), signum) == code
    assert exit_code("stopped", 5, {"bad_pages"}, signum) == code


def test_every_class_of_error_leads_to_a_documented_code():
    assert {exit_code("empty", 0, {name}) for name in TREATMENTS} == {1, 3, 5, 6}
    assert TREATMENTS.keys() >= CREDENTIALS
    assert not UNREACHABLE & REFUSED_CONTENT


@pytest.mark.parametrize("error", [StoreError, DiskFailedError])
def test_what_a_person_must_mend_on_this_machine_is_not_called_a_discarded_job(error):
    assert error.exit_code == 3

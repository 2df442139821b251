import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.reply import MAX_RETRY_AFTER_S, retry_after_s

MOMENT = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
NOW = MOMENT.timestamp()


def wait(retry_after=None, *, limit=None, status=429):
    headers = {"retry-after": retry_after, "ratelimit": limit}
    return retry_after_s(status, {name: value for name, value in headers.items() if value is not None}, NOW)


def test_nothing_said_is_none():
    assert wait() is None


@pytest.mark.parametrize(("text", "wait_s"), [("0", 0.0), ("120", 120.0), (" 5 ", 5.0), ("007", 7.0)])
def test_seconds(text, wait_s):
    assert wait(text) == wait_s


@pytest.mark.parametrize("text", ["3601", "86400", "9" * 400, "9" * 5000])
def test_no_pause_is_longer_than_the_longest(text):
    assert wait(text) == MAX_RETRY_AFTER_S


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "1.5", "1e3", "Sun, 32 Nov 2026 12:00:00 GMT", "12:00", "GMT", "0x10"]
)
def test_what_cannot_be_read_is_none(text):
    assert wait(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Fri, 20 Nov 2026 12:01:30 GMT",
        "Friday, 20-Nov-26 12:01:30 GMT",
        "Fri Nov 20 12:01:30 2026",
        "Fri, 20 Nov 2026 13:01:30 +0100",
        "Fri, 20 Nov 2026 12:01:30 -0000",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_date_is_read_in_all_its_forms_wherever_this_machine_stands(text, zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert wait(text) == 90.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_that_has_passed_is_no_pause():
    assert wait(format_datetime(MOMENT - timedelta(hours=1), usegmt=True)) == 0.0


def test_a_date_far_off_is_the_longest_pause():
    assert wait(format_datetime(MOMENT + timedelta(days=400), usegmt=True)) == MAX_RETRY_AFTER_S


@given(st.datetimes(), st.integers(-23, 23))
def test_any_date_gives_a_pause_within_bounds(moment, hours):
    pause = wait(format_datetime(moment.replace(tzinfo=timezone(timedelta(hours=hours)))))
    assert pause is None or 0.0 <= pause <= MAX_RETRY_AFTER_S


@given(st.text(), st.text())
def test_no_header_whatever_is_more_than_an_absent_one(retry_after, limit):
    pause = wait(retry_after, limit=limit)
    assert pause is None or 0.0 <= pause <= MAX_RETRY_AFTER_S


@pytest.mark.parametrize(
    "limit", ['"resolvers";r=0;t=172', "resolvers;r=0;t=172", '"resolvers" ; r=0 ; t=172', '"api";r=9;t=300, "resolvers";r=0;t=172', '"a";r=0;t=9, "b";r=0;t=172', '"api";r=00;t=172']
)  # fmt: skip
def test_a_spent_quota_opens_a_second_after_its_window(limit):
    assert wait(limit=limit) == 173.0
    assert wait("5", limit=limit) == 173.0


def test_a_quota_with_something_left_is_not_the_one_that_refused():
    assert wait(limit='"api";r=949;t=271') is None
    assert wait("60", limit='"api";r=949;t=271') == 60.0


@pytest.mark.parametrize("status", [200, 408, 500, 503])
def test_a_spent_quota_says_nothing_of_other_refusals(status):
    assert wait(limit='"resolvers";r=0;t=172', status=status) is None


@pytest.mark.parametrize(
    "limit", ["", "r=0", '"x";r=0', '"x";t=5', "rubbish", '"x";r=-1;t=5', '"x";r=0;t=' + "9" * 5000]
)
def test_a_quota_that_cannot_be_read_is_none(limit):
    assert wait(limit=limit) in (None, MAX_RETRY_AFTER_S)

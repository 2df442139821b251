import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.retry import (
    BASE_DELAY_S,
    MAX_DELAY_S,
    MAX_FAILURES,
    MAX_MISMATCHES,
    MAX_STREAK,
    REFUSED_CONTENT,
    SEGMENT_MAX_DELAY_S,
    TREATMENTS,
    UNREACHABLE,
    Discard,
    Failure,
    RetryAt,
    Treatment,
    after_attempt,
    after_request,
    full_jitter,
)

NOW = 1_000.0
ALMOST_1 = 0.999999


def classes(*treatments):
    return sorted(name for name, meaning in TREATMENTS.items() if meaning.treatment in treatments)


def verdict(error_class, *, failures=0, n_mismatches=0, progressed=False, retry_after_s=None, jitter=0.5):
    failure = Failure(
        error_class=error_class, failures=failures, n_mismatches=n_mismatches, progressed=progressed,
        retry_after_s=retry_after_s,
    )  # fmt: skip
    return after_attempt(failure, now=NOW, jitter=jitter)


# one failed attempt


def test_what_a_person_must_mend_is_discarded_at_once():
    for error_class in classes(Treatment.NEVER):
        assert verdict(error_class) == Discard()
        assert verdict(error_class, progressed=True, retry_after_s=5.0) == Discard()


def test_what_may_pass_is_tried_again_and_charged():
    for error_class in classes(Treatment.AGAIN, Treatment.PARK, Treatment.ANEW):
        assert verdict(error_class) == RetryAt(NOW + BASE_DELAY_S / 2, counts=True)


def test_it_is_discarded_when_it_failed_as_often_as_may_be():
    for error_class in classes(Treatment.AGAIN, Treatment.PARK, Treatment.ANEW):
        assert isinstance(verdict(error_class, failures=MAX_FAILURES - 2), RetryAt)
        assert verdict(error_class, failures=MAX_FAILURES - 1) == Discard()


def test_an_attempt_that_brought_bytes_is_not_charged_and_waits_as_if_it_were_the_first():
    for error_class in classes(Treatment.AGAIN, Treatment.PARK, Treatment.ANEW):
        assert verdict(error_class, failures=500, progressed=True) == RetryAt(NOW + BASE_DELAY_S / 2, counts=False)


@pytest.mark.parametrize("failures", [0, MAX_FAILURES, 500])
def test_a_pause_that_was_asked_for_costs_nothing_however_often(failures):
    for error_class in classes(Treatment.PARK):
        assert verdict(error_class, failures=failures, retry_after_s=60.0) == RetryAt(NOW + 90.0, counts=False)


def test_who_was_sent_away_together_comes_back_spread_over_as_long_as_the_pause_but_at_most_a_minute():
    for error_class in classes(Treatment.PARK):
        assert verdict(error_class, retry_after_s=10.0) == RetryAt(NOW + 15.0, counts=False)
        assert verdict(error_class, retry_after_s=600.0) == RetryAt(NOW + 630.0, counts=False)
        assert verdict(error_class, retry_after_s=0.0) == RetryAt(NOW, counts=False)


def test_a_failure_that_names_a_pause_is_charged_and_waits_at_least_that_long():
    for error_class in classes(Treatment.AGAIN):
        assert verdict(error_class, retry_after_s=60.0) == RetryAt(NOW + 60.0, counts=True)
        late = verdict(error_class, failures=8, retry_after_s=0.001, jitter=ALMOST_1)
        assert late.run_at > NOW + 1.0


def test_wrong_content_is_fetched_again_just_so_often():
    for n in range(MAX_MISMATCHES):
        assert verdict("digest_mismatch", n_mismatches=n) == RetryAt(NOW, counts=False)
    assert verdict("digest_mismatch", n_mismatches=MAX_MISMATCHES) == Discard()


def test_a_job_is_not_charged_for_a_broken_machine():
    for error_class in classes(Treatment.STOP):
        assert verdict(error_class, failures=500) == RetryAt(NOW, counts=False)


def test_delays_grow_to_a_bound():
    delays = [verdict("timeout", failures=n, jitter=ALMOST_1).run_at - NOW for n in range(MAX_FAILURES - 1)]
    assert delays == sorted(delays)
    assert delays[0] <= BASE_DELAY_S
    assert all(delay <= MAX_DELAY_S for delay in delays)
    assert sum(delays) > MAX_DELAY_S


# one failed request


def test_a_request_is_repeated_within_its_attempt_until_the_streak_is_too_long():
    for error_class in classes(Treatment.AGAIN, Treatment.PARK):
        for streak in range(1, MAX_STREAK):
            assert after_request(error_class, streak, ALMOST_1) <= SEGMENT_MAX_DELAY_S
        assert after_request(error_class, MAX_STREAK, 0.0) is None


def test_a_request_is_not_repeated_where_that_cannot_help():
    for error_class in classes(Treatment.ANEW, Treatment.QUARANTINE, Treatment.NEVER, Treatment.STOP):
        assert after_request(error_class, 1, 0.0) is None


# full jitter


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e4), st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_jittered_delay_stays_within_its_bounds(base_s, max_s, n, jitter):
    delay_s = full_jitter(base_s, max_s, n, jitter)
    assert 0.0 <= delay_s <= max_s
    assert delay_s <= base_s * 2.0 ** min(n, 100)


def test_jitter_spreads_over_the_whole_interval():
    assert full_jitter(1.0, 100.0, 3, 0.0) == 0.0
    assert full_jitter(1.0, 100.0, 3, 0.5) == 4.0
    assert full_jitter(1.0, 100.0, 20, 0.5) == 50.0


# the table as a whole


def test_the_summaries_know_no_class_that_the_table_does_not():
    assert set(TREATMENTS) >= UNREACHABLE
    assert set(TREATMENTS) >= REFUSED_CONTENT
    assert not UNREACHABLE & REFUSED_CONTENT


def test_what_is_unreachable_may_be_reachable_later():
    assert all(TREATMENTS[name].treatment in (Treatment.AGAIN, Treatment.PARK) for name in UNREACHABLE)


def test_every_class_says_what_can_be_done():
    assert all(meaning.hint for meaning in TREATMENTS.values())


@pytest.mark.parametrize("retry_after_s", [None, 0.0, 3600.0])
def test_every_class_has_a_verdict_that_does_not_lie_in_the_past(retry_after_s):
    for error_class in sorted(TREATMENTS):
        for failures in (0, MAX_FAILURES):
            found = verdict(error_class, failures=failures, retry_after_s=retry_after_s, jitter=0.0)
            assert isinstance(found, Discard) or found.run_at >= NOW

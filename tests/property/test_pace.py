"""Whatever the host is like, the pace finds within 5 % what the best fixed count would have brought, and stays gentle.

The bar holds for a transfer of ten minutes. Two minutes are shown with bars of their own: the way up costs four
seconds of them, and a host that refuses has to be asked too much before anybody knows how much that is.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core.pace import CAP_FRESH_S, QUOTA_SPAN_S, TICK_S, Pace
from tests.support.simulated_host import (
    Fixed,
    Host,
    MiB,
    Throttle,
    best_fixed,
    capped_link,
    changing,
    collapsing,
    each_capped,
    flat_then_collapsing,
    good_counts,
    replay,
    thrashing,
)

CEILING = 128
LONG_S = 600.0
SHORT_S = 120.0
SEEDS = range(5)

NARROW_LINK = Host("a link full with 10", capped_link(5 * MiB, 50 * MiB, 0.002))
EACH_CAPPED = Host("2 MiB/s for each of many", each_capped(2 * MiB))
REFUSES_MORE_THAN_20 = Host("429 for more than 20", each_capped(4 * MiB), Throttle(5.0, max_open=20))
FREE = [
    NARROW_LINK,
    Host("a link full with 5, dear connections", capped_link(5 * MiB, 21 * MiB, 0.005)),
    Host("a link full with 70", capped_link(1 * MiB, 70 * MiB, 0.001)),
    EACH_CAPPED,
    Host("best with 10, then collapsing", thrashing(5 * MiB, 10, 6)),
    Host("best with 24, then collapsing", thrashing(5 * MiB, 24, 4)),
    Host("full with 20, collapsing past 40", flat_then_collapsing(5 * MiB, 20, 40)),
]
COUNTING = [
    REFUSES_MORE_THAN_20,
    Host("429 for more than 7", each_capped(4 * MiB), Throttle(5.0, max_open=7)),
]
QUOTAS = [
    Host("429 after 100 requests in 10 s", each_capped(4 * MiB), Throttle(2.0, n_requests=100)),
    Host("429 after 900 requests in 60 s", each_capped(4 * MiB), Throttle(20.0, n_requests=900, window_s=60.0)),
]
REFUSING = COUNTING + QUOTAS
KNIVES = [Host(f"one more than {knee} is too many", collapsing(5 * MiB, knee)) for knee in (8, 24, 100)]


def share_of_best(host, *, duration_s=LONG_S, seed=0, noise=0.2, ceiling=CEILING, **learned):
    """Bytes of the pace as a share of those of the best fixed count, in the same weather."""
    mine = replay(host, Pace(ceiling=ceiling, **learned), duration_s=duration_s, seed=seed, noise=noise)
    return mine.n_bytes / best_fixed(host, ceiling=ceiling, duration_s=duration_s, seed=seed, noise=noise)


@pytest.mark.parametrize("host", FREE + REFUSING, ids=str)
def test_ten_minutes_bring_within_5_percent_of_the_best_fixed_count(host):
    shares = [share_of_best(host, seed=seed) for seed in SEEDS]
    assert min(shares) >= 0.95, shares


@pytest.mark.parametrize("host", FREE + REFUSING, ids=str)
def test_so_they_do_in_calm_weather(host):
    assert share_of_best(host, noise=0.0) >= 0.95


@pytest.mark.parametrize("host", KNIVES, ids=str)
def test_a_peak_as_sharp_as_a_knife_is_met_within_8_percent(host):
    """One count alone is best here and its neighbours lose up to 15 %; noise hides which it is."""
    shares = [share_of_best(host, seed=seed) for seed in SEEDS]
    assert min(shares) >= 0.92, shares


@pytest.mark.parametrize("host", FREE, ids=str)
def test_two_minutes_bring_within_12_percent(host):
    shares = [share_of_best(host, duration_s=SHORT_S, seed=seed) for seed in SEEDS]
    assert min(shares) >= 0.88, shares


@pytest.mark.parametrize("host", REFUSING, ids=str)
def test_two_minutes_with_a_host_that_refuses_lose_little_but_its_pauses(host):
    for seed in SEEDS:
        mine = replay(host, Pace(ceiling=CEILING), duration_s=SHORT_S, seed=seed)
        best = best_fixed(host, ceiling=CEILING, duration_s=SHORT_S, seed=seed, noise=0.2)
        paused_s = mine.n_refusals * host.throttle.pause_s
        assert mine.n_bytes / best >= 0.93 - paused_s / SHORT_S


@pytest.mark.parametrize("host", FREE + REFUSING, ids=str)
def test_with_what_was_learned_two_minutes_are_as_good_as_ten(host):
    """A quota of requests gives no cap; what remains is one step below it at times."""
    bar = 0.88 if host in QUOTAS else 0.95
    for seed in SEEDS:
        first = Pace(ceiling=CEILING)
        replay(host, first, duration_s=LONG_S, seed=seed)
        again = share_of_best(host, duration_s=SHORT_S, seed=seed + 100, hint=first.hint, cap=first.cap)
        assert again >= bar, (first.hint, first.cap)


@pytest.mark.parametrize("seed", SEEDS)
def test_where_every_connection_pays_the_ceiling_is_reached_in_a_few_seconds(seed):
    calm = replay(EACH_CAPPED, Pace(ceiling=CEILING), duration_s=20, noise=0.0)
    assert calm.reached_at(CEILING) <= 5.0
    assert replay(EACH_CAPPED, Pace(ceiling=CEILING), duration_s=20, seed=seed).reached_at(CEILING) <= 7.0


@pytest.mark.parametrize(("noise", "times"), [(0.2, 2.0), (0.5, 4.5)])
def test_noise_alone_neither_climbs_a_plateau_nor_makes_the_limit_flap(noise, times):
    """Many small bodies are the noisier; the limit may wander where it costs little, but seldom and not far."""
    enough = good_counts(NARROW_LINK, CEILING, LONG_S)[0]
    for seed in SEEDS:
        limits = replay(NARROW_LINK, Pace(ceiling=CEILING), duration_s=LONG_S, seed=seed, noise=noise).limits
        assert sum(limits) / len(limits) <= times * enough
        assert sum(a != b for a, b in pairwise(limits)) <= len(limits) / 8
        assert share_of_best(NARROW_LINK, seed=seed, noise=noise) >= 0.93


CHANGING = [
    Host("three times the link", changing(capped_link(5 * MiB, 50 * MiB, 0.002), capped_link(5 * MiB, 150 * MiB, 0.002), 300)),
    Host("a third of the link", changing(capped_link(5 * MiB, 150 * MiB, 0.002), capped_link(5 * MiB, 50 * MiB, 0.002), 300)),
    Host("collapsing later", changing(thrashing(5 * MiB, 10, 6), thrashing(5 * MiB, 40, 6), 300)),
    Host("collapsing earlier", changing(thrashing(5 * MiB, 40, 6), thrashing(5 * MiB, 10, 6), 300)),
]  # fmt: skip


@pytest.mark.parametrize("host", CHANGING, ids=str)
def test_a_host_that_changes_is_followed(host):
    for seed in SEEDS:
        mine = replay(host, Pace(ceiling=CEILING), duration_s=LONG_S, seed=seed)
        best = best_fixed(host, ceiling=CEILING, duration_s=LONG_S, seed=seed, noise=0.2)
        assert mine.n_bytes >= 0.88 * best
        late = mine.limits[-int(180 / TICK_S) :]
        best_now = max(host.curve(n, LONG_S) for n in range(1, CEILING + 1))
        assert sum(host.curve(n, LONG_S) for n in late) / len(late) >= 0.93 * best_now


@pytest.mark.parametrize("host", [*FREE, *KNIVES, *CHANGING], ids=str)
@pytest.mark.parametrize("ceiling", [1, 3, 4])
def test_a_low_ceiling_is_the_limit_as_long_as_nothing_is_refused(host, ceiling):
    assert set(replay(host, Pace(ceiling=ceiling, hint=2), duration_s=SHORT_S).limits) == {ceiling}


def feed(pace, goodputs, *, now=0.0, was_full=True):
    """Tick once for each goodput in bytes/s; return the time after the last."""
    for goodput in goodputs:
        now += TICK_S
        pace.tick(now=now, n_bytes=int(goodput * TICK_S), elapsed_s=TICK_S, was_full=was_full)
    return now


def settled(count, **learned):
    """A pace that holds `count` and has measured it for four seconds, and the time."""
    pace = Pace(ceiling=CEILING, hint=count, **learned)
    now = feed(pace, [0.0], now=0.0)
    pace._more.due_at = 1000.0
    pace._fewer.due_at = 1000.0
    return pace, feed(pace, [100 * MiB] * 8, now=now)


def on_trial(base):
    """A pace that holds `base` and tries more, and the time."""
    pace = Pace(ceiling=CEILING, hint=base)
    now = feed(pace, [0.0, 100 * MiB])
    assert pace.limit > base
    return pace, now


def test_a_refused_trial_ends_at_once_where_it_began_and_gives_the_cap():
    pace, now = on_trial(20)
    tried = pace.limit
    for _ in range(tried):
        pace.refused(now=now)
    assert (pace.limit, pace.cap, pace.hint) == (20, tried - 1, 20)


def test_a_refused_base_steps_down_at_once_and_gives_no_cap():
    pace, now = settled(20)
    for _ in range(20):
        pace.refused(now=now)
    assert (pace.limit, pace.cap) == (18, None)
    pace.refused(now=now + QUOTA_SPAN_S)
    assert pace.limit == 9, "nothing was measured in between, so fewer were not fine either"


def test_a_cap_is_tried_again_when_it_is_no_longer_fresh():
    pace = Pace(ceiling=CEILING, hint=20, cap=20)
    now = feed(pace, [20 * MiB] * int(CAP_FRESH_S / TICK_S))
    assert (pace.limit <= 20, pace.cap) == (True, 20)
    limits = []
    for _ in range(200):
        now = feed(pace, [pace.limit * MiB], now=now)
        limits.append(pace.limit)
    assert pace.cap is None
    assert max(limits) > 20


def test_a_collapse_halves_the_limit_after_two_windows():
    pace, now = settled(40)
    now = feed(pace, [40 * MiB] * 3, now=now)
    assert pace.limit == 40, "a hiccup"
    feed(pace, [40 * MiB], now=now)
    assert pace.limit == 20


def test_a_full_house_without_a_byte_asks_for_more():
    pace, now = settled(8)
    feed(pace, [0.0], now=now)
    assert pace.limit > 8


@given(st.lists(st.integers(0, 500), max_size=30))
def test_ticks_that_were_not_full_teach_nothing(goodputs):
    pace, now = settled(20)
    pace._more.due_at = 0.0
    feed(pace, [goodput * MiB for goodput in goodputs], now=now, was_full=False)
    assert (pace.limit, pace.hint) == (20, 20)


GOODPUTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=60)


@given(GOODPUTS)
def test_the_tick_after_a_change_teaches_nothing(pairs):
    one, other, now, has_changed = Pace(ceiling=CEILING), Pace(ceiling=CEILING), 0.0, True
    for goodput, noise in pairs:
        before = one.limit
        feed(one, [goodput * MiB], now=now)
        now = feed(other, [(noise if has_changed else goodput) * MiB], now=now)
        assert one.limit == other.limit
        has_changed = one.limit != before


TICKS = st.tuples(st.just("tick"), st.floats(0.0, 30.0), st.integers(0, 10**10), st.booleans())
FULL_TICKS = st.tuples(st.just("tick"), st.just(TICK_S), st.integers(0, 10**9), st.just(True))
REFUSALS = st.tuples(st.just("refused"), st.floats(0.0, 30.0), st.just(0), st.just(False))
COUNTS = st.none() | st.integers(1, 300)


@given(st.integers(1, 200), COUNTS, COUNTS, st.lists(FULL_TICKS | TICKS | REFUSALS, max_size=120))
def test_the_limit_stays_between_one_and_the_ceiling_and_under_a_fresh_cap(ceiling, hint, cap, events):
    pace, now = Pace(ceiling=ceiling, hint=hint, cap=cap), 0.0
    first_at = None
    for kind, elapsed_s, n_bytes, was_full in events:
        now += elapsed_s
        before = pace.limit
        if kind == "tick":
            pace.tick(now=now, n_bytes=n_bytes, elapsed_s=elapsed_s, was_full=was_full)
            first_at = now if first_at is None else first_at
        else:
            pace.refused(now=now)
            assert pace.limit <= before
        assert 1 <= pace.limit <= ceiling
        assert pace.limit <= (pace.cap or ceiling)
        assert pace.hint is None or pace.hint >= 1
        if cap is not None and (first_at is None or now < first_at + CAP_FRESH_S):
            assert pace.limit <= cap
            assert pace.cap is not None
            assert pace.cap <= cap


def test_the_best_of_the_simulated_hosts_are_where_they_were_meant():
    """A judge of the judge: the counts that the replays are measured against."""
    best = {host.name: good_counts(host, CEILING, LONG_S)[0] for host in (*FREE, *KNIVES, REFUSES_MORE_THAN_20)}
    assert list(best.values()) == [10, 5, 70, 128, 10, 24, best["full with 20, collapsing past 40"], 8, 24, 100, 20]
    assert 20 <= best["full with 20, collapsing past 40"] <= 40
    throttled = replay(REFUSES_MORE_THAN_20, Fixed(21), duration_s=LONG_S)
    assert throttled.n_refusals > 50

"""How many requests to keep open to one host: as many as pay, and not one more.

A plateau controller. It holds one count, tries another from time to time, and keeps it when a doubling of the count
would bring at least 5 % more goodput; errors are not needed to find the best count, and a host that collapses gives
none (xet, huggingface_hub #4893; huggingface.js #2352 measured the same and replaced AIMD by a plateau search).
Invariant: 1 <= limit <= ceiling, and limit <= cap while the cap is fresh. It knows no clock, no gate, no request.
"""

from __future__ import annotations

import math

TICK_S = 0.5
"""Seconds between ticks. A new connection needs a few round trips of 0.1 s until it delivers, so a shorter tick would
judge handshakes; with a longer one the way from START to 128, ten ticks, would no longer take five seconds."""

START = 8
"""Connections to a host not met before: as many as huggingface_hub opens, so hosts are used to them. A ceiling this
low is not searched below."""

GAIN_PER_DOUBLING = 1.05
"""What twice as many connections must bring to be worth it (huggingface.js #2352 asks 5 % of a step)."""

MAX_FACTOR = 2.0
MIN_FACTOR = 1.12
"""The widest and the narrowest first step of a search; a step that paid is squared. Guess, by replay: with 1.2 a sharp
peak lies between two steps, with 1.08 it takes too long to tell them apart."""

FINE = 1.03
"""Two counts nearer than this share are one and the same. Guess: finer than the noise can tell in PATIENCE ticks."""

NOISE = 0.12
"""Standard deviation of one tick's goodput as a share of it: +-20 %, evenly spread, is 0.2 / sqrt(3)."""

CLEAR = 2.0
"""So many standard errors decide a trial at once. By replay anything from 1.5 to 2.5 does."""

TIMID = 0.4
"""So many standard errors a trial of more must be ahead when time is up: noise alone may not climb a plateau. Guess."""

PATIENCE = 12
MEMORY = 20
"""Ticks: the longest trial, and the memory of a count's mean. Guess, by replay: twice as long finds no more."""

HOLD_S = 5.0
MAX_HOLD_S = 40.0
REFINE_S = 2.0
"""Rest between searches, at least and at most, and between two steps of one search (huggingface.js #2352: 5 s)."""

TRIAL_SHARE = 0.01
"""The share of the goodput that trials may cost: the rest after one is as long as its loss demands. Guess."""

COLLAPSE = 0.5
COLLAPSE_TICKS = 4
"""Half of what it was, for two windows of two ticks, is a collapse (huggingface.js #2352)."""

REFUSAL_SPAN_S = 2.0
"""Refusals within this time of the first are answers to requests that were already under way. Guess."""

QUOTA_SPAN_S = 10.0
"""A count that was fine steps down for no second refusal within this time: a host that refuses now and then, whatever
is asked of it, must not be left with one request. Guess."""

QUOTA_STEP = 0.9
"""What stays of a count that was fine and is refused now: it used up a quota of requests. Guess, by replay."""

CAP_FRESH_S = 900.0
"""Until a cap is tried again: three of the Hub's rate windows of 300 s. A queue may remember it for longer. Guess."""


class _Mean:
    """Goodput of one count: the mean at first, exponentially weighted once there are MEMORY samples."""

    __slots__ = ("n", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.n = 0

    def add(self, sample: float) -> None:
        self.n = min(self.n + 1, MEMORY)
        self.value += (sample - self.value) / self.n


class _Search:
    """One direction, more or fewer: when it is tried next, and how far. bar: a count known to be too many."""

    __slots__ = ("bar", "due_at", "factor", "lost_s")

    def __init__(self, factor: float, due_at: float) -> None:
        self.factor = factor
        self.bar: int | None = None
        self.due_at = due_at
        self.lost_s = 0.0

    def go_on(self, now: float, base: int) -> None:
        """A step paid, `base` is where it led: twice as far next time, unless it is already bracketed."""
        if self.bar is not None and _between(base, self.bar) is None:
            self.rest(now)
        else:
            self.factor = min(self.factor**2, MAX_FACTOR)
            self.due_at = now

    def narrow(self, now: float, base: int, bar: int) -> None:
        """A step up to `bar` did not pay: try between, soon; rest when nothing is left between."""
        if _between(base, bar) is None:
            self.rest(now)
        else:
            self.factor, self.bar, self.due_at = MIN_FACTOR, bar, now + REFINE_S

    def rest(self, now: float) -> None:
        """End the search; the next begins anew, the later the more this one lost."""
        self.due_at = now + min(max(self.lost_s / TRIAL_SHARE, HOLD_S), MAX_HOLD_S)
        self.factor, self.bar, self.lost_s = MIN_FACTOR, None, 0.0


def _between(low: int, high: int) -> int | None:
    """The count halfway (by ratio) from one that is fine to one that is too many; None when they are neighbours."""
    middle = round(math.sqrt(low * high))
    return middle if FINE * low <= middle < high else None


class Pace:
    """The limit of one host. Owner: the engine, which ticks it every TICK_S and tells it of each 429 and 503.

    ceiling: what the user allows. hint and cap: what an earlier run learned of this host. Times are monotonic seconds.
    `_base` is the count believed best; when `limit` is another, that one is on trial.
    """

    def __init__(self, *, ceiling: int, hint: int | None = None, cap: int | None = None) -> None:
        self._ceiling, self._hint, self._cap = ceiling, hint, cap
        most = max(1, min(ceiling, cap or ceiling))
        self._least = most if ceiling <= START else 1
        self._limit = self._base = max(self._least, min(hint or START, most))
        self._base_mean, self._trial_mean = _Mean(), _Mean()
        self._trial_at = -math.inf
        self._more = _Search(MIN_FACTOR if hint else MAX_FACTOR, -math.inf)
        self._fewer = _Search(MIN_FACTOR, math.inf)
        self._cap_until = math.inf
        self._deaf_until = -math.inf
        self._is_new, self._is_settled, self._has_changed = True, False, True
        self._n_low = 0

    @property
    def limit(self) -> int:
        """How many requests may be open to this host now."""
        return self._limit

    @property
    def hint(self) -> int | None:
        """Where to start the next time: the count it settled on, else what was given."""
        return self._base if self._is_settled else self._hint

    @property
    def cap(self) -> int | None:
        """The most that the host may be asked for; it refused one more while fewer were fine. None: not known."""
        return self._cap

    def tick(self, *, now: float, n_bytes: int, elapsed_s: float, was_full: bool) -> None:
        """Learn from `n_bytes` that came in the `elapsed_s` before `now`; may change the limit.

        was_full: exactly `limit` requests were open all the while. Any other tick teaches nothing, and neither does
        one cut short, nor the one after a change, in which connections are still being opened.
        """
        if self._is_new:
            self._is_new = False
            self._fewer.due_at, self._cap_until = now + HOLD_S, now + CAP_FRESH_S
        if now >= self._cap_until:
            self._cap = None
        is_mixed, self._has_changed = self._has_changed, False
        if is_mixed or not was_full or elapsed_s < TICK_S / 2:
            return
        goodput = n_bytes / elapsed_s
        if self._limit == self._base:
            self._hold(now, goodput)
        else:
            self._judge(now, goodput)
        if self._limit == self._base and not self._has_changed:
            self._try_another(now)

    def refused(self, *, now: float) -> None:
        """The host answered 429 or 503. Many at a time count once.

        A refused trial of more gives the cap and ends where it began. A refused base gives none, since nothing says
        that fewer are fine: it is either a quota used up, or more than this host ever takes.
        """
        if now < self._deaf_until:
            return
        self._deaf_until = now + REFUSAL_SPAN_S
        if self._limit > self._base:
            self._cap, self._cap_until = self._limit - 1, now + CAP_FRESH_S
            self._end_trial()
            self._more.narrow(now, self._base, self._cap + 1)
        else:
            self._least = 1
            self._step_down(now, QUOTA_STEP if self._base_mean.n else 0.5)
            self._more.rest(now)
            self._deaf_until = now + QUOTA_SPAN_S

    def _hold(self, now: float, goodput: float) -> None:
        self._n_low = self._n_low + 1 if goodput < COLLAPSE * self._base_mean.value else 0
        self._base_mean.add(goodput)
        if goodput == 0:  # all wait for a first byte: latency bounds, and more requests hide it
            self._more.due_at = now
        if self._n_low >= COLLAPSE_TICKS and self._base > self._least:
            bar = self._base
            self._step_down(now, 0.5)
            self._more.narrow(now, self._base, bar)

    def _judge(self, now: float, goodput: float) -> None:
        """Decide the trial as soon as the noise allows, or when more ticks of it would not make the base surer."""
        base, trial = self._base_mean, self._trial_mean
        trial.add(goodput)
        price = math.log(GAIN_PER_DOUBLING) * math.log2(self._limit / self._base)
        gain = math.log(max(trial.value, 1.0) / max(base.value, 1.0)) - price
        error = NOISE * math.sqrt(1 / trial.n + 1 / base.n)
        if abs(gain) < CLEAR * error and trial.n < min(PATIENCE, 4 * base.n):
            return
        is_more = self._limit > self._base
        search, other = (self._more, self._fewer) if is_more else (self._fewer, self._more)
        other.due_at = max(other.due_at, now + HOLD_S)
        if gain > (TIMID * error if is_more else 0.0):
            self._base, self._base_mean = self._limit, trial
            search.go_on(now, self._base)
            return
        if trial.value < base.value:
            search.lost_s += (now - self._trial_at) * (1 - trial.value / base.value)
        if is_more:
            search.narrow(now, self._base, self._limit)
        else:
            search.rest(now)
        self._end_trial()

    def _try_another(self, now: float) -> None:
        for search, count in ((self._more, self._next_more()), (self._fewer, self._next_fewer())):
            if count == self._base:
                self._is_settled = self._is_settled or search is self._more
            elif now >= search.due_at:
                self._trial_mean, self._trial_at = _Mean(), now
                self._move_to(count)
                return

    def _next_more(self) -> int:
        base, search = self._base, self._more
        if search.bar is not None:
            count = _between(base, search.bar) or base
        else:
            count = max(base + 1, round(base * search.factor))
        if self._cap is not None and count > self._cap:  # a refusal costs everybody a pause: approach it by halves
            count = _between(base, self._cap + 1) or base
        return min(count, self._ceiling)

    def _next_fewer(self) -> int:
        return max(self._least, min(self._base - 1, round(self._base / self._fewer.factor)))

    def _end_trial(self) -> None:
        self._is_settled = True
        self._move_to(self._base)

    def _step_down(self, now: float, share: float) -> None:
        self._base = max(self._least, int(self._limit * share))
        self._base_mean, self._n_low = _Mean(), 0
        self._fewer.rest(now)
        self._end_trial()

    def _move_to(self, limit: int) -> None:
        self._limit, self._has_changed = limit, True

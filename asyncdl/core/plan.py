"""What to fetch next, and with which slot. Pure: the scheduler and the transfers only carry it out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asyncdl.core.ranges import ByteRange, RangeSet

SEGMENT_BYTES = 8 << 20
"""One request while the rate is not known; a smaller file is one request. Large enough that a request's latency is
small beside its body at 1 Gbit/s (67 ms). Guess between 5 MiB (s5cmd's least) and 50 MiB (its default)."""

MIN_SEGMENT_BYTES = 1 << 20
MAX_SEGMENT_BYTES = 32 << 20

SEGMENT_S = 4.0
"""How long a segment shall take at the rate measured: long beside a round trip, short beside a person's patience with
a slot that cannot do anything else meanwhile. Guess."""

FAIR_CONNECTIONS = 8
"""A file gets this many segments at once before another file is begun. Guess: adaptive clients settle at 3-5."""

MIN_SHARE_BYTES = 256 << 10
"""The least that is taken from a request under way: below it a new request costs more than it brings. Guess."""

SHARE_FROM_S = 0.5
"""A request that will end sooner is left alone, and one that is younger has no rate yet. Guess: a handshake and a few
round trips."""

SILENT_FROM_S = 3.0
"""... and one that has brought nothing is left alone for longer: the host may be thinking. Guess."""


def segment_bytes(per_s: float | None) -> int:
    """Return how much the next request shall ask for, a power of two, when one connection brings per_s bytes/s."""
    if per_s is None:
        return SEGMENT_BYTES
    size = MIN_SEGMENT_BYTES
    while size < MAX_SEGMENT_BYTES and size * 2 <= per_s * SEGMENT_S:
        size *= 2
    return size


def next_segment(gap: ByteRange, size_bytes: int) -> ByteRange:
    """Return the first part of `gap`, no longer than size_bytes, cut at a multiple of size_bytes.

    The grid makes the ranges of one file the same in every run, which caches on the way like.
    """
    return ByteRange(gap.start, min(gap.stop, (gap.start // size_bytes + 1) * size_bytes))


def gaps(size_bytes: int, had: RangeSet) -> list[ByteRange]:
    """Return what is missing of [0, size_bytes), ascending."""
    return had.missing(ByteRange(0, size_bytes)) if size_bytes else []


@dataclass(frozen=True, slots=True)
class Demand:
    """One transfer's wish. key: whose. n_open: its requests under way. can_start: another one."""

    key: int
    n_open: int
    can_start: bool


def choose(demands: Iterable[Demand], *, may_claim: bool) -> int | None:
    """Return the key of the transfer that gets the next free slot; None to claim a new job instead.

    demands: of the hosts that take another request, in the order they first asked. First every file gets up to
    FAIR_CONNECTIONS, oldest first, so that files end in the order they began and few are open at once; then new jobs;
    only when there are none do the open files share the rest, the one with the fewest requests first. With nothing to
    do the answer is None.
    """
    rest: Demand | None = None
    for demand in demands:
        if not demand.can_start:
            continue
        if demand.n_open < FAIR_CONNECTIONS:
            return demand.key
        if rest is None or demand.n_open < rest.n_open:
            rest = demand
    return None if rest is None or may_claim else rest.key


@dataclass(frozen=True, slots=True)
class Rest:
    """What a request under way has still to bring: the bytes [at, stop). per_s: its rate so far.

    is_twin: these bytes are asked for by another request, too.
    """

    at: int
    stop: int
    age_s: float
    per_s: float
    is_twin: bool = False

    @property
    def n_bytes(self) -> int:
        return self.stop - self.at

    @property
    def is_settled(self) -> bool:
        """Whether its rate says something by now."""
        return self.age_s >= (SHARE_FROM_S if self.per_s > 0 else SILENT_FROM_S)

    @property
    def left_s(self) -> float:
        if self.n_bytes == 0:
            return 0.0
        return self.n_bytes / self.per_s if self.per_s > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Share:
    """A free slot asks for [cut, stop) of the request at `index`. cut == at: for all that is left, as its twin."""

    index: int
    cut: int


def share(rests: Sequence[Rest], usual_per_s: float | None) -> Share | None:
    """Return what a slot that has nothing else to do takes from the requests under way; None where nothing pays.

    usual_per_s: what one request for this file brought lately, where that is known.

    The slowest gives: so much that both end together, at least half. What is too small to cut is asked for twice, once,
    and the first answer wins: a file's last bytes must not wait for its worst connection.
    """
    slow = [i for i, rest in enumerate(rests) if rest.is_settled and rest.left_s >= SHARE_FROM_S and not rest.is_twin]
    if not slow:
        return None
    slowest = max(slow, key=lambda i: rests[i].left_s)
    rest = rests[slowest]
    if rest.n_bytes < 2 * MIN_SHARE_BYTES:
        return Share(slowest, rest.at)
    others = [one.per_s for i, one in enumerate(rests) if i != slowest and one.per_s > 0]
    expected_per_s = max(sum(others) / len(others) if others else 0.0, usual_per_s or 0.0, rest.per_s)
    kept = rest.per_s / (rest.per_s + expected_per_s) if expected_per_s > 0 else 0.5
    kept_bytes = max(MIN_SHARE_BYTES, int(rest.n_bytes * min(kept, 0.5)))
    return Share(slowest, rest.at + kept_bytes)

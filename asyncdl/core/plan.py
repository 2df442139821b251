"""What to fetch next, and with which slot. Pure: the scheduler and the transfers only carry it out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from asyncdl.core.ranges import ByteRange, RangeSet

SEGMENT_BYTES = 8 << 20
"""One request. What a kill can cost at the most per connection; large enough that a request's latency is
small beside its body at 1 Gbit/s (67 ms). Guess between 5 MiB (s5cmd's least) and 50 MiB (its default)."""

FAIR_CONNECTIONS = 8
"""A file gets this many segments at once before another file is begun. Guess: adaptive clients settle at 3-5."""


def segments(size_bytes: int, had: RangeSet, segment_bytes: int = SEGMENT_BYTES) -> list[ByteRange]:
    """Return what is missing of [0, size_bytes), ascending, no range longer than segment_bytes.

    Cuts stand at multiples of segment_bytes, so that a resumed file asks for the same ranges as a fresh one.
    """
    if size_bytes == 0:
        return []
    cut = []
    for gap in had.missing(ByteRange(0, size_bytes)):
        at = gap.start
        while at < gap.stop:
            stop = min(gap.stop, (at // segment_bytes + 1) * segment_bytes)
            cut.append(ByteRange(at, stop))
            at = stop
    return cut


@dataclass(frozen=True, slots=True)
class Demand:
    """One transfer's wish. key: whose. n_open: its requests under way. n_waiting: segments it could start."""

    key: int
    n_open: int
    n_waiting: int


def choose(demands: Iterable[Demand], *, may_claim: bool) -> int | None:
    """Return the key of the transfer that gets the next free slot; None to claim a new job instead.

    demands: in the order they first asked. First every file gets up to FAIR_CONNECTIONS, oldest first, so
    that files end in the order they began and few are open at once; then new jobs; only when there are none do
    the open files share the rest, the one with the fewest requests first. With nothing to do the answer is None.
    """
    rest: Demand | None = None
    for demand in demands:
        if demand.n_waiting == 0:
            continue
        if demand.n_open < FAIR_CONNECTIONS:
            return demand.key
        if rest is None or demand.n_open < rest.n_open:
            rest = demand
    return None if rest is None or may_claim else rest.key

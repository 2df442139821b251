"""Half-open byte ranges [start, stop) and sets of them.

A RangeSet is sorted, disjoint and has no two ranges that touch, so equality is equality of the bytes covered.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """The bytes start <= i < stop; never empty, never negative."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"not a byte range: [{self.start}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def header(self) -> str:
        """The Range header that asks for it; HTTP's last byte is inclusive (RFC 9110 §14.1.2)."""
        return f"bytes={self.start}-{self.stop - 1}"


_start = attrgetter("start")
_stop = attrgetter("stop")


@dataclass(frozen=True, slots=True)
class RangeSet:
    """A set of bytes. Immutable; every operation returns a new one in O(number of ranges)."""

    ranges: tuple[ByteRange, ...] = ()

    @classmethod
    def of(cls, *ranges: ByteRange) -> RangeSet:
        """Return the union of `ranges`, in any order, overlapping or not."""
        merged = cls()
        for one in ranges:
            merged = merged.add(one)
        return merged

    def __iter__(self) -> Iterator[ByteRange]:
        return iter(self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    @property
    def n_bytes(self) -> int:
        return sum(len(one) for one in self.ranges)

    @property
    def front(self) -> int:
        """The first byte not in the set: all before it are."""
        return self.ranges[0].stop if self.ranges and self.ranges[0].start == 0 else 0

    def add(self, new: ByteRange) -> RangeSet:
        """Return the set with `new` in it, merged with what it overlaps or touches."""
        first = bisect_left(self.ranges, new.start, key=_stop)
        last = bisect_right(self.ranges, new.stop, key=_start)
        if first < last:
            new = ByteRange(min(new.start, self.ranges[first].start), max(new.stop, self.ranges[last - 1].stop))
        return RangeSet((*self.ranges[:first], new, *self.ranges[last:]))

    def union(self, other: Iterable[ByteRange]) -> RangeSet:
        merged = self
        for one in other:
            merged = merged.add(one)
        return merged

    def missing(self, within: ByteRange) -> list[ByteRange]:
        """Return the parts of `within` that are not in the set, ascending."""
        gaps = []
        at = within.start
        for one in self.ranges[bisect_right(self.ranges, within.start, key=_stop) :]:
            if one.start >= within.stop:
                break
            if one.start > at:
                gaps.append(ByteRange(at, one.start))
            at = max(at, one.stop)
        if at < within.stop:
            gaps.append(ByteRange(at, within.stop))
        return gaps

    def __contains__(self, wanted: ByteRange) -> bool:
        return not self.missing(wanted)

    def __str__(self) -> str:
        """The form stored in the queue: `0-1048576,4194304-5242880`, half-open; '' for the empty set."""
        return ",".join(f"{one.start}-{one.stop}" for one in self.ranges)

    @classmethod
    def parse(cls, text: str) -> RangeSet:
        """Read what `str` wrote; raises ValueError on anything else."""
        if not text:
            return cls()
        pairs = (pair.split("-") for pair in text.split(","))
        return cls.of(*(ByteRange(int(start), int(stop)) for start, stop in pairs))

"""Whether an object that shows another validator is still the one whose bytes are had. Pure.

A few bytes of what is had are fetched again, in two requests, and held against the disk. Equal bytes under validators
that differ from each other prove that the validators say nothing about the bytes: some CDNs make a new ETag for every
answer. It is evidence, not proof, where an object is large and no digest is promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.reply import Pinned

WINDOW_BYTES = 64 << 10
"""What one request of the two asks for. Guess: more than a header or a footer that two versions of a file share, less
than a connection costs."""


def windows(size_bytes: int, written: RangeSet) -> tuple[ByteRange, ByteRange]:
    """Return what is asked for again: the first bytes of what is written, and the last.

    Where less is written than two windows hold, it is the object's first bytes twice: then the two answers are held
    against each other. size_bytes > 0.
    """
    if written.n_bytes < 2 * WINDOW_BYTES:
        head = ByteRange(0, min(WINDOW_BYTES, size_bytes))
        return head, head
    first, last = written.ranges[0], written.ranges[-1]
    head = ByteRange(first.start, min(first.stop, first.start + WINDOW_BYTES))
    return head, ByteRange(max(last.start, last.stop - WINDOW_BYTES), last.stop)


def after_overlap(pinned: Pinned, answers: Sequence[Pinned], *, is_same: bool, is_promised: bool) -> Pinned | None:
    """Return what to hold the object to from now on, its bytes kept; None: it is another one, begin anew.

    answers: what each answer said of the object by itself. is_same: the bytes that came are those on disk. is_promised:
    a digest of the whole is known, and judges in the end whatever is decided here.
    """
    if not is_same:
        return None
    said = {one.validator for one in answers} - {None}
    if all(one.validator is None or pinned.validator in (one.validator, one.modified) for one in answers):
        return pinned
    if len(said) == 1:
        return replace(answers[-1], size_bytes=pinned.size_bytes) if is_promised else None  # replaced, it seems
    dates = {one.modified for one in answers}
    if len(dates) > 1 or None in dates:
        return replace(pinned, is_fickle=True)
    dated = Pinned(pinned.size_bytes, dates.pop())  # the ETags are fickle, this is not
    known = pinned.modified if _is_etag(pinned.validator) else pinned.validator
    return None if known not in (None, dated.validator) and not is_promised else dated


def _is_etag(validator: str | None) -> bool:
    return validator is not None and validator.startswith('"')

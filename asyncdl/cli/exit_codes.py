"""What a run's end means to the shell that started it: the one place that chooses the exit code of `run`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from asyncdl.core.retry import REFUSED_CONTENT, UNREACHABLE

Reason = Literal["empty", "drained", "stopped"]

ALL_DONE = 0
SOME_DISCARDED = 1
CREDENTIALS_NEEDED = 3
REMOTE_UNREACHABLE = 5
CONTENT_REFUSED = 6
UNFINISHED = 7
CREDENTIALS = frozenset({"unauthorized", "bad_token", "gated"})
"""Error classes that a token, or terms that are accepted, would mend."""

_SIGNALLED = 128  # the shells' convention: 128 + number of the signal


def exit_code(reason: Reason, n_unfinished: int, discarded: Collection[str], signum: int | None = None) -> int:
    """Return the code for a run that ended because of `reason`.

    n_unfinished: jobs left that this run was allowed to do. discarded: the error classes of the discarded ones,
    those of earlier runs included, so that running again tells the same. signum: of the signal that stopped it.
    Work that is left comes first, for then running again is the answer.
    """
    if reason == "stopped" and signum is not None:
        return _SIGNALLED + signum
    if n_unfinished:
        return UNFINISHED
    if not discarded:
        return ALL_DONE
    if not REFUSED_CONTENT.isdisjoint(discarded):
        return CONTENT_REFUSED
    for classes, code in ((UNREACHABLE, REMOTE_UNREACHABLE), (CREDENTIALS, CREDENTIALS_NEEDED)):
        if classes.issuperset(discarded):
            return code
    return SOME_DISCARDED

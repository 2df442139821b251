"""What somebody may have meant: names near a name that does not exist. Never used to choose, only to suggest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from asyncdl.core.names import display

_LIKENESS = 0.6  # difflib's own default; below it suggestions look random
_AT_MOST = 5


def near(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return at most five of `names`, best first: those that begin with `name`, then those that look like it.

    Case does not count.
    """
    by_folded = {candidate.casefold(): candidate for candidate in sorted(set(names))}
    folded = name.casefold()
    begin = [candidate for candidate in by_folded if folded and candidate.startswith(folded)]
    alike = difflib.get_close_matches(folded, by_folded, n=_AT_MOST, cutoff=_LIKENESS)
    return tuple(by_folded[found] for found in dict.fromkeys([*begin, *alike]))[:_AT_MOST]


def did_you_mean(names: tuple[str, ...]) -> str | None:
    """Return the hint that offers `names`, None where there are none."""
    shown = [display(name) for name in names]
    if not shown:
        return None
    *first, last = shown
    return f"did you mean {', '.join(first)} or {last}?" if first else f"did you mean {last}?"

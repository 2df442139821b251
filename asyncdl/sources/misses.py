"""Why a listing brought nothing for a choice, in words: which value is unknown, and what may have been meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asyncdl.core.names import display
from asyncdl.core.near import did_you_mean, near
from asyncdl.errors import UsageError
from asyncdl.sources.hub import Repo
from asyncdl.sources.layout import FACET_WORDS, Facet
from asyncdl.sources.plan import described
from asyncdl.sources.sieve import Sieve

_FEW = 20  # guess: more names than this are no help on a terminal


@dataclass(frozen=True, slots=True)
class Gap:
    """A folder that was to be listed and does not exist: `above` exists, has the folders `beside`, but not `step`."""

    above: str
    step: str
    beside: Sequence[str]


def explain(repo: Repo, sieve: Sieve, missed: Sequence[tuple[Facet, str]], gaps: Sequence[Gap]) -> UsageError:
    """Return the error for `missed` wishes, or for a listing of which the globs left nothing."""
    if not missed:
        meant = [name for gap in gaps for name in near(gap.step, gap.beside)]
        globs = "look at --include and --exclude: a * also crosses slashes, case counts"
        return UsageError(f"no file of {repo.asked.repo} was chosen", hint=did_you_mean(tuple(meant)) or globs)
    unknown = [(facet, value) for facet, value in missed if not _exists(facet, value, sieve, gaps)]
    if not unknown:
        facet, value = missed[0]
        rest = {other: values for other, values in sieve.chosen.items() if other != facet}
        return UsageError(
            f"of {FACET_WORDS[facet]} {display(value)}, {repo.asked.repo} has nothing with {described(rest)}"
        )
    facet, value = unknown[0]
    names = set(sieve.seen(facet)).union(*(gap.beside for gap in gaps if _names(gap.step, value)))
    meant = [*near(value, names), *(name for gap in gaps if _names(gap.step, value) for name in near(gap.step, names))]
    return UsageError(
        f"{repo.asked.repo} has no {FACET_WORDS[facet]} {display(value)}",
        hint=did_you_mean(tuple(dict.fromkeys(meant)))
        or _few(names)
        or f"its folders are at {repo.asked.page}/tree/main",
    )


def _exists(facet: Facet, value: str, sieve: Sieve, gaps: Iterable[Gap]) -> bool:
    """Whether the repo has `value`, only not together with the rest: some listed path or existing folder names it."""
    return value in sieve.seen(facet) or any(_names(gap.above, value) for gap in gaps)


def _names(text: str, value: str) -> bool:
    """Whether `value` stands in `text` as a whole: `sv` in `20231101.sv`, but `da` not in `data`."""
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def _few(names: Iterable[str]) -> str | None:
    shown = sorted(map(display, names))
    return f"there are {', '.join(shown)}" if 0 < len(shown) <= _FEW else None

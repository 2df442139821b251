"""What a person looks at on the board, and what each key makes of it: a state machine without a terminal. Pure.

A key that acts leaves an `Ask` for whoever owns the loop; what it does is not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from asyncdl.status import view
from asyncdl.status.snapshot import Snapshot

SectionName = Literal["dataset", "error", "host"]
SECTIONS: tuple[SectionName, ...] = ("dataset", "error", "host")
"""What can be chosen, in the order in which it stands on the board."""

Page = Literal["board", "detail", "help"]

_SIDEWAYS = {"tab": True, "right": True, "shift-tab": False, "left": False}
"""{key: whether it goes to the next section rather than to the one before}."""

PAGE_ROWS = 10
"""How far page-up and page-down go. Guess."""


@dataclass(frozen=True, slots=True)
class Target:
    """A row that can be chosen. name: of the dataset, the host or the error class. kind: of an error's jobs."""

    section: SectionName
    name: str
    subset: str = ""
    revision: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """verb: pause, which means resume for what is paused, or retry."""

    verb: Literal["pause", "retry"]
    target: Target


@dataclass(frozen=True, slots=True)
class Focus:
    """chosen: the marked row, which stays marked wherever it moves. scroll: first line of a detail or help page shown.

    note: told in the last line until the next key. asked: what the last key wants done.
    """

    page: Page = "board"
    chosen: Target | None = None
    scroll: int = 0
    note: str = ""
    asked: Ask | None = None
    is_over: bool = False


def choices(shot: Snapshot) -> tuple[Target, ...]:
    """Return every row that can be chosen, from the top of the board to its end."""
    return (
        *(Target("dataset", row.name, row.subset, row.revision) for row in view.by_state(shot.datasets)),
        *(Target("error", row.error_class, kind=row.kind) for row in shot.errors),
        *(Target("host", row.name) for row in view.hosts_in_order(shot)),
    )


def press(focus: Focus, key: str, rows: Sequence[Target], *, verbs: Collection[str], reach: int) -> Focus:
    """Return what `key` makes of `focus`. rows: `choices`. verbs: of Ask, those that can be done.

    reach: how far the page shown can scroll.
    """
    focus = replace(focus, note="", asked=None)
    if key == "q":
        return replace(focus, is_over=True)
    if key == "?":
        return replace(focus, page="board" if focus.page == "help" else "help", scroll=0)
    if key in ("p", "r"):
        return _act(focus, key, rows, verbs)
    if focus.page == "board":
        return _on_board(focus, key, rows)
    if key in ("esc", "enter", "backspace"):
        return replace(focus, page="board", scroll=0)
    steps = {"up": -1, "down": 1, "page-up": -PAGE_ROWS, "page-down": PAGE_ROWS, "home": -reach, "end": reach}
    return replace(focus, scroll=min(max(min(focus.scroll, reach) + steps.get(key, 0), 0), reach))


def _on_board(focus: Focus, key: str, rows: Sequence[Target]) -> Focus:
    if key == "esc":
        return replace(focus, chosen=None)
    steps = {"up": -1, "down": 1, "page-up": -PAGE_ROWS, "page-down": PAGE_ROWS, "home": -len(rows), "end": len(rows)}
    at = _index(focus, rows)
    if not rows or key not in {"enter", *_SIDEWAYS, *steps}:
        return focus
    if key in _SIDEWAYS:
        return replace(focus, chosen=_other_section(rows, at, forward=_SIDEWAYS[key]))
    if at is None:
        return replace(focus, chosen=rows[0])
    if key == "enter":
        return replace(focus, page="detail", scroll=0)
    return replace(focus, chosen=rows[min(max(at + steps[key], 0), len(rows) - 1)])


def _index(focus: Focus, rows: Sequence[Target]) -> int | None:
    """Return where the chosen row is, None where it is gone."""
    return next((n for n, row in enumerate(rows) if row == focus.chosen), None)


def _other_section(rows: Sequence[Target], at: int | None, *, forward: bool) -> Target:
    """Return the first row of the next section that has rows, or of the one before; round at the ends."""
    firsts = {row.section: row for row in reversed(rows)}
    names = [name for name in SECTIONS if name in firsts]
    if at is None:
        return firsts[names[0 if forward else -1]]
    step = 1 if forward else -1
    return firsts[names[(names.index(rows[at].section) + step) % len(names)]]


def _act(focus: Focus, key: str, rows: Sequence[Target], verbs: Collection[str]) -> Focus:
    verb: Literal["pause", "retry"] = "pause" if key == "p" else "retry"
    target = focus.chosen if _index(focus, rows) is not None else None
    if verb not in verbs:
        return replace(focus, note=f"{verb} is switched off here")
    if verb == "pause" and (target is None or target.section == "error"):
        return replace(focus, note="choose a dataset or a host to pause or resume")
    if verb == "retry" and (target is None or target.section != "error"):
        return replace(focus, note="choose a class of errors to retry what was discarded")
    assert target is not None
    return replace(focus, asked=Ask(verb, target))

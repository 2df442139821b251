"""What the page's tables hold, from a snapshot and rows of the queue: links, scopes of actions, texts. Pure.

Texts are raw: the templates' `finalize` passes each through `display` and escapes it. Links and scopes are
percent-encoded here, so that a name comes back to the server as it is in the queue, whatever is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup, escape

from asyncdl.core.states import AWAY_S, State
from asyncdl.status import view
from asyncdl.status.figures import bytes_text, count_text, duration_text
from asyncdl.status.snapshot import KINDS, DatasetState, Snapshot
from asyncdl.store.reader import AttemptRow, JobRow


@dataclass(frozen=True, slots=True)
class Row:
    """One subset of a dataset. share: per mille, for a progress element. pausing, cancelling: scopes. unfinished: what
    a cancel would give up.
    """

    name: str
    subset: str
    revision: str
    link: Markup
    share: int
    percent: str
    files: str
    size: str
    rate: str
    left: str
    state: str
    n_discarded: int
    pausing: Markup
    cancelling: Markup
    unfinished: str


@dataclass(frozen=True, slots=True)
class ErrorCard:
    """One error class of one kind. retrying: the scope of a retry of all of it."""

    title: str
    example: str
    hint: str
    label: str
    link: Markup
    retrying: Markup


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job in a list. size: had and known. trouble: of its last attempt, '' where it went well."""

    path: str
    link: Markup
    state: str
    size: str
    attempt: int
    error_class: str
    trouble: str
    again: str


def link(path: str, /, **query: object) -> Markup:
    """Return `path` with a query, percent-encoded and escaped for an attribute."""
    return escape(f"{path}?{urlencode(query)}" if query else path)


def scope(**fields: object) -> Markup:
    """Return what an action is to be done to, as a form sends it back."""
    return escape(urlencode(fields))


def dataset_row(row: DatasetState) -> Row:
    known = {"dataset": row.name, "revision": row.revision, "subset": row.subset}
    cells, left_s = view.cells(row), row.eta_s
    return Row(
        name=row.name,
        subset=row.subset or "(root)",
        revision=row.revision[:12],
        link=link("/dataset", **known),
        share=int(1000 * cells.share),
        percent=cells.percent,
        files=cells.files,
        size=bytes_text(row.known_bytes) if row.known_bytes else "size unknown",
        rate=f"{bytes_text(row.per_s)}/s" if row.per_s else "",
        left=f"{duration_text(left_s)} left" if left_s else "",
        state=row.state,
        n_discarded=row.n_discarded,
        pausing=scope(dataset=row.name),
        cancelling=scope(**known),
        unfinished=_unfinished(row),
    )


def _unfinished(row: DatasetState) -> str:
    """Return the jobs of every kind that a cancel gives up, and the bytes that then do not come."""
    kinds: dict[str, int] = {}
    for kind, state, n in row.stages:
        if state in (State.AVAILABLE, State.RUNNING, State.DISCARDED):
            kinds[kind] = kinds.get(kind, 0) + n
    parts = ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS if kind in kinds)
    jobs = count_text(sum(kinds.values()), "unfinished job") + (f" ({parts})" if parts else "")
    to_come = "to look at" if row.source == "local" else "to fetch"
    return jobs if row.remaining_bytes is None else f"{jobs}, {bytes_text(row.remaining_bytes)} {to_come}"


def error_cards(shot: Snapshot) -> list[ErrorCard]:
    """Return a card for each kind and class of error, the most frequent first."""
    cards = []
    for row in shot.errors:
        title, example, hint = view.error_lines(row, shot.at)
        known = {"kind": row.kind, "error_class": row.error_class}
        label = f"{row.kind} {row.error_class}"
        cards.append(ErrorCard(title, example, hint, label, link("/errors", **known), scope(**known)))
    return cards


def job_line(row: JobRow, now: float) -> JobLine:
    known = "unknown" if row.size_bytes is None else bytes_text(row.size_bytes)
    return JobLine(
        path=f"{row.path} ({row.recipe})" if row.recipe else row.path,
        link=link(f"/job/{row.id}"),
        state=row.state,
        size=known if row.state == State.COMPLETED else f"{bytes_text(row.done_bytes)} of {known}",
        attempt=row.attempt,
        error_class=row.error_class or "",
        trouble=row.error_text or "",
        again=_again(row, now),
    )


def _again(row: JobRow, now: float) -> str:
    if row.state != State.AVAILABLE or row.run_at <= now:
        return ""
    return "paused" if row.run_at >= AWAY_S else f"next try in {duration_text(row.run_at - now)}"


def took(row: AttemptRow) -> str:
    """Return how long an attempt was under way, '' where nobody knows."""
    return "" if row.started_at is None else duration_text(row.ended_at - row.started_at)

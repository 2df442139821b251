"""What the dashboards can do to the queue: plain functions that do it and say in one sentence what they did.

Each opens the queue for writing, does one transaction and lets go of it. They block, and raise AsyncdlError.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from asyncdl.cli.chosen import place
from asyncdl.core.names import display
from asyncdl.errors import UsageError
from asyncdl.settings import Settings
from asyncdl.status.figures import count_text
from asyncdl.status.focus import Target
from asyncdl.store.reader import Reader
from asyncdl.store.steering import Choice, Steering

if TYPE_CHECKING:
    from asyncdl.store.steering import What


def actions_of(found: Settings) -> Mapping[str, Callable[..., str]]:
    """Return {name: function}; all arguments are keywords.

    pause, resume: one of kind, dataset, host. retry: kind and error_class, or job_id; what was discarded and,
    unless only_discarded, what waits. cancel: dataset, or one revision and subset of it.
    """

    def pause(*, kind: str = "", dataset: str = "", host: str = "") -> str:
        what, name = _given(kind, dataset, host)
        with Reader(found.queue) as reader:
            name = place(what, name, reader)
        with Steering(found.queue) as steering:
            n_new = steering.pause([(what, name)], now=time.time())
        return f"{what} {display(name)} {'is paused' if n_new else 'was paused already'}"

    def resume(*, kind: str = "", dataset: str = "", host: str = "") -> str:
        what, name = _given(kind, dataset, host)
        with Steering(found.queue) as steering:
            lifted = steering.resume([(what, name)])
        return f"{what} {display(name)} {'goes on' if lifted else 'was not paused'}"

    def retry(*, kind: str = "", error_class: str = "", job_id: int = 0, only_discarded: bool = False) -> str:
        choice = Choice(
            ids=(job_id,) if job_id else (),
            is_failed=True,
            error_class=error_class or None,
            kind=kind or None,
        )
        with Steering(found.queue) as steering:
            tally = steering.retry(choice, now=time.time(), only_discarded=only_discarded)
        n_now = tally.n - tally.n_paused
        parts = [f"{count_text(n_now, 'job')} tried again"] if n_now else []
        parts += [f"{count_text(tally.n_paused, 'job')} paused, to be tried when resumed"] if tally.n_paused else []
        return ", ".join(parts) or "nothing to try again"

    def cancel(*, dataset: str, revision: str | None = None, subset: str | None = None) -> str:
        choice = Choice(datasets=(dataset,), revision=revision, subset=subset)
        with Steering(found.queue) as steering:
            tally = steering.cancel(choice, now=time.time())
        return f"{count_text(tally.n, 'job')} of {display(dataset)} cancelled; nothing on disk was removed"

    return {"pause": pause, "resume": resume, "retry": retry, "cancel": cancel}


def board_actions(found: Settings) -> Mapping[str, Callable[[Target], str]]:
    """Return what the keys of the terminal's dashboard do with the row that was chosen; pause also resumes."""
    actions = actions_of(found)

    def pause(target: Target) -> str:
        with Reader(found.queue) as reader:
            is_paused = (target.section, target.name) in {(row.what, row.name) for row in reader.paused()}
        return actions["resume" if is_paused else "pause"](**{target.section: target.name})

    def retry(target: Target) -> str:
        return actions["retry"](kind=target.kind, error_class=target.name, only_discarded=True)

    return {"pause": pause, "retry": retry}


def _given(kind: str, dataset: str, host: str) -> tuple[What, str]:
    """Return the one that is given. Raises UsageError for none or several."""
    given: list[tuple[What, str]] = [("kind", kind), ("dataset", dataset), ("host", host)]
    chosen = [(what, name) for what, name in given if name]
    if len(chosen) != 1:
        raise UsageError("one kind, dataset or host is needed")
    return chosen[0]

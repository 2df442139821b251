"""What a person may do from the page: retry, pause, resume, cancel, as plain forms that are posted and redirected.

Each action is a function that the command line gives; none is known here. What an action may be done to is checked
against SCOPES, and what came of it is kept in a short list that every page shows.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from asyncdl.errors import AsyncdlError
from asyncdl.status import web_rows
from asyncdl.status.web_guard import Guard
from asyncdl.status.web_stream import Watch

Action = Callable[..., str]
"""Called in a thread with one of its SCOPES as keyword arguments; all are str, job_id is an int. It returns what it
did, in one sentence, or raises AsyncdlError."""

SCOPES: Mapping[str, tuple[frozenset[str], ...]] = {
    "retry": (frozenset({"kind", "error_class"}), frozenset({"job_id"})),
    "pause": (frozenset({"kind"}), frozenset({"dataset"}), frozenset({"host"})),
    "resume": (frozenset({"kind"}), frozenset({"dataset"}), frozenset({"host"})),
    "cancel": (frozenset({"dataset", "revision", "subset"}),),
}

ASKS_FIRST = frozenset({"cancel"})

N_NOTES = 5

_OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


@dataclass(frozen=True, slots=True)
class Note:
    """at: UTC seconds."""

    at: float
    text: str
    went_well: bool


class Actions:
    """Does what is posted. notes: what came of it, the latest first."""

    def __init__(
        self, actions: Mapping[str, Action], guard: Guard, watch: Watch, answer: Callable[..., web.Response]
    ) -> None:
        """Raises ValueError for an action without a scope."""
        if unknown := set(actions) - set(SCOPES):
            raise ValueError(f"no page has a button for {sorted(unknown)}")
        self._actions = actions
        self._guard = guard
        self._watch = watch
        self._answer = answer
        self.notes: tuple[Note, ...] = ()

    async def confirm(self, request: web.Request) -> web.Response:
        """Say what would be cancelled and how much, and ask."""
        key = tuple(request.query.get(name, "") for name in ("dataset", "revision", "subset"))
        look = await self._watch.look()
        found = [row for row in look.shot.datasets if (row.name, row.revision, row.subset) == key]
        if not found or "cancel" not in self._actions:
            raise web.HTTPNotFound(text="there is nothing to cancel\n")
        return self._answer("cancel.html", row=web_rows.dataset_row(found[0]))

    async def do(self, request: web.Request) -> web.Response:
        """Do it and go back to where it was asked for."""
        name = request.match_info["name"]
        form = await request.post()
        self._guard.refuse_forged(form.get("csrf"))
        action = self._actions.get(name)
        if action is None:
            raise web.HTTPNotFound(text="there is no such action\n")
        fields = _scope(name, str(form.get("scope", "")))
        if name in ASKS_FIRST and form.get("sure") != "yes":
            raise web.HTTPSeeOther(f"/cancel?{urlencode(fields)}")
        try:
            text, went_well = await asyncio.to_thread(action, **fields), True
        except AsyncdlError as error:
            text, went_well = f"{name} failed: {error.message}" + (f"; {error.hint}" if error.hint else ""), False
        self.notes = (Note(time.time(), text, went_well), *self.notes)[:N_NOTES]
        self._watch.forget()
        back = str(form.get("back", "/"))
        raise web.HTTPSeeOther(back if _OWN_PATH.fullmatch(back) else "/")


def _scope(name: str, text: str) -> dict[str, str | int]:
    """Read what the page wrote into its form. Raises HTTPBadRequest for what no page writes."""
    pairs = parse_qsl(text, keep_blank_values=True)
    fields: dict[str, str | int] = dict(pairs)
    if len(pairs) != len(fields) or frozenset(fields) not in SCOPES[name]:
        raise web.HTTPBadRequest(text=f"{name} cannot be done to that\n")
    if "job_id" in fields:
        digits = str(fields["job_id"])
        if not re.fullmatch(r"[0-9]{1,18}", digits):
            raise web.HTTPBadRequest(text="a job has a number\n")
        fields["job_id"] = int(digits)
    return fields

"""One origin's front door: finds the route, lets a fault strike, checks the token, sends, keeps the journal.

A route never sees a request whose token is wrong, nor one that a fault answers in its stead.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args
from urllib.parse import unquote

from aiohttp import web

from asyncdl.demo.exchange import Answer, Call, Refusal, hub_error
from asyncdl.demo.faults import Fault, FaultKind, Origin
from asyncdl.demo.journal import Journal, Request
from asyncdl.demo.spoil import instead, spoiled
from asyncdl.demo.state import HubState
from asyncdl.demo.wire import CUTTING, reset, send

_RANGE_KINDS = frozenset({"wrong_total", "range_ignored", "range_shifted"})
_FILE_KINDS = _RANGE_KINDS | {"changed", "flipped"}
# Struck when a request comes in; a cut waits for the body's length, a URL expires where it is signed.
_EARLY_KINDS = frozenset(get_args(FaultKind)) - {"expired_url", *CUTTING}

Handler = Callable[[HubState, Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """pattern: of the raw URL path; its groups become Call.fields.

    file: whether the path `named` in the URL is a file of a repo, and whether it is its bytes that are `sent`.
    bucket: the rate limit that the route counts for, as the RateLimit headers name it. is_control: a call
    from behind the scenes, which no fault strikes and no total counts.
    """

    methods: str
    pattern: re.Pattern[str]
    handler: Handler
    file: Literal["named", "sent"] | None = None
    bucket: str | None = None
    is_control: bool = False


class Front:
    def __init__(self, state: HubState, origin: Origin, routes: Sequence[Route]) -> None:
        self._state = state
        self._origin = origin
        self._routes = routes

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        raw_path = request.raw_path.partition("?")[0]
        url_path = unquote(raw_path)
        route, fields = self._find(request.method, raw_path)
        file = self._file(route, fields, url_path)
        record = Request(self._origin, request.method, file or url_path, request.raw_path, dict(request.headers))
        if route and route.is_control:
            call = Call(request, url_path, fields, authorized=False, fault=None)
            return await send(request, await self._answer(route, call), None, Journal(), record)
        fault = self._strike(record, url_path, sends_file=route is not None and route.file == "sent")
        call = Call(request, url_path, fields, self._is_authorized(request), fault)
        with self._state.journal.open(record):
            return await self._respond(route, call, record)

    async def _respond(self, route: Route | None, call: Call, record: Request) -> web.StreamResponse:
        fault, journal = call.fault, self._state.journal
        if fault and fault.kind == "hang_up" and call.request.transport:
            journal.struck(record, fault.kind)
            reset(call.request.transport)
            return web.StreamResponse()
        answer = spoiled(fault, await self._answer(route, call))
        if route and route.bucket and not (fault and fault.kind == "status"):
            answer = replace(answer, headers={**self._state.quota(route.bucket), **answer.headers})
        if fault is None and call.request.method != "HEAD":
            paths = (record.path, call.url_path)
            fault = self._state.faults.strike(self._origin, paths, CUTTING, body_bytes=answer.body_bytes)
        if fault:
            journal.struck(record, fault.kind)
        return await send(call.request, answer, fault, journal, record)

    def _find(self, method: str, raw_path: str) -> tuple[Route | None, Mapping[str, str]]:
        for route in self._routes:
            match = route.pattern.fullmatch(raw_path)
            if match and method in route.methods.split():
                return route, {name: unquote(value) for name, value in match.groupdict().items() if value}
        return None, {}

    def _file(self, route: Route | None, fields: Mapping[str, str], url_path: str) -> str | None:
        """The path in its repo of the file whose bytes are asked for."""
        if self._origin == "cdn":
            found = self._state.objects.get(url_path)
            return found.path if found else None
        return fields.get("path") if route and route.file else None

    def _strike(self, record: Request, url_path: str, *, sends_file: bool) -> Fault | None:
        kinds = _EARLY_KINDS if sends_file else _EARLY_KINDS - _FILE_KINDS
        if record.range is None:
            kinds -= _RANGE_KINDS
        return self._state.faults.strike(self._origin, (record.path, url_path), kinds)

    def _is_authorized(self, request: web.BaseRequest) -> bool:
        token = self._state.token
        return token is not None and request.headers.get("Authorization") == f"Bearer {token}"

    async def _answer(self, route: Route | None, call: Call) -> Answer:
        answer = instead(call.fault, call.request.raw_path)
        if answer is not None:
            return answer
        try:
            if self._origin == "hub":
                self._refuse_wrong_token(call)
            if route is None:
                raise hub_error(404, None, "Sorry, we can't find the page you are looking for.")
            return await route.handler(self._state, call)
        except Refusal as refusal:
            return refusal.answer

    def _refuse_wrong_token(self, call: Call) -> None:
        if "Authorization" in call.headers and not call.authorized:
            raise hub_error(401, None, "Invalid credentials in Authorization header")

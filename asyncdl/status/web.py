"""The page: `make_app` puts it together; each handler reads what it shows and gives it to a template.

Every value that a template prints passes `display` and is escaped, by the environment and not by the templates. What
may be asked of a queue is read here; what may be done to it comes in as `actions`. Engines are never asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from asyncdl import __version__
from asyncdl.core.names import display
from asyncdl.errors import AsyncdlError
from asyncdl.status import metrics, view, web_rows
from asyncdl.status.figures import bytes_text, duration_text, share_text, utc_text
from asyncdl.status.snapshot import KINDS, Snapshot
from asyncdl.status.web_actions import Action, Actions
from asyncdl.status.web_chart import chart
from asyncdl.status.web_guard import Guard, add_headers
from asyncdl.status.web_stream import HISTORY_S, Rates, Watch
from asyncdl.store.reader import JobRow, Reader

HERE = Path(__file__).parent

EVERY_S = 1.0
"""Between two snapshots while somebody looks: engines beat once a second."""

N_OVERVIEW = 30
"""Subsets on the first page; the rest is on /datasets."""

N_ROWS = 50
"""Rows of a longer list on one page."""

N_RECENT = 8

N_ATTEMPTS = 100

MAX_ID = 2**63 - 1
"""SQLite's largest row id."""

MAX_FORM_BYTES = 16 * 1024


def make_app(
    queue: Path,
    take: Callable[[Reader], Snapshot],
    actions: Mapping[str, Action],
    *,
    guard: Guard,
    every_s: float = EVERY_S,
) -> web.Application:
    """Return the application. take: called in a thread. actions: see web_actions; without any it is a page to read."""
    site = Site(queue, take, actions, guard, every_s)
    app = web.Application(middlewares=[guard.check, site.explain], client_max_size=MAX_FORM_BYTES)
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(site.watch.end_streams)
    app.on_cleanup.append(site.watch.close)
    app.add_routes(
        [
            web.get("/", site.overview),
            web.get("/events", site.events, allow_head=False),
            web.get("/datasets", site.datasets),
            web.get("/dataset", site.dataset),
            web.get("/errors", site.errors),
            web.get("/job/{id:[0-9]{1,18}}", site.job),
            web.get("/cancel", site.actions.confirm),
            web.post("/do/{name}", site.actions.do),
            web.get("/metrics", site.metrics),
            web.get("/healthz", site.is_up),
            web.get("/readyz", site.is_ready),
            web.static("/static", HERE / "static"),
        ]
    )
    return app


def environment() -> Environment:
    """Return the templates, with `display` before the escaping of everything they print."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"bytes": bytes_text, "duration": duration_text, "utc": utc_text}
    templates.globals |= {"link": web_rows.link, "scope": web_rows.scope, "version": __version__}
    return templates


def _shown(value: object) -> object:
    """Markup is our own; all else may come from outside."""
    return value if isinstance(value, Markup) else display(str(value))


@dataclass(frozen=True, slots=True)
class _Page:
    """A part of a longer list. after: the link to the next part, None at the end."""

    rows: list[web_rows.JobLine]
    after: Markup | None


class Site:
    """The handlers, and what they share."""

    def __init__(
        self,
        queue: Path,
        take: Callable[[Reader], Snapshot],
        actions: Mapping[str, Action],
        guard: Guard,
        every_s: float,
    ) -> None:
        self._queue = queue
        self._templates = environment()
        self._templates.globals["csrf"] = guard.csrf
        self._templates.globals["can"] = frozenset(actions)
        self.watch = Watch(queue, take, self._render_overview, every_s)
        self.actions = Actions(actions, guard, self.watch, self._answer)

    def _render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(notes=self.actions.notes, **values)

    def _answer(self, template: str, *, status: int = 200, **values: Any) -> web.Response:
        return web.Response(status=status, text=self._render(template, **values), content_type="text/html")

    def _render_overview(self, shot: Snapshot, rates: Rates) -> str:
        rows, hosts = view.in_order(shot.datasets), view.hosts_in_order(shot)
        return self._render(
            "_overview.html",
            shot=shot,
            work=view.state_text(shot),
            headline=view.headline(shot),
            files=view.file_counts(shot),
            backends=view.backend_lines(shot),
            percent=share_text(shot.done_bytes, shot.known_bytes),
            chart=chart(rates, shot.at, HISTORY_S),
            stages=list(view.stage_counts(shot)),
            states=view.STATES,
            speed_lines=[*filter(None, [*view.speed_lines(shot), view.disk_line(shot)])],
            errors=web_rows.error_cards(shot),
            rows=[web_rows.dataset_row(row) for row in rows[:N_OVERVIEW]],
            n_more=max(len(rows) - N_OVERVIEW, 0),
            hosts=[(host, view.traffic_text(host)) for host in hosts[: view.MAX_HOSTS]],
            n_more_hosts=max(len(hosts) - view.MAX_HOSTS, 0),
            recent=shot.recent[:N_RECENT],
            engines=[(engine, view.engine_lines(engine, shot.at)) for engine in shot.engines],
        )

    @web.middleware
    async def explain(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Say what is wrong with the queue, rather than call it a bug."""
        try:
            return await handler(request)
        except AsyncdlError as error:
            return self._answer("trouble.html", status=503, message=error.message, hint=error.hint or "")

    async def overview(self, request: web.Request) -> web.Response:
        del request
        look = await self.watch.look()
        return self._answer("overview.html", overview=Markup(look.html), headline=view.headline(look.shot))  # noqa: S704 # rendered above

    async def events(self, request: web.Request) -> web.StreamResponse:
        def trouble(error: AsyncdlError) -> str:
            return self._render("_trouble.html", message=error.message, hint=error.hint or "")

        return await self.watch.stream(request, trouble)

    async def datasets(self, request: web.Request) -> web.Response:
        start = _number(request, "from")
        rows = view.in_order((await self.watch.look()).shot.datasets)
        shown = [web_rows.dataset_row(row) for row in rows[start : start + N_ROWS]]
        after = web_rows.link("/datasets", **{"from": start + N_ROWS}) if len(rows) > start + N_ROWS else None
        return self._answer("datasets.html", rows=shown, n=len(rows), start=start, after=after)

    async def dataset(self, request: web.Request) -> web.Response:
        """One subset: its figures, and its jobs of one kind, N_ROWS at a time."""
        key = tuple(request.query.get(name, "") for name in ("dataset", "revision", "subset"))
        look = await self.watch.look()
        found = [row for row in look.shot.datasets if (row.name, row.revision, row.subset) == key]
        if not found:
            raise web.HTTPNotFound(text="there is no such dataset in the queue\n")
        row = found[0]
        last = (request.query.get("path", ""), _number(request, "id"))
        kinds = [kind for kind in KINDS if any(kind == name for name, _, _ in row.stages)]
        kind = request.query.get("kind", kinds[0] if kinds else "")
        named = (row.name, row.revision, row.subset)
        jobs = await self.watch.ask(lambda reader: reader.page_of_jobs(named, kind, last, N_ROWS + 1))
        here = {"dataset": row.name, "revision": row.revision, "subset": row.subset}
        return self._answer(
            "dataset.html",
            row=web_rows.dataset_row(row),
            is_paused=look.shot.is_paused("dataset", row.name),
            kinds=[(name, name == kind, web_rows.link("/dataset", **here, kind=name)) for name in kinds],
            kind=kind,
            page=_page(jobs, "/dataset", here | {"kind": kind}),
            first=web_rows.link("/dataset", **here, kind=kind) if last[0] else None,
        )

    async def errors(self, request: web.Request) -> web.Response:
        """The jobs that one class of error keeps from their end, N_ROWS at a time."""
        known = {name: request.query.get(name, "") for name in ("kind", "error_class")}
        label, last = " ".join(known.values()), _number(request, "id")
        look = await self.watch.look()
        cards = [card for card in web_rows.error_cards(look.shot) if card.label == label]
        jobs = await self.watch.ask(
            lambda reader: reader.page_of_errors(known["kind"], known["error_class"], last, N_ROWS + 1)
        )
        return self._answer("errors.html", label=label, cards=cards, page=_page(jobs, "/errors", known))

    async def job(self, request: web.Request) -> web.Response:
        """One job and the attempts that did not complete it."""
        id_ = int(request.match_info["id"])
        row, attempts = await self.watch.ask(lambda reader: (reader.job(id_), reader.attempts_of(id_, N_ATTEMPTS)))
        if row is None:
            raise web.HTTPNotFound(text="there is no such job in the queue\n")
        there = web_rows.link("/dataset", dataset=row.name, revision=row.revision, subset=row.subset, kind=row.kind)
        return self._answer(
            "job.html",
            row=row,
            line=web_rows.job_line(row, time.time()),
            attempts=[(attempt, web_rows.took(attempt)) for attempt in attempts],
            there=there,
        )

    async def metrics(self, request: web.Request) -> web.Response:
        look = await self.watch.look()
        attempts = await self.watch.ask(lambda reader: reader.attempt_sums())
        sizes = metrics.sizes(self._queue)
        figures = metrics.Figures(look.shot, attempts, sizes, self.watch.n_taken, look.took_s)
        body, content_type = metrics.exposed(figures, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def is_up(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text="up\n")

    async def is_ready(self, request: web.Request) -> web.Response:
        """Whether the queue is there and of a version that can be read; why not is not for everybody."""
        del request
        try:
            await self.watch.ask(lambda reader: reader.engines())
        except AsyncdlError:
            return web.Response(status=503, text="not ready\n")
        return web.Response(text="ready\n")


def _page(jobs: list[JobRow], path: str, query: dict[str, str]) -> _Page:
    """jobs: one more than are shown where there is a next page, which is `path` with `query` and the last row's key."""
    now = time.time()
    rows, last = [web_rows.job_line(row, now) for row in jobs[:N_ROWS]], jobs[N_ROWS - 1 : N_ROWS]
    more = [web_rows.link(path, **query, path=row.path, id=row.id) for row in last if jobs[N_ROWS:]]
    return _Page(rows, more[0] if more else None)


def _number(request: web.Request, name: str) -> int:
    """Return a row number out of a query, 0 where none is given; raise HTTPBadRequest for what is none."""
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= MAX_ID):
        raise web.HTTPBadRequest(text=f"{name} must be a number\n")
    return int(text)

"""A page over a real queue on a loopback port, its actions recorded, and a browser's worth of client."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from html import unescape
from html.parser import HTMLParser

import aiohttp
from aiohttp import web

from asyncdl.cli.look import look
from asyncdl.errors import ConfigError
from asyncdl.status.web import make_app
from asyncdl.status.web_guard import Guard
from asyncdl.status.web_listen import parse
from tests.unit.status.test_snapshot import NOW, ORG, enqueue, start, writing

TOKEN = "0123456789abcdef-a-token"
NAMES = ("retry", "pause", "resume", "cancel")


@dataclass
class Recorded:
    """Stands for what the command line gives: notes each call; one that is in `failing` fails."""

    calls: list = field(default_factory=list)
    failing: set = field(default_factory=set)

    def actions(self, *names):
        return {name: self._action(name) for name in names or NAMES}

    def _action(self, name):
        def act(**fields):
            self.calls.append((name, fields))
            if name in self.failing:
                raise ConfigError("it <b>cannot</b> be", hint="try later")
            return f"{name} was done to 3 <i>jobs</i>"

        return act


@dataclass
class Page:
    """A running page. url: without the final slash. recorded: what its buttons did."""

    app: web.Application
    url: str
    session: aiohttp.ClientSession
    recorded: Recorded

    def get(self, path, **headers):
        return self.session.get(self.url + path, headers=headers, allow_redirects=False)

    async def text(self, path):
        async with self.get(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()

    def post(self, path, form, **headers):
        return self.session.post(self.url + path, data=form, headers=headers, allow_redirects=False)


@asynccontextmanager
async def serving(queue, *, listen="127.0.0.1:0", token=None, actions=None, every_s=0.02):
    """Run the page over `queue`; listen: what it believes to listen on, for it always is on a loopback port."""
    recorded = Recorded()
    guard = Guard(parse(listen), token)
    given = recorded.actions() if actions is None else actions
    app = make_app(queue, lambda reader: look(reader, queue.parent), given, guard=guard, every_s=every_s)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            yield Page(app, f"http://127.0.0.1:{port}", session, recorded)
    finally:
        await runner.cleanup()


async def fill(queue, files, *, name="org/name", fail=()):
    """A queue with these downloads; the first ones of them are discarded, each with a (class, text) of `fail`."""
    async with writing(queue) as writer:
        await enqueue(writer, files, dataset=replace(ORG, name=name))
        jobs = await start(writer)
        for error_class, text in fail:
            (job,) = await jobs.claim("download", 1, now=NOW, lease_s=60)
            await jobs.discard(job, now=NOW, error_class=error_class, error_text=text)


def forms(html):
    """Every form of a page as (action, its hidden fields)."""
    found = []
    for action, body in re.findall(r'<form method="post" action="([^"]*)">(.*?)</form>', html, re.DOTALL):
        fields = {
            unescape(name): unescape(value)
            for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', body)
        }
        found.append((unescape(action), fields))
    return found


def form(html, action, scope):
    """The fields of the one form that posts `scope` to `action`."""
    (fields,) = [fields for at, fields in forms(html) if (at, fields["scope"]) == (action, scope)]
    return fields


class Elements(HTMLParser):
    """Every element a browser would make: (name, names of its attributes)."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, tuple(sorted(name for name, _ in attrs))))


def elements(html):
    parser = Elements()
    parser.feed(html)
    return parser.found

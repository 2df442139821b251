"""A Hub and its CDN on two loopback ports, in the running event loop or as a program of its own.

Speaks the protocol of the Hugging Face Hub to the stock client and to asyncdl alike. Nothing leaves the
machine, nothing is written to disk.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Literal, Self

from aiohttp import web

from asyncdl.demo import api, cdn, control, resolve, viewer, writing
from asyncdl.demo.faults import Fault, FaultBook, Origin
from asyncdl.demo.front import Front, Handler, Route
from asyncdl.demo.journal import Request, Totals
from asyncdl.demo.repos import Files, Kind, Repo, demo_repos
from asyncdl.demo.state import HubState, Role

_SHUTDOWN_S = 0.05  # guess: what still runs when the hub closes is cut off


class DemoHub:
    """`async with DemoHub() as hub:` serves until the block ends; `hub.endpoint` is its HF_ENDPOINT.

    repos: None for the packaged corpus. token: the only valid one; with None every token is refused.
    page_size: of tree listings. url_life_s: of signed URLs. port, cdn_port: 0 for any free one.
    now: UTC seconds, for what expires. role: what the token may. part_bytes: uploads above it come in parts.
    """

    def __init__(  # noqa: PLR0913  # each is one property of the Hub that a test may want otherwise
        self,
        repos: Iterable[Repo] | None = None,
        *,
        token: str | None = None,
        faults: Iterable[Fault] = (),
        page_size: int = 1000,
        url_life_s: float = 3600.0,
        port: int = 0,
        cdn_port: int = 0,
        now: Callable[[], float] | None = None,
        role: Role = "write",
        part_bytes: int = 8 << 20,
    ) -> None:
        self._state = HubState(token, page_size, url_life_s, role, part_bytes)
        if now is not None:
            self._state.now = now
        self._state.add(demo_repos() if repos is None else repos)
        self._ports = (port, cdn_port)
        self._runners: list[web.ServerRunner] = []
        self.set_faults(faults)

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`, no final slash."""
        return self._state.endpoint

    @property
    def cdn_endpoint(self) -> str:
        return self._state.cdn_endpoint

    @property
    def requests(self) -> deque[Request]:
        """The last requests to both origins, oldest first; running ones included."""
        return self._state.journal.requests

    @property
    def totals(self) -> dict[Origin, Totals]:
        return self._state.journal.totals

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Replace all rules; their counts begin anew."""
        self._state.faults = FaultBook(faults)

    def repo(self, name: str, kind: Kind = "dataset") -> Repo:
        """Raises KeyError for a repo that is not served."""
        return self._state.repos[kind, name]

    @property
    def n_stored(self) -> Counter[str]:
        """How often each LFS object was put here, by its sha256."""
        return self._state.n_stored

    def ignore(self, *paths: str) -> None:
        """Treat these paths as a .gitignore in the repo would."""
        self._state.ignored = frozenset(paths)

    def push(self, name: str, files: Files) -> str:
        """Give a dataset a new revision whose whole tree is `files`; main moves. Returns its sha."""
        return self.repo(name).push(files).sha

    async def __aenter__(self) -> Self:
        state = self._state
        state.cdn_endpoint = await self._listen(Front(state, "cdn", CDN_ROUTES), self._ports[1])
        state.endpoint = await self._listen(Front(state, "hub", HUB_ROUTES), self._ports[0])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def _listen(self, front: Front, port: int) -> str:
        server = web.Server(front, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        self._runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"


def _route(
    methods: str,
    pattern: str,
    handler: Handler,
    *,
    file: Literal["named", "sent"] | None = None,
    bucket: str | None = "api",
) -> Route:
    """{kind}, {repo}, {rev} and {path} as the Hub's URLs have them; a rev is one percent-encoded segment."""
    for name, expression in _PARTS.items():
        pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}>{expression})")
    return Route(methods, re.compile(pattern), handler, file, bucket)


_PARTS = {"kind": "datasets|models", "repo": "[^/]+(?:/[^/]+)?", "rev": "[^/]+", "path": ".+", "oid": "[0-9a-f]{64}"}
_CACHED = "/api/resolve-cache/{kind}/{repo}/{rev}/{path}"
_RESOLVE = "/(?:(?P<kind>datasets)/)?{repo}/resolve/{rev}/{path}"

HUB_ROUTES = [
    _route("GET", "/api/whoami-v2", api.whoami),
    _route("GET HEAD", _CACHED, resolve.resolve_cache, file="sent", bucket=None),
    _route("GET", "/api/{kind}/{repo}/tree/{rev}(?:/{path})?", api.tree),
    _route("POST", "/api/{kind}/{repo}/paths-info/{rev}", api.paths_info),
    _route("GET", "/api/{kind}/{repo}/refs", api.refs),
    _route("GET", "/api/{kind}/{repo}/revision/{rev}", api.info),
    _route("GET", "/api/{kind}/{repo}", api.info),
    _route("GET HEAD", _RESOLVE, resolve.resolve, file="named", bucket="resolvers"),
    _route("POST", "/api/repos/create", writing.create),
    _route("POST", "/api/validate-yaml", writing.validate_yaml),
    _route("POST", "/api/{kind}/{repo}/branch/{rev}", writing.branch),
    _route("POST", "/api/{kind}/{repo}/preupload/{rev}", writing.preupload),
    _route("POST", "/api/{kind}/{repo}/commit/{rev}", writing.commit),
    _route("POST", "/(?:(?P<kind>datasets)/)?{repo}[.]git/info/lfs/objects/batch", writing.lfs_batch),
    _route("POST", "/api/complete_multipart/{oid}", writing.complete),
    _route("POST", "/api/lfs-verify", writing.verify),
    _route("GET", "/splits", viewer.splits, bucket=None),
    _route("GET", "/parquet", viewer.parquet, bucket=None),
    _route("GET", "/size", viewer.size, bucket=None),
    _route("GET", "/is-valid", viewer.is_valid, bucket=None),
    Route("GET", re.compile("/_demo/stats"), control.stats, is_control=True),
    Route("POST", re.compile("/_demo/faults"), control.faults, is_control=True),
]
CDN_ROUTES = [
    _route("GET HEAD", "/xet-bridge-us/.+", cdn.cdn_object, file="sent", bucket=None),
    _route("PUT", "/lfs/{oid}(?:/(?P<part>[0-9]+))?", writing.put, bucket=None),
]


if __name__ == "__main__":
    from asyncdl.demo.serve import main

    main()

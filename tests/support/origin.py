"""A host of a test's own, on a loopback port: what it answers is the test's to say.

`asked` has every request in order, as (path, Range header or ''). body_bytes: handed to sockets so far.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from aiohttp import web

Answer = Callable[["Origin", web.BaseRequest, bytes], Awaitable[web.StreamResponse]]

BLOCK_BYTES = 64 << 10
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Origin:
    """files: {path: content}. answer: how a known file is answered; see `ranged`, `whole`, `chunked`."""

    def __init__(self, files: Mapping[str, bytes], answer: Answer | None = None) -> None:
        self.files = files
        self.answer: Answer = answer or ranged()
        self.asked: list[tuple[str, str]] = []
        self.body_bytes = 0
        self.bytes_by_path: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        server = web.Server(self._serve, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path = unquote(request.raw_path.partition("?")[0]).lstrip("/")
        self.asked.append((path, request.headers.get("Range", "")))
        if path not in self.files:
            return web.Response(status=404)
        return await self.answer(self, request, self.files[path])

    async def send(self, request: web.BaseRequest, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
        """Write `body` behind the headers of `response`, counted."""
        await response.prepare(request)
        for at in range(0, len(body), BLOCK_BYTES):
            await self.write(request, response, body[at : at + BLOCK_BYTES])
        return response

    async def write(self, request: web.BaseRequest, response: web.StreamResponse, block: bytes) -> None:
        await response.write(block)
        self.body_bytes += len(block)
        self.bytes_by_path[unquote(request.raw_path).lstrip("/")] += len(block)


def asked_range(request: web.BaseRequest, size_bytes: int) -> tuple[int, int] | None:
    """Half-open, cut at the end of the file; None where no range is asked."""
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    return None if match is None else (int(match[1]), min(int(match[2]) + 1, size_bytes))


def ranged(etag: str | None = '"v1"') -> Answer:
    """Serves ranges as it should, 416 for those that begin behind the end."""

    async def answer(origin: Origin, request: web.BaseRequest, content: bytes) -> web.StreamResponse:
        headers = {"ETag": etag} if etag else {}
        asked = asked_range(request, len(content))
        if asked is None:
            return await origin.send(request, web.StreamResponse(headers=headers | length(content)), content)
        if asked[0] >= len(content):
            return web.Response(status=416, headers=headers | {"Content-Range": f"bytes */{len(content)}"})
        return await origin.send(request, part(content, *asked, headers), content[slice(*asked)])

    return answer


def part(content: bytes, start: int, stop: int, headers: Mapping[str, str]) -> web.StreamResponse:
    """The head of a 206."""
    label = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}", "Content-Length": str(stop - start)}
    return web.StreamResponse(status=206, headers=dict(headers) | label)


def whole(etag: str | None = '"v1"') -> Answer:
    """Deaf to Range: 200 and everything, always."""

    async def answer(origin: Origin, request: web.BaseRequest, content: bytes) -> web.StreamResponse:
        headers = ({"ETag": etag} if etag else {}) | length(content)
        return await origin.send(request, web.StreamResponse(headers=headers), content)

    return answer


def chunked() -> Answer:
    """Deaf to Range, and says nothing of the size or the version: a program that writes as it goes."""

    async def answer(origin: Origin, request: web.BaseRequest, content: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        return await origin.send(request, response, content)

    return answer


def length(content: bytes) -> dict[str, str]:
    return {"Content-Length": str(len(content))}


class Held:
    """Answers with ranges, but lets no more than `n_bytes` of a body go before `go_on` is set.

    n_open: bodies that wait; `open(n)` waits until there are so many. n_dropped: those whose client went away.
    """

    def __init__(self, n_bytes: int, *, n_free: int = 0) -> None:
        """n_free: so many requests are answered whole before the first is held."""
        self.n_bytes = n_bytes
        self.n_free = n_free
        self.go_on = asyncio.Event()
        self.n_open = 0
        self.n_dropped = 0
        self._changed = asyncio.Condition()

    async def __call__(self, origin: Origin, request: web.BaseRequest, data: bytes) -> web.StreamResponse:
        asked = asked_range(request, len(data))
        start, stop = asked or (0, len(data))
        headers = {"ETag": '"v1"'}
        response = part(data, start, stop, headers) if asked else web.StreamResponse(headers=headers | length(data))
        self.n_free -= 1
        cut = stop if self.n_free >= 0 else min(stop, start + self.n_bytes)
        await origin.send(request, response, data[start:cut])
        if cut < stop:
            try:
                await self._count(1)
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.n_dropped += 1
                raise
            finally:
                await self._count(-1)
            for at in range(cut, stop, BLOCK_BYTES):
                await origin.write(request, response, data[at : min(stop, at + BLOCK_BYTES)])
        return response

    async def _count(self, by: int) -> None:
        async with self._changed:
            self.n_open += by
            self._changed.notify_all()

    async def open(self, n: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.n_open >= n)

"""The Transport of the tests: Replies instead of sockets, so that any host, scheme and address can answer.

Keeps the rules that tests/conformance holds the real one to; nothing is resolved or connected.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from inspect import isawaitable
from urllib.parse import urlsplit

from asyncdl.core.hops import is_private_literal
from asyncdl.errors import TransferError
from asyncdl.net.transport import Request
from tests.support.replies import Reply, part

MAX_HEADER_BYTES = 64 << 10
"""What the own transport takes of a whole head; aiohttp refuses a field of 8190."""

Script = Callable[[Request], Reply | TransferError | Awaitable[Reply]]


class ScriptedTransport:
    """replies: in order, or a function of the request that may have to be awaited; a TransferError is raised.

    asked: every request that left, in order. n_dropped: connections given up because a body was not read to its end.
    private_names: what a resolver would find to be private.
    """

    def __init__(self, replies: Iterable[Reply | TransferError] | Script, private_names: Iterable[str] = ()) -> None:
        self._answer = replies if callable(replies) else _in_order(replies)
        self._private_names = frozenset(private_names)
        self.asked: list[Request] = []
        self.n_open = 0
        self.n_dropped = 0

    @property
    def urls(self) -> list[str]:
        return [request.url for request in self.asked]

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[ScriptedResponse]:
        host = urlsplit(request.url).hostname or ""
        if request.guarded and (is_private_literal(host) or host in self._private_names):
            raise TransferError("private_address", f"{host} is not public")
        self.asked.append(request)
        reply = self._answer(request)
        await asyncio.sleep(0)  # a network is never faster than everybody else who is ready to run
        if isawaitable(reply):
            reply = await reply
        if isinstance(reply, TransferError):
            raise reply
        if reply.silent:
            raise TransferError(*_SILENT[reply.ends])
        if any(len(value) > MAX_HEADER_BYTES for value in reply.headers.values()):
            raise TransferError("odd_reply", "a header is too long")
        response = ScriptedResponse(reply)
        self.n_open += 1
        try:
            yield response
        finally:
            self.n_open -= 1
            self.n_dropped += not response.is_read


_SILENT = {
    "orderly": ("dropped", "the connection ended"),
    "fin": ("dropped", "the connection ended"),
    "reset": ("dropped", "the connection was reset"),
    "stall": ("stalled", "nothing came"),
}


class ScriptedResponse:
    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.status = reply.status
        self.headers = {name.lower(): value for name, value in reply.headers.items()}
        if reply.framing == "length":
            self.headers.setdefault("content-length", str(reply.announced_bytes))
        self.is_read = reply.framing == "length" and reply.announced_bytes == 0

    async def blocks(self) -> AsyncGenerator[memoryview, None]:
        reply, n_bytes = self._reply, 0
        for block in reply.blocks:
            if reply.framing == "length":
                block = block[: reply.announced_bytes - n_bytes]
            n_bytes += len(block)
            if block:
                yield memoryview(block)
        if reply.ends == "stall":
            raise TransferError("stalled", "nothing more came")
        is_short = reply.framing == "length" and n_bytes < reply.announced_bytes
        if is_short or (reply.framing == "chunked" and reply.ends != "orderly"):
            raise TransferError("short_body", "the body ended early")
        self.is_read = True

    async def read(self, limit_bytes: int) -> bytes:
        body = bytearray()
        async for block in self.blocks():
            body += block
            if len(body) > limit_bytes:
                raise TransferError("odd_reply", f"more than {limit_bytes} bytes came")
        return bytes(body)


def _in_order(replies: Iterable[Reply | TransferError]) -> Script:
    rest = iter(replies)
    return lambda _request: next(rest)


def site(pages: Mapping[str, Reply | Script]) -> Script:
    """A script that answers by URL, with or without its query; 404 where there is no such page."""

    def answer(request: Request) -> Reply | TransferError | Awaitable[Reply]:
        found = pages.get(request.url) or pages.get(request.url.partition("?")[0]) or Reply(404)
        return found(request) if callable(found) else found

    return answer


def ranged(content: bytes, etag: str = '"v1"') -> Script:
    """Serves the range that is asked for, or the whole."""

    def answer(request: Request) -> Reply:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if asked is None:
            return Reply(200, {"ETag": etag}, (content,))
        return part(content, int(asked[1]), min(int(asked[2]) + 1, len(content)), ETag=etag)

    return answer

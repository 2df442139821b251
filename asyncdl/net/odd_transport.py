"""The aiohttp transport, made when it is first needed.

Importing aiohttp takes 0.2 s of CPU, a fifth of what it costs to fetch and hash a gigabyte, and most runs meet no proxy
and no odd server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from asyncdl.net.transport import Request, Response, Transport
from asyncdl.net.way_out import STALL_TIMEOUT_S, WayOut


class OddTransport:
    """Owner of an AiohttpTransport, once there is one. Use as a context manager."""

    def __init__(self, *, stall_timeout_s: float = STALL_TIMEOUT_S) -> None:
        self.way_out = WayOut()
        self._stall_timeout_s = stall_timeout_s
        self._inner: Transport | None = None

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[Response]:
        if self._inner is None:
            from asyncdl.net.aiohttp_transport import AiohttpTransport

            transport = AiohttpTransport(stall_timeout_s=self._stall_timeout_s, way_out=self.way_out)
            self._inner = transport  # before the first await: there shall be one
            await self._stack.enter_async_context(transport)
        async with self._inner.open(request) as response:
            yield response

"""Two stages for one play: the same Replies met by the real transport over loopback, and by the scripted one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from asyncdl.net.aiohttp_transport import AiohttpTransport
from asyncdl.net.transport import Request, Response, Transport
from tests.support.lying_server import LyingServer
from tests.support.replies import Reply
from tests.support.scripted_transport import ScriptedTransport

STALL_S = 0.3


@dataclass(frozen=True)
class Asked:
    """A request as it arrived. target: path and query. headers: lower-case names, without Host."""

    target: str
    headers: dict[str, str]


class Stage(Protocol):
    transport: Transport
    url: str

    def open(self, target: str = "/x", **headers: str) -> AbstractAsyncContextManager[Response]:
        """Ask for `target`; headers: `x_y` stands for X-Y."""
        ...

    @property
    def asked(self) -> list[Asked]: ...

    async def dropped(self) -> None:
        """Return once a connection was given up by the client."""
        ...


class _Stage:
    transport: Transport
    url: str

    def open(self, target: str = "/x", **headers: str) -> AbstractAsyncContextManager[Response]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.transport.open(Request(self.url + target, named))


class LoopbackStage(_Stage):
    def __init__(self, transport: AiohttpTransport, server: LyingServer) -> None:
        self.transport = transport
        self.server = server
        self.url = server.url

    @property
    def asked(self) -> list[Asked]:
        return [
            Asked(heard.target, {name: value for name, value in heard.headers.items() if name != "host"})
            for heard in self.server.heard
        ]

    async def dropped(self) -> None:
        await self.server.left.wait()


class ScriptedStage(_Stage):
    url = "http://127.0.0.1:8080"

    def __init__(self, transport: ScriptedTransport) -> None:
        self.transport: ScriptedTransport = transport

    @property
    def asked(self) -> list[Asked]:
        return [
            Asked(request.url.removeprefix(self.url), {name.lower(): text for name, text in request.headers.items()})
            for request in self.transport.asked
        ]

    async def dropped(self) -> None:
        assert self.transport.n_dropped == 1


@asynccontextmanager
async def loopback(replies: Iterable[Reply]) -> AsyncIterator[Stage]:
    async with LyingServer(replies) as server, AiohttpTransport(stall_timeout_s=STALL_S) as transport:
        yield LoopbackStage(transport, server)


@asynccontextmanager
async def scripted(replies: Iterable[Reply]) -> AsyncIterator[Stage]:
    yield ScriptedStage(ScriptedTransport(replies))

"""Three stages for one play: the same Replies met by the two real transports over loopback, and by the scripted one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from asyncdl.net.aiohttp_transport import AiohttpTransport
from asyncdl.net.body_transport import BodyTransport
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
    def __init__(self, transport: Transport, server: LyingServer) -> None:
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
async def aiohttp_alone(stall_timeout_s: float = STALL_S) -> AsyncIterator[AiohttpTransport]:
    async with AiohttpTransport(stall_timeout_s=stall_timeout_s) as transport:
        yield transport


@asynccontextmanager
async def with_bodies(
    stall_timeout_s: float = STALL_S, *, n_slots: int = 8, budget_bytes: int = 8 << 20
) -> AsyncIterator[BodyTransport]:
    """The own transport; at its end every slab must be back and every socket gone."""
    async with aiohttp_alone(stall_timeout_s) as other:
        transport = BodyTransport(other, n_slots=n_slots, stall_timeout_s=stall_timeout_s, budget_bytes=budget_bytes)
        n_slabs = n_free(transport)
        async with transport:
            yield transport
        assert n_free(transport) == n_slabs, "a slab is lost"
        assert all(connection.closed.is_set() for connection in transport._closing), "a socket is open"


def n_free(transport: BodyTransport) -> int:
    """How many slabs are to be had."""
    slabs = transport._slabs
    return len(slabs._free) + slabs._n_left


@asynccontextmanager
async def loopback(replies: Iterable[Reply]) -> AsyncIterator[Stage]:
    async with LyingServer(replies) as server, aiohttp_alone() as transport:
        yield LoopbackStage(transport, server)


@asynccontextmanager
async def own(replies: Iterable[Reply]) -> AsyncIterator[Stage]:
    async with LyingServer(_as_asked(replies)) as server, with_bodies() as transport:
        yield LoopbackStage(transport, server)


def _as_asked(replies: Iterable[Reply]) -> Iterator[Reply]:
    """What is left to the other transport is asked for twice."""
    for reply in replies:
        yield reply
        if reply.framing != "length" and reply.status == 200 and not reply.silent:
            yield reply


@asynccontextmanager
async def scripted(replies: Iterable[Reply]) -> AsyncIterator[Stage]:
    yield ScriptedStage(ScriptedTransport(replies))

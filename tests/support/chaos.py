"""A host that misbehaves by name, at the byte level: requests the script hits meet a fault, all others the truth.

No HTTP library: those refuse to send what is wrong. `tests.support.chaos_faults` holds the faults; what an engine should
make of them is the tests' to say.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

BLOCK_BYTES = 256 << 10
_RANGE = re.compile(r"(?im)^range: bytes=(\d+)-(\d+)\r$")

Fault = Callable[["Talk"], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """at: request, where the fault answers a request; connect, where it greets a connection; port, where nobody listens
    until `ChaosServer.listen`. early: the script hits the first requests even of a file of several segments.
    stall_s: how long an engine should wait for a byte here.
    """

    name: str
    fault: Fault
    at: str = "request"
    early: bool = False
    stall_s: float = 10.0


@dataclass
class Answer:
    """One answer before it is sent, for faults to spoil. headers may hold a name more than once."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    version: str = "HTTP/1.1"
    reason: str = " Reason"

    def set(self, **headers: str | None) -> Self:
        """Replace headers, Like_This for Like-This; None takes one away."""
        for key, value in headers.items():
            name = key.replace("_", "-")
            self.headers = [one for one in self.headers if one[0] != name]
            if value is not None:
                self.headers.append((name, value))
        return self

    def head(self) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return f"{self.version} {self.status}{self.reason}\r\n{lines}\r\n".encode("latin-1")


@dataclass
class Talk:
    """One request and the means to answer it. n: its number, from 1. asked: half-open range, None for the whole.

    is_over: the connection ends behind this answer.
    """

    server: ChaosServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    target: str = ""
    asked: tuple[int, int] | None = None
    n: int = 0
    is_over: bool = field(default=False, init=False)

    # --- what an honest host would say

    def truth(self, content: bytes | None = None, etag: str | None = '"v1"') -> Answer:
        """The right answer of this server: with ranges, or deaf to them."""
        content = self.server.content if content is None else content
        if not self.server.ranges or self.asked is None:
            return self.whole(content, etag)
        if self.asked[0] >= len(content):
            return self.status(416, Content_Range=f"bytes */{len(content)}")
        return self.part(*self.asked, content=content, etag=etag)

    def whole(self, content: bytes | None = None, etag: str | None = '"v1"') -> Answer:
        content = self.server.content if content is None else content
        return Answer(200, [], content).set(Content_Length=str(len(content)), ETag=etag)

    def part(self, start: int, stop: int, content: bytes | None = None, etag: str | None = '"v1"') -> Answer:
        """A 206 with [start, stop), cut at the end, whatever was asked."""
        content = self.server.content if content is None else content
        stop = min(stop, len(content))
        label = f"bytes {start}-{stop - 1}/{len(content)}"
        body = content[start:stop]
        return Answer(206, [], body).set(Content_Range=label, Content_Length=str(len(body)), ETag=etag)

    def status(self, status: int, body: bytes = b"no\n", **headers: str) -> Answer:
        return Answer(status, [], body).set(Content_Length=str(len(body)), **headers)

    # --- what goes over the wire

    async def write(self, data: bytes) -> None:
        """Return once the kernel has it."""
        for at in range(0, len(data), BLOCK_BYTES):
            self.writer.write(data[at : at + BLOCK_BYTES])
            await self.writer.drain()

    async def send(self, answer: Answer, *, upto: int | None = None) -> None:
        """Send it all, or the head and so much of the body."""
        await self.write(answer.head())
        await self.write(answer.body[:upto])

    def close(self) -> None:
        self.is_over = True

    def reset(self) -> None:
        """End the connection with an RST."""
        self.is_over = True
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def silence(self) -> None:
        """Say no more until the client goes away."""
        self.is_over = True
        await self.reader.read()


class ChaosServer:
    """Serves `content` under every path, on two ports of loopback. hits: whether the n-th request (or connection, or
    attempt to connect), from 1, meets the fault.

    older: another version of the content, for faults that change it. Counted: n_connections, n_requests, n_faults;
    `asked_too_often` is set when there were more than `max_requests`, and from then on nobody is served.
    """

    def __init__(
        self,
        content: bytes,
        kind: Kind,
        *,
        older: bytes = b"",
        ranges: bool = True,
        hits: Callable[[int], bool],
        max_requests: int = 1000,
    ) -> None:
        self.content = content
        self.older = older
        self.ranges = ranges
        self.n_connections = self.n_requests = self.n_faults = 0
        self.asked_too_often = asyncio.Event()
        self._kind = kind
        self._hits = hits
        self._max_requests = max_requests
        self._met = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._sockets = [_bound(), _bound()]
        self.url, self.other_url = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in self._sockets)
        self._accepting: list[asyncio.Task[asyncio.Server]] = []
        if self._kind.at != "port":
            self.listen()
        return self

    def listen(self) -> None:
        """Let clients connect from now on."""
        while self._sockets:
            one = self._sockets.pop()
            one.listen(1024)  # at once; the server comes with the loop's next turn
            self._accepting.append(asyncio.create_task(asyncio.start_server(self._serve, sock=one, limit=1 << 20)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in await asyncio.gather(*self._accepting):
            server.close()
        for one in self._sockets:
            one.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def met(self, n_faults: int) -> None:
        """Wait until so many requests met the fault."""
        async with self._met:
            await self._met.wait_for(lambda: self.n_faults >= n_faults)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.n_connections += 1
        writer.transport.set_write_buffer_limits(high=0)  # a drain is then a flush
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                if self._kind.at == "connect" and self._hits(self.n_connections):
                    await self._misbehave(Talk(self, reader, writer))
                else:
                    await self._answer_all(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_over = False
        while not is_over:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except asyncio.IncompleteReadError:
                return
            self.n_requests += 1
            if self.n_requests > self._max_requests:
                self.asked_too_often.set()
                return
            found = _RANGE.search(head)
            asked = (int(found[1]), int(found[2]) + 1) if found else None
            talk = Talk(self, reader, writer, head.split(" ")[1], asked, self.n_requests)
            if self._kind.at == "request" and self._hits(talk.n):
                await self._misbehave(talk)
            else:
                await talk.send(talk.truth())
            is_over = talk.is_over

    async def _misbehave(self, talk: Talk) -> None:
        self.n_faults += 1
        async with self._met:
            self._met.notify_all()
        await self._kind.fault(talk)


def _bound() -> socket.socket:
    one = socket.socket()
    one.bind(("127.0.0.1", 0))
    return one

"""A loopback server on bare sockets that carries out Replies to the letter, broken framing and resets included.

No HTTP library: those refuse to send what is wrong. Keeps a connection open until a Reply or the client ends it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.replies import Reply


@dataclass(frozen=True)
class Heard:
    """One request as it came. headers: lower-case names. connection: which one it came over, from 0."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int


class LyingServer:
    """answer: a Reply for each request, from a list in order or from a function. raw: sent as it is instead."""

    def __init__(
        self,
        replies: Iterable[Reply | bytes] | Callable[[Heard], Reply | bytes] = (),
        tls: ssl.SSLContext | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.host = host
        self.port = port
        self._tls = tls
        self._answer = replies if callable(replies) else _in_order(replies)
        self.heard: list[Heard] = []
        self.left = asyncio.Event()  # a client closed its connection

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=1 << 20, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'http' if self._tls is None else 'https'}://{self.host}:{self.port}"
        self.n_connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def gone(self) -> None:
        """Return once every client is gone."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = self.n_connections
        self.n_connections += 1
        try:
            while (heard := await _hear(reader, number)) is not None:
                self.heard.append(heard)
                reply = self._answer(heard)
                if not await _send(reply, writer):
                    return
                if isinstance(reply, Reply) and reply.ends == "stall":
                    await reader.read()
                    break
            self.left.set()
        except ConnectionError:
            self.left.set()
        except asyncio.CancelledError:
            pass  # the server closes
        finally:
            self._tasks.discard(task)
            writer.close()


def _in_order(replies: Iterable[Reply | bytes]) -> Callable[[Heard], Reply | bytes]:
    rest = iter(replies)
    return lambda _heard: next(rest)


async def _hear(reader: asyncio.StreamReader, connection: int) -> Heard | None:
    """The next request's head, None when the client is gone. Bodies are not read: only GETs come here."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(":", 1) for line in lines if line)
    return Heard(method, target, {name.lower(): value.strip() for name, value in pairs}, connection)


async def _send(reply: Reply | bytes, writer: asyncio.StreamWriter) -> bool:
    """Carry `reply` out; return whether the connection stays."""
    if isinstance(reply, bytes):
        writer.write(reply)
        await writer.drain()
        return False
    if not reply.silent:
        writer.write(head(reply))
        for block in reply.blocks:
            writer.write(b"%x\r\n%b\r\n" % (len(block), block) if reply.framing == "chunked" else block)
            await writer.drain()
            await asyncio.sleep(reply.gap_s)
        if reply.framing == "chunked" and reply.ends == "orderly":
            writer.write(b"0\r\n\r\n")
        await writer.drain()
    if reply.ends == "reset":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return reply.ends == "stall" or (reply.ends == "orderly" and reply.framing != "close")


def head(reply: Reply) -> bytes:
    version = "1.0" if reply.framing == "close" else "1.1"
    headers = dict(reply.headers)
    if reply.framing == "length":
        headers.setdefault("Content-Length", str(reply.announced_bytes))
    elif reply.framing == "chunked":
        headers["Transfer-Encoding"] = "chunked"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/{version} {reply.status} Reason\r\n{lines}\r\n".encode("utf-8", "surrogateescape")

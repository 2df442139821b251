"""The Transport for bodies: keep-alive connections of our own, slabs for all of them, one watchdog.

What it cannot do it leaves to the other transport: hosts behind a proxy, methods but GET, bodies without a
Content-Length, heads that only a lenient parser reads. Address guard, error classes and TLS settings are the same.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol, Self

from asyncdl.core.hops import Origin, is_private_literal, origin_of
from asyncdl.core.names import display
from asyncdl.errors import TransferError
from asyncdl.net.connection import Connection, ConnectionResponse
from asyncdl.net.dial import Dialer
from asyncdl.net.head import request_head
from asyncdl.net.slabs import BUDGET_BYTES, Slabs
from asyncdl.net.transport import Request, Response, Transport
from asyncdl.net.way_out import STALL_TIMEOUT_S, WayOut

KEEP_ALIVE_S = 15.0
"""An idle connection older than this is closed rather than tried: S3 keeps them for about 20 s. Guess."""

ODD_FOR_S = 60.0
"""A host that sent a body without its length is left to the other transport this long: its next objects are likely to
be of the same kind, and one such answer must not slow a run of days. Guess."""

SMALL_REST_BYTES = 16 << 10
SMALL_REST_S = 1.0
"""What is left of a body that nobody wants is read up to this, to keep the connection. Guess."""

READ_STATUSES = frozenset({200, 206, 400, 401, 403})
"""Answers whose bodies are read: of a refusal it says why, and AWS sends those without a Content-Length."""

Key = tuple[Origin, bool]


class OtherTransport(Transport, Protocol):
    """AiohttpTransport or OddTransport. way_out: by which both go."""

    way_out: WayOut


class BodyTransport:
    """Owner of the idle connections by origin and of the watchdog. Use as a context manager, inside the other's.

    other: what odd bodies and proxies are left to; it stays its maker's to close. n_slots: connections at once.
    budget_bytes: of memory for bodies, all connections together.
    """

    def __init__(
        self,
        other: OtherTransport,
        *,
        n_slots: int,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        self._other = other
        self._stall_timeout_s = stall_timeout_s
        self._slabs = Slabs(n_slots, budget_bytes=budget_bytes)
        self._dialer = Dialer(other.way_out)
        self._idle: defaultdict[Key, deque[tuple[Connection, float]]] = defaultdict(deque)
        self._busy: set[Connection] = set()
        self._closing: set[Connection] = set()
        self._odd_until: dict[Origin, float] = {}

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._watched_at = self._loop.time()
        self._watch()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watchdog.cancel()
        self._abort_idle(lambda _connection, _since: True)
        for connection in list(self._busy):
            connection.cut(TransferError("dropped", f"{connection.host}: the transport was closed"))
        for connection in (*self._closing, *self._busy):
            await connection.closed.wait()

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[Response]:
        origin = origin_of(request.url)
        if request.guarded and is_private_literal(origin.host):
            raise TransferError("private_address", f"a public host led to {display(origin.host)}")
        key = (origin, request.guarded)
        exchange = await self._exchange(key, request) if self._may_ask(origin, request) else None
        if exchange is None:
            async with self._other.open(request) as other:
                yield other
            return
        connection, response = exchange
        try:
            yield response
            await _finish_small(connection)
        finally:
            self._put_away(key, connection)

    def _may_ask(self, origin: Origin, request: Request) -> bool:
        is_plain = request.method == "GET" and self._odd_until.get(origin, 0.0) <= self._loop.time()
        return is_plain and self._other.way_out.proxy_for(request.url) is None

    async def _exchange(self, key: Key, request: Request) -> tuple[Connection, ConnectionResponse] | None:
        """Send the request and read the head of its answer; None where the other transport must ask.

        A kept connection may have been closed by the peer meanwhile: then another is tried at once, for nothing of
        the answer had come (RFC 9112 §9.3.1 lets a GET be repeated so).
        """
        message = request_head(request, key[0])
        while True:
            connection, is_fresh = await self._connection(key)
            self._busy.add(connection)
            try:
                head = await connection.ask(message)
            except TransferError as error:
                if error.error_class == "dropped" and not is_fresh:
                    self._let_go(connection)
                    continue
                self._drop(connection)
                if error.error_class == "odd_reply":
                    return None
                raise
            except BaseException:
                self._let_go(connection)
                raise
            if head.body_bytes is None and head.status in READ_STATUSES:
                self._let_go(connection)
                if head.status in (200, 206):
                    self._odd_until[key[0]] = self._loop.time() + ODD_FOR_S
                return None
            return connection, ConnectionResponse(connection, head)

    async def _connection(self, key: Key) -> tuple[Connection, bool]:
        """Return a connection and whether it is a fresh one."""
        idle = self._idle[key]
        while idle:
            connection, since = idle.pop()
            if connection.is_reusable and self._loop.time() - since < KEEP_ALIVE_S:
                return connection, False
            self._let_go(connection)
        origin, guarded = key
        return await self._dialer.dial(origin, lambda: Connection(self._slabs, origin.host), guarded=guarded), True

    def _put_away(self, key: Key, connection: Connection) -> None:
        if connection.is_reusable:
            connection.rest()
            self._dialer.praise(connection.address)
            self._busy.discard(connection)
            self._idle[key].append((connection, self._loop.time()))
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if connection.error is not None:
            self._dialer.blame(connection.address)
        self._let_go(connection)

    def _let_go(self, connection: Connection) -> None:
        self._busy.discard(connection)
        connection.abort()
        if not connection.closed.is_set():
            self._closing.add(connection)

    def _watch(self) -> None:
        """End what has had no byte for too long, for who waits for it cannot notice; hand on what trickles in.

        Nobody is blamed when this comes late itself: the machine slept or was busy, and the bytes may lie unread.
        """
        now = self._loop.time()
        is_late = now - self._watched_at > self._stall_timeout_s / 2
        self._watched_at = now
        for connection in list(self._busy):
            idle_s = 0.0 if connection.last_at is None or is_late else now - connection.last_at
            if idle_s > self._stall_timeout_s:
                connection.cut(TransferError("stalled", f"{connection.host} sent nothing for a while"))
                self._forget_address(connection.address)
            else:
                connection.hand_over()
        self._abort_idle(lambda _connection, since: now - since > KEEP_ALIVE_S)
        self._closing = {connection for connection in self._closing if not connection.closed.is_set()}
        self._watchdog = self._loop.call_later(self._stall_timeout_s / 4, self._watch)

    def _forget_address(self, address: str) -> None:
        """What stalled on one connection is asked for again on a new one: the kept ones may hang just the same."""
        self._abort_idle(lambda connection, _since: connection.address == address)

    def _abort_idle(self, is_unwanted: Callable[[Connection, float], bool]) -> None:
        for idle in self._idle.values():
            for entry in [entry for entry in idle if is_unwanted(*entry)]:
                idle.remove(entry)
                self._let_go(entry[0])


async def _finish_small(connection: Connection) -> None:
    """Read what is left of a small body, so that the connection can be used again. A fault here is nobody's."""
    if 0 < connection.n_left_bytes <= SMALL_REST_BYTES:
        with suppress(TransferError, TimeoutError):
            async with asyncio.timeout(SMALL_REST_S):
                while await connection.next_block() is not None:
                    pass

"""One keep-alive HTTP/1.1 connection of our own: a request out, a head in, the body straight into slabs.

aiohttp's parser and queue copy each byte three times more and cost twice the CPU of a whole transfer. Only bodies
with a Content-Length are read here; whatever else a server may send is left to the other transport.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import cast

from asyncdl.errors import TransferError
from asyncdl.net.head import MAX_HEAD_BYTES, Head, end_of_head
from asyncdl.net.slabs import Slabs

HEAD_STEP_BYTES = 4 << 10
"""Taken in one read while a head is awaited: whole for most, and what of the body comes along is copied."""

MAX_FILLED = 2
"""Slabs that wait for a slow reader before the connection stops reading: one on its way to the disk, one behind it."""


_VERSION = b"HTTP/1."


class Connection(asyncio.BufferedProtocol):
    """Owner of one socket and of the slabs that hold its unread bytes. One exchange at a time.

    The event loop's calls fill slabs and may close the socket; only the reader's (`next_block`, `rest`, `abort`) give
    slabs back, for what it was lent may be on its way to the disk in a thread.

    address: of the peer, '' before it is connected. error: why nothing more comes. closed: set once the socket is gone.
    last_at: loop time of the last progress, for the watchdog; None while nothing is awaited from the peer.
    """

    def __init__(self, slabs: Slabs, host: str) -> None:
        self.host = host
        self.address = ""
        self.error: TransferError | None = None
        self.closed = asyncio.Event()
        self.last_at: float | None = None
        self._slabs = slabs
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._keeps_alive = True
        self._head_block = bytearray(HEAD_STEP_BYTES)
        self._n_head = 0
        self._head: asyncio.Future[Head | None] | None = None
        self._slab: memoryview | None = None  # being filled
        self._n_slab = 0
        self._n_left = 0  # of the body, still to come
        self._filled: deque[memoryview] = deque()
        self._lent: memoryview | None = None  # with the reader
        self._rest = memoryview(b"")  # came with the head, and found no slab
        self._is_paused = False
        self._is_over = False
        self._news: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.host} at {self.address or 'no address'}, {self._n_left} bytes to come>"

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio. Always a memoryview: TLS slices what it gets, and a slice of a bytearray is a copy."""
        del sizehint
        if self._n_left == 0:
            return memoryview(self._head_block)[self._n_head :]
        assert self._slab is not None  # reading is paused while there is none
        return self._slab[self._n_slab : self._n_slab + self._n_left]

    def buffer_updated(self, n_bytes: int) -> None:
        if self._n_left == 0:
            self._n_head += n_bytes
            self._read_head(self._n_head - n_bytes)
            return
        self.last_at = self._loop.time()
        self._count_body(n_bytes)
        if self._slab is None:
            self._proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._keeps_alive = False
        if self._n_left:
            self._fail(TransferError("short_body", f"{self.host} ended the body early"))
        elif self._head is not None or exc is not None:
            self._fail(TransferError("dropped", f"{self.host} dropped the connection"))
        self.closed.set()

    # --- the head

    def _read_head(self, n_searched: int) -> None:
        if self._head is None:
            self._refuse("sent what nobody asked for")
            return
        end = end_of_head(self._head_block, n_searched, self._n_head)
        if not _VERSION.startswith(self._head_block[: min(self._n_head, len(_VERSION))]):
            self._refuse("does not answer in HTTP/1.1")
        elif end is not None:
            self._parse_head(end)
        elif self._n_head == MAX_HEAD_BYTES:
            self._refuse("sent a head without an end")
        elif self._n_head == len(self._head_block):
            self._head_block = self._head_block + bytes(HEAD_STEP_BYTES)  # a new one: the old one may be looked at

    def _parse_head(self, end: int) -> None:
        try:
            head = Head(bytes(memoryview(self._head_block)[:end]))
        except ValueError:
            self._refuse("does not answer in HTTP/1.1")
            return
        rest = bytes(memoryview(self._head_block)[end : self._n_head])
        self._n_head = 0
        if 100 <= head.status < 200:  # a hint on the way (RFC 9110 §15.2); the answer follows
            self._n_head = len(rest)
            self._head_block[: self._n_head] = rest
            if rest:
                self._read_head(0)
        else:
            self._begin_body(head, rest)

    def _refuse(self, how: str) -> None:
        self.cut(TransferError("odd_reply", f"{self.host} {how}"))

    def _begin_body(self, head: Head, rest: bytes) -> None:
        """rest: what came with the head; more than the body has ends the connection."""
        n_body = head.body_bytes or 0
        self._keeps_alive = head.keeps_alive and head.body_bytes is not None and len(rest) <= n_body
        self._n_left = n_body
        self._rest = memoryview(rest)[:n_body]
        self.last_at = self._loop.time() if n_body else None
        self._answer(head)
        self._proceed()

    def _answer(self, head: Head | None) -> None:
        if self._head is not None and not self._head.done():
            self._head.set_result(head)
        self._head = None

    # --- the body

    def _count_body(self, n_bytes: int) -> None:
        assert self._slab is not None
        self._n_slab += n_bytes
        self._n_left -= n_bytes
        if self._n_left == 0:
            self.last_at = None
        if self._n_left == 0 or self._n_slab == len(self._slab):
            self._fill()

    def _fill(self) -> None:
        assert self._slab is not None
        self._filled.append(self._slab[: self._n_slab])
        self._slab, self._n_slab = None, 0
        self._wake()

    def _ready_slab(self) -> bool:
        if self._slab is None and len(self._filled) < MAX_FILLED:
            self._slab = self._slabs.take()
        return self._slab is not None

    def _proceed(self) -> None:
        """Read on into a slab; where there is none, or too much lies unread, stop reading until there is.

        Who waits for a slow disk must not blame the peer meanwhile.
        """
        if self._is_over or self._transport is None:
            return
        while self._rest and self._ready_slab():
            self._copy_rest()
        if self._n_left == 0 or self._ready_slab():
            if self._is_paused:
                self._is_paused = False
                self.last_at = self._loop.time() if self._n_left else None
                self._transport.resume_reading()
            return
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self.last_at = None
        if len(self._filled) < MAX_FILLED:  # else the reader comes for them, and calls
            self._slabs.when_free(self._proceed)

    def _copy_rest(self) -> None:
        assert self._slab is not None
        n = min(len(self._rest), len(self._slab) - self._n_slab)
        self._slab[self._n_slab : self._n_slab + n] = self._rest[:n]
        self._rest = self._rest[n:]
        self._count_body(n)

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # --- one exchange

    async def ask(self, message: bytes) -> Head:
        """Send a request and return the head of its answer. Raises TransferError.

        The whole head must come before the watchdog does: its bytes are no progress, or a trickle could last for ever.
        """
        if self.error is not None:
            raise self.error
        if self._transport is None or self._transport.is_closing():
            raise TransferError("dropped", f"{self.host} closed the connection")
        self._head = self._loop.create_future()
        self.last_at = self._loop.time()
        self._transport.write(message)
        head = await self._head
        if head is None:
            assert self.error is not None
            raise self.error
        return head

    async def next_block(self) -> memoryview | None:
        """Return the next bytes of the body, None at its end; they are valid until the next call, `rest` or `abort`.

        What came before a fault is returned before the fault is raised.
        """
        self._take_back()
        while not self._filled:
            if self._n_left == 0:
                return None
            if self._n_slab and self.error is not None:
                self._fill()
            elif self.error is not None:
                raise self.error
            else:
                self._news = self._loop.create_future()
                await self._news
        was_full = len(self._filled) == MAX_FILLED
        self._lent = self._filled.popleft()
        if was_full and self._is_paused:
            self._proceed()
        return self._lent

    def hand_over(self) -> None:
        """Give a reader who waits what there is: on a slow connection a slab takes minutes to fill."""
        if self._n_slab and self._news is not None and not self._news.done():
            self._fill()
            self._proceed()

    def _take_back(self) -> None:
        if self._lent is not None:
            lent, self._lent = self._lent, None
            self._slabs.give(lent)

    # --- ends

    @property
    def n_left_bytes(self) -> int:
        """How much of the body is still to come."""
        return self._n_left

    @property
    def is_reusable(self) -> bool:
        """Whether another request may go out: the last answer has come whole and the peer keeps the line."""
        is_open = self._transport is not None and not self._transport.is_closing() and self.error is None
        return is_open and self._keeps_alive and self._n_left == 0 and self._head is None

    def rest(self) -> None:
        """Be idle until the next `ask`."""
        self._take_back()
        while self._filled:
            self._slabs.give(self._filled.popleft())
        self.last_at = None

    def cut(self, error: TransferError) -> None:
        """Close the socket at once and let who waits for this connection have `error`, after what has come."""
        self._keeps_alive = False
        self.last_at = None
        if self._transport is not None:
            self._transport.abort()
        self._fail(error)

    def _fail(self, error: TransferError) -> None:
        self.error = self.error or error
        self._answer(None)
        self._wake()

    def abort(self) -> None:
        """Close the socket at once and give every slab back; nobody reads from here any more."""
        self._is_over = True
        self._keeps_alive = False
        if self._transport is not None:
            self._transport.abort()
        if self._slab is not None:
            self._filled.append(self._slab)
            self._slab, self._n_slab = None, 0
        self.rest()


class ConnectionResponse:
    """See transport.Response; the answer of one exchange."""

    def __init__(self, connection: Connection, head: Head) -> None:
        self._connection = connection
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers

    async def blocks(self) -> AsyncGenerator[memoryview, None]:
        while (block := await self._connection.next_block()) is not None:
            yield block

    async def read(self, limit_bytes: int) -> bytes:
        body = bytearray()
        while (block := await self._connection.next_block()) is not None:
            body += block
            if len(body) > limit_bytes:
                raise TransferError("odd_reply", f"{self._connection.host} answers with more than {limit_bytes} bytes")
        return bytes(body)

"""An Answer goes over a socket, whole or as a fault wants it: cut, ended early, stalled, slowed.

What is counted as sent has been handed to the socket. `drop` and `early_end` end the connection; before a
reset the kernel is given time to pass on what was sent, since a reset discards what still waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct

from aiohttp import web

from asyncdl.demo.content import BLOCK_BYTES, Blocks
from asyncdl.demo.exchange import Answer
from asyncdl.demo.faults import Fault
from asyncdl.demo.journal import Journal, Request

CUTTING = ("drop", "early_end", "stall")
_SIOCOUTQNSD = 0x894B  # linux/sockios.h: bytes in the send queue that were not sent yet
_FLUSH_S = 2.0  # guess: how long a reset waits for a client that does not read
_TICKS_PER_S = 20  # guess: a slow body moves this often


async def send(
    request: web.BaseRequest, answer: Answer, fault: Fault | None, journal: Journal, record: Request
) -> web.StreamResponse:
    """Write the answer and record it. Returns when the client has it, or never will."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if answer.chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = answer.body_bytes if answer.length_bytes is None else answer.length_bytes
    journal.answered(record, answer.status)
    with contextlib.suppress(ConnectionError):  # the client may go away at any time; the record says how far
        await response.prepare(request)
        if request.method != "HEAD" and answer.status != 304:
            await _send_body(request, response, answer, fault, journal, record)
    return response


async def _send_body(
    request: web.BaseRequest,
    response: web.StreamResponse,
    answer: Answer,
    fault: Fault | None,
    journal: Journal,
    record: Request,
) -> None:
    cut = fault if fault and fault.kind in CUTTING else None
    n_bytes = cut.after_bytes if cut else answer.body_bytes
    per_s = fault.bytes_per_s if fault and fault.kind == "slow" else None
    if cut and request.transport:
        request.transport.set_write_buffer_limits(high=0)
    with contextlib.closing(answer.content.blocks(answer.start, answer.start + n_bytes)) as blocks:
        for block in _in_steps(blocks, per_s):
            await response.write(block)
            journal.sent(record, len(block))
            if per_s:
                await asyncio.sleep(len(block) / per_s)
    if cut:
        await _cut(request, response, cut.kind)
    elif answer.length_bytes is not None and answer.length_bytes > answer.body_bytes:
        await _cut(request, response, "early_end")


def _in_steps(blocks: Blocks, per_s: float | None) -> Blocks:
    """Small enough pieces for a body that is slowed down; the blocks themselves for any other."""
    step = max(int(per_s / _TICKS_PER_S), 1) if per_s else BLOCK_BYTES
    for block in blocks:
        for at in range(0, len(block), step):
            yield block[at : at + step]


async def _cut(request: web.BaseRequest, response: web.StreamResponse, kind: str) -> None:
    response.force_close()
    transport = request.transport
    if transport is None:
        return
    await response.write(b"")
    if kind == "stall":
        await asyncio.Event().wait()  # the server cancels this when the client goes away or the hub closes
    elif kind == "early_end":
        transport.close()
    else:
        await _flushed(transport)
        reset(transport)


def reset(transport: asyncio.Transport) -> None:
    """End a connection with a TCP reset, unsent bytes discarded."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _flushed(transport: asyncio.Transport) -> None:
    """Wait until the kernel has sent everything, where it can tell."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _FLUSH_S
    while sock is not None and loop.time() < give_up_at and not transport.is_closing():
        try:
            unsent = fcntl.ioctl(sock.fileno(), _SIOCOUTQNSD, b"\0\0\0\0")
        except OSError:
            return
        if unsent == b"\0\0\0\0":
            return
        await asyncio.sleep(0.001)

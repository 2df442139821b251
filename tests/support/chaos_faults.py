"""The faults by name, for `tests.support.chaos`. Each is what one request (or connection) meets; KINDS has them all.

Where a fault is about ranges and none was asked for, the truth is told. Lawful oddities are among them: those must do
no harm at all.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from tests.support.chaos import Answer, Fault, Kind, Talk

KINDS: dict[str, Kind] = {}

STALL_S = 0.15
TRICKLE_STALL_S, TRICKLE_GAP_S, TRICKLE_BLOCKS = 0.5, 0.06, 11
"""A slow body lasts longer than what an engine may wait for one byte."""


def kind(name: str, **options: Any) -> Callable[[Fault], Fault]:
    def note(fault: Fault) -> Fault:
        KINDS[name] = Kind(name, fault, **options)
        return fault

    return note


def _cut(answer: Answer) -> int:
    """Most of a body, never nothing: one byte of one."""
    return len(answer.body) - len(answer.body) // 8


# --- connections


@kind("nobody listens", at="port")
async def _(talk: Talk) -> None:
    raise AssertionError("nobody can have asked")


@kind("closed at connect", at="connect")
async def _(talk: Talk) -> None:
    talk.close()


@kind("reset at connect", at="connect")
async def _(talk: Talk) -> None:
    talk.reset()


@kind("silent at connect", at="connect", stall_s=STALL_S)
async def _(talk: Talk) -> None:
    await talk.silence()


@kind("closed for an answer")
async def _(talk: Talk) -> None:
    talk.close()


@kind("reset for an answer")
async def _(talk: Talk) -> None:
    talk.reset()


@kind("silence for an answer", stall_s=STALL_S)
async def _(talk: Talk) -> None:
    await talk.silence()


@kind("closed behind each answer, unannounced")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth())
    talk.close()


@kind("reset behind each answer")
async def _(talk: Talk) -> None:
    """A client that has not read all by then may lose the rest."""
    await talk.send(talk.truth())
    talk.reset()


@kind("Connection: close")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth().set(Connection="close"))
    talk.close()


@kind("Connection: close, and then open")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth().set(Connection="close"))


@kind("a second answer glued on")
async def _(talk: Talk) -> None:
    """It is the wrong answer to what is asked next: who takes it off the connection has wrong bytes."""
    answer, content = talk.truth(), talk.server.content
    start, stop = talk.asked or (0, len(content))
    follows = talk.part(stop, 2 * stop - start) if stop < len(content) else talk.part(start, stop)
    await talk.write(answer.head() + answer.body[:1])
    await talk.write(answer.body[1:] + follows.head() + bytes(len(follows.body)))


@kind("a 408 glued on, then closed")
async def _(talk: Talk) -> None:
    """What proxies tell an idle connection before they close it."""
    answer = talk.truth()
    await talk.write(answer.head() + answer.body + talk.status(408, Connection="close").head() + b"no\n")
    talk.close()


@kind("a stray empty line behind the body")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth())
    await talk.write(b"\r\n")


# --- heads


@kind("head cut by a close")
async def _(talk: Talk) -> None:
    await talk.write(talk.truth().head()[:-10])
    talk.close()


@kind("head cut by a reset")
async def _(talk: Talk) -> None:
    await talk.write(talk.truth().head()[:-10])
    talk.reset()


@kind("reset behind the head")
async def _(talk: Talk) -> None:
    await talk.write(talk.truth().head())
    talk.reset()


@kind("closed behind the head")
async def _(talk: Talk) -> None:
    await talk.write(talk.truth().head())
    talk.close()


@kind("head cut by silence", stall_s=STALL_S)
async def _(talk: Talk) -> None:
    await talk.write(talk.truth().head()[:-10])
    await talk.silence()


@kind("head without an end")
async def _(talk: Talk) -> None:
    """16 MiB of it, more than any client should read."""
    await talk.write(b"HTTP/1.1 200 Reason\r\n")
    line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
    for _ in range(1 << 4):
        await talk.write(line * (1 << 10))
    talk.close()


@kind("header line without an end")
async def _(talk: Talk) -> None:
    await talk.write(b"HTTP/1.1 200 Reason\r\nX-Filler: ")
    for _ in range(1 << 4):
        await talk.write(b"x" * (1 << 20))
    talk.close()


@kind("head of 100 kB")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    answer.headers += [(f"X-Filler-{n}", "x" * 1000) for n in range(100)]
    await talk.send(answer)


@kind("garbage")
async def _(talk: Talk) -> None:
    await talk.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20)
    talk.close()


@kind("another protocol")
async def _(talk: Talk) -> None:
    await talk.write(b"220 ftp.example ready\r\n500 what?\r\n")
    talk.close()


@kind("no head at all")
async def _(talk: Talk) -> None:
    """HTTP/0.9: the bytes and nothing else."""
    await talk.write(talk.truth().body[:4096])
    talk.close()


@kind("status that is no number")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    answer.version = "HTTP/1.1 OK"
    await talk.send(answer)


@kind("status of two digits")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    answer.status = 20
    await talk.send(answer)


@kind("header without a colon")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    await talk.write(answer.head()[:-2] + b"this is no header\r\n\r\n" + answer.body)


@kind("NUL in a header")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth().set(X_Odd="a\0b"))


@kind("HTTP/1.0 without a length")
async def _(talk: Talk) -> None:
    answer = talk.truth().set(Content_Length=None)
    answer.version = "HTTP/1.0"
    await talk.send(answer)
    talk.close()


@kind("100 Continue first")
async def _(talk: Talk) -> None:
    await talk.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    await talk.send(talk.truth())


@kind("103 Early Hints first")
async def _(talk: Talk) -> None:
    await talk.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nContent-Length: 5\r\n\r\n")
    await talk.send(talk.truth())


@kind("101 Switching Protocols")
async def _(talk: Talk) -> None:
    await talk.write(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    await talk.write(b"\0\1\2\3")
    talk.close()


@kind("no reason phrase")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    answer.reason = " "
    await talk.send(answer)


@kind("header names in capitals")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    answer.headers = [(name.upper(), f"   {value}  ") for name, value in answer.headers]
    await talk.send(answer)


@kind("line feeds alone")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    await talk.write(answer.head().replace(b"\r\n", b"\n") + answer.body)


# --- bodies


@kind("body cut by a close")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    await talk.send(answer, upto=_cut(answer))
    talk.close()


@kind("body cut by a reset")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    await talk.send(answer, upto=_cut(answer))
    talk.reset()


@kind("body cut by silence", stall_s=STALL_S)
async def _(talk: Talk) -> None:
    answer = talk.truth()
    await talk.send(answer, upto=_cut(answer))
    if _cut(answer) < len(answer.body):
        await talk.silence()


@kind("trickle", stall_s=TRICKLE_STALL_S)
async def _(talk: Talk) -> None:
    answer = talk.truth()
    await talk.write(answer.head())
    step = len(answer.body) // TRICKLE_BLOCKS + 1
    for at in range(0, len(answer.body), step):
        await asyncio.sleep(TRICKLE_GAP_S)
        await talk.write(answer.body[at : at + step])


@kind("bytes one by one")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    data = answer.head() + answer.body
    for at in range(600):
        await talk.write(data[at : at + 1])
        await asyncio.sleep(0)
    await talk.write(data[600:])


@kind("byte flipped")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    at = len(answer.body) // 2
    answer.body = b"%b%c%b" % (answer.body[:at], answer.body[at] ^ 1, answer.body[at + 1 :]) if answer.body else b""
    await talk.send(answer)


@kind("body longer than its length")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    answer.body += b"\0" * 70_000
    await talk.send(answer)


@kind("Content-Length too small")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    await talk.send(answer.set(Content_Length=str(_cut(answer))))


@kind("Content-Length too large")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    await talk.send(answer.set(Content_Length=str(len(answer.body) + 100)))
    talk.close()


@kind("no Content-Length")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth().set(Content_Length=None))
    talk.close()


@kind("no Content-Length and cut")
async def _(talk: Talk) -> None:
    answer = talk.truth().set(Content_Length=None)
    await talk.send(answer, upto=_cut(answer))
    talk.close()


@kind("Content-Length that is no number")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth().set(Content_Length="many"))
    talk.close()


@kind("Content-Length below zero")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth().set(Content_Length="-1"))
    talk.close()


@kind("two lengths")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    answer.headers.append(("Content-Length", str(len(answer.body) // 2)))
    await talk.send(answer)
    talk.close()


def _in_chunks(body: bytes) -> bytes:
    cut = len(body) // 3 + 1
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def _chunked(answer: Answer, end: bytes = b"0\r\n\r\n") -> Answer:
    answer.set(Content_Length=None, Transfer_Encoding="chunked")
    answer.body = _in_chunks(answer.body) + end
    return answer


@kind("chunked")
async def _(talk: Talk) -> None:
    await talk.send(_chunked(talk.truth()))


@kind("chunked with a trailer")
async def _(talk: Talk) -> None:
    await talk.send(_chunked(talk.truth(), b"0;odd=1\r\nX-Late: 1\r\n\r\n"))


@kind("chunked and a length")
async def _(talk: Talk) -> None:
    """RFC 9112 section 6.3: the encoding overrides, or the message is refused."""
    answer = talk.truth()
    size = str(len(answer.body))
    await talk.send(_chunked(answer).set(Content_Length=size))
    talk.close()


@kind("chunked without an end")
async def _(talk: Talk) -> None:
    await talk.send(_chunked(talk.truth(), b""))
    talk.close()


@kind("chunked and broken", stall_s=STALL_S)
async def _(talk: Talk) -> None:
    answer = talk.truth().set(Content_Length=None, Transfer_Encoding="chunked")
    body = answer.body
    answer.body = b"%x\r\n%b\r\nzz\r\n%b" % (len(body) // 2, body[: len(body) // 2], body[len(body) // 2 :])
    await talk.send(answer)
    talk.close()


@kind("gzip in spite of identity")
async def _(talk: Talk) -> None:
    answer = talk.truth()
    answer.body = gzip.compress(answer.body, compresslevel=0)
    await talk.send(answer.set(Content_Encoding="gzip", Content_Length=str(len(answer.body))))


@kind("HTML in place of the data")
async def _(talk: Talk) -> None:
    await talk.send(talk.status(200, b"<html>log in</html>", Content_Type="text/html; charset=utf-8"))


# --- ranges


@kind("200 for a range")
async def _(talk: Talk) -> None:
    await talk.send(talk.whole())


@kind("206 that begins elsewhere")
async def _(talk: Talk) -> None:
    if talk.asked is None:
        return await talk.send(talk.truth())
    start, stop = talk.asked
    at = start - 100 if start else 100
    return await talk.send(talk.part(at, stop))


@kind("206 of less than was asked")
async def _(talk: Talk) -> None:
    """Lawful (RFC 9110 section 15.3.7)."""
    if talk.asked is None:
        return await talk.send(talk.truth())
    start, stop = talk.asked
    size = min(stop, len(talk.server.content)) - start
    return await talk.send(talk.part(start, start + size - size // 8))


@kind("206 of more than was asked")
async def _(talk: Talk) -> None:
    if talk.asked is None:
        return await talk.send(talk.truth())
    answer = talk.part(*talk.asked)
    start, stop = talk.asked[0], talk.asked[0] + len(answer.body) + 100
    answer.body += bytes(100)
    total = max(stop, len(talk.server.content))
    label = f"bytes {start}-{stop - 1}/{total}"
    return await talk.send(answer.set(Content_Range=label, Content_Length=str(len(answer.body))))


@kind("206 without Content-Range")
async def _(talk: Talk) -> None:
    answer = talk.part(*talk.asked) if talk.asked else talk.truth()
    await talk.send(answer.set(Content_Range=None))


@kind("206 with an odd Content-Range")
async def _(talk: Talk) -> None:
    answer = talk.part(*talk.asked) if talk.asked else talk.truth()
    await talk.send(answer.set(Content_Range="bytes all"))


@kind("206 whose range runs backwards")
async def _(talk: Talk) -> None:
    answer = talk.part(*talk.asked) if talk.asked else talk.truth()
    await talk.send(answer.set(Content_Range=f"bytes 9-3/{len(talk.server.content)}"))


@kind("206 with a wrong total")
async def _(talk: Talk) -> None:
    size = len(talk.server.content)
    if talk.asked is None or talk.asked[0] >= size:
        return await talk.send(
            talk.truth() if talk.asked is None else talk.status(416, Content_Range=f"bytes */{size}")
        )
    answer = talk.part(*talk.asked)
    start, stop = talk.asked[0], talk.asked[0] + len(answer.body)
    return await talk.send(answer.set(Content_Range=f"bytes {start}-{stop - 1}/{size + 77}"))


@kind("206 without a total")
async def _(talk: Talk) -> None:
    if talk.asked is None:
        return await talk.send(talk.truth())
    answer = talk.part(*talk.asked)
    start, stop = talk.asked[0], talk.asked[0] + len(answer.body)
    return await talk.send(answer.set(Content_Range=f"bytes {start}-{stop - 1}/*"))


@kind("206 to no range")
async def _(talk: Talk) -> None:
    await talk.send(talk.part(*(talk.asked or (0, len(talk.server.content)))))


@kind("multipart/byteranges")
async def _(talk: Talk) -> None:
    if talk.asked is None:
        return await talk.send(talk.truth())
    answer = talk.part(*talk.asked)
    label = dict(answer.headers)["Content-Range"]
    answer.body = b"--xyz\r\nContent-Range: %b\r\n\r\n%b\r\n--xyz--\r\n" % (label.encode(), answer.body)
    answer.set(Content_Range=None, Content_Length=str(len(answer.body)))
    return await talk.send(answer.set(Content_Type="multipart/byteranges; boundary=xyz"))


@kind("416 to a valid range")
async def _(talk: Talk) -> None:
    await talk.send(talk.status(416) if talk.asked else talk.truth())


@kind("416 that names the right size")
async def _(talk: Talk) -> None:
    size = len(talk.server.content)
    await talk.send(talk.status(416, Content_Range=f"bytes */{size}") if talk.asked else talk.truth())


@kind("416 that names another size")
async def _(talk: Talk) -> None:
    size = len(talk.server.content) - 1
    await talk.send(talk.status(416, Content_Range=f"bytes */{size}") if talk.asked else talk.truth())


# --- statuses


def _refuses(status: int, name: str = "", **headers: str) -> None:
    @kind(f"{status}{name}")
    async def _(talk: Talk) -> None:
        await talk.send(talk.status(status, b"" if status in (204, 304) else b"no\n", **headers))


for _status in (204, 304, 400, 401, 403, 404, 408, 410, 412, 429, 451, 500, 502, 503, 504, 520, 799):
    _refuses(_status)
_refuses(429, " for seconds", Retry_After="7")
_refuses(429, " for no time", Retry_After="0")
_refuses(429, " for an hour", Retry_After="3600")
_refuses(429, " with a spent RateLimit", RateLimit='"api";r=0;t=3')
_refuses(429, " with another RateLimit", RateLimit='"api";r=12;t=3')
_refuses(429, " with an odd Retry-After", Retry_After="soon")
_refuses(503, " for seconds", Retry_After="7")


@kind("429 until a date")
async def _(talk: Talk) -> None:
    await talk.send(talk.status(429, Retry_After=formatdate(time.time() + 100, usegmt=True)))


# --- versions


@kind("ETag of each answer its own")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth(etag=f'"{talk.n}"'))


@kind("weak ETags")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth(etag=f'W/"{talk.n}"'))


@kind("no validator")
async def _(talk: Talk) -> None:
    await talk.send(talk.truth(etag=None))


@kind("new ETag, new size", early=True)
async def _(talk: Talk) -> None:
    older = talk.server.older[:-7]
    await talk.send(talk.truth(older, '"old"') if talk.n % 2 else talk.truth())


@kind("new ETag, same size", early=True)
async def _(talk: Talk) -> None:
    await talk.send(talk.truth(talk.server.older, '"old"') if talk.n % 2 else talk.truth())


@kind("same ETag, other bytes", early=True)
async def _(talk: Talk) -> None:
    await talk.send(talk.truth(talk.server.older) if talk.n % 2 else talk.truth())


# --- redirects


def _redirects(name: str, location: str, status: int = 302) -> None:
    @kind(name)
    async def _(talk: Talk) -> None:
        await talk.send(talk.status(status, Location=location))


_redirects("redirect in a circle", "/a.bin")
_redirects("redirect to another scheme", "ftp://127.0.0.1/a.bin")
_redirects("redirect to a file", "file:///etc/hostname")
_redirects("redirect with a password", "http://user:word@127.0.0.1/a.bin")
_redirects("redirect that cannot be read", "http://[::1/a.bin")
_redirects("redirect to a dead port", "http://127.0.0.1:1/a.bin", 307)


@kind("redirect without Location")
async def _(talk: Talk) -> None:
    await talk.send(talk.status(302))


@kind("redirect to a relative place")
async def _(talk: Talk) -> None:
    there = talk.target.startswith("/there/")
    await talk.send(talk.truth() if there else talk.status(301, Location="../there/./a.bin?x=%20y#z"))


@kind("redirect to another port")
async def _(talk: Talk) -> None:
    there = talk.target.startswith("/there/")
    await talk.send(talk.truth() if there else talk.status(308, Location=f"{talk.server.other_url}/there/a.bin"))


@kind("signed URL that has expired")
async def _(talk: Talk) -> None:
    """The redirect is honest, its target is not: 403 as long as the script hits."""
    if "Signature=" in talk.target:
        await talk.send(talk.status(403))
    else:
        await talk.send(talk.status(302, Location=f"{talk.server.other_url}/there/a.bin?Signature={talk.n}"))

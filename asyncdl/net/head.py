"""The two heads of an HTTP/1.1 exchange: the request's as it goes out, the answer's as httptools reads it.

Knows nothing of sockets.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - at its first use it might find no handle to be read with
import re
from functools import lru_cache
from urllib.parse import urlsplit

import httptools

from asyncdl.core.hops import DEFAULT_PORTS, Origin
from asyncdl.errors import TransferError
from asyncdl.net.transport import Request

MAX_HEAD_BYTES = 64 << 10
"""Signed Locations are ~1.5 kB; nginx takes at most 32 kB of headers by default, Apache 8 kB a line."""

_END = re.compile(rb"\n\r?\n")
"""Bare line feeds end a head too (RFC 9112 §2.2). The parser refuses it then, but it is not waited for."""

_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f]")
_NOT_IN_LINE = re.compile(r"[\r\n\0]")


def request_head(request: Request, origin: Origin) -> bytes:
    """Return the request as it goes out. origin: of its URL.

    Raises TransferError("odd_reply") where a URL or a header would end its line and begin another (RFC 9112 §11.2):
    what is asked for may be what a redirect or a listing said.
    """
    url = urlsplit(request.url)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {_authority(origin)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if _NOT_IN_URL.search(request.url) or any(map(_NOT_IN_LINE.search, lines)):
        raise TransferError("odd_reply", f"a control character in a request for {origin.host}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


@lru_cache(maxsize=256)
def _authority(origin: Origin) -> str:
    """Return the value of Host (RFC 9110 §7.2)."""
    try:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host.encode("idna").decode()
    except UnicodeError:
        raise TransferError("dns", f"{origin.host} cannot be the name of a host") from None
    return host if origin.port == DEFAULT_PORTS[origin.scheme] else f"{host}:{origin.port}"


def end_of_head(block: bytearray, start: int, stop: int) -> int | None:
    """Return where in `block` the body begins, None if the head does not end before `stop`.

    start: up to there there was no end.
    """
    found = _END.search(block, max(start - 2, 0), stop)
    return None if found is None else found.end()


class Head:
    """A parsed head. headers: lower-case names; of a repeated one the last value counts, as with the other transport.

    body_bytes: how long the body is, None if only its end would tell. keeps_alive: the peer keeps the connection.
    """

    def __init__(self, block: bytes) -> None:
        """Raises ValueError for what is not HTTP/1.x."""
        self.headers: dict[str, str] = {}
        self.keeps_alive = False
        self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(block)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise ValueError("not an HTTP/1 head") from None
        self.status: int = self._parser.get_status_code()
        self.body_bytes = self._body_bytes()
        del self._parser  # it refers to this

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("ascii", "replace").lower()] = value.decode("utf-8", "surrogateescape")

    def on_headers_complete(self) -> None:
        # Behind a body of no bytes the parser has forgotten it.
        self.keeps_alive = self._parser.should_keep_alive()

    def _body_bytes(self) -> int | None:
        if self.status in (204, 304):  # RFC 9112 §6.3
            return 0
        length = self.headers.get("content-length", "")
        return int(length) if length.isdecimal() and "transfer-encoding" not in self.headers else None

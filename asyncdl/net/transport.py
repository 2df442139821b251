"""One HTTP hop: a Request goes out, a Response comes back, redirects are answers like any other.

Implementations: `net.body_transport`, which carries the bodies, `net.aiohttp_transport` for control requests and odd
servers (`net.odd_transport` makes it when it is needed), and the scripted one of the tests.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """url: absolute, already quoted; it is sent as it stands. headers: complete, nothing is added but Host.

    guarded: refuse to connect to private, loopback and link-local addresses. The query of `url` may be a signed
    secret, so the URL is left out of repr.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "GET"
    guarded: bool = False


class Response(Protocol):
    """headers: lower-case names. The body is identity-encoded as it came; nothing is decoded."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def blocks(self) -> AsyncGenerator[memoryview, None]:
        """Yield the body's blocks in order, each valid until the next is asked for.

        Raises TransferError when it ends early, stalls or breaks, after all that came before.
        """
        ...

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body; raise TransferError("odd_reply") when it is longer than limit_bytes."""
        ...


class Transport(Protocol):
    def open(self, request: Request) -> AbstractAsyncContextManager[Response]:
        """Send `request`; yield the Response once its headers are in. Leaving early drops the connection.

        Raises TransferError with class connect, dns, tls, timeout, stalled, dropped, short_body or private_address.
        """
        ...

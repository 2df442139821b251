"""The Transport on aiohttp: one hop, nothing followed, nothing decoded, nothing remembered.

Foreign exceptions become TransferError here and nowhere else. Cookies, netrc and environment credentials are off;
proxies of the environment are honoured.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from asyncdl.core.hops import is_private_literal
from asyncdl.core.names import display
from asyncdl.core.retry import NO_HANDLES_S
from asyncdl.errors import TransferError
from asyncdl.net.resolve import PrivateAddressError, addresses_of
from asyncdl.net.transport import Request
from asyncdl.net.way_out import CONNECT_TIMEOUT_S, DNS_TTL_S, STALL_TIMEOUT_S, WayOut

READ_BUFFER_BYTES = 64 << 10
"""Per connection; aiohttp holds up to twice that, so 128 of them 16 MiB in all."""

BLOCK_BYTES = 256 << 10
"""Reads are gathered to this before they are handed on: a thread hop each 64 KiB would cost more than the copy."""

KEEPALIVE_S = 30.0
"""An idle connection is cheaper to keep than TLS is to set up, and servers close theirs after some 60 s. Guess."""


class _Resolver(AbstractResolver):
    """guarded: see `net.resolve`."""

    def __init__(self, *, guarded: bool) -> None:
        self._guarded = guarded

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=str(sockaddr[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, sockaddr in await addresses_of(host, port, guarded=self._guarded)
            if family in (kind, socket.AF_UNSPEC)
        ]

    async def close(self) -> None:
        """It keeps nothing."""


class AiohttpTransport:
    """Owner of two sessions, one of them guarded. Use as a context manager."""

    def __init__(self, *, stall_timeout_s: float = STALL_TIMEOUT_S, way_out: WayOut | None = None) -> None:
        """way_out: by which somebody else goes, too; otherwise one of its own."""
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=stall_timeout_s)
        self._stall_timeout_s = stall_timeout_s
        self.way_out = way_out or WayOut()

    async def __aenter__(self) -> Self:
        self._session = self._new_session(guarded=False)
        self._guarded = self._new_session(guarded=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._guarded.close()

    def _new_session(self, *, guarded: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # slots are the limit
            resolver=_Resolver(guarded=guarded),
            ttl_dns_cache=DNS_TTL_S,
            keepalive_timeout=KEEPALIVE_S,
            ssl=self.way_out.tls,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=self._timeout,
            read_bufsize=READ_BUFFER_BYTES,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[AiohttpResponse]:
        host = urlsplit(request.url).hostname or ""
        if request.guarded and is_private_literal(host):
            raise TransferError("private_address", f"a public host led to {display(host)}")
        proxy = self.way_out.proxy_for(request.url)
        # A proxy is the user's own and may be private; it resolves the name where this machine cannot see it.
        session = self._guarded if request.guarded and proxy is None else self._session
        with foreign_errors(host):
            response = await session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=dict(request.headers),
                allow_redirects=False,
                proxy=proxy,
            )
        try:
            yield AiohttpResponse(response, host, self._stall_timeout_s)
        finally:
            if response.content.at_eof():
                await response.release()
            else:
                response.close()


class AiohttpResponse:
    """See transport.Response."""

    def __init__(self, response: aiohttp.ClientResponse, host: str, stall_timeout_s: float) -> None:
        self._response = response
        self._host = host
        self._stall_timeout_s = stall_timeout_s
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    async def blocks(self) -> AsyncGenerator[memoryview, None]:
        gathered = bytearray()
        try:
            while block := await self._read_some():
                gathered += block
                if len(gathered) >= BLOCK_BYTES:
                    yield memoryview(gathered)
                    gathered = bytearray()
        except TransferError:
            if gathered:
                yield memoryview(gathered)  # what came before the fault is good
            raise
        if gathered:
            yield memoryview(gathered)

    async def _read_some(self) -> bytes:
        """Return the next bytes, b"" at the end. A broken chunk makes aiohttp forget its own time limit."""
        with foreign_errors(self._host):
            try:
                async with asyncio.timeout(self._stall_timeout_s):
                    return await self._response.content.readany()
            except RuntimeError:  # "Connection closed.", of a body whose framing broke
                raise TransferError("short_body", f"{self._host} broke the body off") from None

    async def read(self, limit_bytes: int) -> bytes:
        body = bytearray()
        async for block in self.blocks():
            body += block
            if len(body) > limit_bytes:
                raise TransferError("odd_reply", f"{self._host} answers with more than {limit_bytes} bytes")
        return bytes(body)


@contextmanager
def foreign_errors(host: str) -> Iterator[None]:
    """Turn what aiohttp raises into TransferError. Messages name the host, never the URL.

    The cause is left out: aiohttp writes whole URLs, signature and all, into some of its messages.
    """
    try:
        yield
    except aiohttp.ClientConnectorDNSError as error:
        if isinstance(error.os_error, PrivateAddressError):
            raise TransferError("private_address", str(error.os_error)) from None
        raise TransferError("dns", f"{host} has no address: {display(str(error.os_error))}") from None
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
        raise TransferError("tls", f"no safe connection to {host}: {display(str(error))}") from None
    except aiohttp.ClientConnectorError as error:
        if error.os_error.errno in (errno.EMFILE, errno.ENFILE):
            text = f"no handle for a connection to {host}"
            raise TransferError("no_handles", text, retry_after_s=NO_HANDLES_S) from None
        raise TransferError("connect", f"{host} does not answer: {display(str(error.os_error))}") from None
    except aiohttp.ConnectionTimeoutError:
        raise TransferError("timeout", f"{host} did not answer in {CONNECT_TIMEOUT_S:.0f} s") from None
    except TimeoutError:
        raise TransferError("stalled", f"{host} sent nothing for a while") from None
    except aiohttp.ClientPayloadError:
        raise TransferError("short_body", f"{host} ended the body early") from None
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, ConnectionError):
        raise TransferError("dropped", f"{host} dropped the connection") from None
    except aiohttp.ClientError as error:
        raise TransferError("odd_reply", f"{host}: {display(type(error).__name__)}") from None
    except UnicodeError:
        raise TransferError("dns", f"{host} cannot be the name of a host") from None

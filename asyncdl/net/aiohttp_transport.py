"""The Transport on aiohttp: one hop, nothing followed, nothing decoded, nothing remembered.

Foreign exceptions become TransferError here and nowhere else. Cookies, netrc and environment credentials are off;
proxies of the environment are honoured.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from asyncdl.core.hops import is_private, is_private_literal
from asyncdl.core.names import display
from asyncdl.core.retry import NO_HANDLES_S
from asyncdl.errors import TransferError
from asyncdl.net.transport import Request

CONNECT_TIMEOUT_S = 10.0
"""huggingface_hub's default; a TCP handshake that takes longer is better tried anew."""

STALL_TIMEOUT_S = 10.0
"""No byte for this long is a stall; a slow but moving body may take for ever."""

READ_BUFFER_BYTES = 64 << 10
"""Per connection; aiohttp holds up to twice that, so 128 of them 16 MiB in all."""

BLOCK_BYTES = 256 << 10
"""Reads are gathered to this before they are handed on: a thread hop each 64 KiB would cost more than the copy."""

DNS_TTL_S = 300
"""A run lasts hours and CDNs move their names within minutes; thousands of requests must not ask each time. Guess."""

KEEPALIVE_S = 30.0
"""An idle connection is cheaper to keep than TLS is to set up, and servers close theirs after some 60 s. Guess."""


class PrivateAddressError(OSError):
    """A guarded name leads to an address that is not on the public internet."""


class GuardedResolver(AbstractResolver):
    """Resolves names and refuses those with an address that is not public, at the moment of connecting.

    Checked here rather than before the request, so that a name which changes its address in between (DNS
    rebinding) does not slip through.
    """

    def __init__(self) -> None:
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if any(is_private(one["host"]) for one in found):
            raise PrivateAddressError(f"{host} has an address that is not public")
        return found

    async def close(self) -> None:
        await self._inner.close()


class AiohttpTransport:
    """Owner of two sessions, one of them guarded. Use as a context manager.

    tls: verifies https hosts; it honours SSL_CERT_FILE and SSL_CERT_DIR.
    """

    def __init__(self, *, stall_timeout_s: float = STALL_TIMEOUT_S) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=stall_timeout_s)
        self._proxies = getproxies()
        self.tls = ssl.create_default_context()

    async def __aenter__(self) -> Self:
        self._session = self._new_session(None)
        self._guarded = self._new_session(GuardedResolver())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._guarded.close()

    def _new_session(self, resolver: AbstractResolver | None) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # slots are the limit
            resolver=resolver,
            ttl_dns_cache=DNS_TTL_S,
            keepalive_timeout=KEEPALIVE_S,
            ssl=self.tls,
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
        proxy = self.proxy_for(request.url)
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
            yield AiohttpResponse(response, host)
        finally:
            if response.content.at_eof():
                await response.release()
            else:
                response.close()

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy that the environment names for `url`."""
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if proxy is None or proxy_bypass(parts.netloc):
            return None
        return proxy


class AiohttpResponse:
    """See transport.Response."""

    def __init__(self, response: aiohttp.ClientResponse, host: str) -> None:
        self._response = response
        self._host = host
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    async def blocks(self) -> AsyncIterator[memoryview]:
        gathered = bytearray()
        try:
            with foreign_errors(self._host):
                async for block in self._response.content.iter_any():
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

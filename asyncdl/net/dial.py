"""From an origin to a connected socket: all addresses of the name, raced (RFC 8305), TLS verified.

Names are looked up in a thread and kept for a while; the race is aiohappyeyeballs', as in
aiohttp itself. An address whose connections went silent or broke goes to the end of the line.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TypeVar

import aiohappyeyeballs

from asyncdl.core.hops import Origin
from asyncdl.core.names import display
from asyncdl.core.retry import NO_HANDLES_S
from asyncdl.errors import TransferError
from asyncdl.net.resolve import Addresses, PrivateAddressError, addresses_of
from asyncdl.net.way_out import CONNECT_TIMEOUT_S, DNS_TTL_S, WayOut

P = TypeVar("P", bound=asyncio.BufferedProtocol)

RACE_DELAY_S = 0.25
"""RFC 8305 §8, Connection Attempt Delay."""

PATIENCE = 2
"""Failures before another address of the name is tried first: a single one says more about the connection. Guess."""

Key = tuple[str, int, bool]


class Dialer:
    """Owner of the names resolved lately and of what is held against their addresses."""

    def __init__(self, way_out: WayOut) -> None:
        self._way_out = way_out
        self._known: dict[Key, tuple[float, Addresses]] = {}
        self._looking_up: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failures: Counter[str] = Counter()

    def blame(self, address: str) -> None:
        """A connection to `address` could not be made, went silent or broke."""
        self._failures[address] += 1

    def praise(self, address: str) -> None:
        """A connection to `address` did what it should."""
        self._failures.pop(address, None)

    async def dial(self, origin: Origin, make: Callable[[], P], *, guarded: bool) -> P:
        """Return a connected protocol. Raises TransferError dns, connect, timeout, tls, dropped or private_address."""
        key = (origin.host, origin.port, guarded)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await self._connect(origin, make, await self._resolve(key))
        except TimeoutError:
            error = TransferError("timeout", f"{origin.host} did not answer in {CONNECT_TIMEOUT_S:.0f} s")
        except ssl.SSLError as failed:
            error = TransferError("tls", f"no safe connection to {origin.host}: {display(str(failed))}")
        except ConnectionResetError:
            error = TransferError("dropped", f"{origin.host} dropped the connection")
        except OSError as failed:
            if failed.errno in (errno.EMFILE, errno.ENFILE):
                text = f"no handle for a connection to {origin.host}"
                raise TransferError("no_handles", text, retry_after_s=NO_HANDLES_S) from None
            error = TransferError("connect", f"{origin.host} does not answer: {display(str(failed))}")
        self._known.pop(key, None)  # the name may have moved
        raise error

    async def _connect(self, origin: Origin, make: Callable[[], P], addresses: Addresses) -> P:
        loop = asyncio.get_running_loop()
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=RACE_DELAY_S, interleave=1, loop=loop
        )
        if sock.getpeername()[0] != addresses[0][4][0]:
            self.blame(str(addresses[0][4][0]))  # each connection that begins there waits for RACE_DELAY_S
        # From here on the loop closes the socket, however this ends: to close it here too would close the number of
        # a file that a thread has opened in between.
        if origin.scheme == "https":
            name = origin.host.rstrip(".")  # no certificate has the dot of the root
            _, protocol = await loop.create_connection(make, sock=sock, ssl=self._way_out.tls, server_hostname=name)
        else:
            _, protocol = await loop.create_connection(make, sock=sock)
        return protocol

    async def _resolve(self, key: Key) -> Addresses:
        """Return where the name leads, the addresses that failed too often last. One look-up for all who wait."""
        async with self._looking_up[key]:
            known = self._known.get(key)
            if known is None or time.monotonic() - known[0] > DNS_TTL_S:
                known = self._known[key] = (time.monotonic(), await _look_up(key))
        return sorted(known[1], key=lambda one: self._failures[str(one[4][0])] // PATIENCE)


async def _look_up(key: Key) -> Addresses:
    host, port, guarded = key
    try:
        return await addresses_of(host, port, guarded=guarded)
    except PrivateAddressError as error:
        raise TransferError("private_address", str(error)) from None
    except UnicodeError:
        raise TransferError("dns", f"{host} cannot be the name of a host") from None
    except OSError as error:
        raise TransferError("dns", f"{host} has no address: {display(str(error))}") from None

"""From the name of a host to its addresses, and the guard against those that are not public.

Checked at the moment of connecting rather than before the request, so that a name which changes its address in between
(DNS rebinding) does not slip through.
"""

from __future__ import annotations

import asyncio
import socket

from aiohappyeyeballs import AddrInfoType

from asyncdl.core.hops import is_private

Addresses = list[AddrInfoType]


class PrivateAddressError(OSError):
    """A guarded name leads to an address that is not on the public internet."""


async def addresses_of(host: str, port: int, *, guarded: bool) -> Addresses:
    """Return all addresses of `host`, best first (RFC 6724), as `socket.getaddrinfo` gives them.

    Raises PrivateAddressError if guarded and one of them is not public, OSError or UnicodeError if there are none.
    """
    found = await _look_up(host, port)
    if guarded and any(is_private(str(one[4][0])) for one in found):
        raise PrivateAddressError(f"{host} has an address that is not public")
    return found


async def _look_up(host: str, port: int) -> Addresses:
    loop = asyncio.get_running_loop()
    return list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG))

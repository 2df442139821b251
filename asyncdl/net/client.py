"""One hop with the rules on: gate, headers, address guard, and what the answer means for the gate."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncdl.core.hops import GateName, gate_of, gate_of_quota, is_private, is_private_literal, origin_of
from asyncdl.core.ranges import ByteRange
from asyncdl.core.reply import retry_after_s, spent_quotas
from asyncdl.net.credentials import Credentials
from asyncdl.net.gates import Gates
from asyncdl.net.transport import Request, Response, Transport


class Client:
    """allow_private: do not guard redirects. Owns what it learned about which hosts are public."""

    def __init__(
        self, transport: Transport, credentials: Credentials, gates: Gates, *, allow_private: bool = False
    ) -> None:
        self._transport = transport
        self.credentials = credentials
        self.gates = gates
        self._allow_private = allow_private
        self._is_public: dict[str, bool] = {}

    def gate_of(self, url: str) -> GateName:
        return gate_of(url, self.credentials.hub)

    @asynccontextmanager
    async def hop(
        self,
        url: str,
        *,
        guarded: bool,
        now: float,
        asked: ByteRange | None = None,
        validator: str | None = None,
    ) -> AsyncIterator[Response]:
        """Send one GET; yield its answer. Raises TransferError, also while its gate is closed.

        guarded: see `must_guard`. now: UTC seconds. validator: see `Credentials.headers`. A 429 or 503 closes the gate
        before anybody else asks.
        """
        gate = self.gate_of(url)
        self.gates.check(gate)
        headers = await self.credentials.headers(url, now=now, asked=asked, validator=validator)
        async with self._transport.open(Request(url, headers, guarded=guarded)) as response:
            self._heed(gate, response, now)
            yield response

    def _heed(self, gate: GateName, response: Response, now: float) -> None:
        """Close what the answer asks to be closed; also one that went well may have used up its quota."""
        if response.status in (429, 503):
            self.gates.refused(gate, retry_after_s(response.status, response.headers, now))
        else:
            self.gates.accepted(gate)
        for quota, wait_s in spent_quotas(response.headers).items():
            named = gate_of_quota(gate, quota)
            if named is not None:
                self.gates.spent(named, wait_s)

    async def must_guard(self, url: str) -> bool:
        """Whether a redirect answered by `url` may not lead to a private address.

        Who starts at a private address (a mirror in the house, a test) meant it; a public host that leads
        inside is an attack on the machine that asks (SSRF).
        """
        if self._allow_private:
            return False
        host = origin_of(url).host
        if host not in self._is_public:
            self._is_public[host] = not await _is_inside(host)
        return self._is_public[host]


async def _is_inside(host: str) -> bool:
    """Whether all addresses of `host` are private: one private record must not buy an attacker's host a free hand."""
    literal = is_private_literal(host)
    if literal is not None:
        return literal
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # a proxy may know the name; without one the request itself will say so
    return bool(found) and all(is_private(str(address[0])) for *_, address in found)

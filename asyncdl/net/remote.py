"""One remote object: its stable URL, and the signed URL that the stable one leads to.

The redirect is followed once for all segments and followed again, once for all, when its signature has expired:
every request to a Hub's `/resolve/` counts against its quota, requests to the CDN do not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from asyncdl.core.hops import MAX_HOPS, is_expired, is_signed, next_url, origin_of
from asyncdl.core.ranges import ByteRange
from asyncdl.core.reply import Body, Pinned, Redirect, judge
from asyncdl.core.s3 import refusal_of
from asyncdl.errors import TransferError
from asyncdl.net.client import Client
from asyncdl.net.s3_access import ERROR_BYTES
from asyncdl.net.transport import Response


@dataclass(frozen=True, slots=True)
class _Location:
    """is_final: no redirect is expected of it. has_clock: its expiry and this machine's clock made sense together."""

    url: str = field(repr=False)
    guarded: bool = False
    hops: int = 0
    is_final: bool = False
    has_clock: bool = True


class RemoteObject:
    """Owner of one object's location. Safe for many segments at once. host: of the stable URL."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url
        self.host = origin_of(url).host
        self._location: _Location | None = None
        self._locating = asyncio.Lock()

    def relocate(self) -> None:
        """Follow the redirect anew for the next request: where it led is silent."""
        self._location = None

    @asynccontextmanager
    async def open(self, asked: ByteRange | None, pinned: Pinned) -> AsyncIterator[tuple[Body, Response]]:
        """Ask for a range (None: the whole); yield what the answer is and the answer, ready to be read.

        Raises TransferError with any class of `core.reply` and of the transport.
        """
        async with AsyncExitStack() as stack:
            try:
                found = await self._follow(stack, asked, pinned)
            except TransferError as error:
                if error.error_class != "url_expired":
                    raise
                found = await self._follow(stack, asked, pinned)  # the location was dropped; one fresh try
            yield found

    async def _follow(self, stack: AsyncExitStack, asked: ByteRange | None, pinned: Pinned) -> tuple[Body, Response]:
        while True:
            if (location := self._usable_location()).is_final:
                answer = await self._ask(stack, location, asked, pinned)
            else:
                async with self._locating:
                    if (location := self._usable_location()).is_final:
                        continue  # another segment found it while this one waited
                    answer = await self._ask(stack, location, asked, pinned)
                    if not isinstance(answer, Redirect):
                        self._location = replace(location, is_final=True)
            if not isinstance(answer, Redirect):
                return answer

    def _usable_location(self) -> _Location:
        """Return where to ask. An expiry that had passed when the URL came is left to the server's answer."""
        location = self._location
        if location is not None and location.has_clock and is_expired(location.url, time.time()):
            location = self._location = None
        return location or _Location(self._url)

    async def _ask(
        self, stack: AsyncExitStack, location: _Location, asked: ByteRange | None, pinned: Pinned
    ) -> tuple[Body, Response] | Redirect:
        """Make one request. A redirect moves the location on; an expired signature takes it back."""
        hop = AsyncExitStack()
        async with hop:
            response = await hop.enter_async_context(
                self._client.hop(
                    location.url, guarded=location.guarded, now=time.time(), asked=asked, validator=pinned.condition
                )
            )
            try:
                answer = judge(
                    response.status,
                    response.headers,
                    asked=asked,
                    pinned=pinned,
                    signed=self._may_expire(location),
                    now=time.time(),
                )
            except TransferError as error:
                if error.error_class == "url_expired":
                    self._location = None if self._location is location else self._location
                elif response.status in (400, 401, 403) and "xml" in response.headers.get("content-type", ""):
                    raise refusal_of(await response.read(ERROR_BYTES)) or error from None
                raise
            if isinstance(answer, Redirect):
                await self._move(location, answer)
                return answer
            await stack.enter_async_context(hop.pop_all())
            return answer, response
        raise AssertionError("unreachable")

    def _may_expire(self, location: _Location) -> bool:
        """Whether `location` holds a permission of its own. Names of signatures differ from one CDN to the next
        (token, hdnea, sig); what they share is that a redirect to another origin handed them out.
        """
        if is_signed(location.url):
            return True
        return location.hops > 0 and origin_of(location.url) != origin_of(self._url)

    async def _move(self, location: _Location, answer: Redirect) -> None:
        if location.hops + 1 > MAX_HOPS:
            self._location = None
            raise TransferError("redirect_loop", f"more than {MAX_HOPS} redirects from {self.host}")
        url = next_url(location.url, answer.location)
        guarded = location.guarded or await self._client.must_guard(location.url)
        if self._location is location or self._location is None:
            self._location = _Location(
                url,
                guarded,
                location.hops + 1,
                is_final=is_signed(url),
                has_clock=not is_expired(url, time.time()),
            )

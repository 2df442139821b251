"""Small control documents: listings, info, tokenizers. Waits, retries and follows redirects; returns any answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from asyncdl.core.hops import MAX_HOPS, next_url
from asyncdl.core.names import redact_url
from asyncdl.core.reply import REDIRECTS, Pinned, refusal
from asyncdl.core.retry import TREATMENTS, Treatment, full_jitter
from asyncdl.core.s3 import Scheme
from asyncdl.core.s3_keys import S3Keys
from asyncdl.core.secret import Secret
from asyncdl.errors import RemoteError, TransferError
from asyncdl.net.aiohttp_transport import AiohttpTransport
from asyncdl.net.client import Client
from asyncdl.net.credentials import Credentials
from asyncdl.net.gates import Gates

MAX_TRIES = 6
"""huggingface_hub's five retries and the first try."""

BASE_DELAY_S = 0.5
MAX_DELAY_S = 8.0
"""As huggingface_hub waits at most; a person is looking on."""

MAX_PAUSE_S = 60.0
"""A longer Retry-After is told rather than waited out: nobody watches a silent command for an hour. Guess."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. headers: lower-case names. url: where it came from in the end, without secrets."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str


class Fetcher:
    """GETs that a command waits for."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def endpoint_for(self, scheme: Scheme, region: str = "") -> str:
        """See `Credentials.endpoint_for`."""
        return self._client.credentials.endpoint_for(scheme, region)

    async def get(self, url: str, *, limit_bytes: int = 16 << 20) -> Answer:
        """Return the final answer to a GET, 4xx included; redirects are followed by the rules of `core.hops`.

        Raises RemoteError when nothing usable came after MAX_TRIES, or a host asks for a pause above MAX_PAUSE_S.
        """
        n = 0
        while True:
            try:
                answer = await self._follow(url, limit_bytes)
                if answer.status not in (408, 429) and answer.status < 500:
                    return answer
                error = refusal(answer.status, answer.headers, pinned=Pinned(), signed=False, now=time.time())
            except TransferError as failed:
                if TREATMENTS[failed.error_class].treatment is Treatment.NEVER:
                    raise _gave_up(url, failed, n + 1) from failed
                error = failed
            n += 1
            if n == MAX_TRIES:
                raise _gave_up(url, error, n) from error
            await asyncio.sleep(full_jitter(BASE_DELAY_S, MAX_DELAY_S, n, random.random()))  # noqa: S311

    async def _follow(self, url: str, limit_bytes: int) -> Answer:
        guarded = False
        for _ in range(MAX_HOPS + 1):
            await self._pass_gate(url)
            async with self._client.hop(url, guarded=guarded, now=time.time()) as response:
                if response.status not in REDIRECTS or "location" not in response.headers:
                    body = await response.read(limit_bytes)
                    return Answer(response.status, response.headers, body, redact_url(url))
                location = response.headers["location"]
            guarded = guarded or await self._client.must_guard(url)
            url = next_url(url, location)
        raise TransferError("redirect_loop", f"more than {MAX_HOPS} redirects")

    async def _pass_gate(self, url: str) -> None:
        """Wait while the gate of `url` is closed. Raises RemoteError where that is longer than MAX_PAUSE_S."""
        gate = self._client.gate_of(url)
        if (wait_s := self._client.gates.wait_s(gate)) > MAX_PAUSE_S:
            raise RemoteError(
                f"{gate} asked for a pause of {wait_s:.0f} s",
                hint=f"try again after that; {TREATMENTS['rate_limited'].hint}; the queue was not changed",
            )
        await self._client.gates.passed(gate)


def _gave_up(url: str, error: TransferError, n_tries: int) -> RemoteError:
    tries = f" after {n_tries} tries" if n_tries > 1 else ""
    return RemoteError(
        f"{redact_url(url)} could not be fetched{tries}: {error.message}",
        hint=f"{TREATMENTS[error.error_class].hint}; the queue was not changed",
    )


@asynccontextmanager
async def make_fetcher(
    endpoint: str, token: Secret | None, *, allow_private: bool, keys: S3Keys | None = None
) -> AsyncIterator[Fetcher]:
    """Yield a Fetcher with connections of its own, for a command that is not `run`."""
    async with AiohttpTransport() as transport:
        yield Fetcher(Client(transport, Credentials(endpoint, token, keys), Gates(), allow_private=allow_private))

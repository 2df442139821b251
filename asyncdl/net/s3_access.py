"""Are the keys good? One object of a bucket is asked for before a run begins a million others.

Only what no object could be had with ends the command; what is wrong with one object is told by its own job.
"""

from __future__ import annotations

import time

from asyncdl.core.hops import origin_of
from asyncdl.core.ranges import ByteRange
from asyncdl.core.retry import TREATMENTS
from asyncdl.core.s3 import refusal_of
from asyncdl.errors import ConfigError, TransferError
from asyncdl.net.client import Client

ERROR_BYTES = 64 << 10
"""More than an S3 error document ever has; one that is longer says nothing."""

_OF_ALL = frozenset({"bad_keys", "keys_expired", "clock_wrong"})


async def require_access(client: Client, url: str) -> None:
    """Ask for the first byte of `url`, an object that S3 keys are to open, and sign for its host from now on.

    Raises ConfigError where the keys are missing, wrong or expired, or the clock is. A host that does not answer is
    no reason: the run will try it again.
    """
    now = time.time()
    has_keys = await client.credentials.prepare(url, now=now)
    try:
        async with client.hop(url, guarded=False, now=now, asked=ByteRange(0, 1)) as response:
            if response.status not in (400, 401, 403):
                return
            error = refusal_of(await response.read(ERROR_BYTES))
    except TransferError:
        return
    host = origin_of(url).host
    if error is not None and error.error_class in _OF_ALL:
        raise ConfigError(f"{host} refuses the keys: {error.message}", hint=TREATMENTS[error.error_class].hint)
    if not has_keys:
        raise ConfigError(
            f"{host} refuses access, and there are no keys to sign with",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, as when the files were enqueued",
        )

"""AWS's own search for keys: profiles, SSO, roles, containers, the metadata of a machine. Asked once, renewed in time.

aiobotocore is imported when somebody asks, not before: it takes longer than all the rest of a start.
"""

from __future__ import annotations

import asyncio
import importlib
import math
from typing import Any

from asyncdl.core.names import display
from asyncdl.core.s3_keys import KeyPair
from asyncdl.core.secret import Secret
from asyncdl.errors import ConfigError, TransferError

LOOK_AGAIN_S = 60.0
"""aiobotocore renews keys from 15 minutes before their end: to ask once a minute is soon enough and costs nothing."""


class AwsChain:
    """Owner of the keys that were found."""

    def __init__(self) -> None:
        self._found: Any = None
        self._pair: KeyPair | None = None
        self._looked_at = -math.inf
        self._looking = asyncio.Lock()

    async def pair(self, now: float) -> KeyPair | None:
        """Return the keys as they are at `now` (UTC seconds), the same object while they are the same; None: no keys.

        Raises ConfigError where the first search fails, TransferError("keys_expired") where they cannot be renewed.
        """
        if now - self._looked_at < LOOK_AGAIN_S:
            return self._pair
        async with self._looking:
            if now - self._looked_at >= LOOK_AGAIN_S:
                is_first = self._looked_at == -math.inf
                if not is_first:
                    self._looked_at = now  # everybody else goes on with the keys of before meanwhile
                await self._look(is_first=is_first)
                self._looked_at = now
        return self._pair

    async def _look(self, *, is_first: bool) -> None:
        session = await asyncio.to_thread(importlib.import_module, "aiobotocore.session")
        from aiohttp import ClientError as NoAnswer
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if is_first:
                self._found = await session.get_session().get_credentials()
            if self._found is not None:
                frozen = await self._found.get_frozen_credentials()
                if self._pair is None or self._pair.key_id != frozen.access_key:  # each secret has an id of its own
                    token = Secret(frozen.token) if frozen.token else None
                    self._pair = KeyPair(frozen.access_key, Secret(frozen.secret_key), token)
        except (BotoCoreError, ClientError, NoAnswer, OSError, ValueError) as error:
            why = display(f"{type(error).__name__}: {error}")
            if is_first:
                raise ConfigError(
                    f"AWS's keys cannot be had: {why}",
                    hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, mend AWS_PROFILE, or log in with"
                    " `aws sso login`; AWS_NO_SIGN_REQUEST=1 for public buckets",
                ) from None
            raise TransferError("keys_expired", f"AWS's keys cannot be renewed: {why}") from None

"""The token, bound to the one origin it was set for, and S3 keys, bound to theirs. The only module that reveals them.

A redirect to another origin carries nothing of either: each request's headers are made for its own origin.
"""

from __future__ import annotations

from collections.abc import Mapping

from asyncdl import __version__
from asyncdl.core.hops import Origin, is_signed, origin_of
from asyncdl.core.ranges import ByteRange
from asyncdl.core.s3 import Access, Scheme, access_of, endpoint_of
from asyncdl.core.s3_keys import KeyPair, S3Keys
from asyncdl.core.secret import Secret
from asyncdl.core.sigv4 import DayKey, derive, signed_headers, stamp_of
from asyncdl.errors import ConfigError
from asyncdl.net.aws_chain import AwsChain

USER_AGENT = f"asyncdl/{__version__}"


class Credentials:
    """token: a Hub token or None; it is sent to `hub`, the origin of `endpoint`, and nowhere else.

    keys: what S3 requests are signed with, at the origins that `endpoint_for`, `sign_for` or `prepare` have named
    and nowhere else.
    """

    def __init__(self, endpoint: str, token: Secret | None, keys: S3Keys | None = None) -> None:
        self.hub: Origin = origin_of(endpoint)
        self._token = token
        self._keys = keys or S3Keys()
        self._chain = AwsChain()
        self._signers: dict[Origin, _Signer] = {}

    def endpoint_for(self, scheme: Scheme, region: str = "") -> str:
        """Return the endpoint where buckets of `scheme` are asked for, and sign what is asked there from now on.

        Raises ConfigError that names the variable which is missing.
        """
        endpoint = endpoint_of(scheme, self._keys, region)
        self.sign_for(endpoint)
        return endpoint

    def sign_for(self, url: str) -> None:
        """Sign what is asked of the origin of `url` from now on. Raises ConfigError where it is not one of ours."""
        origin = origin_of(url)
        if origin in self._signers:
            return
        access = access_of(origin, self._keys)
        if access is None:
            raise ConfigError(
                f"the environment has no S3 settings for {origin.host}, where some of the files are",
                hint="set R2_ENDPOINT_URL or AWS_ENDPOINT_URL as it was when they were enqueued, and the keys",
            )
        self._signers[origin] = _Signer(access, self._chain)

    async def prepare(self, url: str, *, now: float) -> bool:
        """Do what `sign_for` does and look for the keys, while a failure can still end the command.

        Return whether there are keys: without any, requests go out unsigned. Raises ConfigError.
        """
        self.sign_for(url)
        return await self._signers[origin_of(url)].pair(now) is not None

    async def headers(
        self, url: str, *, now: float, asked: ByteRange | None = None, validator: str | None = None
    ) -> Mapping[str, str]:
        """Return all headers of one hop, built from nothing. now: UTC seconds, which a signature tells.

        identity: where gzip is accepted, CDNs ignore Range and answer 200 (huggingface_hub #3778). No If-Range: some
        servers dislike it, and `core.reply` holds every answer's validator against the pinned one anyway. If-Match,
        with an ETag as `validator`, goes to S3 alone, which is known to heed it: 412 comes instead of other bytes.

        Awaits only where AWS's chain has to be asked; raises what `AwsChain.pair` raises.
        """
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        if asked is not None:
            headers["Range"] = asked.header
        origin = origin_of(url)
        if self._token is not None and origin == self.hub:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        elif (signer := self._signers.get(origin)) is not None and not ("?" in url and is_signed(url)):
            # (a URL that carries a signature of its own is refused where a second one comes with it)
            if validator is not None and validator.startswith('"'):
                headers["If-Match"] = validator
            headers |= await signer.headers(url, now)
        return headers


class _Signer:
    """Signs for one origin. Keeps what is the same for all requests of a day, and of a second."""

    def __init__(self, access: Access, chain: AwsChain) -> None:
        self._access = access
        self._chain = chain
        self._pair: KeyPair | None = None
        self._second = -1
        self._stamp = ""
        self._day_key: DayKey | None = None

    async def headers(self, url: str, now: float) -> dict[str, str]:
        """Return the headers that sign a GET of `url`; none where there are no keys, for the bucket may be public."""
        pair = await self.pair(now)
        if pair is None:
            return {}
        if pair is not self._pair or int(now) != self._second:
            self._begin_second(pair, now)
        assert self._day_key is not None
        token = None if pair.session_token is None else pair.session_token.reveal()
        return signed_headers(url, self._day_key, self._stamp, token)

    async def pair(self, now: float) -> KeyPair | None:
        if self._access.pair is not None or self._access.unsigned:
            return self._access.pair
        return await self._chain.pair(now)

    def _begin_second(self, pair: KeyPair, now: float) -> None:
        self._second, self._stamp = int(now), stamp_of(now)
        day = self._stamp[:8]
        if self._day_key is None or self._day_key.day != day or pair is not self._pair:
            self._day_key = derive(pair.key_id, pair.secret.reveal(), day, self._access.region)
        self._pair = pair

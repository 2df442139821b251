"""A bucket's listing: ListObjectsV2, page after page, one page held at a time.

Goes on only by IsTruncated and the token: a page may be short or empty and not the last, and R2's order is not relied
on. A page that cannot be had or read ends the listing with an error, for a shorter list would look like a whole one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from urllib.parse import quote

from asyncdl.core.s3 import Scheme, region_on_aws
from asyncdl.errors import RemoteError
from asyncdl.net.fetch import Fetcher
from asyncdl.sources.s3_page import Page, PageError, parse_page
from asyncdl.sources.s3_refusals import refusal

MAX_PAGE_BYTES = 16 << 20
"""Four times a page of 1000 keys of 1024 bytes, each byte quoted, with all that stands around them."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """endpoint: no final slash; the fetcher signs what is asked of it."""

    fetcher: Fetcher
    scheme: Scheme
    name: str
    endpoint: str

    @property
    def origin(self) -> str:
        """What the objects' URLs begin with: origin + "/" + quoted key. Path style: a name may have dots, and TLS
        certificates hold for one step in front of the host.
        """
        return f"{self.endpoint}/{self.name}"

    async def pages(self, prefix: str) -> AsyncGenerator[Page, None]:
        """Yield the pages of all keys that begin with `prefix`. Raises the errors of `s3_refusals` and RemoteError."""
        token: str | None = ""
        used: set[int] = set()  # hashes: tokens are long, and a bucket may have a million pages
        while token is not None:
            page = await self.page(prefix, token=token)
            yield page
            token = page.token
            if token is not None and hash(token) in used:
                raise RemoteError(f"the listing of {self.origin} goes round in circles")
            used.add(hash(token))

    async def page(self, prefix: str, *, token: str = "", delimiter: str = "") -> Page:
        """Return one page. token: '' for the first. delimiter: roll up what comes after it."""
        answer = await self.fetcher.get(self.url(prefix, token=token, delimiter=delimiter), limit_bytes=MAX_PAGE_BYTES)
        if answer.status != 200:
            raise refusal(answer, self.scheme, self.name)
        try:
            return parse_page(answer.body)
        except PageError as error:
            raise RemoteError(
                f"{self.origin} answered with something else than a page of its listing: {error}",
                hint="a proxy or a login page may be in between; look whether the endpoint is an S3 host",
            ) from None

    def url(self, prefix: str, *, token: str = "", delimiter: str = "") -> str:
        """Return what asks for one page; the names stand in the order in which they are signed."""
        given = {"continuation-token": token, "delimiter": delimiter, "encoding-type": "url", "list-type": "2"}
        asked = [f"{name}={quote(value, safe='')}" for name, value in (given | {"prefix": prefix}).items() if value]
        return f"{self.origin}?{'&'.join(asked)}"


async def find_bucket(fetcher: Fetcher, scheme: Scheme, name: str, prefix: str) -> Bucket:
    """Return the bucket at the endpoint of this environment; on AWS in the region that AWS says it is in.

    prefix: what will be listed, for that may be all that these keys may ask. Raises ConfigError where keys or the
    endpoint are missing.
    """
    bucket = Bucket(fetcher, scheme, name, fetcher.endpoint_for(scheme))
    region = region_on_aws(bucket.endpoint)
    if region is None:
        return bucket
    answer = await fetcher.get(bucket.url(prefix, delimiter="/"), limit_bytes=MAX_PAGE_BYTES)
    is_in = answer.headers.get("x-amz-bucket-region", region)
    return bucket if is_in == region else replace(bucket, endpoint=fetcher.endpoint_for(scheme, is_in))

"""Where a redirect may lead, and which header may go along. Pure.

Every hop's headers are built from nothing: what is not written here is not sent. HTTP clients that take headers
away at a change of origin have forgotten some again and again (curl CVE-2018-1000007, requests CVE-2023-32681,
aiohttp CVE-2026-34518; custom `X-...` ones cross in all of them).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, urljoin, urlsplit

from asyncdl.errors import TransferError

MAX_HOPS = 5
"""The Hub needs two; curl's and browsers' limits (20-50) only make loops longer."""

DEFAULT_PORTS = {"http": 80, "https": 443}

EXPIRY_MARGIN_S = 30.0
"""A signed URL this near its end is asked for anew: clocks differ, and connecting takes time. Guess."""

_SIGNED_KEYS = frozenset({"signature", "x-amz-signature", "x-goog-signature", "sig"})


@dataclass(frozen=True, slots=True)
class Origin:
    """RFC 6454's triple; credentials are bound to it."""

    scheme: Literal["http", "https"]
    host: str
    port: int


def origin_of(url: str) -> Origin:
    """Return the origin of an absolute URL; raise TransferError("redirect_scheme") unless it is http or https."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TransferError("redirect_scheme", f"{parts.scheme or 'a relative'} URL where http or https was expected")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    try:
        port = parts.port
    except ValueError:
        raise TransferError("redirect_scheme", "a URL with an impossible port") from None
    return Origin(scheme, parts.hostname.lower(), port or DEFAULT_PORTS[scheme])


def next_url(url: str, location: str) -> str:
    """Return where `location`, answered by `url`, leads; raise TransferError if asyncdl does not go there.

    The text is kept as it is: quoting it again would break its signature.
    """
    target = urljoin(url, location.strip())
    before, after = origin_of(url), origin_of(target)
    if (before.scheme, after.scheme) == ("https", "http"):
        raise TransferError("redirect_scheme", f"{before.host} redirects from https to http")
    if urlsplit(target).username is not None:
        raise TransferError("redirect_scheme", f"{before.host} redirects to a URL with a user name")
    return target.partition("#")[0]


def is_signed(url: str) -> bool:
    """Whether the query holds a signature, so that the URL is a secret and may expire."""
    return any(key.lower() in _SIGNED_KEYS for key in parse_qs(urlsplit(url).query))


def is_expired(url: str, now: float) -> bool:
    """Whether a signed URL says that it has ended, or will within EXPIRY_MARGIN_S. now: UTC seconds.

    Reads CloudFront's and GCS' `Expires` (epoch seconds); S3's relative form is left to the server's answer.
    """
    expires = parse_qs(urlsplit(url).query).get("Expires", [""])[0]
    return expires.isdecimal() and int(expires) < now + EXPIRY_MARGIN_S


def is_private_literal(host: str) -> bool | None:
    """Whether an IP literal is not on the public internet; None if `host` is a name."""
    try:
        return is_private(host)
    except ValueError:
        return True if host == "localhost" or host.endswith(".localhost") else None


def is_private(address: str) -> bool:
    """Whether an IP address is private, loopback, link-local, shared (RFC 6598) or otherwise not global.

    Addresses that carry an IPv4 address inside (mapped, 6to4, NAT64) are judged by it too. Raises ValueError for
    what is no address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return not inner.is_global
    return not ip.is_global or ip.is_multicast

"""Where a redirect may lead, which header may go along, and which gate a request passes. Pure.

Every hop's headers are built from nothing: what is not written here is not sent. HTTP clients that take headers
away at a change of origin have forgotten some again and again (curl CVE-2018-1000007, requests CVE-2023-32681,
aiohttp CVE-2026-34518; custom `X-...` ones cross in all of them).
"""

from __future__ import annotations

import ipaddress
import re
import string
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, parse_qs, quote, urljoin, urlsplit

from asyncdl.errors import TransferError

MAX_HOPS = 5
"""The Hub needs two; curl's and browsers' limits (20-50) only make loops longer."""

DEFAULT_PORTS = {"http": 80, "https": 443}

EXPIRY_MARGIN_S = 30.0
"""A signed URL this near its end is asked for anew: clocks differ, and connecting takes time. Guess."""

_SIGNED_KEYS = frozenset({"signature", "x-amz-signature", "x-goog-signature", "sig"})

_LEGAL = string.punctuation.replace("\\", "")
"""What `quote` leaves alone, besides letters and digits; a backslash is a slash to some readers of URLs."""

_FRONT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s\\]+(?=[/?#]|$)")
"""Scheme and authority; a URL that does not begin with them in so plain a way is looked at whole."""

_HOST = re.compile(r"[\w.-]+|[0-9a-f]*:[0-9a-f:.]*(%[\w.-]+)?")
_NUMBER = re.compile(r"(?i)(?:.*\.)?(?:\d+|0x[0-9a-f]*)\.?")
"""A host that ends in a number is an IPv4 address or nothing (WHATWG URL, "ends in a number"): no name does."""

_IPV4_WITHIN = tuple(
    ipaddress.IPv6Network(prefix)
    for prefix in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")  # RFC 4291 (twice), 2765, 6052
)
_INSIDE = tuple(ipaddress.IPv6Network(prefix) for prefix in ("fec0::/10", "64:ff9b:1::/48"))
"""Site-local (RFC 3879) and local NAT64 (RFC 8215) addresses, which `ipaddress` takes for global ones."""


@dataclass(frozen=True, slots=True)
class Origin:
    """RFC 6454's triple; credentials are bound to it."""

    scheme: Literal["http", "https"]
    host: str
    port: int


def origin_of(url: str) -> Origin:
    """Return the origin of an absolute URL; raise TransferError("redirect_scheme") unless it is http or https."""
    match = _FRONT.match(url)
    return _origin(url if match is None else match[0])


@lru_cache(maxsize=1024)
def _origin(front: str) -> Origin:
    """Remembered, because every request of every file asks, and there are few hosts."""
    parts = _split(front)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TransferError("redirect_scheme", f"{parts.scheme or 'a relative'} URL where http or https was expected")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    if _HOST.fullmatch(parts.hostname) is None:
        raise TransferError("redirect_scheme", "a URL with an impossible host")
    try:
        port = parts.port
    except ValueError:
        raise TransferError("redirect_scheme", "a URL with an impossible port") from None
    return Origin(scheme, parts.hostname.lower(), port or DEFAULT_PORTS[scheme])


class GateName(NamedTuple):
    """quota: the class of requests that the host counts together, '' where it has but one."""

    host: str
    quota: str = ""

    def __str__(self) -> str:
        return f"{self.host} ({self.quota})" if self.quota else self.host


class ClosedGate(NamedTuple):
    """until: UTC seconds."""

    gate: GateName
    until: float


HUB_QUOTAS = ("resolvers", "api", "pages")
"""How the Hub counts requests (huggingface.co/docs/hub/rate-limits), in the words of its RateLimit headers."""


def gate_of(url: str, hub: Origin) -> GateName:
    """Return the gate that a request to `url` passes. hub: the one origin whose quotas are told apart.

    Raises TransferError("redirect_scheme") as `origin_of` does.
    """
    origin = origin_of(url)
    if origin != hub:
        return GateName(origin.host)
    path = urlsplit(url).path
    if "/resolve/" in path:
        return GateName(origin.host, "resolvers")
    return GateName(origin.host, "api" if "/api/" in path else "pages")


def gate_of_quota(asked: GateName, quota: str) -> GateName | None:
    """Return the gate of the quota that an answer names. asked: the gate of its request.

    None: a quota of the Hub that is none of those it documents, so nobody knows which requests it counts.
    """
    if not asked.quota:
        return asked
    return GateName(asked.host, quota) if quota in HUB_QUOTAS else None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise TransferError("redirect_scheme", "a URL that cannot be read") from None


def next_url(url: str, location: str) -> str:
    """Return where `location`, answered by `url`, leads; raise TransferError if asyncdl does not go there.

    What may stand in a URL is kept as it is: quoting it again would break its signature.
    """
    lawful = quote(location.strip(), safe=_LEGAL, errors="surrogateescape")  # blanks and bytes above 127, as sent
    _split(lawful)  # urljoin would raise what it raises
    target = urljoin(url, lawful)
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
    return expires.isdecimal() and float(expires) < now + EXPIRY_MARGIN_S


def is_private_literal(host: str) -> bool | None:
    """Whether an IP literal is not on the public internet; None if `host` is a name.

    An address in an odd form (`127.1`, `0x7f000001`) counts as private: libraries read it in different ways.
    """
    try:
        return is_private(host)
    except ValueError:
        name = host.lower().removesuffix(".")
        is_inside = name == "localhost" or name.endswith(".localhost") or _NUMBER.fullmatch(name)
        return True if is_inside else None


def is_private(address: str) -> bool:
    """Whether an IP address is private, loopback, link-local, shared (RFC 6598) or otherwise not global.

    Addresses that carry an IPv4 address inside (mapped, compatible, 6to4, NAT64) are judged by it. Raises ValueError
    for what is no address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in network for network in _INSIDE):
            return True
        inner = ip.sixtofour
        if any(ip in network for network in _IPV4_WITHIN):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_private(str(inner))
    return not ip.is_global or ip.is_multicast

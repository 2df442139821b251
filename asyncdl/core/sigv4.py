"""AWS Signature Version 4 by header, for a GET without a body to an S3 host. Pure; time is an argument.

Rules: "Create a signed AWS API request" (IAM User Guide) with S3's own: the path is signed as it stands, steps are
neither decoded nor removed, and the body is named UNSIGNED-PAYLOAD ("Authenticating Requests", S3 API Reference).
Knows nothing of where keys come from.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from asyncdl.core.hops import DEFAULT_PORTS

_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class DayKey:
    """What signs the requests of one UTC day to one region. scope: `<yyyymmdd>/<region>/s3/aws4_request`."""

    key_id: str
    scope: str
    key: bytes = field(repr=False)

    @property
    def day(self) -> str:
        """The `yyyymmdd` it is good for."""
        return self.scope[:8]


def derive(key_id: str, secret: str, day: str, region: str) -> DayKey:
    """Return the key of `day` (yyyymmdd, UTC). Four HMACs: keep it, it is the same all day."""
    scope = (day, region, "s3", "aws4_request")
    key = f"AWS4{secret}".encode()
    for step in scope:
        key = hmac.digest(key, step.encode(), "sha256")
    return DayKey(key_id, "/".join(scope), key)


def stamp_of(now: float) -> str:
    """Return UTC seconds as x-amz-date has them: `20261120T170000Z`."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")


def signed_headers(url: str, key: DayKey, stamp: str, session_token: str | None = None) -> dict[str, str]:
    """Return the headers that make a GET of `url` a signed one. stamp: `stamp_of`, of the day of `key`.

    url: quoted as it will be sent; its query too, and with AWS's rules (all but A-Z a-z 0-9 - . _ ~), for the host
    quotes again what it has read. Other headers stay unsigned: proxies may change them, and none gives more rights.
    """
    parts = urlsplit(url)
    query = parts.query
    if "&" in query or (query and "=" not in query):
        query = "&".join("=".join(pair) for pair in sorted(_pairs(query)))
    named, token = "host;x-amz-content-sha256;x-amz-date", ""
    if session_token is not None:
        named, token = f"{named};x-amz-security-token", f"x-amz-security-token:{session_token}\n"
    request = (
        f"GET\n{parts.path or '/'}\n{query}\nhost:{_host(parts.netloc, parts.scheme)}\n"
        f"x-amz-content-sha256:{_UNSIGNED}\nx-amz-date:{stamp}\n{token}\n{named}\n{_UNSIGNED}"
    )
    digest = hashlib.sha256(request.encode()).hexdigest()
    signature = hmac.digest(key.key, f"AWS4-HMAC-SHA256\n{stamp}\n{key.scope}\n{digest}".encode(), "sha256").hex()
    headers = {
        "x-amz-content-sha256": _UNSIGNED,
        "x-amz-date": stamp,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={key.key_id}/{key.scope}, SignedHeaders={named}, "
        f"Signature={signature}",
    }
    if session_token is not None:
        headers["x-amz-security-token"] = session_token
    return headers


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))]


def _host(netloc: str, scheme: str) -> str:
    """Return what the Host header will say (RFC 9110 §7.2): no user, no port that is the scheme's own."""
    host = netloc.rpartition("@")[2].lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port == str(DEFAULT_PORTS.get(scheme)) else host

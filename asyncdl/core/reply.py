"""What a status line and headers mean for the bytes that were asked for. Pure; headers have lower-case names.

Every answer is held against what was asked (RFC 9110 §14.4) and against what the object was known to be
(§8.8): a server or a cache on the way that sends other bytes than those is found before they are written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from asyncdl.core.ranges import ByteRange
from asyncdl.errors import TransferError

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")  # 19 digits hold 2**63
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,19})")
_COUNT = re.compile(r"[0-9]{1,9}")

MAX_RETRY_AFTER_S = 3600.0
"""A longer Retry-After is taken as an hour: the Hub's longest quota window; what is beyond is a mistake."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Pinned:
    """What the object must stay while its bytes are collected. None: not known yet.

    validator: a strong ETag, else Last-Modified. Weak ETags are not kept: they do not vouch for bytes
    (RFC 9110 §8.8.3.2). modified: the Last-Modified beside that ETag; it takes over where ETags prove worthless.
    is_fickle: the same bytes came under different validators, so none is compared or pinned any more.
    """

    size_bytes: int | None = None
    validator: str | None = None
    modified: str | None = None
    is_fickle: bool = False

    @property
    def condition(self) -> str | None:
        """The validator that a request may be made conditional on; None where there is none to trust."""
        return None if self.is_fickle else self.validator


@dataclass(frozen=True, slots=True)
class Body:
    """The answer's body is `got` of the object. stop None: until the end, wherever that is.

    pinned: what the object is, for all later answers. ignored_range: a range was asked and the whole came.
    """

    start: int
    stop: int | None
    pinned: Pinned
    ignored_range: bool = False


@dataclass(frozen=True, slots=True)
class Redirect:
    location: str


def judge(
    status: int,
    headers: Mapping[str, str],
    *,
    asked: ByteRange | None,
    pinned: Pinned,
    signed: bool,
    now: float,
) -> Body | Redirect:
    """Say what an answer is, or raise TransferError with the class that says what went wrong.

    asked: the range requested, None for the whole. signed: the URL carries its own permission and may expire,
    so that 400, 401 and 403 mean `url_expired`. now: UTC seconds, for Retry-After given as a date.
    """
    if status in REDIRECTS and "location" in headers:
        return Redirect(headers["location"])
    if status == 206:
        return _part(headers, asked, pinned)
    if status == 200:
        return _whole(headers, asked, pinned)
    raise refusal(status, headers, pinned=pinned, signed=signed, now=now)


def _part(headers: Mapping[str, str], asked: ByteRange | None, pinned: Pinned) -> Body:
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None or asked is None:
        raise TransferError("odd_reply", "a 206 without a usable Content-Range, or to no range")
    start, stop = int(match[1]), int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    if total is not None and stop > total:
        raise TransferError("odd_reply", f"bytes {start}-{stop - 1} of an object of {total} bytes")
    _refuse_encoding(headers)
    now_pinned = _pin(headers, total, pinned)
    if start != asked.start or not start < stop <= asked.stop:
        raise TransferError("range_shifted", f"asked for {asked.header}, got bytes {start}-{stop - 1}")
    if (length := _content_length(headers)) is not None and length != stop - start:
        raise TransferError("wrong_length", f"Content-Length {length} for a range of {stop - start} bytes")
    return Body(start, stop, now_pinned)


def _whole(headers: Mapping[str, str], asked: ByteRange | None, pinned: Pinned) -> Body:
    length = _content_length(headers)
    unexpected = pinned.size_bytes is not None and length != pinned.size_bytes
    if headers.get("content-type", "").lower().startswith("text/html") and unexpected:
        raise TransferError("html_instead", "an HTML page came in place of the data")
    _refuse_encoding(headers)
    if length is not None and unexpected and pinned.validator is None:
        raise TransferError("wrong_length", f"{length} bytes came where {pinned.size_bytes} were announced")
    return Body(0, length, _pin(headers, length, pinned), ignored_range=asked is not None)


def _pin(headers: Mapping[str, str], size_bytes: int | None, pinned: Pinned) -> Pinned:
    validator, modified = validator_of(headers), headers.get("last-modified")
    agrees = pinned.is_fickle or pinned.validator in (None, validator, modified)
    if validator is not None and not agrees:
        raise TransferError("remote_changed", f"the validator was {pinned.validator} and is {validator}")
    if None not in (pinned.size_bytes, size_bytes) and pinned.size_bytes != size_bytes:
        raise TransferError("remote_changed", f"the size was {pinned.size_bytes} and is {size_bytes}")
    size_bytes = pinned.size_bytes if size_bytes is None else size_bytes
    if pinned.is_fickle or pinned.validator is not None:
        return replace(pinned, size_bytes=size_bytes)
    return Pinned(size_bytes, validator, None if modified == validator else modified)


def validator_of(headers: Mapping[str, str]) -> str | None:
    """Return the strong ETag, else Last-Modified, else None."""
    etag = headers.get("etag")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("last-modified")


def _refuse_encoding(headers: Mapping[str, str]) -> None:
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise TransferError("encoded", f"identity was asked for, {headers['content-encoding']!r} came")


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else None


def refusal(status: int, headers: Mapping[str, str], *, pinned: Pinned, signed: bool, now: float) -> TransferError:
    """Return the error that a status other than 200 and 206 stands for. It is returned, not raised."""
    if status == 416:
        return _unsatisfied(headers, pinned)
    if signed and status in (400, 401, 403):
        return TransferError("url_expired", f"the signed URL is no longer accepted (HTTP {status})")
    if status in (401, 403) and headers.get("x-error-code") == "GatedRepo":
        return TransferError("gated", "the dataset is gated")
    if status == 401 and "invalid" in headers.get("x-error-message", "").lower():
        return TransferError("bad_token", "the token is not accepted")
    error_class, meaning = _REFUSALS.get(status) or _REFUSALS.get(status // 100 * 100) or _ODD
    return TransferError(error_class, f"{meaning} (HTTP {status})", retry_after_s=retry_after_s(status, headers, now))


_ODD = ("odd_reply", "an unexpected answer")
_REFUSALS = {
    304: ("remote_changed", "the validator does not hold any more"),
    400: ("http_4xx", "the request is refused"),  # and every other 4xx
    401: ("unauthorized", "it is private or does not exist, and no token opens it"),
    403: ("forbidden", "access is refused"),
    404: ("not_found", "it is not there"),
    408: ("http_408", "the host gave up waiting"),
    410: ("gone", "it was removed"),
    412: ("remote_changed", "the validator does not hold any more"),
    429: ("rate_limited", "too many requests"),
    500: ("http_5xx", "the host failed"),  # and every other 5xx
    503: ("http_503", "the service is unavailable"),
}


def _unsatisfied(headers: Mapping[str, str], pinned: Pinned) -> TransferError:
    """416 names the object's size (RFC 9110 §15.5.17); a size other than the pinned one means a new object."""
    match = _UNSATISFIED.fullmatch(headers.get("content-range", "").strip())
    if match is None or pinned.size_bytes is None or int(match[1]) == pinned.size_bytes:
        return TransferError("odd_reply", "a range inside the object is called unsatisfiable (HTTP 416)")
    return TransferError("remote_changed", f"the size was {pinned.size_bytes} and is {match[1]}")


def retry_after_s(status: int, headers: Mapping[str, str], now: float) -> float | None:
    """Return the pause the host asks for, in seconds from `now` (UTC seconds), or None.

    `RateLimit` with r=0 waits t (draft-ietf-httpapi-ratelimit-headers); with r>0 the refusal comes from another
    quota, of which only Retry-After can speak (RFC 9110 §10.2.3: seconds or a date). A date without a zone is UTC
    (§5.6.7, asctime).
    """
    spent = spent_quotas(headers)
    if status == 429 and spent:
        return min(max(spent.values()) + 1.0, MAX_RETRY_AFTER_S)
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at.replace(tzinfo=at.tzinfo or UTC)
    return min(max(at.timestamp() - now, 0.0), MAX_RETRY_AFTER_S)


def spent_quotas(headers: Mapping[str, str]) -> dict[str, float]:
    """Return {quota: seconds until it is filled again} of those that `RateLimit` calls used up, whatever the status.

    Item names as the host gives them, without quotes (draft-ietf-httpapi-ratelimit-headers: r remaining, t reset).
    """
    spent: dict[str, float] = {}
    if "ratelimit" not in headers:
        return spent  # most answers; each one is looked at
    for item in headers["ratelimit"].split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        said = dict(parameter.partition("=")[::2] for parameter in parameters)
        remaining, reset = _COUNT.fullmatch(said.get("r", "")), _COUNT.fullmatch(said.get("t", ""))
        if remaining and reset and int(remaining[0]) == 0:
            quota = name.strip('"')
            spent[quota] = max(spent.get(quota, 0.0), min(float(reset[0]), MAX_RETRY_AFTER_S))
    return spent

"""What of S3 and R2 is decision: where a bucket is asked for, with whose keys, and what a refusal means. Pure.

The queue stores `<endpoint>/<bucket>` and no more; whoever asks later finds the keys by that endpoint's origin, and
for no other origin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from asyncdl.core.hops import DEFAULT_PORTS, Origin, origin_of
from asyncdl.core.names import display
from asyncdl.core.s3_keys import KeyPair, S3Keys
from asyncdl.errors import ConfigError, TransferError

Scheme = Literal["s3", "r2"]

DEFAULT_REGION = "us-east-1"
"""AWS's oldest; asked there, AWS names a bucket's real region, and other servers take it for their own."""

R2_REGION = "auto"

_AWS_HOST = re.compile(r"s3[.-]([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_ACCOUNT_ID = re.compile(r"[0-9a-f]{32}")
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,80})\s*</Code>")


@dataclass(frozen=True, slots=True)
class Access:
    """How an origin is asked. pair: None where AWS's chain is to be asked, or nobody because it is `unsigned`."""

    region: str
    pair: KeyPair | None
    unsigned: bool = False


def endpoint_of(scheme: Scheme, keys: S3Keys, region: str = "") -> str:
    """Return the endpoint of `scheme`, no final slash. region: a bucket's on AWS, where it is known.

    Raises ConfigError that names the variable which is missing or wrong, keys included.
    """
    if scheme == "r2":
        _r2_pair(keys)
        return _required(_r2_endpoint(keys), "R2_ENDPOINT_URL")
    if not keys.aws_unsigned:
        _aws_pair(keys)
    return _required(_aws_endpoint(keys, region or keys.aws_region or DEFAULT_REGION), "AWS_ENDPOINT_URL")


def access_of(origin: Origin, keys: S3Keys) -> Access | None:
    """Return how `origin` is asked, None where it is no S3 endpoint of this environment.

    Raises ConfigError where it is one and its keys are not whole.
    """
    if origin == _origin_or_none(_r2_endpoint(keys)):
        return Access(R2_REGION, _r2_pair(keys))
    region = keys.aws_region or DEFAULT_REGION
    if keys.aws_endpoint:
        is_aws = origin == _origin_or_none(keys.aws_endpoint)
    else:
        match = _AWS_HOST.fullmatch(origin.host)
        is_aws = match is not None and (origin.scheme, origin.port) == ("https", 443)
        region = match[1] if match else region
    if not is_aws:
        return None
    return Access(region, None if keys.aws_unsigned else _aws_pair(keys), keys.aws_unsigned)


def region_on_aws(endpoint: str) -> str | None:
    """Return the region that an endpoint of AWS names, None for one of somebody else."""
    match = _AWS_HOST.fullmatch(urlsplit(endpoint).netloc)
    return match[1] if match else None


def _r2_endpoint(keys: S3Keys) -> str:
    if keys.r2_endpoint or not keys.r2_account_id:
        return keys.r2_endpoint
    return f"https://{keys.r2_account_id}.r2.cloudflarestorage.com" if _ACCOUNT_ID.fullmatch(keys.r2_account_id) else ""


def _aws_endpoint(keys: S3Keys, region: str) -> str:
    if keys.aws_endpoint:
        return keys.aws_endpoint
    if not _REGION.fullmatch(region):
        raise ConfigError(f"{display(region)} is no region", hint="set AWS_REGION, for example to eu-north-1")
    return f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _required(endpoint: str, variable: str) -> str:
    """Return `endpoint` as the Host header will have it. Its text is not shown: it may hold a password."""
    origin = _origin_or_none(endpoint)
    if origin is None:
        raise ConfigError(
            f"{variable} is not the http:// or https:// address of a host alone",
            hint="a bucket, a user or a query do not belong to it; the bucket stands in the target",
        )
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == DEFAULT_PORTS[origin.scheme] else f":{origin.port}"
    return f"{origin.scheme}://{host}{port}"


def _origin_or_none(endpoint: str) -> Origin | None:
    """The origin of an endpoint that is nothing but one. What is malformed belongs to nobody: it never gets a key."""
    try:
        origin = origin_of(endpoint)
    except TransferError:
        return None
    parts = urlsplit(endpoint)
    is_bare = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    return origin if is_bare else None


def _r2_pair(keys: S3Keys) -> KeyPair:
    needed = (
        ("R2_ENDPOINT_URL", _r2_endpoint(keys)),
        ("R2_ACCESS_KEY_ID", keys.r2_key_id),
        ("R2_SECRET_ACCESS_KEY", keys.r2_secret),
    )
    if missing := [name for name, value in needed if not value]:
        raise ConfigError(
            f"for r2:// targets, {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            hint="R2_ENDPOINT_URL is https://<account id>.r2.cloudflarestorage.com (or set R2_ACCOUNT_ID, 32 digits"
            " 0-f); keys are made in Cloudflare's dashboard: R2, Manage API tokens",
        )
    assert keys.r2_secret is not None
    return KeyPair(_sendable(keys.r2_key_id, "R2_ACCESS_KEY_ID"), keys.r2_secret)


def _aws_pair(keys: S3Keys) -> KeyPair | None:
    if keys.aws_key_id and keys.aws_secret:
        key_id = _sendable(keys.aws_key_id, "AWS_ACCESS_KEY_ID")
        return KeyPair(key_id, keys.aws_secret, keys.aws_session_token)
    if keys.aws_key_id or keys.aws_secret:
        have, lack = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")[:: 1 if keys.aws_key_id else -1]
        raise ConfigError(f"{have} is set and {lack} is not", hint="set both, or neither for your profile's keys")
    return None


def _sendable(key_id: str, variable: str) -> str:
    """Refuse what would break the header it stands in."""
    if not re.fullmatch(r"[\x21-\x2b\x2d-\x7e]+", key_id):
        raise ConfigError(f"{variable} has blanks or odd characters in it", hint="copy it again")
    return key_id


def code_of(body: bytes) -> str:
    """Return the error code of an S3 answer's body (`<Error><Code>...`), '' where it has none."""
    match = _CODE.search(body[:4096])
    return match[1].decode() if match else ""


def refusal_of(body: bytes) -> TransferError | None:
    """Return what a 400, 401 or 403 of an S3 host means beyond its status, None where the body says no more.

    Codes: "Error responses", S3 API Reference; "Error codes", R2 documentation. Not raised, returned.
    """
    match code_of(body):
        case "RequestTimeTooSkewed" as code:
            return TransferError("clock_wrong", f"this machine's clock differs from the host's ({code})")
        case "ExpiredToken" | "TokenRefreshRequired" as code:
            return TransferError("keys_expired", f"the keys have expired ({code})")
        case "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "Unauthorized" as code:
            return TransferError("bad_keys", f"the host does not know these keys ({code})")
        case "InvalidObjectState" as code:
            return TransferError("archived", f"the object lies in an archive ({code})")
        case "RequestTimeout" as code:
            return TransferError("http_408", f"the host gave up waiting ({code})")
    return None

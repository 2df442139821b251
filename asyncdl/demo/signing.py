"""Signed, expiring CDN URLs: made by the hub, checked by the CDN.

The signature covers the raw path and query as they were handed out; a client that re-quotes a URL breaks it,
as it would break one presigned for S3.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import quote

KEY_PAIR_ID = "K2DEMOLOOPBACK"


class Signer:
    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)

    def sign(self, path: str, *, file_name: str, expires_at: int) -> str:
        """`path` with the query that opens it until `expires_at` (UTC seconds)."""
        name = quote(file_name)
        disposition = quote(f"inline; filename*=UTF-8''{name}; filename=\"{name}\";", safe="")
        target = f"{path}?response-content-disposition={disposition}&Expires={expires_at}"
        return f"{target}&Signature={self._signature(target)}&Key-Pair-Id={KEY_PAIR_ID}"

    def refusal(self, raw_target: str, *, now: float) -> str | None:
        """Why a raw `path?query` does not open, as an S3 error code; None if it does."""
        target, found, rest = raw_target.partition("&Signature=")
        signature = rest.removesuffix(f"&Key-Pair-Id={KEY_PAIR_ID}")
        if not found:
            return "MissingKey"
        if not hmac.compare_digest(signature.encode(), self._signature(target).encode()):
            return "SignatureDoesNotMatch"
        return "AccessDenied" if now >= int(target.rpartition("=")[2]) else None

    def _signature(self, target: str) -> str:
        return hmac.new(self._secret, target.encode(), hashlib.sha256).hexdigest()

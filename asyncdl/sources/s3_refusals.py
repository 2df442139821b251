"""What the refusal of a listing means for the person who asked: each with the one thing that helps.

Codes: "Error responses", S3 API Reference; "Error codes", R2 documentation.
"""

from __future__ import annotations

from asyncdl.core.names import display, redact_url
from asyncdl.core.retry import TREATMENTS
from asyncdl.core.s3 import Scheme, code_of, refusal_of
from asyncdl.errors import AsyncdlError, ConfigError, RemoteError, UsageError
from asyncdl.net.fetch import Answer

_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "r2": "R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY",
}


def refusal(answer: Answer, scheme: Scheme, bucket: str) -> AsyncdlError:
    """Return the error for an answer to a listing that is not 200."""
    name, variables, code = f"{scheme}://{bucket}", _VARIABLES[scheme], code_of(answer.body)
    said = f" ({code or answer.status})"
    known = refusal_of(answer.body)
    if code == "NoSuchBucket":
        endpoint = redact_url(answer.url).removesuffix(f"/{bucket}")
        return UsageError(f"there is no bucket {name} at {endpoint}", hint="check its name, and the endpoint")
    if known is not None and known.error_class in ("clock_wrong", "keys_expired", "bad_keys"):
        hint = TREATMENTS[known.error_class].hint if known.error_class == "clock_wrong" else f"look at {variables}"
        return ConfigError(f"{name} cannot be listed: {known.message}", hint=hint)
    if answer.status in (401, 403):
        return ConfigError(
            f"{name} cannot be listed: access is refused{said}",
            hint=f"set {variables}, of somebody who may list and read this bucket",
        )
    if answer.status == 404:
        return UsageError(f"there is no bucket {name}{said}", hint="check its name, and the endpoint")
    return RemoteError(
        f"{name} cannot be listed: {display(redact_url(answer.url))} answered {answer.status}{said}",
        hint="look whether the endpoint is an S3 host and the region the bucket's; the queue was not changed",
    )

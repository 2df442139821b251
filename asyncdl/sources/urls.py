"""Any file at an http or https URL becomes one Artifact. Nothing is asked of the host: size and digest stay unknown.

The queue stores the URL, so it must hold no secret: user names, passwords and queries are refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import SplitResult, unquote, urlsplit

from asyncdl.core.model import Artifact, Resolved
from asyncdl.core.names import SafePath, display, folder_name, redact_url, safe_path
from asyncdl.errors import UsageError
from asyncdl.sources.paths import exact_path


def resolve_url(url: str) -> Resolved:
    """Return the one file at `url`. origin + "/" + the quoted path is that URL again.

    One name is one origin: `host`, `host:8080`, `http://host`; their common folder is raw/<host>, where the origin that
    was enqueued last has the file.

    Raises UsageError for a URL that the queue may not hold, UnsafeNameError for a path that cannot be a file name.
    """
    parts = urlsplit(url)
    try:
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except (UnicodeError, ValueError) as error:
        raise UsageError(f"the URL has no usable host or port: {error}") from None
    _refuse_secrets(url, parts)
    if not host:
        raise UsageError("the URL has no host")
    netloc = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    if port not in (None, default):
        netloc = f"{netloc}:{port}"
    return Resolved(
        name=netloc if parts.scheme == "https" else f"http://{netloc}",
        revision="",
        source="url",
        origin=f"{parts.scheme}://{netloc}",
        local_root=safe_path(f"raw/{folder_name(host)}"),
        text_field="",
        artifacts=_one(Artifact(_path(url, parts), None, None)),
    )


def _refuse_secrets(url: str, parts: SplitResult) -> None:
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"the URL of {redact_url(url)} holds a user name or a password, which the queue never stores",
            hint="use a URL that needs none",
        )
    if "?" in url:
        raise UsageError(
            f"the URL of {redact_url(url)} has a query, which may be a signature, and the queue stores no secrets",
            hint="use a URL without `?...`; a file on the Hub can be named as hf://datasets/org/name/path",
        )
    if "#" in url:
        raise UsageError(f"the URL of {redact_url(url)} has a fragment", hint="write # in a file name as %23")


def _path(url: str, parts: SplitResult) -> SafePath:
    if parts.path in ("", "/") or parts.path.endswith("/"):
        raise UsageError(f"{redact_url(url)} names no file", hint="asyncdl lists no web folders; name one file")
    steps = parts.path[1:].split("/")
    try:
        decoded = [unquote(step, errors="strict") for step in steps]
    except UnicodeDecodeError:
        raise UsageError(f"the path of {redact_url(url)} is not UTF-8") from None
    if any("/" in step for step in decoded):
        raise UsageError(f"a step of {display(parts.path)} holds a slash (%2F), which no file name can")
    return exact_path("/".join(decoded))


async def _one(artifact: Artifact) -> AsyncIterator[Artifact]:
    yield artifact

"""The Hub's API as far as listing needs it: a name is pinned to a commit, then that commit's tree is read.

Pages stream: what is held is one page. Knows nothing of languages or the catalogue. Routes and shapes are those
of huggingface_hub 2.4 and the Hub's OpenAPI document.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import orjson

from asyncdl.core.model import Digest
from asyncdl.core.names import display, redact_url
from asyncdl.errors import RemoteError, UsageError
from asyncdl.net.fetch import Answer, Fetcher
from asyncdl.sources.entries import REPO_ID
from asyncdl.sources.refusals import Asked, refusal

T = TypeVar("T")

MAX_PAGE_BYTES = 16 << 20
"""Forty times a page of 1000 entries with long names."""

_SHA = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEXT = re.compile(r"""<([^>]*)>\s*;[^,<]*\brel\s*=\s*"?next\b""")


class NoFolderError(UsageError):
    """The commit has no such folder."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the tree has it; path is unchecked text from outside."""

    path: str
    size_bytes: int | None
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Repo:
    """One repository at one commit. asked.repo is its present id, asked.revision the revision that was asked for."""

    fetcher: Fetcher
    asked: Asked
    sha: str

    @property
    def origin(self) -> str:
        """What the files' URLs begin with: origin + "/" + quoted path."""
        return f"{self.asked.page}/resolve/{self.sha}"

    async def files(self, folder: str, *, recursive: bool = True) -> AsyncGenerator[Listed, None]:
        """Yield the files in `folder` ('' is the root), recursive at any depth, in the order of the Hub.

        Raises NoFolderError, and the errors of `refusals`.
        """
        async with aclosing(self._entries(folder, recursive=recursive)) as entries:
            async for entry in entries:
                if entry.get("type") == "file":
                    yield _listed(entry, self.asked)

    async def folders(self, folder: str) -> list[str]:
        """Return the names of the folders right in `folder`. Raises NoFolderError."""
        async with aclosing(self._entries(folder, recursive=False)) as entries:
            return [
                str(entry.get("path", "")).rpartition("/")[2]
                async for entry in entries
                if entry.get("type") == "directory"
            ]

    async def _entries(self, folder: str, *, recursive: bool) -> AsyncGenerator[dict[str, Any], None]:
        below = f"/{quote(folder, safe='')}" if folder else ""
        url: str | None = f"{_api(self.asked)}/tree/{self.sha}{below}?recursive={recursive}"
        read: set[str] = set()
        while url:
            read.add(url)
            answer = await ask(self.fetcher, url, self.asked)
            if answer.status == 404 and folder:
                raise NoFolderError(f"{self.asked.repo} has no folder {display(folder)}")
            for entry in _json(answer, list, self.asked):
                if isinstance(entry, dict):
                    yield entry
            url = _next_page(answer, url, self.asked.endpoint)
            if url in read:
                raise RemoteError(f"the listing of {self.asked.repo} goes round in circles at {redact_url(url)}")


async def pin(fetcher: Fetcher, asked: Asked) -> Repo:
    """Look the repo up; return it at the commit that its revision names at this moment.

    The Hub sends renamed repos on by itself, so the id may have changed. Raises the errors of `refusals`, also for
    a gated repo that this token may list but not read.
    """
    # Without `expand` the answer holds every file name of the repo, megabytes for the large ones.
    url = f"{_api(asked)}/revision/{quote(asked.revision, safe='')}?expand=sha&expand=gated"
    info = _json(await ask(fetcher, url, asked), dict, asked)
    sha = str(info.get("sha"))
    if not _SHA.fullmatch(sha):
        raise RemoteError(
            f"{asked.endpoint} names no commit for {asked.repo}", hint="look whether HF_ENDPOINT is a Hub"
        )
    present = str(info.get("id"))
    if REPO_ID.fullmatch(present):
        asked = replace(asked, repo=present)
    if info.get("gated"):
        await _refuse_unless_let_in(fetcher, asked)
    return Repo(fetcher, asked, sha)


async def _refuse_unless_let_in(fetcher: Fetcher, asked: Asked) -> None:
    """A gated repo lists its files to everybody: without this each download would fail, one after the other."""
    answer = await ask(fetcher, f"{_api(asked)}/auth-check", asked)
    if answer.status in (401, 403) or "x-error-code" in answer.headers:
        raise refusal(answer, asked)


async def ask(fetcher: Fetcher, url: str, asked: Asked, *, limit_bytes: int = MAX_PAGE_BYTES) -> Answer:
    """Get `url`; a Hub that gives no answer is a RemoteError that says what was tried."""
    try:
        return await fetcher.get(url, limit_bytes=limit_bytes)
    except RemoteError as error:
        raise RemoteError(
            f"{asked.repo} was looked up at {asked.endpoint}, which gave no answer: {error.message}",
            hint=error.hint or "check the network, HF_ENDPOINT and the proxy settings",
        ) from error


def _api(asked: Asked) -> str:
    return f"{asked.endpoint}/api/{asked.kind}/{asked.repo}"


def _json(answer: Answer, kind: type[T], asked: Asked) -> T:
    if answer.status != 200:
        raise refusal(answer, asked)
    try:
        value = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, kind):
        raise RemoteError(
            f"{redact_url(answer.url)} answered with something else than a listing",
            hint="a proxy or a login page may be in between; look whether HF_ENDPOINT is a Hub",
        )
    return value


def _next_page(answer: Answer, url: str, endpoint: str) -> str | None:
    """The URL of the next page as the Hub wrote it, None on the last.

    A mirror passes on links that name the Hub itself; they are asked of the mirror, as the first page was.
    """
    match = _NEXT.search(answer.headers.get("link", ""))
    if not match:
        return None
    link: str = urljoin(url, match[1])
    if link.startswith(f"{endpoint}/"):
        return link
    parts = urlsplit(link)
    return f"{endpoint}{parts.path}?{parts.query}"


def _listed(entry: dict[str, Any], asked: Asked) -> Listed:
    path, size, lfs = entry.get("path"), entry.get("size"), entry.get("lfs")
    if not isinstance(path, str):
        raise RemoteError(f"{asked.endpoint} lists a file of {asked.repo} without a name")
    if not isinstance(lfs, dict):
        oid = str(entry.get("oid", ""))
        digest = Digest("git-sha1", oid) if _SHA.fullmatch(oid) else None
    else:
        oid, size = str(lfs.get("oid", "")), lfs.get("size", size)
        digest = Digest("sha256", oid) if _SHA256.fullmatch(oid) else None
    return Listed(path, size if isinstance(size, int) and size >= 0 else None, digest)

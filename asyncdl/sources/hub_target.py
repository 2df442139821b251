"""What is at the other end before an upload: who the token is, whether the repo and the branch are there, the files.

Only reads. Knows nothing of what is to be uploaded.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import orjson

from asyncdl.core.model import Digest
from asyncdl.core.names import display
from asyncdl.errors import ConfigError, RemoteError, UsageError
from asyncdl.net.fetch import Fetcher
from asyncdl.sources.entries import REPO_ID
from asyncdl.sources.hub import Repo, ask
from asyncdl.sources.refusals import Asked, refusal

_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Target:
    """asked.repo is the present id. sha: of the branch, '' where it is not there.

    start: the commit to go on from: that of the branch, or of main where there is none; '' without a repo. files: all
    that this commit holds.
    """

    asked: Asked
    has_repo: bool
    sha: str
    start: str = ""
    is_private: bool = False
    files: dict[str, Digest | None] = field(default_factory=dict)


async def check_token(fetcher: Fetcher, asked: Asked, named: str) -> None:
    """Raise ConfigError for a token that is refused, or may only read. named: where it came from."""
    answer = await ask(fetcher, f"{asked.endpoint}/api/whoami-v2", asked)
    if answer.status in (401, 403):
        raise ConfigError(
            f"{asked.endpoint} refused the token from {named}: it is wrong, expired or revoked",
            hint=f"make one that may write at {asked.endpoint}/settings/tokens and set HF_TOKEN",
        )
    if answer.status != 200:
        raise refusal(answer, asked)
    if _role(_object(answer.body, asked)) == "read":
        raise ConfigError(
            f"the token from {named} may only read",
            hint=f"make one that may write at {asked.endpoint}/settings/tokens and set HF_TOKEN",
        )


def _role(answer: dict[str, Any]) -> object:
    found: object = answer
    for key in ("auth", "accessToken", "role"):
        found = found.get(key) if isinstance(found, dict) else None
    return found


async def look(fetcher: Fetcher, asked: Asked) -> Target:
    """Return what is there now; a repo or branch that is missing is no error. Raises as `refusals` has it."""
    target = await _at(fetcher, asked)
    if target.has_repo and not target.sha:
        main = await _at(fetcher, replace(asked, revision="main"))
        target = replace(target, start=main.sha, is_private=main.is_private)
    if target.start:
        target = replace(target, files=await listing(fetcher, target.asked, target.start))
    return target


async def listing(fetcher: Fetcher, asked: Asked, sha: str) -> dict[str, Digest | None]:
    """Return all files of that commit with what they hash to, None where the Hub does not tell."""
    async with aclosing(Repo(fetcher, asked, sha).files("")) as files:
        return {file.path: file.digest async for file in files}


async def _at(fetcher: Fetcher, asked: Asked) -> Target:
    place = f"{asked.endpoint}/api/datasets/{asked.repo}/revision/{quote(asked.revision, safe='')}"
    answer = await ask(fetcher, f"{place}?expand=sha&expand=private", asked)
    if answer.status == 404:
        code = answer.headers.get("x-error-code", "")
        if code in ("RepoNotFound", "RevisionNotFound"):
            return Target(asked, has_repo=code == "RevisionNotFound", sha="")
    if answer.status != 200:
        raise refusal(answer, asked)
    info = _object(answer.body, asked)
    sha = str(info.get("sha"))
    if not _SHA.fullmatch(sha):
        raise RemoteError(
            f"{asked.endpoint} names no commit for {asked.repo}", hint="look whether HF_ENDPOINT is a Hub"
        )
    if sha == asked.revision or asked.revision.startswith("refs/"):
        raise UsageError(
            f"--revision {display(asked.revision)} is no branch", hint="commits are added to a branch; give its name"
        )
    present = str(info.get("id"))
    if REPO_ID.fullmatch(present):
        asked = replace(asked, repo=present)
    return Target(asked, has_repo=True, sha=sha, start=sha, is_private=info.get("private") is True)


def _object(body: bytes, asked: Asked) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise RemoteError(
            f"{asked.endpoint} answered with something else than JSON",
            hint="a proxy or a login page may be in between; look whether HF_ENDPOINT is a Hub",
        )
    return value

"""The dataset viewer's Parquet conversion: whether it is the whole dataset at the commit that is wanted.

Everything short of that is a reason in words, never an exception: the repo's own files are always there instead.
"""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlencode, urlsplit

import orjson

from asyncdl.core.names import display
from asyncdl.errors import RemoteError
from asyncdl.net.fetch import Answer, Fetcher

CONVERT_REVISION = "refs/convert/parquet"


def viewer_base(endpoint: str) -> str:
    """Return where the viewer of that Hub answers: ASYNCDL_DATASETS_SERVER, or as `datasets` 5.2 derives it.

    A Hub at an address, or at localhost, has no sub-domains and serves the routes itself.
    """
    if chosen := os.environ.get("ASYNCDL_DATASETS_SERVER"):
        return chosen.rstrip("/")
    host = urlsplit(endpoint).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return endpoint if host == "localhost" else endpoint.replace("://", "://datasets-server.", 1)
    return endpoint


async def why_not_converted(fetcher: Fetcher, endpoint: str, repo: str, sha: str) -> str | None:
    """Return None when the conversion is complete and of commit `sha`, otherwise why it cannot be used.

    The four conditions are those of `datasets` 5.2: same revision, not partial, nothing pending, nothing failed.
    """
    answer = await _ask(fetcher, endpoint, "parquet", repo)
    if isinstance(answer, str):
        return answer
    found = _read(answer)
    return "the viewer answered with something else than a list" if found is None else _incomplete(answer, found, sha)


async def config_names(fetcher: Fetcher, endpoint: str, repo: str) -> tuple[str, ...]:
    """Return the configs that the viewer knows, () where it knows or says nothing: good for a hint only."""
    answer = await _ask(fetcher, endpoint, "splits", repo)
    found = None if isinstance(answer, str) else _read(answer)
    rows = found.get("splits") if found else None
    if not isinstance(rows, list):
        return ()
    return tuple(dict.fromkeys(str(row.get("config")) for row in rows if isinstance(row, dict)))


async def _ask(fetcher: Fetcher, endpoint: str, route: str, repo: str) -> Answer | str:
    try:
        answer = await fetcher.get(f"{viewer_base(endpoint)}/{route}?{urlencode({'dataset': repo})}")
    except RemoteError as error:
        return f"the viewer gave no answer ({error.message})"
    if answer.status != 200:
        code = answer.headers.get("x-error-code") or "no reason given"
        return f"the viewer answered {answer.status} ({display(code)})"
    return answer


def _read(answer: Answer) -> dict[str, object] | None:
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _incomplete(answer: Answer, found: dict[str, object], sha: str) -> str | None:
    if found.get("partial") is not False:
        return "it is partial: the viewer converts only the first 5 GB"
    for key in ("pending", "failed"):
        rest = found.get(key)
        if rest != []:
            n = len(rest) if isinstance(rest, list) else "some"
            return f"{n} of its parts are {key}"
    if answer.headers.get("x-revision") != sha:
        return "it was made from another commit"
    return None

"""What a TARGET on the command line means: a place, not yet what is there. Nothing is asked of any host here."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from asyncdl.core.names import display, redact_url
from asyncdl.core.near import did_you_mean
from asyncdl.core.s3 import Scheme
from asyncdl.errors import UsageError
from asyncdl.sources.catalog import Catalog
from asyncdl.sources.entries import REPO_ID, Entry

_HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")  # AWS's oldest may have capitals and _
_SPECIAL_REF = re.compile(r"(refs/(?:convert|pr)/[^/]+)(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HubTarget:
    """repo: `org/name`. revision: None where the target names none. under: globs, one of which every path must
    match; empty for all. entry: what the catalogue knows of it. asked: the name that was given, where it is not
    the repo's.
    """

    repo: str
    revision: str | None = None
    under: tuple[str, ...] = ()
    entry: Entry | None = None
    asked: str = ""


@dataclass(frozen=True, slots=True)
class UrlTarget:
    url: str


@dataclass(frozen=True, slots=True)
class BucketTarget:
    """key: an object, a folder or a glob below the bucket; '' for all of it. It is no URL: nothing in it is quoted."""

    scheme: Scheme
    bucket: str
    key: str


def parse_target(target: str, catalog: Catalog, endpoint: str) -> HubTarget | UrlTarget | BucketTarget:
    """Return what `target` means. endpoint: the Hub in use, whose pages are understood as Hub targets.

    Raises UsageError for what means nothing, with the nearest names of the catalogue.
    """
    scheme, separator, rest = target.partition("://")
    if not separator:
        return _named(target, catalog)
    match scheme.lower():
        case "hf":
            return _hf(rest, catalog)
        case "http" | "https":
            return _web(target, catalog, endpoint)
        case "s3":
            return _bucket("s3", rest)
        case "r2":
            return _bucket("r2", rest)
    raise UsageError(
        f"{display(redact_url(target))} begins with an unknown scheme", hint="known are hf, https, http, s3 and r2"
    )


def _named(name: str, catalog: Catalog) -> HubTarget:
    entry = catalog.find(name)
    if entry:
        return HubTarget(entry.id, entry=entry, asked=name)
    if REPO_ID.fullmatch(name):
        return HubTarget(name)
    raise UsageError(
        f"there is no dataset {display(name)} in the catalogue",
        hint=did_you_mean(catalog.near(name)) or "name a dataset of the Hub as org/name, or give a URL",
    )


def _hf(rest: str, catalog: Catalog) -> HubTarget:
    kind, _, rest = rest.partition("/")
    if kind != "datasets":
        raise UsageError("only datasets can be enqueued", hint="write hf://datasets/org/name")
    org, _, rest = rest.partition("/")
    name, _, path = rest.partition("/")
    name, at, revision = name.partition("@")
    special = _SPECIAL_REF.fullmatch(f"{revision}/{path}") if at else None
    if special:  # refs/convert/parquet may be written as it is, as huggingface_hub's HfFileSystem has it
        revision, path = special[1], special[2] or ""
    if at and not revision:
        raise UsageError("the target ends its name with @ but names no revision")
    return _repo(f"{org}/{name}", unquote(revision) or None, _under(path), catalog)


def _web(url: str, catalog: Catalog, endpoint: str) -> HubTarget | UrlTarget:
    parts = urlsplit(url)
    steps = parts.path.strip("/").split("/")
    is_hub = parts.netloc.lower() in _HUB_HOSTS or url.startswith(f"{endpoint}/")
    if not (is_hub and steps[0] == "datasets" and len(steps) >= 3):
        return UrlTarget(url)
    repo, view, rest = "/".join(steps[1:3]), steps[3:4], steps[4:]
    if view in ([], ["viewer"], ["discussions"]):
        return _repo(repo, None, (), catalog)
    if view[0] not in ("tree", "blob", "resolve", "raw") or not rest:
        raise UsageError(f"{redact_url(url)} is not a page that names files", hint=f"name the dataset: {repo}")
    path = unquote("/".join(rest[1:]))
    under = (f"{glob.escape(path)}/*",) if view == ["tree"] and path else (glob.escape(path),) if path else ()
    return _repo(repo, unquote(rest[0]), under, catalog)


def _bucket(scheme: Scheme, rest: str) -> BucketTarget:
    """A name that breaks the rules is not shown: what stands there may be keys, as other tools take them."""
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise UsageError(
            f"the target names no bucket: letters, digits, dots, - and _ make its name, in {scheme}://bucket/prefix",
            hint="keys come from the environment, never from the target" if "@" in bucket else None,
        )
    return BucketTarget(scheme, bucket, key)


def _under(path: str) -> tuple[str, ...]:
    """A path of a target is a glob, a file or a folder: which of them only the Hub knows."""
    path = path.strip("/")
    return (path, f"{path}/*") if path else ()


def _repo(repo: str, revision: str | None, under: tuple[str, ...], catalog: Catalog) -> HubTarget:
    entry = catalog.find(repo.strip("/"))
    if not REPO_ID.fullmatch(repo):
        meant = (entry.id,) if entry else catalog.near(repo)
        raise UsageError(
            f"{display(repo.strip('/'))} is not a Hub dataset's full name",
            hint=did_you_mean(meant) or "it looks like org/name",
        )
    return HubTarget(entry.id if entry else repo, revision, under, entry, repo)

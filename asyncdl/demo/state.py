"""Everything the routes share: the repos, the objects the CDN has been told of, tokens, faults, clock.

One HubState per hub; only the event loop touches it.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from asyncdl.demo.content import Content
from asyncdl.demo.exchange import Call, Refusal, hub_error, redirect
from asyncdl.demo.faults import FaultBook
from asyncdl.demo.journal import Journal
from asyncdl.demo.repos import Kind, Repo, Revision
from asyncdl.demo.signing import Signer

Role = Literal["read", "write"]

WINDOW_S = 300  # the Hub counts requests in fixed windows of five minutes
QUOTA = 1_000_000


@dataclass(frozen=True, slots=True)
class CdnObject:
    """etag: quoted, stable and opaque: it is no digest of the bytes that a client could check."""

    path: str
    content: Content
    etag: str


@dataclass(slots=True)
class HubState:
    """token: the only one that is valid. url_life_s: of signed URLs. now: UTC seconds.

    role: what the token may. part_bytes: what is larger comes in parts. stored: LFS objects by sha256; n_stored: how
    often each one came. ignored: paths that a .gitignore in the repo names.
    """

    token: str | None
    page_size: int
    url_life_s: float
    role: Role = "write"
    part_bytes: int = 8 << 20
    now: Callable[[], float] = time.time
    endpoint: str = ""
    cdn_endpoint: str = ""
    faults: FaultBook = field(default_factory=FaultBook)
    journal: Journal = field(default_factory=Journal)
    signer: Signer = field(default_factory=Signer)
    repos: dict[tuple[Kind, str], Repo] = field(default_factory=dict)
    objects: dict[str, CdnObject] = field(default_factory=dict)
    stored: dict[str, Content] = field(default_factory=dict)
    n_stored: Counter[str] = field(default_factory=Counter)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    _windows: dict[str, tuple[int, int]] = field(init=False, default_factory=dict)

    def add(self, repos: Iterable[Repo]) -> None:
        self.repos.update({(repo.kind, repo.name): repo for repo in repos})

    def quota(self, bucket: str) -> dict[str, str]:
        """The RateLimit headers of one more request in the window; generous, as limits are a fault's."""
        window, spent = self._windows.get(bucket, (0, 0))
        current = int(self.now()) // WINDOW_S
        spent = spent + 1 if current == window else 1
        self._windows[bucket] = (current, spent)
        left_s = WINDOW_S - int(self.now()) % WINDOW_S
        return {
            "RateLimit": f'"{bucket}";r={max(QUOTA - spent, 1)};t={left_s}',
            "RateLimit-Policy": f'"fixed window";"{bucket}";q={QUOTA};w={WINDOW_S}',
        }

    def readable(self, call: Call, *, bytes_wanted: bool = False) -> Repo:
        """The repo a call names, if the caller may see it. A gated repo shows its listing, not its bytes."""
        kind, name = kind_of(call), call.fields["repo"]
        repo = self.repos.get((kind, name))
        if repo is None or (repo.private and not (call.authorized and repo.granted)):
            raise hub_error(404 if call.authorized else 401, "RepoNotFound", "Repository not found")
        if repo.disabled:
            raise hub_error(403, None, "Access to this resource is disabled.")
        if repo.renamed_to:
            raw = call.request.raw_path.replace(f"/{name}", f"/{repo.renamed_to}", 1)
            raise Refusal(redirect(307, raw))
        if bytes_wanted and repo.gated and not (call.authorized and repo.granted):
            message = f"Access to {kind} {name} is restricted to those on its list."
            raise hub_error(403 if call.authorized else 401, "GatedRepo", message)
        return repo

    def revision(self, repo: Repo, name: str) -> Revision:
        revision = repo.revision(name)
        if revision is None:
            raise hub_error(404, "RevisionNotFound", f"Invalid rev id: {name}")
        return revision

    async def content(self, revision: Revision, path: str) -> Content:
        """The file with its digests computed, off the event loop."""
        content = revision.content(path)
        if content is None:
            raise hub_error(404, "EntryNotFound", "Entry not found")
        if "sha256" not in vars(content):
            await asyncio.to_thread(lambda: content.sha256)
        return content

    def signed_url(self, repo: Repo, path: str, content: Content) -> str:
        """A CDN URL of that content, valid for url_life_s."""
        key = hashlib.sha256(f"{repo.name}\0{path}\0{content.sha256}".encode()).hexdigest()
        etag = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
        owner = hashlib.sha256(repo.name.encode()).hexdigest()[:24]
        url_path = f"/xet-bridge-us/{owner}/{key}"
        self.objects[url_path] = CdnObject(path, content, f'"{etag}"')
        return self.cdn_endpoint + self.signed(
            url_path, file_name=path.rpartition("/")[2], fault_paths=(path, url_path)
        )

    def signed(self, url_path: str, *, file_name: str, fault_paths: tuple[str, ...]) -> str:
        """`url_path` with the query that opens it for url_life_s; it may have expired by a fault."""
        expired = self.faults.strike("hub", fault_paths, {"expired_url"})
        life_s = -1 if expired else self.url_life_s
        expires_at = math.ceil(self.now() + life_s)
        if expired:
            self.journal.totals["hub"].faults["expired_url"] += 1
        return self.signer.sign(url_path, file_name=file_name, expires_at=expires_at)


def kind_of(call: Call) -> Kind:
    return "dataset" if call.fields.get("kind") == "datasets" else "model"

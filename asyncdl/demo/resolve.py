"""`/resolve/`: where a file's bytes are. LFS files are sent to the CDN, git files to the resolve cache.

As captured from the Hub: an LFS file answers 302 with its size and sha256 in X-Linked-*, a git file 307 to a
relative URL; text that leaves the cache compressed is chunked and deaf to Range.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from urllib.parse import quote

from asyncdl.demo.content import Content
from asyncdl.demo.exchange import Answer, Call, Refusal, hub_error, redirect
from asyncdl.demo.ranges import file_answer
from asyncdl.demo.repos import Revision, is_lfs
from asyncdl.demo.spoil import gzipped
from asyncdl.demo.state import HubState


async def resolve(state: HubState, call: Call) -> Answer:
    repo = state.readable(call, bytes_wanted=True)
    revision = state.revision(repo, call.fields["rev"])
    path = call.fields["path"]
    content = await state.content(revision, path)
    if is_lfs(path, content):
        return redirect(302, state.signed_url(repo, path, content), _linked(revision, content))
    if repo.private or repo.gated or "/" not in repo.name or not content.size_bytes:
        return _git_file(call, revision, path, content)
    kind = f"{repo.kind}s"
    prefix = "/datasets" if repo.kind == "dataset" else ""
    asked = quote(f"{prefix}/{repo.name}/resolve/{call.fields['rev']}/{path}", safe="")
    etag = quote(f'"{content.git_sha1}"', safe="")
    location = f"/api/resolve-cache/{kind}/{repo.name}/{revision.sha}/{quote(path)}?{asked}=&etag={etag}"
    return redirect(307, location, {"X-Repo-Commit": revision.sha})


def _linked(revision: Revision, content: Content) -> dict[str, str]:
    return {
        "X-Repo-Commit": revision.sha,
        "X-Linked-Size": str(content.size_bytes),
        "X-Linked-ETag": f'"{content.sha256}"',
        "Accept-Ranges": "bytes",
        "Vary": "Origin, Accept",
    }


async def resolve_cache(state: HubState, call: Call) -> Answer:
    repo = state.readable(call, bytes_wanted=True)
    revision = state.revision(repo, call.fields["rev"])
    content = await state.content(revision, call.fields["path"])
    return _git_file(call, revision, call.fields["path"], content)


def _git_file(call: Call, revision: Revision, path: str, content: Content) -> Answer:
    name = path.rpartition("/")[2]
    headers = {
        "Content-Type": mimetypes.guess_type(name)[0] or "text/plain; charset=utf-8",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{quote(name)}\";",
        "X-Repo-Commit": revision.sha,
    }
    etag = f'"{content.git_sha1}"'
    if _accepts_gzip(call.headers.get("Accept-Encoding", "")) and content.size_bytes:
        whole = Answer(200, headers | {"ETag": f"W/{etag}", "Vary": "Accept-Encoding"}, content, chunked=True)
        return Answer(304, whole.headers) if etag in call.headers.get("If-None-Match", "") else gzipped(whole)
    return file_answer(call, content, etag, headers, _refuse)


def _refuse(status: int, code: str, message: str, headers: Mapping[str, str]) -> Refusal:
    refusal = hub_error(status, None, f"{code}: {message}")
    return Refusal(Answer(status, {**refusal.answer.headers, **headers}, refusal.answer.content))


def _accepts_gzip(header: str) -> bool:
    for item in header.lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0")
    return False

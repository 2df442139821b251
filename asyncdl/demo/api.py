"""The Hub's JSON API: repo info, tree, paths-info, refs, whoami. Listings are of one commit.

Shapes and limits from the Hub's OpenAPI document and from what the stock client reads.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from typing import Any

from asyncdl.demo.exchange import Answer, Call, hub_error, json_answer
from asyncdl.demo.repos import CONVERT_REF, Repo, Revision, is_lfs, lfs_pointer
from asyncdl.demo.state import HubState

WHEN = "2026-01-01T00:00:00.000Z"  # every commit's date: the demo hub has no history worth telling
MAX_PATHS = 1000  # paths-info answers 413 above it


async def whoami(state: HubState, call: Call) -> Answer:
    if not call.authorized:
        raise hub_error(401, None, "Invalid username or password.")
    role = {"type": "access_token", "accessToken": {"displayName": "demo", "role": state.role}}
    return json_answer({"type": "user", "id": "0" * 24, "name": "demo", "orgs": [], "auth": role})


async def info(state: HubState, call: Call) -> Answer:
    repo = state.readable(call)
    revision = state.revision(repo, call.fields.get("rev", "main"))
    siblings = await asyncio.to_thread(_siblings, revision, blobs=_truthy(call.query("blobs")))
    return json_answer(
        {
            "_id": hashlib.sha256(repo.name.encode()).hexdigest()[:24],
            "id": repo.name,
            "author": repo.name.rpartition("/")[0],
            "sha": revision.sha,
            "lastModified": WHEN,
            "createdAt": WHEN,
            "private": repo.private,
            "gated": repo.gated,
            "disabled": repo.disabled,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": {},
            "siblings": siblings,
            "usedStorage": 0,
        }
    )


def _siblings(revision: Revision, *, blobs: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in revision.paths:
        row: dict[str, Any] = {"rfilename": path}
        if blobs:
            entry = _entry(revision, path, expand=False)
            row |= {"blobId": entry["oid"], "size": entry["size"]}
            if "lfs" in entry:  # the key is sha256 here and oid in a tree
                lfs = entry["lfs"]
                row["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
        rows.append(row)
    return rows


async def tree(state: HubState, call: Call) -> Answer:
    """Pages of at most `limit` entries; the next one is named by a Link header, absent on the last."""
    repo = state.readable(call)
    revision = state.revision(repo, call.fields["rev"])
    folder = (call.fields.get("path") or "").strip("/")
    if not revision.is_folder(folder):
        raise hub_error(404, "EntryNotFound", f'{folder} does not exist on "{call.fields["rev"]}"')
    names = revision.listing(folder, recursive=_truthy(call.query("recursive")))
    expand = _truthy(call.query("expand"))
    start = _cursor_start(call.query("cursor"))
    end = min(start + _limit(call, state.page_size), len(names))
    rows = await _entries(revision, names[start:end], expand=expand)
    headers = {} if end >= len(names) else {"Link": f'<{_next_page(state, call, end)}>; rel="next"'}
    return json_answer(rows, headers)


def _limit(call: Call, page_size: int) -> int:
    wanted = call.query("limit")
    if not wanted:
        return page_size
    if not wanted.isdecimal() or int(wanted) < 1:
        raise hub_error(400, None, '"limit" must be a positive number')
    return min(int(wanted), page_size)


def _next_page(state: HubState, call: Call, start: int) -> str:
    cursor = base64.urlsafe_b64encode(f"from:{start}".encode()).decode()
    return state.endpoint + str(call.request.rel_url.update_query(cursor=cursor))


def _cursor_start(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor).decode().removeprefix("from:")) if cursor else 0
    except (binascii.Error, ValueError):
        raise hub_error(400, None, "Invalid cursor") from None


async def _entries(revision: Revision, names: list[str], *, expand: bool) -> list[dict[str, Any]]:
    """In a thread: the first listing of a big file computes its digest."""
    return await asyncio.to_thread(lambda: [_entry(revision, name, expand=expand) for name in names])


def _entry(revision: Revision, name: str, *, expand: bool) -> dict[str, Any]:
    """A tree entry; a name with a final slash is a folder."""
    if name.endswith("/"):
        oid = hashlib.sha1(f"{revision.sha} {name}".encode(), usedforsecurity=False).hexdigest()
        entry: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": name[:-1]}
    else:
        entry = _file_entry(revision, name)
        if expand:
            entry["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    if expand:
        entry["lastCommit"] = {"id": revision.sha, "title": "Add files", "date": WHEN}
    return entry


def _file_entry(revision: Revision, path: str) -> dict[str, Any]:
    content = revision.content(path)
    assert content is not None
    entry = {"type": "file", "oid": "", "size": content.size_bytes, "path": path}
    if not is_lfs(path, content):
        return entry | {"oid": content.git_sha1}
    pointer = lfs_pointer(content)
    oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest()
    lfs = {"oid": content.sha256, "size": content.size_bytes, "pointerSize": len(pointer)}
    return entry | {"oid": oid, "lfs": lfs}


async def paths_info(state: HubState, call: Call) -> Answer:
    """Entries of the paths asked for, as a form or as JSON; paths that do not exist are left out."""
    repo = state.readable(call)
    revision = state.revision(repo, call.fields["rev"])
    if call.request.content_type == "application/json":
        asked = await call.request.json()
        paths, expand = list(asked.get("paths", [])), bool(asked.get("expand"))
    else:
        form = await call.request.post()
        paths, expand = [str(path) for path in form.getall("paths", [])], _truthy(str(form.get("expand", "")))
    if len(paths) > MAX_PATHS:
        raise hub_error(413, None, "too many parameters")
    names = [name for path in paths if (name := _name_in(revision, path.strip("/")))]
    rows = await _entries(revision, names, expand=expand)
    return json_answer(rows)


def _name_in(revision: Revision, path: str) -> str | None:
    if revision.content(path) is not None:
        return path
    return f"{path}/" if path and revision.is_folder(path) else None


async def refs(state: HubState, call: Call) -> Answer:
    repo = state.readable(call)
    branches = [_ref(name, f"refs/heads/{name}", head) for name, head in repo.branches.items()]
    return json_answer({"branches": branches, "converts": _converts(repo), "tags": []})


def _converts(repo: Repo) -> list[dict[str, str]]:
    converted = repo.converted if repo.kind == "dataset" else None
    return [_ref("parquet", CONVERT_REF, converted)] if converted else []


def _ref(name: str, ref: str, revision: Revision) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": revision.sha}


def _truthy(value: str) -> bool:
    """The Python client writes True, the JavaScript one true."""
    return value.lower() in ("true", "1")

"""What changes a repo of the hub: create it, a branch, LFS objects in one piece or many, and commits.

As the Hub does: an LFS object is stored by its sha256 and needs no commit to stay; a commit is refused where its parent
is not the head any more, and where an object it names was never stored. Shapes from huggingface_hub 2.4.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from asyncdl.demo.content import Content, InlineFile
from asyncdl.demo.exchange import Answer, Call, cdn_error, hub_error, json_answer
from asyncdl.demo.repos import Files, Repo
from asyncdl.demo.state import HubState

REGULAR_BELOW_BYTES = 1 << 20  # as in repos.LFS_ABOVE_BYTES
LFS_JSON = {"Content-Type": "application/vnd.git-lfs+json"}


async def create(state: HubState, call: Call) -> Answer:
    _require_write(state, call)
    asked = await _json(call)
    kind = asked.get("type", "model")
    name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
    url = f"{state.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"
    if (kind, name) in state.repos:
        return json_answer({"error": "You already created this repo", "url": url}, status=409)
    attributes = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
    state.add([Repo(name, {".gitattributes": attributes}, kind=kind, private=asked.get("visibility") == "private")])
    return json_answer({"url": url, "name": name, "id": name})


async def branch(state: HubState, call: Call) -> Answer:
    repo = _writable(state, call)
    name = call.fields["rev"]
    if repo.revision(name) is not None:
        raise hub_error(409, None, f"Reference already exists: refs/heads/{name}")
    start = state.revision(repo, (await _json(call)).get("startingPoint", "main"))
    repo.branches[name] = start
    return json_answer({})


async def validate_yaml(_: HubState, __: Call) -> Answer:
    return json_answer({"errors": [], "warnings": []})


async def preupload(state: HubState, call: Call) -> Answer:
    """Say of each file how it is to come: big ones and Parquet by LFS."""
    repo = _writable(state, call)
    revision = state.revision(repo, call.fields["rev"])
    rows = []
    for file in (await _json(call))["files"]:
        path, size_bytes = file["path"], file["size"]
        is_lfs = path.endswith(".parquet") or size_bytes > REGULAR_BELOW_BYTES
        there = revision.content(path)
        oid = None if there is None else (there.sha256 if is_lfs else there.git_sha1)
        mode = "lfs" if is_lfs else "regular"
        rows.append({"path": path, "uploadMode": mode, "shouldIgnore": path in state.ignored, "oid": oid})
    return json_answer({"files": rows})


async def lfs_batch(state: HubState, call: Call) -> Answer:
    """Where each object is to be put; nothing where it is stored already."""
    _writable(state, call)
    asked = await _json(call)
    transfer = "basic"
    rows: list[dict[str, Any]] = []
    for wanted in asked["objects"]:
        oid, size_bytes = wanted["oid"], wanted["size"]
        row: dict[str, Any] = {"oid": oid, "size": size_bytes, "authenticated": True}
        if oid not in state.stored:
            upload: dict[str, Any] = {"href": _put_url(state, f"/lfs/{oid}"), "header": {}}
            if size_bytes > state.part_bytes:
                transfer = "multipart"
                n_parts = -(-size_bytes // state.part_bytes)
                header = {f"{n:05}": _put_url(state, f"/lfs/{oid}/{n}") for n in range(1, n_parts + 1)}
                upload = {
                    "href": f"{state.endpoint}/api/complete_multipart/{oid}",
                    "header": {"chunk_size": str(state.part_bytes), **header},
                }
            row["actions"] = {"upload": upload, "verify": {"href": f"{state.endpoint}/api/lfs-verify", "header": {}}}
        rows.append(row)
    return json_answer({"transfer": transfer, "objects": rows}, LFS_JSON)


def _put_url(state: HubState, path: str) -> str:
    return state.cdn_endpoint + state.signed(path, file_name="object", fault_paths=(path,))


async def put(state: HubState, call: Call) -> Answer:
    """An object, or a part of one, comes to the storage."""
    if "Authorization" in call.headers:
        raise cdn_error(400, "InvalidArgument", "Only one auth mechanism allowed")
    why = state.signer.refusal(call.request.raw_path, now=state.now())
    if why:
        raise cdn_error(403, why, "Request has expired" if why == "AccessDenied" else "Access denied")
    body = await _body(call)
    oid, part = call.fields["oid"], call.fields.get("part")
    if part is not None:
        state.parts[oid, int(part)] = body
        return Answer(200, {"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'})
    _store(state, oid, InlineFile(body))
    return Answer(200, {"ETag": f'"{oid[:32]}"'})


async def complete(state: HubState, call: Call) -> Answer:
    """The parts become the object; no token comes with this call."""
    asked = await _json(call)
    oid = call.fields["oid"]
    parts = []
    for part in asked["parts"]:
        body = state.parts.get((oid, part["partNumber"]))
        etag = "" if body is None else hashlib.md5(body, usedforsecurity=False).hexdigest()
        if body is None or part["etag"].strip('"') != etag:
            raise hub_error(400, None, "One or more of the specified parts could not be found")
        parts.append(body)
    _store(state, oid, InlineFile(b"".join(parts)))
    for key in [key for key in state.parts if key[0] == oid]:
        del state.parts[key]
    return json_answer({"success": True})


def _store(state: HubState, oid: str, content: Content) -> None:
    if content.sha256 != oid:
        raise cdn_error(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.")
    state.stored[oid] = content
    state.n_stored[oid] += 1


async def verify(state: HubState, call: Call) -> Answer:
    asked = await _json(call)
    content = state.stored.get(asked["oid"])
    if content is None or content.size_bytes != asked["size"]:
        raise hub_error(404, None, "Object does not exist")
    return json_answer({})


async def commit(state: HubState, call: Call) -> Answer:
    """All operations of the request become one new revision of the branch, or none does."""
    repo = _writable(state, call)
    name = call.fields["rev"]
    lines = [json.loads(line) for line in (await _body(call)).splitlines() if line]
    header = lines[0]["value"]
    head = repo.branches.get(name)
    if head is None:
        raise hub_error(404, "RevisionNotFound", f"Invalid rev id: {name}")
    if header.get("parentCommit") not in (None, head.sha):
        raise hub_error(412, None, "A commit has happened since. Please refresh and try again.")
    changes: Files = dict(_change(state, line) for line in lines[1:])
    made = repo.push({**head.files, **changes}, branch=name)
    repo.log.append((made.sha, header["summary"], tuple(changes)))
    url = f"{state.endpoint}/{repo.kind}s/{repo.name}/commit/{made.sha}"
    return json_answer({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


def _change(state: HubState, line: dict[str, Any]) -> tuple[str, bytes | Content]:
    value = line["value"]
    if line["key"] == "file":
        try:
            return value["path"], base64.b64decode(value["content"], validate=True)
        except binascii.Error:
            raise hub_error(400, None, "Invalid base64") from None
    if line["key"] != "lfsFile":
        raise hub_error(400, None, f"the demo hub only adds: {line['key']}")
    content = state.stored.get(value["oid"])
    if content is None:
        raise hub_error(400, None, f"LFS pointer pointed to a file that does not exist: {value['path']}")
    return value["path"], content


def _writable(state: HubState, call: Call) -> Repo:
    repo = state.readable(call)
    _require_write(state, call)
    return repo


def _require_write(state: HubState, call: Call) -> None:
    if not call.authorized:
        raise hub_error(401, None, "Invalid username or password.")
    if state.role != "write":
        raise hub_error(403, None, "You don't have the required permissions to perform this action")


async def _body(call: Call) -> bytes:
    """All of it; `request.read` would stop at a megabyte."""
    return b"".join([block async for block in call.request.content.iter_any()])


async def _json(call: Call) -> dict[str, Any]:
    try:
        found = json.loads(await _body(call) or b"{}")
    except ValueError:
        raise hub_error(400, None, "Invalid JSON") from None
    assert isinstance(found, dict)
    return found

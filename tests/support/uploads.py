"""What the tests of uploads share: folders to upload, and how a repo of the demo hub is held against them."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from asyncdl.core.model import Digest
from asyncdl.core.uploads import Local
from asyncdl.demo.hub import DemoHub

TOKEN = "hf_canaryTOKEN"
REPO = "org/set"


def local(path: str, place: Path, content: bytes | None = None) -> Local:
    """A file as `gather` would find it; content: written to `place` first."""
    if content is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    found = place.stat()
    digest = Digest("sha256", hashlib.sha256(place.read_bytes()).hexdigest())
    return Local(path, str(place), found.st_size, (digest,), found.st_mtime_ns)


def held(hub: DemoHub, repo: str = REPO, branch: str = "main") -> dict[str, str]:
    """{path: sha256} of the repo, without what the Hub itself puts there."""
    revision = hub.repo(repo).revision(branch)
    return {path: revision.content(path).sha256 for path in revision.paths if path != ".gitattributes"}


def under(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_nothing_came_twice(hub: DemoHub, repo: str = REPO) -> None:
    """Each object was stored once, and each path is in one commit."""
    assert set(hub.n_stored.values()) <= {1}, hub.n_stored
    added = Counter(path for _, _, paths in hub.repo(repo).log for path in paths)
    assert set(added.values()) == {1}, added


def n_writes(hub: DemoHub) -> int:
    """Requests so far that could change something."""
    return sum(request.method not in ("GET", "HEAD") for request in hub.requests)

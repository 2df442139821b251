"""A Fetcher that answers from a table, and a small Hub to fill the table with."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import quote

from asyncdl.errors import RemoteError
from asyncdl.net.fetch import Answer

ENDPOINT = "https://hub.test"
SHA = "a" * 40


class ScriptedFetcher:
    """Answers each URL as the table says; an exception there is raised, a URL that is not there is a 404."""

    def __init__(self, answers=()):
        self.answers = dict(answers)
        self.asked = []

    async def get(self, url, *, limit_bytes=16 << 20):
        self.asked.append(url)
        answer = self.answers.get(url, Answer(404, {}, b"", url))
        if isinstance(answer, Exception):
            raise answer
        assert len(answer.body) <= limit_bytes
        return answer

    def json(self, url, value, *, status=200, **headers):
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        self.answers[url] = Answer(status, names, json.dumps(value).encode(), url)

    def refuse(self, url, status, code=None, message=None):
        headers = {"x-error-code": code, "x-error-message": message}
        self.answers[url] = Answer(status, {k: v for k, v in headers.items() if v}, b"", url)


class ScriptedHub(ScriptedFetcher):
    """Serves the trees of repos given as lists of paths, one page per folder."""

    def repo(self, name, paths, *, sha=SHA, kind="datasets", revision="main", asked=None, **info):
        api = f"{ENDPOINT}/api/{kind}/{name}"
        asked_api = f"{ENDPOINT}/api/{kind}/{asked or name}"
        self.json(
            f"{asked_api}/revision/{quote(revision, safe='')}?expand=sha&expand=gated",
            {"id": name, "sha": sha, "gated": False, **info},
        )
        folders = {"", *(path[:at] for path in paths for at, char in enumerate(path) if char == "/")}
        for folder in folders:
            below = [path for path in sorted(paths) if path.startswith(f"{folder}/" if folder else "")]
            self.json(tree(api, sha, folder, True), [file(path) for path in below])
            steps = {path[len(folder) + 1 if folder else 0 :].partition("/")[::2] for path in below}
            prefix = f"{folder}/" if folder else ""
            entries = [
                file(prefix + name) if not rest else {"type": "directory", "path": prefix + name}
                for name, rest in sorted(steps)
            ]
            self.json(tree(api, sha, folder, False), entries)


def tree(api, sha, folder, recursive):
    return f"{api}/tree/{sha}{'/' if folder else ''}{quote(folder, safe='')}?recursive={recursive}"


def file(path, size=10):
    """A tree entry: LFS for Parquet, git for everything else."""
    if path.endswith(".parquet"):
        return {
            "type": "file",
            "path": path,
            "oid": "0" * 40,
            "size": size,
            "lfs": {"oid": hashlib.sha256(path.encode()).hexdigest(), "size": size, "pointerSize": 130},
        }
    return {"type": "file", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": size}


UNREACHABLE = RemoteError("https://hub.test could not be fetched after 6 tries: no route")

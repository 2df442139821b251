"""The demo hub as a process of its own, over files on disk: it outlives the engines and counts what it sends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncdl.core.model import Digest
from asyncdl.demo.faults import Fault, faults_to_json
from asyncdl.demo.repos import Files, as_content, files_under, is_lfs

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Hub:
    endpoint: str

    def stats(self) -> dict[str, Any]:
        """What both origins have sent so far; see asyncdl.demo.journal.Totals."""
        with urllib.request.urlopen(f"{self.endpoint}/_demo/stats", timeout=30) as reply:
            return dict(json.load(reply))

    def bytes_sent(self, paths: Iterable[str]) -> int:
        """Body bytes of those files, from whichever origin, bodies of redirects included."""
        stats = self.stats()
        return sum(stats[origin]["bytes_by_path"].get(path, 0) for origin in ("hub", "cdn") for path in paths)


@asynccontextmanager
async def hub_process(repos: Mapping[str, Path], faults: Iterable[Fault] = ()) -> AsyncIterator[Hub]:
    """repos: {dataset name: folder}."""
    asked = [part for name, folder in repos.items() for part in ("--repo-dir", f"{name}={folder}")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "asyncdl.demo.hub", *asked, "--faults", json.dumps(faults_to_json(faults)),
        cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Hub(json.loads(await process.stdout.readline())["endpoint"])
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


def write_files(folder: Path, files: Files) -> None:
    """Lay files of a repo out below `folder`."""
    for path, source in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("wb") as file:
            content = as_content(source)
            file.writelines(content.blocks(0, content.size_bytes))


def facts_under(folder: Path) -> dict[str, tuple[int, Digest]]:
    """{path: (size, digest)} as the Hub lists them."""
    facts = {}
    for path, place in files_under(folder).items():
        content = as_content(place)
        digest = ("sha256", content.sha256) if is_lfs(path, content) else ("git-sha1", content.git_sha1)
        facts[path] = (content.size_bytes, Digest.parse(":".join(digest)))
    return facts

"""Put many URLs of one host into a queue at once: `asyncdl enqueue` takes one URL, and lists no web folders.

    python benchmarks/enqueue_urls.py URL_OF_FOLDER LIST QUEUE

LIST holds one file name and its size in bytes per line. What comes out is what `asyncdl enqueue` of each would leave.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from asyncdl.core.model import Artifact
from asyncdl.core.names import folder_of, safe_path
from asyncdl.sources.urls import resolve_url
from asyncdl.store import migrate
from asyncdl.store.enqueue import STAGE_BATCH, Enqueue, template_of
from asyncdl.store.writer import Writer


async def main(folder: str, names: Path, queue: Path) -> None:
    resolved = resolve_url(f"{folder}/x")
    [folder_path] = [folder_of(artifact.path) async for artifact in resolved.artifacts]
    files = [line.split() for line in names.read_text(encoding="utf-8").splitlines()]
    artifacts = [Artifact(safe_path(f"{folder_path}/{name}"), int(size), None) for name, size in files]
    writer = Writer(migrate.open_writer(queue), queue)
    try:
        enqueue = Enqueue(writer, template_of(resolved), now=time.time())
        for start in range(0, len(artifacts), STAGE_BATCH):
            batch = artifacts[start : start + STAGE_BATCH]
            await enqueue.stage([(folder_path, artifact, True) for artifact in batch])
        await enqueue.finish(priority=5, recipe=None)
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))

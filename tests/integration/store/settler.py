"""A program that claims downloads and settles them for ever; it prints each id after the queue has answered."""

import asyncio
import os
import sys
import time
from pathlib import Path

from asyncdl.store import place
from tests.integration.store.rig import Rig


async def main(path: Path) -> None:
    rig = Rig(path)
    owner = f"engine {os.getpid()}"
    jobs = rig.jobs(owner)
    identity = place.identity(os.getpid()) or ""
    await jobs.start_engine(identity=identity, version="0", workers=1, pid=os.getpid(), now=time.time())
    os.write(1, b"ready\n")
    sys.stdin.readline()

    async def settle(job) -> None:
        await rig.finish(job)
        os.write(1, f"{job.id}\n".encode())

    while True:
        await jobs.rescue(now=time.time(), grace_s=60)
        claimed = await rig.take(32, owner=owner, now=time.time())
        if not claimed:
            break
        await asyncio.gather(*map(settle, claimed))
    await jobs.end_engine(now=time.time())
    rig.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

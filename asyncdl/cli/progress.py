"""What `asyncdl run` shows on stderr while it works: a few live rows on a terminal, else a line now and then.

Reads the queue as `asyncdl status` does, in a thread, over a connection of its own; it never asks the engine.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from asyncdl.cli.say import Say, on_terminal
from asyncdl.status import snapshot, view
from asyncdl.store.reader import Reader

FRAME_EVERY_S = 0.5
"""Two frames a second; one costs some 14 ms of the core that the engine runs on."""

FIRST_LINE_S = 5.0
LINE_EVERY_S = 30.0
"""No flood in a log, but never silence either."""


@asynccontextmanager
async def shown(reader: Reader, say: Say, *, live: bool) -> AsyncIterator[None]:
    """Show progress while the block runs. live: redraw in place where stderr is a terminal."""
    if not say.wants("info"):
        yield
        return
    work = _redraw(reader) if live and on_terminal(sys.stderr) else _say_lines(reader, say)
    task = asyncio.create_task(work, name="progress")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def take(reader: Reader) -> snapshot.Snapshot:
    """Return the snapshot of this moment, read in a thread. One at a time: the connection is not shared."""
    return await asyncio.to_thread(snapshot.take, reader, time.time())


async def _redraw(reader: Reader) -> None:
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while True:
            live.update(view.compact(await take(reader)), refresh=True)
            await asyncio.sleep(FRAME_EVERY_S)


async def _say_lines(reader: Reader, say: Say) -> None:
    wait_s = FIRST_LINE_S
    while True:
        await asyncio.sleep(wait_s)
        say.info(view.line(await take(reader)))
        wait_s = LINE_EVERY_S

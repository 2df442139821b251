"""What `asyncdl run` shows on stderr while it works: a few live rows on a terminal, else a line now and then.

Reads the queue as `asyncdl status` does, in a thread, over a connection of its own; it never asks the engine.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from asyncdl.cli.look import look_anew
from asyncdl.cli.say import Say, on_terminal
from asyncdl.status import snapshot, view

logger = logging.getLogger(__name__)

FRAME_EVERY_S = 0.5
"""Two frames a second; the engine runs on the same core."""

FIRST_LINE_S = 5.0
LINE_EVERY_S = 30.0
"""No flood in a log; but what is new is told."""


class Watcher:
    """Owner of the one thread that looks at the queue. An async context manager."""

    def __init__(self, queue: Path, data_dir: Path) -> None:
        self._queue = queue
        self._data_dir = data_dir
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watcher")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._thread.shutdown()

    async def take(self) -> snapshot.Snapshot:
        """Return the snapshot of this moment; a look that was given up is finished first.

        Raises ConfigError where there is no queue.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, look_anew, self._queue, self._data_dir)

    @asynccontextmanager
    async def shown(self, say: Say, *, live: bool) -> AsyncIterator[None]:
        """Show progress while the block runs. live: redraw in place where stderr is a terminal."""
        if not say.wants("info"):
            yield
            return
        work = self._redraw() if live and on_terminal(sys.stderr) else self._say_lines(say)
        task = asyncio.create_task(work, name="progress")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.warning("progress was not shown to the end", exc_info=error)  # the work itself was not harmed

    async def _redraw(self) -> None:
        from rich.console import Console
        from rich.live import Live

        from asyncdl.cli.status import pen_for
        from asyncdl.status import board, terminal
        from asyncdl.status.trend import Trend

        trend, pen = Trend(), pen_for(sys.stderr.encoding)
        with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
            while True:
                shot = trend.follow(await self.take())
                live.update(terminal.text_of(board.compact(shot, live.console.width, pen)), refresh=True)
                await asyncio.sleep(FRAME_EVERY_S)

    async def _say_lines(self, say: Say) -> None:
        wait_s, told = FIRST_LINE_S, ""
        while True:
            await asyncio.sleep(wait_s)
            if (line := view.line(await self.take())) != told:
                say.info(line)
            wait_s, told = LINE_EVERY_S, line

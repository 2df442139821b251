"""One line on stderr that says how far a verb is: redrawn on a terminal, else said now and then.

Knows nothing of the work; it asks for the line when it needs one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from asyncdl.cli.progress import FIRST_LINE_S, FRAME_EVERY_S, LINE_EVERY_S
from asyncdl.cli.say import Say, on_terminal
from asyncdl.core.names import display


@asynccontextmanager
async def shown(say: Say, line: Callable[[], str]) -> AsyncIterator[None]:
    """Show what `line` returns while the block runs. It is called in the event loop and must not wait."""
    if not say.wants("info"):
        yield
        return
    work = _redraw(line) if on_terminal(sys.stderr) else _say_lines(say, line)
    task = asyncio.create_task(work, name="progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            say.note(f"progress was not shown to the end: {error}")  # the work itself was not harmed


async def _redraw(line: Callable[[], str]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    # stdout is for data and may be a pipe: rich would send what is printed there to stderr.
    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False) as live:
        while True:
            live.update(Text(display(line()), no_wrap=True, overflow="ellipsis"), refresh=True)
            await asyncio.sleep(FRAME_EVERY_S)


async def _say_lines(say: Say, line: Callable[[], str]) -> None:
    wait_s = FIRST_LINE_S
    while True:
        await asyncio.sleep(wait_s)
        say.info(line())
        wait_s = LINE_EVERY_S

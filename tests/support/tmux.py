"""A real terminal for tests: a pane of a tmux server of its own, told of each output by tmux's control mode.

`until` looks at the pane again whenever something was written to it, and now and then: what is written while the control
client attaches, or between an output and the screen it makes, is told to nobody.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

TMUX = shutil.which("tmux")

WAIT_S = 20.0
"""A hang fails with what was on the screen, not with a stack of the loop."""

LOOK_AGAIN_S = 0.5


class Pane:
    """One pane with a shell in it. env: over a bare environment."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def tmux(self, *words: str) -> str:
        """Run a command of tmux and return what it says."""
        assert TMUX is not None
        process = await asyncio.create_subprocess_exec(
            TMUX, "-L", self._name, "-f", "/dev/null", *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"},
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, (words, err.decode())
        return out.decode()

    async def keys(self, *names: str) -> None:
        """Press keys by tmux's names of them."""
        await self.tmux("send-keys", *names)

    async def type(self, line: str) -> None:
        """Type a line into the shell."""
        await self.tmux("send-keys", "-l", line)
        await self.keys("Enter")

    async def text(self, *, styled: bool = False) -> str:
        """Return what the pane shows."""
        return await self.tmux("capture-pane", "-p", *(["-e"] if styled else []))

    async def fact(self, name: str) -> str:
        """Return one of tmux's facts about the pane: alternate_on, cursor_flag, wrap_flag, pane_title."""
        return (await self.tmux("display-message", "-p", f"#{{{name}}}")).strip()

    async def resize(self, columns: int, lines: int) -> None:
        await self.tmux("resize-window", "-x", str(columns), "-y", str(lines))

    async def until(self, holds: Callable[[str], bool]) -> str:
        """Return what the pane shows as soon as `holds` says yes to it; fail with it after WAIT_S."""
        text = ""
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    self._news.clear()
                    if holds(text := await self.text()):
                        return text
                    assert self._reading is not None
                    assert not self._reading.done(), f"the pane has ended with\n{text}"
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait(), LOOK_AGAIN_S)
        except TimeoutError:
            raise AssertionError(f"for {WAIT_S} s the pane has shown\n{text}") from None

    async def shows(self, *words: str) -> str:
        """Wait until all of `words` are shown."""
        return await self.until(lambda text: all(word in text for word in words))

    async def watch(self, control: asyncio.subprocess.Process) -> None:
        """Take note of every output, which control mode tells; see tmux(1), CONTROL MODE."""
        assert control.stdout is not None

        async def read() -> None:
            async for line in control.stdout:
                if line.startswith((b"%output", b"%layout-change", b"%exit", b"%window-close")):
                    self._news.set()
            self._news.set()

        self._reading = asyncio.create_task(read())

    async def unwatch(self, control: asyncio.subprocess.Process) -> None:
        """Return when the client has ended and both its pipes are closed."""
        assert self._reading is not None
        assert control.stdin is not None
        await self._reading
        control.stdin.close()
        with suppress(BrokenPipeError, ConnectionResetError):
            await control.stdin.wait_closed()
        await control.wait()


@asynccontextmanager
async def pane(folder: Path, env: dict[str, str], *, columns: int = 80, lines: int = 24) -> AsyncIterator[Pane]:
    """A shell in a terminal of that size; the server ends with the block. bash, for its job control."""
    (folder / "shell.rc").write_text("PS1='ready> '\n")
    one = Pane(f"asyncdl-{uuid.uuid4().hex[:12]}")
    given = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    await one.tmux(
        "new-session", "-d", "-s", "s", "-x", str(columns), "-y", str(lines), "-c", str(folder), *given, "bash --rcfile shell.rc",
        ";", "set-option", "-g", "window-size", "manual", ";", "set-option", "-g", "status", "off",
        ";", "resize-window", "-x", str(columns), "-y", str(lines),
    )  # fmt: skip
    assert TMUX is not None
    control = await asyncio.create_subprocess_exec(
        TMUX, "-L", one._name, "-C", "attach-session", "-t", "s",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 22,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"},
    )  # fmt: skip
    await one.watch(control)
    try:
        await one.shows("ready>")
        yield one
    finally:
        await one.tmux("kill-server")
        await one.unwatch(control)

"""The command line as its users have it: a process of its own, a folder of its own, the demo hub as the Hub."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from asyncdl.demo.hub import DemoHub

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    def json(self):
        return orjson.loads(self.out)


class Shell:
    """Starts `python -m asyncdl` in `folder`. env: over a bare environment, so the machine's own cannot leak in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder / "home"),
            "HF_ENDPOINT": "http://127.0.0.1:9",  # the discard port: nothing listens there
        }

    async def start(self, *args, **env):
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "asyncdl", *map(str, args),
            cwd=self.folder, env=self.env | env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def __call__(self, *args, **env) -> Result:
        return await self.result(await self.start(*args, **env))

    async def on_terminal(self, *args, interrupt_at=None, **env) -> str:
        """Run a verb on a pseudo-terminal and return what it showed; it must end with 0.

        interrupt_at: bytes that, once shown, are answered with Ctrl-C.
        """
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "asyncdl", *map(str, args),
            cwd=self.folder, env=self.env | env, stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        shown = bytearray()
        while block := await asyncio.to_thread(read_terminal, ours):
            shown += block
            if interrupt_at is not None and interrupt_at in shown:
                interrupt_at = None
                process.send_signal(signal.SIGINT)
        os.close(ours)
        assert await process.wait() == 0, shown.decode()
        return shown.decode()

    async def result(self, process) -> Result:
        out, err = await process.communicate()
        return Result(process.returncode, out.decode(), err.decode())


def read_terminal(fd):
    try:
        return os.read(fd, 65536)
    except OSError:  # EIO: the other side is closed
        return b""


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest_asyncio.fixture
async def hub(shell):
    async with DemoHub() as running:
        shell.env["HF_ENDPOINT"] = running.endpoint
        yield running

"""The other side of `runner`: starts engines as processes, reads what they tell, ends them as a test wishes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class EngineProcess:
    """One engine. told: its events so far, as JSON objects; `event` is the name of the class."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, config: dict[str, Any], *, under: Sequence[str] = ()) -> EngineProcess:
        """config: as `runner` takes it. under: a command that runs the engine, such as strace."""
        process = await asyncio.create_subprocess_exec(
            *under, sys.executable, "-m", "tests.support.runner", json.dumps(config),
            cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            start_new_session=True, limit=1 << 20,
        )  # fmt: skip
        return cls(process)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.told.append(json.loads(line))
            self._news.set()
        self._news.set()

    def of(self, name: str, **fields: object) -> list[dict[str, Any]]:
        return [
            told for told in self.told if told["event"] == name and all(told.get(key) == fields[key] for key in fields)
        ]

    async def wait_for(self, name: str, n: int = 1, **fields: object) -> dict[str, Any]:
        """The n-th such event. Fails when the engine ends without it."""
        while len(found := self.of(name, **fields)) < n:
            assert not self._reading.done(), f"the engine ended without {name} {fields}: {self.told[-3:]}"
            self._news.clear()
            await self._news.wait()
        return found[n - 1]

    async def ended(self) -> int:
        """The exit code, once everything it told is read."""
        await self._reading
        return await self.process.wait()

    def send(self, signum: int) -> None:
        self.process.send_signal(signum)

    async def kill(self) -> None:
        """SIGKILL to the whole group, children of the pool included, and wait until it is gone."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.ended()


@asynccontextmanager
async def engine_process(config: dict[str, Any], *, under: Sequence[str] = ()) -> AsyncIterator[EngineProcess]:
    """An engine that is killed at the end of the block if it still runs."""
    started = await EngineProcess.start(config, under=under)
    try:
        yield started
    finally:
        await started.kill()

"""The other side of `tests.support.dying`: starts it, and asks it for engines that die at a chosen point."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.engine import Bench

ROOT = Path(__file__).parents[2]


class Zygote:
    """Use as a context manager."""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.dying", cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._errors = asyncio.create_task(self._process.stderr.read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.stdin.close()
        await self._process.wait()
        await self._errors

    async def run(
        self, bench: Bench, at: int = 0, when: str = "before", *, workers: int, steps: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Run an engine over what is enqueued. steps: which of dying.STEPS count; None: all, and commits."""
        config = {"queue": str(bench.queue), "data_dir": str(bench.data_dir), "workers": workers}
        asked = {"config": config, "at": at, "when": when, "steps": steps}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        line = await self._process.stdout.readline()
        assert line, (await self._errors).decode()
        return json.loads(line)

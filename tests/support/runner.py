"""An engine as a process of its own: `python -m tests.support.runner '{"queue": ..., "data_dir": ...}'`.

The JSON is EngineConfig's fields, those left out as below; and part_bytes, what large files are tokenized in. Every
event goes to stdout as a line of JSON as it happens.
SIGTERM drains, a second one stops. The last line is {"event": "Ended", "reason": ...}.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from asyncdl.core.events import Event
from asyncdl.engine import tasks
from asyncdl.engine.run import Engine, EngineConfig
from asyncdl.errors import AsyncdlError

DEFAULTS: dict[str, Any] = {
    "workers": 8, "processes": 1, "only": None, "forever": False, "allow_private": False,
    "endpoint": "http://127.0.0.1:9", "token": None, "lease_s": 60.0, "version": "test",
}  # fmt: skip


def say(name: str, **fields: object) -> None:
    """One write for each line, so that a kill leaves no half of one."""
    os.write(1, json.dumps({"event": name, **fields}).encode() + b"\n")


def tell(event: Event) -> None:
    say(type(event).__name__, **asdict(event))


async def main(text: str) -> int:
    config = DEFAULTS | json.loads(text)
    tasks.PART_BYTES = config.pop("part_bytes", tasks.PART_BYTES)
    config |= {"queue": Path(config["queue"]), "data_dir": Path(config["data_dir"])}
    if config["only"] is not None:
        config["only"] = frozenset(config["only"])
    engine = Engine(EngineConfig(**config), tell)
    strikes = iter([engine.drain])

    def strike() -> None:
        next(strikes, engine.stop)()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, strike)
    say("Begun", pid=os.getpid())
    try:
        ended = await engine.run()
    except AsyncdlError as error:
        say("Failed", error=type(error).__name__, message=error.message)
        return error.exit_code
    say("Ended", reason=ended.reason)
    return 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main(sys.argv[1])))

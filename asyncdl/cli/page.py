"""Serving the page: its socket, its token, and what is said of where it is. The app itself is `status.web`."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import stat
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from asyncdl.cli.look import look
from asyncdl.cli.say import Say
from asyncdl.core.names import display
from asyncdl.errors import ConfigError, UsageError
from asyncdl.settings import Settings
from asyncdl.status import web_listen
from asyncdl.status.web import make_app
from asyncdl.status.web_actions import Action
from asyncdl.status.web_guard import Guard
from asyncdl.status.web_listen import Listen
from asyncdl.store.reader import Reader

TOKEN_BYTES = 32

SHUTDOWN_S = 2.0
"""For answers that are under way; the streams are ended at once. Guess."""


async def serve(found: Settings, listen: str, token_file: str | None, actions: Mapping[str, Action]) -> int:
    """Serve the page until a SIGINT or SIGTERM; return the exit code."""
    ended = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    async with serving(found, listen, token_file, actions):
        await ended.wait()
    return 0


async def beside(work: Coroutine[Any, Any, int], found: Settings, listen: str, actions: Mapping[str, Action]) -> int:
    """Serve the page while `work` runs; return what that returns. Where the page cannot be served, nothing is run."""
    try:
        async with serving(found, listen, None, actions):
            return await work
    finally:
        work.close()  # one that was never awaited says so otherwise


@asynccontextmanager
async def serving(
    found: Settings, listen: str, token_file: str | None, actions: Mapping[str, Action]
) -> AsyncIterator[str]:
    """Serve the page while the block runs, and give it the address; '' for a Unix socket.

    Raises UsageError for an address that cannot be, ConfigError where there is no queue, no token, or no such address.
    """
    say = Say(found.log_level)
    await asyncio.to_thread(lambda: Reader(found.queue).close())  # said now, rather than on the page
    try:
        where = web_listen.parse(listen)
        guard = Guard(where, None if token_file is None else read_token(Path(token_file)))
    except ValueError as error:
        raise UsageError(
            f"--listen {listen}: {error}", hint="asyncdl web has --token-file PATH; see docs/WEB.md"
        ) from None
    app = make_app(found.queue, lambda reader: look(reader, found.data_dir), actions, guard=guard)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)  # a log of requests would hold the token
    await runner.setup()
    bound = bind(where)
    try:
        await web.SockSite(runner, bound).start()
        for line in greeting(where, bound, has_token=token_file is not None):
            say.info(line)
        yield "" if where.path is not None else where.url(bound.getsockname()[1])
    finally:
        await runner.cleanup()
        bound.close()
        if where.path is not None:
            where.path.unlink(missing_ok=True)


def greeting(where: Listen, bound: socket.socket, *, has_token: bool) -> list[str]:
    """Return where the page is, and how to come to it from elsewhere. The token is never said."""
    host = socket.gethostname()
    if where.path is not None:
        return [f"the page is at {where.path}", f"from elsewhere: ssh -L 8377:{where.path.absolute()} {host}"]
    port = bound.getsockname()[1]
    lines = [f"the page is at {where.url(port)}"]
    if where.is_private:
        lines.append(f"from elsewhere: ssh -L {port}:127.0.0.1:{port} {host}")
    if has_token:
        lines.append("the first time, add ?token= and what is in the token file")
    return lines


def read_token(path: Path) -> str:
    """Return the token in `path`, made of chance where there is no such file. Raises ConfigError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"the token file {path} cannot be made: {display(str(error))}") from error
    else:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {path} cannot be read: {display(str(error))}") from error


def bind(where: Listen) -> socket.socket:
    """Return a socket that is bound, and not yet listening. Raises ConfigError.

    A Unix socket gets its rights before it listens, so that nobody else ever connects; one that nobody listens on any
    more is replaced.
    """
    try:
        if where.path is not None:
            return _bind_unix(where.path)
        family, kind, _, _, address = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        place = where.path or f"{where.host}:{where.port}"
        raise ConfigError(
            f"{place} cannot be listened on: {display(str(error))}", hint="choose another --listen"
        ) from error
    return bound


def _bind_unix(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
                if trial.connect_ex(str(path)) != 0:
                    path.unlink()
        bound.bind(str(path))
        path.chmod(0o600)
    except OSError:
        bound.close()
        raise
    return bound

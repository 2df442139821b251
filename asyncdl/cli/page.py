"""Serving the page: its socket, its token, and what is said of where it is. The app itself is `status.web`."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import signal
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

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
    async with serving(found, "--listen", listen, token_file, actions):
        await ended.wait()
    return 0


@asynccontextmanager
async def serving(
    found: Settings, flag: str, listen: str, token_file: str | None, actions: Mapping[str, Action]
) -> AsyncIterator[str]:
    """Serve the page while the block runs, and give it the address; '' for a Unix socket. flag: what `listen` is of.

    Raises UsageError for an address that cannot be, ConfigError where there is no queue, no token, or no such address.
    """
    say = Say(found.log_level)
    await asyncio.to_thread(lambda: Reader(found.queue).close())  # said now, rather than on the page
    where, guard = guarded(flag, listen, token_file)
    bound = bind(where, flag)
    app = make_app(found.queue, lambda reader: look(reader, found.data_dir), actions, guard=guard)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)  # a log of requests would hold the token
    try:
        await runner.setup()
        await web.SockSite(runner, bound).start()
        for line in greeting(where, bound, has_token=token_file is not None):
            say.info(line)
        yield "" if where.path is not None else where.url(bound.getsockname()[1])
    finally:
        await runner.cleanup()
        bound.close()
        if where.path is not None:
            where.path.unlink(missing_ok=True)


def guarded(flag: str, listen: str, token_file: str | None) -> tuple[Listen, Guard]:
    """Return where it listens and who may come. Raises UsageError with the option that is wrong, and ConfigError."""
    try:
        where = web_listen.parse(listen)
    except ValueError as error:
        raise UsageError(f"{flag} {display(listen)}: {error}", hint="see docs/WEB.md") from None
    token = None if token_file is None else read_token(Path(token_file))
    wrong = f"{flag} {display(listen)}" if token_file is None else f"--token-file {display(token_file)}"
    try:
        return where, Guard(where, token)
    except ValueError as error:
        raise UsageError(f"{wrong}: {error}", hint="asyncdl web has --token-file PATH; see docs/WEB.md") from None


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
    """Return the token in `path`, made of chance where there is no such file.

    Raises ConfigError where it cannot be had, and where others than the owner may read or change it.
    """
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
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(
                    f"the token file {display(str(path))} is open to others, who can come as you with what is in it",
                    hint="put another token into it, then chmod 600 it",
                )
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {path} cannot be read: {display(str(error))}") from error


def bind(where: Listen, flag: str) -> socket.socket:
    """Return a socket that is bound, and not yet listening. Raises ConfigError with `flag` as what to change.

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
            f"{place} cannot be listened on: {display(str(error))}", hint=f"choose another address for {flag}"
        ) from error
    return bound


def _bind_unix(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
                trial.setblocking(False)  # one that listens with a full queue would hold us up
                if trial.connect_ex(str(path)) == errno.ECONNREFUSED:  # whatever else: somebody may use it
                    path.unlink()
        bound.bind(str(path))
        path.chmod(0o600)
    except OSError:
        bound.close()
        raise
    return bound

"""Where the page listens, and by which names it may be called there: an address with a port, or a Unix socket.

The port is not looked at in a Host header: `ssh -L 9000:127.0.0.1:8377` is the usual way to it, and a name that an
attacker rebinds is wrong at any port.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Listen:
    """host, port: as given, port 0 for any free one. path: of a Unix socket, None for an address. names: what it may be
    called besides, lower case.
    """

    host: str
    port: int
    path: Path | None = None
    names: frozenset[str] = LOCAL_NAMES

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it: loopback, or a socket that only its owner can open."""
        return self.path is not None or _is_loopback(self.host)

    def answers_as(self, name: str | None) -> bool:
        """Whether `name`, lower case and without a port, may stand in a Host header.

        Off loopback also every IP address (rebinding needs a name) and what this machine calls itself.
        """
        if name is None:
            return False
        return name == self.host or name in self.names or (not self.is_private and _is_address(name))

    def url(self, port: int) -> str:
        """Return where a browser finds it; port: the one that was bound."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}/"


def parse(text: str) -> Listen:
    """Read `127.0.0.1:8377`, `[::1]:8377`, `localhost:0` or `unix:PATH`. Raises ValueError with what is allowed.

    Off loopback it asks once, and so may block, for the names that this machine has.
    """
    if text.startswith("unix:"):
        if not text.removeprefix("unix:"):
            raise ValueError("unix: needs the path of a socket")
        return Listen("localhost", 0, Path(text.removeprefix("unix:")).expanduser())
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.netloc != text or "@" in text:
        raise ValueError("an address with a port is needed, as 127.0.0.1:8377 or [::1]:8377, or unix:PATH")
    if _is_loopback(host):
        return Listen(host, port)
    return Listen(host, port, None, LOCAL_NAMES | {socket.gethostname().lower(), socket.getfqdn().lower()})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)

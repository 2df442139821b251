"""What this machine says about the way out: certificates, proxies, and how long we wait for an answer.

Both transports go by it. Knows nothing of requests.
"""

from __future__ import annotations

import ssl
from functools import cached_property
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_TIMEOUT_S = 10.0
"""huggingface_hub's default; a TCP handshake that takes longer is better tried anew."""

STALL_TIMEOUT_S = 10.0
"""No byte for this long is a stall; a slow but moving body may take for ever."""

DNS_TTL_S = 300
"""A run lasts hours and CDNs move their names within minutes; thousands of requests must not ask each time. Guess."""


class WayOut:
    """The environment as it was when this was made."""

    def __init__(self) -> None:
        self._proxies = getproxies()

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What verifies https hosts. It honours SSL_CERT_FILE and SSL_CERT_DIR; 20 ms, so made when it is needed."""
        return ssl.create_default_context()

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy that the environment names for `url`."""
        if not self._proxies:
            return None
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if proxy is None or proxy_bypass(parts.netloc):
            return None
        return proxy

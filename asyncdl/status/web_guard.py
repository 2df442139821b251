"""Who may read the page and who may act: the Host, the token, where a request comes from, and the headers of answers.

Every request passes `Guard.check` before a handler sees it, every answer `add_headers`. A page of another origin must
neither read (DNS rebinding) nor act (CSRF); off loopback nobody may without the token. Knows no queue and no templates.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NoReturn
from urllib.parse import urlencode, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from asyncdl.status.web_listen import Listen

PUBLIC = frozenset({"/healthz", "/readyz"})
"""Asked by supervisors without a token; they say yes or no and nothing else."""

MIN_TOKEN_LENGTH = 16
"""Characters; of random ones this is more than can be tried over a network. Guess."""

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # no-referrer would turn the Origin of our own forms into null (Fetch, 3.1)
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "asyncdl",
}


class Guard:
    """One for each running page. csrf: what its forms must send; it changes with each start.

    Of the token only digests are kept, and neither the token nor a digest is ever shown.
    """

    def __init__(self, listen: Listen, token: str | None) -> None:
        """Raises ValueError where `listen` needs a token and there is none, or it is too short to be one."""
        if token is None and not listen.is_private:
            raise ValueError("others than this machine can reach it, so a token is needed")
        if token is not None and len(token) < MIN_TOKEN_LENGTH:
            raise ValueError(f"a token has at least {MIN_TOKEN_LENGTH} characters")
        self._listen = listen
        self._digest = None if token is None else _digest(token)
        cookie = "" if token is None else hmac.new(token.encode(), b"asyncdl web cookie", "sha256").hexdigest()
        self._cookie = cookie[8:]
        self._cookie_name = f"asyncdl_{cookie[:8]}"  # a browser mixes the ports of a host up; tokens tell pages apart
        self.csrf = secrets.token_hex(32)

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through to its handler, or answer it here."""
        if not self._listen.answers_as(_host_name(request.headers.get("Host", ""))):
            raise web.HTTPMisdirectedRequest(
                text="this page does not answer to that name; use localhost or its address\n"
            )
        if request.method not in ("GET", "HEAD") and not _is_same_origin(request):
            raise web.HTTPForbidden(text="this was sent by another site\n")
        if self._digest is not None and request.path not in PUBLIC:
            if "token" in request.query:
                self._let_in(request)
            if not self._is_known(request):
                return _unknown()
        return await handler(request)

    def refuse_forged(self, given: object) -> None:
        """Raise HTTPForbidden unless `given`, a field of a form, is this page's own."""
        if not isinstance(given, str) or not _is_same(given, self.csrf):
            raise web.HTTPForbidden(text="the page is older than this server; reload it\n")

    def _let_in(self, request: web.Request) -> NoReturn:
        """Take the token from the link into a cookie, and send the browser to the same place without it."""
        if self._digest is None or not _is_same(_digest(request.query["token"]), self._digest):
            raise web.HTTPForbidden(text="this is not the token\n")
        query = [(name, value) for name, value in request.query.items() if name != "token"]
        path = request.rel_url.raw_path.lstrip("/\\")  # two slashes would lead to another host (RFC 3986 section 4.2)
        there = web.HTTPSeeOther(f"/{path}?{urlencode(query)}" if query else f"/{path}")
        there.set_cookie(
            self._cookie_name, self._cookie, path="/", httponly=True, samesite="Strict", secure=request.secure
        )
        raise there

    def _is_known(self, request: web.Request) -> bool:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._digest is not None and _is_same(_digest(given.strip()), self._digest)
        return _is_same(request.cookies.get(self._cookie_name, ""), self._cookie)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of every answer, errors and files included (a signal of aiohttp: on_response_prepare)."""
    response.headers.update(HEADERS)
    is_file = request.path.startswith("/static/")
    response.headers["Cache-Control"] = "no-cache" if is_file else "no-store"


def _unknown() -> web.Response:
    """A browser that came by a link on another site keeps a Strict cookie back; a click on our own page sends it."""
    page = (
        '<!doctype html><html lang="en"><title>asyncdl</title><h1>A token is needed</h1><p>Open this address once with'
        ' <code>?token=</code> and the token behind it. If you have just done so, <a href="/">go on</a>.</p></html>'
    )
    return web.Response(status=401, text=page, content_type="text/html", headers={"WWW-Authenticate": "Bearer"})


def _is_same_origin(request: web.Request) -> bool:
    """Whether a browser says that one of our own pages sent this; what is no browser says nothing, and needs the CSRF
    token all the same. Ports count: another program's page on this host is another origin.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get("Origin")
    return origin is None or _netloc(origin) == request.headers.get("Host", "").lower()


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _host_name(header: str) -> str | None:
    """Return the name in a Host header without its port, None for what is none (RFC 9110 section 7.2)."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == header and "@" not in header else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def _is_same(given: str, ours: str) -> bool:
    return hmac.compare_digest(given.encode(errors="backslashreplace"), ours.encode())

"""One request as a route sees it (Call), and what it decides to send back (Answer).

Routes are functions from Call to Answer; nothing is written to a socket before the Answer is whole, so a
fault can turn any Answer into another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web

from asyncdl.demo.content import Content, InlineFile
from asyncdl.demo.faults import Fault

NOTHING = InlineFile(b"")


@dataclass(frozen=True, slots=True)
class Call:
    """fields: the named parts of the URL path, percent-decoded. authorized: it carries the hub's token."""

    request: web.BaseRequest
    url_path: str
    fields: Mapping[str, str]
    authorized: bool
    fault: Fault | None

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    def query(self, name: str, default: str = "") -> str:
        return self.request.query.get(name, default)


@dataclass(frozen=True, slots=True)
class Answer:
    """The body is [start, end) of `content`; end None is its end. length_bytes: the Content-Length announced,
    where it is not the body's. chunked: no Content-Length at all.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Content = NOTHING
    start: int = 0
    end: int | None = None
    length_bytes: int | None = None
    chunked: bool = False

    @property
    def body_bytes(self) -> int:
        return (self.content.size_bytes if self.end is None else self.end) - self.start


class Refusal(Exception):  # noqa: N818  # an answer that cuts a route short, not a failure of ours
    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def json_answer(value: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> Answer:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, InlineFile(body))


def hub_error(status: int, code: str | None, message: str) -> Refusal:
    """The Hub's way to say no: X-Error-Code where there is one, X-Error-Message, and JSON."""
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Refusal(json_answer({"error": message}, headers, status))


def cdn_error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Refusal:
    """The CDN's way: XML as S3 and CloudFront write it."""
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    body = InlineFile(f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'.encode())
    return Refusal(Answer(status, {"Content-Type": "application/xml", **(headers or {})}, body))


def redirect(status: int, location: str, headers: Mapping[str, str] | None = None) -> Answer:
    body = f"{'Found' if status == 302 else 'Temporary Redirect'}. Redirecting to {location}".encode()
    return Answer(
        status,
        {"Content-Type": "text/plain; charset=utf-8", "Location": location, **(headers or {})},
        InlineFile(body),
    )

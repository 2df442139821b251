"""A file's bytes as an answer: whole, one range, or a refusal (RFC 9110 §13, §14), before or after a fault.

One range per request; several are answered with the whole file, as the CDN does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from asyncdl.demo.content import Content
from asyncdl.demo.exchange import Answer, Call, Refusal
from asyncdl.demo.spoil import spoiled_object

_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


def parse_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Half-open [start, end) within the file; None for no range or one to be ignored (§14.2).

    Raises ValueError when it cannot be satisfied.
    """
    match = _ONE_RANGE.match(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size_bytes - int(last), 0), size_bytes
    else:
        start, end = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
        if last and int(last) < start:
            return None
    if start >= size_bytes or start >= end:
        raise ValueError("range not satisfiable")
    return start, end


def file_answer(
    call: Call,
    content: Content,
    etag: str,
    headers: Mapping[str, str],
    refuse: Callable[[int, str, str, Mapping[str, str]], Refusal],
) -> Answer:
    """The answer to a GET of `content` under the quoted `etag`, its conditions and Range honoured.

    refuse: (status, code, message, headers) -> the origin's way of refusing, for 412 and 416.
    """
    content, etag = spoiled_object(call.fault, content, etag)
    base = {"ETag": etag, "Accept-Ranges": "bytes", **headers}
    if_match = call.headers.get("If-Match")
    if if_match and if_match != "*" and etag not in if_match:
        raise refuse(412, "PreconditionFailed", "At least one of the pre-conditions did not hold", {})
    if etag in call.headers.get("If-None-Match", ""):
        return Answer(304, base)
    wanted = call.headers.get("Range")
    if call.headers.get("If-Range", etag) != etag or (call.fault and call.fault.kind == "range_ignored"):
        wanted = None
    size_bytes = content.size_bytes
    try:
        span = parse_range(wanted, size_bytes)
    except ValueError:
        total = {"Content-Range": f"bytes */{size_bytes}"}
        raise refuse(416, "InvalidRange", "The requested range is not satisfiable", total) from None
    if span is None:
        return Answer(200, base, content)
    return Answer(206, base | {"Content-Range": content_range(*span, size_bytes)}, content, *span)


def content_range(start: int, end: int, size_bytes: int) -> str:
    return f"bytes {start}-{end - 1}/{size_bytes}"

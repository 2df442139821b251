"""What a fault makes of an answer: another object, another range, another length, no answer at all.

Pure functions; the faults that need a socket (drop, early_end, stall, slow, hang_up) are in `wire`.
"""

from __future__ import annotations

import gzip
from dataclasses import replace

from asyncdl.demo.content import Blocks, Content, InlineFile
from asyncdl.demo.exchange import Answer, redirect
from asyncdl.demo.faults import Fault

_WEB_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"


def instead(fault: Fault | None, raw_target: str) -> Answer | None:
    """The answer that a fault gives without asking the route, or None."""
    match fault:
        case Fault(kind="status"):
            given = {"Retry-After": fault.retry_after, "RateLimit": fault.rate_limit}
            headers = {name: value for name, value in given.items() if value is not None}
            body = InlineFile(f"fault: {fault.status}\n".encode())
            return Answer(fault.status, {"Content-Type": "text/plain", **headers}, body)
        case Fault(kind="missing"):
            headers = {"Content-Type": "text/plain", "X-Error-Code": "EntryNotFound"}
            return Answer(404, headers, InlineFile(b"Entry not found"))
        case Fault(kind="html"):
            return Answer(200, {"Content-Type": "text/html; charset=utf-8"}, InlineFile(_WEB_PAGE))
        case Fault(kind="redirect_loop"):
            return redirect(302, raw_target)
        case Fault(kind="redirect_to"):
            return redirect(302, fault.location)
        case _:
            return None


def spoiled_object(fault: Fault | None, content: Content, etag: str) -> tuple[Content, str]:
    """The object and its quoted ETag that the request meets."""
    if fault is None or fault.kind != "changed":
        return content, etag
    return _Changed(content), f'{etag[:-1]}-changed"'


def spoiled(fault: Fault | None, answer: Answer) -> Answer:
    """The answer with the fault in its header or its bytes. Leaves alone what the fault does not concern."""
    match fault:
        case Fault(kind="range_shifted") if answer.status == 206:
            return _shifted(answer, fault.delta_bytes)
        case Fault(kind="flipped") if answer.body_bytes:
            at = min(answer.start + fault.after_bytes, answer.start + answer.body_bytes - 1)
            return replace(answer, content=_Flipped(answer.content, at))
        case Fault(kind="wrong_length"):
            return replace(answer, length_bytes=max(answer.body_bytes + fault.delta_bytes, 0))
        case Fault(kind="wrong_total") if "Content-Range" in answer.headers:
            span, _, total = answer.headers["Content-Range"].rpartition("/")
            wrong = f"{span}/{int(total) + fault.delta_bytes}"
            return replace(answer, headers={**answer.headers, "Content-Range": wrong})
        case Fault(kind="gzip"):
            return gzipped(answer)
        case Fault(kind="late_status"):
            answer = Answer(fault.status, {"Content-Type": "text/plain"}, InlineFile(b"fault: too late\n"))
    return answer


def gzipped(answer: Answer) -> Answer:
    """Compressed as a whole and in memory: for small files."""
    end = answer.start + answer.body_bytes
    body = gzip.compress(answer.content.read(answer.start, end), mtime=0)
    return replace(
        answer,
        headers={**answer.headers, "Content-Encoding": "gzip"},
        content=InlineFile(body),
        start=0,
        end=None,
    )


def _shifted(answer: Answer, delta_bytes: int) -> Answer:
    """As many bytes from `delta_bytes` further on, or back where the file ends, labelled as what they are."""
    size_bytes, n_bytes = answer.content.size_bytes, answer.body_bytes
    if not 0 <= answer.start + delta_bytes <= size_bytes - n_bytes:
        delta_bytes = -delta_bytes
    start = min(max(answer.start + delta_bytes, 0), size_bytes - n_bytes)
    label = f"bytes {start}-{start + n_bytes - 1}/{size_bytes}"
    return replace(answer, start=start, end=start + n_bytes, headers={**answer.headers, "Content-Range": label})


class _Changed(Content):
    """Another version of a file: every byte differs, the size does not."""

    _OTHER = bytes(255 - value for value in range(256))

    def __init__(self, original: Content) -> None:
        self._original = original
        self.size_bytes = original.size_bytes

    def blocks(self, start: int, end: int) -> Blocks:
        for block in self._original.blocks(start, end):
            yield bytes(block).translate(self._OTHER)


class _Flipped(Content):
    def __init__(self, original: Content, at: int) -> None:
        self._original = original
        self._at = at
        self.size_bytes = original.size_bytes

    def blocks(self, start: int, end: int) -> Blocks:
        for block in self._original.blocks(start, end):
            if start <= self._at < start + len(block):
                damaged = bytearray(block)
                damaged[self._at - start] ^= 1
                yield bytes(damaged)
            else:
                yield block
            start += len(block)

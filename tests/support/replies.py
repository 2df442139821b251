"""What a host does with one request, truthfully or not. A value: servers and scripts carry it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Framing = Literal["length", "chunked", "close"]
Ending = Literal["orderly", "fin", "reset", "stall"]


@dataclass(frozen=True)
class Reply:
    """blocks: the body, in the pieces it is sent in, `gap_s` apart.

    framing: close is HTTP/1.0's way, the body lasts until the connection ends. length_bytes: a Content-Length that
    may be a lie; None for the truth. silent: nothing is sent at all, not even the status line. ends: what happens
    behind the last block; fin and reset end the connection, stall leaves it open and says no more.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    blocks: tuple[bytes, ...] = ()
    framing: Framing = "length"
    length_bytes: int | None = None
    silent: bool = False
    ends: Ending = "orderly"
    gap_s: float = 0.0

    @property
    def body(self) -> bytes:
        return b"".join(self.blocks)

    @property
    def announced_bytes(self) -> int:
        return len(self.body) if self.length_bytes is None else self.length_bytes


def redirect(location: str, status: int = 302, **headers: str) -> Reply:
    return Reply(status, {"Location": location, **headers})


def part(content: bytes, start: int, stop: int, **headers: str) -> Reply:
    """A 206 with the bytes [start, stop) of `content`."""
    label = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return Reply(206, {**label, **headers}, (content[start:stop],))

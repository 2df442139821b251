"""Cuts a text too large to be encoded in one go, where the cut is least likely to change a token.

Invariant: the pieces are the text, none is empty, and cuts depend on the text and the limit alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_LOOK_BACK_BYTES = 1 << 20  # guess: prose and code have a newline within this
_CLEAN = re.compile(r"(?<=\S\n)(?=\S)")
"""After a lone newline between two words. The splitting patterns of GPT-2, Llama 3 and Qwen take runs of
white space together and punctuation with the newlines after it, but never a newline with the word after it."""


def cut(text: memoryview, piece_bytes: int) -> Iterator[memoryview]:
    """Pieces of UTF-8 of piece_bytes at most. piece_bytes >= 4: a character is never cut.

    A cut is after the last lone newline within reach, else after any newline, else after a space, else anywhere.
    Raises UnicodeDecodeError.
    """
    start = 0
    while len(text) - start > piece_bytes:
        end = _boundary(text, start + piece_bytes)
        lowest = _boundary(text, max(start + piece_bytes // 2, end - _LOOK_BACK_BYTES))
        end = lowest + _best(str(text[lowest:end], "utf-8"))
        yield text[start:end]
        start = end
    yield text[start:]


def cut_stream(blocks: Iterable[bytes], piece_bytes: int) -> Iterator[memoryview]:
    """The same pieces of a text that comes in blocks of whole characters, holding little more than one."""
    held = b""
    for block in blocks:
        held += block
        while len(held) > piece_bytes:
            piece = next(cut(memoryview(held), piece_bytes))
            yield piece
            held = held[len(piece) :]
    yield memoryview(held)


def _boundary(text: memoryview, place: int) -> int:
    """The last place at or before this one where a character begins: three bytes away at most (RFC 3629, 3)."""
    for lower in range(place, place - 4, -1):
        if text[lower] & 0xC0 != 0x80:
            return lower
    return place


def _best(window: str) -> int:
    """In bytes from the start of the window; its end where there is neither newline nor space."""
    place = 0
    for match in _CLEAN.finditer(window):
        place = match.start()
    place = place or window.rfind("\n") + 1 or window.rfind(" ") + 1 or len(window)
    return len(window[:place].encode())

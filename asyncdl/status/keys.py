"""Bytes from a terminal as names of keys: the sequences of xterm, which tmux, screen and the console share. Pure."""

from __future__ import annotations

import re

_NAMED = {
    b"\t": "tab", b"\r": "enter", b"\n": "enter", b"\x1b": "esc", b"\x7f": "backspace", b"\x08": "backspace",
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left",
    b"\x1bOA": "up", b"\x1bOB": "down", b"\x1bOC": "right", b"\x1bOD": "left",
    b"\x1b[Z": "shift-tab", b"\x1b[5~": "page-up", b"\x1b[6~": "page-down",
    b"\x1b[H": "home", b"\x1b[F": "end", b"\x1b[1~": "home", b"\x1b[4~": "end", b"\x1bOH": "home", b"\x1bOF": "end",
    b"k": "up", b"j": "down", b"h": "left", b"l": "right", b"Q": "q",
}  # fmt: skip

_ONE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[ -~]|\x1b|[^\x1b]", re.DOTALL)
"""A control sequence (ECMA-48 5.4), an SS3 key, Esc, or one byte. Esc and a letter are two: none has Alt."""

_BEGUN = re.compile(rb"\x1b(\[[0-?]*[ -/]*|O)?\Z")
"""What may be the beginning of a sequence, the rest of it on its way."""

MAX_BEGUN = 64
"""Bytes; a sequence that is longer is no key."""


def read(data: bytes, *, is_all: bool) -> tuple[list[str], bytes]:
    """Return (keys, rest). rest: a sequence that has begun; with is_all nothing more comes, and a lone Esc is a key.

    What is no key of ours is left out.
    """
    begun = _BEGUN.search(data)
    rest = b""
    if begun is not None and not is_all and len(begun[0]) <= MAX_BEGUN:
        data, rest = data[: begun.start()], begun[0]
    keys = []
    for match in _ONE.finditer(data):
        one = match[0]
        if one in _NAMED:
            keys.append(_NAMED[one])
        elif len(one) == 1 and one.isascii() and one.decode("ascii").isprintable():
            keys.append(one.decode("ascii"))
    return keys, rest

"""Lines of spans for rich, which draws the few rows of `run` below what is said meanwhile. Pure.

The spans are text, never rich's markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from asyncdl.status.spans import Line

RICH_STYLES = {
    "": "", "bold": "bold", "dim": "dim", "chosen": "reverse", "good": "green", "bad": "red", "warn": "yellow",
    "busy": "cyan", "title": "bold cyan",
}  # fmt: skip
"""The styles of `spans` in rich's words; it leaves colours out by itself where NO_COLOR is set."""


def text_of(lines: Sequence[Line]) -> Text:
    """Return `lines` as one text that is neither wrapped nor cut."""
    whole = Text(no_wrap=True, overflow="ignore", end="")
    for n, line in enumerate(lines):
        whole.append("\n" if n else "")
        for text, style in line:
            whole.append(text, RICH_STYLES[style])
    return whole

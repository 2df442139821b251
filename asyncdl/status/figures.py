"""Numbers as people read them, and texts in so many columns: binary units, commas, short durations. Pure."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def bytes_text(n: float) -> str:
    """Return `804 B`, `1.5 KiB`, `311.2 GiB`."""
    value, unit = float(n), 0
    while value >= 1023.95 and unit < len(_UNITS) - 1:  # what would round to 1024.0 takes the next unit
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def count_text(n: int, word: str) -> str:
    """Return `1 file`, `9,870 files`."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def duration_text(seconds: float) -> str:
    """Return `12s`, `3m20s`, `2h05m`, `4d03h`; the two largest units, rounded to the last one shown."""
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    minutes = round(whole / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02}m"
    hours = round(whole / 3600)
    return f"{hours // 24}d{hours % 24:02}h"


def share_text(done: int, known: int) -> str:
    """Return whole per cent, never 100 before all is done; a dataset without bytes is all there."""
    if known <= 0:
        return "100%"
    return f"{100 * done // known}%"


def utc_text(at: float) -> str:
    """Return `2026-11-20 14:12:03 UTC` for UTC seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@cache
def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clock_text(at: float) -> str:
    """Return `14:12:03`, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def width_of(text: str) -> int:
    """How many columns a terminal gives `text`: two for wide characters, none for combining ones."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def fit(text: str, width: int) -> str:
    """Return `text` in exactly `width` columns: padded, or cut in the middle with `..` (both ends tell names apart)."""
    if (used := width_of(text)) <= width:
        return text + " " * (width - used)
    if width <= 2:
        return ".."[: max(width, 0)]
    tail = _head(text[::-1], (width - 2) // 2)[::-1]
    cut = _head(text, width - 2 - width_of(tail)) + ".." + tail
    return cut + " " * (width - width_of(cut))


def fit_end(text: str, width: int) -> str:
    """Return `text` in exactly `width` columns: padded, or cut at its end with `..`; for sentences."""
    if (used := width_of(text)) <= width:
        return text + " " * (width - used)
    if width <= 2:
        return ".."[: max(width, 0)]
    cut = _head(text, width - 2) + ".."
    return cut + " " * (width - width_of(cut))


def _head(text: str, width: int) -> str:
    """Return as many of the first characters as have `width` columns at most."""
    used = 0
    for n, char in enumerate(text):
        used += _columns(char)
        if used > width:
            return text[:n]
    return text


def spark(values: Sequence[float], width: int, levels: str) -> str:
    """Return the last `width` values as one character each, the largest one highest. levels: from nothing to all."""
    shown = values[-width:] if width > 0 else ()
    top = max(shown, default=0.0)
    if top <= 0:
        return levels[0] * len(shown)
    return "".join(levels[min(math.ceil(value / top * (len(levels) - 1)), len(levels) - 1)] for value in shown)

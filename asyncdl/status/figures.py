"""Numbers as people read them: binary units, commas, short durations. Pure; ASCII only."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

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


def width_of(text: str) -> int:
    """How many columns a terminal gives `text`: two for wide characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def fit(text: str, width: int) -> str:
    """Return `text` in exactly `width` columns: padded, or cut in the middle with `..` (both ends tell names apart)."""
    if width_of(text) <= width:
        return text + " " * (width - width_of(text))
    head, tail = list(text[: len(text) // 2]), list(text[len(text) // 2 :])
    while width_of("".join(head + tail)) > width - 2:
        longer = head if len(head) >= len(tail) else tail
        longer.pop(-1 if longer is head else 0)
    cut = "".join(head) + ".." + "".join(tail)
    return cut + " " * (width - width_of(cut))

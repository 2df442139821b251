"""Lines of styled text for a terminal, each of so many columns, and how they are painted. Pure.

A line is a tuple of (text, style) spans; a style is a key of STYLES. What comes from outside becomes text through
`Pen.text` alone, so that nothing in it steers the terminal and its width is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asyncdl.core.names import display
from asyncdl.status.figures import fit, fit_end, spark, width_of

Span = tuple[str, str]
Line = tuple[Span, ...]

STYLES = {
    "": "", "bold": "1", "dim": "2", "chosen": "7", "good": "32", "bad": "31", "warn": "33", "busy": "36",
    "title": "1;36",
}  # fmt: skip
"""{style: SGR parameters (ECMA-48 8.3.117)}. The 16 colours of the user's own theme: readable on light and dark."""

PLAIN_STYLES = STYLES | {"good": "", "bad": "1", "warn": "1", "busy": "", "title": "1"}
"""The same without colours, for NO_COLOR (no-color.org): what matters is bold."""


@dataclass(frozen=True, slots=True)
class Pen:
    """The characters that a terminal can show. is_ascii: nothing else reaches it."""

    full: str
    empty: str
    levels: str
    running: str
    available: str
    completed: str
    discarded: str
    paused: str
    dead: str
    limit: str
    rule: str
    is_ascii: bool

    def text(self, raw: str) -> str:
        """Return text from outside as it may be shown."""
        shown = display(raw)
        return shown.encode("ascii", "backslashreplace").decode() if self.is_ascii else shown

    def bar(self, share: float, width: int) -> str:
        """Return a bar of `width` columns; full only where share is 1."""
        filled = min(max(int(share * width), 0), width)
        return self.full * filled + self.empty * (width - filled)

    def spark(self, values: Sequence[float], width: int) -> str:
        return spark(values, width, self.levels)


UNICODE = Pen("█", "░", " ▁▂▃▄▅▆▇█", "▸", "·", "✓", "✗", "‖", "✗", "◂", "│", is_ascii=False)
ASCII = Pen("#", ".", " .:-=+*%#", ">", ".", "=", "x", "|", "x", "<", "|", is_ascii=True)


def clip(line: Line, width: int, *, style: str = "") -> Line:
    """Return `line` in exactly `width` columns: padded, or cut where it is too wide. style: of the padding."""
    room, kept = width, []
    for text, its_style in line:
        used = width_of(text)
        if used > room:
            text, used = fit_end(text, room), room  # noqa: PLW2901 - what is kept of it
        if text:
            kept.append((text, its_style))
        room -= used
    return (*kept, (" " * room, style)) if room > 0 else tuple(kept)


def restyled(line: Line, style: str) -> Line:
    """Return `line` all in one style."""
    return tuple((text, style) for text, _ in line)


def beside(left: Sequence[Line], right: Sequence[Line], widths: tuple[int, int], rule: str) -> list[Line]:
    """Return two columns with a rule between, as many lines as the longer one has."""
    n = max(len(left), len(right))
    pairs = zip([*left, *[()] * (n - len(left))], [*right, *[()] * (n - len(right))], strict=True)
    return [(*clip(one, widths[0]), (f" {rule} ", "dim"), *clip(other, widths[1])) for one, other in pairs]


def wrapped(text: str, width: int, *, indent: int = 0, first_indent: int | None = None) -> list[str]:
    """Return `text` in lines of at most `width` columns, broken at blanks; a word that is too long is cut.

    first_indent: of the first line, `indent` where it is not given.
    """
    lines: list[str] = []
    line, room = " " * (indent if first_indent is None else first_indent), max(width - indent, 1)
    is_empty = True
    for word in text.split():
        shown = word if width_of(word) <= room else fit(word, room)
        if not is_empty and width_of(line) + 1 + width_of(shown) > width:
            lines.append(line)
            line, is_empty = " " * indent, True
        line += shown if is_empty else f" {shown}"
        is_empty = False
    return [*lines, line] if not is_empty else lines


def plain(lines: Iterable[Line]) -> str:
    """Return the texts alone, one line each."""
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)


def painted(line: Line, *, is_coloured: bool) -> str:
    """Return `line` with the escapes of its styles, reset at its end."""
    styles = STYLES if is_coloured else PLAIN_STYLES
    return "".join(f"\x1b[{code}m{text}\x1b[0m" if (code := styles[style]) else text for text, style in line)

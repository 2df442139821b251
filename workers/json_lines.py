"""The documents of a file of JSON lines, or of a byte range of one: one field of the object in each line.

A bad line is counted, its place told, and skipped; a source with too many is refused. Blank lines are none.
Memory is a few blocks and a document, whatever the lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import orjson

from workers import long_line
from workers.batch import PIECE_BYTES, Batch, Counts, in_pieces
from workers.contract import BadLine, Source
from workers.cut import cut, cut_stream
from workers.lines import Run, runs
from workers.long_line import BadLineError, bad_class
from workers.refused import Refused
from workers.streams import blocks, span_of

_MOST_TOLD = 100  # contract.Tokenized.bad_lines
_NAMED = 3  # guess: places in the message of a refusal
_BLANK = b" \t\r\n"  # RFC 8259, 2; no other white space, which is no JSON


@dataclass(frozen=True, slots=True)
class Rules:
    """field: holds the text. max_text_bytes: larger ones come in pieces. spool_folder: holds very long lines."""

    field: str
    max_text_bytes: int
    max_bad_share: float
    spool_folder: str


def parts(source: Source, rules: Rules, counts: Counts) -> Iterator[Batch]:
    """Yield all documents.

    Refused, once it has been read, is a source of which more than max_bad_share of the lines are bad: one of ten
    is too many for 0.01, one of a hundred is not.
    Raises Refused: missing_file, empty_file, bad_compression, bad_lines, no_room.
    """
    span = span_of(source)
    reader = _Reader(source, rules, counts)
    for run in runs(blocks(source.path, span), span[0], rules.spool_folder):
        yield from reader.spooled(run, run.spooled) if run.spooled else reader.documents(run)
    reader.check_share()


def bad_line(line: bytes, field: str) -> BadLineError | None:
    """Why there is no text in the line; None if there is one. Raw text stands in no message."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return BadLineError(bad_class(error), f"{error.msg.partition(':')[0]} at character {error.pos} of the line")
    if not isinstance(value, dict):
        return BadLineError("not_an_object", "the line is no object")
    if value.get(field) is None:
        return BadLineError("missing_field", "the field is null" if field in value else "no such field")
    return None if isinstance(value[field], str) else BadLineError("not_a_string", "the field is no string")


class _Reader:
    """What is known of one source while its lines pass."""

    def __init__(self, source: Source, rules: Rules, counts: Counts) -> None:
        self._source = source
        self._rules = rules
        self._counts = counts
        self._n_lines = self._n_bad = 0
        self._places: list[str] = []

    def documents(self, run: Run) -> Iterator[Batch]:
        texts = self._texts(run)
        sizes = list(map(len, map(str.encode, texts)))
        limit = self._rules.max_text_bytes
        start = 0
        if max(sizes, default=0) > limit:
            for i, size in enumerate(sizes):
                if size > limit:
                    if start < i:
                        yield Batch(texts[start:i], sum(sizes[start:i]))
                    document = memoryview(texts[i].encode())
                    yield from in_pieces(cut(document, min(limit, PIECE_BYTES)), size)
                    start = i + 1
        if start < len(texts):
            yield Batch(texts[start:], sum(sizes[start:]))

    def spooled(self, run: Run, file: BinaryIO) -> Iterator[Batch]:
        try:
            found = long_line.find(file, self._rules.field)
        except BadLineError as error:
            self._count(1)
            self._tell(error, run.number, run.at)
            return
        if found is None:
            return
        self._count(1)
        text, limit = long_line.read(file, found), self._rules.max_text_bytes
        if found.n_bytes <= limit:
            yield Batch([b"".join(text).decode()], found.n_bytes)
        else:
            yield from in_pieces(cut_stream(text, min(limit, PIECE_BYTES)), found.n_bytes)

    def check_share(self) -> None:
        """Raises Refused: bad_lines."""
        if self._n_bad and self._n_bad / self._n_lines > self._rules.max_bad_share:
            more = "; ..." if self._n_bad > len(self._places) else ""
            places = "; ".join(self._places)
            raise Refused("bad_lines", f"{self._n_bad} of {self._n_lines} lines are bad: {places}{more}")

    def _texts(self, run: Run) -> list[str]:
        loads, field = orjson.loads, self._rules.field
        texts, odd = [], []
        for i, line in enumerate(run.lines):
            try:
                text = loads(line)[field]
            except (ValueError, TypeError, KeyError):  # no JSON, no object, no such field
                odd.append(i)
                continue
            if type(text) is str:
                texts.append(text)
            else:
                odd.append(i)
        n_blank = 0
        for i in odd:
            line = run.lines[i]
            if not line.strip(_BLANK):
                n_blank += 1
            elif error := bad_line(line, field):
                at = run.at + sum(map(len, run.lines[:i])) + i if self._wants_places else 0
                self._tell(error, run.number + i, at)
        self._count(len(run.lines) - n_blank)
        return texts

    def _count(self, n_lines: int) -> None:
        self._n_lines += n_lines
        self._counts.n_lines += n_lines

    @property
    def _wants_places(self) -> bool:
        return len(self._counts.bad_lines) < _MOST_TOLD or len(self._places) < _NAMED

    def _tell(self, error: BadLineError, number: int, at: int) -> None:
        self._n_bad += 1
        self._counts.n_bad[error.error_class] += 1
        if len(self._places) < _NAMED:
            self._places.append(f"line {number} at byte {at} is {error.error_class} ({error.message})")
        if len(self._counts.bad_lines) < _MOST_TOLD:
            told = BadLine(
                source_id=self._source.source_id,
                line=number,
                at=at,
                error_class=error.error_class,
                message=error.message,
            )
            self._counts.bad_lines.append(told)

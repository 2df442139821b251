"""One field of a JSON object too large to be parsed in memory: found in one pass over a file, read out in another.

Invariant: what it finds is what orjson would (https://github.com/ijl/orjson): the same lines are bad, the last of
equal keys wins, and the text is the same; strings, numbers and words are in fact judged by orjson, piece by
piece. Memory is a window and a piece, whatever the line. A line of very many small values is slow, some
microseconds for each: it is seldom that a line of this size holds anything but one long text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import orjson

_WINDOW_BYTES = 1 << 20  # guess
_MAX_DEPTH = 1024  # of orjson
_MAX_SCALAR_BYTES = 1 << 16  # guess: a number with more digits is called bad, though it may be none
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]*+")
_BODY = re.compile(rb'(?:[^"\\]++|\\(?:[^u]|u(?![dD][89abAB])....|u[dD][89abAB]..\\u....))*+', re.DOTALL)
"""What a string may hold, in units that stay together: two escapes of a surrogate pair are one (RFC 8259, 7)."""
_LONGEST_UNIT = 12  # such a pair, \\uD83D\\uDE00
_CLOSING = {ord("{"): ord("}"), ord("["): ord("]")}


class BadLineError(Exception):
    """error_class: one of `contract.BAD_LINES`."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.message = message


@dataclass(frozen=True, slots=True)
class Found:
    """The field's text: the string whose body begins at byte `start` of the file, and n_bytes of UTF-8."""

    start: int
    n_bytes: int


def find(file: BinaryIO, field: str) -> Found | None:
    """Where in the file, which is one line, the field is; None if the line is blank. Raises BadLineError."""
    _check_utf8(file)
    scanner = _Scanner(_Window(file, 0), field)
    return scanner.scan()


def read(file: BinaryIO, found: Found) -> Iterator[bytes]:
    """Yield what was found, as UTF-8 in pieces of whole characters."""
    for piece in _Window(file, found.start).string():
        yield piece.encode()


def bad_class(error: ValueError) -> str:
    """What kind of bad line it is that orjson did not take, by its own words: they have no codes."""
    return "not_utf8" if "surrogate" in str(error) else "not_json"


def _check_utf8(file: BinaryIO) -> None:
    """First of all, as orjson does."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    at = 0
    try:
        while block := file.read(_WINDOW_BYTES):
            decoder.decode(block)
            at += len(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise BadLineError("not_utf8", f"{error.reason} near byte {at + error.start} of the line") from error


class _Window:
    """A place in a file, with some bytes from there on in memory."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        file.seek(start)
        self._file = file
        self._data = b""
        self._i = 0
        self._base = start  # of the data, in the file
        self._is_last = False

    @property
    def place(self) -> int:
        return self._base + self._i

    def next(self) -> int:
        """Go over white space and take the byte after it; -1 at the end."""
        while True:
            self._i = _SPACE.match(self._data, self._i).end()  # type: ignore[union-attr]
            if self._i < len(self._data):
                self._i += 1
                return self._data[self._i - 1]
            if self._is_last:
                return -1
            self._refill()

    def check_scalar(self) -> None:
        """Take the number or word of which the first byte is taken. Raises BadLineError."""
        self._i -= 1
        while (end := _SCALAR.match(self._data, self._i).end()) == len(self._data) and not self._is_last:  # type: ignore[union-attr]
            if end - self._i > _MAX_SCALAR_BYTES:
                break
            self._refill()
        if end - self._i > _MAX_SCALAR_BYTES:
            raise self.bad("a number or word without end")
        self._loads(self._data[self._i : end])
        self._i = end

    def string(self) -> Iterator[str]:
        """Take the rest of a string whose opening quote is taken, closing quote included. Raises BadLineError."""
        while True:
            end = _BODY.match(self._data, self._i).end()  # type: ignore[union-attr]
            closes = self._data[end : end + 1] == b'"'
            if not closes and not self._is_last:
                if end == len(self._data):
                    end = _last_character(self._data, self._i)
                elif end + _LONGEST_UNIT <= len(self._data):
                    end += _LONGEST_UNIT  # half a pair, or an escape that there is not: orjson says which
            elif not closes:
                end = len(self._data)
            if end > self._i:
                yield self._loads(b'"%b"' % self._data[self._i : end])
            self._i = end
            if closes:
                self._i += 1
                return
            if self._is_last:
                raise self.bad("a string without end")
            self._refill()

    def bad(self, message: str, error_class: str = "not_json") -> BadLineError:
        return BadLineError(error_class, f"{message} near byte {self.place} of the line")

    def _loads(self, value: bytes) -> str:
        try:
            return orjson.loads(value)  # type: ignore[no-any-return]
        except ValueError as error:
            raise self.bad(str(error).partition(":")[0], bad_class(error)) from error

    def _refill(self) -> None:
        """Forget what is taken and read on."""
        more = self._file.read(_WINDOW_BYTES)
        self._is_last = not more
        self._data = self._data[self._i :] + more
        self._base += self._i
        self._i = 0


def _last_character(data: bytes, start: int) -> int:
    """Where the last character of data[start:] begins if it is not ASCII, for it may go on; else the end."""
    end = len(data)
    if end == start or data[end - 1] < 0x80:
        return end
    while data[end - 1] & 0xC0 == 0x80 and end > start:
        end -= 1
    return max(start, end - 1)


class _Scanner:
    """Walks over one JSON value with the open brackets on a stack; remembers the field of the outermost object."""

    def __init__(self, window: _Window, field: str) -> None:
        self._window = window
        self._field = field
        self._open = bytearray()
        self._is_first = False  # nothing came yet after the bracket opened last
        self._found: Found | BadLineError = BadLineError("missing_field", "no such field")

    def scan(self) -> Found | None:
        """As `find`."""
        first = self._window.next()
        if first < 0:
            return None
        self._value(first)
        while self._open:
            self._member_or_end()
        if self._window.next() >= 0:
            raise self._window.bad("something after the end of the value")
        if first != ord("{"):
            raise BadLineError("not_an_object", "the line is no object")
        if isinstance(self._found, BadLineError):
            raise self._found
        return self._found

    def _member_or_end(self) -> None:
        byte, is_object = self._window.next(), self._open[-1] == ord("{")
        if byte == _CLOSING[self._open[-1]]:
            self._open.pop()
            self._is_first = False
            return
        if not self._is_first:
            if byte != ord(","):
                raise self._window.bad("no comma after a value")
            byte = self._window.next()
        self._is_first = False
        is_field = is_object and self._is_field(byte)
        self._value(self._window.next() if is_object else byte, is_field=is_field)

    def _is_field(self, byte: int) -> bool:
        """Take a key, of which this is the first byte, and its colon; is it the field?"""
        if byte != ord('"'):
            raise self._window.bad("no key")
        key = ""
        for piece in self._window.string():
            if len(key) <= len(self._field):  # what is longer is another key, and may fill the disk
                key += piece
        if self._window.next() != ord(":"):
            raise self._window.bad("no colon after a key")
        return len(self._open) == 1 and key == self._field

    def _value(self, byte: int, *, is_field: bool = False) -> None:
        """Take a value, of which this is the first byte; of an array or object only that."""
        if byte < 0:
            raise self._window.bad("the line ends early")
        if is_field:
            self._found = self._take_field(byte)
        elif byte == ord('"'):
            for _ in self._window.string():
                pass
        elif byte in _CLOSING:
            self._take_bracket(byte)
        else:
            self._window.check_scalar()

    def _take_field(self, byte: int) -> Found | BadLineError:
        if byte == ord('"'):
            start = self._window.place
            return Found(start, sum(len(piece.encode()) for piece in self._window.string()))
        self._value(byte)
        if byte == ord("n"):
            return BadLineError("missing_field", "the field is null")
        return BadLineError("not_a_string", "the field is no string")

    def _take_bracket(self, byte: int) -> None:
        if len(self._open) == _MAX_DEPTH:
            raise self._window.bad("too deep")
        self._open.append(byte)
        self._is_first = True

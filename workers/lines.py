"""Cuts a stream of blocks into lines, without a step of Python for each.

Invariant: the lines do not depend on where a block ends. Memory is a few blocks and a line of _LINE_BYTES: a
longer one is spooled to a file without a name. Knows nothing of JSON.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Self, cast

from workers.room import needing_room

_LINE_BYTES = 16 << 20  # guess: orjson may take 30 times as much for the values of a line, if they are small ones
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Run:
    """Whole lines that follow each other, without their newlines; the first begins at byte `at` of the file.

    number: of the first line, 1-based. spooled: the only line, in place of `lines`, where it is too long for memory.
    """

    at: int
    number: int
    lines: list[bytes]
    spooled: BinaryIO | None = None


def runs(blocks: Iterable[bytes], start: int, spool_folder: str) -> Iterator[Run]:
    """Yield all lines, the last one too where no newline ends it. start: where in the file the first block begins.

    A byte order mark that opens the file is no part of its first line. A spooled line is gone when the next
    run is asked for. Raises Refused: no_room.
    """
    at, number = start, 1
    if start == 0:
        at, blocks = _without_mark(blocks)
    with _OpenLine(spool_folder) as line:
        for block in blocks:
            if (end := block.find(b"\n")) < 0:
                line.add(block)
                continue
            begin = 0
            if line.n_bytes:
                line.add(block[:end])
                n_bytes = line.n_bytes
                yield line.ended(at, number)
                at, number, begin = at + n_bytes + 1, number + 1, end + 1
            last = block.rfind(b"\n") + 1
            if begin < last:
                lines = block[begin : last - 1].split(b"\n")
                yield Run(at, number, lines)
                at, number = at + last - begin, number + len(lines)
            line.add(block[last:])
        if line.n_bytes:
            yield line.ended(at, number)


def _without_mark(blocks: Iterable[bytes]) -> tuple[int, Iterable[bytes]]:
    """How many bytes are skipped, and the rest."""
    rest, head = iter(blocks), b""
    while len(head) < len(_BYTE_ORDER_MARK) and (block := next(rest, b"")):
        head += block
    skipped = len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0
    return skipped, chain([head[skipped:]], rest)


class _OpenLine:
    """The beginning of a line whose end has not been seen; in memory, or in a file once it is long."""

    def __init__(self, spool_folder: str) -> None:
        self._folder = spool_folder
        self._pieces: list[bytes] = []
        self._file: BinaryIO | None = None
        self.n_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def add(self, piece: bytes) -> None:
        if not self.n_bytes:
            self._forget()  # the line before has been read
        self.n_bytes += len(piece)
        self._pieces.append(piece)
        if self.n_bytes > _LINE_BYTES:
            self._spool()

    def ended(self, at: int, number: int) -> Run:
        """The whole line. The next piece begins another."""
        self.n_bytes = 0
        if self._file is not None:
            return Run(at, number, [], self._file)
        line = b"".join(self._pieces)
        self._pieces.clear()
        return Run(at, number, [line])

    def _spool(self) -> None:
        with needing_room(self._folder):
            if self._file is None:
                # Not buffered: closing it has nothing left to write, for which there may again be no room.
                self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._folder, buffering=0))  # noqa: SIM115
            for piece in self._pieces:
                left = memoryview(piece)
                while left:
                    left = left[self._file.write(left) :]
        self._pieces.clear()

    def _forget(self) -> None:
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

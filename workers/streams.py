"""The bytes of a file as a stream of blocks, decompressed where its name says that they are compressed.

Invariant: a stream that ends early, breaks, or goes on with something else is refused and never taken for a
shorter one. Memory is a few blocks, however far a byte may inflate. Of lines it knows only where a part begins.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from workers.contract import Part, Source
from workers.formats import format_of
from workers.parquet_file import blaming, size_of
from workers.refused import Refused

BLOCK_BYTES = 1 << 20  # guess: far more than a line, far less than a batch

Read = Callable[[int], bytes]
"""At most so many bytes; none at the end."""


def span_of(source: Source) -> Part:
    """The bytes [first, end) that the lines of the source take, all of them if it has no part.

    A line belongs to the part it begins in, so that the parts of any partition have each line once.
    Raises Refused: missing_file.
    """
    size_bytes = size_of(source.path)
    if source.part is None:
        return 0, size_bytes
    with Path(source.path).open("rb") as file:
        first, end = (_line_start(file, place, size_bytes) for place in source.part)
    return first, end


def blocks(path: str, span: Part) -> Generator[bytes]:
    """Yield the bytes of the span; of a compressed file, all that is in it, decompressed.

    Raises Refused: missing_file, empty_file (compressed, and not even a header), bad_compression.
    """
    first, end = span
    form = format_of(path)
    if form is not None and form.compression is not None:
        yield from _decompressed(path, _gunzipping if form.compression == "gzip" else _unzstding)
        return
    with _opened(path) as file:
        file.seek(first)
        left = end - first
        while left and (block := file.read(min(BLOCK_BYTES, left))):
            left -= len(block)
            yield block


def _line_start(file: BinaryIO, place: int, size_bytes: int) -> int:
    """Where the first line begins that does not begin before the place; the end of the file if none does."""
    if place == 0 or place >= size_bytes:
        return min(place, size_bytes)
    at = place - 1
    file.seek(at)
    while block := file.read(BLOCK_BYTES):
        newline = block.find(b"\n")
        if newline >= 0:
            return at + newline + 1
        at += len(block)
    return at


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below; only what opening raises is meant
    except FileNotFoundError as error:
        raise Refused("missing_file", f"{path} is not there") from error
    with file:
        yield file


def _decompressed(path: str, opening: Callable[[BinaryIO], Read]) -> Iterator[bytes]:
    n_bytes = 0
    with _opened(path) as file:
        size_bytes = size_of(path)
        if size_bytes == 0:
            raise Refused("empty_file", "the file has no bytes")
        read = opening(file)
        while True:
            try:
                with blaming("bad_compression"):
                    block = read(BLOCK_BYTES)
            except Refused as refused:
                where = f"near byte {file.tell()} of {size_bytes}, {n_bytes} decompressed bytes in"
                raise Refused("bad_compression", f"{refused.message}: {where}") from refused
            if not block:
                return
            n_bytes += len(block)
            yield block


def _gunzipping(file: BinaryIO) -> Read:
    """Members that follow each other are one stream, and zeros may follow the last (RFC 1952, 2.2; tape blocks)."""
    stream = gzip.GzipFile(fileobj=file, mode="rb")

    def read(n_bytes: int) -> bytes:
        try:
            return stream.read(n_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Refused("bad_compression", str(error)) from error

    return read


def _unzstding(file: BinaryIO) -> Read:
    """Frames that follow each other are one stream (RFC 8878, 3.1). Arrow says where one ends too early."""
    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd").read  # type: ignore[no-any-return]

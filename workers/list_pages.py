"""Column chunks of lists of int32 in which nothing is null: levels, values, compression, checksums.

Invariant: a page holds whole lists, and a reader finds in it what Arrow's writer would have put there. It takes a
fraction of the time, for levels follow from the lengths of lists, and a mask from how many ones it has.
Sources: the Parquet format's README (levels), Encodings.md (PLAIN, RLE, RLE_DICTIONARY), parquet.thrift.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workers.contract import Compression
from workers.thrift import I32, encoded, varint

PLAIN, RLE, RLE_DICTIONARY = I32(0), I32(3), I32(8)
_DATA_PAGE, _DICTIONARY_PAGE = I32(0), I32(2)
_PAGE_VALUES = 1 << 18  # 1 MiB, as Arrow's writer cuts pages
_DEFINED = 3
"""The definition level of a value that is there, in a nullable list of nullable values."""


class Page(NamedTuple):
    """raw_bytes: of header and body, had the body not been compressed."""

    header: bytes
    body: bytes
    raw_bytes: int


class Chunk(NamedTuple):
    """n_values: of all pages. dictionary: the page before them, or None."""

    n_values: int
    pages: list[Page]
    dictionary: Page | None = None


class Codec:
    """Compresses pages. number: as parquet.thrift has the codec."""

    def __init__(self, compression: Compression) -> None:
        self.number = I32({"snappy": 1, "zstd": 6}[compression])
        level = 1 if compression == "zstd" else None  # files a quarter smaller than snappy's for a tenth more time
        self._codec = pa.Codec(compression, level)

    def page(self, kind: I32, header: dict[int, I32], content: bytes) -> Page:
        """header: the part of it that is for this kind."""
        body = self._codec.compress(content, asbytes=True)  # an Arrow buffer would take a quarter longer
        checksum = zlib.crc32(body)
        sizes = {2: I32(len(content)), 3: I32(len(body)), 4: I32(checksum - (checksum >> 31 << 32))}
        whole = encoded({1: kind, **sizes, 5 if kind == _DATA_PAGE else 7: header})
        return Page(whole, body, len(whole) + len(content))

    def data_page(self, lengths: tuple[int, ...], encoding: I32, *values: bytes | memoryview) -> Page:
        """Lists of so many values. The encoded values may come in parts."""
        header = {1: I32(sum(lengths)), 2: encoding, 3: RLE, 4: RLE}
        return self.page(_DATA_PAGE, header, b"".join([_levels(lengths), *values]))


def plain(values: NDArray[np.int32], lengths: NDArray[np.int64], codec: Codec) -> Chunk:
    """One or more lists of so many values each, one after the other in `values`; none is empty."""
    pages, end = [], 0
    for of_page in _by_page(lengths.tolist()):
        start, end = end, end + sum(of_page)
        pages.append(codec.data_page(of_page, PLAIN, values[start:end].data))
    return Chunk(len(values), pages)


def ones_then_zeros(n_ones: NDArray[np.int64], length: int, codec: Codec) -> Chunk:
    """One or more lists of `length` values: so many ones, then zeros."""
    values = [1] if n_ones.min() == length else [1, 0]
    dictionary = codec.page(_DICTIONARY_PAGE, {1: I32(len(values)), 2: PLAIN}, np.array(values, np.int32).tobytes())
    pages, end = [], 0
    for of_page in _by_page([length] * len(n_ones)):
        start, end = end, end + len(of_page)
        runs = [(n, length - n) for n in n_ones[start:end].tolist()] if len(values) > 1 else [(sum(of_page), 0)]
        places = b"".join(_run(n, 0) + _run(rest, 1) for n, rest in runs)
        pages.append(codec.data_page(of_page, RLE_DICTIONARY, b"\1", places))  # one bit for a place in the dictionary
    return Chunk(len(n_ones) * length, pages, dictionary)


def _by_page(lengths: list[int]) -> Iterator[tuple[int, ...]]:
    n = max(1, _PAGE_VALUES // max(lengths))
    for start in range(0, len(lengths), n):
        yield tuple(lengths[start : start + n])


@lru_cache(4)  # the pages of a file are of one or two shapes
def _levels(lengths: tuple[int, ...]) -> bytes:
    """Of repetition, 0 where a list begins and 1 elsewhere, and of definition; each after its size."""
    repetition = b"".join(_run(1, 0) + _run(length - 1, 1) for length in lengths)
    definition = _run(sum(lengths), _DEFINED)
    return b"".join(part for levels in (repetition, definition) for part in (len(levels).to_bytes(4, "little"), levels))


def _run(n: int, value: int) -> bytes:
    """The same level, or place in a dictionary, n times; nothing if n is 0."""
    return varint(n << 1) + bytes([value]) if n else b""

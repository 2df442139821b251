"""Column chunks of sequences, page by page: several times as fast as a reader that must expect any Parquet file.

Invariant: an array comes only from pages that were proven to hold whole sequences of one length, without nulls,
plainly encoded, with checksums that are right. Whatever is different is answered with None, for pyarrow to judge.
Sources: the Parquet format's parquet.thrift and Encodings.md; Thrift's compact protocol.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_DEFINED = 3
"""The definition level of a value that is there, in a nullable list of nullable values."""

_Header = dict[int, Any]


class Page(NamedTuple):
    """values: the bytes after the levels, or of a whole dictionary page. n_values: as the header says."""

    is_dictionary: bool
    encoding: int
    n_values: int
    values: memoryview


def plain_values(chunk: bytes, codec: str, n_values: int, length: int) -> NDArray[np.int32] | None:
    """Return the n_values of a column chunk, None if it is not plainly encoded lists of `length` values each.

    n_values: that many must be there; a multiple of length.
    """
    found, n_found = np.empty(n_values, np.int32), 0
    for page in _pages(chunk, codec, n_values, length):
        room = found[n_found : n_found + page.n_values] if page else found[:0]
        if page is None or page.is_dictionary or page.encoding != _PLAIN or len(page.values) != 4 * len(room):
            return None
        room[:] = np.frombuffer(page.values, np.int32)
        n_found += page.n_values
    return found if n_found == n_values else None


def is_all(value: int, chunk: bytes, codec: str, n_values: int, length: int) -> bool:
    """Whether a column chunk is surely lists of `length` values that are all `value`: its dictionary has no other.

    n_values: as for plain_values.
    """
    n_found, only = 0, value.to_bytes(4, "little")
    for page in _pages(chunk, codec, n_values, length):
        if page is None or (page.is_dictionary and page.values != only):
            return False
        if not page.is_dictionary:
            if page.encoding not in (_PLAIN_DICTIONARY, _RLE_DICTIONARY):
                return False
            n_found += page.n_values
    return n_found == n_values


def _pages(chunk: bytes, codec: str, n_values: int, length: int) -> Iterator[Page | None]:
    """Yield the pages of a column chunk in order; None and the end at the first that is not as it should be."""
    at, n_before, view = 0, 0, memoryview(chunk)
    if n_values % length:
        yield None  # lists that begin where they should, but the last would be short
        return
    while at < len(chunk):
        try:
            header, at = _struct(chunk, at)
            body = view[at : at + header[3]]
            at += header[3]
            page = _page(header, body, codec, n_before % length, length)
        except (KeyError, IndexError, TypeError, ValueError, OSError):  # a header of another kind, or damage
            page = None
        yield page
        if page is None:
            return
        if not page.is_dictionary:
            n_before += page.n_values


def _page(header: _Header, body: memoryview, codec: str, phase: int, length: int) -> Page | None:
    """phase: the place in its list of the page's first value."""
    if zlib.crc32(body) != header[4] & 0xFFFFFFFF:  # without a checksum nothing here would be proven
        return None
    content = body if codec == "UNCOMPRESSED" else memoryview(pa.Codec(codec.lower()).decompress(body, header[2]))
    if header[1] == _DICTIONARY_PAGE:
        return Page(is_dictionary=True, encoding=header[7][2], n_values=header[7][1], values=content)
    n_values, encoding, definition, repetition = (header[5][field] for field in (1, 2, 3, 4))
    if header[1] != _DATA_PAGE or (definition, repetition) != (_RLE, _RLE):
        return None
    repetitions, content = _levels(content)
    definitions, content = _levels(content)
    if not _all_defined(definitions, n_values) or not _regular(repetitions, n_values, phase, length):
        return None
    return Page(is_dictionary=False, encoding=encoding, n_values=n_values, values=content)


def _levels(content: memoryview) -> tuple[bytes, memoryview]:
    """Cut off the levels at the front: their size in four bytes, then they."""
    end = 4 + int.from_bytes(content[:4], "little")
    return bytes(content[4:end]), content[end:]


def _all_defined(levels: bytes, n_values: int) -> bool:
    """Whether the levels are one run of that many values which are there."""
    run, at = _varint(levels, 0)
    return run == n_values << 1 and levels[at:] == bytes([_DEFINED])


@lru_cache(maxsize=256)  # pages of one shape have the same levels, and a row group's are mostly of one or two shapes
def _regular(levels: bytes, n_values: int, phase: int, length: int) -> bool:
    """Whether lists begin exactly at every `length`-th value, the page's first being number `phase` of its list."""
    begins = np.zeros(n_values + 8, np.bool_)
    at = n_seen = 0
    while n_seen < n_values:
        run, at = _varint(levels, at)
        if run & 1:  # so many groups of eight levels, one bit each, the lowest first; a begin is level 0
            n_bytes = run >> 1
            bits = np.unpackbits(np.frombuffer(levels, np.uint8, n_bytes, at), bitorder="little") == 0
            room = begins[n_seen : n_seen + 8 * n_bytes]
            room[:] = bits[: len(room)]
            at, n_seen = at + n_bytes, n_seen + 8 * n_bytes
        else:
            begins[n_seen : n_seen + (run >> 1)] = levels[at] == 0
            at, n_seen = at + 1, n_seen + (run >> 1)
    expected = np.arange(-phase % length, n_values, length)
    return np.array_equal(np.flatnonzero(begins[:n_values]), expected)


def _struct(buffer: bytes, at: int) -> tuple[_Header, int]:
    """Read a struct of Thrift's compact protocol: {field: value}, and where it ends. A list in it is a ValueError."""
    fields: _Header = {}
    field = 0
    while buffer[at]:
        delta, kind = buffer[at] >> 4, buffer[at] & 15
        at += 1
        if not delta:
            raise ValueError("a long field id: no page header has one")
        field += delta
        if kind in (1, 2):
            fields[field] = kind == 1
        elif kind in (4, 5, 6):
            number, at = _varint(buffer, at)
            fields[field] = number >> 1 ^ -(number & 1)
        elif kind == 8:
            size, at = _varint(buffer, at)
            at += size  # a least or greatest value: nobody asks
        elif kind == 12:
            fields[field], at = _struct(buffer, at)
        else:
            raise ValueError(f"a field of kind {kind}: no page header has one")
    return fields, at + 1


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7

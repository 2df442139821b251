"""A Parquet file whose columns are lists of int32: row groups as they come, and the footer.

Invariant: it reads as what Arrow's writer would have made of the same lists and schema, nullable as Arrow's lists are,
and the same input makes the same bytes. Knows nothing of sequences, nor what the file is for.
Sources: the Parquet format's parquet.thrift, LogicalTypes.md (LIST).
"""

from __future__ import annotations

import base64
from typing import BinaryIO

import pyarrow as pa

from workers.list_pages import PLAIN, RLE, RLE_DICTIONARY, Chunk, Codec
from workers.thrift import I32, Value, encoded

_MAGIC = b"PAR1"
_VERSION = I32(2)
_INT32 = I32(1)
_REQUIRED, _OPTIONAL, _REPEATED = I32(0), I32(1), I32(2)
_IS_LIST: dict[int, Value] = {6: I32(3), 10: {3: {}}}  # as a converted and as a logical type


class ListFile:
    """Writes to a file that is open and empty. Its methods raise what writing there raises."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, codec: Codec, created_by: str) -> None:
        """schema: of lists of int32. created_by: `NAME version NUMBER`, which readers look up defects by."""
        self._file, self._schema, self._codec = file, schema, codec
        self._created_by = created_by.encode()
        self._groups: list[Value] = []
        self._n_rows = self._at = 0
        self._write(_MAGIC)

    def write_group(self, chunks: list[Chunk], n_rows: int) -> None:
        """A chunk for each column. At least one row."""
        columns = [self._write_chunk(name, chunk) for name, chunk in zip(self._schema.names, chunks, strict=True)]
        self._groups.append({1: columns, 2: sum(map(_raw_bytes, chunks)), 3: n_rows})
        self._n_rows += n_rows

    def finish(self) -> None:
        """Write the footer. After at least one group, and nothing may follow."""
        # For Arrow's readers: the schema as it was before types of Parquet took the place of its own.
        arrow_schema = base64.b64encode(self._schema.serialize().to_pybytes())
        metadata = {**(self._schema.metadata or {}), b"ARROW:schema": arrow_schema}
        footer = encoded({
            1: _VERSION,
            2: _schema_elements(self._schema.names),
            3: self._n_rows,
            4: self._groups,
            5: [{1: key, 2: value} for key, value in metadata.items()],
            6: self._created_by,
        })  # fmt: skip
        self._write(footer + len(footer).to_bytes(4, "little") + _MAGIC)

    def _write_chunk(self, name: str, chunk: Chunk) -> Value:
        """Returns what the footer says of it."""
        start = self._at
        if chunk.dictionary:
            self._write(chunk.dictionary.header, chunk.dictionary.body)
        first_page = self._at
        for page in chunk.pages:
            self._write(page.header, page.body)
        described: dict[int, Value] = {
            1: _INT32,
            2: [PLAIN, RLE, RLE_DICTIONARY] if chunk.dictionary else [PLAIN, RLE],
            3: [name.encode(), b"list", b"element"],
            4: self._codec.number,
            5: chunk.n_values,
            6: _raw_bytes(chunk),
            7: self._at - start,
            9: first_page,
        }
        return {2: 0, 3: described | ({11: start} if chunk.dictionary else {})}

    def _write(self, *data: bytes) -> None:
        for part in data:
            self._file.write(part)
            self._at += len(part)


def _raw_bytes(chunk: Chunk) -> int:
    return sum(page.raw_bytes for page in (chunk.dictionary, *chunk.pages) if page)


def _schema_elements(names: list[str]) -> Value:
    """The tree of columns, depth first: each an optional group of a repeated group of an optional value."""
    elements: list[dict[int, Value]] = [{3: _REQUIRED, 4: b"schema", 5: I32(len(names))}]
    for name in names:
        elements += [
            {3: _OPTIONAL, 4: name.encode(), 5: I32(1), **_IS_LIST},
            {3: _REPEATED, 4: b"list", 5: I32(1)},
            {1: _INT32, 3: _OPTIONAL, 4: b"element"},
        ]
    return elements

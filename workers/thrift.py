"""Thrift's compact protocol, written: what Parquet's page headers and footer are made of.

A struct is {field number: value}, in ascending order, at most 15 apart. Only the types that a Parquet writer needs.
Source: thrift-compact-protocol.md of Apache Thrift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = int | bytes | Sequence["Value"] | Mapping[int, "Value"]
"""int is an i64, I32 an i32, bytes a binary, a sequence a list of one type and never empty, a mapping a struct."""


class I32(int):
    """An int whose field is declared as i32: a reader skips a field of another type than it expects."""


def encoded(value: Value) -> bytes:
    if isinstance(value, int):
        return varint(value << 1 if value >= 0 else ~(value << 1))
    if isinstance(value, bytes):
        return varint(len(value)) + value
    if isinstance(value, Mapping):
        written, before = bytearray(), 0
        for number, one in value.items():
            written.append(number - before << 4 | _type_of(one))
            written += encoded(one)
            before = number
        return bytes(written) + b"\0"
    size, of_one = len(value), _type_of(value[0])
    head = bytes([size << 4 | of_one]) if size < 15 else bytes([0xF0 | of_one]) + varint(size)
    return head + b"".join(map(encoded, value))


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow (unsigned LEB128). value >= 0."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def _type_of(value: Value) -> int:
    return {I32: 5, int: 6, bytes: 8, list: 9, dict: 12}[type(value)]

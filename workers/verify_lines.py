"""Looks at the first lines of one finished file of JSON lines, and plans its parts.

Cheap on purpose: every line is looked at when it is tokenized, and a bad one costs only itself. Nothing but a broken
compression is refused: a name is a guess, and what is no JSON lines may be just what its publisher meant.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from workers import parts
from workers.contract import Check, Verified, VerifyTask
from workers.formats import format_of
from workers.refused import Refused
from workers.streams import blocks

_FIRST_BYTES = {
    "gzip": (b"\x1f\x8b",),  # RFC 1952, 2.3.1
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([n, 0x2A, 0x4D, 0x18]) for n in range(0x50, 0x60))),  # RFC 8878, 3.1
}
"""Of zstd a frame, or one to be skipped, which pzstd puts first."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def verified(task: VerifyTask, size_bytes: int, checks: list[Check]) -> Verified:
    """Add to the checks what passes. Raises Refused: bad_compression."""
    if size_bytes == 0:
        return Verified(checks=tuple(checks), n_rows=0, n_row_groups=0)
    form = format_of(task.path)
    compression = form.compression if form else None
    if compression is not None:
        _check_magic(task.path, _FIRST_BYTES[compression])
        checks.append("magic")
    objects = _objects(_first_lines(task.path, size_bytes))
    if objects:
        checks.append("structure")
        if task.required_columns and _have(objects, task.required_columns):
            checks.append("columns")
    if task.decode and compression is not None:
        for _ in blocks(task.path, (0, size_bytes)):
            pass
        checks.append("decode")
    return Verified(
        checks=tuple(checks),
        n_rows=0,
        n_row_groups=0,
        parts=parts.of_bytes(size_bytes, task.part_bytes) if compression is None else (),
    )


def _check_magic(path: str, openings: tuple[bytes, ...]) -> None:
    with Path(path).open("rb") as file:
        head = file.read(4)
    if not head.startswith(openings):
        raise Refused("bad_compression", f"begins with {head!r}, which is not what its name says")


def _first_lines(path: str, size_bytes: int) -> list[bytes]:
    """Those that end within the first block; none if the first line is longer. Raises Refused: bad_compression."""
    stream = blocks(path, (0, size_bytes))
    block = next(stream, b"")
    is_all = not next(stream, b"")
    stream.close()
    lines = block.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
    return [line for line in (lines if is_all else lines[:-1]) if line.strip()]


def _objects(lines: list[bytes]) -> list[dict[str, object]]:
    objects = []
    for line in lines:
        try:
            value = orjson.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            objects.append(value)
    return objects


def _have(objects: list[dict[str, object]], required: tuple[str, ...]) -> bool:
    """Whether each field is in some line; it may be missing here and there."""
    present = {key for value in objects for key in value}
    return present.issuperset(required)

"""Where a large file is cut into what one task tokenizes. Pure.

Invariant: parts lie end to end from 0 to the end of the file and none is empty; a file that would be one part is
none, (). They depend on sizes alone, so that the same file is cut the same way wherever and whenever.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, pairwise

from workers.contract import Part


def of_row_groups(sizes_bytes: Iterable[int], part_bytes: int) -> tuple[Part, ...]:
    """Ranges of whole row groups, each as near to part_bytes as they allow when they are taken in order.

    sizes_bytes: of the text in each row group. A part of several groups with text has at most twice as much, and
    none has less than half of it where a neighbour has room for it.
    """
    parts: list[tuple[int, int]] = []  # (row groups, bytes)
    n_groups = n_bytes = 0
    for size in sizes_bytes:
        if n_groups and abs(n_bytes + size - part_bytes) > abs(n_bytes - part_bytes):
            parts.append((n_groups, n_bytes))
            n_groups = n_bytes = 0
        n_groups, n_bytes = n_groups + 1, n_bytes + size
    if parts and n_bytes < part_bytes // 2 and parts[-1][1] + n_bytes <= 2 * part_bytes:
        last_groups, last_bytes = parts.pop()
        n_groups, n_bytes = n_groups + last_groups, n_bytes + last_bytes
    parts.append((n_groups, n_bytes))
    return _from_ends(list(accumulate(n for n, _ in parts)))


def of_bytes(size_bytes: int, part_bytes: int) -> tuple[Part, ...]:
    """Equal ranges of about part_bytes, for a file from one and a half of them on."""
    n_parts = (size_bytes + part_bytes // 2) // part_bytes
    return _from_ends([size_bytes * (i + 1) // n_parts for i in range(n_parts)])


def _from_ends(ends: list[int]) -> tuple[Part, ...]:
    return tuple(pairwise([0, *ends])) if len(ends) > 1 else ()

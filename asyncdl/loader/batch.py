"""A batch: memory of its own, filled from decoded row groups.

Invariant: what is not filled is padding. Knows nothing of files, and of order only what a row group brings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncdl.loader.groups import Group
from asyncdl.loader.shard import COLUMNS

IGNORED_LABEL = -100
"""As in the shards: what torch's cross-entropy leaves out (docs/FORMATS.md)."""

Batch = dict[str, NDArray[np.int32]]


def new_batch(shape: tuple[int, int], n_filled: int, pad_id: int) -> Batch:
    """Memory for sequences, in which all after the first n_filled is padding."""
    batch = {name: np.empty(shape, np.int32) for name in COLUMNS}
    for name, padding in zip(COLUMNS, (pad_id, 0, IGNORED_LABEL), strict=True):
        batch[name][n_filled:] = padding
    return batch


def fill(batch: Batch, at: int, group: Group, first: int, stop: int) -> None:
    """Put sequences first ... stop - 1 of the shuffled row group into the batch, from sequence `at` on."""
    rows = slice(first, stop) if group.order is None else group.order[first:stop]
    ids, mask, labels = (batch[name][at : at + stop - first] for name in COLUMNS)
    decoded = group.decoded
    _take(decoded.ids, rows, ids)
    if decoded.mask is None:
        mask[:] = 1
    else:
        _take(decoded.mask, rows, mask)
    if isinstance(decoded.labels, str):
        follow(decoded.labels, ids, None if decoded.mask is None else mask, labels)
    else:
        _take(decoded.labels, rows, labels)


def follow(convention: str, ids: NDArray[np.int32], mask: NDArray[np.int32] | None, labels: NDArray[np.int32]) -> None:
    """Write the labels that ids and mask have by the convention, `shifted` or `hf`. mask: None is no padding."""
    if convention == "hf":
        targets, real = labels, mask
        targets[:] = ids
    else:
        targets, real = labels[:, :-1], None if mask is None else mask[:, 1:]
        targets[:] = ids[:, 1:]
        labels[:, -1] = IGNORED_LABEL
    if real is not None:
        targets[real == 0] = IGNORED_LABEL


def _take(values: NDArray[np.int32], rows: slice | NDArray[np.int64], room: NDArray[np.int32]) -> None:
    if isinstance(rows, slice):
        room[:] = values[rows]
    else:
        # "clip" writes into the room at once; the default goes through memory of its own.
        np.take(values, rows, axis=0, out=room, mode="clip")

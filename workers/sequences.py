"""Packed sequences of one length, and the columns that follow from them.

Invariant: padding stands at the end of a sequence and is counted, never searched for: it looks like any
other token. Knows nothing of documents or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.contract import LabelsConvention

IGNORED_LABEL = -100
"""The target that torch's cross-entropy and the `transformers` losses leave out."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """ids: (n, max_seq_length). n_padding: (n,), so many places at the end of each sequence are padding.

    lengths: for each sequence, how many ids each of its documents has there, in order; None if not wanted.
    """

    ids: NDArray[np.int32]
    n_padding: NDArray[np.int64]
    lengths: list[NDArray[np.int32]] | None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> Sequences:
        """Sequences [start, stop): views of the same memory."""
        lengths = None if self.lengths is None else self.lengths[start:stop]
        return Sequences(self.ids[start:stop], self.n_padding[start:stop], lengths)

    def without(self, i: int) -> Sequences:
        return joined([self.part(0, i), self.part(i + 1, len(self))])


def empty(max_seq_length: int, *, seq_lengths: bool) -> Sequences:
    return Sequences(np.empty((0, max_seq_length), np.int32), np.empty(0, np.int64), [] if seq_lengths else None)


def joined(parts: list[Sequences]) -> Sequences:
    """One after the other; at least one part, all with lengths or none."""
    if len(parts) == 1:
        return parts[0]
    ids = np.concatenate([part.ids for part in parts])
    n_padding = np.concatenate([part.n_padding for part in parts])
    if parts[0].lengths is None:
        return Sequences(ids, n_padding, None)
    return Sequences(ids, n_padding, [length for part in parts for length in part.lengths or ()])


def labels_of(sequences: Sequences, convention: LabelsConvention) -> NDArray[np.int32]:
    """(n, max_seq_length).

    `shifted`: labels[i] is ids[i + 1], and IGNORED_LABEL at the last place of a sequence and where that next
    id is padding. `hf`: labels[i] is ids[i], and IGNORED_LABEL on padding.
    """
    ids = sequences.ids
    length = ids.shape[1]
    if convention == "hf":
        labels = ids.copy()
    else:
        labels = np.empty_like(ids)
        labels[:, :-1] = ids[:, 1:]
        labels[:, -1] = IGNORED_LABEL
    padded = np.flatnonzero(sequences.n_padding)
    if len(padded):
        n_real = length - sequences.n_padding[padded, np.newaxis]
        n_labelled = n_real if convention == "hf" else n_real - 1
        labels[padded] = np.where(np.arange(length) < n_labelled, labels[padded], IGNORED_LABEL)
    return labels

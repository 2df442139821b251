"""Pieces of documents are put together so that sequences are full: best fit, longest piece first.

A window of pieces is packed at a time, which bounds memory; sequences that are far from full wait for the
next window. Invariant: the windows, and so the sequences, depend on the documents alone. Windows are cut by
counting ids; there is no randomness. Packing whole documents is that of arXiv 2404.10830, section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.sequences import Sequences, empty, joined

_WINDOW_TOKENS = 1 << 21  # guess: some 2000 documents; fills sequences to 99.9 % and holds 8 MB
_MIN_WINDOW_SEQUENCES = 16  # guess: below that a window of long sequences has little to choose from
_FULL_ENOUGH = 0.97  # guess: what waits may gain less than this leaves


class Window:
    """Takes delimited documents, gives back sequences of max_seq_length ids, each with its lengths."""

    def __init__(self, max_seq_length: int, pad_id: int) -> None:
        self._length = max_seq_length
        self._pad_id = pad_id
        self._window_tokens = max(_WINDOW_TOKENS, _MIN_WINDOW_SEQUENCES * max_seq_length)
        self._ids = np.empty(0, np.int32)  # all pieces one after the other, then the open one
        self._pieces = np.empty(0, np.int64)  # how long each is
        self._n_open = 0  # ids of the last document that may yet grow

    def add(self, stream: NDArray[np.int32], sizes: NDArray[np.int64], *, ends: bool) -> Sequences:
        """Take texts of so many ids each; where not `ends`, the next call's first goes on with the last."""
        self._ids = np.concatenate([self._ids, stream])
        if len(sizes):
            grown = sizes.copy()
            grown[0] += self._n_open
            self._n_open = 0 if ends else int(grown[-1] % self._length)
            grown[-1] -= self._n_open
            self._pieces = np.concatenate([self._pieces, _pieces(grown, self._length)])
        done = [empty(self._length, seq_lengths=True)]
        while len(self._pieces):
            n = int(np.searchsorted(np.cumsum(self._pieces), self._window_tokens)) + 1
            if n > len(self._pieces):
                break
            done.append(self._pack(n, hold=True))
        return joined(done)

    def finish(self) -> Sequences:
        return self._pack(len(self._pieces), hold=False)

    def _pack(self, n: int, *, hold: bool) -> Sequences:
        """Pack the first n pieces; `hold` those of sequences that are not full enough for another window."""
        pieces = self._pieces[:n]
        bins = best_fit(pieces, self._length)
        fill = np.bincount(bins, weights=pieces).astype(np.int64)
        is_held = _held(fill, self._length, self._window_tokens // 2) if hold else np.zeros(len(fill), np.bool_)
        starts = np.cumsum(pieces) - pieces
        waits = is_held[bins]
        sequences = self._build(bins[~waits], starts[~waits], pieces[~waits])
        rest = self._ids[int(pieces.sum()) :]
        self._ids = np.concatenate([self._ids[_places(starts[waits], pieces[waits])], rest])
        self._pieces = np.concatenate([pieces[waits], self._pieces[n:]])
        return sequences

    def _build(self, bins: NDArray[np.int64], starts: NDArray[np.int64], pieces: NDArray[np.int64]) -> Sequences:
        """Sequences in the order of their first piece, pieces within in the order they came."""
        _, first, row = np.unique(bins, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        rows = rank[row]
        order = np.argsort(rows, kind="stable")
        rows, starts, pieces = rows[order], starts[order], pieces[order]
        fill = np.bincount(rows, weights=pieces, minlength=len(first)).astype(np.int64)
        ids = np.full((len(first), self._length), self._pad_id, np.int32)
        within = np.cumsum(pieces) - pieces - (np.cumsum(fill) - fill)[rows]
        ids.reshape(-1)[_places(rows * self._length + within, pieces)] = self._ids[_places(starts, pieces)]
        ends = np.cumsum(np.bincount(rows, minlength=len(first)))[:-1]
        lengths = np.split(pieces.astype(np.int32), ends) if len(first) else []
        return Sequences(ids, self._length - fill, lengths)


def best_fit(pieces: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """The bin of each piece, none longer than capacity. Longest first, into the fullest bin that has room.

    Bins are found by the bits of one integer: bit r is set while some bin has room for exactly r more.
    """
    bins = np.empty(len(pieces), np.int64)
    roomy = 0
    by_room: dict[int, list[int]] = {}
    n_bins = 0
    sizes = pieces.tolist()
    for i in np.argsort(-pieces, kind="stable").tolist():
        size = sizes[i]
        fitting = roomy >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            one = by_room[room].pop()
            if not by_room[room]:
                roomy ^= 1 << room
        else:
            room, one = capacity, n_bins
            n_bins += 1
        bins[i] = one
        left = room - size
        if left:
            by_room.setdefault(left, []).append(one)
            roomy |= 1 << left
    return bins


def _pieces(sizes: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Documents cut every `length` ids; a document without ids has no piece."""
    rest = sizes % length
    n_each = sizes // length + (rest > 0)
    pieces = np.full(int(n_each.sum()), length, np.int64)
    pieces[np.cumsum(n_each)[rest > 0] - 1] = rest[rest > 0]
    return pieces


def _held(fill: NDArray[np.int64], length: int, most_tokens: int) -> NDArray[np.bool_]:
    """Which bins wait: the emptiest of those not full enough, most_tokens of them at most."""
    order = np.argsort(fill, kind="stable")
    may_wait = (fill[order] < _FULL_ENOUGH * length) & (np.cumsum(fill[order]) <= most_tokens)
    held = np.zeros(len(fill), np.bool_)
    held[order[may_wait]] = True
    return held


def _places(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers [start, start + size) of all pairs, one after the other."""
    places: NDArray[np.int64] = np.arange(int(sizes.sum()))
    places += np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    return places

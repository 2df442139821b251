"""Documents of token ids become sequences of one length. Pure numpy: no Python object per token.

Invariant: what went in is what came out, and counted: sequences x max_seq_length == n_tokens + n_padding, and
n_tokens + n_dropped ids went in. The sequences depend on the documents alone, not on how they came in
batches. Knows nothing of files or tokenizers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.best_fit import Window
from workers.sequences import Sequences, empty

_HISTOGRAM_BITS = 48  # more than the ids of any one document


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How documents become sequences.

    bos_id, eos_id: put before and after every document, or None. pad_id: fills what stays free.
    drop_last: leave out the one sequence at the very end that is not full, rather than pad it.
    seq_lengths: also tell how many ids each document has in each sequence.
    """

    max_seq_length: int
    eos_id: int | None
    pad_id: int
    bos_id: int | None = None
    drop_last: bool = False
    seq_lengths: bool = False


class _Packer:
    """What every way of packing counts.

    n_documents: ended so far. n_tokens, n_padding, n_dropped: of the sequences given back; BOS and EOS count.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._delimiter = Delimiter(rules)
        self.n_tokens = self.n_padding = self.n_dropped = 0

    @property
    def n_documents(self) -> int:
        return self._delimiter.n_documents

    @property
    def histogram(self) -> tuple[int, ...]:
        return self._delimiter.histogram


class Concat(_Packer):
    """The stream of documents, cut every max_seq_length ids: nothing is reordered, and only the end is padded."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self._carry = np.empty(0, np.int32)
        self._ends = np.empty(0, np.int64)  # of documents, counted from the start of the carry

    def add(self, flat: NDArray[np.int32], offsets: NDArray[np.int64], *, ends: bool = True) -> Sequences:
        """Take texts flat[offsets[i]:offsets[i + 1]]; give back the sequences they completed.

        offsets: n_texts + 1 of them, from 0 to len(flat). Each text is a document, but for the last where
        `ends` is False: then the first text of the next call goes on with it.
        """
        n_carried = len(self._carry)
        stream, sizes = self._delimiter.delimit(flat, offsets, ends=ends, carry=self._carry)
        whole = len(stream) // self._rules.max_seq_length * self._rules.max_seq_length
        self._carry = stream[whole:].copy()
        self.n_tokens += whole
        lengths = None
        if self._rules.seq_lengths:
            places = n_carried + np.cumsum(sizes)
            ended = np.concatenate([self._ends, places if ends else places[:-1]])
            lengths = self._lengths(ended[ended <= whole], whole)
            self._ends = ended[ended > whole] - whole
        ids = stream[:whole].reshape(-1, self._rules.max_seq_length)
        return Sequences(ids, np.zeros(len(ids), np.int64), lengths)

    def finish(self) -> Sequences:
        """The rest as 0 or 1 sequences, padded at its end or dropped. Nothing may follow."""
        length, n_left = self._rules.max_seq_length, len(self._carry)
        if not n_left or self._rules.drop_last:
            self.n_dropped += n_left
            return empty(length, seq_lengths=self._rules.seq_lengths)
        ids = np.full((1, length), self._rules.pad_id, np.int32)
        ids[0, :n_left] = self._carry
        self.n_tokens += n_left
        self.n_padding += length - n_left
        lengths = self._lengths(self._ends, n_left) if self._rules.seq_lengths else None
        return Sequences(ids, np.array([length - n_left]), lengths)

    def _lengths(self, ends: NDArray[np.int64], n_ids: int) -> list[NDArray[np.int32]]:
        """For each sequence over the first n_ids ids, how many of each of its documents."""
        if not n_ids:
            return []
        length = self._rules.max_seq_length
        cuts = np.union1d(ends[ends > 0], np.append(np.arange(length, n_ids, length), n_ids))
        pieces = np.diff(cuts, prepend=0).astype(np.int32)
        return np.split(pieces, np.cumsum(np.bincount((cuts - 1) // length))[:-1])


class BestFit(_Packer):
    """Whole documents share a sequence with those that fill it best; only longer ones are cut.

    Packed within windows of documents, so that memory is bounded; sequences come in the order of their first
    document.
    """

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self._window = Window(rules.max_seq_length, rules.pad_id)

    def add(self, flat: NDArray[np.int32], offsets: NDArray[np.int64], *, ends: bool = True) -> Sequences:
        """As `Concat.add`."""
        stream, sizes = self._delimiter.delimit(flat, offsets, ends=ends)
        return self._counted(self._window.add(stream, sizes, ends=ends))

    def finish(self) -> Sequences:
        """What is still held, padded. With drop_last the emptiest sequence of these is dropped, if not full."""
        last = self._window.finish()
        if self._rules.drop_last and len(last) and last.n_padding.max() > 0:
            emptiest = int(last.n_padding.argmax())
            self.n_dropped += self._rules.max_seq_length - int(last.n_padding[emptiest])
            last = last.without(emptiest)
        return self._counted(last)

    def _counted(self, sequences: Sequences) -> Sequences:
        n_padding = int(sequences.n_padding.sum())
        self.n_padding += n_padding
        self.n_tokens += sequences.ids.size - n_padding
        return sequences if self._rules.seq_lengths else Sequences(sequences.ids, sequences.n_padding, None)


class Delimiter:
    """Puts BOS and EOS round documents, which may come in several texts, and measures them.

    histogram: [k] counts the documents of [2^(k-1), 2^k) ids, BOS and EOS included; [0] those of none.
    """

    def __init__(self, rules: Rules) -> None:
        self._bos_id, self._eos_id = rules.bos_id, rules.eos_id
        self._open_size: int | None = None  # ids so far of the document that the last text left open
        self._counts = np.zeros(_HISTOGRAM_BITS, np.int64)
        self.n_documents = 0

    @property
    def histogram(self) -> tuple[int, ...]:
        return tuple(np.trim_zeros(self._counts, "b").tolist())

    def delimit(
        self, flat: NDArray[np.int32], offsets: NDArray[np.int64], *, ends: bool, carry: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The carry and then all texts with their delimiters, and how many ids each text has become."""
        n_texts = len(offsets) - 1
        is_begun = np.full(n_texts, self._bos_id is not None)
        is_ended = np.full(n_texts, self._eos_id is not None)
        if n_texts:
            is_begun[0] &= self._open_size is None
            is_ended[-1] &= ends
        sizes = np.diff(offsets) + is_begun + is_ended
        after = np.cumsum(sizes)
        n_carried = 0 if carry is None else len(carry)
        stream = np.empty(n_carried + int(sizes.sum()), np.int32)
        if carry is not None:
            stream[:n_carried] = carry
        body = stream[n_carried:]
        is_text = np.ones(len(body), np.bool_)
        delimiters = ((after - sizes)[is_begun], self._bos_id), (after[is_ended] - 1, self._eos_id)
        for places, token_id in delimiters:
            if token_id is not None:
                is_text[places] = False
                body[places] = token_id
        body[is_text] = flat
        self._measure(sizes, ends=ends)
        return stream, sizes

    def _measure(self, sizes: NDArray[np.int64], *, ends: bool) -> None:
        if not len(sizes):
            return
        whole = sizes.copy()
        whole[0] += self._open_size or 0
        self._open_size = None if ends else int(whole[-1])
        if not ends:
            whole = whole[:-1]
        self._counts += np.bincount(np.frexp(whole)[1], minlength=_HISTOGRAM_BITS)
        self.n_documents += len(whole)

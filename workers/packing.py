"""Documents of token ids become sequences of one length. Pure numpy: no Python object per token.

Every document is followed by EOS and the stream is cut every max_seq_length ids, so a document may span
sequences and a sequence documents. Nothing is lost or reordered, and the sequences depend on the documents
alone, not on how they came in batches. Knows nothing of files or tokenizers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IGNORED_LABEL = -100
"""The target that torch's cross-entropy and the `transformers` losses leave out."""


class Packer:
    """n_documents, n_tokens (EOS counted): what went in so far.

    After `finish`: sequences x max_seq_length == n_tokens + n_padding.
    """

    def __init__(self, max_seq_length: int, eos_id: int) -> None:
        self._length = max_seq_length
        self._eos_id = eos_id
        self._carry = np.empty(0, np.int32)
        self.n_documents = 0
        self.n_tokens = 0

    def add(self, flat: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int32]:
        """Take documents flat[offsets[i]:offsets[i + 1]]; give back the sequences they completed.

        offsets: n_documents + 1 of them, from 0 to len(flat). The result is (n, max_seq_length).
        """
        n_documents = len(offsets) - 1
        stream = np.empty(len(self._carry) + len(flat) + n_documents, np.int32)
        stream[: len(self._carry)] = self._carry
        body = stream[len(self._carry) :]
        eos_places = offsets[1:] + np.arange(n_documents)
        is_text = np.ones(len(body), np.bool_)
        is_text[eos_places] = False
        body[is_text] = flat
        body[eos_places] = self._eos_id
        self.n_documents += n_documents
        self.n_tokens += len(body)
        whole = len(stream) // self._length * self._length
        self._carry = stream[whole:].copy()
        return stream[:whole].reshape(-1, self._length)

    def finish(self) -> tuple[NDArray[np.int32], int]:
        """The rest as 0 or 1 sequences, and how many places at its end are padding (filled with EOS)."""
        if not len(self._carry):
            return np.empty((0, self._length), np.int32), 0
        n_padding = self._length - len(self._carry)
        last = np.full((1, self._length), self._eos_id, np.int32)
        last[0, : len(self._carry)] = self._carry
        self._carry = self._carry[:0]
        return last, n_padding


def mask_and_labels(ids: NDArray[np.int32], n_padding: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """attention_mask and `shifted` labels of sequences (n, L), the last n_padding ids of which are padding.

    labels[i] is ids[i + 1], and IGNORED_LABEL at the last place of a sequence and where that next id is
    padding. The padding looks like any EOS, which is why it is counted and not searched for.
    """
    length = ids.shape[1]
    mask = np.ones_like(ids)
    labels = np.full_like(ids, IGNORED_LABEL)
    labels[:, :-1] = ids[:, 1:]
    if n_padding:
        mask[-1, length - n_padding :] = 0
        labels[-1, length - n_padding - 1 :] = IGNORED_LABEL
    return mask, labels

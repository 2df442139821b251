"""Whatever the documents and however they come in batches, packing loses, adds and reorders nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.packing import IGNORED_LABEL, Packer, mask_and_labels

documents = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=40), max_size=30)
lengths = st.integers(1, 17)
eos_ids = st.integers(0, 2**31 - 1)


def batch(docs):
    flat = np.array([i for doc in docs for i in doc], np.int32)
    return flat, np.cumsum([0, *map(len, docs)]).astype(np.int64)


def pack(batches, length, eos_id):
    packer = Packer(length, eos_id)
    rows = [packer.add(*batch(docs)) for docs in batches]
    last, n_padding = packer.finish()
    ids = np.concatenate([*rows, last])
    assert ids.dtype == np.int32
    assert ids.shape[1] == length
    return ids, n_padding, packer


@given(documents, lengths, eos_ids)
def test_the_sequences_are_the_documents_each_followed_by_eos(docs, length, eos_id):
    ids, n_padding, packer = pack([docs], length, eos_id)
    stream = [i for doc in docs for i in (*doc, eos_id)]
    assert ids.reshape(-1).tolist() == stream + [eos_id] * n_padding
    assert (packer.n_documents, packer.n_tokens) == (len(docs), len(stream))
    assert ids.size == packer.n_tokens + n_padding
    assert 0 <= n_padding < length


@given(documents, lengths, eos_ids, st.data())
def test_batches_make_no_difference(docs, length, eos_id, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(docs)), max_size=6)))
    batches = [docs[a:b] for a, b in zip([0, *cuts], [*cuts, len(docs)], strict=True)]
    together, padding_together, _ = pack([docs], length, eos_id)
    apart, padding_apart, packer = pack(batches, length, eos_id)
    assert (together == apart).all()
    assert padding_together == padding_apart
    assert packer.n_documents == len(docs)


@given(documents.filter(bool), lengths, eos_ids)
def test_a_label_is_the_next_real_token_of_its_sequence_or_ignored(docs, length, eos_id):
    ids, n_padding, packer = pack([docs], length, eos_id)
    mask, labels = mask_and_labels(ids, n_padding)
    assert mask.dtype == labels.dtype == np.int32
    assert mask.reshape(-1).tolist() == [1] * packer.n_tokens + [0] * n_padding
    for row, row_mask, row_labels in zip(ids.tolist(), mask.tolist(), labels.tolist(), strict=True):
        nexts = [*zip(row[1:], row_mask[1:], strict=True), (None, 0)]
        assert row_labels == [token if real else IGNORED_LABEL for token, real in nexts]

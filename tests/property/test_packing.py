"""Whatever the documents and however they come in batches, packing loses, adds and reorders nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import best_fit
from workers.packing import BestFit, Concat, Rules
from workers.sequences import IGNORED_LABEL, joined, labels_of

ids = st.integers(0, 2**31 - 1)
documents = st.lists(st.lists(ids, max_size=40), max_size=30)
rules = st.builds(
    Rules,
    max_seq_length=st.integers(1, 17),
    eos_id=st.none() | ids,
    pad_id=ids,
    bos_id=st.none() | ids,
    drop_last=st.booleans(),
    seq_lengths=st.booleans(),
)
packers = st.sampled_from([Concat, BestFit])


@pytest.fixture(autouse=True, scope="module")
def small_windows():
    """So small that the documents of one example fill several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_fit, "_WINDOW_TOKENS", 50)
        patch.setattr(best_fit, "_MIN_WINDOW_SEQUENCES", 2)
        yield


def batch(texts):
    flat = np.array([i for text in texts for i in text], np.int32)
    return flat, np.cumsum([0, *map(len, texts)]).astype(np.int64)


def delimited(rule, docs):
    bos, eos = ([] if one is None else [one] for one in (rule.bos_id, rule.eos_id))
    return [[*bos, *doc, *eos] for doc in docs]


def pack(kind, rule, docs):
    return pack_batches(kind, rule, [(docs, True)])


def pack_batches(kind, rule, batches):
    packer = kind(rule)
    parts = [packer.add(*batch(texts), ends=ends) for texts, ends in batches]
    packed = joined([*parts, packer.finish()])
    assert packed.ids.dtype == np.int32
    assert packed.ids.shape[1] == rule.max_seq_length
    assert (packed.lengths is None) != rule.seq_lengths
    return packed, packer


def rows(packed):
    """The ids of each sequence without its padding."""
    return [row[: len(row) - n].tolist() for row, n in zip(packed.ids, packed.n_padding.tolist(), strict=True)]


@given(packers, rules, documents)
def test_every_token_is_accounted_for(kind, rule, docs):
    packed, packer = pack(kind, rule, docs)
    n_in = sum(map(len, delimited(rule, docs)))
    assert packed.ids.size == packer.n_tokens + packer.n_padding
    assert packer.n_tokens + packer.n_dropped == n_in
    assert packer.n_padding == packed.n_padding.sum()
    assert packer.n_documents == len(docs) == sum(packer.histogram)
    assert packer.n_dropped < rule.max_seq_length
    assert rule.drop_last or packer.n_dropped == 0
    for row, n in zip(packed.ids, packed.n_padding.tolist(), strict=True):
        assert row[len(row) - n :].tolist() == [rule.pad_id] * n


@given(rules, documents)
def test_concat_is_the_stream_of_documents(rule, docs):
    packed, packer = pack(Concat, rule, docs)
    stream = [i for doc in delimited(rule, docs) for i in doc]
    assert [i for row in rows(packed) for i in row] == stream[: packer.n_tokens]
    assert packer.n_padding < rule.max_seq_length
    assert not packed.n_padding[:-1].any()
    assert not (rule.drop_last and packer.n_padding)


def as_pieces(doc, length):
    return [doc[i : i + length] for i in range(0, len(doc), length)]


@given(rules, documents)
def test_best_fit_keeps_whole_what_a_sequence_can_hold(rule, docs):
    rule = Rules(**{name: getattr(rule, name) for name in rule.__slots__} | {"drop_last": False, "seq_lengths": True})
    packed, _ = pack(BestFit, rule, docs)
    expected = [piece for doc in delimited(rule, docs) for piece in as_pieces(doc, rule.max_seq_length)]
    found = []
    for row, lengths in zip(rows(packed), packed.lengths, strict=True):
        ends = np.cumsum(lengths).tolist()
        assert ends[-1] == len(row)
        found += [row[end - n : end] for end, n in zip(ends, lengths.tolist(), strict=True)]
    assert sorted(found) == sorted(expected)


@given(documents, st.integers(1, 17))
def test_no_two_sequences_of_a_best_fit_window_could_be_one(docs, length):
    sizes = np.array([len(piece) for doc in docs for piece in as_pieces(doc, length)], np.int64)
    fill = np.bincount(best_fit.best_fit(sizes, length), weights=sizes)
    assert (fill <= length).all()
    assert len(fill) < 2 or sum(np.sort(fill)[:2]) > length


def test_a_piece_goes_where_it_leaves_least():
    assert best_fit.best_fit(np.array([3, 6, 7, 5]), 10).tolist() == [0, 1, 0, 2]


def test_sequences_of_a_window_come_in_the_order_of_their_first_document():
    rule = Rules(max_seq_length=10, eos_id=None, pad_id=0)
    packed, _ = pack(BestFit, rule, [[1] * 4, [2] * 9, [3] * 6, [4] * 1])
    assert [row[0] for row in rows(packed)] == [1, 2]
    assert rows(packed) == [[1] * 4 + [3] * 6, [2] * 9 + [4]]


def test_what_is_far_from_full_waits_for_the_next_window():
    """A window is 50 ids here: the sixes are in the first and the fours are not."""
    rule = Rules(max_seq_length=10, eos_id=None, pad_id=0)
    packed, packer = pack(BestFit, rule, [*[[1] * 10] * 4, [2] * 6, [1] * 10, [3] * 4])
    assert rows(packed)[-1] == [2] * 6 + [3] * 4
    assert packer.n_padding == 0


def test_what_waits_is_bounded():
    """No two of these fit together, and the next windows bring no better: they go, half empty as they are."""
    rule = Rules(max_seq_length=10, eos_id=None, pad_id=0)
    packer = BestFit(rule)
    packed = [packer.add(*batch([[n] * 6])) for n in range(100)]
    assert sum(map(len, packed)) >= 100 - 50 // 6 - 1


@given(packers, rules, documents, st.data())
def test_batches_make_no_difference(kind, rule, docs, data):
    """Neither between documents nor within one."""
    together, counts = pack(kind, rule, docs)
    batches, texts = [], []
    for doc in docs:
        while data.draw(st.integers(0, 3)) == 0:
            n = data.draw(st.integers(0, len(doc)))
            batches.append(([*texts, doc[:n]], False))
            texts, doc = [], doc[n:]
        texts.append(doc)
        if data.draw(st.booleans()):
            batches.append((texts, True))
            texts = []
    batches.append((texts, True))
    apart, others = pack_batches(kind, rule, batches)
    assert rows(together) == rows(apart)
    if rule.seq_lengths:
        assert [x.tolist() for x in together.lengths] == [x.tolist() for x in apart.lengths]
    for name in ("n_documents", "n_tokens", "n_padding", "n_dropped", "histogram"):
        assert getattr(counts, name) == getattr(others, name)


@given(rules, documents)
def test_lengths_are_those_of_the_documents_of_a_sequence(rule, docs):
    rule = Rules(**{name: getattr(rule, name) for name in rule.__slots__} | {"seq_lengths": True})
    packed, packer = pack(Concat, rule, docs)
    marks = [n for n, doc in enumerate(delimited(rule, docs)) for _ in doc][: packer.n_tokens]
    for row, lengths in enumerate(packed.lengths):
        of_row = marks[row * rule.max_seq_length : (row + 1) * rule.max_seq_length]
        assert lengths.tolist() == [of_row.count(mark) for mark in dict.fromkeys(of_row)]
    assert len(packed.lengths) == len(packed)


@given(packers, rules, documents.filter(bool))
def test_a_label_is_the_next_real_token_of_its_sequence_or_ignored(kind, rule, docs):
    packed, packer = pack(kind, rule, docs)
    labels = labels_of(packed, "shifted")
    assert labels.dtype == np.int32
    mask = np.arange(rule.max_seq_length) < rule.max_seq_length - packed.n_padding[:, None]
    assert mask.sum() == packer.n_tokens
    for row, row_mask, row_labels in zip(packed.ids.tolist(), mask.tolist(), labels.tolist(), strict=True):
        nexts = [*zip(row[1:], row_mask[1:], strict=True), (None, 0)]
        assert row_labels == [token if real else IGNORED_LABEL for token, real in nexts]


@given(packers, rules, documents.filter(bool))
def test_an_hf_label_is_the_token_itself_or_ignored(kind, rule, docs):
    packed, _ = pack(kind, rule, docs)
    labels = labels_of(packed, "hf")
    assert labels.dtype == np.int32
    mask = np.arange(rule.max_seq_length) < rule.max_seq_length - packed.n_padding[:, None]
    assert (labels == np.where(mask, packed.ids, IGNORED_LABEL)).all()


def test_the_histogram_counts_documents_by_powers_of_two():
    rule = Rules(max_seq_length=10, eos_id=None, pad_id=0)
    _, packer = pack(Concat, rule, [[], [1], [1] * 2, [1] * 3, [1] * 4, [1] * 7, [1] * 8])
    assert packer.histogram == (1, 1, 2, 2, 1)

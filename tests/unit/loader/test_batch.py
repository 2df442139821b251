"""Labels that follow from ids and mask are those of docs/FORMATS.md, place by place."""

import numpy as np
import pytest

from asyncdl.loader.batch import fill, follow, new_batch
from asyncdl.loader.groups import Group
from asyncdl.loader.shard import Decoded

IDS = np.array([[11, 12, 13, 14], [21, 22, 23, 24], [31, 32, 7, 7], [7, 7, 7, 7]], np.int32)
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], np.int32)
X = -100
LABELS = {
    "shifted": [[12, 13, 14, X], [22, 23, 24, X], [32, X, X, X], [X, X, X, X]],
    "hf": [[11, 12, 13, 14], [21, 22, 23, 24], [31, 32, X, X], [X, X, X, X]],
}


@pytest.mark.parametrize("convention", LABELS)
def test_labels_follow_by_the_convention(convention):
    labels = np.zeros_like(IDS)
    follow(convention, IDS, MASK, labels)
    assert labels.tolist() == LABELS[convention]
    follow(convention, IDS[:2], None, labels[:2])
    assert labels.tolist() == LABELS[convention]


def test_labels_of_sequences_of_one_token():
    for convention, label in (("shifted", X), ("hf", 5)):
        labels = np.zeros((1, 1), np.int32)
        follow(convention, np.array([[5]], np.int32), None, labels)
        assert labels.tolist() == [[label]]


@pytest.mark.parametrize("labels", ["shifted", "hf", np.arange(16, dtype=np.int32).reshape(4, 4)])
@pytest.mark.parametrize("order", [None, np.array([2, 0, 3, 1])])
def test_a_batch_is_filled_in_order_and_padded(labels, order):
    batch = new_batch((5, 4), 3, 7)
    group = Group(Decoded(IDS, MASK, labels), order)
    fill(batch, 0, group, 1, 2)
    fill(batch, 1, group, 2, 4)
    rows = [1, 2, 3] if order is None else order[1:].tolist()
    expected = np.array(LABELS[labels]) if isinstance(labels, str) else labels
    assert batch["input_ids"].tolist() == [*IDS[rows].tolist(), [7] * 4, [7] * 4]
    assert batch["attention_mask"].tolist() == [*MASK[rows].tolist(), [0] * 4, [0] * 4]
    assert batch["labels"].tolist() == [*expected[rows].tolist(), [X] * 4, [X] * 4]


def test_without_padding_the_mask_is_ones():
    batch = new_batch((2, 4), 2, 7)
    fill(batch, 0, Group(Decoded(IDS, None, "hf"), None), 0, 2)
    assert batch["attention_mask"].tolist() == [[1] * 4] * 2

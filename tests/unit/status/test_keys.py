"""Bytes of a terminal become keys, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncdl.status import keys

TYPED = {
    b"q": "q", b"?": "?", b"\t": "tab", b"\r": "enter", b"\x1b[A": "up", b"\x1bOB": "down", b"\x1b[Z": "shift-tab",
    b"\x1b[6~": "page-down", b"\x7f": "backspace",
}  # fmt: skip


def read_all(blocks):
    found, rest = [], b""
    for block in blocks:
        more, rest = keys.read(rest + block, is_all=False)
        found += more
    more, rest = keys.read(rest, is_all=True)
    assert rest == b""
    return found + more


@given(typed=st.lists(st.sampled_from(sorted(TYPED))), cuts=st.sets(st.integers(1, 60)))
def test_keys_are_the_same_wherever_the_bytes_are_cut(typed, cuts):
    data = b"".join(typed)
    ends = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    blocks = [data[first:last] for first, last in pairwise(ends)]
    assert read_all(blocks) == [TYPED[one] for one in typed]


def test_a_lone_esc_is_a_key_once_nothing_follows():
    assert keys.read(b"\x1b", is_all=False) == ([], b"\x1b")
    assert keys.read(b"\x1b", is_all=True) == (["esc"], b"")
    assert keys.read(b"\x1bq", is_all=False) == (["esc", "q"], b"")


@pytest.mark.parametrize("data", ["é".encode(), b"\x1b[200~", b"\x1b[<0;3;4M", b"\x00", b"\x1b[1;5A"])
def test_what_is_no_key_of_ours_is_left_out(data):
    assert keys.read(data, is_all=True) == ([], b"")


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_and_a_rest_stays_small(data, is_all):
    found, rest = keys.read(data, is_all=is_all)
    assert all(isinstance(key, str) and key for key in found)
    assert len(rest) <= keys.MAX_BEGUN
    assert rest == b"" or not is_all

"""Where a text too large for one go is cut, and that its tokens are those of the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.integration.workers.samples import TEXTS
from workers import cut as cutting
from workers.cut import cut

texts = st.text(st.sampled_from("ab é漢🧪\n \t"), max_size=200)


def pieces(text, n):
    return [str(piece, "utf-8") for piece in cut(memoryview(text.encode()), n)]


@given(texts, st.integers(4, 50))
def test_pieces_are_the_text_and_fit(text, n):
    assert "".join(pieces(text, n)) == text
    assert all(0 < len(piece.encode()) <= n for piece in pieces(text, n)) or text == ""


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("aaaaaaa bb\nc\n\nd e f", "aaaaaaa bb\n"),  # a lone newline before a later run of them and a later space
        ("aaaa \n b\n\n\n\nd e f", "aaaa \n b\n\n\n\n"),
        ("aaaa bb c.dddddddd", "aaaa bb "),
        ("漢" * 20, "漢" * 4),
    ],
)
def test_a_cut_is_where_it_changes_least(text, first):
    assert pieces(text, 14)[0] == first


def test_the_look_back_is_bounded_for_a_line_without_end(monkeypatch):
    monkeypatch.setattr(cutting, "_LOOK_BACK_BYTES", 4)
    assert pieces("x" * 30 + "\n" + "y" * 100, 50)[0] == "x" * 30 + "\n" + "y" * 19


def test_bytes_that_are_no_text_are_an_error():
    with pytest.raises(UnicodeDecodeError):
        list(cut(memoryview(b"abc\xff" * 20), 10))


@pytest.mark.parametrize("n", [700, 1000, 1500])
def test_tokens_of_prose_are_those_of_the_whole(tokenizer_folder, n):
    encode = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json")).encode
    prose = "\n".join([text for text in TEXTS if text and "\n" not in text] * 20)
    whole = encode(prose, add_special_tokens=False).ids
    assert [i for piece in pieces(prose, n) for i in encode(piece, add_special_tokens=False).ids] == whole

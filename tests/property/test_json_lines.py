"""What is read of JSON lines does not depend on how the file is cut, into parts or into blocks."""

import tempfile
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers import json_lines, lines, streams
from workers.batch import Counts
from workers.contract import Source
from workers.json_lines import Rules

BAD = [b"{", b"[]", b'{"text":null}', b'{"text":1}', b'{"text":"\xff"}', b"{}"]
BLANK = [b"", b" ", b"\r"]
good = st.builds(lambda text, before: orjson.dumps({**before, "text": text}), st.text(max_size=30), st.dictionaries(st.text(max_size=3), st.text(max_size=9), max_size=2))  # fmt: skip


@st.composite
def contents(draw):
    rows = draw(st.lists(good | good | st.sampled_from(BAD + BLANK), max_size=12))
    newline = draw(st.sampled_from([b"\n", b"\r\n"]))
    mark = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    return mark + newline.join(rows) + draw(st.sampled_from([b"", newline]))


@contextmanager
def file_of(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        path.write_bytes(content)
        yield path


def read(path, part=None, max_text_bytes=1000, block_bytes=1 << 20, line_bytes=1 << 20):
    """(documents, counts): the pieces of a document joined."""
    counts, documents, goes_on = Counts(), [], False
    rules = Rules("text", max_text_bytes, 1.0, str(path.parent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "BLOCK_BYTES", block_bytes)
        patch.setattr(lines, "_LINE_BYTES", line_bytes)
        for batch in json_lines.parts(Source(path=str(path), source_id="a", part=part), rules, counts):
            texts = batch.texts
            assert batch.n_bytes == sum(len(text.encode()) for text in texts)
            assert max(len(text.encode()) for text in texts) <= max_text_bytes
            if goes_on:
                documents[-1] += texts.pop(0)
            documents += texts
            goes_on = not batch.ends
    assert not goes_on
    return documents, counts


def by_hand(content):
    """Each line apart, the plain way."""
    documents = []
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if line.strip() and json_lines.bad_line(line, "text") is None:
            documents.append(orjson.loads(line)["text"])
    return documents


@settings(deadline=None)
@given(contents(), st.lists(st.integers(0, 400), max_size=5))
@example(b'{"text":"a"}\n{"text":"b"}', [12])
@example(b'{"text":"a"}\n{"text":"b"}', [13])
@example(b'{"text":"a"}\n{"text":"b"}', [14])
def test_any_partition_has_each_document_once_and_in_order(content, cuts):
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    with file_of(content) as path:
        whole, counts = read(path)
        found = [read(path, part) for part in pairwise(places)]
    assert whole == by_hand(content)
    assert [text for documents, _ in found for text in documents] == whole
    assert sum(one.n_lines for _, one in found) == counts.n_lines
    assert sum((one.n_bad for _, one in found), type(counts.n_bad)()) == counts.n_bad
    assert [bad.at for _, one in found for bad in one.bad_lines] == [bad.at for bad in counts.bad_lines]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ((0, 12), ["a"]),
        ((0, 13), ["a"]),
        ((0, 14), ["a", "b"]),
        ((1, 13), []),
        ((12, 26), ["b"]),
        ((13, 14), ["b"]),
        ((13, 26), ["b"]),
        ((14, 26), []),
    ],
)
def test_a_part_has_the_lines_that_begin_in_it(part, expected):
    with file_of(b'{"text":"a"}\n{"text":"b"}\n') as path:
        assert read(path, part)[0] == expected


@settings(deadline=None)
@given(contents(), st.integers(1, 60), st.integers(4, 40))
def test_the_size_of_a_block_changes_nothing(content, block_bytes, max_text_bytes):
    with file_of(content) as path:
        assert read(path, block_bytes=block_bytes) == read(path)
        limited = read(path, None, max_text_bytes, block_bytes), read(path, None, max_text_bytes)
        assert limited[0] == limited[1] == read(path)


@settings(deadline=None)
@given(contents(), st.integers(1, 30), st.integers(1, 30), st.integers(4, 40))
def test_a_line_too_long_for_memory_is_read_as_any_other(content, block_bytes, line_bytes, max_text_bytes):
    with file_of(content) as path:
        documents, counts = read(path, None, max_text_bytes, block_bytes, line_bytes)
        whole, expected = read(path)
    assert documents == whole
    assert (counts.n_lines, counts.n_bad) == (expected.n_lines, expected.n_bad)
    assert [(bad.line, bad.at) for bad in counts.bad_lines] == [(bad.line, bad.at) for bad in expected.bad_lines]


@given(st.text(st.sampled_from("ab é漢🧪\n "), max_size=200), st.integers(4, 50), st.integers(1, 30))
def test_a_text_that_comes_in_blocks_is_cut_where_the_whole_is(text, piece_bytes, block_chars):
    from workers.cut import cut, cut_stream

    blocks = [text[i : i + block_chars].encode() for i in range(0, len(text), block_chars)]
    whole = [bytes(piece) for piece in cut(memoryview(text.encode()), piece_bytes)]
    assert [bytes(piece) for piece in cut_stream(blocks, piece_bytes)] == whole

"""The reader of lines too long for memory finds in any line what orjson finds, wherever its windows end."""

import io
import json

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers import long_line
from workers.json_lines import bad_line
from workers.long_line import BadLineError

FIELD = "text"

strings = st.text(st.characters() | st.sampled_from('\\"/\b\n\u2028\ud83d\ude00é🧪\x7f'), max_size=12)
keys = st.sampled_from([FIELD, FIELD, "", "tex", "text2", "téxt"]) | strings
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strings


def written(value, draw):
    """Some way to write a value down: with keys that come again, with escapes or without, and white space."""
    space = draw(st.sampled_from(["", "", " ", "\t \r"]))
    if isinstance(value, list):
        return f"{space}[{','.join(written(one, draw) for one in value)}{space}]"
    if isinstance(value, tuple):
        members = (f"{written(key, draw)}:{written(one, draw)}" for key, one in value)
        return f"{space}{{{','.join(members)}{space}}}{space}"
    return space + json.dumps(value, ensure_ascii=draw(st.booleans())) + space


@st.composite
def lines(draw):
    """Mostly objects with the field; now and then damaged in one place."""
    values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | pairs(inner), max_leaves=8)
    if draw(st.integers(0, 5)) == 0:
        value = draw(values)
    else:
        value = (*draw(pairs(values)), (FIELD, draw(strings)), *draw(pairs(values)))
    line = written(value, draw).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 2)) == 0:
        at = draw(st.integers(0, len(line)))
        n_gone = draw(st.integers(0, 3))
        line = (
            line[:at]
            + draw(st.sampled_from([b"", b'"', b"\\", b"\\u", b"}", b",", b"1", b"\xff", b"\x00"]))
            + line[at + n_gone :]
        )
    return line


def pairs(values):
    return st.lists(st.tuples(keys, values), max_size=4).map(tuple)


def by_orjson(line):
    if not line.strip(b" \t\r\n"):
        return None
    error = bad_line(line, FIELD)
    return error.error_class if error else ("text", orjson.loads(line)[FIELD])


def by_windows(line, window_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_line, "_WINDOW_BYTES", window_bytes)
        file = io.BytesIO(line)
        try:
            found = long_line.find(file, FIELD)
        except BadLineError as error:
            return error.error_class
        if found is None:
            return None
        text = b"".join(long_line.read(file, found))
        assert len(text) == found.n_bytes
        return "text", text.decode()


@settings(max_examples=300, deadline=None)
@given(lines(), st.integers(1, 40))
@example(b'{"text":"\\ud83d\\ude00\\uD83D\\uDE00"}', 1)
@example(b'{"text":"\\ud83d\\u0041"}', 7)
@example(b'{"text":"\\ud83d"}', 3)
@example(b'{"text":"\\\\ud83d"}', 3)
@example(b'{"text":"a","te\\u0078t":"b"}', 5)
@example(b'{"text":"a","text":null}', 5)
@example(b'{"a":{"text":"in"},"b":[{"text":"in"}]}', 5)
@example(b'{"text":"a"} x', 5)
@example(b'{"text":"a",}', 5)
@example(b'[{"text":"a"}]', 5)
@example(b'{"text":"a\tb"}', 5)
@example(b'{"n":1e999,"text":"a"}', 5)
@example(b'{"n":-0.5e-3,"text":"a"}', 1)
@example(b'{"n":01,"text":"a"}', 1)
@example(b"\xef\xbb\xbf{}", 1)
@example(b" \t ", 1)
def test_it_finds_what_orjson_finds(line, window_bytes):
    assert by_windows(line, window_bytes) == by_orjson(line)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("depth", [1022, 1023, 1024, 1025])
def test_it_goes_as_deep_as_orjson(opening, closing, depth):
    inner = opening * depth + b"1" + closing * depth
    line = b'{"text":"found","a":' + inner + b"}"
    assert by_windows(line, 1000) == by_orjson(line)


def test_a_number_without_end_is_bad_and_not_held():
    line = b'{"n":' + b"1" * (1 << 17) + b',"text":"a"}'
    assert by_windows(line, 1000) == "not_json"

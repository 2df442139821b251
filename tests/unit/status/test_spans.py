"""Styled lines of so many columns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncdl.status import spans
from asyncdl.status.figures import fit_end, spark, width_of
from asyncdl.status.spans import ASCII, UNICODE

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), max_size=60)
LINES = st.lists(st.tuples(TEXTS, st.sampled_from(sorted(spans.STYLES))), max_size=4)


@given(LINES, st.integers(0, 90))
def test_a_clipped_line_has_exactly_its_columns(line, width):
    assert sum(width_of(text) for text, _ in spans.clip(tuple(line), width)) == width


@given(TEXTS, st.integers(0, 50))
def test_a_text_cut_at_its_end_has_exactly_its_columns(text, width):
    assert width_of(fit_end(text, width)) == width


@given(TEXTS, st.integers(4, 50), st.integers(0, 3))
def test_wrapped_lines_fit_and_lose_no_short_word(text, width, indent):
    lines = spans.wrapped(text, width, indent=indent)
    assert all(width_of(line) <= width for line in lines)
    short = [word for word in text.split() if width_of(word) <= width - indent]
    assert [word for word in " ".join(lines).split() if word in short] == short or ".." in " ".join(lines)


@given(st.floats(-1, 2), st.integers(0, 40))
def test_a_bar_has_its_width_and_is_full_only_when_all_is_done(share, width):
    for pen in (UNICODE, ASCII):
        bar = pen.bar(share, width)
        assert len(bar) == width
        assert (bar == pen.full * width) is (share >= 1 or width == 0)


@given(st.lists(st.floats(0, 1e12)), st.integers(0, 20))
def test_a_sparkline_has_one_character_for_each_of_the_last_values(values, width):
    line = spark(values, width, UNICODE.levels)
    assert len(line) == min(len(values), width)
    shown = values[-width:] if width else []
    assert all(line[n] == UNICODE.levels[-1] for n, value in enumerate(shown) if value == max(shown) > 0)


def test_every_style_is_painted_and_ends():
    for style in spans.STYLES:
        painted = spans.painted(((f"x{style}", style),), is_coloured=True)
        assert f"x{style}" in painted
        assert painted.endswith("\x1b[0m") or not style


def test_without_colours_no_colour_is_written():
    painted = "".join(spans.painted((("x", style),), is_coloured=False) for style in spans.STYLES)
    assert not any(f"\x1b[{code}m" in painted or f";{code}m" in painted for code in range(30, 50))


def test_a_pen_without_unicode_writes_ascii_alone():
    assert ASCII.text("データ\x1b").isascii()
    assert all(str(getattr(ASCII, name)).isascii() for name in spans.Pen.__slots__)

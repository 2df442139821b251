"""The chart of the rate: it stays in its frame, stands in time, and does not invent what nobody saw."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from asyncdl.status.web_chart import GAP_S, HEIGHT, WIDTH, chart

NOW, SPAN_S = 1000.0, 300.0
RATES = st.lists(st.tuples(st.floats(NOW - SPAN_S, NOW), st.floats(0, 1e12)), max_size=50).map(sorted)


def points(path):
    return [(int(x), int(y)) for x, y in re.findall(r"(-?\d+) (-?\d+)", path)]


@given(RATES)
def test_nothing_is_drawn_outside_the_frame_or_with_anything_but_numbers(rates):
    drawn = chart(rates, NOW, SPAN_S)
    for path in (drawn.line, drawn.area):
        assert re.fullmatch(r"[MLZ0-9 ]*", path)
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(path))
    assert len(points(drawn.line)) == len(rates)


def test_now_is_at_the_right_and_the_highest_rate_at_the_top():
    drawn = chart([(NOW - SPAN_S, 0.0), (NOW - 299.0, 50.0), (NOW, 100.0)], NOW, SPAN_S)
    assert points(drawn.line)[0] == (0, HEIGHT)
    assert points(drawn.line)[-1] == (WIDTH, 0)
    assert drawn.peak == "100 B/s"
    assert drawn.text == "rate over the last 5m00s: now 100 B/s, at most 100 B/s"


def test_a_time_in_which_nobody_looked_is_left_empty():
    rates = [(NOW - 100, 1.0), (NOW - 99, 1.0), (NOW - 99 + GAP_S + 1, 1.0), (NOW, 1.0)]
    assert chart(rates, NOW, SPAN_S).line.count("M") == 3


def test_before_the_first_look_there_is_nothing_to_draw():
    assert chart([], NOW, SPAN_S).line == ""

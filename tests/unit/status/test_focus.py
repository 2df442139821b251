"""What keys make of what is looked at."""

from __future__ import annotations

import pytest

from asyncdl.status.focus import Ask, Focus, choices, press
from tests.support.shots import NOW, dataset, error, host, shot

SHOT = shot(
    datasets=(dataset("a"), dataset("b"), dataset("c")), errors=(error(), error(error_class="gated")),
    hosts=(host("h.test", NOW),),
)  # fmt: skip
ROWS = choices(SHOT)
DATASET, ERROR, HOST = ROWS[0], ROWS[3], ROWS[5]


def after(*keys, start=None, rows=ROWS, verbs=("pause", "retry"), reach=5):
    focus = start or Focus()
    for key in keys:
        focus = press(focus, key, rows, verbs=verbs, reach=reach)
    return focus


def test_rows_are_in_the_order_of_the_board():
    assert [row.section for row in ROWS] == ["dataset"] * 3 + ["error"] * 2 + ["host"]


def test_tab_goes_round_the_sections_and_back():
    assert [after(*["tab"] * n).chosen for n in range(1, 5)] == [DATASET, ERROR, HOST, DATASET]
    assert [after(*["shift-tab"] * n).chosen for n in range(1, 5)] == [HOST, ERROR, DATASET, HOST]


def test_arrows_go_along_the_rows_and_stop_at_the_ends():
    assert [after(*["down"] * n).chosen for n in (1, 2, 4, 9)] == [ROWS[0], ROWS[1], ROWS[3], ROWS[5]]
    assert after("end").chosen == ROWS[0]
    assert after("down", "end").chosen == ROWS[-1]
    assert after("down", "end", "home", "up").chosen == ROWS[0]


def test_a_row_stays_chosen_wherever_it_moves():
    moved = tuple(reversed(ROWS))
    assert after("tab", "down", rows=ROWS).chosen == ROWS[1]
    assert after("down", start=Focus(chosen=ROWS[1]), rows=moved).chosen == ROWS[0]


def test_a_chosen_row_that_is_gone_is_as_none():
    gone = Focus(chosen=ERROR)
    assert after("down", start=gone, rows=ROWS[:3]).chosen == ROWS[0]
    assert after("r", start=gone, rows=ROWS[:3]).asked is None
    assert after("down", "tab", "enter", rows=()) == Focus()


def test_enter_opens_and_esc_goes_back_one_step():
    assert after("enter") == Focus(chosen=DATASET)
    opened = after("tab", "enter")
    assert (opened.page, opened.chosen) == ("detail", DATASET)
    assert after("esc", start=opened) == Focus(chosen=DATASET)
    assert after("esc", "esc", start=opened) == Focus()


def test_help_is_one_key_away_from_everywhere_and_back():
    assert after("?").page == "help"
    assert after("tab", "enter", "?").page == "help"
    assert after("?", "?").page == "board"
    assert after("?", "esc").page == "board"


def test_a_page_scrolls_within_its_reach():
    page = after("?")
    assert [after(*["down"] * n, start=page).scroll for n in (1, 5, 9)] == [1, 5, 5]
    assert after("end", "up", start=page).scroll == 4
    assert after("down", "page-up", start=page).scroll == 0
    assert after("up", start=Focus(page="help", scroll=50), reach=5).scroll == 4  # the terminal has grown


def test_q_ends_it_on_every_page():
    assert all(after(*keys, "q").is_over for keys in ([], ["?"], ["tab", "enter"]))


@pytest.mark.parametrize("page", ["board", "detail"])
def test_p_asks_for_a_pause_of_a_dataset_or_a_host(page):
    assert after("p", start=Focus(page=page, chosen=DATASET)).asked == Ask("pause", DATASET)
    assert after("p", start=Focus(page=page, chosen=HOST)).asked == Ask("pause", HOST)
    assert after("p", start=Focus(page=page, chosen=ERROR)).asked is None
    assert "choose a dataset" in after("p").note


def test_r_asks_for_a_retry_of_a_class_of_errors():
    assert after("r", start=Focus(chosen=ERROR)).asked == Ask("retry", ERROR)
    assert after("r", start=Focus(chosen=DATASET)).asked is None
    assert "choose a class" in after("r").note


def test_what_is_switched_off_is_not_asked_for():
    for key, target in (("p", DATASET), ("r", ERROR)):
        focus = after(key, start=Focus(chosen=target), verbs=())
        assert focus.asked is None
        assert "switched off" in focus.note


def test_a_note_and_what_was_asked_are_gone_with_the_next_key():
    focus = after("p", "x", start=Focus(chosen=DATASET, note="old"))
    assert (focus.asked, focus.note) == (None, "")

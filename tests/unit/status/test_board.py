"""The dashboard: never larger than the terminal, no steering character, and what matters is on it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncdl.core.names import is_control
from asyncdl.status import board, pages, terminal
from asyncdl.status.figures import width_of
from asyncdl.status.focus import Focus, choices
from asyncdl.status.snapshot import DiskState
from asyncdl.status.spans import ASCII, UNICODE, plain
from tests.support import hostile_names
from tests.support.shots import NOW, asked, crowded, dataset, engine, error, gate, host, paused, running, shot

HOSTILE = [*hostile_names.ALL, *hostile_names.HARMLESS, "<b>x</b>", "[red]x[/red]", "\x1b[2J" * 1000, "a\nb" * 1400]
TEXTS = st.sampled_from(HOSTILE) | st.text(max_size=300)
PENS = st.sampled_from([UNICODE, ASCII])


def text_of(shown):
    return plain(shown)


def render(one, size=(80, 24), *, focus=None, pen=UNICODE, verbs=("pause", "retry")):
    return text_of(pages.render(one, focus or Focus(), size, pen, verbs))


def line_with(text, word):
    (found,) = [line for line in text.splitlines() if word in line]
    return found


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 240), st.integers(1, 70)),
    names=st.lists(TEXTS, max_size=5),
    text=TEXTS,
    page=st.sampled_from(["board", "detail", "help"]),
    at=st.integers(0, 20),
    pen=PENS,
    scroll=st.integers(0, 40),
)
def test_a_screen_is_exactly_as_large_as_the_terminal_and_steers_nothing(size, names, text, page, at, pen, scroll):
    one = crowded(names, text)
    rows = choices(one)
    focus = Focus(page=page, chosen=rows[at % len(rows)] if rows else None, scroll=scroll, note=text if at % 3 else "")
    lines = pages.render(one, focus, size, pen, ("pause", "retry"))
    assert len(lines) == size[1]
    for line in lines:
        whole = "".join(text for text, _ in line)
        assert width_of(whole) == size[0]
        assert not any(is_control(char) for char in whole)
        assert whole.isascii() or not pen.is_ascii


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_every_section_has_its_place_in_a_usual_terminal_and_in_a_large_one(size):
    text = render(crowded(["a", "b"]), size)
    for heading in ("STAGES", "DATASETS", "ERRORS", "HOSTS", "ENGINES", "RECENT"):
        assert heading in text
    assert ("UNDER WAY" in text) is (size[1] > 24)


def test_the_header_says_what_it_comes_to():
    text = render(shot(disk=DiskState(2**40, 9), errors=(error(),)))
    first, second = text.splitlines()[:2]
    for said in ("running", "1/4 files", "250 B of 1000 B", "ETA 1m15s"):
        assert said in first
    for said in (" 25%", "10 B/s", "1.0 TiB free"):
        assert said in second


def test_what_nobody_knows_is_called_unknown():
    unknown = shot(remaining_bytes=None, datasets=(dataset(remaining_bytes=None),))
    assert "of at least 1000 B  ETA unknown" in render(unknown)
    assert "%" not in render(unknown).splitlines()[1]


def test_the_stage_that_holds_up_the_rest_is_marked():
    jobs = {
        "download": {"available": 9, "running": 1},
        "verify": {"running": 1},
        "tokenize": {"available": 5, "running": 2},
    }
    assert line_with(render(shot(jobs=jobs)), "slowest").startswith("tokenize")
    calm = {"download": {"running": 1}, "tokenize": {"available": 2, "running": 2}}
    assert line_with(render(shot(jobs=calm)), "slowest").startswith("download")
    assert "slowest" not in render(shot(jobs=jobs, engines=()))


def test_what_bounds_it_is_told_to_the_option_that_would_help():
    text = render(shot(engines=(engine(bound="host"),), hosts=(host("huggingface.co", NOW + 42),)))
    assert "try a mirror that is nearer" in " ".join(text.split())
    assert "huggingface.co asked for a pause, 42s left" in text


def test_a_dead_engine_is_shown_dead():
    text = render(shot(engines=(engine(is_alive=False, beat_at=NOW - 99, cores=3.0),)))
    assert "dead, last beat 1m39s ago" in text
    assert "cpu 300%" not in text
    assert "no engine works on this queue" in text


def test_an_engine_tells_what_it_feels():
    text = render(shot(engines=(engine(cores=1.25, rss_bytes=2**28, loop_lag_s=0.0042, n_pool=3),)), (100, 24))
    assert "12/128 slots 1.0 MiB/s beat 3s cpu 125% 256.0 MiB lag 4ms pool 3" in text


def test_a_gate_counts_down_and_its_host_comes_first():
    hosts = (host("a.test"), host("huggingface.co", NOW + 42))
    text = render(shot(hosts=hosts, gates=(gate("huggingface.co", NOW + 42, "resolvers"),)))
    assert "‖ huggingface.co  resolvers closed for 42s  8 requests at once" in text
    assert text.index("huggingface.co  res") < text.index("a.test")


def test_a_host_that_engines_work_with_is_told_with_its_figures_and_its_countdown_is_not_cut_off():
    one = asked("cdn.huggingface.example.org", closed_until=NOW + 42)
    text = render(shot(hosts=(one,)), (100, 24))
    assert "cdn.huggingface.example.org  12 of 16 requests, 1.0 MiB/s, first byte 120 ms, 3 refused" in text
    shut = shot(hosts=(one,), gates=(gate(one.name, NOW + 42, "resolvers"),))
    assert "example.org  resolvers closed for 42s  12 of 16 requests" in render(shut)


def test_what_makes_the_ids_is_told_below_the_stages():
    fast, slow = ("llama-2048", "fastokens 0.3.5"), ("odd-1024", "tokenizers 0.23.3: it splits in its own way")
    assert "tokenized with llama-2048: fastokens 0.3.5\n" in render(shot(backends=(fast,)))
    two = " ".join(render(shot(backends=(fast, slow))).split())
    assert "tokenized with llama-2048: fastokens 0.3.5; odd-1024: tokenizers 0.23.3: it splits in its own way" in two
    assert "tokenized with" not in render(shot())
    assert "group-1" in render(shot(backends=((" ".join(["word"] * 900), "x"),), datasets=(dataset("group-1"),)))


def test_where_all_files_are_of_this_machine_the_header_speaks_of_the_stages():
    jobs = {"verify": {"completed": 2}, "tokenize": {"completed": 1, "running": 1}}
    local = shot(jobs=jobs, known_bytes=0, done_bytes=0, remaining_bytes=0, per_s=0.0)
    first, second = render(local).splitlines()[:2]
    assert first.startswith("▸ running  verify 2/2  tokenize 1/2  ETA unknown")
    assert " 75%" in second
    rows = plain(board.compact(local, 80, UNICODE))
    assert "file" not in rows
    assert rows.count("verify 2/2") == 1


def test_what_a_person_paused_is_marked():
    by_name = shot(paused=(paused("dataset", "HuggingFaceFW/fineweb-2"),))
    by_host = shot(paused=(paused("host", "huggingface.co"),))
    for one in (by_name, by_host):
        assert line_with(render(one), "swe_Latn").startswith("‖")
    assert line_with(render(shot()), "swe_Latn").startswith("▸")
    assert "‖ paused" in line_with(render(shot(paused=(paused("kind", "verify"),))), "verify  ")


def test_a_disk_that_will_not_do_is_told_with_when_it_is_full():
    short = shot(disk=DiskState(100, None), remaining_bytes=750)
    assert "the disk is too small for what is left: full in 10s" in render(short)
    assert "too small" not in render(shot(disk=DiskState(750, None), remaining_bytes=750))


def test_the_chosen_row_is_in_sight_among_thousands_and_reversed():
    many = shot(datasets=tuple(dataset(f"s{n:04}") for n in range(2000)))
    focus = Focus(chosen=choices(many)[1500])
    lines = pages.render(many, focus, (80, 24), UNICODE)
    (chosen,) = [line for line in lines if {style for _, style in line} == {"chosen"}]
    assert "s1500" in text_of([chosen])
    assert "of 2,000" in text_of(lines)


def test_names_are_short_of_their_publisher_before_they_lose_what_tells_them_apart():
    text = render(shot(datasets=tuple(dataset(f"data/{lang}_Latn/train") for lang in ("swe", "nno"))))
    assert "fineweb-2/data/swe_Latn/train " in text
    assert "fineweb-2/data/nno_Latn/train " in text


def test_keys_that_can_do_nothing_are_not_offered():
    assert "retry" not in render(shot(), verbs=()).splitlines()[-1]
    assert "p pause/resume   r retry" in render(shot()).splitlines()[-1]


def test_an_empty_queue_says_how_to_fill_it():
    empty = shot(jobs={}, known_bytes=0, done_bytes=0, remaining_bytes=0, datasets=(), engines=())
    assert "asyncdl enqueue" in render(empty)


@given(
    wanted=st.dictionaries(st.sampled_from(board.PRIORITY), st.integers(1, 40)),
    room=st.integers(-3, 100),
    least=st.integers(1, 4),
)
def test_lines_are_shared_out_whole_and_nobody_gets_more_than_it_wants(wanted, room, least):
    given_ = board.allot(wanted, room, least=least)
    assert sum(given_.values()) <= max(room, 0)
    assert all(0 < n <= wanted[name] for name, n in given_.items())
    if sum(wanted.values()) <= room and all(n >= least for n in wanted.values()):
        assert given_ == wanted


def test_a_dataset_page_says_all_that_is_known_of_it():
    one = shot(
        datasets=(dataset(stages=(("download", "running", 3),), per_s=75.0),), running=(running("x/one.parquet"),),
        paused=(paused("dataset", "HuggingFaceFW/fineweb-2"),),
    )  # fmt: skip
    text = render(one, (80, 40), focus=Focus(page="detail", chosen=choices(one)[0]))
    for said in ("a" * 40, "hub https://huggingface.co/d", "750 B", "75 B/s", "10s", "x/one.parquet", "paused by hand"):
        assert said in text


def test_an_error_page_has_the_whole_text_and_the_hint():
    one = shot(errors=(error(error_class="gated", text="word " * 60 + "end", n_discarded=1),))
    text = render(one, focus=Focus(page="detail", chosen=choices(one)[1]))
    assert text.count("word") == 60
    assert "accept the terms" in text


def test_a_host_page_has_its_gates_and_what_comes_from_it():
    one = shot(hosts=(host("huggingface.co", NOW + 42),), gates=(gate("huggingface.co", NOW + 42, "resolvers"),))
    text = render(one, focus=Focus(page="detail", chosen=choices(one)[1]))
    assert "resolvers: closed at 2026-09-21 14:13:10 UTC, 42s left" in text
    assert "swe_Latn" in text
    assert "just now     no engine works with it" in text


def test_a_host_page_has_what_engines_have_to_do_with_it_just_now():
    one = shot(hosts=(asked("huggingface.co", connections_cap=20),))
    text = render(one, focus=Focus(page="detail", chosen=choices(one)[1]))
    assert "just now     12 of 16 requests, 1.0 MiB/s, first byte 120 ms, 3 refused" in text
    assert "more than 20 at once" in text


def test_a_page_of_what_is_gone_says_so():
    gone = Focus(page="detail", chosen=choices(shot(errors=(error(),)))[1])
    assert "it is not there any more" in render(shot(), focus=gone)


def test_a_page_scrolls_to_its_last_line_and_no_further():
    size = (80, 10)
    far = pages.reach(shot(), Focus(page="help"), size, UNICODE)
    end = render(shot(), size, focus=Focus(page="help", scroll=far))
    assert end == render(shot(), size, focus=Focus(page="help", scroll=far + 50))
    assert end.splitlines()[-2].startswith("UNDER WAY")


def test_the_rows_of_a_run_fit_and_take_no_markup_from_names():
    one = shot(hosts=(host("[b]h[/b]", NOW + 42),), engines=(engine(bound="disk"),))
    text = terminal.text_of(board.compact(one, 80, UNICODE)).plain
    assert all(width_of(line) == 80 for line in text.splitlines())
    assert "bound by disk: requests wait for the disk" in text
    assert "[b]h[/b] asked for a pause, 42s left" in text
    assert "download 1/4  verify 1/1" in text

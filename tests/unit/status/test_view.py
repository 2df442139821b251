"""What people see of a snapshot: in 80 columns, without escapes, with what to do next."""

from __future__ import annotations

import re

import pytest

from asyncdl.core.names import is_control
from asyncdl.core.states import State
from asyncdl.status import view
from asyncdl.status.figures import width_of
from asyncdl.status.snapshot import DiskState
from tests.support import hostile_names
from tests.support.shots import NOW, asked, crowded, dataset, engine, error, host, paused, shot


def test_the_headline_says_state_files_bytes_rate_and_eta():
    assert view.headline(shot()) == "running, 1/4 files, 250 B of 1000 B (25%), 10 B/s, ETA 1m15s"


def test_work_without_a_living_engine_is_waiting():
    assert view.headline(shot(engines=(engine(is_alive=False),), per_s=0)).startswith("waiting, ")


def test_bytes_that_nobody_knows_are_not_called_all_there():
    none_known = shot(known_bytes=0, done_bytes=0)
    assert "size unknown" in view.headline(none_known)
    assert "100%" not in view.headline(none_known)


def test_a_finished_queue_is_done_and_has_no_eta():
    done = shot(jobs={"download": {"completed": 4}}, done_bytes=1000, remaining_bytes=0, per_s=0)
    assert view.headline(done) == "done, 4/4 files, 1000 B of 1000 B (100%)"


def test_an_empty_queue_says_how_to_fill_it():
    empty = shot(jobs={}, known_bytes=0, done_bytes=0, remaining_bytes=0, datasets=(), engines=())
    assert "asyncdl enqueue" in view.plain(empty)


def test_the_line_for_a_log_names_the_later_stages():
    assert view.line(shot()).endswith("ETA 1m15s, verify 1/1")


LOCAL = {"known_bytes": 0, "done_bytes": 0, "remaining_bytes": 0, "per_s": 0.0}


def test_where_all_files_are_of_this_machine_the_headline_speaks_of_the_stages_once():
    done = shot(jobs={"verify": {"completed": 2}, "tokenize": {"completed": 2}}, **LOCAL)
    assert view.headline(done) == view.line(done) == "done, verify 2/2, tokenize 2/2"
    given_up = shot(jobs={"download": {"cancelled": 3}, "verify": {"completed": 1, "discarded": 1}}, **LOCAL)
    assert view.headline(given_up) == "done, verify 1/2, 1 discarded"
    assert view.headline(shot(jobs={}, datasets=(), **LOCAL)) == "empty"


def test_a_host_that_engines_work_with_is_told_with_its_figures():
    text = view.plain(shot(hosts=(asked("huggingface.co"), host("a.test"))))
    assert "  huggingface.co: 12 of 16 requests, 1.0 MiB/s, first byte 120 ms, 3 refused\n" in text
    assert "a.test" not in text


def test_what_nobody_knows_of_a_host_is_not_told():
    text = view.plain(shot(hosts=(asked("h.test", n_open=0, n_allowed=1, first_byte_s=None, n_refused=0),)))
    assert "  h.test: 0 of 1 request, 1.0 MiB/s\n" in text


def test_of_very_many_hosts_the_rest_is_counted_and_every_pause_is_told():
    many = (*(asked(f"h{n:03}.test") for n in range(100)), asked("z.test", closed_until=NOW + 42))
    text = view.plain(shot(hosts=many))
    assert text.count("first byte") == view.MAX_HOSTS
    assert f"and {101 - view.MAX_HOSTS} more hosts: see status --json" in text
    assert "z.test asked for a pause, 42s left" in text


def test_hosts_that_asked_for_a_pause_come_first_and_then_those_that_engines_work_with():
    rows = (host("a"), asked("b"), host("c", NOW + 1), asked("d", closed_until=NOW - 1))
    assert [row.name for row in view.hosts_in_order(shot(hosts=rows))] == ["c", "b", "d", "a"]


def test_what_makes_the_ids_of_each_recipe_is_told():
    text = view.plain(shot(backends=(("llama-2048", "fastokens 0.3.5"), ("x-9", "tokenizers 0.23.3: no\x1b[2Jne"))))
    assert "tokenized with\n  llama-2048: fastokens 0.3.5\n  x-9: tokenizers 0.23.3: no\\x1b[2Jne\n" in text
    assert "tokenized with" not in view.plain(shot())


@pytest.mark.parametrize(
    "subset", ["data/swe_Latn/train", "x/" * 90 + "y", "データ/" * 30 + "訓練", "e\u0301" * 100, "", "a\x1b[2Jb\u202e"]
)
def test_plain_text_fits_80_columns_whatever_the_names(subset):
    crowded = shot(
        datasets=(dataset(subset, n_files=1_000_000, n_files_done=999_999), dataset("b", name="n" * 120)),
        errors=(error(path=subset or "p", text="word " * 60, n_discarded=3), error(error_class="unknown_class")),
        engines=(engine(bound="cpu"), engine(is_alive=False, beat_at=NOW - 99), engine(bound="word " * 40 + "\x1b[2J")),
        hosts=(host("h" * 200, NOW + 1e6), asked("a\x1b[2Jb", closed_until=NOW + 5, n_open=10**9, per_s=1e30)),
        backends=(("r" * 200, "word " * 40 + "\x1b[2J"),),
        jobs={"download": {"available": 10**9, "running": 128, "completed": 10**9, "discarded": 10**6}},
    )
    text = view.plain(crowded)
    assert max(width_of(line) for line in text.splitlines()) <= 80
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)


def test_an_error_is_told_with_its_next_try_an_example_and_a_hint():
    text = view.plain(shot(errors=(error(), error(error_class="gated", n=2, n_discarded=2, next_retry_at=None))))
    assert "412 x download http_503: next try in 12s" in text
    assert "2 x download gated: 2 discarded" in text
    assert "hint: accept the terms" in text


def test_rows_of_one_dataset_stand_together_and_trouble_comes_first():
    rows = (
        dataset("a", name="done/one", state=State.COMPLETED),
        dataset("b", name="busy/one", state=State.COMPLETED),
        dataset("c", name="busy/one", state=State.RUNNING),
    )
    cells, more = view.dataset_cells(shot(datasets=rows))
    assert [(cell.group[:4], cell.title) for cell in cells] == [("busy", "c"), ("busy", "b"), ("done", "a")]
    assert more == ""


def test_of_very_many_subsets_the_rest_is_counted():
    cells, more = view.dataset_cells(shot(datasets=tuple(dataset(f"s{n:04}") for n in range(2000))))
    assert len(cells) == view.MAX_DATASETS
    assert more.startswith(f"and {2000 - view.MAX_DATASETS:,} more subsets")


def test_a_dead_engine_is_called_dead():
    assert "node-7 pid 77: dead, last beat 1m39s ago" in view.plain(
        shot(engines=(engine(is_alive=False, beat_at=NOW - 99),))
    )


def test_an_engine_is_told_with_what_bounds_it_and_the_option_that_would_help():
    text = view.plain(shot(engines=(engine(bound="slots"), engine(bound="max-rate"))))
    assert "bound by slots: every slot is taken; raise --workers" in text
    assert "bound by max-rate: --max-rate is reached; raise --max-rate" in text


def test_of_an_engine_that_nothing_known_bounds_nothing_is_said():
    assert "bound" not in view.plain(shot()) + view.line(shot())


def test_what_bounds_a_dead_engine_is_of_no_interest():
    dead = shot(engines=(engine(bound="slots", is_alive=False),))
    assert "slots" not in view.plain(dead) + view.line(dead)


def test_a_word_of_a_newer_version_is_shown_as_it_is():
    assert "bound by moon-phase\n" in view.plain(shot(engines=(engine(bound="moon-phase"),)))


def test_the_line_for_a_log_says_once_what_bounds_the_engines():
    two = (engine(bound="slots"), engine(bound="slots"))
    assert view.line(shot(engines=two)).endswith("verify 1/1, bound by slots")


def test_a_host_that_asked_for_a_pause_is_told_until_it_is_over():
    hosts = (host("a.test"), host("b.test", NOW - 1), host("huggingface.co", NOW + 42))
    text = view.plain(shot(hosts=hosts))
    assert "huggingface.co asked for a pause, 42s left" in text
    assert "a.test" not in text
    assert "b.test" not in text


def test_an_engine_tells_what_it_feels_where_it_knows():
    assert "uses" not in view.plain(shot())
    told = view.plain(shot(engines=(engine(cores=1.25, rss_bytes=2**28, loop_lag_s=0.0042, n_pool=3),)))
    assert "uses 1.25 cores, 256.0 MiB; its loop is 4 ms late, 3 processes busy" in told


def test_what_a_person_paused_is_told():
    assert "paused by hand: dataset org/a" in view.plain(shot(paused=(paused("dataset", "org/a"),)))


def test_the_disk_is_told_with_what_it_falls_short_by():
    assert "  1.0 KiB free, 7 inodes\n" in view.plain(shot(disk=DiskState(1024, 7)))
    assert "  250 B free; 500 B too few for what is left\n" in view.plain(shot(disk=DiskState(250, None)))
    assert "disk" not in view.plain(shot())


def test_the_kind_of_work_that_holds_up_the_rest_is_marked():
    jobs = {"download": {"available": 9, "running": 1}, "tokenize": {"available": 5, "running": 2}}
    assert re.findall(r"(\w+) .*< slowest", view.plain(shot(jobs=jobs))) == ["tokenize"]


@pytest.mark.parametrize("text", ["x", "\x1b[2J" * 1000, "word\n" * 900, "\u202e" * 50, "<script>" * 200], ids=range(5))
def test_of_a_hostile_corpus_nothing_steers_the_plain_text_or_the_json(text):
    one = crowded([*hostile_names.ALL, *hostile_names.HARMLESS], text)
    told = view.plain(one)
    assert max(width_of(line) for line in told.splitlines()) <= 80
    assert not any(is_control(char) for char in told.replace("\n", ""))
    texts = [one.to_json()]
    for found in texts:  # a queue of what is still to be looked at
        if isinstance(found, dict | list):
            texts += found.values() if isinstance(found, dict) else found
    shown = [found for found in texts if isinstance(found, str)]
    assert len(shown) > 1000
    assert not any(is_control(char) for found in shown for char in found)

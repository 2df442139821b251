"""What people see of a snapshot: in 80 columns, without escapes, with what to do next."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from asyncdl.core.states import State
from asyncdl.status import terminal, view
from asyncdl.status.figures import width_of
from asyncdl.status.snapshot import DatasetState, EngineState, Snapshot
from asyncdl.store.reader import ErrorRow, HostRow

NOW = 1_790_000_000.0


def dataset(subset="data/swe_Latn/train", *, name="HuggingFaceFW/fineweb-2", state=State.RUNNING, **other):
    values = {"revision": "a" * 40, "n_files": 4, "n_files_done": 1, "known_bytes": 1000, "done_bytes": 250}
    values |= {"n_discarded": 0} | other
    return DatasetState(name=name, subset=subset, state=state, **values)


def engine(*, is_alive=True, beat_at=NOW - 3, bound=""):
    return EngineState(
        host="node-7", pid=77, version="0.1.0", workers=128, started_at=NOW - 60, beat_at=beat_at, per_s=2**20,
        n_requests=12, bound=bound, is_alive=is_alive,
    )  # fmt: skip


def error(**other):
    values = {"kind": "download", "error_class": "http_503", "n": 412, "last_at": NOW, "next_retry_at": NOW + 12}
    values |= {"n_discarded": 0, "text": "HTTP 503", "path": "data/swe_Latn/train/000_00000.parquet"} | other
    return ErrorRow(**values)


def host(name, closed_until=None):
    return HostRow(name, 8, None, NOW - 60, closed_until)


def shot(**other):
    values = {
        "jobs": {"download": {"available": 2, "running": 1, "completed": 1}, "verify": {"completed": 1}},
        "known_bytes": 1000, "done_bytes": 250, "remaining_bytes": 750, "per_s": 10.0, "datasets": (dataset(),),
        "errors": (), "engines": (engine(),), "hosts": (),
    } | other  # fmt: skip
    return Snapshot(at=NOW, **values)


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


@pytest.mark.parametrize(
    "subset", ["data/swe_Latn/train", "x/" * 90 + "y", "データ/" * 30 + "訓練", "e\u0301" * 100, "", "a\x1b[2Jb\u202e"]
)
def test_plain_text_fits_80_columns_whatever_the_names(subset):
    crowded = shot(
        datasets=(dataset(subset, n_files=1_000_000, n_files_done=999_999), dataset("b", name="n" * 120)),
        errors=(error(path=subset or "p", text="word " * 60, n_discarded=3), error(error_class="unknown_class")),
        engines=(engine(bound="cpu"), engine(is_alive=False, beat_at=NOW - 99), engine(bound="word " * 40 + "\x1b[2J")),
        hosts=(host("h" * 200, NOW + 1e6), host("a\x1b[2Jb", NOW + 5)),
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


@pytest.mark.parametrize("form", [terminal.compact, terminal.full])
def test_the_terminal_forms_say_what_bounds_and_who_asked_for_a_pause(form):
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    console.print(form(shot(engines=(engine(bound="disk"),), hosts=(host("[b]h[/b]", NOW + 42),))))
    text = console.file.getvalue()
    assert "bound by disk: requests wait for the disk" in text
    assert "[b]h[/b] asked for a pause, 42s left" in text


@pytest.mark.parametrize("form", [terminal.compact, terminal.full])
def test_the_terminal_forms_say_the_same_and_take_no_markup_from_names(form):
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    console.print(form(shot(datasets=(dataset("[red]x[/red]"),), errors=(error(text="[bold]"),))))
    text = console.file.getvalue()
    assert view.headline(shot()) in text
    if form is terminal.full:
        assert "[red]x[/red]" in text
        assert "[bold]" in text

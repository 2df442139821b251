"""The files of a log: none too large, no line split or lost between two, the oldest removed."""

from __future__ import annotations

import os

import orjson
import pytest

from asyncdl.cli import log_files
from asyncdl.cli.event_log import EventLog
from asyncdl.cli.events import event_line, lines
from asyncdl.cli.log_files import LogFile, logs_in, part_of, remove_old, run_of
from asyncdl.core.events import JobEnded, Stopping
from tests.support.hostile_names import CONTROLS, NOT_UNICODE, STEERING

LINE = b"x" * 99 + b"\n"


def write(file, n_lines, line=LINE):
    for _ in range(n_lines):
        os.write(file.take(len(line)), line)


def test_no_file_is_larger_than_the_bound_and_no_line_is_split_or_lost(tmp_path):
    file = LogFile(tmp_path, max_bytes=250)
    write(file, 7)
    file.close()
    written = logs_in(tmp_path)
    assert [path.stat().st_size for path in written] == [200, 200, 200, 100]
    assert [part_of(path)[1] for path in written] == [0, 1, 2, 3]
    assert {run_of(path) for path in written} == {run_of(file.path)}
    assert written[-1] == file.path


def test_a_line_that_is_longer_than_a_file_may_be_has_one_of_its_own(tmp_path):
    file = LogFile(tmp_path, max_bytes=50)
    write(file, 2)
    file.close()
    assert [path.read_bytes() for path in logs_in(tmp_path)] == [LINE, LINE]


def test_what_was_written_longest_ago_is_removed_and_other_files_never(tmp_path):
    (tmp_path / "bug-1.txt").write_text("kept")
    for n in range(5):
        path = tmp_path / f"run-2026112{n}T000000Z.jsonl"
        path.write_bytes(LINE)
        os.utime(path, (1000 - n, 1000 - n))  # the names run the other way
    keep = tmp_path / "run-20261124T000000Z.jsonl"
    remove_old(tmp_path, keep=keep, kept_bytes=200)
    assert sorted(path.name[-17:-6] for path in logs_in(tmp_path)) == ["120T000000Z", "121T000000Z", "124T000000Z"]
    remove_old(tmp_path, keep=keep, kept_files=1)
    assert [path.name[-17:-6] for path in logs_in(tmp_path)] == ["124T000000Z", "120T000000Z"]
    assert (tmp_path / "bug-1.txt").exists()


def test_a_long_run_keeps_its_last_files_within_the_bound_and_one_more(tmp_path):
    file = LogFile(tmp_path, max_bytes=100, kept_bytes=300)
    write(file, 20)
    file.close()
    assert [part_of(path)[1] for path in logs_in(tmp_path)] == [16, 17, 18, 19]


def test_a_log_that_cannot_go_on_in_another_file_goes_on_in_its_own(tmp_path):
    file = LogFile(tmp_path, max_bytes=100)
    (tmp_path / f"{run_of(file.path)}.1.jsonl").mkdir()
    write(file, 3)
    file.close()
    assert file.path.read_bytes() == LINE * 3


def told(folder, *, follow=False):
    return [orjson.loads(line) for line in lines(folder, follow=follow)]


def test_events_reads_the_run_that_was_written_to_last_through_all_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files.LogFile.__init__, "__kwdefaults__", {"max_bytes": 1000, "kept_bytes": 10**9})
    old = EventLog(tmp_path, on_stdout=False)
    old.note("started", version="old")
    old.close()
    os.utime(old.path, (1, 1))
    log = EventLog(tmp_path, on_stdout=False)
    for n in range(200):
        log.note("test", n=n)
    log.close()
    folder = log.path.parent
    assert len(logs_in(folder)) > 9  # .10 must not come before .9
    assert [event["n"] for event in told(folder)] == list(range(200))


def test_following_survives_rotation_removal_and_a_new_run_and_waits_for_the_rest_of_a_line(tmp_path, monkeypatch):
    first = LogFile(tmp_path, max_bytes=100)
    waits = []
    new = []

    def wait(_s):
        """Each time the follower has read all, the next thing happens."""
        step = len(waits)
        waits.append(step)
        if step == 0:
            write(first, 3, b'{"n": 1}\n')
        elif step == 1:
            write(first, 1, b"x" * 100 + b"\n")  # rotates
            os.write(first.take(0), b'{"n": ')
        elif step == 2:
            os.write(first.take(0), b"2}\n")
        elif step == 3:
            first.path.unlink()
            new.append(LogFile(tmp_path))
            write(new[0], 1, b'{"n": 3}\n')
        elif step == 4:
            write(new[0], 1, b'{"n": 4}\n')
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("asyncdl.cli.events.time.sleep", wait)
    followed = []
    with pytest.raises(KeyboardInterrupt):
        followed.extend(line for line in iter_into(followed, lines(tmp_path, follow=True)))
    for file in (first, *new):
        file.close()
    assert followed == [b'{"n": 1}'] * 3 + [b"x" * 100, b'{"n": 2}', b'{"n": 3}', b'{"n": 4}']


def iter_into(kept, found):
    for line in found:
        kept.append(line)
    yield from ()


def test_following_leaves_out_what_older_runs_told_but_not_what_they_tell_now(tmp_path, monkeypatch):
    older = tmp_path / "run-20261101T000000Z.jsonl"
    older.write_bytes(b'{"n": 0}\n')
    os.utime(older, (1, 1))
    (tmp_path / "run-20261102T000000Z.jsonl").write_bytes(b'{"n": 1}\n')

    def wait(_s):
        if older.stat().st_size > 20:
            raise KeyboardInterrupt
        with older.open("ab") as file:
            file.write(b'{"n": 2222222222222222}\n')

    monkeypatch.setattr("asyncdl.cli.events.time.sleep", wait)
    kept = []
    with pytest.raises(KeyboardInterrupt):
        list(iter_into(kept, lines(tmp_path, follow=True)))
    assert kept == [b'{"n": 1}', b'{"n": 2222222222222222}']


@pytest.mark.parametrize("name", [*CONTROLS, *STEERING, *NOT_UNICODE])
def test_a_line_for_a_person_is_one_line_whatever_a_name_holds(name):
    ended = {
        "event": "job_ended", "at": 0, "kind": "download", "dataset": name, "path": name, "attempt": 1, "outcome": "retry",
        "error_class": "timeout", "message": name, "size_bytes": None, "run_at": 90.0,
    }  # fmt: skip
    for event in (ended, {"event": name, "at": name, "x": name}, {"event": "job_ended", "at": None}, {}):
        line = event_line(event)
        assert "\n" not in line
        assert line.isprintable() or not any(ord(char) < 32 or char in "\x1b\u202e\u2028" for char in line)


def test_a_line_for_a_person_says_what_happened():
    ended = JobEnded(kind="verify", dataset="org/a", path="x", attempt=2, outcome="completed", size_bytes=2048)
    event = {"event": "job_ended", "at": 0} | {name: getattr(ended, name) for name in ended.__dataclass_fields__}
    assert event_line(event) == "00:00:00 job ended: verify completed, org/a x, 2.0 KiB"
    failed = event | {"outcome": "retry", "error_class": "timeout", "message": "slow", "run_at": 90.0}
    assert (
        event_line(failed) == "00:00:00 job ended: verify retry, org/a x, attempt 2: timeout: slow, next try in 1m30s"
    )
    assert event_line({"event": "stopping", "at": 0, "how": "drain"}) == "00:00:00 stopping: how drain"


def test_each_event_of_the_engine_can_be_told_to_a_person(tmp_path):
    log = EventLog(tmp_path, on_stdout=False)
    log.tell(Stopping(how="drain"))
    log.close()
    assert [event_line(event)[9:] for event in told(log.path.parent)] == ["stopping: how drain"]

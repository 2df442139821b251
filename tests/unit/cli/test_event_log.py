"""The log of a run: one JSON object per line, no secret in it, and no harm when it cannot be written."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time

import orjson
import pytest

from asyncdl.cli.event_log import EventLog, LogHandler
from asyncdl.cli.say import Say
from asyncdl.core.events import JobEnded, Stopping
from asyncdl.errors import ConfigError

ENDED = JobEnded(
    kind="download", dataset="org/name", path="a", attempt=1, outcome="retry", error_class="url_expired",
    message="GET http://h/a?Signature=abcdef&x=1 hf_abcdefghijk \x1b[2J",
)  # fmt: skip


def lines_of(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_events_are_objects_with_their_name_and_time_and_without_secrets(tmp_path):
    log = EventLog(tmp_path, on_stdout=False)
    log.tell(ENDED)
    log.tell(Stopping(how="drain"))
    log.close()
    ended, stopping = lines_of(log.path)
    assert (ended["event"], ended["kind"], ended["attempt"]) == ("job_ended", "download", 1)
    assert ended["at"] > 1.7e9
    assert stopping["event"] == "stopping"
    text = log.path.read_text()
    assert "abcdef" not in text
    assert "\\u001b" not in text


def test_the_same_lines_go_to_stdout_where_asked_for(tmp_path, capfdbinary):
    log = EventLog(tmp_path, on_stdout=True)
    log.tell(ENDED)
    log.close()
    assert capfdbinary.readouterr().out == log.path.read_bytes()


@pytest.mark.parametrize(("level", "on_stderr"), [("info", False), ("debug", True)])
def test_a_bug_is_logged_with_its_traceback_and_stderr_sees_it_at_debug_only(tmp_path, capsys, level, on_stderr):
    log = EventLog(tmp_path, on_stdout=False)
    try:
        raise KeyError("hf_abcdefghijk \x1b[2J")
    except KeyError:
        record = logging.LogRecord("asyncdl", logging.ERROR, "", 0, "a bug", (), sys.exc_info())
    LogHandler(log, Say(level)).handle(record)
    log.close()
    (told,) = lines_of(log.path)
    assert told["text"].startswith("a bug\nTraceback")
    err = capsys.readouterr().err
    assert ("Traceback" in err) is on_stderr
    assert "abcdefghijk" not in told["text"] + err
    assert "\x1b" not in told["text"] + err


def test_two_runs_of_one_second_have_two_files(tmp_path):
    logs = [EventLog(tmp_path, on_stdout=False) for _ in range(2)]
    for log in logs:
        log.close()
    assert len({log.path for log in logs}) == 2


def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path):
    log = EventLog(tmp_path, on_stdout=False)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._file.fileno())
    os.close(full)
    log.tell(ENDED)
    log.tell(ENDED)
    log.close()
    log.close()
    assert log.failed.errno == errno.ENOSPC


@pytest.mark.parametrize("place", ["/dev/full", "a pipe without a reader"])
def test_stdout_that_fails_ends_neither_the_file_nor_the_run(tmp_path, monkeypatch, place):
    if place == "/dev/full":
        fd = os.open(place, os.O_WRONLY)
    else:
        theirs, fd = os.pipe()
        os.close(theirs)
    with open(fd, "wb") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        log = EventLog(tmp_path, on_stdout=True)
        log.tell(ENDED)
        log.tell(ENDED)
        log.close()
        assert os.readlink(f"/proc/self/fd/{fd}") == os.devnull
    assert len(lines_of(log.path)) == 2
    assert log.failed is None


def test_a_reader_that_pauses_stops_neither_the_file_nor_the_end(tmp_path, monkeypatch):
    theirs, ours = os.pipe()
    with open(theirs, "rb"), open(ours, "wb") as full:
        monkeypatch.setattr(sys, "stdout", full)
        log = EventLog(tmp_path, on_stdout=True)
        monkeypatch.undo()
        thread = log._to_stdout._thread
        n = 3000  # of some 250 bytes: ten times what a pipe holds
        for _ in range(n):
            log.tell(ENDED)
        began = time.monotonic()
        log.close(0.2)
        assert time.monotonic() - began < 30.0
        *told, last = lines_of(log.path)
        assert len(told) == n
        assert (last["event"], last["where"]) == ("dropped", "stdout")
        assert 0 < last["n_lines"] < n
        os.read(theirs, 1 << 20)  # room for the line that its thread still holds
        thread.join(30.0)
        assert not thread.is_alive()


def test_a_data_dir_that_cannot_be_written_to_is_a_config_error(tmp_path):
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(ConfigError) as caught:
        EventLog(tmp_path, on_stdout=False)
    assert "--data-dir" in caught.value.hint

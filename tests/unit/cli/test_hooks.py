"""Hooks: real programs are started for what they are for, get the event on stdin, and never harm the run."""

from __future__ import annotations

import asyncio
import sys

import orjson
import pytest

from asyncdl.cli.hooks import Commands, Hooks, words_of
from asyncdl.cli.say import Say
from asyncdl.core.events import JobEnded
from asyncdl.errors import ConfigError, UsageError

KEEP = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read())"


def discarded(path="x"):
    return JobEnded(
        kind="download", dataset="org/a", path=path, attempt=1, outcome="discarded", error_class="not_found",
        message="gone",
    )  # fmt: skip


def kept(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.fixture
def files(tmp_path):
    return tmp_path / "complete", tmp_path / "error"


@pytest.fixture
def hooks(files):
    complete, error = ((sys.executable, "-c", KEEP, str(file)) for file in files)
    return Hooks(Commands(complete, error), Say("error"))


@pytest.mark.parametrize(
    ("exit_code", "n_complete", "n_error"),
    [(0, 1, 0), (1, 0, 1), (3, 0, 1), (4, 0, 1), (5, 0, 1), (6, 0, 1), (7, 0, 0), (130, 0, 0), (143, 0, 0)],
)
async def test_one_is_started_for_a_good_end_and_the_other_for_a_bad_one(hooks, files, exit_code, n_complete, n_error):
    await hooks.ended(exit_code, reason="empty", status={"jobs": {}})
    assert [len(kept(file)) for file in files] == [n_complete, n_error]
    for event in kept(files[0]) + kept(files[1]):
        assert (event["event"], event["exit_code"], event["status"]) == ("ended", exit_code, {"jobs": {}})


async def test_errors_are_told_once_while_it_goes_on_and_once_in_the_end_however_many_there_are(hooks, files):
    for n in range(50):
        hooks.tell(discarded(f"x{n}"))
    hooks.tell(JobEnded(kind="verify", dataset="a", path="b", attempt=1, outcome="retry", error_class="timeout"))
    await hooks.ended(1)
    first, last = kept(files[1])
    assert (first["event"], first["path"], first["error_class"]) == ("job_ended", "x0", "not_found")
    assert last["event"] == "ended"


async def test_what_is_tried_again_is_no_error_yet(hooks, files):
    hooks.tell(JobEnded(kind="verify", dataset="a", path="b", attempt=1, outcome="retry", error_class="timeout"))
    await hooks.ended(7)
    assert kept(files[1]) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("/nowhere/at-all",), "could not be started"),
        ((sys.executable, "-c", "raise SystemExit(9)"), "ended with 9"),
        (("a\0b",), "could not be started"),
    ],
)
async def test_its_failure_is_told_and_is_none_of_the_run(capfd, words, said):
    await Hooks(Commands(on_complete=words), Say()).ended(0)
    assert capfd.readouterr().err.startswith(f"note: --on-complete {said}")


async def test_one_that_takes_too_long_is_ended_with_all_that_it_started(capfd, tmp_path):
    pids = tmp_path / "pids"
    work = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        f"open({str(pids)!r} + '.new', 'w').write(str(child.pid))\nos.rename({str(pids)!r} + '.new', {str(pids)!r})\n"
        "child.wait()\n"
    )
    hooks = Hooks(Commands(on_complete=(sys.executable, "-c", work)), Say(), timeout_s=3.0)
    await hooks.ended(0)
    assert "took longer than 3 s and was ended" in capfd.readouterr().err
    stat = f"/proc/{pids.read_text()}/stat"
    while True:  # init, or whoever adopts it, takes a moment
        try:
            with open(stat) as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        await asyncio.to_thread(lambda: None)


async def test_a_stop_in_the_midst_ends_it(tmp_path):
    begun = tmp_path / "begun"
    work = f"import time; open({str(begun)!r}, 'w').close(); time.sleep(1000)"
    hooks = Hooks(Commands(on_complete=(sys.executable, "-c", work)), Say())
    task = asyncio.create_task(hooks.ended(0))
    while not begun.exists():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_that_does_not_read_its_stdin_is_no_failure(capfd):
    status = {"x": "y" * 1_000_000}
    await Hooks(Commands(on_complete=(sys.executable, "-c", "pass")), Say()).ended(0, status=status)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (ConfigError("the data dir cannot be written to"), 3, "the data dir cannot be written to"),
        (ZeroDivisionError("by token=abcdefgh"), 70, "a bug in asyncdl: ZeroDivisionError: by token=***"),
    ],
)
async def test_whatever_the_run_fails_by_is_told_and_goes_on(hooks, files, error, exit_code, said):
    with pytest.raises(type(error)):
        async with hooks.told_of_failure():
            raise error
    (event,) = kept(files[1])
    assert (event["exit_code"], event["reason"], event["message"]) == (exit_code, "failed", said)


@pytest.mark.parametrize("error", [UsageError("--web no"), asyncio.CancelledError(), KeyboardInterrupt()])
async def test_a_wrong_command_line_and_a_stop_tell_nobody(hooks, files, error):
    with pytest.raises(type(error)):
        async with hooks.told_of_failure():
            raise error
    assert kept(files[1]) == []


def test_a_command_is_split_as_a_shell_does_and_no_shell_reads_it():
    assert words_of("--on-error", "sh -c 'a; b' $HOME") == ("sh", "-c", "a; b", "$HOME")
    assert words_of("--on-error", None) == ()
    for text in ("", " ", "'"):
        with pytest.raises(UsageError):
            words_of("--on-error", text)

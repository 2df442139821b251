"""`asyncdl events`, `run --on-complete` and `--on-error` as a shell has them."""

from __future__ import annotations

import signal
import socket
import sys

import orjson

from asyncdl.demo.faults import Fault

DANISH = ("enqueue", "fineweb-2", "--lang", "dan_Latn")
FAST = ("--workers", "8", "--processes", "1")
KEEP = "import os, sys; open({file!r}, 'ab').write(sys.stdin.buffer.read()); print(sorted(os.environ))"


def keeping(shell, name):
    """A command that keeps what it gets, and prints the names of its variables."""
    (shell.folder / "keep.py").write_text(KEEP.replace("{file!r}", "sys.argv[1]"))
    return f"{sys.executable} keep.py '{name}'"


def kept(shell, name):
    path = shell.folder / name
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


async def test_a_run_that_is_done_tells_its_hook_and_gives_it_no_secret(shell, hub):
    await shell(*DANISH)
    secrets = {"HF_TOKEN": "hf_" + "s" * 30, "AWS_ACCESS_KEY_ID": "AKIASSSS", "AWS_SECRET_ACCESS_KEY": "s" * 20}
    options = ("--on-complete", keeping(shell, "all done"), "--on-error", keeping(shell, "wrong"))
    run = await shell("run", *FAST, "--json", *options, **secrets, HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
    assert run.code == 0
    (event,) = kept(shell, "all done")
    assert (event["event"], event["reason"], event["exit_code"]) == ("ended", "empty", 0)
    assert event["status"]["jobs"]["download"]["completed"] > 0
    assert kept(shell, "wrong") == []
    assert [orjson.loads(line)["event"] for line in run.out.splitlines()][-1] == "ended"  # stdout stays data
    assert "'PATH'" in run.err
    assert all(f"'{name}" not in run.err for name in ("HF_TOKEN", "AWS_SECRET", "AWS_ACCESS"))


async def test_discarded_jobs_are_told_twice_and_the_exit_code_is_that_of_the_run(shell, hub):
    await shell(*DANISH)
    hub.set_faults([Fault("missing", origin="hub")])
    run = await shell("run", *FAST, "--on-error", keeping(shell, "wrong"), "--on-complete", "/nowhere")
    assert run.code == 1
    first, last = kept(shell, "wrong")
    assert (first["event"], first["outcome"], first["error_class"]) == ("job_ended", "discarded", "not_found")
    assert (last["event"], last["exit_code"]) == ("ended", 1)
    assert "nowhere" not in run.err


async def test_a_run_that_cannot_begin_tells_its_hook_why(shell, hub):
    await shell(*DANISH)
    (shell.folder / "datasets").mkdir()
    (shell.folder / "datasets" / ".asyncdl-queue").mkdir()
    run = await shell("run", *FAST, "--on-error", keeping(shell, "wrong"))
    assert run.code == 3
    (event,) = kept(shell, "wrong")
    assert (event["reason"], event["exit_code"]) == ("failed", 3)
    assert "cannot be written to" in event["message"]


async def test_a_run_without_a_queue_tells_its_hook(shell):
    run = await shell("run", *FAST, "--on-error", keeping(shell, "wrong"))
    (event,) = kept(shell, "wrong")
    assert (run.code, event["exit_code"], "there is no queue" in event["message"]) == (3, 3, True)


async def test_a_run_whose_page_cannot_be_served_tells_its_hook(shell, hub):
    await shell(*DANISH)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = await shell("run", *FAST, "--web", address, "--on-error", keeping(shell, "wrong"))
    (event,) = kept(shell, "wrong")
    assert (run.code, event["exit_code"], "cannot be listened on" in event["message"]) == (3, 3, True)


async def test_a_hook_that_fails_changes_nothing(shell, hub):
    await shell(*DANISH)
    run = await shell("run", *FAST, "--on-complete", "/nowhere/at-all")
    assert run.code == 0
    assert "note: --on-complete could not be started" in run.err


async def test_events_are_those_of_the_last_run_and_as_json_the_lines_of_its_log(shell, hub):
    await shell(*DANISH)
    none = await shell("events")
    assert (none.code, none.out) == (3, "")
    assert "there is no log of a run" in none.err
    run = await shell("run", *FAST, "--json")
    as_json = await shell("events", "--json")
    assert as_json.out == run.out
    told = (await shell("events")).out.splitlines()
    assert len(told) == len(run.out.splitlines())
    assert "started: asyncdl" in told[0]
    assert told[-1].endswith("ended: empty, exit code 0")
    assert sum("job ended: download completed" in line for line in told) > 0


async def test_following_tells_of_a_run_that_begins_later(shell, hub):
    await shell(*DANISH)
    process = await shell.start("events", "--follow", "--json")
    run = await shell("run", *FAST)
    assert run.code == 0
    events = []
    while not events or events[-1]["event"] != "ended":
        events.append(orjson.loads(await process.stdout.readline()))
    assert events[0]["event"] == "started"
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130

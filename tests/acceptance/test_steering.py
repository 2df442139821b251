"""The verbs that steer, as a shell runs them: what they say, what they change, and that they ask before they destroy."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import signal
import sys

import apsw
import orjson
import pytest

from asyncdl.demo.faults import Fault
from asyncdl.store.migrate import open_writer
from tests.acceptance.conftest import read_terminal
from tests.integration.store.test_store_versions import FILLED, of_version

DANISH = ("enqueue", "fineweb-2", "--lang", "dan_Latn")
NAME = "HuggingFaceFW/fineweb-2"
FAST = ("--workers", "8", "--processes", "1")
HOSTILE = "GET http://h/\x1b[2J?Signature=abcdefgh hf_abcdefghijklmnop <b>\n\u202e 404"


def rows(shell, statement):
    connection = apsw.Connection(str(shell.folder / "queue.sqlite"), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def states(shell):
    return dict(rows(shell, "SELECT state, count(*) FROM job GROUP BY state"))


@pytest.fixture
def queue(shell):
    """Two datasets: one discarded, one waiting for its next try, two that nobody tried."""
    connection = open_writer(shell.folder / "queue.sqlite")
    for id_, name in ((1, "org/a"), (2, "org/b")):
        connection.execute(
            "INSERT INTO dataset VALUES (?, ?, '', 'data', 'url', ?, ?, 'text', 1.0)",
            (id_, name, f"http://127.0.0.{id_}:9", f"raw/{id_}"),
        )
        connection.execute(
            "INSERT INTO job (dataset_id, kind, path, size_bytes, run_at, created_at)"
            " VALUES (?, 'download', 'data/0', 100, 1, 1), (?, 'download', 'data/1', 100, 1, 1)",
            (id_, id_),
        )
    connection.execute("UPDATE job SET state = 'running', owner = 'x', lease_until = 1, attempt = 3 WHERE id = 1")
    connection.execute(
        "UPDATE job SET state = 'discarded', owner = NULL, lease_until = NULL, ended_at = 5,"
        " error_class = 'not_found', error_text = ? WHERE id = 1",
        (HOSTILE,),
    )
    connection.execute("UPDATE job SET run_at = 9e9, error_class = 'timeout', error_text = 'slow' WHERE id = 2")
    connection.close()


async def test_a_run_with_nothing_left_but_what_is_paused_ends_with_7_and_says_so(shell, hub):
    await shell(*DANISH)
    n_files = states(shell)["available"]
    paused = await shell("pause", "fineweb-2")
    assert (paused.code, paused.out) == (0, f"paused: dataset {NAME}\nto go on: asyncdl resume\n")
    run = await shell("run", *FAST)
    assert run.code == 7
    assert f"unfinished: {n_files} jobs are paused; to go on: asyncdl resume" in run.err
    assert states(shell) == {"available": n_files}
    assert not (shell.folder / "datasets" / "raw").exists()
    assert (await shell("resume")).out.startswith(f"goes on: dataset {NAME}\n")
    assert (await shell("run", *FAST)).code == 0
    assert set(states(shell)) == {"completed"}


async def test_a_kind_that_is_paused_lets_the_others_be_done(shell, hub):
    await shell(*DANISH)
    assert (await shell("pause", "verify")).code == 0
    run = await shell("run", *FAST)
    assert run.code == 7
    assert set(rows(shell, "SELECT DISTINCT kind, state FROM job")) == {
        ("download", "completed"),
        ("verify", "available"),
    }
    await shell("resume", "verify")
    assert (await shell("run", *FAST)).code == 0


async def test_forever_waits_for_what_is_paused_and_takes_it_up_when_it_is_resumed(shell, hub):
    await shell(*DANISH)
    await shell("pause")
    process = await shell.start("run", *FAST, "--forever", "--json")
    assert orjson.loads(await process.stdout.readline())["event"] == "started"
    await shell("resume")
    n_left = 2 * sum(states(shell).values())  # each file has a download and a verify job
    while n_left:
        event = orjson.loads(await process.stdout.readline())
        n_left -= event.get("outcome") == "completed"
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 0


async def test_what_is_paused_is_named_and_counts_as_no_try_in_the_far_future(shell, queue):
    await shell("pause", "a")
    status = (await shell("status", "--json")).json()
    assert [(row["what"], row["name"]) for row in status["paused"]] == [("dataset", "org/a")]
    assert {row["class"]: row["next_retry_at"] for row in status["errors"]} == {"not_found": None, "timeout": None}
    assert "paused: slow" in (await shell("errors", "timeout")).out
    again = await shell("pause", "org/a")
    assert again.out.startswith("paused already: dataset org/a\n")
    assert (await shell("resume", "org/b")).out == "was not paused: dataset org/b\n"
    assert (await shell("resume", "org/a")).out.startswith("goes on: dataset org/a\n")
    assert (await shell("resume")).out == "nothing is paused\n"


async def test_a_dataset_and_a_host_of_one_name_are_told_apart_and_resumed_together(shell):
    connection = open_writer(shell.folder / "queue.sqlite")
    for name, subset in (("a.test", ""), ("org/a", "s")):
        connection.execute(
            "INSERT INTO dataset (name, revision, subset, source, origin, local_root, text_field, created_at)"
            " VALUES (?, '', ?, 'url', 'http://a.test', 'raw', '', 1)",
            (name, subset),
        )
    connection.close()
    assert (await shell("pause", "a.test")).out.startswith("paused: dataset a.test\n")
    assert (await shell("pause", "host:A.test")).out.startswith("paused: host a.test\n")
    assert (await shell("pause", "dataset:a")).out.startswith("paused: dataset org/a\n")
    both = await shell("resume", "a.test")
    assert both.out.splitlines()[:2] == ["goes on: dataset a.test", "goes on: host a.test"]
    await shell("pause", "a.test", "host:a.test", "kind:verify")
    assert (await shell("resume", "host:a.test")).out.startswith("goes on: host a.test\n")
    assert rows(shell, "SELECT what, name FROM pause") == [
        ("dataset", "a.test"),
        ("dataset", "org/a"),
        ("kind", "verify"),
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["pause", "host:127.0.0.9"], "there is no host in this queue called 127.0.0.9"),
        (["pause", "dataset:127.0.0.1"], "there is no dataset in this queue called 127.0.0.1"),
        (["resume", "kind:org/a"], "there is no kind org/a"),
        (["pause", "downlod"], "did you mean download?"),
        (["pause", "org/aa"], "did you mean org/a"),
        (["pause", "127.0.0.3"], "did you mean 127.0.0."),
        (["resume", "nobody"], "there are 127.0.0.1, 127.0.0.2, build"),
        (["cancel", "orga"], "did you mean org/a"),
        (["retry", "--dataset", "org/c"], "did you mean org/"),
        (["retry", "--class", "timout"], "did you mean timeout?"),
        (["errors", "not_fund"], "did you mean not_found?"),
        (["retry"], "--failed is all that was discarded"),
        (["retry", "x"], "'x' is not a valid integer"),
        (["cancel"], "say what is to be cancelled"),
        (["cancel", "org/a", "3"], "cancel one after the other"),
        (["config", "shwo"], "did you mean show?"),
        (["completion", "bsh"], "'bsh' is not one of"),
        (["retry", "--faild"], "Did you mean '--failed'"),
        (["run", "--on-error", "'"], "a quote is open"),
        (["run", "--on-complete", ""], "--on-complete needs a command"),
    ],
)
async def test_a_word_that_stands_for_nothing_ends_with_2_and_the_nearest_ones(shell, queue, args, said):
    before = rows(shell, "SELECT * FROM job")
    result = await shell(*args)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert rows(shell, "SELECT * FROM job") == before


VERBS = (["errors"], ["retry", "--failed"], ["pause"], ["resume"], ["cancel", "x"])


@pytest.mark.parametrize("args", VERBS)
async def test_no_verb_that_steers_makes_a_queue(shell, args):
    result = await shell(*args)
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("error: there is no queue at queue.sqlite\n")
    assert list(shell.folder.iterdir()) == []


async def test_errors_are_grouped_and_each_job_of_a_class_is_one_line(shell, queue):
    groups = await shell("errors")
    assert groups.out.startswith("1 x download not_found: 1 discarded\n  data/0: GET http://h/\\x1b[2J")
    jobs = await shell("errors", "not_found")
    assert len(jobs.out.splitlines()) == 1
    assert jobs.out.split()[:3] == ["1", "download", "org/a"]
    assert "attempt 3, discarded" in jobs.out
    assert (await shell("errors", "dns")).out == "no job has the error dns\n"


async def test_errors_as_json_are_lines_that_say_all_there_is(shell, queue):
    groups = [orjson.loads(line) for line in (await shell("errors", "--json")).out.splitlines()]
    assert {(row["class"], row["count"], row["discarded"]) for row in groups} == {
        ("not_found", 1, 1),
        ("timeout", 1, 0),
    }
    (job,) = [orjson.loads(line) for line in (await shell("errors", "timeout", "--json")).out.splitlines()]
    assert (job["id"], job["state"], job["next_retry_at"], job["message"]) == (2, "available", 9e9, "slow")


@pytest.mark.parametrize(
    "args", [["errors"], ["errors", "--json"], ["errors", "not_found"], ["errors", "not_found", "--json"]]
)
async def test_what_a_server_said_steers_no_terminal_and_holds_no_secret(shell, queue, args):
    out = (await shell(*args)).out
    assert not {"\x1b", "\u202e"} & set(out)
    assert "abcdefgh" not in out
    assert "404" in out


async def test_a_retry_says_how_many_and_a_dry_run_changes_nothing(shell, queue):
    before = rows(shell, "SELECT * FROM job")
    dry = await shell("retry", "--failed", "--dry-run")
    assert dry.out == "would be tried again: 1 job discarded\na dry run: nothing was changed\n"
    assert rows(shell, "SELECT * FROM job") == before
    both = await shell("retry", "--dataset", "a")
    assert both.out.startswith("tried again: 1 job discarded, 1 job waiting for the next try\n")
    assert rows(shell, "SELECT count(*) FROM job WHERE state = 'available' AND run_at < 8e9") == [(4,)]
    assert (await shell("retry", "1", "2", "3")).out == "nothing to try again\n"


async def test_a_retry_does_not_say_of_paused_jobs_that_they_are_tried_again(shell, queue):
    await shell("pause", "org/a")
    paused = "paused, so tried again after asyncdl resume: 2 jobs\n"
    dry = await shell("retry", "--dataset", "a", "--dry-run")
    assert dry.out == f"{paused}a dry run: nothing was changed\n"
    assert "2 jobs (1 paused, 1 discarded; 200 B to fetch)" in (await shell("cancel", "a", "--dry-run")).out
    assert (await shell("retry", "--dataset", "a")).out == paused
    assert (await shell("resume")).code == 0
    assert rows(shell, "SELECT count(*) FROM job WHERE state = 'available' AND run_at < 8e9") == [(4,)]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["retry", "--failed", "--dry-run"], "would be tried again: 1 job discarded"),
        (["cancel", "org/name", "--dry-run"], "would be cancelled: 2 jobs"),
        (["cancel", "org/name"], "--yes does it without asking"),
    ],
)
async def test_what_only_counts_migrates_no_queue(shell, args, said):
    path = shell.folder / "queue.sqlite"
    failed = (
        "UPDATE job SET state = 'running', owner = 'me', lease_until = 9 WHERE id = 1;"
        "UPDATE job SET state = 'discarded', owner = NULL, lease_until = NULL, ended_at = 9, error_class = 'dns' WHERE id = 1;"
    )
    before = of_version(2, path, FILLED + failed).read_bytes()
    result = await shell(*args)
    assert said in result.out + result.err
    assert path.read_bytes() == before
    assert [one.name for one in shell.folder.glob("queue.*")] == [path.name]


async def test_what_was_discarded_is_done_after_a_retry(shell, hub):
    await shell(*DANISH)
    hub.set_faults([Fault("missing", origin="hub", path="data/dan_Latn/test/*")])
    run = await shell("run", *FAST)
    n_discarded = states(shell)["discarded"]
    assert run.code == 1
    assert "asyncdl retry --failed has another try" in run.err
    hub.set_faults([])
    assert (await shell("retry", "--failed")).out.startswith(f"tried again: {n_discarded} job")
    assert (await shell("run", *FAST)).code == 0


async def test_a_cancel_asks_for_yes_where_nobody_can_be_asked(shell, queue):
    before = rows(shell, "SELECT * FROM job")
    refused = await shell("cancel", "org/a")
    assert (refused.code, refused.out) == (2, "")
    assert "this would cancel 2 jobs (1 waiting, 1 discarded; 200 B to fetch) of org/a" in refused.err
    dry = await shell("cancel", "org/a", "--dry-run")
    assert dry.out.startswith("would be cancelled: 2 jobs")
    assert rows(shell, "SELECT * FROM job") == before
    done = await shell("cancel", "org/a", "--yes")
    assert done.out.startswith(
        "cancelled: 2 jobs (1 waiting, 1 discarded; 200 B to fetch); nothing on disk was removed"
    )
    assert states(shell) == {"available": 2, "cancelled": 2}
    assert (await shell("cancel", "org/a", "--yes")).out == "nothing to cancel: none of that is unfinished\n"
    assert (await shell("cancel", "3", "--yes")).out.startswith("cancelled: 1 job (1 waiting;")


@pytest.mark.parametrize(("answer", "n_cancelled"), [(b"y\n", 2), (b"n\n", 0), (b"\n", 0)])
async def test_on_a_terminal_a_cancel_is_done_only_after_a_yes(shell, queue, answer, n_cancelled):
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "asyncdl", "cancel", "org/a",
        cwd=shell.folder, env=shell.env, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = bytearray()
    while block := await asyncio.to_thread(read_terminal, ours):
        shown += block
        if b"?" in shown and answer:
            os.write(ours, answer)
            answer = b""
    os.close(ours)
    assert await process.wait() == (0 if n_cancelled else 130)
    assert b"cancel 2 jobs (1 waiting, 1 discarded; 200 B to fetch) of org/a?" in shown
    assert states(shell).get("cancelled", 0) == n_cancelled


async def test_settings_are_shown_with_their_sources_and_secrets_as_set(shell):
    (shell.folder / "asyncdl.toml").write_text("workers = 7\n")
    secrets = {"HF_TOKEN": "hf_" + "s" * 30, "AWS_ACCESS_KEY_ID": "AKIASSSSSSSS", "AWS_SECRET_ACCESS_KEY": "ssssssss"}
    shown = await shell("config", "show", "--sources", "--queue", "q.sqlite", **secrets)
    lines = {line.split()[0]: line for line in shown.out.splitlines()}
    assert lines["queue"].split()[2:] == ["q.sqlite", "--queue"]
    assert lines["workers"].split()[2:] == ["7", "asyncdl.toml", "line", "1"]
    assert lines["token"].split()[2:] == ["(set)", "HF_TOKEN"]
    assert lines["aws_secret"].split()[2:] == ["(set)", "AWS_SECRET_ACCESS_KEY"]
    assert lines["r2_secret"].split()[2:] == ["(not", "set)", "default"]
    as_json = (await shell("config", "show", "--json", **secrets)).json()["settings"]
    assert as_json["workers"] == {"value": 7, "source": "asyncdl.toml line 1"}
    assert as_json["token"] == {"value": "(set)", "source": "HF_TOKEN"}
    plain = await shell("config", "show", **secrets)
    assert "HF_TOKEN" not in plain.out
    assert all(text not in str(as_json) + shown.out + plain.out for text in ("sss", "SSS"))


def on_path(shell):
    """A folder for PATH in which `asyncdl` is this one."""
    program = shell.folder / "bin" / "asyncdl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m asyncdl "$@"\n')
    program.chmod(0o755)
    return shell.env | {"PATH": f"{program.parent}:{shell.env['PATH']}"}


async def asked_of(shell, name, *args):
    """What the shell `name` prints when it is started so; its stderr must stay silent."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    process = await asyncio.create_subprocess_exec(
        name,
        *args,
        cwd=shell.folder,
        env=on_path(shell),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out.decode().splitlines()


def written(shell, script):
    (shell.folder / "script").write_text(script.out)
    return script.code


async def test_bash_completes_verbs_and_options_with_what_completion_prints(shell):
    assert written(shell, await shell("completion", "bash")) == 0
    asked = (
        "source ./script\ncomplete -p asyncdl\n"
        'for line in "asyncdl re" "asyncdl retry --fa"; do\n'
        "  COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()\n"
        '  _asyncdl_completion asyncdl "${COMP_WORDS[COMP_CWORD]}"; echo "${COMPREPLY[@]}"\ndone\n'
    )
    tied, *completed = await asked_of(shell, "bash", "--norc", "-c", asked)
    assert tied.split()[-1] == "asyncdl"
    assert completed == ["retry resume", "--failed"]


async def test_fish_completes_verbs_with_what_completion_prints(shell):
    assert written(shell, await shell("completion", "fish")) == 0
    asked = 'source ./script; complete -C "asyncdl re"; complete -C "asyncdl retry --fa"'
    completed = await asked_of(shell, "fish", "--no-config", "-c", asked)
    assert [line.split("\t")[0] for line in completed] == ["resume", "retry", "--failed"]


async def test_zsh_takes_what_completion_prints_for_the_completion_of_asyncdl(shell):
    assert written(shell, await shell("completion", "zsh")) == 0
    asked = "autoload -U compinit; compinit -u -D; source ./script; print $_comps[asyncdl]"
    assert await asked_of(shell, "zsh", "-f", "-c", asked) == ["_asyncdl_completion"]

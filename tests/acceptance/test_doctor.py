"""`asyncdl doctor`: each thing that is wrong is found and says what to do next; what is fine is called fine."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys

import apsw
import pytest

from asyncdl.errors import ConfigError
from asyncdl.store.migrate import open_writer
from asyncdl.store.reader import Reader

DANISH = ("enqueue", "fineweb-2", "--lang", "dan_Latn")
FAST = ("--workers", "8", "--processes", "1")
WEEK_S = 7 * 86400


@pytest.fixture
def queue(shell):
    path = shell.folder / "queue.sqlite"
    open_writer(path).close()
    return path


def change(path, *statements):
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


ONE_JOB = (
    "INSERT INTO dataset VALUES (1, 'org/a', '', '', 'url', 'http://a.test', 'raw/a', 'text', 1.0)",
    "INSERT INTO job (dataset_id, kind, path, size_bytes, run_at, created_at) VALUES (1, 'download', 'x', 10, 1, 1)",
)


async def diagnosed(shell, *args, **env):
    """(exit code, what is not fine as {check: message}); everything not fine must say what is next."""
    result = await shell("doctor", "--json", *args, **env)
    assert result.err == ""
    record = result.json()
    assert record["exit_code"] == result.code
    wrong = [row for row in record["findings"] if row["level"] != "fine"]
    assert all(row["next"] for row in wrong)
    return result.code, {row["check"]: row["message"] for row in wrong}


async def test_a_sound_queue_after_a_run_is_fine_and_is_left_as_it_is(shell, hub):
    await shell(*DANISH)
    await shell("run", *FAST)
    before = (shell.folder / "queue.sqlite").read_bytes()
    assert await diagnosed(shell) == (0, {})
    told = await shell("doctor")
    assert told.out.endswith("\nall is fine\n")
    assert (shell.folder / "queue.sqlite").read_bytes() == before


async def test_versions_of_what_it_stands_on_are_told(shell, queue):
    record = (await shell("doctor", "--json")).json()
    told = {row["check"]: row["message"] for row in record["findings"]}
    assert told["sqlite"].startswith(f"SQLite {apsw.sqlite_lib_version()}")
    assert f"Python {sys.version.split()[0]}" in told["asyncdl"]
    assert {"aiohttp", "uvloop", "pyarrow", "tokenizers", "fastokens", "apsw"} <= told.keys()


async def test_without_a_queue_it_says_how_to_make_one_and_makes_none(shell):
    code, wrong = await diagnosed(shell)
    assert (code, list(wrong)) == (1, ["queue"])
    assert list(shell.folder.iterdir()) == []


async def test_a_file_that_is_no_queue_is_broken(shell):
    (shell.folder / "queue.sqlite").write_bytes(b"not a database, just text that is long enough" * 50)
    code, wrong = await diagnosed(shell)
    assert code == 3
    assert "is not a queue" in wrong["queue"]


async def test_damage_within_the_file_is_found(shell, queue):
    change(queue, *ONE_JOB, "PRAGMA foreign_keys = OFF", "DELETE FROM dataset")
    code, wrong = await diagnosed(shell)
    assert (code, wrong["integrity"]) == (3, "1 fault, the first: a row of job belongs to none of dataset")


async def test_a_spoiled_page_is_found_and_is_no_bug_of_ours(shell, queue):
    change(queue, *ONE_JOB, "PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = (
        apsw.Connection(str(queue)).execute("SELECT rootpage FROM sqlite_schema WHERE name = 'counter'").fetchone()
    )
    with queue.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(os.urandom(4096))
    code, wrong = await diagnosed(shell)
    assert code == 3
    assert "is malformed" in wrong["queue"]
    status = await shell("status")
    assert (status.code, status.out) == (3, "")
    assert "is malformed\nhint: restore it from a backup" in status.err


async def test_counters_that_differ_from_the_jobs_are_found(shell, queue):
    change(queue, *ONE_JOB, "UPDATE counter SET size_bytes = 7")
    code, wrong = await diagnosed(shell)
    assert (code, wrong["counters"]) == (3, "1 counter says otherwise than the jobs, the first of download available")


async def test_an_engine_that_was_killed_is_told(shell, hub):
    await shell(*DANISH)
    process = await shell.start("run", *FAST, "--forever", "--json")
    await process.stdout.readline()
    while not apsw.Connection(str(shell.folder / "queue.sqlite")).execute("SELECT 1 FROM engine").fetchall():
        await process.stdout.readline()
    code, wrong = await diagnosed(shell)
    assert "engine" not in wrong
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    code, wrong = await diagnosed(shell)
    assert code == 1
    assert f"pid {process.pid} died" in wrong["engine"]


async def test_partials_of_long_ago_that_no_job_will_finish_are_counted(shell, queue):
    change(queue, *ONE_JOB)
    raw = shell.folder / "datasets" / "raw" / "a"
    raw.mkdir(parents=True)
    for name, age_s in (("x.partial", 2 * WEEK_S), ("y.partial", 2 * WEEK_S), ("z.partial", 60)):
        (raw / name).write_bytes(b"1")
        at = (raw / name).stat().st_mtime - age_s
        os.utime(raw / name, (at, at))
    code, wrong = await diagnosed(shell)
    assert code == 1
    assert wrong["leftovers"].startswith("1 partial older than a week, of no job")


async def test_work_that_does_not_fit_a_pause_and_written_bugs_want_a_look(shell, queue):
    change(queue, *ONE_JOB, f"UPDATE job SET size_bytes = {1 << 60}", "INSERT INTO pause VALUES ('kind', 'verify', 1)")
    logs = shell.folder / "datasets" / "logs"
    logs.mkdir(parents=True)
    (logs / "bug-1.txt").write_text("x")
    code, wrong = await diagnosed(shell)
    assert (code, set(wrong)) == (1, {"room", "paused", "bugs"})


async def test_a_page_of_the_jobs_that_is_spoiled_is_broken_and_no_bug(shell, queue):
    """Every question that meets it says so, those that stream their rows too."""
    change(
        queue, ONE_JOB[0],
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
        " INSERT INTO job (dataset_id, kind, path, size_bytes, run_at, created_at)"
        " SELECT 1, 'download', 'a-rather-long-name-' || i, 10, 1, 1 FROM n",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    )  # fmt: skip
    connection = apsw.Connection(str(queue))
    ((size,),) = connection.execute("PRAGMA page_size")
    leaves = [n for (n,) in connection.execute("SELECT pageno FROM dbstat WHERE name = 'job' AND pagetype = 'leaf'")]
    connection.close()
    with queue.open("r+b") as file:
        for page in leaves[2::3]:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
    partial = shell.folder / "datasets" / "raw" / "a" / "x.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x")
    os.utime(partial, (1, 1))
    code, wrong = await diagnosed(shell)
    assert code == 3
    assert {"leftovers"} <= set(wrong) <= {"queue", "integrity", "room", "leftovers"}
    with Reader(queue) as reader:
        for streamed in (reader.files, reader.open_downloads):
            with pytest.raises(ConfigError, match="is not a queue"):
                list(streamed())


async def test_credentials_are_named_and_never_shown(shell, queue):
    secrets = {"HF_TOKEN": "hf_" + "s" * 30, "AWS_SECRET_ACCESS_KEY": "s" * 20, "AWS_PROFILE": "mine"}
    result = await shell("doctor", **secrets)
    assert (result.code, result.err) == (1, "")
    assert "set, from HF_TOKEN" in result.out
    assert "AWS_SECRET_ACCESS_KEY, AWS_PROFILE" in result.out
    assert "half a pair of AWS keys is set" in result.out
    assert "sss" not in result.out


async def test_too_few_open_files_for_the_workers_want_a_look(shell, queue):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "asyncdl", "doctor", cwd=shell.folder, env=shell.env, stdout=asyncio.subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)),
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 1
    assert b"200 files may be open, 128 workers want some 384" in out

"""`asyncdl run` against the demo hub: the whole job, its signals, its exit codes, and that nothing is ever lost."""

from __future__ import annotations

import asyncio
import hashlib
import re
import signal
import time
from pathlib import Path

import orjson
import pytest

from asyncdl.core.model import Artifact, Dataset
from asyncdl.core.names import safe_path
from asyncdl.demo import corpus_dir
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from asyncdl.store.enqueue import Enqueue
from asyncdl.store.migrate import open_writer
from asyncdl.store.writer import Writer

DANISH = ("enqueue", "fineweb-2", "--lang", "dan_Latn", "--tokenizer", "demo/tokenizer", "--max-seq-length", "128")
DANISH_FILES = sorted(path.relative_to(corpus_dir()) for path in corpus_dir().glob("data/dan_Latn/**/*.parquet"))
FAST = ("--workers", "8", "--processes", "1")


def raw(shell, org_name="HuggingFaceFW--fineweb-2"):
    return shell.folder / "datasets" / "raw" / org_name


def events(text):
    return [orjson.loads(line) for line in text.splitlines()]


async def next_event(process, wanted):
    """Read events from a running `run --json` until one matches all of `wanted`."""
    while line := await process.stdout.readline():
        event = orjson.loads(line)
        if wanted.items() <= event.items():
            return event
    raise AssertionError(f"the run ended without {wanted}")


async def test_a_name_becomes_verified_files_and_shards(shell, hub):
    await shell(*DANISH)
    result = await shell("run", *FAST)
    assert (result.code, result.out) == (0, "")
    for path in DANISH_FILES:
        assert (raw(shell) / path).read_bytes() == (corpus_dir() / path).read_bytes()
    files = orjson.loads((shell.folder / "datasets" / "download_manifest.json").read_bytes())["files"]
    assert [file["path"] for file in files] == [str(path) for path in DANISH_FILES]
    assert {file["state"] for file in files} == {"completed"}
    tokenized = shell.folder / "datasets" / "tokenized" / "demo--tokenizer-128"
    manifest = orjson.loads((tokenized / "manifest.json").read_bytes())
    assert manifest["max_seq_length"] == 128
    for split in manifest["splits"].values():
        assert len(list((tokenized / split["path"]).glob("shard_*.parquet"))) == split["shards"] > 0
    status = (await shell("status", "--json")).json()
    assert status["jobs"] == {kind: {"completed": len(DANISH_FILES)} for kind in ("download", "verify", "tokenize")}
    assert {row["state"] for row in status["datasets"]} == {"completed"}
    assert status["engines"] == []


async def test_people_see_what_is_begun_what_became_of_it_and_where_it_is(shell, hub):
    await shell(*DANISH)
    first = await shell("run", *FAST)
    assert first.err.startswith(f"starting: {len(DANISH_FILES)} jobs, ")
    assert f"done, {len(DANISH_FILES)}/{len(DANISH_FILES)} files" in first.err
    assert "shards are in datasets/tokenized" in first.err
    again = await shell("run", *FAST)
    assert (again.code, again.err.splitlines()[0]) == (0, "nothing is left to do")


async def test_events_are_lines_of_json_on_stdout_and_in_the_log(shell, hub):
    await shell(*DANISH)
    result = await shell("run", *FAST, "--json")
    told = events(result.out)
    assert (told[0]["event"], told[-1]["event"]) == ("started", "ended")
    assert (told[-1]["exit_code"], told[-1]["reason"], told[-1]["status"]["schema_version"]) == (0, "empty", 1)
    ended = [event for event in told if event["event"] == "job_ended"]
    assert {event["kind"] for event in ended} == {"download", "verify", "tokenize"}
    assert all(event["at"] > 1.7e9 for event in told)
    (log,) = (shell.folder / "datasets" / "logs").glob("run-*.jsonl")
    assert log.read_text() == result.out


async def test_the_log_level_decides_how_much_is_said(shell, hub):
    await shell(*DANISH)
    result = await shell("run", *FAST, "--log-level", "error")
    assert (result.code, result.out, result.err) == (0, "", "")


async def test_only_the_kinds_asked_for_are_worked_on(shell, hub):
    await shell(*DANISH)
    result = await shell("run", *FAST, "--only", "download")
    assert result.code == 0
    jobs = (await shell("status", "--json")).json()["jobs"]
    assert jobs == {"download": {"completed": len(DANISH_FILES)}, "verify": {"available": len(DANISH_FILES)}}


async def test_files_that_are_there_are_adopted_and_not_fetched_again(shell, hub):
    for path in DANISH_FILES:
        (raw(shell) / path).parent.mkdir(parents=True, exist_ok=True)
        (raw(shell) / path).write_bytes((corpus_dir() / path).read_bytes())
    await shell(*DANISH)
    result = await shell("run", *FAST)
    assert result.code == 0
    assert hub.totals["cdn"].n_requests == 0


async def test_a_file_that_is_gone_is_discarded_and_the_exit_code_is_1(shell):
    gone = Fault("missing", origin="hub", path="data/dan_Latn/test/*")
    async with DemoHub(faults=[gone]) as hub:
        shell.env["HF_ENDPOINT"] = hub.endpoint
        await shell(*DANISH)
        result = await shell("run", *FAST)
        status = await shell("status")
    assert result.code == 1
    assert "1 job discarded: asyncdl errors says why" in result.err
    assert status.code == 0
    assert "1 x download not_found: 1 discarded" in status.out
    assert "hint: it was removed" in status.out


async def test_content_that_is_refused_makes_the_exit_code_6(shell):
    files = {"data/good.parquet": corpus_dir() / DANISH_FILES[0], "data/bad.parquet": b"PAR1 but not really PAR1"}
    async with DemoHub([Repo("org/mixed", files)]) as hub:
        shell.env["HF_ENDPOINT"] = hub.endpoint
        await shell("enqueue", "org/mixed")
        result = await shell("run", *FAST)
    assert result.code == 6
    files = orjson.loads((shell.folder / "datasets" / "download_manifest.json").read_bytes())["files"]
    assert {file["path"]: file["state"] for file in files}["data/good.parquet"] == "completed"


async def test_without_room_for_the_queue_nothing_is_begun_and_the_exit_code_is_4(shell, hub):
    queue = shell.folder / "queue.sqlite"
    writer = Writer(open_writer(queue), queue)
    dataset = Dataset(
        name="org/huge", revision="a" * 40, subset="", source="hub", origin=f"{hub.endpoint}/x",
        local_root=safe_path("raw/org--huge"), text_field="",
    )  # fmt: skip
    enqueue = Enqueue(writer, dataset, now=time.time())
    await enqueue.stage([("", Artifact(safe_path("a.bin"), 2**59, None), True)])
    await enqueue.finish(priority=5, recipe=None)
    writer.close()
    n_before = len(hub.requests)
    result = await shell("run", *FAST)
    assert result.code == 4
    assert "no room" in result.err
    assert len(hub.requests) == n_before


BIG = {f"{name}.bin": GeneratedFile(24 << 20, seed) for seed, name in enumerate("ab")}
BIG_BYTES = sum(content.size_bytes for content in BIG.values())
SLOW = Fault("slow", origin="cdn", bytes_per_s=8e6)
SEGMENT_BYTES = 8 << 20  # what one request asks for, as the docs promise


async def start_slowly(shell, hub):
    """A run over two connections that has bytes on their way and would take some three seconds."""
    shell.env["HF_ENDPOINT"] = hub.endpoint
    await shell("enqueue", "org/big")
    process = await shell.start("run", "--workers", "2", "--processes", "1", "--json")
    while hub.totals["cdn"].body_bytes < 1 << 20:
        await asyncio.sleep(0)
    return process


def assert_big_files(shell):
    for name, content in BIG.items():
        with (raw(shell, "org--big") / name).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == content.sha256


@pytest.mark.parametrize(
    ("signals", "code", "said", "lost_bytes"),
    [
        ([signal.SIGINT], 7, r"draining \d jobs?; again to stop at once", 0),
        ([signal.SIGTERM], 7, r"draining \d jobs?; again to stop at once", 0),
        ([signal.SIGINT, signal.SIGINT], 130, "stopping; nothing is lost", 2 * SEGMENT_BYTES),
        ([signal.SIGTERM, signal.SIGTERM], 143, "stopping; nothing is lost", 2 * SEGMENT_BYTES),
        ([signal.SIGKILL], -9, "", 2 * SEGMENT_BYTES),
    ],
)
async def test_however_a_run_ends_the_next_one_goes_on_from_there(shell, signals, code, said, lost_bytes):
    async with DemoHub([Repo("org/big", BIG)], faults=[SLOW]) as hub:
        process = await start_slowly(shell, hub)
        for n, signum in enumerate(signals, 1):
            process.send_signal(signum)
            if n < len(signals):
                await next_event(process, {"event": "stopping", "how": "drain"})
        ended = await shell.result(process)
        hub.set_faults([])
        again = await shell("run", *FAST)
        sent_bytes = hub.totals["cdn"].body_bytes
    assert ended.code == code
    assert re.search(said, ended.err)
    assert "Traceback" not in ended.err
    if code > 0:
        assert "left, nothing is lost; go on with: asyncdl run" in ended.err
    assert again.code == 0
    assert_big_files(shell)
    assert sent_bytes <= BIG_BYTES + lost_bytes


async def test_a_signal_drains_a_run_whose_stderr_nobody_reads(shell):
    async with DemoHub([Repo("org/big", BIG)], faults=[SLOW]) as hub:
        process = await start_slowly(shell, hub)
        process.stderr._transport.close()
        process.send_signal(signal.SIGTERM)
        stopping = await next_event(process, {"event": "stopping"})
        out, _ = await process.communicate()
    assert stopping["how"] == "drain"
    assert (process.returncode, orjson.loads(out.splitlines()[-1])["exit_code"]) == (7, 7)


async def test_a_forever_run_waits_for_new_jobs_and_no_child_inherits_the_token(shell):
    token = "hf_" + "t" * 34
    async with DemoHub(token=token) as hub:
        shell.env |= {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": token}
        await shell("enqueue", "fineweb-2", "--lang", "dan_Latn", "--max-files", "1")
        process = await shell.start("run", *FAST, "--forever", "--json")
        await next_event(process, {"event": "job_ended", "kind": "verify"})
        children = children_of(process.pid)
        await shell("enqueue", "fineweb-2", "--lang", "dan_Latn", "--split", "train")
        await next_event(process, {"event": "job_ended", "kind": "verify"})
        process.send_signal(signal.SIGTERM)
        result = await shell.result(process)
    assert result.code == 0
    assert children
    assert all(token not in environment for environment in children)
    assert any("HF_ENDPOINT" in environment for environment in children)
    (log,) = (shell.folder / "datasets" / "logs").glob("run-*.jsonl")
    assert token not in log.read_text()


def children_of(pid):
    """The environments of the processes that `pid` started."""
    ids = [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return [Path(f"/proc/{child}/environ").read_text() for child in ids]


async def test_a_piped_run_has_no_escapes(shell, hub):
    await shell(*DANISH)
    result = await shell("run", *FAST, FORCE_COLOR="1")
    assert not re.search("[\x00-\x09\x0b-\x1f]", result.out + result.err)


async def test_a_terminal_sees_the_progress_redrawn_and_the_summary_stays(shell, hub):
    hub.set_faults([Fault("slow", origin="cdn", bytes_per_s=4000)])
    await shell(*DANISH)
    text = await shell.on_terminal("run", *FAST, TERM="xterm")
    assert "\x1b[" in text
    assert f"running  0/{len(DANISH_FILES)} files" in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert f"done, {len(DANISH_FILES)}/{len(DANISH_FILES)} files" in text.rpartition("\x1b[")[2]


@pytest.mark.slow  # the first line comes after five seconds
async def test_a_piped_run_says_a_line_now_and_then(shell, hub):
    hub.set_faults([Fault("slow", origin="cdn", bytes_per_s=500)])
    await shell(*DANISH)
    result = await shell("run", *FAST)
    assert re.search(rf"^running, \d/{len(DANISH_FILES)} files, ", result.err, re.MULTILINE)


async def test_a_reader_of_events_that_goes_away_does_not_end_the_run(shell, hub):
    await shell(*DANISH)
    process = await shell.start("run", *FAST, "--json")
    process._transport.get_pipe_transport(1).close()
    result = await shell.result(process)
    assert result.code == 0
    assert (await shell("status", "--json")).json()["jobs"]["tokenize"] == {"completed": len(DANISH_FILES)}


async def test_the_demo_tells_the_whole_story_and_cleans_up(shell):
    result = await shell("demo", TMPDIR=str(shell.folder))
    assert (result.code, list(shell.folder.iterdir())) == (0, [])
    for said in ("asyncdl enqueue fineweb-2 --lang swe_Latn", "bodies with a flipped bit", "completed", "begins:"):
        assert said in result.out


async def test_the_demo_keeps_its_folder_where_asked_to_and_its_commands_go_on_from_there(shell):
    result = await shell("demo", "--keep", "here")
    assert result.code == 0
    assert (await shell("status", "--queue", "here/queue.sqlite", "--json")).json()["eta_s"] == 0
    assert list((shell.folder / "here" / "datasets" / "tokenized").rglob("shard_*.parquet"))


async def test_the_demo_has_a_place_of_its_own(shell):
    result = await shell("demo", "--queue", "q.sqlite")
    assert result.code == 2
    assert "--keep DIR" in result.err

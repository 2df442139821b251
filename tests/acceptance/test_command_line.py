"""What holds for every verb: help, version, usage errors, exit codes, what is imported, what is printed where."""

from __future__ import annotations

import subprocess
import sys

import pytest

from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import Repo

VERBS = (
    "enqueue", "tokenize", "run", "status", "web", "events", "errors", "retry", "pause", "resume", "cancel", "verify",
    "upload", "doctor", "config", "completion", "demo",
)  # fmt: skip
HEAVY = ("aiohttp", "uvloop", "rich", "pyarrow", "numpy", "tokenizers", "pebble", "asyncio")


@pytest.mark.parametrize("args", [(), *((verb,) for verb in VERBS), ("config", "show")])
async def test_help_is_data_and_names_the_common_options(shell, args):
    result = await shell(*args, "--help")
    assert (result.code, result.err) == (0, "")
    for option in ("--queue", "--data-dir", "--log-level", "--version", "--help"):
        assert option in result.out


async def test_the_version_is_one_line(shell):
    for args in ((), ("status",)):
        result = await shell(*args, "--version")
        assert (result.code, result.out) == (0, "asyncdl 0.1.0\n")


@pytest.mark.parametrize("args", [["--help"], ["status", "--once"], ["status", "--json"], ["enqueue", "--help"]])
async def test_what_must_start_at_once_imports_nothing_heavy(shell, hub, args):
    await shell("enqueue", "fineweb-2", "--lang", "dan_Latn")
    script = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr))\n"
        f"sys.argv = ['asyncdl', *{args}]\n"
        "from asyncdl.cli.main import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=shell.folder, env=shell.env, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["enqueu"], "did you mean enqueue?"),
        (["frobnicate"], "there are enqueue, tokenize, run, status, web, events, errors, retry, pause"),
        (["enqueue", "fineweb-2", "--lnag", "x"], "Did you mean '--lang'?"),
        (["enqueue"], "Missing argument 'TARGET'"),
        (["enqueue", "x", "--max-bytes", "much"], "write 500MB, 10GiB"),
        (["enqueue", "x", "--max-bytes", "0"], "--max-bytes 0 would take nothing"),
        (["enqueue", "x", "--max-files", "0"], "--max-files"),
        (["enqueue", "x", "--priority", "11"], "--priority"),
        (["enqueue", "x", "--max-seq-length", "512"], "--max-seq-length needs --tokenizer"),
        (["run", "--workers", "0"], "--workers 0: a whole number from 1 up"),
        (["run", "--max-rate", "fast"], "--max-rate fast: fast is no size; write 500MB, 10GiB"),
        (["run", "--max-rate", "0"], "--max-rate 0: a rate above zero"),
        (["run", "--per-host", "0"], "--per-host 0: a whole number from 1 up"),
        (["run", "--only", "downlod"], "did you mean download?"),
        (["status", "--interval", "soon"], "--interval soon is no duration"),
        (["status", "--log-level", "loud"], "--log-level loud: one of debug, info, warning, error"),
    ],
)
async def test_a_usage_error_ends_with_2_and_says_what_may_have_been_meant(shell, args, said):
    result = await shell(*args)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "Traceback" not in result.err


async def test_common_options_are_accepted_before_and_after_the_verb_and_the_latter_wins(shell):
    before = await shell("--queue", "before.sqlite", "status")
    both = await shell("--queue", "before.sqlite", "status", "--queue", "after.sqlite")
    assert "before.sqlite" in before.err
    assert "after.sqlite" in both.err


@pytest.mark.parametrize("args", [["status"], ["status", "--json"], ["run"]])
async def test_without_a_queue_the_exit_code_is_3_and_the_hint_says_how_to_make_one(shell, args):
    result = await shell(*args)
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("error: there is no queue at queue.sqlite\nhint: asyncdl enqueue TARGET")


async def test_a_file_that_is_no_queue_is_refused_with_3(shell):
    (shell.folder / "queue.sqlite").write_bytes(b"not a database, just text that is long enough" * 50)
    result = await shell("status")
    assert result.code == 3
    assert "is not a queue" in result.err


async def test_a_typo_in_the_settings_file_ends_with_3_and_names_the_line(shell):
    (shell.folder / "asyncdl.toml").write_text('queue = "q.sqlite"\nworkres = 5\n')
    result = await shell("status")
    assert result.code == 3
    assert result.err == "error: asyncdl.toml line 2: workres is no setting\nhint: did you mean workers?\n"


async def test_debug_shows_the_settings_with_their_sources_and_tracebacks_but_no_secret(shell):
    result = await shell("status", "--log-level", "debug", HF_TOKEN="hf_" + "s" * 30)
    assert "setting: queue = queue.sqlite (default)" in result.err
    assert "setting: token = *** (HF_TOKEN)" in result.err
    assert "Traceback" in result.err
    assert "ssss" not in result.err


async def test_a_reader_that_goes_away_is_no_error(shell, hub):
    await shell("enqueue", "fineweb-2", "--lang", "dan_Latn")
    for verb in (["status", "--json"], ["enqueue", "--help"]):
        process = await shell.start(*verb)
        process._transport.get_pipe_transport(1).close()
        result = await shell.result(process)
        assert (result.code, result.err) == (141, "")


async def test_a_bug_is_told_as_one_with_the_place_of_its_traceback(shell, hub):
    (shell.folder / "bug").mkdir()
    (shell.folder / "bug" / "sitecustomize.py").write_text(
        "import asyncdl.status.snapshot as s\ndef take(*_): raise KeyError('hf_abcdefghijk \\x1b[2J')\ns.take = take\n"
    )
    await shell("enqueue", "fineweb-2", "--lang", "dan_Latn")
    result = await shell("status", PYTHONPATH=f"{shell.folder / 'bug'}:{shell.env['PYTHONPATH']}")
    (log,) = (shell.folder / "datasets" / "logs").glob("bug-*.txt")
    assert (result.code, result.out) == (70, "")
    assert result.err.startswith("error: a bug in asyncdl: KeyError")
    assert str(log.relative_to(shell.folder)) in result.err
    assert "Traceback" not in result.err
    assert "in take" in log.read_text()
    assert "abcdefghijk" not in log.read_text() + result.err


async def test_nothing_that_is_piped_has_colours(shell, hub):
    results = [
        await shell("enqueue", "fineweb-2", "--lang", "dan_Latn", FORCE_COLOR="1"),
        await shell("status", "--once", FORCE_COLOR="1"),
    ]
    assert all("\x1b" not in result.out + result.err for result in results)


async def test_a_name_that_stdout_cannot_spell_ends_no_program(shell):
    async with DemoHub([Repo("org/name", {"\u30c7\u30fc\u30bf/a.bin": b"x"})]) as hub:
        await shell("enqueue", "org/name", HF_ENDPOINT=hub.endpoint)
    result = await shell("status", PYTHONIOENCODING="latin-1")
    assert result.code == 0
    assert r"\u30c7\u30fc\u30bf" in result.out


async def test_a_terminal_that_cannot_redraw_gets_one_snapshot(shell, hub):
    await shell("enqueue", "fineweb-2", "--lang", "dan_Latn")
    assert "\x1b" not in await shell.on_terminal("status", TERM="dumb")


async def test_a_terminal_gets_a_view_that_ctrl_c_leaves_with_0(shell, hub):
    await shell("enqueue", "fineweb-2", "--lang", "dan_Latn")
    text = await shell.on_terminal("status", "--interval", "0.25", TERM="xterm", interrupt_at=b"data/dan_Latn/train")
    assert "\x1b[?1049h" in text  # the alternate screen
    assert "data/dan_Latn/train" in text.rpartition("\x1b[?1049l")[2]  # the last snapshot stays

"""`asyncdl status` in a real terminal (tmux): it fits, obeys its keys, and leaves everything as it was."""

from __future__ import annotations

import os
import re
import signal
import sys
import time

import pytest
import pytest_asyncio

from asyncdl.core.model import Artifact, Dataset
from asyncdl.core.names import safe_path
from asyncdl.store import place
from asyncdl.store.enqueue import Enqueue
from asyncdl.store.jobs import GiveBack, Jobs
from asyncdl.store.migrate import open_writer
from asyncdl.store.writer import Writer
from tests.support import tmux

pytestmark = pytest.mark.skipif(tmux.TMUX is None, reason="tmux is not installed")

STATUS = f"{sys.executable} -m asyncdl status --interval 0.25"
EVIL = "busy \x1b]0;EVIL\x07\x1b[2J\x1b[31m\u202e <b> [red]\n\r\x9b5m"


@pytest_asyncio.fixture
async def queue(shell):
    """A queue with three languages, an engine that is this process, and errors."""
    path = shell.folder / "queue.sqlite"
    now = time.time()
    writer = Writer(open_writer(path), path)
    try:
        dataset = Dataset(
            name="org/evil\x1b[2Jname", revision="a" * 40, subset="", source="hub", origin="https://hub.test/d",
            local_root=safe_path("raw/org--name"), text_field="text",
        )  # fmt: skip
        staged = [
            (
                f"data/{lang}_Latn/train",
                Artifact(safe_path(f"data/{lang}_Latn/train/{n:03}.parquet"), 2**20, None),
                True,
            )
            for lang in ("swe", "deu", "dan")
            for n in range(40)
        ]
        work = Enqueue(writer, dataset, now=now)
        await work.stage(staged)
        await work.finish(priority=5, recipe=None)
        jobs = Jobs(writer, "me")
        identity = place.identity(os.getpid())
        await jobs.start_engine(identity=identity, version="0", workers=4, pid=os.getpid(), now=now)
        for error_class in ("http_503", "timeout"):
            (job,) = await jobs.claim("download", 1, now=now, lease_s=600)
            back = GiveBack(outcome="retry", run_at=now + 900, failures=1, error_class=error_class, error_text=EVIL)
            await jobs.give_back(job, back, now=now)
        (job,) = await jobs.claim("download", 1, now=now, lease_s=600)
        await jobs.discard(job, now=now, error_class="gated", error_text="the terms")
    finally:
        writer.close()
    return path


def fits(text, columns, lines):
    shown = text.rstrip("\n").split("\n")
    return len(shown) <= lines and all(len(line) <= columns for line in shown)


async def as_it_was(pane):
    """Whether the main screen, the cursor, the wrapping and the title are what they were."""
    facts = [await pane.fact(name) for name in ("alternate_on", "cursor_flag", "wrap_flag")]
    return facts == ["0", "1", "1"] and "EVIL" not in await pane.fact("pane_title")


async def test_it_fits_obeys_its_keys_and_leaves_the_screen_with_a_last_snapshot(shell, queue):
    async with tmux.pane(shell.folder, shell.env) as pane:
        await pane.type(f"echo be''fore; stty -g > was; {STATUS}; echo code $?; stty -g > is")
        text = await pane.shows("DATASETS", "ERRORS", "q quit")
        assert fits(text, 80, 24)
        assert "before" not in text
        assert (await pane.fact("alternate_on"), await pane.fact("cursor_flag")) == ("1", "0")
        await pane.keys("Tab")
        await pane.shows("enter details")
        await pane.keys("Enter")
        await pane.shows("revision     " + "a" * 40, "esc back")
        await pane.keys("Escape")
        await pane.shows("DATASETS")
        await pane.keys("Tab", "Down", "Enter")
        await pane.shows("kind of job  download", r"\x1b]0;EVIL\x07")
        await pane.keys("Escape", "?")
        await pane.shows("quit; the last snapshot stays")
        await pane.keys("q")
        text = await pane.shows("code 0")
        assert "q quit" not in text
        assert "engines" in text
        assert await as_it_was(pane)
        await pane.type("clear; cmp was is && echo sa''me")
        await pane.shows("same")


async def test_nothing_of_what_was_there_is_lost_or_left_behind(shell, queue):
    async with tmux.pane(shell.folder, shell.env, lines=60) as pane:
        await pane.type(f"echo be''fore; {STATUS}")
        await pane.shows("q quit")
        await pane.keys("q")
        text = await pane.until(lambda text: "before" in text and text.rstrip().endswith("ready>"))
        assert "q quit" not in text
        assert "DATASETS" not in text


async def test_it_follows_the_size_of_the_terminal(shell, queue):
    async with tmux.pane(shell.folder, shell.env) as pane:
        await pane.type(STATUS)
        await pane.shows("q quit")
        for columns, lines in ((200, 60), (60, 12), (80, 24)):
            await pane.resize(columns, lines)
            text = await pane.until(
                lambda text, lines=lines: (
                    "DATASETS" in text
                    and text.rstrip("\n").split("\n")[-1].startswith(" q quit")
                    and len(text.rstrip("\n").split("\n")) == lines
                )
            )
            assert fits(text, columns, lines)
            assert text.count("DATASETS") == 1
            assert text.split("\n")[1].endswith({200: " inodes", 80: " free"}.get(columns, ""))  # to the last column
            assert ("UNDER WAY" in text or "│" in text) is (columns == 200)
        await pane.keys("q")


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
async def test_a_signal_leaves_the_terminal_as_it_was(shell, queue, signum, code):
    async with tmux.pane(shell.folder, shell.env) as pane:
        await pane.type(f"stty -g > was; sh -c 'echo $$ > pid; exec {STATUS}'; echo code $?; stty -g > is")
        await pane.shows("q quit")
        os.kill(int((shell.folder / "pid").read_text()), signum)
        await pane.shows(f"code {code}")
        assert await as_it_was(pane)
        await pane.type("clear; cmp was is && echo sa''me")
        await pane.shows("same")


async def test_ctrl_c_ends_it_with_0(shell, queue):
    async with tmux.pane(shell.folder, shell.env) as pane:
        await pane.type(f"{STATUS}; echo code $?")
        await pane.shows("q quit")
        await pane.keys("C-c")
        await pane.shows("code 0")
        assert await as_it_was(pane)


async def test_a_bug_leaves_the_terminal_as_it_was_and_is_told(shell, queue):
    (shell.folder / "bug").mkdir()
    (shell.folder / "bug" / "sitecustomize.py").write_text(
        "import asyncdl.status.snapshot as s\nreal, n = s.take, [0]\n"
        "def take(*args):\n    n[0] += 1\n    if n[0] > 2: raise KeyError('x')\n    return real(*args)\ns.take = take\n"
    )
    env = shell.env | {"PYTHONPATH": f"{shell.folder / 'bug'}:{shell.env['PYTHONPATH']}"}
    async with tmux.pane(shell.folder, env) as pane:
        await pane.type(f"{STATUS}; echo code $?")
        text = await pane.shows("code 70")
        assert "error: a bug in asyncdl: KeyError" in text
        assert await as_it_was(pane)


async def test_it_can_be_put_aside_and_taken_up_again(shell, queue):
    async with tmux.pane(shell.folder, shell.env) as pane:
        await pane.type(STATUS)
        await pane.shows("q quit")
        await pane.keys("C-z")
        await pane.shows("Stopped", "ready>")
        assert await as_it_was(pane)
        await pane.type("fg")
        await pane.shows("q quit", "DATASETS")
        await pane.keys("?")
        await pane.shows("this page")
        await pane.keys("q")
        await pane.until(lambda text: text.rstrip().endswith("ready>"))
        assert await as_it_was(pane)


async def test_what_names_and_errors_hold_steers_nothing(shell, queue):
    async with tmux.pane(shell.folder, shell.env, columns=200, lines=60) as pane:
        await pane.type(STATUS)
        text = await pane.shows("q quit", r"evil\x1b[2Jname", r"busy \x1b]0;EVIL")
        assert fits(text, 200, 60)
        assert "EVIL" not in await pane.fact("pane_title")
        await pane.keys("q")


async def test_no_color_is_honoured(shell, queue):
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
    for env, expected in (({"NO_COLOR": "1"}, False), ({}, True)):
        async with tmux.pane(shell.folder, shell.env | env) as pane:
            await pane.type(STATUS)
            await pane.shows("q quit")
            assert bool(coloured.search(await pane.text(styled=True))) is expected
            await pane.keys("q")


async def test_where_utf_8_is_not_spoken_it_is_drawn_in_ascii(shell, queue):
    async with tmux.pane(shell.folder, shell.env | {"PYTHONIOENCODING": "latin-1"}) as pane:
        await pane.type(STATUS)
        text = await pane.shows("q quit", "....")
        assert text.isascii()
        await pane.keys("q")


async def test_p_pauses_and_resumes_and_r_retries_what_was_discarded(shell, queue):
    async with tmux.pane(shell.folder, shell.env) as pane:
        await pane.type(STATUS)
        await pane.shows("q quit", "p pause/resume", "dan_Latn")
        await pane.keys("Tab", "p")
        await pane.shows("is paused", "paused by hand: dataset", "‖ evil")
        await pane.keys("p")
        await pane.until(lambda text: "goes on" in text and "‖" not in text)
        await pane.keys("Tab", "Enter")
        text = await pane.shows("kind of job  download", "gated")
        assert "1 x download gated: 1 discarded" in text
        await pane.keys("r")
        await pane.shows("1 job tried again", "it is not there any more")
        await pane.keys("q")
    assert (await shell("status", "--json")).json()["jobs"] == {"download": {"available": 120}}


async def test_read_only_switches_the_keys_off_that_act(shell, queue):
    async with tmux.pane(shell.folder, shell.env) as pane:
        await pane.type(f"{STATUS} --read-only")
        text = await pane.shows("q quit")
        assert "p pause" not in text
        await pane.keys("Tab", "p")
        await pane.shows("pause is switched off here")
        await pane.keys("r")
        await pane.shows("retry is switched off here")
        await pane.keys("q")


async def test_a_dumb_terminal_gets_one_snapshot(shell, queue):
    async with tmux.pane(shell.folder, shell.env | {"TERM": "dumb"}) as pane:
        await pane.type(f"{STATUS} | head -1; TERM=dumb {STATUS} | head -1; TERM=dumb {STATUS}; echo code $?")
        await pane.shows("code 0")
        assert await pane.fact("alternate_on") == "0"

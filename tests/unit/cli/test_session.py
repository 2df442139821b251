"""Signals and progress where nobody can be told: what a line says is never worth the work it speaks of."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from asyncdl.cli.progress import Watcher
from asyncdl.cli.say import Say
from asyncdl.cli.session import Strikes
from asyncdl.store.migrate import open_writer


class Engine:
    n_active = 3

    def __init__(self):
        self.told = []

    def drain(self):
        self.told.append("drain")

    def stop(self):
        self.told.append("stop")


@pytest.fixture
def dead_stream():
    theirs, ours = os.pipe()
    os.close(theirs)
    with open(ours, "w", buffering=1) as stream:
        yield stream


def test_signals_drain_and_stop_where_nobody_reads_what_is_said(dead_stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", dead_stream)
    engine = Engine()
    strikes = Strikes(engine, Say())
    strikes.strike(signal.SIGTERM)
    strikes.strike(signal.SIGTERM)
    assert (engine.told, strikes.signum) == (["drain", "stop"], signal.SIGTERM)
    assert os.readlink(f"/proc/self/fd/{dead_stream.fileno()}") == os.devnull


def test_the_engine_hears_of_a_signal_before_anybody_is_told():
    class Mute(Say):
        def info(self, text):
            raise RuntimeError(text)

    engine = Engine()
    with pytest.raises(RuntimeError):
        Strikes(engine, Mute()).strike(signal.SIGINT)
    assert engine.told == ["drain"]


async def test_progress_that_fails_does_not_end_the_work(tmp_path, monkeypatch, caplog):
    open_writer(tmp_path / "queue.sqlite").close()
    failed = asyncio.Event()

    async def fail(*_):
        failed.set()
        raise OSError("the terminal is gone")

    monkeypatch.setattr(Watcher, "_say_lines", fail)
    async with Watcher(tmp_path / "queue.sqlite", tmp_path) as watcher, watcher.shown(Say(), live=False):
        await failed.wait()
    assert "the terminal is gone" in caplog.text

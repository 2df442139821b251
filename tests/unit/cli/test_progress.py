"""The lines of a run where nothing can be redrawn."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from asyncdl.cli import progress
from asyncdl.cli.say import Say
from asyncdl.store.migrate import open_writer
from tests.support.shots import NOW, shot


async def test_a_line_is_said_only_where_it_says_something_new(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_LINE_S", 0.0)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    open_writer(tmp_path / "q").close()
    looks, said = [250, 250, 300, 300, 250], []

    class Scripted(progress.Watcher):
        async def take(self):
            if not looks:
                raise asyncio.CancelledError
            return replace(shot(done_bytes=looks.pop(0)), at=NOW + len(looks))

    class Heard(Say):
        def info(self, text):
            said.append(text)

    async with Scripted(tmp_path / "q", tmp_path) as watcher:
        with pytest.raises(asyncio.CancelledError):
            await watcher._say_lines(Heard())
    assert [text.split(", ")[2].split(" of ")[0] for text in said] == ["250 B", "300 B", "250 B"]

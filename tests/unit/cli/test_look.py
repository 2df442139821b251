"""A look at a queue that others change: each time what is there now."""

from __future__ import annotations

from asyncdl.cli import progress, status
from asyncdl.cli.look import look_anew
from asyncdl.store.migrate import open_writer
from tests.integration.store.test_store_versions import of_version

PAUSE = "INSERT INTO pause VALUES ('kind', 'download', 1)"


def migrated(queue):
    """What an engine of this version does to a queue of an older one, and a pause, which that one had no table for."""
    connection = open_writer(queue)
    connection.execute(PAUSE)
    connection.close()


def paused(shot):
    return [(row.what, row.name) for row in shot.paused]


def test_a_queue_that_is_migrated_or_replaced_meanwhile_is_seen(tmp_path):
    queue = of_version(2, tmp_path / "queue.sqlite")
    assert paused(look_anew(queue, tmp_path)) == []
    migrated(queue)
    assert paused(look_anew(queue, tmp_path)) == [("kind", "download")]
    open_writer(tmp_path / "other").close()
    (tmp_path / "other").replace(queue)
    assert look_anew(queue, tmp_path).jobs == {}


async def test_the_progress_of_a_run_sees_the_queue_that_its_engine_has_migrated(tmp_path):
    queue = of_version(2, tmp_path / "queue.sqlite")
    async with progress.Watcher(queue, tmp_path) as watcher:
        assert paused(await watcher.take()) == []
        migrated(queue)
        assert paused(await watcher.take()) == [("kind", "download")]


def test_the_live_status_takes_each_look_anew(tmp_path, monkeypatch):
    queue = of_version(2, tmp_path / "queue.sqlite")
    seen = []

    def live(take, *_):
        seen.append(paused(take()))
        migrated(queue)
        seen.append(paused(take()))

    monkeypatch.setattr(status, "_live", live)
    monkeypatch.setattr(status, "on_terminal", lambda stream: True)
    status.command.main(["--queue", str(queue)], standalone_mode=False)
    assert seen == [[], [("kind", "download")]]

"""Small files that go wrong: each costs itself only, and what it leaves to a Transfer is begun only while the run goes on."""

import asyncio
import errno
import threading

import pytest

from asyncdl.disk import partial
from asyncdl.engine import small
from asyncdl.engine.run import Ended
from asyncdl.errors import TransferError
from tests.support.origin import Origin

FILES = {f"f{n}.bin": b"a" * 1000 for n in range(5)} | {"bad.bin": b"b" * 1000}


def unseen(monkeypatch, module, name, code):
    """Let looking for the finished file `name` fail, as `module` does it."""
    look = partial.finished_candidates

    def failing(final, size_bytes):
        if final.name == name:
            with partial.disk_errors(final):
                raise OSError(code, "scripted")
        return look(final, size_bytes)

    monkeypatch.setattr(module, "finished_candidates", failing)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE], ids=errno.errorcode.get)
async def test_a_place_that_could_not_be_looked_at_is_left_to_a_transfer_and_ends_no_run(bench, monkeypatch, code):
    unseen(monkeypatch, small, "bad.bin", code)
    async with Origin(FILES) as origin:
        await bench.enqueue_known(origin.url, {path: (len(data), None) for path, data in FILES.items()})
        assert await bench.run() == Ended("empty")
    assert bench.told.outcomes() == {("completed", None): len(FILES)}
    assert {path: bench.file(path, "host").read_bytes() for path in FILES} == FILES


async def test_a_place_that_can_never_be_looked_at_costs_its_own_job(bench, short_waits, monkeypatch):
    for module in (small, partial):
        unseen(monkeypatch, module, "bad.bin", errno.ESTALE)
    async with Origin(FILES) as origin:
        await bench.enqueue_known(origin.url, {path: (len(data), None) for path, data in FILES.items()})
        assert await bench.run() == Ended("empty")
        assert "bad.bin" not in {path for path, _ in origin.asked}
    assert bench.errors() == {"bad.bin": "disk_odd"}
    assert bench.told.outcomes()["completed", None] == len(FILES) - 1


async def test_a_stop_while_a_small_file_cannot_be_published_begins_no_other_request(bench, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def full(final, content):
        begun.set()
        assert go_on.wait(20)
        raise TransferError("no_room", "no room", retry_after_s=0.0)

    monkeypatch.setattr(small, "publish_whole", full)
    async with Origin({"a.bin": b"a" * 1000}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (1000, None)})
        async with bench.running() as ended, asyncio.timeout(20):
            await bench.until(begun.is_set)
            bench.engine.stop()
            (publishing,) = (task for task in asyncio.all_tasks() if task.get_name() == "transfer a.bin")
            await bench.until(publishing.cancelling)
            go_on.set()
            assert await ended == Ended("stopped")
        assert len(origin.asked) == 1
    assert (bench.row("a.bin")["state"], bench.row("a.bin")["failures"]) == ("available", 0)

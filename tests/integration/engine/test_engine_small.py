"""Small files that go wrong: each costs itself only, and what it leaves to a Transfer is begun only while the run goes on."""

import asyncio
import errno
import hashlib
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from asyncdl.core.events import DiskPaused, DiskResumed
from asyncdl.core.model import Digest
from asyncdl.disk import partial, room
from asyncdl.disk.layout import partial_path
from asyncdl.engine import publisher, small
from asyncdl.engine.run import Ended
from asyncdl.errors import TransferError
from asyncdl.store.jobs import Jobs
from tests.support.engine import Bench
from tests.support.origin import Origin
from tests.support.small_disk import fill, small_disk
from tests.support.zygote import Zygote

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

    def odd(*_):
        begun.set()
        assert go_on.wait(20)
        raise TransferError("disk_odd", "scripted")

    monkeypatch.setattr(publisher, "_begin", odd)
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
    assert (bench.row("a.bin")["state"], bench.row("a.bin")["error_class"]) == ("available", "disk_odd")


# --- published together


class Together:
    """The first batch waits until `go_on`, so that all others come together; n_files: of each batch so far."""

    def __init__(self, monkeypatch):
        self.n_files = []
        self.go_on = threading.Event()
        self._real = publisher._begin
        monkeypatch.setattr(publisher, "_begin", self)
        monkeypatch.setattr(publisher, "ONE_MORE_AFTER_S", 1e9)

    def __call__(self, wanted, folders):
        self.n_files.append(len(wanted))
        assert self.go_on.wait(20)
        return self._real(wanted, folders)


async def all_wait(bench, n):
    """Until n small files are with the publisher."""
    await bench.until(lambda: bench.engine._workers and bench.engine._workers[0]._tools.meter.on_disk.n == n)


def known(files, **wrong):
    """Facts with digests; wrong: {path: digest}."""
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()} | wrong
    return {path: (len(data), Digest("sha256", digests[path])) for path, data in files.items()}


async def test_a_wrong_digest_among_files_published_together_costs_its_own_file(bench, monkeypatch):
    together = Together(monkeypatch)
    async with Origin(FILES) as origin:
        await bench.enqueue_known(origin.url, known(FILES) | {"bad.bin": (1000, Digest("sha256", "0" * 64))})
        async with bench.running() as ended, asyncio.timeout(20):
            await all_wait(bench, len(FILES))
            together.go_on.set()
            assert await ended == Ended("empty")
    assert together.n_files[0] + together.n_files[1] == len(FILES)
    for path in FILES.keys() - {"bad.bin"}:
        assert bench.file(path, "host").read_bytes() == FILES[path]
    assert not bench.file("bad.bin", "host").exists()
    assert bench.file("bad.bin.corrupted", "host").read_bytes() == FILES["bad.bin"]
    assert bench.errors() == {"bad.bin": "digest_mismatch"}
    assert bench.told.outcomes()["completed", None] == len(FILES) - 1


async def test_a_disk_that_ends_within_a_batch_parks_the_rest_and_charges_nobody(bench, monkeypatch):
    files = {f"f{n}.bin": bytes([n]) * (32 << 10) for n in range(12)}
    together = Together(monkeypatch)
    with small_disk(bench.data_dir, size_bytes=1 << 20) as disk:
        async with Origin(files) as origin:
            await bench.enqueue_known(origin.url, known(files))
            async with bench.running() as ended, asyncio.timeout(60):
                await all_wait(bench, len(files))
                hog = fill(disk, leave_bytes=room.free(disk).reserve_bytes + (5 * 32 + 16 << 10))
                together.go_on.set()
                await bench.told.wait_for(DiskPaused)
                await bench.until(lambda: sum(bench.told.outcomes().values()) == len(files))
                assert bench.told.outcomes() == {("completed", None): 5, ("parked", "no_room"): 7}
                assert bench.leftovers() == []
                assert len(origin.asked) == len(files), "a file for which there is no room is not asked for again"
                hog.unlink()
                await bench.told.wait_for(DiskResumed)
                assert await ended == Ended("empty")
        assert {path: bench.file(path, "host").read_bytes() for path in files} == files
    assert bench.rows("SELECT DISTINCT failures, crashes FROM job") == [(0, 0)]


async def test_each_file_is_synced_named_and_its_name_synced_before_it_is_settled(bench, monkeypatch):
    seen = []

    def noted(name, real, path_of):
        def call(*args):
            path = path_of(*args)
            answer = real(*args)
            seen.append((name, path))
            return answer

        return call

    def path_of(fd):
        return Path(os.readlink(f"/proc/self/fd/{fd}"))

    monkeypatch.setattr(os, "fsync", noted("sync", os.fsync, path_of))
    monkeypatch.setattr(os, "rename", noted("rename", os.rename, lambda _, target: Path(target)))
    complete = Jobs.complete

    async def settled(jobs, job, **facts):
        seen.append(("settle", bench.file(job.path, "host")))
        await complete(jobs, job, **facts)

    monkeypatch.setattr(Jobs, "complete", settled)
    files = {f"d{n % 3}/f{n}.bin": b"x" * 1000 for n in range(30)}
    async with Origin(files) as origin:
        await bench.enqueue_known(origin.url, {path: (len(data), None) for path, data in files.items()})
        await bench.run()
    for path in files:
        final = bench.file(path, "host")
        renamed = seen.index(("rename", final))
        assert seen.index(("sync", partial_path(final))) < renamed
        assert renamed < seen.index(("sync", final.parent), renamed) < seen.index(("settle", final))


async def test_a_kill_between_the_name_and_the_settle_costs_no_other_request(tmp_path):
    """Files of which the queue does not know that they are there are taken as they are."""
    bench = Bench(tmp_path)
    bench.data_dir.mkdir()
    async with Origin(FILES) as origin:
        await bench.enqueue_known(origin.url, known(FILES))
        async with Zygote() as zygote:
            died = await zygote.run(bench, 2, "after", steps=["rename"], workers=8)
            there = {path for path in FILES if bench.file(path, "host").exists()}
            settled = {path for path, state in bench.states().items() if state == "completed"}
            asked = Counter(path for path, _ in origin.asked)
            ended = await zygote.run(bench, workers=8)
        again = Counter(path for path, _ in origin.asked) - asked
    assert (died["code"], ended["code"]) == (-9, 0)
    assert len(there) == 2
    assert there - settled, "the second was renamed and not settled"
    assert not there & again.keys()
    assert set(bench.states().values()) == {"completed"}
    assert {path: bench.file(path, "host").read_bytes() for path in FILES} == FILES

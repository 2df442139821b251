"""What bounds a run is told with its heartbeat: engines over loopback hosts that hold them up in one way each."""

import asyncio
import random
import threading
import time

import pytest
from aiohttp import web

from asyncdl.core.bound import BOUNDS
from asyncdl.core.events import DiskPaused, GateClosed
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.disk.partial import Partial
from asyncdl.engine.pool import Pool
from asyncdl.engine.run import Ended
from asyncdl.status import snapshot
from asyncdl.store import migrate
from asyncdl.store.hosts import Hosts
from asyncdl.store.reader import Reader
from asyncdl.store.writer import Writer
from tests.support.engine import Bench
from tests.support.origin import Held, Origin, ranged
from tests.support.small_disk import fill, small_disk

MIB = 1 << 20
CONTENT = random.Random(21).randbytes(4 * SEGMENT_BYTES)

pytestmark = pytest.mark.usefixtures("often", "spare_core")


@pytest.fixture
def often(monkeypatch):
    """Many looks a second."""
    monkeypatch.setattr("asyncdl.engine.heartbeat.EVERY_S", 0.05)


@pytest.fixture
def spare_core(monkeypatch):
    """However busy the machine of the tests is, the engine does not blame it."""
    monkeypatch.setattr("asyncdl.core.bound.BUSY_CORE", 1e9)
    monkeypatch.setattr("asyncdl.core.bound.WAITS_SHARE", 1e9)


async def until_bound(bench, word):
    """Wait for a heartbeat that tells `word`."""
    assert word in BOUNDS
    await bench.until(lambda: bench.rows("SELECT bound FROM engine") == [(word,)])


async def remember(bench, host, hint):
    """What an earlier engine found out."""
    writer = Writer(migrate.open_writer(bench.queue), bench.queue)
    try:
        await Hosts(writer).remember_pace(host, hint=hint, cap=None, now=time.time())
    finally:
        writer.close()


def facts(files):
    return {path: (len(data), None) for path, data in files.items()}


async def test_the_limit_that_the_user_set(bench):
    files = {"a.bin": CONTENT}
    async with Origin(files) as origin:
        await bench.enqueue_known(origin.url, facts(files))
        async with bench.running(workers=4, max_rate_per_s=float(MIB)) as ended:
            await until_bound(bench, "max-rate")
            bench.engine.stop()
            assert await ended == Ended("stopped")


async def test_a_host_that_asks_for_a_pause(bench):
    files = {"a.bin": CONTENT, "b.bin": CONTENT}
    go_on = asyncio.Event()
    plain = ranged()

    async def answer(origin, request, data):
        if not go_on.is_set():
            return web.Response(status=429, headers={"Retry-After": "3600"})
        return await plain(origin, request, data)

    async with Origin(files, answer) as origin:
        await bench.enqueue_known(origin.url, facts(files))
        async with bench.running(workers=4) as ended:
            await bench.told.wait_for(GateClosed)
            await until_bound(bench, "host-pause")
            with Reader(bench.queue) as reader:
                (engine,) = snapshot.take(reader, reader.engines()[0].beat_at).engines
            assert engine.bound == "host-pause"
            bench.engine.stop()
            assert await ended == Ended("stopped")


async def test_a_disk_without_room(tmp_path):
    bench = Bench(tmp_path)
    files = {"a.bin": CONTENT}
    held = Held(0)  # the room for a file is taken with its first byte
    with small_disk(bench.data_dir, size_bytes=2 * len(CONTENT) + 80 * MIB) as disk:
        async with Origin(files, held) as origin:
            await bench.enqueue_known(origin.url, facts(files))
            async with bench.running(workers=4) as ended:
                await held.open(4)
                hog = fill(disk, leave_bytes=4 * MIB)
                held.go_on.set()
                await bench.told.wait_for(DiskPaused)
                await until_bound(bench, "disk-full")
                hog.unlink()
                assert await ended == Ended("empty")


async def test_slots_that_are_all_taken(bench):
    files = {f"{n}.bin": CONTENT for n in range(2)}
    held = Held(MIB)
    async with Origin(files, held) as origin:
        await bench.enqueue_known(origin.url, facts(files))
        async with bench.running(workers=3) as ended:
            await held.open(3)
            await until_bound(bench, "slots")
            held.go_on.set()
            assert await ended == Ended("empty")


async def test_requests_to_one_host_that_the_user_limits(bench):
    files = {f"{n}.bin": CONTENT for n in range(2)}
    held = Held(MIB)
    async with Origin(files, held) as origin:
        await bench.enqueue_known(origin.url, facts(files))
        async with bench.running(workers=16, per_host=2) as ended:
            await held.open(2)
            await until_bound(bench, "per-host")
            assert held.n_open == 2
            held.go_on.set()
            assert await ended == Ended("empty")


async def test_a_host_that_gives_no_more(bench, monkeypatch):
    monkeypatch.setattr("asyncdl.core.pace.HOLD_S", 1e9)  # what is remembered is not searched for again
    files = {f"{n}.bin": CONTENT for n in range(2)}
    held = Held(MIB)
    async with Origin(files, held) as origin:
        await bench.enqueue_known(origin.url, facts(files))
        await remember(bench, "127.0.0.1", 2)
        async with bench.running(workers=16) as ended:
            await held.open(2)
            await until_bound(bench, "host")
            held.go_on.set()
            assert await ended == Ended("empty")


async def test_a_file_that_the_disk_takes_slowly(bench, monkeypatch):
    go_on, write = threading.Event(), Partial.write

    def slow(self, at, block):
        assert go_on.wait(60.0)
        write(self, at, block)

    monkeypatch.setattr(Partial, "write", slow)
    files = {"a.bin": CONTENT}
    async with Origin(files) as origin:
        await bench.enqueue_known(origin.url, facts(files))
        async with bench.running(workers=2) as ended:
            await until_bound(bench, "disk")
            go_on.set()
            assert await ended == Ended("empty")


async def test_processes_that_are_all_busy_while_nothing_is_downloaded(bench, monkeypatch):
    async def held(*_, timeout_s):
        await asyncio.sleep(timeout_s)

    monkeypatch.setattr(Pool, "run", held)
    async with Origin({"a.parquet": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.parquet": (len(CONTENT), None)})
        async with bench.running(workers=2, processes=1) as ended:
            await until_bound(bench, "pool")
            bench.engine.stop()
            assert await ended == Ended("stopped")


async def test_a_queue_with_nothing_to_do(bench):
    async with Origin({"a.bin": CONTENT}) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        async with bench.running(workers=2, forever=True) as ended:
            await until_bound(bench, "idle")
            bench.engine.drain()
            assert await ended == Ended("drained")

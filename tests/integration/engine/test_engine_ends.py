"""How a run ends before its work does: drained, stopped, its lease lost, its disk full or broken. Nothing is lost."""

import asyncio
import fcntl
import itertools
import os
import random
import shutil
import time
import types
from pathlib import Path

import pytest

from asyncdl.core.events import DiskPaused, DiskResumed, JobEnded, Stopping
from asyncdl.core.overlap import WINDOW_BYTES
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.core.ranges import RangeSet
from asyncdl.disk import room
from asyncdl.engine.incoming import Incoming
from asyncdl.engine.run import Ended
from asyncdl.errors import DiskFailedError, NoRoomError
from asyncdl.store.jobs import Jobs
from tests.support.engine import Bench
from tests.support.engine_process import engine_process
from tests.support.origin import Held, Origin
from tests.support.small_disk import fill, fill_inodes, small_disk

MIB = 1 << 20
CONTENT = random.Random(8).randbytes(6 * SEGMENT_BYTES + 11)


async def written(monkeypatch, n_bytes):
    """An event that is set once so many bytes of a file are written."""
    reached = asyncio.Event()
    write = Incoming.write

    async def watched(self, at, block):
        is_new = await write(self, at, block)
        if self.written.n_bytes >= n_bytes:
            reached.set()
        return is_new

    monkeypatch.setattr(Incoming, "write", watched)
    return reached


# --- drain


async def test_a_drain_ends_the_open_segments_and_gives_the_rest_back(bench):
    held = Held(MIB)
    async with Origin({"a.bin": CONTENT}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        async with bench.running(workers=3) as ended:
            await held.open(3)
            bench.engine.drain()
            held.go_on.set()
            assert await ended == Ended("drained")
        assert len(origin.asked) == 3, "no segment was begun after the drain"
        row = bench.row("a.bin")
        assert (row["state"], row["failures"], row["had"]) == ("available", 0, f"0-{3 * SEGMENT_BYTES}")
        assert bench.rows("SELECT outcome FROM attempt") == [("released",)]
        assert await bench.run() == Ended("empty")
        assert origin.body_bytes == len(CONTENT) + 2 * WINDOW_BYTES, "nothing else was fetched twice"
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert bench.told.of(Stopping) == [Stopping(how="drain")]


async def test_a_drain_publishes_what_becomes_whole(bench):
    held = Held(MIB)
    content = CONTENT[: 2 * SEGMENT_BYTES]
    async with Origin({"a.bin": content}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        async with bench.running(workers=4) as ended:
            await held.open(2)
            bench.engine.drain()
            held.go_on.set()
            assert await ended == Ended("drained")
    assert bench.states() == {"a.bin": "completed"}
    assert bench.file("a.bin", "host").read_bytes() == content


async def test_a_drain_gives_back_what_waits_for_its_next_try(bench):
    """Every request fails; between two tries there is nothing open to wait for."""

    async def failing(origin, request, data):
        from aiohttp import web

        return web.Response(status=500)

    async with Origin({f"{n}.bin": b"x" for n in range(8)}, failing) as origin:
        await bench.enqueue_url(origin.url, origin.files)
        async with bench.running(workers=4) as ended:
            await bench.until(lambda: bool(origin.asked))
            bench.engine.drain()
            async with asyncio.timeout(5):
                assert await ended == Ended("drained")
    assert set(bench.states().values()) == {"available"}


async def test_draining_twice_is_draining(bench):
    held = Held(MIB)
    async with Origin({"a.bin": CONTENT}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        async with bench.running(workers=1) as ended:
            await held.open(1)
            bench.engine.drain()
            bench.engine.drain()
            held.go_on.set()
            assert await ended == Ended("drained")
    assert bench.row("a.bin")["had"] == f"0-{SEGMENT_BYTES}"


# --- stop


async def test_a_stop_keeps_every_byte_that_was_written_and_takes_no_time(bench, monkeypatch):
    held = Held(5 * MIB)
    reached = await written(monkeypatch, 4 * 4 * MIB)
    async with Origin({"a.bin": CONTENT}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        async with bench.running(workers=4) as ended:
            await reached.wait()
            began = time.monotonic()
            bench.engine.stop()
            assert await ended == Ended("stopped")
            assert time.monotonic() - began < 10
        row = bench.row("a.bin")
        assert (row["state"], row["failures"]) == ("available", 0)
        had_bytes = RangeSet.parse(row["had"]).n_bytes
        assert had_bytes == row["done_bytes"] >= 4 * 4 * MIB
        held.go_on.set()
        sent_bytes = origin.body_bytes
        assert await bench.run() == Ended("empty")
        assert origin.body_bytes - sent_bytes == len(CONTENT) - had_bytes + 2 * WINDOW_BYTES
    assert bench.file("a.bin", "host").read_bytes() == CONTENT


async def test_a_stop_after_a_drain_does_not_wait_for_a_host_that_hangs(bench):
    held = Held(MIB)
    async with Origin({"a.bin": CONTENT, "b.bin": b"b" * 2 * MIB}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None), "b.bin": (2 * MIB, None)})
        async with bench.running(workers=3) as ended:
            await held.open(3)
            bench.engine.drain()
            bench.engine.stop()
            async with asyncio.timeout(5):
                assert await ended == Ended("stopped")
    assert set(bench.states().values()) == {"available"}
    assert bench.told.of(Stopping) == [Stopping(how="drain"), Stopping(how="stop")]


@pytest.mark.parametrize("how", ["stop", "drain"])
async def test_a_run_that_ends_before_it_learns_that_a_lease_is_lost_ends_all_the_same(bench, how):
    held = Held(MIB)
    async with Origin({"a.bin": CONTENT, "b.bin": b"b" * 2 * MIB}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None), "b.bin": (2 * MIB, None)})
        async with bench.running(workers=3) as ended:
            await held.open(3)
            bench.rows("UPDATE job SET state = 'cancelled', owner = NULL, lease_until = NULL, ended_at = 1")
            getattr(bench.engine, how)()
            held.go_on.set()
            async with asyncio.timeout(5):
                await ended
    assert set(bench.states().values()) == {"cancelled"}
    assert not bench.file("a.bin", "host").exists()


# --- leases


async def test_a_job_that_was_cancelled_meanwhile_is_dropped_and_settles_nothing(bench):
    held = Held(MIB)
    async with Origin({"a.bin": CONTENT}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        async with bench.running(workers=2, lease_s=0.6) as ended:
            await held.open(2)
            bench.rows(
                "UPDATE job SET state = 'cancelled', owner = NULL, lease_until = NULL, ended_at = 1 WHERE path = 'a.bin'"
            )
            async with asyncio.timeout(2):  # the next renewal tells; the next sync would, too, but that is 5 s away
                told = await bench.told.wait_for(JobEnded, path="a.bin")
            assert told.outcome == "lost"
            held.go_on.set()
            assert await ended == Ended("empty")
        assert held.n_dropped >= 1, "its requests were dropped"
    assert bench.states()["a.bin"] == "cancelled"
    assert not bench.file("a.bin", "host").exists()
    assert bench.rows("SELECT count(*) FROM attempt") == [(0,)]


async def test_a_job_cancelled_and_revived_meanwhile_is_done_once_by_its_new_attempt(bench):
    """The engine claims it again before the renewal tells it that its first attempt is over."""
    held = Held(MIB)
    async with Origin({"a.bin": CONTENT}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        async with bench.running(workers=4, lease_s=6.0) as ended:
            await held.open(2)
            bench.rows(
                "UPDATE job SET state = 'cancelled', owner = NULL, lease_until = NULL, ended_at = 1, take_over = 1"
            )
            bench.rows("UPDATE job SET state = 'available', run_at = 0, ended_at = NULL")
            await bench.until(lambda: bench.row("a.bin")["attempt"] == 2)
            held.go_on.set()
            assert await ended == Ended("empty")
    assert bench.states() == {"a.bin": "completed"}
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert len(bench.told.of(JobEnded, outcome="completed")) == 1
    assert bench.leftovers() == []


async def test_an_engine_that_cannot_renew_writes_nothing_more(bench):
    """Somebody holds the queue for longer than a lease: it may be another's by now, though nobody came."""
    held = Held(MIB)
    async with Origin({"a.bin": CONTENT}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        async with bench.running(workers=2, lease_s=0.6) as ended:
            await held.open(2)
            with Path(f"{bench.queue}-lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                ends = bench.row("a.bin")["lease_until"]
                await bench.until(lambda: time.time() > ends)
                held.go_on.set()
                asked = len(origin.asked)
                await bench.until(lambda: held.n_dropped + (held.n_open == 0) > 0)
                assert len(origin.asked) == asked
            assert await ended == Ended("empty")
    assert bench.told.of(JobEnded, outcome="lost")
    assert bench.row("a.bin")["attempt"] == 2
    assert bench.file("a.bin", "host").read_bytes() == CONTENT


async def test_leases_outlive_their_length_while_the_engine_lives(bench):
    held = Held(MIB)
    async with Origin({"a.bin": CONTENT}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
        async with bench.running(workers=1, lease_s=0.3) as ended:
            await held.open(1)
            first = bench.row("a.bin")["lease_until"]
            await bench.until(lambda: bench.row("a.bin")["lease_until"] > first + 0.6)
            held.go_on.set()
            assert await ended == Ended("empty")
    assert bench.row("a.bin")["attempt"] == 1


# --- a disk that is full


def looks(monkeypatch, n):
    """An event that is set when a closed disk gate has looked for room `n` times."""
    seen, loop, done = itertools.count(1), asyncio.get_running_loop(), asyncio.Event()
    free = room.free

    def watched(path):
        if next(seen) == n + 1:  # the first is for the event that tells of the pause
            loop.call_soon_threadsafe(done.set)
        return free(path)

    monkeypatch.setattr("asyncdl.engine.disk_gate.room", types.SimpleNamespace(free=watched))
    return done


async def test_a_full_disk_pauses_and_the_run_goes_on_by_itself(tmp_path):
    bench = Bench(tmp_path)
    files = {f"{n}.bin": CONTENT for n in range(2)}
    held = Held(MIB)
    with small_disk(bench.data_dir, size_bytes=2 * len(CONTENT) + 80 * MIB) as disk:
        async with Origin(files, held) as origin:
            await bench.enqueue_known(origin.url, {path: (len(data), None) for path, data in files.items()})
            async with bench.running(workers=6) as ended:
                await held.open(6)
                hog = fill(disk, leave_bytes=4 * MIB)
                held.go_on.set()
                await bench.told.wait_for(DiskPaused)
                assert bench.told.of(JobEnded, outcome="discarded") == []
                hog.unlink()
                removed_at = time.monotonic()
                await bench.told.wait_for(DiskResumed)
                assert time.monotonic() - removed_at < 10
                assert await ended == Ended("empty")
        for path in files:
            assert bench.file(path, "host").read_bytes() == CONTENT
    assert len(bench.told.of(JobEnded)) == 2
    assert bench.rows("SELECT DISTINCT failures FROM job") == [(0,)]


async def test_a_disk_without_inodes_pauses_and_does_not_spin(tmp_path, monkeypatch):
    bench = Bench(tmp_path)
    files = {f"{n:02d}.bin": b"x" * MIB for n in range(40)}
    held = Held(MIB // 2)
    looked_again = looks(monkeypatch, 3)
    with small_disk(bench.data_dir, size_bytes=200 * MIB, n_inodes=140) as disk:
        async with Origin(files, held) as origin:
            await bench.enqueue_known(origin.url, dict.fromkeys(files, (MIB, None)))
            async with bench.running(workers=2) as ended:
                await held.open(2)
                hogs = fill_inodes(disk)
                held.go_on.set()
                await bench.told.wait_for(DiskPaused)
                await looked_again.wait()  # by then there had been thousands of attempts, were it to spin
                assert bench.rows("SELECT count(*) FROM attempt")[0][0] <= 2 * 2, "at most those that were active"
                for hog in hogs:
                    hog.unlink()
                assert await ended == Ended("empty")
    assert set(bench.states().values()) == {"completed"}
    assert bench.rows("SELECT DISTINCT failures FROM job") == [(0,)]


async def test_what_cannot_fit_is_refused_before_anything_is_begun(tmp_path):
    bench = Bench(tmp_path)
    with small_disk(bench.data_dir, size_bytes=45 * MIB):
        async with Origin({"a.bin": CONTENT}) as origin:
            await bench.enqueue_known(origin.url, {"a.bin": (len(CONTENT), None)})
            with pytest.raises(NoRoomError):
                await bench.run()
            assert origin.asked == []
    assert bench.states() == {"a.bin": "available"}


async def test_a_full_disk_of_the_queue_ends_the_run_and_loses_nothing(tmp_path):
    bench = Bench(tmp_path)
    bench.queue = tmp_path / "q" / "queue.sqlite"
    files = {f"{n:03d}.bin": b"x" * 5000 for n in range(300)}
    with small_disk(bench.queue.parent, size_bytes=12 * MIB) as disk:
        async with Origin(files) as origin:
            await bench.enqueue_known(origin.url, dict.fromkeys(files, (5000, None)))
            config = {"queue": str(bench.queue), "data_dir": str(bench.data_dir), "workers": 16}
            async with engine_process(config) as engine:
                await engine.wait_for("JobEnded", n=20)
                hog = fill(disk)
                assert await engine.ended() == NoRoomError.exit_code
                assert engine.of("Failed", error="NoRoomError")
            hog.unlink()
            n_done = list(bench.states().values()).count("completed")
            assert 20 <= n_done < 300
            assert await bench.run() == Ended("empty")
            assert origin.body_bytes <= 5000 * (300 + 2 * 16)
            assert bench.rows("SELECT max(crashes) FROM job") == [(0,)], "nobody is charged for the disk"
            assert set(bench.states().values()) == {"completed"}


async def test_a_queue_that_gets_room_again_as_the_run_ends_holds_no_job_back(tmp_path, monkeypatch):
    bench = Bench(tmp_path)
    bench.queue = tmp_path / "q" / "queue.sqlite"
    files = {f"{n:03d}.bin": b"x" * 5000 for n in range(200)}
    end_engine = Jobs.end_engine
    hogs = []

    async def with_room(self, *, now):
        for hog in hogs:
            hog.unlink(missing_ok=True)
        await end_engine(self, now=now)

    def listen(event):
        bench.told(event)
        if not hogs and len(bench.told.of(JobEnded)) == 20:
            hogs.append(fill(disk))

    monkeypatch.setattr(Jobs, "end_engine", with_room)
    with small_disk(bench.queue.parent, size_bytes=2 * MIB) as disk:
        async with Origin(files) as origin:
            await bench.enqueue_known(origin.url, dict.fromkeys(files, (5000, None)))
            with pytest.raises(NoRoomError):
                async with bench.running(listen=listen) as ended:
                    await ended
            hogs[0].unlink(missing_ok=True)
            held = bench.rows("SELECT count(*) FROM job WHERE state = 'running'")[0][0]
            still_open = bench.rows("SELECT count(*) FROM engine WHERE ended_at IS NULL")[0][0]
            assert held == 0 or still_open == 1, "jobs of an engine that is said to have ended are nobody's"


# --- a disk that is broken


@pytest.mark.skipif(shutil.which("strace") is None, reason="NOT TESTED: a broken disk needs strace to inject EIO")
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync", "rename"])
async def test_a_disk_that_reports_errors_stops_the_engine_and_a_later_run_completes(bench, tmp_path, call):
    files = {"a.bin": CONTENT, **{f"{n}.bin": b"x" * 5000 for n in range(5)}}
    bench.data_dir.mkdir()
    partial = f"{bench.file('a.bin', 'host')}.partial"
    strace = [
        "strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-P", partial,
        "-e", f"inject={call}:error=EIO:when=1+",
    ]  # fmt: skip
    async with Origin(files) as origin:
        await bench.enqueue_known(origin.url, {path: (len(data), None) for path, data in files.items()})
        config = {"queue": str(bench.queue), "data_dir": str(bench.data_dir)}
        async with engine_process(config, under=strace) as engine:
            code = await engine.ended()
            assert engine.of("Failed", error="DiskFailedError"), engine.told[-5:]
            assert code == DiskFailedError.exit_code
        assert not bench.file("a.bin", "host").exists()
        assert bench.row("a.bin")["state"] == "available"
        if call in ("pwrite64", "fdatasync"):
            assert bench.row("a.bin")["had"] == "", "bytes that no sync covers are not had"
        assert await bench.run() == Ended("empty")
    assert bench.file("a.bin", "host").read_bytes() == CONTENT
    assert set(bench.states().values()) == {"completed"}


async def test_a_data_dir_that_cannot_be_written_to_discards_with_the_reason(bench, monkeypatch):
    """What stands in the way is a file where a folder must be: a matter for a person, not for another try."""
    bench.data_dir.mkdir()
    (bench.data_dir / "raw").write_bytes(b"in the way")
    async with Origin({"a.bin": b"a"}) as origin:
        await bench.enqueue_url(origin.url, ["a.bin"])
        assert await bench.run() == Ended("empty")
    assert bench.errors() == {"a.bin": "unstorable"}

"""Room that runs out and comes back: bytes, inodes, a quota that nobody sees, handles.

Each time the engine pauses and goes on by itself; nothing is discarded, no attempt is charged, every byte is right.
"""

import os
import random
import resource
import shutil
import threading

import pytest

from asyncdl.core.events import DiskPaused, DiskResumed, JobEnded
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.disk import room
from asyncdl.disk.partial import Partial
from asyncdl.engine.run import Ended
from tests.support.engine import Bench
from tests.support.engine_process import engine_process
from tests.support.origin import Held, Origin
from tests.support.small_disk import fill, fill_inodes, small_disk

MIB = 1 << 20
DISK_BYTES = 16 * MIB
N_FILLS = 10
FORTY = {f"{n:02d}.bin": random.Random(n).randbytes(350_000) for n in range(40)}
"""Many to the two that are written at once: what those two still write while the others wait is no more than the way
from one fill to the next, so each fill is met by a file that has no room yet."""

MANY = {f"{n:02d}.bin": random.Random(n).randbytes(50_000) for n in range(40)}


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr("asyncdl.engine.disk_gate.LOOK_EVERY_S", 0.05)
    return Bench(tmp_path)


class Hogs:
    """Files that eat the room of `disk`, one at a time: each at the first write after so many bytes were written.

    armed: the next one may come; whoever removed the last one says so.
    """

    def __init__(self, monkeypatch, disk, points):
        self.disk, self.points, self.n_made, self.armed = disk, list(points), 0, True
        self._n_bytes, self._turn, self._write = 0, threading.Lock(), Partial.write
        monkeypatch.setattr(Partial, "write", lambda partial, at, block: self._watched(partial, at, block))

    def _watched(self, partial, at, block):
        with self._turn:
            if self.armed and self.points and self._n_bytes >= self.points[0]:
                self.points.pop(0)
                self.armed = False
                self._hog = fill(self.disk)
                self.n_made += 1
        self._write(partial, at, block)
        with self._turn:
            self._n_bytes += len(block)

    def remove(self):
        self._hog.unlink()


def is_paused(bench):
    """One fill may be met by two pauses: what one file found goes on being told after the other's pause is over."""
    return len(bench.told.of(DiskPaused)) > len(bench.told.of(DiskResumed))


async def nth(bench, cls, n):
    await bench.until(lambda: len(bench.told.of(cls)) >= n or bench.told.engine_ended)
    assert len(bench.told.of(cls)) >= n, bench.told.events[-5:]


def assert_all_is_well(bench, files):
    for path, content in files.items():
        assert bench.file(path, "host").read_bytes() == content, path
    assert set(bench.states().values()) == {"completed"}
    assert bench.rows("SELECT DISTINCT failures, crashes FROM job") == [(0, 0)]
    assert bench.rows("SELECT count(*) FROM attempt WHERE outcome IN ('retry', 'discarded', 'crashed')") == [(0,)]
    assert bench.leftovers() == []


async def enqueue(bench, origin, files, *, knows_sizes=True):
    await bench.enqueue_known(
        origin.url, {path: (len(data) if knows_sizes else None, None) for path, data in files.items()}
    )


# --- bytes


@pytest.mark.parametrize("knows_sizes", [True, False])
async def test_a_disk_that_fills_up_ten_times_is_waited_for_ten_times(bench, monkeypatch, knows_sizes):
    total_bytes = sum(map(len, FORTY.values()))
    with small_disk(bench.data_dir, size_bytes=DISK_BYTES) as disk:
        hogs = Hogs(monkeypatch, disk, (total_bytes * n // (N_FILLS + 3) for n in range(N_FILLS)))
        async with Origin(FORTY) as origin:
            await enqueue(bench, origin, FORTY, knows_sizes=knows_sizes)
            async with bench.running(workers=2) as ended:
                for n in range(1, N_FILLS + 1):
                    await bench.until(lambda n=n: (hogs.n_made == n and is_paused(bench)) or bench.told.engine_ended)
                    n_resumed = len(bench.told.of(DiskResumed))
                    hogs.remove()
                    await nth(bench, DiskResumed, n_resumed + 1)
                    hogs.armed = True
                assert await ended == Ended("empty")
        assert_all_is_well(bench, FORTY)
    assert hogs.n_made == N_FILLS
    assert not is_paused(bench)


async def test_a_file_whose_room_was_taken_at_its_beginning_goes_on_on_a_full_disk(bench, monkeypatch):
    files = {"big.bin": random.Random(3).randbytes(SEGMENT_BYTES + 2 * MIB)}
    with small_disk(bench.data_dir, size_bytes=DISK_BYTES) as disk:
        hogs = Hogs(monkeypatch, disk, [3 * MIB])
        async with Origin(files) as origin:
            await enqueue(bench, origin, files)
            async with bench.running(workers=4) as ended:
                await bench.told.wait_for(JobEnded)
                hogs.remove()
                assert await ended == Ended("empty")
        assert hogs.n_made == 1
        assert_all_is_well(bench, files)
        assert room.free(disk).free_bytes > DISK_BYTES - SEGMENT_BYTES - 3 * MIB, "no room is held behind a file's end"
    assert bench.told.of(DiskPaused) == []


# --- inodes


@pytest.mark.parametrize("leave", [0, 3, 5])
async def test_a_disk_that_runs_out_of_inodes_pauses_before_the_reserve_is_touched(bench, leave):
    """leave: the reserve of this disk is 5 inodes; folders and the manifest take theirs from it at the end."""
    hogs = []

    def listen(event):
        bench.told(event)
        if not hogs and len(bench.told.of(JobEnded)) >= 3:
            hogs.extend(fill_inodes(disk, leave=leave))

    with small_disk(bench.data_dir, size_bytes=DISK_BYTES, n_inodes=100) as disk:
        assert room.free(disk).reserve_inodes == 5
        async with Origin(MANY) as origin:
            await enqueue(bench, origin, MANY)
            async with bench.running(workers=3, listen=listen) as ended:
                await nth(bench, DiskPaused, 1)
                assert room.free(disk).free_inodes >= leave - 3, "three were being opened"
                for hog in hogs:
                    hog.unlink()
                assert await ended == Ended("empty")
        assert_all_is_well(bench, MANY)
    assert len(bench.told.of(DiskResumed)) == len(bench.told.of(DiskPaused))


# --- a quota: there is no room, and the free space says that there is


@pytest.mark.skipif(shutil.which("strace") is None, reason="NOT TESTED: a spent quota needs strace to inject EDQUOT")
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "openat"])
async def test_a_quota_that_free_space_does_not_show_pauses_and_the_run_goes_on_when_it_is_lifted(tmp_path, call):
    bench = Bench(tmp_path)
    files = {"a.bin": random.Random(5).randbytes(2 * SEGMENT_BYTES), "b.bin": b"b" * 5000}
    bench.data_dir.mkdir()
    strace = [
        "strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}",
        "-P", f"{bench.file('a.bin', 'host')}.partial", "-e", f"inject={call}:error=EDQUOT:when=1",
    ]  # fmt: skip
    async with Origin(files) as origin:
        await enqueue(bench, origin, files)
        config = {"queue": str(bench.queue), "data_dir": str(bench.data_dir), "workers": 1}
        async with engine_process(config, under=strace) as engine:
            assert await engine.ended() == 0, engine.told[-5:]
    assert len(engine.of("DiskPaused")) == len(engine.of("DiskResumed")) >= 1  # strace counts for each thread
    assert all(told["free_bytes"] > told["needed_bytes"] for told in engine.of("DiskPaused"))
    assert_all_is_well(bench, files)


# --- handles


def open_handles(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


async def test_an_engine_without_handles_waits_for_them_and_charges_nobody(tmp_path):
    bench = Bench(tmp_path)
    held = Held(10_000, n_free=5)
    async with Origin(MANY, held) as origin:
        await enqueue(bench, origin, MANY)
        config = {"queue": str(bench.queue), "data_dir": str(bench.data_dir), "workers": 4, "only": ["download"]}
        async with engine_process(config) as engine:
            await held.open(2)
            pid = engine.of("Begun")[0]["pid"]
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_handles(pid) - 4, hard))
            held.go_on.set()
            await engine.wait_for("JobEnded", outcome="parked", error_class="no_handles")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
            assert await engine.ended() == 0, engine.told[-5:]
    assert_all_is_well(bench, MANY)


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="NOT TESTED: few handles need prlimit")
async def test_an_engine_with_fewer_handles_than_its_slots_want_comes_to_the_end(tmp_path):
    bench = Bench(tmp_path)
    async with Origin(MANY) as origin:
        await enqueue(bench, origin, MANY, knows_sizes=False)
        config = {"queue": str(bench.queue), "data_dir": str(bench.data_dir), "workers": 40, "only": ["download"]}
        async with engine_process(config, under=["prlimit", "--nofile=44:44"]) as engine:
            assert await engine.ended() == 0, engine.told[-5:]
    assert engine.of("JobEnded", outcome="parked", error_class="no_handles"), "there were enough"
    assert_all_is_well(bench, MANY)

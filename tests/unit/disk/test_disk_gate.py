"""The gate counts the room where the bytes go, waits for what was missing there, and opens by itself."""

import asyncio
import os
import resource

import pytest

from asyncdl.core.events import DiskPaused, DiskResumed
from asyncdl.core.ranges import RangeSet
from asyncdl.disk.partial import open_partial
from asyncdl.engine.disk_gate import COUNT_ANEW_BYTES, DiskGate
from asyncdl.engine.threads import Threads
from asyncdl.errors import TransferError
from tests.support.small_disk import fill, fill_inodes, small_disk

MIB = 1 << 20


class Watched:
    """A gate that is watched, and what it told. slept: how long it paused each time before it looked."""

    def __init__(self, monkeypatch):
        self.told, self.slept, self.opened = [], [], asyncio.Event()
        self.threads = Threads()
        self.gate = DiskGate(self.threads, self.told.append)
        self.gate.opened = self.opened.set
        self._sleep = asyncio.sleep
        monkeypatch.setattr("asyncdl.engine.disk_gate.asyncio.sleep", self._note)

    async def _note(self, wait_s):
        self.slept.append(wait_s)
        await self._sleep(0)

    async def until_open(self):
        while not self.gate.is_open:
            self.opened.clear()
            await self.opened.wait()


@pytest.fixture
async def watched(monkeypatch):
    watched = Watched(monkeypatch)
    watching = asyncio.create_task(watched.gate.watch_for_ever())
    yield watched
    watching.cancel()
    await asyncio.wait((watching,))
    watched.threads.close()


@pytest.fixture
def disks(tmp_path):
    """Two file systems of 16 MiB."""
    with (
        small_disk(tmp_path / "a", size_bytes=16 * MIB, n_inodes=100) as one,
        small_disk(tmp_path / "b", size_bytes=16 * MIB) as other,
    ):
        yield one, other


@pytest.fixture
def opened():
    partials = []

    def open_(final):
        partials.append(open_partial(final, RangeSet(), take_over=False)[0])
        return partials[-1]

    yield open_
    for partial in partials:
        partial.close()


def no_room():
    return TransferError("no_room", "x", retry_after_s=0.0)


def full(gate, partial, n_bytes=MIB):
    try:
        gate.spend(n_bytes, partial)
    except TransferError as error:
        assert (error.error_class, error.retry_after_s) == ("no_room", 0.0)
        return True
    return False


async def test_room_is_counted_on_the_file_system_that_the_bytes_go_to(watched, disks, opened):
    one, other = opened(disks[0] / "x"), opened(disks[1] / "x")
    fill(disks[0])
    assert full(watched.gate, one)
    assert not full(watched.gate, other)
    assert full(watched.gate, one)


async def test_a_write_into_room_that_was_taken_ahead_is_not_counted_again(watched, disks, opened):
    partial, other = opened(disks[0] / "x"), opened(disks[0] / "y")
    await watched.gate.reserve(partial, 14 * MIB)
    fill(disks[0])
    assert full(watched.gate, other)
    assert not full(watched.gate, partial)


async def test_what_is_taken_ahead_is_taken_from_what_the_others_may_write(watched, disks, opened):
    partial, other = opened(disks[0] / "x"), opened(disks[0] / "y")
    assert not full(watched.gate, other)
    assert COUNT_ANEW_BYTES > 16 * MIB
    await watched.gate.reserve(partial, 14 * MIB)
    assert full(watched.gate, other, 2 * MIB)


async def test_two_that_take_room_at_once_leave_the_reserve(watched, disks, opened):
    files = [opened(disks[0] / str(n)) for n in range(2)]
    await asyncio.gather(*(watched.gate.reserve(one, 7_900 << 10) for one in files))
    assert sum(one.is_reserved for one in files) == 1, "there is room for both, but not for the reserve"
    assert files[0].free_room().usable_bytes >= 0


async def test_what_was_counted_before_a_pause_does_not_count_after_it(watched, disks, opened):
    partial = opened(disks[0] / "x")
    assert not full(watched.gate, partial)
    watched.gate.note(no_room(), disks[0], MIB)
    await watched.until_open()
    fill(disks[0])
    assert full(watched.gate, partial)


async def test_it_waits_for_room_where_it_was_missing_and_not_elsewhere(watched, disks, opened):
    partial = opened(disks[1] / "x")
    hog, elsewhere = fill(disks[1]), fill(disks[0])
    watched.gate.note(no_room(), disks[1], MIB)
    assert not watched.gate.is_open
    assert watched.told == [DiskPaused(needed_bytes=MIB, free_bytes=0)]
    while len(watched.slept) < 5:
        await watched.threads.call(os.getpid)
    assert not watched.gate.is_open
    hog.unlink()
    await watched.until_open()
    assert isinstance(watched.told[1], DiskResumed)
    assert not full(watched.gate, partial)
    assert elsewhere.exists()


async def test_it_waits_for_every_place_where_room_was_missing(watched, disks):
    hogs = [fill(disk) for disk in disks]
    for disk in disks:
        watched.gate.note(no_room(), disk, MIB)
    hogs[0].unlink()
    n_looks = len(watched.slept)
    while len(watched.slept) < n_looks + 5:
        await watched.threads.call(os.getpid)
    assert not watched.gate.is_open
    hogs[1].unlink()
    await watched.until_open()
    assert [type(told) for told in watched.told] == [DiskPaused, DiskResumed]


async def test_it_waits_for_inodes_and_leaves_the_reserve_of_them(watched, disks):
    hogs = fill_inodes(disks[0], leave=5)
    watched.gate.note(no_room(), disks[0], 0)
    while len(watched.slept) < 5:
        await watched.threads.call(os.getpid)
    assert not watched.gate.is_open
    hogs[0].unlink()
    await watched.until_open()


async def test_a_shortage_that_free_space_does_not_show_doubles_the_pause_and_another_does_not(watched, disks):
    for _ in range(8):
        watched.gate.note(no_room(), disks[0], MIB)
        await watched.until_open()
    assert watched.slept == [1, 2, 4, 8, 16, 32, 60, 60]
    hog = fill(disks[0])
    watched.gate.note(no_room(), disks[0], MIB)
    hog.unlink()
    await watched.until_open()
    assert watched.slept[8] == 1


async def test_without_handles_it_pauses_until_one_is_there_and_tells_of_no_disk(watched, disks):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await watched.threads.call(os.getpid)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        watched.gate.note(TransferError("no_handles", "x", retry_after_s=3.0), disks[0], MIB)
        while len(watched.slept) < 5:
            await watched.threads.call(os.getpid)
        assert not watched.gate.is_open
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await watched.until_open()
    assert watched.slept[0] == 3
    assert watched.told == []


async def test_what_is_no_matter_of_room_leaves_it_open(watched, disks):
    watched.gate.note(TransferError("dropped", "x"), disks[0], MIB)
    assert watched.gate.is_open

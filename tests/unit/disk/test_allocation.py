"""Room taken ahead: all of it or none, given back when it is not used, and never taken for bytes that are there."""

import os

import pytest

from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.disk import allocation, room
from asyncdl.disk.layout import partial_path
from asyncdl.disk.partial import finished_candidates, open_partial
from tests.support.small_disk import ext4_disk, fill, simple_disk
from tests.support.small_disk import small_disk as mounted

MIB = 1 << 20
SIZE_BYTES = 10 * MIB + 11
NOTHING = RangeSet()


@pytest.fixture(params=["here", "tmpfs"])
def folder(request, tmp_path):
    """A folder of the file system that tests run on, or one of a tmpfs."""
    if request.param == "here":
        yield tmp_path
    else:
        with mounted(tmp_path / "disk", size_bytes=32 * MIB) as disk:
            yield disk


@pytest.fixture
def reserved(folder):
    partial, _ = open_partial(folder / "x", NOTHING, take_over=False)
    partial.reserve(SIZE_BYTES)
    if not partial.is_reserved:
        pytest.skip("NOT TESTED: this file system takes no room ahead")
    return partial


def used_bytes(folder):
    return partial_path(folder / "x").stat().st_blocks * allocation.STAT_BLOCK_BYTES


def test_room_is_taken_at_once_and_the_file_is_as_long_as_what_was_written(folder, reserved):
    assert used_bytes(folder) >= SIZE_BYTES
    assert partial_path(folder / "x").stat().st_size == 0
    reserved.write(0, b"x" * 1000)
    assert partial_path(folder / "x").stat().st_size == 1000
    assert finished_candidates(folder / "x", SIZE_BYTES) == []
    reserved.close()


def test_what_was_taken_and_not_written_is_free_again_when_the_file_is_closed(folder, reserved):
    reserved.write(0, b"x" * 1000)
    reserved.close()
    assert used_bytes(folder) <= 64 << 10
    assert partial_path(folder / "x").read_bytes() == b"x" * 1000


def test_a_published_file_is_as_it_was_written(folder, reserved):
    reserved.write(0, b"x" * 1000)
    reserved.publish(1000)
    before = os.stat(folder / "x")
    reserved.close()
    after = os.stat(folder / "x")
    assert after.st_size == 1000
    assert after.st_blocks * allocation.STAT_BLOCK_BYTES <= 64 << 10
    assert after.st_mtime_ns == before.st_mtime_ns


def test_a_partial_shorter_than_what_is_had_counts_for_nothing_however_much_room_it_holds(folder, reserved):
    reserved.write(0, b"x" * 1000)
    again, had = open_partial(folder / "x", RangeSet.of(ByteRange(0, 1001)), take_over=False)
    assert had == NOTHING
    again.close()
    reserved.close()


def test_who_comes_again_takes_only_what_is_missing(folder, reserved):
    reserved.write(0, b"x" * MIB)
    reserved.close()
    again, _ = open_partial(folder / "x", RangeSet.of(ByteRange(0, MIB)), take_over=False)
    free_bytes = room.free(folder).free_bytes
    again.reserve(SIZE_BYTES)
    assert again.is_reserved
    if folder.name == "disk":  # nobody else is there
        assert free_bytes - room.free(folder).free_bytes <= SIZE_BYTES - MIB + (64 << 10)
    again.close()


def test_a_write_into_room_that_was_taken_finds_it_on_a_full_disk(tmp_path):
    with mounted(tmp_path / "disk", size_bytes=16 * MIB) as disk:
        partial, _ = open_partial(disk / "x", NOTHING, take_over=False)
        partial.reserve(SIZE_BYTES)
        fill(disk)
        for at in range(0, SIZE_BYTES, MIB):
            partial.write(at, b"x" * min(MIB, SIZE_BYTES - at))
        partial.publish(SIZE_BYTES)
        partial.close()


@pytest.mark.parametrize("beyond_bytes", [0, -(4 << 10)])
def test_where_there_is_no_room_for_all_and_the_reserve_none_is_taken(tmp_path, beyond_bytes):
    with mounted(tmp_path / "disk", size_bytes=16 * MIB) as disk:
        partial, _ = open_partial(disk / "x", NOTHING, take_over=False)
        left = room.free(disk)
        partial.reserve(left.usable_bytes + 1 + beyond_bytes)
        assert partial.is_reserved is (beyond_bytes < 0)
        if not partial.is_reserved:
            assert room.free(disk) == left
        partial.close()


def test_what_is_taken_halfway_is_given_back(tmp_path):
    with ext4_disk(tmp_path / "disk", size_bytes=8 * MIB) as disk:
        fd = os.open(disk / "x", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"x" * 1000)
        assert not allocation.allocate(fd, 16 * MIB)
        assert allocation.taken_bytes(fd) <= 64 << 10
        assert (disk / "x").read_bytes() == b"x" * 1000
        os.close(fd)


def test_where_no_room_can_be_taken_ahead_nothing_is_written_instead(tmp_path):
    with simple_disk(tmp_path / "disk") as disk:
        partial, _ = open_partial(disk / "x", NOTHING, take_over=False)
        partial.reserve(1 << 40)
        assert not partial.is_reserved
        assert partial_path(disk / "x").stat().st_size == 0
        partial.write(0, b"x")
        partial.publish(1)
        partial.close()
        assert (disk / "x").read_bytes() == b"x"

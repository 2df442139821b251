import os

import pytest

from asyncdl.core.ranges import RangeSet
from asyncdl.disk import room
from asyncdl.disk.partial import open_partial
from asyncdl.disk.room import RESERVE_BYTES, RESERVE_INODES, Room
from asyncdl.errors import NoRoomError
from tests.support.small_disk import simple_disk


@pytest.mark.parametrize(
    ("free_bytes", "free_inodes", "fits"),
    [
        (RESERVE_BYTES + 100, RESERVE_INODES + 3, True),
        (RESERVE_BYTES + 99, RESERVE_INODES + 3, False),
        (RESERVE_BYTES + 100, RESERVE_INODES + 2, False),
        (RESERVE_BYTES + 100, None, True),
        (RESERVE_BYTES + 99, None, False),
    ],
)
def test_what_fits_leaves_the_reserve(free_bytes, free_inodes, fits):
    assert Room(free_bytes, free_inodes).holds(100, 3) is fits


def test_the_room_of_a_place_that_is_not_there_is_that_of_its_nearest_parent(small_disk):
    assert room.free(small_disk / "not" / "yet") == room.free(small_disk)
    assert room.free(small_disk).free_bytes <= 64 << 10


def test_what_does_not_fit_is_told_before_anything_is_begun(small_disk):
    with pytest.raises(NoRoomError) as caught:
        room.require(small_disk, 64 << 10, 1)
    assert str(room.free(small_disk).reserve_bytes) in caught.value.message
    assert "--data-dir" in caught.value.hint


def test_the_reserve_of_a_small_file_system_is_small(small_disk):
    assert 0 < room.free(small_disk).reserve_bytes <= (64 << 10) // 20


def test_what_fits_says_nothing(tmp_path):
    room.require(tmp_path, 0, 0)


def test_a_file_system_that_does_not_say_how_large_it_is_counts_as_endless(tmp_path):
    with simple_disk(tmp_path / "disk") as disk:
        room.require(disk, 1 << 50, 1 << 30)


def test_what_a_killed_engine_took_ahead_is_room_for_what_is_still_needed(small_disk):
    partial, _ = open_partial(small_disk / "x", RangeSet(), take_over=False)
    partial.reserve(40 << 10)
    partial.write(0, b"x" * (8 << 10))
    needed_bytes = 32 << 10
    assert not room.free(small_disk).holds(needed_bytes, 0)
    room.require(small_disk, needed_bytes, 0)
    with pytest.raises(NoRoomError):
        room.require(small_disk, needed_bytes + (24 << 10), 0)
    partial.close()


def test_a_link_leads_to_the_room_behind_it(tmp_path, small_disk):
    os.symlink(small_disk, tmp_path / "raw")
    assert room.free(tmp_path / "raw" / "org--name") == room.free(small_disk)

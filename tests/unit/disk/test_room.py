import pytest

from asyncdl.disk import room
from asyncdl.disk.room import RESERVE_BYTES, RESERVE_INODES, Room
from asyncdl.errors import NoRoomError


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

"""The partial: what counts as had is on disk, what is published is whole, and nobody else's file is touched."""

import errno
import hashlib
import os
import stat

import pytest

from asyncdl.core.model import Digest
from asyncdl.core.ranges import ByteRange, RangeSet
from asyncdl.core.retry import NO_HANDLES_S
from asyncdl.disk import partial as disk
from asyncdl.disk import room
from asyncdl.disk.digester import Digester
from asyncdl.disk.layout import corrupted_path, partial_path
from asyncdl.disk.partial import (
    adopt,
    disk_errors,
    feed_file,
    finished_candidates,
    make_folders,
    open_partial,
    quarantine,
)
from asyncdl.errors import LeaseLostError, TransferError
from tests.support import small_disk as support

CONTENT = bytes(range(256)) * 8
NOTHING = RangeSet()


def ranges(*pairs):
    return RangeSet.of(*(ByteRange(*pair) for pair in pairs))


@pytest.fixture
def final(tmp_path):
    return tmp_path / "raw" / "org--name" / "data" / "0.parquet"


@pytest.fixture
def opened():
    """open_partial that closes what it opened."""
    partials = []

    def open_(final, had=NOTHING, *, take_over=False):
        partial, really_had = open_partial(final, had, take_over=take_over)
        partials.append(partial)
        return partial, really_had

    yield open_
    for partial in partials:
        partial.close()


def error_of(action, *args, **kwargs):
    with pytest.raises(TransferError) as caught:
        action(*args, **kwargs)
    return caught.value.error_class


# writing and publishing


def test_bytes_land_where_they_belong_in_any_order(opened, final):
    partial, _ = opened(final)
    for at in (1500, 0, 1000, 500):
        partial.write(at, CONTENT[at : at + 500])
    assert partial_path(final).read_bytes() == CONTENT[:2000]
    assert not final.exists()


def test_a_published_file_is_whole_and_its_partial_is_gone(opened, final):
    partial, _ = opened(final)
    partial.write(0, CONTENT)
    partial.publish(len(CONTENT))
    assert final.read_bytes() == CONTENT
    assert os.listdir(final.parent) == [final.name]
    assert stat.S_IMODE(final.stat().st_mode) & 0o600 == 0o600


def test_what_lies_behind_the_end_is_not_published(opened, final):
    partial, _ = opened(final)
    partial.write(0, CONTENT + b"of another object")
    partial.publish(len(CONTENT))
    assert final.read_bytes() == CONTENT


def test_an_empty_file_can_be_published(opened, final):
    opened(final)[0].publish(0)
    assert final.read_bytes() == b""


def test_publishing_replaces_what_was_there(opened, final):
    final.parent.mkdir(parents=True)
    final.write_bytes(b"old")
    partial, _ = opened(final)
    partial.write(0, CONTENT)
    partial.publish(len(CONTENT))
    assert final.read_bytes() == CONTENT


def test_bytes_are_durable_before_their_name_and_the_name_before_the_end(opened, final, calls):
    partial, _ = opened(final)
    calls.clear()
    partial.publish(0)
    assert calls == [("fsync", "0.parquet.partial"), ("rename", "0.parquet"), ("fsync", "data")]


def test_a_sync_makes_the_name_durable_once_and_the_bytes_each_time(opened, final, calls):
    partial, _ = opened(final)
    calls.clear()
    partial.sync()
    partial.sync()
    assert calls == [("fdatasync", "0.parquet.partial"), ("fsync", "data"), ("fdatasync", "0.parquet.partial")]


def test_what_is_hashed_is_what_stands_in_the_file(opened, final):
    partial, _ = opened(final)
    partial.write(0, CONTENT)
    hasher = hashlib.sha256()
    partial.feed(hasher, 0, 700)
    partial.feed(hasher, 700, len(CONTENT))
    assert hasher.hexdigest() == hashlib.sha256(CONTENT).hexdigest()


def test_bytes_are_held_only_where_each_of_them_is_there(opened, final):
    partial, _ = opened(final)
    content = bytes(range(256)) * 3000
    partial.write(10, content)
    assert partial.holds(10, memoryview(content))
    assert partial.holds(20, memoryview(content)[10:700_000])
    for at in (0, 400_000, len(content) - 1):
        assert not partial.holds(10, memoryview(content[:at] + b"\xff\x00"[at % 2 :][:1] + content[at + 1 :]))
    assert not partial.holds(10, memoryview(content + b"x")), "the file ends before"
    assert not partial.holds(11, memoryview(content)[:300_000])


def test_a_file_that_somebody_cut_is_not_hashed_as_if_it_were_whole(opened, final):
    partial, _ = opened(final)
    partial.write(0, CONTENT)
    os.truncate(partial_path(final), 100)
    assert error_of(partial.feed, hashlib.sha256(), 0, len(CONTENT)) == "short_body"


# keeping aside


def test_wrong_content_is_kept_aside_in_place_of_older(opened, final):
    final.parent.mkdir(parents=True)
    corrupted_path(final).write_bytes(b"older")
    partial, _ = opened(final)
    partial.write(0, CONTENT)
    partial.quarantine()
    assert corrupted_path(final).read_bytes() == CONTENT
    assert os.listdir(final.parent) == ["0.parquet.corrupted"]


def test_a_published_file_is_kept_aside_and_stays_so(final, calls):
    final.parent.mkdir(parents=True)
    final.write_bytes(CONTENT)
    calls.clear()
    quarantine(final)
    assert corrupted_path(final).read_bytes() == CONTENT
    assert calls == [("rename", "0.parquet.corrupted"), ("fsync", "data")]
    quarantine(final)  # it is gone already


# names that the kernel takes for another file system's


@pytest.fixture
def another_project(monkeypatch):
    """Files that were made before the folder got its project quota: they cannot be renamed into it."""
    old, real = set(), os.rename

    def rename(source, target):
        if os.stat(source).st_ino in old:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    return lambda path: old.add(path.stat().st_ino)


@pytest.mark.parametrize("content", [CONTENT, b""])
def test_what_cannot_be_renamed_is_published_as_a_durable_copy(opened, final, another_project, calls, content):
    partial, _ = opened(final)
    partial.write(0, content)
    another_project(partial_path(final))
    calls.clear()
    partial.publish(len(content))
    assert final.read_bytes() == content
    assert os.listdir(final.parent) == [final.name]
    assert calls[-3:] == [("fsync", "0.parquet.partial.partial"), ("rename", "0.parquet"), ("fsync", "data")]


def test_what_cannot_be_renamed_is_kept_aside_and_adopted_as_well(opened, final, another_project):
    partial, _ = opened(final)
    partial.write(0, CONTENT)
    another_project(partial_path(final))
    partial.quarantine()
    another_project(corrupted_path(final))
    adopt(corrupted_path(final), final)
    assert final.read_bytes() == CONTENT
    assert os.listdir(final.parent) == [final.name]


def test_where_nothing_can_be_renamed_the_job_ends_with_the_reason_and_the_partial_stays(opened, final, monkeypatch):
    def rename(source, target):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    partial, _ = opened(final)
    partial.write(0, CONTENT)
    monkeypatch.setattr(os, "rename", rename)
    assert error_of(partial.publish, len(CONTENT)) == "unstorable"
    assert partial_path(final).read_bytes() == CONTENT


# whose file it is


def test_a_partial_whose_name_leads_to_another_file_is_neither_published_nor_kept_aside(opened, final):
    partial, _ = opened(final)
    partial.write(0, CONTENT)
    other = partial_path(final)
    other.unlink()
    other.write_bytes(b"another engine's")
    for action in (lambda: partial.publish(len(CONTENT)), partial.quarantine):
        with pytest.raises(LeaseLostError):
            action()
    assert other.read_bytes() == b"another engine's"
    assert not final.exists()
    assert not corrupted_path(final).exists()


def test_a_partial_whose_name_is_gone_is_not_published(opened, final):
    partial, _ = opened(final)
    partial_path(final).unlink()
    with pytest.raises(LeaseLostError):
        partial.publish(0)


def test_a_partial_whose_name_is_a_link_to_it_is_not_published(opened, final):
    partial, _ = opened(final)
    elsewhere = final.parent / "elsewhere"
    partial_path(final).rename(elsewhere)
    partial_path(final).symlink_to(elsewhere)
    with pytest.raises(LeaseLostError):
        partial.publish(0)


# opening again


def test_what_is_had_is_found_again(opened, final):
    first, _ = opened(final)
    first.write(0, CONTENT[:1000])
    again, had = opened(final, ranges((0, 1000)))
    assert had == ranges((0, 1000))
    again.write(1000, CONTENT[1000:])
    again.publish(len(CONTENT))
    assert final.read_bytes() == CONTENT


def test_who_has_nothing_begins_with_a_new_file(opened, final):
    first, _ = opened(final)
    first.write(0, b"x" * 5000)
    second, had = opened(final)
    assert had == NOTHING
    assert partial_path(final).stat().st_size == 0
    first.write(0, b"the old holder")
    assert partial_path(final).stat().st_size == 0
    second.publish(0)


@pytest.mark.parametrize("take_over", [False, True])
@pytest.mark.parametrize("left_bytes", [0, 1, 999])
def test_a_partial_shorter_than_what_is_had_of_it_counts_for_nothing(opened, final, left_bytes, take_over):
    opened(final)[0].write(0, CONTENT[:1000])
    os.truncate(partial_path(final), left_bytes)
    _, had = opened(final, ranges((0, 500), (700, 1000)), take_over=take_over)
    assert had == NOTHING
    assert partial_path(final).stat().st_size == 0


@pytest.mark.parametrize("take_over", [False, True])
def test_a_partial_that_is_gone_counts_for_nothing(opened, final, take_over):
    _, had = opened(final, ranges((0, 500)), take_over=take_over)
    assert had == NOTHING


@pytest.mark.parametrize("take_over", [False, True])
def test_a_symlink_is_not_written_through(opened, final, tmp_path, take_over):
    victim = tmp_path / "victim"
    victim.write_bytes(CONTENT)
    final.parent.mkdir(parents=True)
    partial_path(final).symlink_to(victim)
    assert error_of(open_partial, final, ranges((0, 10)), take_over=take_over) == "unstorable"
    assert victim.read_bytes() == CONTENT


def test_a_symlink_that_stands_in_the_way_of_a_new_file_is_replaced(opened, final, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(CONTENT)
    final.parent.mkdir(parents=True)
    partial_path(final).symlink_to(victim)
    opened(final)[0].write(0, b"xxx")
    assert victim.read_bytes() == CONTENT
    assert not partial_path(final).is_symlink()


@pytest.mark.parametrize("had", [NOTHING, ranges((0, 10))])
def test_a_folder_in_the_place_of_the_partial_is_an_error_with_a_class(final, had):
    partial_path(final).mkdir(parents=True)
    assert error_of(open_partial, final, had, take_over=False) == "unstorable"


def test_a_file_in_the_place_of_a_folder_is_an_error_with_a_class(final):
    final.parent.parent.mkdir(parents=True)
    final.parent.write_bytes(b"in the way")
    assert error_of(open_partial, final, NOTHING, take_over=False) == "unstorable"


# taking over from a holder that may still write


def test_the_old_holder_writes_into_a_file_that_nobody_will_publish(opened, final):
    old, _ = opened(final)
    old.write(0, CONTENT[:1000])
    new, had = opened(final, ranges((0, 1000)), take_over=True)
    assert had == ranges((0, 1000))
    old.write(0, b"late" * 250)
    new.write(1000, CONTENT[1000:])
    with pytest.raises(LeaseLostError):
        old.publish(4)
    new.publish(len(CONTENT))
    assert final.read_bytes() == CONTENT
    assert os.listdir(final.parent) == [final.name]


def test_only_what_is_had_is_taken_over_and_it_is_durable_first(opened, final, calls):
    opened(final)[0].write(0, CONTENT)
    calls.clear()
    opened(final, ranges((100, 200), (1900, 2000)), take_over=True)
    taken = partial_path(final).read_bytes()
    assert len(taken) == 2000
    assert taken[100:200] == CONTENT[100:200]
    assert taken[1900:] == CONTENT[1900:2000]
    assert set(taken[:100] + taken[200:1900]) == {0}
    assert calls == [("fsync", "0.parquet.partial.partial"), ("rename", "0.parquet.partial")]


def test_what_a_killed_take_over_left_is_cleared_away(opened, final, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    opened(final)[0].write(0, CONTENT)
    partial_path(partial_path(final)).symlink_to(victim)
    _, had = opened(final, ranges((0, 2000)), take_over=True)
    assert had == ranges((0, 2000))
    assert victim.read_bytes() == b"precious"
    assert os.listdir(final.parent) == ["0.parquet.partial"]


def test_two_that_take_over_at_once_do_not_mix(opened, final, monkeypatch):
    opened(final)[0].write(0, CONTENT)
    copy = partial_path(partial_path(final))
    real = disk._copy_range

    def overtaken(*args):
        real(*args)
        copy.unlink()
        copy.write_bytes(b"another engine's, half done")

    monkeypatch.setattr(disk, "_copy_range", overtaken)
    with pytest.raises(LeaseLostError):
        open_partial(final, ranges((0, 2000)), take_over=True)
    assert copy.read_bytes() == b"another engine's, half done"
    assert partial_path(final).read_bytes() == CONTENT


# long names


@pytest.mark.parametrize("length", [230, 246, 247, 250, 251, 255])
@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_name_of_any_lawful_length_has_a_partial_can_be_taken_over_published_and_kept_aside(
    opened, tmp_path, letter, length
):
    final = tmp_path / (letter * (length // len(letter.encode())))
    twin = final.with_name(final.name[:-1] + "y")
    opened(final)[0].write(0, CONTENT)
    opened(twin)[0].write(0, b"the twin's")
    new, had = opened(final, ranges((0, 2000)), take_over=True)
    assert had
    new.publish(2000)
    quarantine(final)
    assert corrupted_path(final).read_bytes() == CONTENT[:2000]
    assert partial_path(twin).read_bytes() == b"the twin's"


# what may be finished already


def test_only_files_of_the_right_size_are_candidates(final):
    final.parent.mkdir(parents=True)
    assert finished_candidates(final, 5) == []
    corrupted_path(final).write_bytes(b"12345")
    assert finished_candidates(final, 5) == [corrupted_path(final)]
    final.write_bytes(b"12345")
    assert finished_candidates(final, 5) == [final, corrupted_path(final)]
    final.write_bytes(b"1234")
    assert finished_candidates(final, 5) == [corrupted_path(final)]
    partial_path(final).write_bytes(b"12345")
    assert partial_path(final) not in finished_candidates(final, 5)


def test_a_folder_is_no_candidate_and_a_place_that_cannot_be_looked_at_has_a_class(final):
    final.mkdir(parents=True)
    assert finished_candidates(final, final.stat().st_size) == []
    assert error_of(finished_candidates, final / ("x" * 300), 5) == "unstorable"


def test_an_adopted_file_stands_under_its_name_durably(final, calls):
    final.parent.mkdir(parents=True)
    corrupted_path(final).write_bytes(CONTENT)
    calls.clear()
    adopt(corrupted_path(final), final)
    assert final.read_bytes() == CONTENT
    assert calls == [("rename", "0.parquet"), ("fsync", "0.parquet"), ("fsync", "data")]
    calls.clear()
    adopt(final, final)
    assert calls == [("fsync", "0.parquet"), ("fsync", "data")]


def test_a_file_can_be_hashed_in_steps(final):
    final.parent.mkdir(parents=True)
    final.write_bytes(CONTENT)
    hasher = hashlib.sha256()
    for at in range(0, len(CONTENT), 500):
        feed_file(final, hasher, at, min(at + 500, len(CONTENT)))
    assert hasher.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
    assert error_of(feed_file, final, hasher, 0, len(CONTENT) + 1) == "short_body"
    assert error_of(feed_file, final.with_name("none"), hasher, 0, 1) == "disk_odd"


def test_every_file_gets_a_sha256_and_git_blobs_their_own_digest_too():
    sha256, sha1 = Digest("sha256", "a" * 64), Digest("git-sha1", "b" * 40)
    assert Digester(sha256, 3).hexdigest() == Digester(None, 3).hexdigest() == hashlib.sha256().hexdigest()
    digester = Digester(sha1, 6)
    digester.update(b"hello\n")
    assert digester.hexdigest() == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    assert digester.sha256() == hashlib.sha256(b"hello\n").hexdigest()


def test_what_a_bucket_vouches_for_with_an_md5_is_held_against_it():
    digester = Digester(Digest("md5", "c" * 32), 6)
    digester.update(b"hel")
    digester.update(memoryview(b"lo\n"))
    assert digester.hexdigest() == "b1946ac92492d2347c6235b4d2611184"  # md5sum
    assert digester.sha256() == hashlib.sha256(b"hello\n").hexdigest()


def _io_error(_fd):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_sync_that_failed_fails_for_good(final, monkeypatch):
    partial, _ = open_partial(final, NOTHING, take_over=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", _io_error)
        assert error_of(partial.sync) == "disk_failed"
    assert error_of(partial.sync) == "disk_failed"
    assert error_of(partial.publish, 0) == "disk_failed"
    assert not final.exists()
    partial.close()


# folders


def test_every_new_folder_is_durable_in_its_parent(tmp_path, calls):
    make_folders(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert calls == [("mkdir", "a"), ("fsync", tmp_path.name), ("mkdir", "b"), ("fsync", "a")]
    calls.clear()
    make_folders(tmp_path / "a" / "b")
    assert calls == []


# errors


@pytest.mark.parametrize(
    ("number", "error_class"),
    [
        (errno.ENOSPC, "no_room"), (errno.EDQUOT, "no_room"), (errno.EMFILE, "no_handles"), (errno.ENFILE, "no_handles"),
        (errno.EIO, "disk_failed"), (errno.EROFS, "disk_failed"), (errno.EACCES, "unwritable"), (errno.EPERM, "unwritable"),
        (errno.ENAMETOOLONG, "unstorable"), (errno.ELOOP, "unstorable"), (errno.ENOTDIR, "unstorable"), (errno.EISDIR, "unstorable"), (errno.EXDEV, "unstorable"),
        (errno.ENOENT, "disk_odd"), (errno.ESTALE, "disk_odd"),
    ],
)  # fmt: skip
def test_an_error_of_the_disk_is_sorted_by_who_must_act(final, number, error_class):
    with pytest.raises(TransferError) as caught, disk_errors(final):
        raise OSError(number, os.strerror(number))
    assert caught.value.error_class == error_class
    assert final.name in caught.value.message
    assert str(final.parent) not in caught.value.message


def test_the_limit_of_open_files_asks_for_a_pause_that_costs_nothing(final):
    with pytest.raises(TransferError) as caught, disk_errors(final):
        raise OSError(errno.EMFILE, "x")
    assert caught.value.retry_after_s == NO_HANDLES_S


def test_other_errors_pass_through(final):
    with pytest.raises(LeaseLostError), disk_errors(final):
        raise LeaseLostError("x")


def test_a_full_disk_is_no_room_and_what_was_synced_before_stays(opened, small_disk):
    final = small_disk / "x"
    partial, _ = opened(final)
    partial.write(0, CONTENT)
    partial.sync()
    with pytest.raises(TransferError) as caught:
        partial.write(len(CONTENT), b"x" * (1 << 20))
    assert (caught.value.error_class, caught.value.retry_after_s) == ("no_room", 0.0)
    assert partial_path(final).read_bytes()[: len(CONTENT)] == CONTENT
    partial.publish(len(CONTENT))
    assert final.read_bytes() == CONTENT


def test_a_disk_without_inodes_is_no_room(small_disk):
    for n in range(20):
        try:
            (small_disk / str(n)).touch()
        except OSError:
            break
    assert error_of(open_partial, small_disk / "x", NOTHING, take_over=False) == "no_room"


@pytest.mark.parametrize("leave", [3, 4])
def test_a_new_file_and_its_folders_are_made_only_where_the_reserve_of_inodes_stays(opened, tmp_path, leave):
    with support.small_disk(tmp_path / "disk", size_bytes=1 << 20, n_inodes=60) as disk:
        final = disk / "folder" / "x"  # two inodes
        reserve = room.free(disk).reserve_inodes
        assert reserve == 3
        hogs = support.fill_inodes(disk, leave=reserve + leave - 3)
        assert error_of(open_partial, final, NOTHING, take_over=False) == "no_room"
        assert not final.parent.exists(), "a folder alone is of no use"
        hogs[0].unlink()
        if leave == 4:
            opened(final)
            assert room.free(disk).free_inodes == reserve


def test_who_has_the_file_already_needs_no_inode(opened, small_disk):
    final = small_disk / "x"
    opened(final)[0].write(0, CONTENT)
    support.fill_inodes(small_disk)
    assert opened(final, ranges((0, 2000)))[1] == ranges((0, 2000))


def test_a_take_over_that_finds_no_room_leaves_nothing_of_its_copy(opened, small_disk):
    final = small_disk / "x"
    opened(final)[0].write(0, CONTENT * 20)
    assert error_of(open_partial, final, ranges((0, len(CONTENT) * 20)), take_over=True) == "no_room"
    assert os.listdir(small_disk) == ["x.partial"]
    assert partial_path(final).read_bytes() == CONTENT * 20

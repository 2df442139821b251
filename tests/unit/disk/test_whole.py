"""Small files published together: each durable before it has its name, and none the worse for its neighbours."""

import errno
import os
from pathlib import Path

import pytest

from asyncdl.disk import whole
from asyncdl.disk.layout import partial_path
from asyncdl.disk.whole import Batch, Folders
from asyncdl.errors import LeaseLostError
from tests.support import small_disk as support


def contents(n, size_bytes=1000):
    return {f"f{i}": bytes([i]) * size_bytes for i in range(n)}


def wanted(folder, files):
    return [(folder / name, memoryview(data)) for name, data in files.items()]


def begun(folder, files):
    batch = Batch(wanted(folder, files), Folders())
    batch.begin()
    return batch


def classes(batch):
    return [getattr(error, "error_class", error) for error in batch.errors]


def found(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def failing(monkeypatch, call, name, code):
    """Let os.`call` fail for the file or folder of that name."""
    real = getattr(os, call)

    def scripted(what, *args, **kwargs):
        path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else what
        if Path(path).name == name:
            raise OSError(code, "scripted")
        return real(what, *args, **kwargs)

    monkeypatch.setattr(os, call, scripted)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """However busy the machine of the tests is, the disk is not taken for a slow one."""
    monkeypatch.setattr(whole, "PATIENCE_S", 1e9)


@pytest.fixture
def impatient(monkeypatch, patient):
    monkeypatch.setattr(whole, "PATIENCE_S", -1.0)


@pytest.fixture
def n_open():
    """How many descriptors are open."""
    return lambda: len(os.listdir("/proc/self/fd"))


def test_each_is_synced_before_it_is_renamed_and_its_folder_once_after_all(tmp_path, calls):
    folder = tmp_path / "new"
    assert begun(folder, contents(3)).errors == [None] * 3
    assert found(folder) == contents(3)
    assert calls == [
        ("mkdir", "new"), ("fsync", tmp_path.name),
        ("fsync", "f0.partial"), ("fsync", "f1.partial"), ("fsync", "f2.partial"),
        ("rename", "f0"), ("rename", "f1"), ("rename", "f2"), ("fsync", "new"),
    ]  # fmt: skip


def test_on_a_slow_disk_the_syncs_are_left_and_nothing_has_its_name_before_the_last(tmp_path, calls, impatient):
    batch = begun(tmp_path, contents(4))
    assert batch.n_unsynced == 4
    batch.sync()
    assert [call for call, _ in calls] == ["fsync"] * 4
    assert set(found(tmp_path)) == {f"f{i}.partial" for i in range(4)}
    batch.end()
    assert batch.errors == [None] * 4
    assert found(tmp_path) == contents(4)
    assert calls[-1] == ("fsync", tmp_path.name)


def test_a_single_file_leaves_nothing_to_others_however_slow_the_disk(tmp_path, impatient):
    assert begun(tmp_path, contents(1)).n_unsynced == 0
    assert found(tmp_path) == contents(1)


@pytest.mark.parametrize(
    ("call", "name", "code", "error_class"),
    [
        ("open", "f1.partial", errno.EMFILE, "no_handles"),
        ("write", "f1.partial", errno.ENOSPC, "no_room"),
        ("write", "f1.partial", errno.EDQUOT, "no_room"),
        ("fsync", "f1.partial", errno.EIO, "disk_failed"),
        ("rename", "f1.partial", errno.EACCES, "unwritable"),
    ],
)
def test_what_fails_for_one_file_costs_that_file_and_leaves_nothing_of_it(
    tmp_path, monkeypatch, n_open, call, name, code, error_class
):
    n_before = n_open()
    failing(monkeypatch, call, name, code)
    assert classes(begun(tmp_path, contents(3))) == [None, error_class, None]
    assert set(found(tmp_path)) == {"f0", "f2"}
    assert n_open() == n_before


def test_a_folder_whose_names_may_be_lost_has_published_none(tmp_path, monkeypatch):
    failing(monkeypatch, "fsync", "bad", errno.EIO)
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
    batch = Batch([(tmp_path / name, memoryview(b"x")) for name in ("bad/a", "good/b", "bad/c")], Folders())
    batch.begin()
    assert classes(batch) == ["disk_failed", None, "disk_failed"]


def test_a_bug_leaves_no_descriptor(tmp_path, monkeypatch, n_open):
    def wrong(_):
        raise ZeroDivisionError

    n_before = n_open()
    monkeypatch.setattr(os, "fsync", wrong)
    with pytest.raises(ZeroDivisionError):
        begun(tmp_path, contents(3))
    assert n_open() == n_before


def test_a_disk_that_ends_within_a_batch_takes_what_fits_and_keeps_its_reserve(tmp_path):
    with support.small_disk(tmp_path / "small", size_bytes=64 << 10) as disk:
        batch = begun(disk, contents(8, size_bytes=16 << 10))
        assert classes(batch) == [None] * 3 + ["no_room"] * 5  # the fourth would reach into the last twentieth
        assert found(disk) == dict(list(contents(8, size_bytes=16 << 10).items())[:3])


def test_a_disk_whose_inodes_end_within_a_batch_takes_what_fits(tmp_path):
    with support.small_disk(tmp_path / "small", size_bytes=1 << 20, n_inodes=6) as disk:
        free = os.statvfs(disk).f_favail
        batch = begun(disk, contents(8))
        assert classes(batch) == [None] * free + ["no_room"] * (8 - free)


def test_a_folder_that_was_removed_is_made_again(tmp_path):
    folders = Folders()
    for _ in range(2):
        batch = Batch(wanted(tmp_path / "a" / "b", contents(2)), folders)
        batch.begin()
        assert batch.errors == [None, None]
        for name in contents(2):
            (tmp_path / "a" / "b" / name).unlink()
        (tmp_path / "a" / "b").rmdir()


def test_a_folder_that_is_known_is_not_looked_for_again(tmp_path, monkeypatch):
    folders, made = Folders(), []
    monkeypatch.setattr(whole, "make_folders", made.append)
    for _ in range(3):
        folders.make(tmp_path)
    assert made == [tmp_path]


def test_no_more_folders_are_remembered_than_memory_allows(tmp_path, monkeypatch):
    folders, made = Folders(), []
    monkeypatch.setattr(whole, "make_folders", made.append)
    monkeypatch.setattr(whole, "MAX_FOLDERS", 2)
    for name in "abca":
        folders.make(tmp_path / name)
    assert [path.name for path in made] == list("abca")


def test_another_engine_that_took_over_meanwhile_keeps_its_partial(tmp_path, impatient):
    batch = begun(tmp_path, contents(3))
    theirs = partial_path(tmp_path / "f1")
    theirs.unlink()
    theirs.write_bytes(b"theirs")
    batch.sync()
    batch.end()
    assert [type(error) for error in batch.errors] == [type(None), LeaseLostError, type(None)]
    assert found(tmp_path) == {"f0": contents(3)["f0"], "f1.partial": b"theirs", "f2": contents(3)["f2"]}


def test_what_a_kill_left_is_written_over_and_a_link_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "f0.partial").write_bytes(b"longer than what comes now" * 100)
    (folder / "f1.partial").symlink_to(elsewhere)
    assert classes(begun(folder, contents(2))) == [None, "unstorable"]
    assert (folder / "f0").read_bytes() == contents(2)["f0"]
    assert elsewhere.read_bytes() == b"precious"

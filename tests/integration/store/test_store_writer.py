"""What callers of the writer get when something goes wrong under it."""

import asyncio
import fcntl
import os
import threading
from pathlib import Path

import apsw
import pytest

from asyncdl.errors import LeaseLostError, NoRoomError, StoreError
from asyncdl.store import migrate, sidecar, writer
from asyncdl.store.writer import Writer
from tests.integration.store.rig import NOW, Rig, assert_sound, rows, states


async def held_up(writer: Writer, release: asyncio.Event):
    """Keep the writer busy until `release` is set, so that what comes meanwhile is one batch."""
    loop = asyncio.get_running_loop()

    def wait(_: apsw.Connection) -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    return asyncio.ensure_future(writer.write(wait))


def insert(path: str, *, fail: bool = False):
    def change(connection: apsw.Connection) -> str:
        connection.execute(
            "INSERT INTO job (dataset_id, kind, path, run_at, created_at) VALUES (1, 'download', ?, 0, 0)", (path,)
        )
        if fail:
            raise ValueError(path)
        return path

    return change


async def test_a_change_that_raises_is_taken_back_alone(rig):
    await rig.put(["first"])
    release = asyncio.Event()
    busy = await held_up(rig.writer, release)
    batch = [asyncio.ensure_future(rig.writer.write(insert(path, fail=path == "bad"))) for path in ("a", "bad", "b")]
    await asyncio.sleep(0)
    release.set()
    await busy
    answers = await asyncio.gather(*batch, return_exceptions=True)
    assert [answers[0], answers[2]] == ["a", "b"]
    assert isinstance(answers[1], ValueError)
    assert set(states(rig.path)) == {"first", "a", "b"}
    assert_sound(rig.path)


async def test_a_batch_is_run_again_with_the_same_result_when_one_of_it_lost_its_lease(rig):
    await rig.put([f"s/{n}" for n in range(50)])
    jobs = await rig.take(50)
    await rig.jobs().change_state("cancel", [jobs[7].id], now=NOW)
    release = asyncio.Event()
    busy = await held_up(rig.writer, release)
    settles = [asyncio.ensure_future(rig.finish(job)) for job in jobs]
    enqueue = asyncio.ensure_future(rig.put(["other/1"]))
    await asyncio.sleep(0)
    release.set()
    await busy
    answers = await asyncio.gather(*settles, enqueue, return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if isinstance(answer, LeaseLostError)] == [7]
    assert list(states(rig.path).values()).count("completed") == 49
    assert states(rig.path)["other/1"] == "available"
    assert_sound(rig.path)


async def test_a_cancelled_caller_takes_nothing_back_and_does_no_harm(rig):
    await rig.put(["first"])
    release = asyncio.Event()
    busy = await held_up(rig.writer, release)
    cancelled = asyncio.ensure_future(rig.writer.write(insert("cancelled")))
    other = asyncio.ensure_future(rig.writer.write(insert("other")))
    await asyncio.sleep(0)
    cancelled.cancel()
    submitted = rig.writer.submit(insert("submitted"))
    submitted.cancel()
    release.set()
    await busy
    assert await other == "other"
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await rig.writer.write(insert("after")) == "after"
    assert {"cancelled", "other", "submitted", "after"} <= set(states(rig.path))


def test_the_writer_outlives_a_loop_that_was_closed_while_it_waited(rig):
    asyncio.run(rig.put(["first"]))

    async def leave() -> None:
        asyncio.ensure_future(rig.writer.write(insert("left"))).cancel()
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert rig.writer.submit(insert("after")).result() == "after"


async def test_a_full_disk_is_told_and_the_writer_goes_on_when_there_is_room(rig):
    await rig.put(["first"])
    [(pages,)] = rig.connection.execute("PRAGMA page_count").fetchall()
    rig.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(NoRoomError) as told:
        await rig.put([f"much/{n:04d}" for n in range(5000)])
    assert told.value.hint
    assert_sound(rig.path)
    assert set(states(rig.path)) == {"first"}
    rig.connection.execute("PRAGMA max_page_count = 1000000")
    await rig.put(["second"])
    assert set(states(rig.path)) == {"first", "second"}


class BrokenFile(apsw.VFSFile):
    def __init__(self, vfs: "BrokenDisk", name, flags) -> None:
        super().__init__(vfs.base_name, name, flags)
        self.vfs = vfs

    def xSync(self, flags):
        if self.vfs.broken:
            raise apsw.IOError
        return super().xSync(flags)


class BrokenDisk(apsw.VFS):
    """Everything works until `broken`; then each fsync fails, as it does on a dying disk."""

    def __init__(self, name: str) -> None:
        self.base_name = ""
        self.broken = False
        super().__init__(name, self.base_name)

    def xOpen(self, name, flags):
        return BrokenFile(self, name, flags)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_after_a_failed_fsync_nothing_is_ever_answered_again(tmp_path):
    path = tmp_path / "queue.sqlite"
    Rig(path).close()
    disk = BrokenDisk("broken-disk")
    connection = apsw.Connection(str(path), vfs="broken-disk")
    connection.execute("PRAGMA synchronous = FULL")
    writer = Writer(connection, path)
    try:
        await writer.write(lambda c: c.execute("INSERT INTO dataset VALUES (1,'a','','','hub','','r','',0)").fetchall())
        disk.broken = True
        with pytest.raises(StoreError) as told:
            await writer.write(insert("never"))
        assert told.value.hint
        disk.broken = False
        with pytest.raises(StoreError):
            await writer.write(insert("nor this"))
    finally:
        writer.close()
        disk.unregister()
    assert_sound(path)
    assert "nor this" not in states(path)


@pytest.mark.parametrize("which", ["queue.sqlite", "queue.sqlite-wal"])
async def test_a_queue_that_was_taken_away_is_not_written_to(rig, which):
    await rig.put(["first"])
    (rig.path.parent / which).unlink()
    with pytest.raises(StoreError, match="deleted or replaced"):
        await rig.put(["second"])
    with pytest.raises(StoreError):
        await rig.put(["third"])


async def test_the_sidecar_is_held_while_a_transaction_runs_and_no_longer(rig):
    def try_lock() -> bool:
        with open(f"{rig.path}-lock", "rb") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    assert await rig.writer.write(lambda _: try_lock()) is False
    rig.close()
    assert try_lock()


async def test_a_reader_sees_what_was_answered_and_keeps_nobody_waiting(rig):
    await rig.put([f"s/{n:03d}" for n in range(300)])
    reader = migrate.open_reader(rig.path)
    cursor = reader.execute("SELECT path FROM job ORDER BY path")
    assert next(cursor) == ("s/000",)
    await rig.put(["t/1"])
    assert sum(1 for _ in cursor) == 299, "it reads the state it began with"
    assert reader.execute("SELECT count(*) FROM job").fetchall() == [(301,)]
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM job")
    reader.close()


async def test_a_closed_writer_refuses_and_leaves_one_file(rig):
    await rig.put(["first"])
    rig.close()
    rig.close()
    with pytest.raises(RuntimeError):
        await rig.put(["second"])
    assert sorted(file.name for file in Path(rig.path.parent).iterdir()) == ["queue.sqlite", "queue.sqlite-lock"]


async def test_what_waits_when_the_writer_is_closed_is_still_done(rig):
    await rig.put(["first"])
    waiting = [rig.writer.submit(insert(f"s/{n}")) for n in range(100)]
    rig.close()
    assert [future.result(timeout=0) for future in waiting] == [f"s/{n}" for n in range(100)]
    assert rows(rig.path, "SELECT count(*) FROM job") == [(101,)]


@pytest.fixture
def held_lock(tmp_path):
    """The sidecar's lock, held by another handle; call it to let go."""
    fd = os.open(tmp_path / "queue.sqlite-lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield lambda: fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def test_a_lock_that_is_never_given_up_is_an_error_that_names_its_holder(tmp_path, held_lock, monkeypatch):
    monkeypatch.setattr(sidecar, "GIVE_UP_S", 0.01)
    with pytest.raises(StoreError) as told:
        migrate.open_writer(tmp_path / "queue.sqlite")
    assert told.value.hint
    if sidecar.LOCKS.exists():
        assert str(told.value.message).startswith(f"the process {os.getpid()} has held the lock")


async def test_a_writer_that_never_gets_the_lock_fails_for_good_and_closes(rig, monkeypatch):
    await rig.put(["first"])
    monkeypatch.setattr(sidecar, "GIVE_UP_S", 0.01)
    with open(f"{rig.path}-lock", "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for _ in range(2):
            with pytest.raises(StoreError, match="has held the lock"):
                await rig.put(["second"])
        rig.close()
    assert_sound(rig.path)
    assert set(states(rig.path)) == {"first"}


def test_who_waits_for_the_lock_gets_it_when_it_is_let_go_of(tmp_path, held_lock):
    waiting = sidecar.Sidecar(tmp_path / "queue.sqlite")
    thread = threading.Thread(target=held_lock)
    thread.start()
    with waiting:
        pass
    thread.join()
    waiting.close()


def test_who_gave_up_waiting_keeps_nobody_from_the_lock(tmp_path, held_lock, monkeypatch):
    monkeypatch.setattr(sidecar, "GIVE_UP_S", 0.01)
    gave_up = sidecar.Sidecar(tmp_path / "queue.sqlite")
    with pytest.raises(StoreError), gave_up:
        pass
    [thread] = [thread for thread in threading.enumerate() if thread.name == "queue lock"]
    held_lock()
    thread.join()
    with sidecar.Sidecar(tmp_path / "queue.sqlite"):
        pass
    gave_up.close()


@pytest.mark.parametrize("give_up", [False, True])
async def test_a_queue_that_another_program_keeps_busy_is_tried_again_for_a_while(rig, monkeypatch, give_up):
    await rig.put(["first"])
    monkeypatch.setattr(writer, "BUSY_PAUSE_S", 0.001)
    monkeypatch.setattr(writer, "BUSY_GIVE_UP_S", 0.0 if give_up else 60.0)
    tries = threading.Semaphore(0)

    def refuse(_: int) -> bool:
        tries.release()
        return False

    rig.connection.set_busy_handler(refuse)
    other = apsw.Connection(str(rig.path))
    other.execute("BEGIN IMMEDIATE")
    answer = rig.writer.submit(insert("second"))
    if give_up:
        with pytest.raises(StoreError, match="another program"):
            answer.result()
    else:
        for _ in range(3):
            tries.acquire()
    other.execute("ROLLBACK")
    other.close()
    if not give_up:
        assert answer.result() == "second"
    assert rig.writer.submit(insert("third")).result() == "third"
